//! SYNs that are answered without a state (pf.conf(5) `set syncookies`): what is needed to make one is in the initial sequence
//! number that the client gets, and comes back with its ACK.
//!
//! Overview: a cookie's upper 24 bits are a keyed hash of both ends, of the client's own number and of the lowest octet, which has
//! what the client has offered: an index of its largest segments and one of its window scale, whether it takes selective
//! acknowledgments, and by which of two keys it was hashed, all mixed with the highest octet. Keys follow one from the other
//! by a secret and the time, a new one every [`KEY_LASTS`]; so a cookie is good for one to two of them, for every worker alike.
//! An ACK without a state that brings one becomes the SYN that it answers for the rules, and their state is one whose client has
//! completed its handshake.
//!
//! With `adaptive`, SYNs are answered so while more states are half-open than the first watermark says, until there are no more than
//! the second says, over all workers.
//! Ownership: the shard; the flood is everybody's. Bounds: six short hashes for an ACK without a state, and none while no cookie
//! can be under way.
//!
//! Deviation: pf answers any SYN so, here those that have a state meet it.

use std::hash::Hasher;

use ruleset::{Direction, Reason, Syncookies};
use siphasher::sip::SipHasher24;
use wire::tcp::{self, TcpOption};
use wire::{Seq, TcpFlags};

use crate::eval::Root;
use crate::hook::{Answer, Hook, Passage, Stop};
use crate::renumber::write_tuple;
use crate::shard::{Shard, View};
use crate::tick::Tick;
use crate::track::Segment;
use crate::{Packet, Transport, Tuple};

/// How long cookies are made with the same key.
const KEY_LASTS: Tick = Tick::from_secs(15);

/// The largest segments that a cookie tells apart.
const MSS: [u16; 8] = [216, 536, 1200, 1360, 1400, 1440, 1452, 1460];

/// The window scales that a cookie tells apart; the first one is none.
const WSCALE: [Option<u8>; 8] = [None, Some(0), Some(1), Some(2), Some(4), Some(6), Some(7), Some(8)];

/// What a client has offered, as its cookie says, and the segment that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    pub mss: u16,
    pub wscale: Option<u8>,
    pub segment: Segment,
}

/// The lowest octet of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Low(u8);

impl Low {
    fn new(mss: u16, wscale: Option<u8>, sack: bool, key: u8) -> Self {
        let last = |fits: &dyn Fn(usize) -> bool| (0..8).rev().find(|at| fits(*at)).unwrap_or(0) as u8;
        let mss = last(&|at| MSS[at] <= mss);
        let wscale = last(&|at| WSCALE[at] <= wscale);
        Self(mss << 5 | wscale << 2 | u8::from(sack) << 1 | key & 1)
    }

    const fn key(self) -> u8 {
        self.0 & 1
    }

    const fn mss(self) -> u16 {
        MSS[(self.0 >> 5) as usize]
    }

    const fn wscale(self) -> Option<u8> {
        WSCALE[(self.0 >> 2 & 7) as usize]
    }
}

/// What cookies are made with.
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    secret: [u64; 2],
    /// When the last one was made.
    last: Option<Tick>,
}

impl Cookies {
    /// Of the secret that a process draws at its start.
    pub fn new(secret: [u64; 2]) -> Self {
        let half = |number: u64| {
            let mut sip = SipHasher24::new_with_keys(secret[0], secret[1]);
            sip.write(b"cookies");
            sip.write_u64(number);
            sip.finish()
        };
        Self { secret: [half(0), half(1)], last: None }
    }

    /// The hash of a connection by the key of a period.
    fn mac(&self, period: u64, tuple: &Tuple, seq: Seq, low: Low) -> u32 {
        let half = |number: u64| {
            let mut sip = SipHasher24::new_with_keys(self.secret[0], self.secret[1]);
            sip.write_u64(period);
            sip.write_u64(number);
            sip.finish()
        };
        let mut sip = SipHasher24::new_with_keys(half(0), half(1));
        write_tuple(&mut sip, tuple);
        sip.write_u32(seq.0);
        sip.write_u8(low.0);
        sip.finish() as u32 & 0xffff_ff00
    }

