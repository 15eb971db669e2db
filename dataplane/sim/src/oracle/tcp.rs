//! TCP: sanity of the flags, and pf's full and sloppy tracking, written down from pf.md 2.4 to 2.6.
//!
//! The functions here change the peers that they are given and nothing else; the caller decides whether to keep them.

use ruleset::{PeerState, Timeout};
use wire::{Seq, TcpFlags};

use super::packet::{Checksum, Tcp};
use super::state::{Peer, Seen};

/// pf's `MAXACKWINDOW`: 65535 + 1500.
const MAX_ACK_WINDOW: u32 = 0xffff + 1500;

/// The largest window that a header can say.
const MAX_WINDOW: u32 = 0xffff;

/// The largest shift of a window (RFC 7323 §2.3).
const MAX_SHIFT: u8 = 14;

/// "modulo 2^32, signed difference": false too where both numbers lie exactly 2^31 apart.
pub(super) const fn seq_geq(a: Seq, b: Seq) -> bool {
    a.since(b) >= 0
}

/// The flags do not go together (`pf_normalize_tcp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IllegalFlags;

/// pf.md 1, "Sanity without any option": what pf drops whatever the rules say, and FIN taken out of SYN|FIN.
pub(super) fn normalize(tcp: &Tcp) -> Result<Tcp, IllegalFlags> {
    let has = |flag| tcp.flags.intersects(flag);
    let mut flags = tcp.flags;
    if has(TcpFlags::SYN) {
        if has(TcpFlags::RST) {
            return Err(IllegalFlags);
        }
        flags = TcpFlags(flags.0 & !TcpFlags::FIN.0);
    } else if !has(TcpFlags::ACK) && !has(TcpFlags::RST) {
        return Err(IllegalFlags);
    }
    let needs_ack = TcpFlags::FIN.union(TcpFlags::PSH).union(TcpFlags::URG);
    if !has(TcpFlags::ACK) && flags.intersects(needs_ack) {
        return Err(IllegalFlags);
    }
    Ok(Tcp { flags, ..*tcp })
}

/// True for a SYN without ACK.
pub(super) fn opens(tcp: &Tcp) -> bool {
    tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK)
}

/// True for a segment that ends something, and that its receiver drops for its checksum.
pub(super) fn is_damaged(tcp: &Tcp) -> bool {
    tcp.checksum == Checksum::Bad && tcp.flags.intersects(TcpFlags::FIN.union(TcpFlags::RST))
}

/// What the window scale option says: at most 14 (RFC 7323 §2.3).
fn announced_shift(tcp: &Tcp) -> Option<u8> {
    tcp.wscale.map(|shift| shift.min(MAX_SHIFT))
}

/// A window in units of `shift`, rounded up.
const fn unscaled(window: u32, shift: u8) -> u32 {
    (window + (1 << shift) - 1) >> shift
}

/// What pf keeps of the sender of a state's first packet (pf.md 2.3).
pub(super) fn first_peer(tcp: &Tcp) -> Peer {
    let syn = tcp.flags.contains(TcpFlags::SYN);
    // "mid-stream: stays 0"
    let wscale = if syn { announced_shift(tcp) } else { None };
    let window = u32::from(tcp.window).max(1);
    Peer {
        state: PeerState::SynSent,
        seqlo: tcp.seq,
        seqhi: tcp.seq.plus(tcp.length()).plus(1),
        max_win: narrow(unscaled(window, wscale.unwrap_or(0))),
        wscale,
        seqdiff: 0,
        seen: Seen::Yes,
    }
}

fn narrow(window: u32) -> u16 {
    u16::try_from(window).expect("a window is at most 65535 in its own units")
}

/// How pf knows that an end was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenBy {
    /// `seqlo == 0`, as pf.
    Seqlo,
    /// A bit of its own (design A6): a sequence number of 0 is a number like any other.
    Bit,
}

impl SeenBy {
    const fn unseen(self, peer: &Peer) -> bool {
        match self {
            Self::Seqlo => peer.seqlo.0 == 0,
            Self::Bit => matches!(peer.seen, Seen::No),
        }
    }
}

/// What the FIN of an end means for its later segments without payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnFin {
    /// They end where it ended, in the window or not, as pf has it.
    Counts,
    /// They end in front of it.
    Behind,
}

/// What full tracking says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// All five conditions hold: the state is refreshed.
    Strict,
    /// Only the loose rule holds: time-out and expiry are left alone.
    Loose,
    /// Neither.
    Mismatch,
}

/// The numbers of a segment as pf compares them.
struct Extent {
    /// Its sequence number, as pf compares it.
    seq: Seq,
    /// The number on the wire.
    orig_seq: Seq,
    /// Behind payload, SYN and FIN.
    end: Seq,
    /// Behind payload and SYN: "FIN may sit one past the window".
    data_end: Seq,
    /// The window, in units of `sws`.
    win: u32,
    /// The sender's shift.
    sws: u8,
    /// The receiver's shift.
    dws: u8,
}

