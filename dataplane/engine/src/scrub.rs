//! What rules change of the packets that they pass (pf.conf(5) `scrub`, `set tos`, `set prio`).
//!
//! Overview: a [`Scrubbing`] adds up what the `match` rules that a packet meets ask for, and the rule that decides. A state keeps
//! it, for its packets of both directions. The [`Packet`] is changed at the hook, so that everything behind sees what will be
//! sent: rules the type of service and the priority, the gates the hops to live and whether it may be fragmented. The frame is
//! [written](write()) last, behind every gate: of a refused packet nothing was changed. What is put together of fragments is
//! changed as a whole, and cut up afterwards.
//! Life cycle: made with the root, kept with a state's class. Ownership: the shard. Bounds: a packet's headers.
//!
//! Deviation: `max-mss` looks at SYNs, in which alone the option means something (RFC 9293 §3.7.1).
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod retouch;

use ruleset::{Direction, Rule, Scrub, SetPrio};
use wire::ethernet::{TAGS_AT, Tags};
use wire::tcp::TcpOption;
use wire::{Af, EtherType, TcpFlags, ethernet, ipv4, ipv6, tcp};

use crate::frame::Frame;
use crate::hook::Passage;
use crate::packet::{Packet, Transport};
pub(crate) use retouch::Retouch;

/// What is changed of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrubbing {
    scrub: Scrub,
    tos: Option<u8>,
    prio: Option<SetPrio>,
}

/// Bits of the type of service that are for congestion notification (RFC 3168).
const ECN: u8 = 0x03;

/// The bit of the type of service that asks for low delay (RFC 1349).
const LOW_DELAY: u8 = 0x10;

/// The bits of a tag's first octet that are its priority (IEEE 802.1Q).
const PCP_SHIFT: u8 = 5;

impl Scrubbing {
    /// What a rule asks for.
    pub const fn of(rule: &Rule) -> Self {
        Self { scrub: rule.scrub, tos: rule.set_tos, prio: rule.set_prio }
    }

    /// True if nothing is changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What this and then `later` ask for: where both name a value, the later one's holds.
    pub fn follow(&mut self, later: &Self) {
        let Self { scrub, tos, prio } = self;
        scrub.no_df |= later.scrub.no_df;
        scrub.random_id |= later.scrub.random_id;
        scrub.reassemble_tcp |= later.scrub.reassemble_tcp;
        scrub.min_ttl = if later.scrub.min_ttl == 0 { scrub.min_ttl } else { later.scrub.min_ttl };
        scrub.max_mss = if later.scrub.max_mss == 0 { scrub.max_mss } else { later.scrub.max_mss };
        (*tos, *prio) = (later.tos.or(*tos), later.prio.or(*prio));
    }

    /// True if timestamps of TCP are looked at.
    pub const fn reassembles_tcp(&self) -> bool {
        self.scrub.reassemble_tcp
    }

    /// True if packets behind a connection's first ones have more changed than a [`Retouch`] changes. `max-mss` is about SYNs.
    pub const fn meets_each_packet(&self) -> bool {
        self.scrub.reassemble_tcp || self.prio.is_some()
    }

    /// As many bits as a [`number`](Self::number) has at most.
    pub const NUMBER_BITS: u32 = 43;

    /// As a number, different for all different ones.
    pub fn number(&self) -> u64 {
        let Scrub { no_df, random_id, min_ttl, max_mss, reassemble_tcp } = self.scrub;
        let tos = self.tos.map_or(0, |tos| 1 << 8 | u64::from(tos));
        let prio = self.prio.map_or(0, |prio| 1 << 6 | u64::from(prio.bulk) << 3 | u64::from(prio.urgent));
        let flags = [no_df, random_id, reassemble_tcp]
            .map(u64::from)
            .into_iter()
            .fold(0, |all, flag| all << 1 | flag);
        (((flags << 8 | u64::from(min_ttl)) << 16 | u64::from(max_mss)) << 9 | tos) << 7 | prio
    }
}