    /// The initial sequence number for a client's SYN.
    fn make(
        &mut self,
        tuple: &Tuple,
        seq: Seq,
        (mss, wscale, sack): (u16, Option<u8>, bool),
        now: Tick,
    ) -> Seq {
        self.last = Some(now);
        let period = now.0 / KEY_LASTS.0;
        let low = Low::new(mss, wscale, sack, period as u8);
        let mac = self.mac(period, tuple, seq, low);
        Seq(mac | u32::from(low.0 ^ (mac >> 24) as u8))
    }

    /// What an ACK brings back, if that is a cookie. Without data it may be a probe of the window of 0, which begins one octet
    /// before.
    fn open(&self, tuple: &Tuple, segment: &Segment, now: Tick) -> Option<Offered> {
        let probe = Segment { seq: segment.seq.plus(1), ..*segment };
        let open_as = |segment| self.open_as(tuple, segment, now);
        open_as(segment).or_else(|| (segment.len == 0).then(|| open_as(&probe))?)
    }

    fn open_as(&self, tuple: &Tuple, segment: &Segment, now: Tick) -> Option<Offered> {
        let (seq, isn) = (segment.seq.minus(1), segment.ack.minus(1));
        let low = Low(isn.0 as u8 ^ (isn.0 >> 24) as u8);
        let period = now.0 / KEY_LASTS.0;
        let period = if low.key() == period as u8 & 1 { period } else { period.checked_sub(1)? };
        (self.mac(period, tuple, seq, low) == isn.0 & 0xffff_ff00).then_some(Offered {
            mss: low.mss(),
            wscale: low.wscale(),
            segment: *segment,
        })
    }

    /// True if a cookie may be under way.
    fn are_out(&self, now: Tick) -> bool {
        self.last.is_some_and(|last| now - last < KEY_LASTS + KEY_LASTS)
    }
}

/// Whether a SYN takes selective acknowledgments.
fn takes_sack(frame: &[u8], packet: &Packet) -> bool {
    let octets = frame.get(usize::from(packet.l4)..packet.end as usize).unwrap_or_default();
    tcp::Segment::parse(octets)
        .is_ok_and(|segment| segment.options().iter().any(|option| option == Ok(TcpOption::SackPermitted)))
}

