//! Reading the plainest and most frequent packets: TCP and UDP without options, extension headers or fragments, and without
//! tags but where tags cross a transparent pair.
//!
//! Overview: [`Quick::read`] takes from a frame what the lookup of its connection needs, and what a packet of an established
//! connection needs besides. It refuses nothing: what it does not know is [`Kind::Other`], and [`parse`](crate::parse())
//! decides. Where it speaks, it says the same as `parse` (test `quick_reads_what_parse_reads`).
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wire::{Af, EtherType, Mac, Port, Proto, TcpFlags, ethernet, ipv4, ipv6, tcp, udp};

use crate::bridge::zone_of;
use crate::fib::Interface;
use crate::state::{Hashing, Key, KeyHash, Narrow, Side};
use crate::track::Plain;
use crate::{Address, RxChecksum, Tuple, Zone};

/// How much is known of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    #[default]
    Other,
    /// Its connection: the state's lines can be fetched, but the packet goes the long way.
    Keyed,
    /// A segment without SYN, FIN and RST, or a datagram, that may be forwarded if its connection is established.
    Plain,
}

/// A packet, as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quick {
    pub kind: Kind,
    pub sender: Side,
    /// Bytes of the IP datagram.
    pub length: u16,
    /// The key, but for the addresses of IPv6, which are read again where they are compared.
    pub key: Narrow,
    /// IPv4: to be computed for the whole burst at once.
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
        // A group frame is never to one station: nothing has 64 bits of destination.
        let destination = if own.is_group() { u64::MAX } else { word(own) };
        Self { destination, mask: u64::MAX, zone, tags: TagsAre::Foreign }
    }

    /// Whether frames may come with tags that stay.
    pub fn carries_tags(&self) -> bool {
        self.tags == TagsAre::Carried
    }

    const fn bridged(zone: Zone) -> Self {
        Self { destination: 0, mask: GROUP_BIT, zone, tags: TagsAre::Carried }
    }

    #[inline(always)]
    const fn admits(&self, destination: Mac) -> bool {
        word(destination) & self.mask == self.destination
    }
}

/// The bit of group addresses in a [`word`].
const GROUP_BIT: u64 = 1;

#[inline(always)]
const fn word(mac: Mac) -> u64 {
    let Mac([a, b, c, d, e, f]) = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

impl Quick {
    /// Reads a frame that was received from the wire. In place, so that what is known goes where it is needed at once; what
    /// stands in the other fields means nothing where the kind is [`Kind::Other`].
    #[inline(always)]
    pub fn read(&mut self, frame: &[u8], checksum: RxChecksum, door: &Door, hashing: &Hashing) {
        self.kind = self.look(frame, checksum, door, hashing).unwrap_or(Kind::Other);
    }

    /// As [`Self::read`], for a frame that crosses a pair with its tags.
    #[inline(never)]
    pub fn read_behind_tags(&mut self, frame: &[u8], checksum: RxChecksum, door: &Door, hashing: &Hashing) {
        self.kind = self.look_behind_tags(frame, checksum, door, hashing).unwrap_or(Kind::Other);
    }

    #[inline(always)]
    fn look(&mut self, frame: &[u8], checksum: RxChecksum, door: &Door, hashing: &Hashing) -> Option<Kind> {
        let link = ethernet::Header::at(frame, 0).ok()?;
        if !door.admits(link.dst()) {
            return None;
        }
        let bytes = frame.get(ethernet::HEADER_LEN..)?;
        match link.ether_type() {
            EtherType::IPV4 => self.look_at_ipv4(bytes, door.zone, checksum),
            EtherType::IPV6 => self.look_at_ipv6(bytes, door.zone, hashing),
            _ => None,
        }
    }

    fn look_behind_tags(
        &mut self,
        frame: &[u8],
        checksum: RxChecksum,
        door: &Door,
        hashing: &Hashing,
    ) -> Option<Kind> {
        let link = ethernet::Frame::parse(frame).ok()?;
        if !door.admits(link.header().dst()) {
            return None;
        }
        let zone = zone_of(door.zone, link.tags());
        match link.ether_type() {
            EtherType::IPV4 => self.look_at_ipv4(link.payload(), zone, checksum),
            EtherType::IPV6 => self.look_at_ipv6(link.payload(), zone, hashing),
            _ => None,
        }
    }

    #[inline(always)]
    fn look_at_ipv4(&mut self, bytes: &[u8], zone: Zone, checksum: RxChecksum) -> Option<Kind> {
        let (ip, ends) = read_ipv4(bytes, checksum)?;
        let (ports, plain) = self.look_at_transport(&ip)?;
        (self.key, self.sender) = Narrow::inet(ip.proto, zone, ends, ports);
        Some(self.finish(&ip, plain))
    }

    #[inline(never)]
    fn look_at_ipv6(&mut self, bytes: &[u8], zone: Zone, hashing: &Hashing) -> Option<Kind> {
        let (ip, [src, dst]) = read_ipv6(bytes)?;
        let ([sport, dport], plain) = self.look_at_transport(&ip)?;
        let tuple = Tuple { af: Af::Inet6, proto: ip.proto, zone, src, dst, sport, dport };
        let (key, sender) = Key::of(&tuple);
        (self.key, self.sender, self.hash) = (Narrow::of(&key), sender, hashing.hash(&key));
        Some(self.finish(&ip, plain))
    }

    #[inline(always)]
    const fn finish(&mut self, ip: &Ip<'_>, plain: bool) -> Kind {
        self.length = ip.length;
        // Without a hop to live the packet is not forwarded, and its sender is told.
        if plain && ip.ttl > 1 { Kind::Plain } else { Kind::Keyed }
    }

    /// The ports, and whether the packet neither opens nor closes anything.
    #[inline(always)]
    fn look_at_transport(&mut self, ip: &Ip<'_>) -> Option<([Port; 2], bool)> {
        match ip.proto {
            Proto::TCP => self.look_at_tcp(ip.payload),
            Proto::UDP => Some((read_udp(ip.payload)?, true)),
            _ => None,
        }
    }

    #[inline(always)]
    fn look_at_tcp(&mut self, octets: &[u8]) -> Option<([Port; 2], bool)> {
        const DECISIVE: TcpFlags =
            TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST).union(TcpFlags::ACK);
        let header = tcp::Header::at(octets, 0).ok()?;
        let header_len = header.header_len();
        if header_len < tcp::HEADER_LEN || header.dst_port() == Port(0) {
            return None;
        }
        let len = octets.len().checked_sub(header_len)? as u32;
        self.segment = Plain { seq: header.seq(), ack: header.ack(), window: header.window(), len };
        let plain = header.flags().masked(DECISIVE) == TcpFlags::ACK;
        Some(([header.src_port(), header.dst_port()], plain))
    }
}

