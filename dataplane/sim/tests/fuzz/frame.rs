//! Frames as octets: where their fields are, and what may be done to them. Nothing here relies on the engine, nor on a frame
//! being sound.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim::rng::Rng;
use wire::Proto;
use wire::checksum::{Pseudo, Sum};

const ETHERNET: usize = 14;
const VLAN: [u8; 2] = [0x81, 0];

/// Where things are in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub ipv4: bool,
    /// The IP header, and what is behind it.
    pub network: usize,
    pub upper: usize,
    /// The end of the datagram, as its header says, if the frame is that long.
    pub end: usize,
    pub proto: Proto,
    /// It is all of its datagram.
    pub whole: bool,
}

impl Layout {
    pub fn of(frame: &[u8]) -> Option<Self> {
        let network = if frame.get(12..14)? == VLAN { ETHERNET + 4 } else { ETHERNET };
        match frame.get(network - 2..network)? {
            [0x08, 0x00] => {
                let header = frame.get(network..network + 20)?;
                let upper = network + usize::from(header[0] & 15) * 4;
                let end = (network + usize::from(word(header, 2))).clamp(upper, frame.len().max(upper));
                let whole = word(header, 6) & 0x3fff == 0;
                Some(Self { ipv4: true, network, upper, end, proto: Proto(header[9]), whole })
            }
            [0x86, 0xdd] => {
                let header = frame.get(network..network + 40)?;
                let end = (network + 40 + usize::from(word(header, 4))).min(frame.len());
                let (mut next, mut upper, mut whole) = (header[6], network + 40, true);
                while matches!(next, 0 | 43 | 44 | 60) {
                    let extension = frame.get(upper..upper + 8)?;
                    whole &= next != 44;
                    upper += if next == 44 { 8 } else { 8 + usize::from(extension[1]) * 8 };
                    next = extension[0];
                }
                Some(Self { ipv4: false, network, upper, end: end.max(upper), proto: Proto(next), whole })
            }
            _ => None,
        }
    }

    /// Where the fields are, and how long each is.
    fn fields(&self) -> Vec<(usize, usize)> {
        let at = |base: usize, fields: &[(usize, usize)]| -> Vec<(usize, usize)> {
            fields.iter().map(|(offset, size)| (base + offset, *size)).collect()
        };
        let mut fields = match self.ipv4 {
            true => {
                at(self.network, &[(0, 1), (1, 1), (2, 2), (4, 2), (6, 2), (8, 1), (9, 1), (12, 4), (16, 4)])
            }
            false => {
                at(self.network, &[(0, 1), (1, 1), (4, 2), (6, 1), (7, 1), (8, 4), (20, 4), (24, 4), (36, 4)])
            }
        };
        fields.extend(match self.proto {
            Proto::TCP => at(
                self.upper,
                &[
                    (0, 2),
                    (2, 2),
                    (4, 4),
                    (4, 4),
                    (8, 4),
                    (8, 4),
                    (12, 1),
                    (13, 1),
                    (13, 1),
                    (14, 2),
                    (18, 2),
                ],
            ),
            Proto::UDP => at(self.upper, &[(0, 2), (2, 2), (4, 2), (6, 2)]),
            Proto::ICMP | Proto::ICMP6 => at(self.upper, &[(0, 1), (1, 1), (4, 2), (6, 2)]),
            _ => at(self.upper, &[(0, 4), (4, 4)]),
        });
        // Options of TCP, a quoted header, extension headers: octets and words anywhere in what follows.
        fields.extend((0..40).step_by(2).map(|offset| (self.upper + 20 + offset, 1 + offset / 2 % 4)));
        fields.extend((self.network + 20..self.upper).map(|offset| (offset, 1)));
        fields
    }
}

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

pub fn read(frame: &[u8], at: usize, size: usize) -> u32 {
    let field = frame.get(at..at + size).unwrap_or_default();
    field.iter().fold(0, |value, octet| value << 8 | u32::from(*octet))
}

pub fn write(frame: &mut [u8], at: usize, size: usize, value: u32) {
    if let Some(field) = frame.get_mut(at..at + size) {
        field.copy_from_slice(&value.to_be_bytes()[4 - size..]);
    }
}

