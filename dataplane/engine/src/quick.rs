//! Reading the plainest and most frequent packets: TCP and UDP without options, extension headers or fragments, and without
//! tags but where tags cross a transparent pair.
//!
//! Overview: [`Quick::read`] takes from a frame what the lookup of its connection needs, and what a packet of an established
//! connection needs besides: words of fixed places, loaded whole and compared at once, out of at least as many bytes as both
//! headers of TCP have (a shorter frame, which no Ethernet carries, goes the long way). It refuses nothing: what it does not know is [`Kind::Other`], and [`parse`](crate::parse())
//! decides. Where it speaks, it says the same as `parse` (test `quick_reads_what_parse_reads`), and so does
//! [`Quick::packet`], which makes the hooks' packet of what was read.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod packet;

use wire::{EtherType, Mac, Proto, Seq, TcpFlags, ethernet, ipv4, ipv6, tcp, udp};

use crate::bridge::zone_of;
use crate::fib::Interface;
use crate::state::{KeyHash, Narrow, RecordId, Side};
use crate::track::Plain;
use crate::{Address, RxChecksum, Zone};

/// How much is known of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    #[default]
    Other,
    /// Its connection: the state's lines can be fetched, but the packet goes the long way.
    Keyed,
    /// A segment without SYN, FIN and RST that may be forwarded if its connection is established.
    Segment,
    /// A datagram that may be forwarded likewise.
    Datagram,
}

impl Kind {
    /// True if a packet may be followed the short way.
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Segment | Self::Datagram)
    }
}

/// A packet, as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quick {
    pub kind: Kind,
    pub sender: Side,
    /// Bytes of the IP datagram.
    pub length: u16,
    /// The record that its connection most likely has.
    pub hint: RecordId,
    pub key: Narrow,
    /// IPv6: the addresses, by side.
    pub wide: [Address; 2],
    /// To be computed for the whole burst at once.
    pub hash: KeyHash,
    /// TCP.
    pub segment: Plain,
}

/// What holds for every packet of a burst: whom frames must be for, and in which routing domain they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    /// What must be equal to the destination, as far as `mask` looks at it.
    destination: u64,
    mask: u64,
    zone: Zone,
    /// What a tag means.
    tags: TagsAre,
}

/// What tags are to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TagsAre {
    /// Of VLANs that are not its own.
    Foreign,
    /// Carried along: its frames may be of any VLAN.
    Carried,
}

impl Door {
    /// The door of an interface: a routed one hears its own address, a bridged one that of every station.
    pub fn of(own: &Interface) -> Self {
        match own.bridge() {
            None => Self::routed(own.mac, own.zone),
            Some(_) => Self::bridged(own.zone),
        }
    }

    const fn routed(own: Mac, zone: Zone) -> Self {
        // A group frame is never to one station: no word has 64 bits.
        let destination = if own.is_group() { u64::MAX } else { word(own) };
        Self { destination, mask: (1 << 48) - 1, zone, tags: TagsAre::Foreign }
    }

    /// Whether frames may come with tags that stay.
    pub fn carries_tags(&self) -> bool {
        self.tags == TagsAre::Carried
    }

    const fn bridged(zone: Zone) -> Self {
        Self { destination: 0, mask: GROUP_BIT, zone, tags: TagsAre::Carried }
    }

    #[inline(always)]
    const fn admits(&self, link: &[u8; ethernet::HEADER_LEN]) -> bool {
        u64::from_le_bytes(part::<0, 8, _>(link)) & self.mask == self.destination
    }
}

/// The bit of group addresses in a [`word`].
const GROUP_BIT: u64 = 1;