/// The addresses of an IPv6 frame that was read as such, by side; its IP header starts at `l3`.
#[inline]
pub(crate) fn wide_addresses(frame: &[u8], l3: usize, sender: Side) -> Option<[Address; 2]> {
    let header = ipv6::Header::at(frame, l3).ok()?;
    let (src, dst) = (header.src().into(), header.dst().into());
    Some(match sender {
        Side::Low => [src, dst],
        Side::High => [dst, src],
    })
}

/// An IP header without options.
struct Ip<'a> {
    proto: Proto,
    ttl: u8,
    length: u16,
    payload: &'a [u8],
}

#[inline(always)]
fn read_ipv4(bytes: &[u8], checksum: RxChecksum) -> Option<(Ip<'_>, [u32; 2])> {
    let header = ipv4::Header::at(bytes, 0).ok()?;
    if header.version() != 4 || header.header_len() != ipv4::HEADER_LEN || header.is_fragment() {
        return None;
    }
    let payload = bytes.get(ipv4::HEADER_LEN..usize::from(header.total_len()))?;
    let sound = match checksum {
        RxChecksum::Good => true,
        RxChecksum::Bad => false,
        RxChecksum::Unknown => wire::checksum::verify_ipv4(header.octets()).is_ok(),
    };
    let ip = Ip { proto: header.proto(), ttl: header.ttl(), length: header.total_len(), payload };
    sound.then(|| (ip, [header.src().to_bits(), header.dst().to_bits()]))
}

#[inline(always)]
fn read_ipv6(bytes: &[u8]) -> Option<(Ip<'_>, [Address; 2])> {
    let header = ipv6::Header::at(bytes, 0).ok()?;
    if header.version() != 6 {
        return None;
    }
    let length = header.payload_len().checked_add(ipv6::HEADER_LEN as u16)?;
    let payload = bytes.get(ipv6::HEADER_LEN..usize::from(length))?;
    // Every extension header has a number that is neither TCP's nor UDP's.
    let ip = Ip { proto: header.next_header(), ttl: header.hop_limit(), length, payload };
    Some((ip, [header.src().into(), header.dst().into()]))
}

#[inline(always)]
fn read_udp(octets: &[u8]) -> Option<[Port; 2]> {
    let header = udp::Header::at(octets, 0).ok()?;
    let length = usize::from(header.length());
    let fits = length >= udp::HEADER_LEN && length <= octets.len() && header.dst_port() != Port(0);
    fits.then(|| [header.src_port(), header.dst_port()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use wire::corpus;

    use super::*;
    use crate::parse::{Parsed, parse};
    use crate::rewrite;
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
        quick.read(frame, checksum, door, hashing);
        if quick.kind == Kind::Other && door.carries_tags() {
            quick.read_behind_tags(frame, checksum, door, hashing);
        }
        let mut all = [quick];
        hashing.hash_each(
            &mut all,
            |quick| quick.key.block(),
            |quick, hash| {
                if quick.key.family == crate::state::Family::Inet {
                    quick.hash = hash;
                }
            },
        );
        all[0]
    }

    fn compare(quick: &Quick, packet: &Packet, hashing: &Hashing) {
        let (key, sender) = Key::of(&packet.tuple);
        assert_eq!((quick.key, quick.sender), (Narrow::of(&key), sender));
        assert_eq!(quick.hash, hashing.hash(&key));
        assert_eq!(u32::from(quick.length), packet.length());
        assert!(!packet.options && !packet.group_frame);
        let plain = match packet.transport {
            Transport::Tcp(segment) => {
                let Plain { seq, ack, window, len } = quick.segment;
                assert_eq!((seq, ack, window, len), (segment.seq, segment.ack, segment.window, segment.len));
                segment.has(TcpFlags::ACK)
                    && !segment.flags.intersects(TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST))
            }
            Transport::Udp => true,
            other => panic!("{other:?} is not read quickly"),
        };
        let kind = if plain && packet.ttl > 1 { Kind::Plain } else { Kind::Keyed };
        assert_eq!(quick.kind, kind);
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
            if quick.kind != Kind::Plain {
                continue;
            }
            let (mut short, mut long) = (frame.clone(), frame);
            rewrite::forward_plain(&mut short, quick.key.family, &link);
            rewrite::decrement_ttl(&mut long, &packet).unwrap();
            rewrite::set_link(&mut long, from, to);
            assert_eq!(short, long);
        }
    }
}