pub fn addresses(frame: &[u8], layout: &Layout) -> (IpAddr, IpAddr) {
    fn octets<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
        frame[at..].first_chunk().copied().unwrap_or([0; N])
    }
    let at = layout.network;
    match layout.ipv4 {
        true => (
            Ipv4Addr::from(octets::<4>(frame, at + 12)).into(),
            Ipv4Addr::from(octets::<4>(frame, at + 16)).into(),
        ),
        false => (
            Ipv6Addr::from(octets::<16>(frame, at + 8)).into(),
            Ipv6Addr::from(octets::<16>(frame, at + 24)).into(),
        ),
    }
}

/// Makes lengths and checksums right, as far as they can be found.
pub fn repair(frame: &mut [u8], lengths: bool) {
    let Some(layout) = Layout::of(frame) else { return };
    let Layout { ipv4, network, upper, .. } = layout;
    if upper > frame.len() {
        return;
    }
    if lengths {
        let (at, total) = if ipv4 {
            (network + 2, frame.len() - network)
        } else {
            (network + 4, frame.len() - network - 40)
        };
        write(frame, at, 2, total as u32);
        if layout.proto == Proto::UDP && layout.whole {
            write(frame, upper + 4, 2, (frame.len() - upper) as u32);
        }
    }
    if ipv4 {
        write(frame, network + 10, 2, 0);
        let sum = Sum::ZERO.plus(&frame[network..upper]).checksum();
        frame[network + 10..network + 12].copy_from_slice(&sum.0);
    }
    let Some(layout @ Layout { end, proto, whole: true, .. }) = Layout::of(frame) else { return };
    let at = match proto {
        Proto::TCP => upper + 16,
        Proto::UDP => upper + 6,
        Proto::ICMP | Proto::ICMP6 => upper + 2,
        _ => return,
    };
    if at + 2 > end || end > frame.len() {
        return;
    }
    let (src, dst) = addresses(frame, &layout);
    write(frame, at, 2, 0);
    let begin = match (proto, Pseudo::of(src, dst)) {
        (Proto::ICMP, _) | (_, None) => Sum::ZERO,
        (proto, Some(pseudo)) => pseudo.sum(proto, end - upper),
    };
    let sum = begin.plus(&frame[upper..end]).checksum();
    let sum = if proto == Proto::UDP { sum.for_udp() } else { sum };
    frame[at..at + 2].copy_from_slice(&sum.0);
}

/// What is done to a frame before it is sent.
#[derive(Clone, Debug)]
pub enum Change {
    /// A bit of any octet.
    Flip(u16, u8),
    /// A field at which something ends: which one, and by what.
    Field(u8, Edge),
    /// The end goes.
    Cut(u16),
    /// Octets more, as payload.
    Grow(u16),
    /// Octets behind the datagram.
    Pad(u8),
    /// In fragments of so many octets of eight, in this order, without one of them, or with one of them twice.
    Fragment { size: u8, order: u8, overlap: bool },
    /// In a tag that only names a priority.
    Tag(u8),
    /// With right checksums, and with right lengths.
    Repair(bool),
}

#[derive(Clone, Copy, Debug)]
pub enum Edge {
    To(u32),
    By(i32),
    Bit(u8),
}

pub fn change(rng: &mut Rng) -> Change {
    match rng.below(20) {
        0..=1 => Change::Flip(rng.next() as u16, rng.below(8) as u8),
        2..=9 => Change::Field(rng.next() as u8, edge(rng)),
        10 => Change::Cut(rng.next() as u16),
        11..=12 => Change::Grow(*rng.pick(&[1, 7, 8, 100, 536, 1400, 1460, 3000])),
        13 => Change::Pad(rng.between(1, 60) as u8),
        14..=16 => Change::Fragment {
            size: *rng.pick(&[1, 2, 3, 8, 70, 160]),
            order: rng.next() as u8,
            overlap: rng.chance(1, 4),
        },
        17 => Change::Tag(rng.below(8) as u8),
        _ => Change::Repair(rng.chance(1, 2)),
    }
}