impl Extent {
    fn of(src: &Peer, dst: &Peer, tcp: &Tcp) -> Self {
        let syn = tcp.flags.contains(TcpFlags::SYN);
        // "if src.wscale && dst.wscale && !SYN"
        let (sws, dws) = match (src.wscale, dst.wscale) {
            (Some(sws), Some(dws)) if !syn => (sws, dws),
            _ => (0, 0),
        };
        let data_end = tcp.seq.plus(tcp.payload).plus(u32::from(syn));
        Self {
            seq: tcp.seq,
            orig_seq: tcp.seq,
            end: tcp.seq.plus(tcp.length()),
            data_end,
            win: u32::from(tcp.window),
            sws,
            dws,
        }
    }

    /// The window that the receiver allows the sender.
    const fn allowance(&self, dst: &Peer) -> u32 {
        (dst.max_win as u32) << self.dws
    }

    /// The window that the segment announces.
    const fn announced(&self) -> u32 {
        self.win << self.sws
    }
}

/// pf.md 2.5, "first packet from this end": learns the sender's numbers and scale.
fn learn(src: &mut Peer, dst: &mut Peer, tcp: &Tcp, extent: &mut Extent, seen_by: SeenBy) {
    if tcp.flags.contains(TcpFlags::SYN)
        && let Some(dst_shift) = dst.wscale
    {
        src.wscale = announced_shift(tcp);
        match src.wscale {
            Some(shift) => {
                // The window of a SYN|ACK is unscaled.
                extent.sws = shift;
                extent.win = unscaled(extent.win, shift);
                extent.dws = dst_shift;
            }
            None => {
                // "peer said no": neither end scales.
                dst.max_win = narrow((u32::from(dst.max_win) << dst_shift).min(MAX_WINDOW));
                dst.wscale = None;
            }
        }
    }
    src.seqlo = tcp.seq;
    src.seen = Seen::Yes;
    src.state = src.state.max(PeerState::SynSent);
    let allowed = extent.end.plus(extent.allowance(dst).max(1));
    if seen_by == SeenBy::Bit || src.seqhi == Seq(1) || seq_geq(allowed, src.seqhi) {
        src.seqhi = allowed;
    }
    src.max_win = src.max_win.max(narrow(extent.win));
}

/// The acknowledgment as pf compares it, and whether the segment really said it.
fn acknowledgment(dst: &Peer, tcp: &Tcp) -> (Seq, Said) {
    let flags = tcp.flags;
    // "broken stacks / unseen peer"
    let void = tcp.ack == Seq(0) && flags.contains(TcpFlags::ACK.union(TcpFlags::RST));
    if !flags.contains(TcpFlags::ACK) || void || dst.state < PeerState::SynSent {
        (dst.seqlo, Said::No)
    } else {
        (tcp.ack.minus(dst.seqdiff), Said::Yes)
    }
}

/// Whether a number was in the segment or was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    No,
    Yes,
}

/// Condition (5): a RST must hit the next sequence number, or one beside it, or lie in the window and acknowledge
/// exactly. An acknowledgment that pf itself put in does not count: a forged RST|ACK with ack 0 would look perfect
/// (reliability.md A3).
fn reset_fits(src: &Peer, dst: &Peer, tcp: &Tcp, extent: &Extent, ackskew: i32, said: Said) -> bool {
    if !tcp.flags.contains(TcpFlags::RST) {
        return true;
    }
    let seq = extent.orig_seq;
    let beside = seq == src.seqlo || seq == src.seqlo.plus(1) || seq == src.seqlo.minus(1);
    let lowest = src.seqlo.minus(extent.allowance(dst));
    let in_window = seq_geq(seq, lowest) && seq_geq(src.seqlo.plus(1), seq);
    let acks = said == Said::Yes && ackskew == 0;
    beside || (in_window && acks && tcp.flags.contains(TcpFlags::ACK))
}