/// What is written into a frame at its end, of each hook's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    /// By [`Direction`].
    scrubbings: [Scrubbing; 2],
    /// The identification of `random-id`, if a hook asks for one.
    ident: Option<u16>,
}

impl Passage<'_> {
    /// Changes the packet at the hook of `direction`; `draw` is for its identification, of which it gets one at most. How it
    /// arrived is kept.
    #[cold]
    #[inline(never)]
    pub fn scrub(&mut self, direction: Direction, scrubbing: &Scrubbing, draw: impl FnOnce() -> u64) {
        let came_by = self.keep_arrived().tuple.af;
        let Scrubbing { scrub, tos, prio } = *scrubbing;
        let packet = &mut *self.packet;
        if let Some(prio) = prio {
            self.priority = if is_urgent(packet) { prio.urgent } else { prio.bulk };
        }
        packet.ttl = packet.ttl.max(scrub.min_ttl);
        packet.dont_fragment &= !(scrub.no_df && came_by == Af::Inet);
        if let Some(tos) = tos {
            packet.tos = marked(packet.tos, tos);
        }
        let [entering, leaving] = &mut self.changes.scrubbings;
        match direction {
            Direction::In => *entering = *scrubbing,
            Direction::Out => *leaving = *scrubbing,
        }
        if scrub.random_id {
            self.changes.ident.get_or_insert_with(|| draw() as u16);
        }
    }
}

/// What `set prio` has a second value for: packets that ask for low delay, and acknowledgments without data.
fn is_urgent(packet: &Packet) -> bool {
    let acknowledges = match packet.transport {
        Transport::Tcp(segment) => segment.has(TcpFlags::ACK) && segment.len == 0,
        _ => false,
    };
    acknowledges || packet.tos & LOW_DELAY != 0
}

/// A type of service as `set tos` makes it.
const fn marked(old: u8, tos: u8) -> u8 {
    old & ECN | tos
}

/// Writes into the frame of a packet what the hook of `direction` changes of it.
#[inline]
pub(crate) fn write<F: Frame>(frame: &mut F, passage: &Passage<'_>, direction: Direction) {
    let [entering, leaving] = &passage.changes.scrubbings;
    let scrubbing = match direction {
        Direction::In => entering,
        Direction::Out => leaving,
    };
    if !scrubbing.is_nothing() {
        write_all(frame, passage, scrubbing);
    }
}

#[cold]
#[inline(never)]
fn write_all<F: Frame>(frame: &mut F, passage: &Passage<'_>, scrubbing: &Scrubbing) {
    let Scrubbing { scrub, tos, prio } = scrubbing;
    let packet = &*passage.packet;
    // That of what was IPv6 is ours.
    let no_df = scrub.no_df && passage.as_counted().tuple.af == Af::Inet;
    let scrub = &Scrub { no_df, ..*scrub };
    // What was parsed is there: no error is possible.
    let _ = match packet.tuple.af {
        Af::Inet => write_ipv4(frame.bytes_mut(), packet, scrub, *tos, passage.changes.ident),
        Af::Inet6 => write_ipv6(frame.bytes_mut(), packet, scrub, *tos),
    };
    if let (Transport::Tcp(segment), true) = (packet.transport, scrub.max_mss > 0)
        && segment.has(TcpFlags::SYN)
    {
        let bounds = usize::from(packet.l4)..packet.end as usize;
        let _ = frame.bytes_mut().get_mut(bounds).map(|segment| clamp_mss(segment, scrub.max_mss));
    }
    if prio.is_some() {
        set_priority(frame, passage.priority);
    }
}

fn write_ipv4(
    frame: &mut [u8],
    packet: &Packet,
    scrub: &Scrub,
    tos: Option<u8>,
    ident: Option<u16>,
) -> Result<(), wire::Error> {
    let mut header = ipv4::Header::at_mut(frame, packet.l3.into())?;
    let ident = ident.filter(|_| scrub.random_id && !header.is_fragment());
    touch_ipv4(&mut header, scrub.no_df, ident, tos);
    raise_ttl(&mut header, scrub.min_ttl);
    Ok(())
}