impl Shard {
    /// A packet without a state at the IN hook, where SYNs may be answered without one: it is such a SYN, or the ACK that such a
    /// one has come to, and becomes the SYN again then.
    #[cold]
    #[inline(never)]
    pub(crate) fn meet_cookie(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<(), Stop> {
        const OPEN: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);
        let Transport::Tcp(segment) = passage.packet.transport else { return Ok(()) };
        let is_bridged = view.fib.interface(hook.interface).is_some_and(|own| own.bridge().is_some());
        if hook.direction == Direction::Out || is_bridged || self.normalizer.has_joined() {
            return Ok(());
        }
        let tuple = passage.packet.tuple;
        match segment.flags.masked(OPEN.union(TcpFlags::RST).union(TcpFlags::FIN)) {
            TcpFlags::SYN if self.is_flooded(view, root) => {
                passage.verify(hook.frame)?;
                let mss = self.mss_of(view, passage, hook);
                let offered = (mss, segment.wscale, takes_sack(hook.frame, passage.packet));
                let seq = self.cookies.make(&tuple, segment.seq, offered, view.now);
                self.counters.cookies_sent += 1;
                let answer = Answer::SynAck { seq, ack: segment.seq.plus(1), mss };
                Err(Stop::Refused { reason: Reason::Synproxy, answer })
            }
            TcpFlags::ACK if self.cookies.are_out(view.now) => {
                let Some(offered) = self.cookies.open(&tuple, &segment, view.now) else { return Ok(()) };
                passage.verify(hook.frame)?;
                let Offered { segment, wscale, .. } = offered;
                self.counters.cookies_validated += 1;
                passage.keep_arrived();
                passage.packet.transport = Transport::Tcp(Segment {
                    flags: TcpFlags::SYN,
                    seq: segment.seq.minus(1),
                    ack: Seq(0),
                    len: 0,
                    wscale,
                    ..segment
                });
                passage.offered = Some(offered);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether SYNs are answered without a state now.
    fn is_flooded(&mut self, view: &View<'_>, root: &Root) -> bool {
        match root.ruleset().options.syncookies {
            Syncookies::Never => false,
            Syncookies::Always => true,
            Syncookies::Adaptive { start, .. } => {
                self.connections.is_flooded(of(view.state_limit(), start), &mut self.counters.floods)
            }
        }
    }
}

/// So many percent of the limit on states.
pub(crate) fn of(limit: u32, percent: u8) -> u32 {
    (u64::from(limit) * u64::from(percent) / 100) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use wire::{Af, Port, Proto};

    use super::*;
    use crate::{Address, Zone};

    const TUPLE: Tuple = Tuple {
        af: Af::Inet,
        proto: Proto::TCP,
        zone: Zone(0),
        src: Address(0x0a00_0002),
        dst: Address(0x0a01_0002),
        sport: Port(40_000),
        dport: Port(80),
    };

    fn ack(seq: u32, cookie: Seq) -> Segment {
        Segment { flags: TcpFlags::ACK, seq: Seq(seq).plus(1), ack: cookie.plus(1), ..Segment::default() }
    }

    #[test]
    fn a_cookie_brings_back_what_was_offered_rounded_down() {
        let mut cookies = Cookies::new([1, 2]);
        let offers = [
            ((1460_u16, Some(7_u8)), (1460, Some(7))),
            ((9000, Some(14)), (1460, Some(8))),
            ((1300, Some(5)), (1200, Some(4))),
            ((536, Some(0)), (536, Some(0))),
            ((100, None), (216, None)),
            ((1452, Some(3)), (1452, Some(2))),
        ];
        for ((mss, wscale), (kept_mss, kept_wscale)) in offers {
            let cookie = cookies.make(&TUPLE, Seq(77), (mss, wscale, true), Tick::from_secs(100));
            let offered = cookies.open(&TUPLE, &ack(77, cookie), Tick::from_secs(101)).unwrap();
            assert_eq!((offered.mss, offered.wscale), (kept_mss, kept_wscale));
        }
    }

    #[test]
    fn cookies_are_good_for_one_to_two_keys_and_for_their_own_connection() {
        let mut cookies = Cookies::new([1, 2]);
        for made in [0, 7, 14, 15, 29, 30, 44] {
            let cookie = cookies.make(&TUPLE, Seq(9), (1460, None, false), Tick::from_secs(made));
            let good = |at: u64| cookies.open(&TUPLE, &ack(9, cookie), Tick::from_secs(at)).is_some();
            let end = (made / 15 + 2) * 15;
            assert!((made..end).all(good), "made at {made}");
            assert!(!(end..end + 100).any(good), "made at {made}");
            let other = Tuple { sport: Port(40_001), ..TUPLE };
            let now = Tick::from_secs(made);
            assert_eq!(cookies.open(&other, &ack(9, cookie), now), None);
            assert_eq!(cookies.open(&TUPLE.reverse(), &ack(9, cookie), now), None);
            assert_eq!(cookies.open(&TUPLE, &ack(10, cookie), now), None);
            assert!(cookies.open(&TUPLE, &ack(8, cookie), now).is_some(), "a probe");
            assert_eq!(cookies.open(&TUPLE, &Segment { len: 1, ..ack(8, cookie) }, now), None);
            assert!((0..32).all(|bit| {
                let damaged = Seq(cookie.0 ^ 1 << bit);
                cookies.open(&TUPLE, &ack(9, damaged), now).is_none()
            }));
            assert_eq!(Cookies::new([1, 3]).open(&TUPLE, &ack(9, cookie), now), None);
        }
    }
}