/// pf.md 2.5 as a whole: `pf_tcp_track_full`. On [`Fit::Mismatch`] the peers are what pf leaves behind: what
/// [`learn`] wrote stays. Also told is whether the segment completes the handshake.
pub(super) fn track_full(
    src: &mut Peer,
    dst: &mut Peer,
    tcp: &Tcp,
    seen_by: SeenBy,
    own_fin: OwnFin,
) -> (Fit, bool) {
    let mut extent = Extent::of(src, dst, tcp);
    if seen_by.unseen(src) {
        learn(src, dst, tcp, &mut extent, seen_by);
    }
    let (ack, said) = acknowledgment(dst, tcp);
    if extent.seq == extent.end {
        // "no payload: position not checked"
        extent.seq = src.seqlo;
        extent.end = src.seqlo;
        extent.data_end = src.seqlo;
        if own_fin == OwnFin::Behind && src.state >= PeerState::Closing {
            extent.data_end = src.seqlo.minus(1);
        }
    }
    // Nothing acknowledges numbers that are not known.
    let (ack, ackskew) = match (seen_by, dst.seen, said) {
        (SeenBy::Bit, Seen::No, Said::Yes) => (dst.seqlo, i32::MIN),
        _ => (ack, dst.seqlo.since(ack)),
    };
    let most = i64::from(MAX_ACK_WINDOW);

    let lowest = src.seqlo.minus(extent.allowance(dst));
    let strict = seq_geq(src.seqhi, extent.data_end) // (1)
        && seq_geq(extent.seq, lowest) // (2)
        && i64::from(ackskew) >= -most // (3)
        && i64::from(ackskew) <= most << extent.sws // (4)
        && reset_fits(src, dst, tcp, &extent, ackskew, said); // (5)
    if strict {
        advance(src, dst, &extent, ack);
        return (Fit::Strict, strict_states(src, dst, tcp.flags));
    }
    let closing = dst.state >= PeerState::FinWait2 || src.state >= PeerState::FinWait2;
    let loose = (dst.state < PeerState::SynSent || closing)
        && seq_geq(src.seqhi.plus(MAX_ACK_WINDOW), extent.data_end)
        && seq_geq(extent.seq, src.seqlo.minus(MAX_ACK_WINDOW));
    if loose {
        advance(src, dst, &extent, ack);
        close(src, dst, tcp.flags);
        return (Fit::Loose, false);
    }
    (Fit::Mismatch, false)
}

/// The windows after an accepted segment, strict or loose.
fn advance(src: &mut Peer, dst: &mut Peer, extent: &Extent, ack: Seq) {
    src.max_win = src.max_win.max(narrow(extent.win));
    if src.seqlo.before(extent.end) {
        src.seqlo = extent.end;
    }
    if seq_geq(ack.plus(extent.announced()), dst.seqhi) {
        dst.seqhi = ack.plus(extent.announced().max(1));
    }
}

/// "SYN: …; FIN: …; ACK: …; RST: …" of a strictly accepted segment. True if the ACK completes the handshake ("if
/// src.state==ESTABLISHED").
fn strict_states(src: &mut Peer, dst: &mut Peer, flags: TcpFlags) -> bool {
    let mut completes = false;
    if flags.contains(TcpFlags::SYN) {
        src.state = src.state.max(PeerState::SynSent);
    }
    if flags.contains(TcpFlags::FIN) {
        src.state = src.state.max(PeerState::Closing);
    }
    if flags.contains(TcpFlags::ACK) {
        match dst.state {
            PeerState::SynSent => {
                dst.state = PeerState::Established;
                completes = src.state == PeerState::Established;
            }
            PeerState::Closing => dst.state = PeerState::FinWait2,
            _ => {}
        }
    }
    if flags.contains(TcpFlags::RST) {
        reset(src, dst);
    }
    completes
}

/// The loose rule changes states on FIN and RST only.
fn close(src: &mut Peer, dst: &mut Peer, flags: TcpFlags) {
    if flags.contains(TcpFlags::FIN) {
        src.state = src.state.max(PeerState::Closing);
    }
    if flags.contains(TcpFlags::RST) {
        reset(src, dst);
    }
}

const fn reset(src: &mut Peer, dst: &mut Peer) {
    src.state = PeerState::TimeWait;
    dst.state = PeerState::TimeWait;
}

/// pf.md 2.6: `pf_tcp_track_sloppy`, which refuses nothing. True if the segment completes the handshake.
pub(super) fn track_sloppy(src: &mut Peer, dst: &mut Peer, tcp: &Tcp, seen_by: SeenBy) -> bool {
    let (flags, mut completes) = (tcp.flags, false);
    if flags.contains(TcpFlags::SYN) {
        src.state = src.state.max(PeerState::SynSent);
    }
    if flags.contains(TcpFlags::FIN) {
        src.state = src.state.max(PeerState::Closing);
    }
    if flags.contains(TcpFlags::ACK) {
        if dst.state == PeerState::SynSent {
            dst.state = PeerState::Established;
            completes = src.state == PeerState::Established;
        } else if dst.state == PeerState::Closing {
            dst.state = PeerState::FinWait2;
        } else if src.state == PeerState::SynSent && dst.state < PeerState::SynSent {
            // "half seen": only one direction passes here.
            src.state = PeerState::Established;
            dst.state = PeerState::Established;
            completes = true;
        } else if src.state == PeerState::Closing
            && dst.state == PeerState::Established
            && seen_by.unseen(dst)
        {
            dst.state = PeerState::Closing;
        }
    }
    if flags.contains(TcpFlags::RST) {
        reset(src, dst);
    }
    completes
}

/// "timeout: both>=FIN_WAIT_2 -> tcp.closed; …" (pf.md 2.5).
pub(super) fn class(one: PeerState, other: PeerState) -> Timeout {
    let (less, more) = (one.min(other), one.max(other));
    if less >= PeerState::FinWait2 {
        Timeout::TcpClosed
    } else if less >= PeerState::Closing {
        Timeout::TcpFinwait
    } else if less < PeerState::Established {
        Timeout::TcpOpening
    } else if more >= PeerState::Closing {
        Timeout::TcpClosing
    } else {
        Timeout::TcpEstablished
    }
}