fn write_ipv6(frame: &mut [u8], packet: &Packet, scrub: &Scrub, tos: Option<u8>) -> Result<(), wire::Error> {
    let mut header = ipv6::Header::at_mut(frame, packet.l3.into())?;
    touch_ipv6(&mut header, tos);
    raise_hop_limit(&mut header, scrub.min_ttl);
    Ok(())
}

/// A header in a frame.
type Ipv4Header<'a> = ipv4::Header<&'a mut [u8; ipv4::HEADER_LEN]>;
type Ipv6Header<'a> = ipv6::Header<&'a mut [u8; ipv6::HEADER_LEN]>;

/// Changes a header, but for its hops to live.
#[inline]
fn touch_ipv4(header: &mut Ipv4Header<'_>, no_df: bool, ident: Option<u16>, tos: Option<u8>) {
    if no_df && header.dont_fragment() {
        header.clear_dont_fragment();
    }
    if let Some(ident) = ident {
        header.rewrite_ident(ident);
    }
    if let Some(tos) = tos {
        header.rewrite_tos(marked(header.tos(), tos));
    }
}

#[inline]
fn touch_ipv6(header: &mut Ipv6Header<'_>, tos: Option<u8>) {
    if let Some(tos) = tos {
        header.set_traffic_class(marked(header.traffic_class(), tos));
    }
}

#[inline]
fn raise_ttl(header: &mut Ipv4Header<'_>, least: u8) {
    if header.ttl() < least {
        header.rewrite_ttl(least);
    }
}

#[inline]
fn raise_hop_limit(header: &mut Ipv6Header<'_>, least: u8) {
    if header.hop_limit() < least {
        header.set_hop_limit(least);
    }
}

/// Has a segment announce no greater maximum segment size than `most`, however often it says so. What stands behind a
/// malformed option is not looked at, by its receiver neither.
fn clamp_mss(segment: &mut [u8], most: u16) -> Result<(), wire::Error> {
    let mut after = 0;
    loop {
        let options = tcp::Segment::parse(segment)?.options();
        let mut options = options.iter();
        let mut next = None;
        while let Some(Ok(option)) = options.next() {
            let at = options.offset();
            if matches!(option, TcpOption::Mss(size) if size > most && at >= after) {
                next = Some(at);
                break;
            }
        }
        let Some(at) = next else { return Ok(()) };
        // Behind kind and length.
        tcp::rewrite_octets(segment, tcp::HEADER_LEN + at + 2, &most.to_be_bytes())?;
        after = at + 1;
    }
}

/// The priority of packets that came with none.
pub(crate) const USUAL_PRIORITY: u8 = 3;

/// The priority of a packet as pf counts it: that of its frame's outermost tag, of which 1, for background traffic, is the
/// lowest (IEEE 802.1Q §8.6.6), else the usual one.
pub(crate) fn priority_of<F: Frame>(frame: &F) -> u8 {
    let tagged = ethernet::Frame::parse(frame.bytes()).map(|link| link.tags());
    let code = match tagged {
        Ok(Tags::One(tag) | Tags::Two { outer: tag, .. }) => Some(tag.priority()),
        _ => frame.priority_code(),
    };
    code.map_or(USUAL_PRIORITY, swapped)
}

/// Between pf's count of priorities and that of tags.
const fn swapped(priority: u8) -> u8 {
    if priority <= 1 { 1 - priority } else { priority }
}

