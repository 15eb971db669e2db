//! Where a segment lies in its connection, and whether it may: the window test of `pf_tcp_track_full`.
//!
//! The rules are those of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter", as pf applies them.

use core::fmt;

use ruleset::PeerState;
use wire::{Seq, TcpFlags};

use super::{Peer, Segment};

/// How far an acknowledgment may lie from what was seen, in octets: the largest unscaled window and a packet more. pf's
/// `MAXACKWINDOW`.
pub(super) const MAX_ACK_WINDOW: i32 = 65_535 + 1_500;

/// True if `a` is `b` or later. Numbers that lie exactly 2³¹ apart are neither: an impossible distance is refused.
#[inline]
pub(super) const fn at_or_after(a: Seq, b: Seq) -> bool {
    !a.before(b)
}

/// The shifts that hold for the windows of a segment's sender and receiver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shifts {
    from: u8,
    to: u8,
}

impl Shifts {
    /// RFC 7323 §2.2: windows are scaled only if both ends have offered it.
    #[inline]
    pub(super) fn agreed(from: &Peer, to: &Peer) -> Self {
        match (from.wscale, to.wscale) {
            (Some(from), Some(to)) => Self { from, to },
            _ => Self::default(),
        }
    }

    /// The largest window that the receiver has announced, in octets.
    #[inline]
    pub(super) fn window_of_receiver(self, to: &Peer) -> u32 {
        u32::from(to.max_win) << self.to
    }
}

/// What a window field on a SYN becomes in units of `1 << shift`, rounded up: SYNs are not scaled (RFC 7323 §2.2).
#[inline]
pub(super) fn unscaled(window: u16, shift: u8) -> u16 {
    let units = (u32::from(window) + (1 << shift) - 1) >> shift;
    u16::try_from(units).unwrap_or(u16::MAX)
}

/// A segment in its connection. The fields have the names of `pf_tcp_track_full`'s variables.
pub(super) struct Placed {
    /// The sender; what its first segment tells is entered already.
    pub(super) from: Peer,
    /// The receiver.
    pub(super) to: Peer,
    shifts: Shifts,
    /// The window that the segment announces, in units of `1 << shifts.from`.
    win: u16,
    /// Its first octet.
    seq: Seq,
    /// Behind its last octet of data; a SYN counts, a FIN does not.
    data_end: Seq,
    /// Behind everything, with the FIN.
    end: Seq,
    /// What it acknowledges, in the receiver's own numbers; `None` if nothing, or nothing that can be judged.
    ack: Option<Seq>,
}

impl Placed {
    /// Places a segment; neither end is changed.
    #[inline]
    pub(super) fn new(from: &Peer, to: &Peer, segment: &Segment) -> Self {
        let syn = segment.has(TcpFlags::SYN);
        let data_end = segment.seq.plus(segment.len).plus(u32::from(syn));
        let mut placed = Self {
            from: *from,
            to: *to,
            shifts: if syn { Shifts::default() } else { Shifts::agreed(from, to) },
            win: segment.window,
            seq: segment.seq,
            data_end,
            end: data_end.plus(u32::from(segment.has(TcpFlags::FIN))),
            ack: acknowledged(to, segment),
        };
        if !from.seen {
            placed.meet(segment);
        }
        // Without data there is no position to judge: keep-alives and bare ACKs may say what they like.
        if placed.seq == placed.end {
            let here = placed.from.seqlo;
            (placed.seq, placed.data_end, placed.end) = (here, here, here);
            // Deviation: behind a FIN that sits one past the window, pf refuses every segment until the FIN is acknowledged,
            // window updates among them. Test: track_stories, "acknowledgments pass behind a FIN past the window".
            if placed.from.state >= PeerState::Closing {
                placed.data_end = here.minus(1);
            }
        }
        placed
    }

    /// Enters what the first segment of an end tells of it.
    fn meet(&mut self, segment: &Segment) {
        if segment.has(TcpFlags::SYN) {
            self.agree_on_scaling(segment);
        }
        self.from.seen = true;
        self.from.seqlo = self.seq;
        self.from.state = self.from.state.max(PeerState::SynSent);
        // Deviation: pf keeps what it has in `seqhi` if that is later. But nothing was known of this end, so what is there
        // counts from 0 (a repeated SYN of the other end moves it), and with an initial sequence number above 2³¹ the upper
        // bound would be void. Test: track_stories, "the upper bound holds after a repeated SYN whatever the responder's ISN".
        self.from.seqhi = self.end.plus(self.shifts.window_of_receiver(&self.to).max(1));
    }

