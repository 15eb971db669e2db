//! The TCP segment that an ICMP error quotes (`pf_test_state_icmp`).

use wire::Seq;

use super::window::{Shifts, at_or_after};
use super::{Mode, Peer};

/// The quoted segment is none that its sender can have outstanding; the reason is `state-mismatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedOutside {
    /// Its sender was not allowed to send that far.
    Ahead,
    /// It is more than a window old.
    Behind,
    /// Nothing was seen of its sender.
    Unknown,
}

/// Judges the sequence number of a quoted segment, as it was where the error was made. `from` is the end that sent the
/// quoted segment, to which the error travels; `to` is the end it was for. An error changes neither the state nor its
/// timer, whatever the outcome.
///
/// # Errors
/// [`QuotedOutside`] if the error must be dropped: RFC 5927 §4.1, an error about data that is not in flight is forged.
#[inline]
pub fn icmp_error(from: &Peer, to: &Peer, quoted: Seq, mode: Mode) -> Result<(), QuotedOutside> {
    if mode == Mode::Sloppy {
        return Ok(());
    }
    if !from.seen {
        return Err(QuotedOutside::Unknown);
    }
    let seq = quoted.minus(from.seqdiff);
    let shifts = Shifts::agreed(from, to);
    if !at_or_after(from.seqhi, seq) {
        return Err(QuotedOutside::Ahead);
    }
    if !at_or_after(seq, from.seqlo.minus(shifts.window_of_receiver(to))) {
        return Err(QuotedOutside::Behind);
    }
    Ok(())
}