/// Has a frame leave with a priority, in the tag that it has or is given.
fn set_priority<F: Frame>(frame: &mut F, priority: u8) {
    let code = swapped(priority);
    let tag = frame.bytes_mut().get_mut(TAGS_AT..).and_then(<[u8]>::first_chunk_mut);
    if let Some([t0, t1, control, _]) = tag
        && EtherType(u16::from_be_bytes([*t0, *t1])).is_tag()
    {
        *control = *control & ((1 << PCP_SHIFT) - 1) | code << PCP_SHIFT;
    } else {
        frame.set_priority_code(code);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use wire::checksum::{Pseudo, verify_tcp};
    use wire::corpus::build;
    use wire::tcp::OptionsBuf;

    use super::*;

    fn asked(no_df: bool, min_ttl: u8, max_mss: u16) -> Scrubbing {
        Scrubbing { scrub: Scrub { no_df, min_ttl, max_mss, ..Scrub::default() }, ..Scrubbing::default() }
    }

    #[test]
    fn what_is_asked_later_holds_where_both_say_something() {
        let mut sum = Scrubbing { tos: Some(0x10), ..asked(true, 5, 1400) };
        sum.follow(&Scrubbing { prio: Some(SetPrio { bulk: 1, urgent: 2 }), ..asked(false, 0, 1300) });
        let expected =
            Scrubbing { tos: Some(0x10), prio: Some(SetPrio { bulk: 1, urgent: 2 }), ..asked(true, 5, 1300) };
        assert_eq!(sum, expected);
    }

    #[test]
    fn different_ones_have_different_numbers() {
        let all = [
            Scrubbing::default(),
            asked(true, 0, 0),
            asked(false, 1, 0),
            asked(false, 0, 1),
            asked(false, 255, u16::MAX),
            Scrubbing { tos: Some(0), ..Scrubbing::default() },
            Scrubbing { tos: Some(0xff), ..Scrubbing::default() },
            Scrubbing { prio: Some(SetPrio { bulk: 0, urgent: 0 }), ..Scrubbing::default() },
            Scrubbing { prio: Some(SetPrio { bulk: 7, urgent: 7 }), ..Scrubbing::default() },
            Scrubbing { scrub: Scrub { random_id: true, ..Scrub::default() }, ..Scrubbing::default() },
            Scrubbing { scrub: Scrub { reassemble_tcp: true, ..Scrub::default() }, ..Scrubbing::default() },
        ];
        let mut numbers = all.map(|one| one.number()).to_vec();
        assert!(numbers.iter().all(|number| *number < 1 << Scrubbing::NUMBER_BITS));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all.len());
    }

    #[test]
    fn packets_meet_the_hooks_for_more_than_their_ip_headers() {
        let reassemble = Scrub { reassemble_tcp: true, ..Scrub::default() };
        let prio = Some(SetPrio { bulk: 3, urgent: 3 });
        assert!(!Scrubbing { tos: Some(0), ..asked(true, 9, 1400) }.meets_each_packet());
        assert!(Scrubbing { scrub: reassemble, ..Scrubbing::default() }.meets_each_packet());
        assert!(Scrubbing { prio, ..Scrubbing::default() }.meets_each_packet());
    }

    #[test]
    fn every_announcement_is_clamped_wherever_it_stands() {
        let pseudo = Pseudo::of([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).unwrap();
        for padding in 0..3 {
            let mut options = OptionsBuf::default();
            (0..padding).for_each(|_| options.push_nop().unwrap());
            for size in [1460, 536, 9000] {
                options.push(&TcpOption::Mss(size)).unwrap();
            }
            let header = tcp::Repr { flags: TcpFlags::SYN, options, ..tcp::Repr::default() };
            let mut segment = build::tcp(&pseudo, &header, b"payload");
            clamp_mss(&mut segment, 1400).unwrap();
            assert_eq!(verify_tcp(&pseudo, &segment), Ok(()), "{padding} octets of padding");
            let parsed = tcp::Segment::parse(&segment).unwrap();
            let sizes: Vec<u16> = parsed
                .options()
                .iter()
                .filter_map(|option| match option {
                    Ok(TcpOption::Mss(size)) => Some(size),
                    _ => None,
                })
                .collect();
            assert_eq!((sizes, parsed.payload()), (vec![1400, 536, 1400], &b"payload"[..]));
        }
    }

    #[test]
    fn priorities_are_counted_as_pf_counts_them() {
        assert_eq!([0, 1, 2, 7].map(swapped), [1, 0, 2, 7]);
        assert_eq!([0, 1, 2, 7].map(|code| swapped(swapped(code))), [0, 1, 2, 7]);
    }
}