    /// The answer to a SYN that offered window scaling (RFC 7323 §2.2).
    fn agree_on_scaling(&mut self, segment: &Segment) {
        let Some(offered) = self.to.wscale else { return };
        self.from.wscale = segment.shift();
        if self.from.wscale.is_some() {
            self.shifts = Shifts::agreed(&self.from, &self.to);
            self.win = unscaled(self.win, self.shifts.from);
        } else {
            // Declined: the window of the SYN counts as it was. The offer is void, also for a repeated SYN|ACK.
            let octets = u32::from(self.to.max_win) << offered;
            self.to.max_win = u16::try_from(octets).unwrap_or(u16::MAX);
            self.to.wscale = None;
        }
    }

    /// How far behind (positive) or ahead of (negative) what was seen of the receiver the segment acknowledges.
    fn ackskew(&self) -> i32 {
        match self.ack {
            None => 0,
            Some(ack) if self.to.seen => self.to.seqlo.since(ack),
            // Deviation: pf compares with 0. No number can acknowledge an end whose numbers are not known. Test:
            // track_stories, "nothing acknowledges an end that was reset".
            Some(_) => i32::MIN,
        }
    }

    /// The clauses of the window test, each on its own.
    #[inline]
    pub(super) fn check(&self, segment: &Segment) -> WindowCheck {
        let oldest = self.from.seqlo.minus(self.shifts.window_of_receiver(&self.to));
        let ackskew = self.ackskew();
        let slack = MAX_ACK_WINDOW.unsigned_abs();
        WindowCheck {
            ends_in_window: at_or_after(self.from.seqhi, self.data_end),
            starts_in_window: at_or_after(self.seq, oldest),
            ack_not_ahead: ackskew >= -MAX_ACK_WINDOW,
            ack_not_behind: ackskew <= MAX_ACK_WINDOW << self.shifts.from,
            reset_exact: !segment.has(TcpFlags::RST) || self.resets(segment, oldest, ackskew),
            ends_near: at_or_after(self.from.seqhi.plus(slack), self.data_end),
            starts_near: at_or_after(self.seq, self.from.seqlo.minus(slack)),
        }
    }

    /// RFC 5961 §3.2 asks for the exact number; one more or less is allowed for a SYN or FIN that pf counts differently.
    /// Any number of the last window will do if the acknowledgment is exact: the sender then knows both sequences.
    fn resets(&self, segment: &Segment, oldest: Seq, ackskew: i32) -> bool {
        let off = segment.seq.since(self.from.seqlo);
        let exact = (-1..=1).contains(&off);
        // `ack` and not `ackskew` alone: an acknowledgment number of 0 is forgiven in an exact reset, but not a proof.
        exact || (off <= 1 && at_or_after(segment.seq, oldest) && self.ack.is_some() && ackskew == 0)
    }

    /// The two ends with the numbers of an accepted segment; states are left alone.
    #[inline]
    pub(super) fn advanced(&self) -> (Peer, Peer) {
        let (mut from, mut to) = (self.from, self.to);
        from.max_win = from.max_win.max(self.win);
        if from.seqlo.before(self.end) {
            from.seqlo = self.end;
        }
        // A window of 0 still admits the probe of one octet (RFC 9293 §3.8.6.1).
        let ack = self.ack.filter(|_| to.seen).unwrap_or(to.seqlo);
        let window = u32::from(self.win) << self.shifts.from;
        if at_or_after(ack.plus(window), to.seqhi) {
            to.seqhi = ack.plus(window.max(1));
        }
        (from, to)
    }
}

/// The acknowledgment to judge, free of the receiver's modulation.
fn acknowledged(to: &Peer, segment: &Segment) -> Option<Seq> {
    let given = segment.has(TcpFlags::ACK);
    // Some stacks set ACK in a reset of what they never saw, and leave the number 0.
    let reset_of_nothing = segment.has(TcpFlags::RST) && segment.ack == Seq(0);
    // The receiver's SYN was not seen: a connection picked up in its middle.
    let unknown = to.state < PeerState::SynSent;
    (given && !reset_of_nothing && !unknown).then(|| segment.ack.minus(to.seqdiff))
}