#[inline(always)]
const fn word(mac: Mac) -> u64 {
    let Mac([a, b, c, d, e, f]) = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The `N` bytes at `AT`.
#[inline(always)]
const fn part<const AT: usize, const N: usize, const LEN: usize>(bytes: &[u8; LEN]) -> [u8; N] {
    const { assert!(AT + N <= LEN, "beyond the end") };
    // The fallback cannot be reached, by the assertion above.
    match bytes.split_at(AT).1.first_chunk() {
        Some(part) => *part,
        None => [0; N],
    }
}

impl Quick {
    /// Reads a frame that was received from the wire. In place, so that what is known goes where it is needed at once; what
    /// stands in the other fields means nothing where the kind is [`Kind::Other`].
    #[inline(always)]
    pub fn read(&mut self, frame: &[u8], checksum: impl Fn() -> RxChecksum, door: &Door) {
        self.kind = self.look(frame, checksum, door).unwrap_or(Kind::Other);
    }

    /// As [`Self::read`], for a frame that crosses a pair with its tags.
    #[inline(never)]
    pub fn read_behind_tags(&mut self, frame: &[u8], checksum: RxChecksum, door: &Door) {
        self.kind = self.look_behind_tags(frame, checksum, door).unwrap_or(Kind::Other);
    }

    #[inline(always)]
    fn look(&mut self, frame: &[u8], checksum: impl Fn() -> RxChecksum, door: &Door) -> Option<Kind> {
        let head: &[u8; ETHERNET + IPV4_HEAD] = frame.first_chunk()?;
        if !door.admits(head.first_chunk()?) {
            return None;
        }
        let first = u32::from_le_bytes(part::<12, 4, _>(head));
        let available = frame.len() - ETHERNET;
        if first & FIRST_OF_IPV4.1 == FIRST_OF_IPV4.0 {
            self.look_at_ipv4(head.last_chunk()?, available, door.zone, checksum)
        } else if first & FIRST_OF_IPV6.1 == FIRST_OF_IPV6.0 {
            let head: &[u8; ETHERNET + IPV6_HEAD] = frame.first_chunk()?;
            self.look_at_ipv6(head.last_chunk()?, available, door.zone)
        } else {
            None
        }
    }

    fn look_behind_tags(&mut self, frame: &[u8], checksum: RxChecksum, door: &Door) -> Option<Kind> {
        let link = ethernet::Frame::parse(frame).ok()?;
        if !door.admits(frame.first_chunk()?) {
            return None;
        }
        let (datagram, zone) = (link.payload(), zone_of(door.zone, link.tags()));
        let first = *datagram.first()?;
        match link.ether_type() {
            EtherType::IPV4 if first == PLAIN_IPV4 => {
                self.look_at_ipv4(datagram.first_chunk()?, datagram.len(), zone, || checksum)
            }
            EtherType::IPV6 if first >> 4 == 6 => {
                self.look_at_ipv6(datagram.first_chunk()?, datagram.len(), zone)
            }
            _ => None,
        }
    }

    /// Reads an IPv4 packet whose header is of that version, without options, and has `available` bytes at most.
    #[inline(always)]
    fn look_at_ipv4(
        &mut self,
        head: &[u8; IPV4_HEAD],
        available: usize,
        zone: Zone,
        checksum: impl Fn() -> RxChecksum,
    ) -> Option<Kind> {
        /// The offset of a fragment, and whether more come.
        const FRAGMENT: u16 = u16::from_le_bytes([0x3f, 0xff]);
        let ip: &[u8; ipv4::HEADER_LEN] = head.first_chunk()?;
        let length = u16::from_be_bytes(part::<2, 2, _>(ip));
        let [ttl, proto] = part::<8, 2, _>(ip);
        if u16::from_le_bytes(part::<6, 2, _>(ip)) & FRAGMENT != 0 || usize::from(length) > available {
            return None;
        }
        if checksum() != RxChecksum::Good && !verified(ip, checksum()) {
            return None;
        }
        let room = i32::from(length).wrapping_sub(ipv4::HEADER_LEN as i32);
        let (ports, kind) = self.look_at_transport(head.last_chunk()?, Proto(proto), room)?;
        let ends = u64::from_be_bytes(part::<12, 8, _>(ip));
        (self.key, self.sender) = Narrow::inet(Proto(proto), zone, ends, ports);
        Some(self.finish(kind, length, ttl))
    }

    /// Reads a packet of IP version 6 that has `available` bytes at most.
    #[inline(always)]
    fn look_at_ipv6(&mut self, head: &[u8; IPV6_HEAD], available: usize, zone: Zone) -> Option<Kind> {
        // Every extension header has a number that is neither TCP's nor UDP's.
        let [a, b, proto, ttl] = part::<4, 4, _>(head);
        let room = u16::from_be_bytes([a, b]);
        let length = room.checked_add(ipv6::HEADER_LEN as u16)?;
        if usize::from(length) > available {
            return None;
        }
        let (ports, kind) = self.look_at_transport(head.last_chunk()?, Proto(proto), room.into())?;
        let [src, dst] = [part::<8, 16, _>(head), part::<24, 16, _>(head)];
        let addresses = [src, dst].map(|octets| Address(u128::from_be_bytes(octets)));
        (self.key, self.sender, self.wide) = Narrow::inet6(Proto(proto), zone, addresses, ports);
        Some(self.finish(kind, length, ttl))
    }

    #[inline(always)]
    const fn finish(&mut self, kind: Kind, length: u16, ttl: u8) -> Kind {
        self.length = length;
        // Without a hop to live the packet is not forwarded, and its sender is told.
        if ttl > 1 { kind } else { Kind::Keyed }
    }

    /// The ports, the source in the upper half, and what the packet is if it has hops to live. `room` is how many bytes the IP
    /// header leaves.
    #[inline(always)]
    fn look_at_transport(
        &mut self,
        octets: &[u8; TRANSPORT],
        proto: Proto,
        room: i32,
    ) -> Option<(u32, Kind)> {
        let ports = u32::from_be_bytes(part::<0, 4, _>(octets));
        if ports as u16 == 0 {
            return None;
        }
        match proto {
            Proto::TCP => Some((ports, self.look_at_tcp(octets, room)?)),
            Proto::UDP => {
                let length = i32::from(u16::from_be_bytes(part::<4, 2, _>(octets)));
                (length >= udp::HEADER_LEN as i32 && length <= room).then_some((ports, Kind::Datagram))
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn look_at_tcp(&mut self, octets: &[u8; TRANSPORT], room: i32) -> Option<Kind> {
        let numbers = u64::from_be_bytes(part::<4, 8, _>(octets));
        let word = u16::from_le_bytes(part::<12, 2, _>(octets));
        let urgent = u16::from_le_bytes(part::<18, 2, _>(octets));
        let header_len = i32::from(word as u8 >> 4) * 4;
        if header_len < tcp::HEADER_LEN as i32 || header_len > room {
            return None;
        }
        self.segment = Plain {
            seq: Seq((numbers >> 32) as u32),
            ack: Seq(numbers as u32),
            window: u16::from_be_bytes(part::<14, 2, _>(octets)),
            len: room.wrapping_sub(header_len) as u32,
        };
        let odd = (word & DECISIVE.1) ^ DECISIVE.0 | urgent;
        Some(if odd == 0 { Kind::Segment } else { Kind::Keyed })
    }
}

/// Bytes of headers that are read at once: a packet that ends before goes the long way.
const ETHERNET: usize = ethernet::HEADER_LEN;
const TRANSPORT: usize = tcp::HEADER_LEN;
const IPV4_HEAD: usize = ipv4::HEADER_LEN + TRANSPORT;
const IPV6_HEAD: usize = ipv6::HEADER_LEN + TRANSPORT;

/// Data offset and flags of a segment that opens, closes, resets and repairs nothing, and which of their bits are looked at.
/// With URG, the hooks see whether the pointer means anything.
const DECISIVE: (u16, u16) = {
    let flags = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0 | TcpFlags::ACK.0 | TcpFlags::URG.0;
    (u16::from_le_bytes([0, TcpFlags::ACK.0]), u16::from_le_bytes([tcp::UNUSED, flags]))
};

/// Version 4 and a header of 20 bytes, in the first byte of a packet.
const PLAIN_IPV4: u8 = 0x45;

/// The EtherType and the first byte of the packet behind it, and which of their bits are looked at.
const FIRST_OF_IPV4: (u32, u32) = first(EtherType::IPV4, PLAIN_IPV4, 0xff);
const FIRST_OF_IPV6: (u32, u32) = first(EtherType::IPV6, 6 << 4, 0xf0);

const fn first(ether_type: EtherType, byte: u8, mask: u8) -> (u32, u32) {
    let [high, low] = ether_type.0.to_be_bytes();
    (u32::from_le_bytes([high, low, byte, 0]), u32::from_le_bytes([0xff, 0xff, mask, 0]))
}

/// Whether an IPv4 header's checksum is right, where the NIC did not say that it is.
#[cold]
fn verified(header: &[u8; ipv4::HEADER_LEN], checksum: RxChecksum) -> bool {
    checksum == RxChecksum::Unknown && wire::checksum::verify_ipv4(header).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use wire::corpus;

    use super::*;
    use crate::parse::{Parsed, parse};
    use crate::rewrite;
    use crate::state::{Family, Hashing, Key};
    use crate::{Packet, Transport};

    /// Every good and bad frame of the corpus, and each with one octet changed in several ways.
    fn frames() -> impl Iterator<Item = Vec<u8>> {
        let good = corpus::packets().into_iter().map(|(_, frame)| frame);
        let bad = corpus::malformed().into_iter().map(|(_, frame, _)| frame);
        good.chain(bad).flat_map(|frame| {
            let changed = |at: usize, change: u8| {
                let mut frame = frame.clone();
                frame[at] ^= change;
                frame
            };
            let head = frame.len().min(100);
            let damaged: Vec<Vec<u8>> =
                (0..head).flat_map(|at| [1, 2, 0x10, 0x80, 0xff].map(|change| changed(at, change))).collect();
            let cut = (0..frame.len()).map(|length| frame[..length].to_vec()).collect::<Vec<_>>();
            damaged.into_iter().chain(cut).chain([frame])
        })
    }

    fn read_alone(frame: &[u8], door: &Door, checksum: RxChecksum, hashing: &Hashing) -> Quick {
        let mut quick = Quick::default();
        quick.read(frame, || checksum, door);
        if quick.kind == Kind::Other && door.carries_tags() {
            quick.read_behind_tags(frame, checksum, door);
        }
        hashing.hash_each(
            core::iter::once(&mut quick),
            |quick| quick.key.blocks(&quick.wide),
            |quick, hash| quick.hash = hash,
        );
        quick
    }

    fn compare(quick: &Quick, packet: &Packet, hashing: &Hashing) {
        let (key, sender) = Key::of(&packet.tuple);
        assert_eq!((quick.key, quick.sender), (Narrow::of(&key), sender));
        assert_eq!(quick.hash, hashing.hash(&key));
        if quick.key.family() == Family::Inet6 {
            assert_eq!(quick.wide, key.address);
        }
        assert_eq!(u32::from(quick.length), packet.length());
        assert!(!packet.options && !packet.group_frame);
        let kind = match packet.transport {
            Transport::Tcp(segment) => {
                let Plain { seq, ack, window, len } = quick.segment;
                assert_eq!((seq, ack, window, len), (segment.seq, segment.ack, segment.window, segment.len));
                let ends = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);
                let ends = ends.union(TcpFlags::URG);
                let plain = segment.has(TcpFlags::ACK) && !segment.flags.intersects(ends) && !segment.strays;
                if plain { Kind::Segment } else { Kind::Keyed }
            }
            Transport::Udp => Kind::Datagram,
            other => panic!("{other:?} is not read quickly"),
        };
        assert_eq!(quick.kind, if packet.ttl > 1 { kind } else { Kind::Keyed });
    }

    fn compare_packets(quick: &Quick, frame: &[u8], packet: &Packet) {
        let made = quick.packet(frame, packet.tuple.zone).expect("there is a packet");
        assert_eq!(made, *packet);
    }

    #[test]
    fn quick_reads_what_parse_reads() {
        let hashing = Hashing::new([1, 2], 1);
        let mut read = 0;
        for frame in frames() {
            for checksum in [RxChecksum::Unknown, RxChecksum::Good, RxChecksum::Bad] {
                let own = frame.first_chunk().map_or(Mac::default(), |octets| Mac(*octets));
                let quick = read_alone(&frame, &Door::routed(own, ZONE), checksum, &hashing);
                if quick.kind == Kind::Other {
                    continue;
                }
                read += 1;
                let Ok(Parsed::Ip(packet)) = parse(&frame, ZONE, checksum) else {
                    panic!("read but refused: {frame:02x?}");
                };
                assert_eq!(packet.l3, 14);
                compare(&quick, &packet, &hashing);
                compare_packets(&quick, &frame, &packet);
            }
        }
        assert!(read > 1000, "{read} frames were read quickly");
    }

    /// Frames as they cross a pair: to any station, with tags or without.
    #[test]
    fn quick_reads_what_parse_reads_behind_tags() {
        let hashing = Hashing::new([1, 2], 1);
        let door = Door::bridged(ZONE);
        let mut read = [0; 3];
        let tags: [&[u8]; 3] = [&[], &[0x81, 0, 0x60, 5], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5]];
        for (frame, (number, tags)) in
            frames().flat_map(|frame| tags.iter().enumerate().map(move |tags| (frame.clone(), tags)))
        {
            let Some(at) = frame.get(12..).map(|_| 12) else { continue };
            let tagged = [&frame[..at], tags, &frame[at..]].concat();
            let quick = read_alone(&tagged, &door, RxChecksum::Unknown, &hashing);
            if quick.kind == Kind::Other {
                continue;
            }
            read[number] += 1;
            let zone = zone_of(ZONE, ethernet::Frame::parse(&tagged).unwrap().tags());
            let Ok(Parsed::Ip(packet)) = parse(&tagged, zone, RxChecksum::Unknown) else {
                panic!("read but refused: {tagged:02x?}");
            };
            compare(&quick, &packet, &hashing);
        }
        assert!(read.iter().all(|count| *count > 300), "{read:?} frames were read quickly");
    }

    const ZONE: Zone = Zone(3);

    #[test]
    fn a_frame_to_somebody_else_is_not_read() {
        let hashing = Hashing::new([1, 2], 1);
        for frame in frames().filter(|frame| frame.len() > 6) {
            let door = Door::routed(Mac([2, 9, 9, 9, 9, 9]), ZONE);
            let quick = read_alone(&frame, &door, RxChecksum::Good, &hashing);
            assert_eq!(quick.kind, Kind::Other);
        }
    }

    #[test]
    fn plain_forwarding_writes_what_forwarding_writes() {
        let hashing = Hashing::new([1, 2], 1);
        let (from, to) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let mut link = [0; 12];
        link[..6].copy_from_slice(&to.0);
        link[6..].copy_from_slice(&from.0);
        for frame in frames() {
            let own = frame.first_chunk().map_or(Mac::default(), |octets| Mac(*octets));
            let quick = read_alone(&frame, &Door::routed(own, ZONE), RxChecksum::Unknown, &hashing);
            let Ok(Parsed::Ip(packet)) = parse(&frame, ZONE, RxChecksum::Unknown) else { continue };
            if !quick.kind.is_plain() {
                continue;
            }
            let (mut short, mut long) = (frame.clone(), frame);
            rewrite::forward_plain(&mut short, quick.key.family(), &link);
            rewrite::decrement_ttl(&mut long, &packet).unwrap();
            rewrite::set_link(&mut long, from, to);
            assert_eq!(short, long);
        }
    }
}
