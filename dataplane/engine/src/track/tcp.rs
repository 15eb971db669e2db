//! TCP: one segment, both ends, one outcome (`pf_test_state`, `pf_tcp_track_full`).

use ruleset::{PeerState, Timeout};
use wire::{Seq, TcpFlags};

use super::window::{Placed, WindowCheck, unscaled};
use super::{Mode, Peer, Segment, sloppy};

/// What becomes of a segment that has a state, and of the two ends.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOutcome {
    /// It passes.
    Pass {
        /// What its sender becomes.
        from: Peer,
        /// What its receiver becomes.
        to: Peer,
        /// The time-out to start anew; `None` leaves the timer as it is, so that what fits loosely keeps nothing alive.
        refresh: Option<Timeout>,
        /// This segment completed the handshake: the moment at which pf.conf(5) `max-src-conn` counts.
        established: bool,
    },
    /// It does not fit its connection; the reason is `state-mismatch`. Nothing changes but what is said here.
    Mismatch {
        /// Which clauses held.
        check: WindowCheck,
        /// During the handshake: what its sender becomes, an end that is not seen, so that its next segment counts.
        from: Option<Peer>,
        /// During the handshake: the sequence number of a RST to send back to its sender.
        reset: Option<Seq>,
    },
    /// A SYN on a connection that is over at both ends: the state is purged, and the segment has none.
    Reuse,
    /// A SYN on a live connection: dropped, its sender asked whether it means it (RFC 5961 §4) by an ACK in the
    /// receiver's name.
    Challenge {
        /// The ACK's sequence number.
        seq: Seq,
        /// The ACK's acknowledgment number.
        ack: Seq,
    },
}

/// The two ends and the time-out behind the segment that makes a state: sender, receiver, time-out
/// (`pf_create_state`).
#[inline(always)]
pub fn open_tcp(segment: &Segment) -> (Peer, Peer, Timeout) {
    let syn = segment.has(TcpFlags::SYN);
    let fin = segment.has(TcpFlags::FIN);
    // A connection picked up in its middle has lost its scale for good: only SYNs tell it (RFC 7323 §2.2).
    let wscale = if syn { segment.shift() } else { None };
    let from = Peer {
        state: PeerState::SynSent,
        seen: true,
        seqlo: segment.seq,
        seqhi: segment.seq.plus(segment.len).plus(1 + u32::from(syn) + u32::from(fin)),
        max_win: unscaled(segment.window.max(1), wscale.unwrap_or(0)),
        wscale,
        seqdiff: 0,
    };
    (from, Peer::unseen(PeerState::Closed), Timeout::TcpFirst)
}

/// Judges a segment of a connection that has a state. Its flags are those that [`sanity`](super::sanity) returned, its
/// numbers those of its sender.
#[inline]
pub fn tcp(from: &Peer, to: &Peer, segment: &Segment, mode: Mode) -> TcpOutcome {
    const OPEN: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);
    if segment.flags.masked(OPEN) == TcpFlags::SYN {
        if from.state >= PeerState::FinWait2 && to.state >= PeerState::FinWait2 {
            return TcpOutcome::Reuse;
        }
        if from.state >= PeerState::Established && to.state >= PeerState::Established {
            return TcpOutcome::Challenge { seq: to.seqlo.plus(to.seqdiff), ack: from.seqlo };
        }
    }
    match mode {
        Mode::Strict => follow(from, to, segment),
        Mode::Sloppy => sloppy::follow(from, to, segment),
    }
}

/// `pf_tcp_track_full`.
#[inline]
fn follow(from: &Peer, to: &Peer, segment: &Segment) -> TcpOutcome {
    let placed = Placed::new(from, to, segment);
    let check = placed.check(segment);
    if check.strict() {
        return accept(&placed, segment);
    }
    // Shotgunned SYNs, streams caught in their middle, and whatever straggles in behind the end of a connection.
    let half_known = placed.to.state < PeerState::SynSent
        || placed.to.state >= PeerState::FinWait2
        || placed.from.state >= PeerState::FinWait2;
    if half_known && check.loose() {
        tolerate(&placed, segment)
    } else {
        refuse(from, &placed, segment, check)
    }
}

/// The segment fits in every respect.
fn accept(placed: &Placed, segment: &Segment) -> TcpOutcome {
    let (mut from, mut to) = placed.advanced();
    announce(&mut from, segment);
    let established = segment.has(TcpFlags::ACK) && acknowledge(&from, &mut to);
    pass(from, to, segment, established)
}

/// The segment fits loosely: it may close the connection, but it opens nothing and keeps nothing alive.
fn tolerate(placed: &Placed, segment: &Segment) -> TcpOutcome {
    let (mut from, mut to) = placed.advanced();
    if segment.has(TcpFlags::FIN) {
        from.state = from.state.max(PeerState::Closing);
    }
    if segment.has(TcpFlags::RST) {
        (from.state, to.state) = (PeerState::TimeWait, PeerState::TimeWait);
    }
    TcpOutcome::Pass { from, to, refresh: None, established: false }
}

/// The segment does not fit. If both ends have only said SYN, then one of them talks of an older connection: it is reset
/// and forgotten, so that it can begin again.
fn refuse(from: &Peer, placed: &Placed, segment: &Segment, check: WindowCheck) -> TcpOutcome {
    let handshake = placed.from.state == PeerState::SynSent && placed.to.state == PeerState::SynSent;
    let unseen = Peer { wscale: from.wscale, seqdiff: from.seqdiff, ..Peer::unseen(PeerState::SynSent) };
    TcpOutcome::Mismatch {
        check,
        from: handshake.then_some(unseen),
        reset: (handshake && !segment.has(TcpFlags::RST)).then_some(segment.ack),
    }
}

/// What the sender's own flags make of it.
#[inline]
pub(super) fn announce(from: &mut Peer, segment: &Segment) {
    if segment.has(TcpFlags::SYN) {
        from.state = from.state.max(PeerState::SynSent);
    }
    if segment.has(TcpFlags::FIN) {
        from.state = from.state.max(PeerState::Closing);
    }
}

/// Tells the receiver's progress from an acknowledgment; true if both SYNs are acknowledged now, and were not before.
#[inline]
pub(super) fn acknowledge(from: &Peer, to: &mut Peer) -> bool {
    match to.state {
        PeerState::SynSent => {
            to.state = PeerState::Established;
            from.state == PeerState::Established
        }
        PeerState::Closing => {
            to.state = PeerState::FinWait2;
            false
        }
        _ => false,
    }
}

/// Passes the segment and restarts the timer; a RST ends the connection at both ends.
#[inline]
pub(super) fn pass(mut from: Peer, mut to: Peer, segment: &Segment, established: bool) -> TcpOutcome {
    if segment.has(TcpFlags::RST) {
        (from.state, to.state) = (PeerState::TimeWait, PeerState::TimeWait);
    }
    TcpOutcome::Pass { from, to, refresh: Some(timeout(from.state, to.state)), established }
}

/// The time-out of a connection by how far its ends have come (pf.conf(5) `set timeout`).
#[inline]
fn timeout(from: PeerState, to: PeerState) -> Timeout {
    let (earlier, later) = (from.min(to), from.max(to));
    if earlier >= PeerState::FinWait2 {
        Timeout::TcpClosed
    } else if earlier >= PeerState::Closing {
        Timeout::TcpFinwait
    } else if earlier < PeerState::Established {
        Timeout::TcpOpening
    } else if later >= PeerState::Closing {
        Timeout::TcpClosing
    } else {
        Timeout::TcpEstablished
    }
}