fn edge(rng: &mut Rng) -> Edge {
    match rng.below(8) {
        0..=2 => Edge::To(*rng.pick(&[
            0,
            1,
            2,
            4,
            5,
            8,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0x8000,
            0xffff,
            1 << 31,
            u32::MAX,
        ])),
        3 => Edge::To(rng.next() as u32),
        4..=6 => Edge::By(*rng.pick(&[
            1,
            -1,
            2,
            -2,
            1000,
            -1000,
            65_535,
            -65_535,
            67_035,
            1 << 20,
            1 << 30,
            i32::MIN,
        ])),
        _ => Edge::Bit(rng.below(32) as u8),
    }
}

/// The frames that come of one.
pub fn apply(changes: &[Change], frame: Vec<u8>) -> Vec<Vec<u8>> {
    let mut frames = vec![frame];
    for change in changes {
        if let Change::Fragment { size, order, overlap } = change {
            frames = frames.iter().flat_map(|frame| fragments(frame, *size, *order, *overlap)).collect();
            frames.truncate(64);
        } else {
            frames.iter_mut().for_each(|frame| alter(frame, change));
        }
    }
    frames
}

fn alter(frame: &mut Vec<u8>, change: &Change) {
    let layout = Layout::of(frame);
    match change {
        Change::Flip(at, bit) if !frame.is_empty() => {
            let at = usize::from(*at) % frame.len();
            frame[at] ^= 1 << bit;
        }
        Change::Field(which, edge) => {
            let Some(layout) = layout else { return };
            let fields = layout.fields();
            let (at, size) = fields[usize::from(*which) % fields.len()];
            let old = read(frame, at, size);
            write(
                frame,
                at,
                size,
                match edge {
                    Edge::To(value) => *value,
                    Edge::By(by) => old.wrapping_add_signed(*by),
                    Edge::Bit(bit) => old ^ 1 << (usize::from(*bit) % (8 * size)),
                },
            );
        }
        Change::Cut(keep) => frame.truncate(usize::from(*keep) % (frame.len() + 1)),
        Change::Grow(octets) => {
            frame.extend((0..*octets).map(|octet| octet as u8));
            repair(frame, true);
        }
        Change::Pad(octets) => frame.resize(frame.len() + usize::from(*octets), 0),
        Change::Tag(code) if frame.len() >= ETHERNET && frame[12..14] != VLAN => {
            frame.splice(12..12, [VLAN[0], VLAN[1], code << 5, 0]);
        }
        Change::Repair(lengths) => repair(frame, *lengths),
        Change::Flip(..) | Change::Tag(_) | Change::Fragment { .. } => {}
    }
}

fn fragments(frame: &[u8], size: u8, order: u8, overlap: bool) -> Vec<Vec<u8>> {
    let size = usize::from(size.max(1)) * 8;
    let Some(Layout { ipv4, network, end, whole: true, .. }) = Layout::of(frame) else {
        return vec![frame.to_vec()];
    };
    let upper = if ipv4 { Layout::of(frame).map_or(end, |layout| layout.upper) } else { network + 40 };
    let Some(data) = frame.get(upper..end).filter(|data| data.len() > size) else {
        return vec![frame.to_vec()];
    };
    let mut pieces = Vec::new();
    for at in (0..data.len()).step_by(size) {
        let from = if overlap && at > 0 { at - 8 } else { at };
        let piece = &data[from..data.len().min(at + size)];
        let more = at + size < data.len();
        let place = (from as u16) | if ipv4 { 0 } else { u16::from(more) };
        let mut out = frame[..upper].to_vec();
        if ipv4 {
            let more = if more { 0x2000 } else { 0 };
            write(&mut out, network + 6, 2, u32::from(place / 8) | more);
        } else {
            let next = core::mem::replace(&mut out[network + 6], 44);
            let [high, low] = place.to_be_bytes();
            out.extend([next, 0, high, low, 0, 0, 0, order]);
        }
        out.extend(piece);
        repair(&mut out, true);
        pieces.push(out);
    }
    let count = pieces.len();
    match order % 5 {
        0 => pieces.reverse(),
        1 => drop(pieces.remove(usize::from(order / 5) % count)),
        2 => pieces.push(pieces[usize::from(order / 5) % count].clone()),
        3 => pieces.rotate_left(usize::from(order / 5) % count),
        _ => {}
    }
    pieces
}