/// Where a segment lies, as pf's BAD state line tells it, and how far outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Which clauses hold.
    pub check: WindowCheck,
    /// By how many octets each clause is missed, in the order of [`WindowCheck::failed`]'s marks `1234R56`; 0 where it holds.
    pub excess: [u32; 7],
    /// Its first octet, as it was judged: a segment without data has no position of its own.
    pub seq: Seq,
    /// Behind its last octet of data.
    pub data_end: Seq,
    /// How far behind what was seen of the receiver it acknowledges; negative if ahead. `i32::MIN` where nothing was seen.
    pub ackskew: i32,
}

/// Measures a segment that was judged ([`tcp`](super::tcp())), with the ends as they were.
pub fn measure(from: &Peer, to: &Peer, segment: &Segment) -> Measure {
    let placed = Placed::new(from, to, segment);
    let check = placed.check(segment);
    let Placed { from, seq, data_end, shifts, .. } = placed;
    let oldest = from.seqlo.minus(shifts.window_of_receiver(&placed.to));
    let ackskew = placed.ackskew();
    let slack = MAX_ACK_WINDOW.unsigned_abs();
    let over = |later: Seq, earlier: Seq| later.since(earlier).unsigned_abs();
    let skew = i64::from(ackskew);
    let ahead = -skew - i64::from(MAX_ACK_WINDOW);
    let behind = skew - i64::from(MAX_ACK_WINDOW << shifts.from);
    let missed = [
        over(data_end, from.seqhi),
        over(oldest, seq),
        u32::try_from(ahead).unwrap_or(0),
        u32::try_from(behind).unwrap_or(0),
        over(segment.seq, from.seqlo),
        over(data_end, from.seqhi.plus(slack)),
        over(from.seqlo.minus(slack), seq),
    ];
    let clauses = check.clauses();
    let excess = core::array::from_fn(|at| if clauses[at].1 { 0 } else { missed[at] });
    Measure { check, excess, seq, data_end, ackskew }
}

/// Which clauses of the window test hold. pf prints those that do not as `State failure on`, numbered as here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowCheck {
    /// 1: the last octet lies within the window that the receiver has opened. A FIN may lie behind it.
    pub ends_in_window: bool,
    /// 2: the first octet is not older than one window of the receiver.
    pub starts_in_window: bool,
    /// 3: it acknowledges nothing that was not seen, give or take a window.
    pub ack_not_ahead: bool,
    /// 4: it does not acknowledge what is more than a scaled window old.
    pub ack_not_behind: bool,
    /// R: a reset has the exact sequence number, or an exact acknowledgment (pf tests it and does not print it).
    pub reset_exact: bool,
    /// 5: as 1, with slack, for connections that were picked up in their middle or are over.
    pub ends_near: bool,
    /// 6: as 2, with slack.
    pub starts_near: bool,
}

impl WindowCheck {
    /// The clauses of a connection that is followed from its SYN to its FINs.
    #[inline]
    pub const fn strict(&self) -> bool {
        self.ends_in_window
            && self.starts_in_window
            && self.ack_not_ahead
            && self.ack_not_behind
            && self.reset_exact
    }

    /// The clauses of a connection of which not everything is known.
    #[inline]
    pub const fn loose(&self) -> bool {
        self.ends_near && self.starts_near
    }

    /// The marks of the clauses that do not hold, in pf's order.
    pub fn failed(&self) -> impl Iterator<Item = char> {
        self.clauses().into_iter().filter(|(_, holds)| !holds).map(|(mark, _)| mark)
    }

    const fn clauses(&self) -> [(char, bool); 7] {
        [
            ('1', self.ends_in_window),
            ('2', self.starts_in_window),
            ('3', self.ack_not_ahead),
            ('4', self.ack_not_behind),
            ('R', self.reset_exact),
            ('5', self.ends_near),
            ('6', self.starts_near),
        ]
    }
}

impl fmt::Display for WindowCheck {
    /// The clauses that do not hold as pf's BAD state line has them, a space for each one that does: `1   4   | 5  `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (mark, holds)) in self.clauses().into_iter().enumerate() {
            let between = match place {
                0 => "",
                5 => " | ",
                _ => " ",
            };
            write!(f, "{between}{}", if holds { ' ' } else { mark })?;
        }
        Ok(())
    }
}
