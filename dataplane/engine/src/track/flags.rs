//! Flags that no honest sender combines (`pf_normalize_tcp`).

use wire::TcpFlags;

/// The flags contradict each other; the reason is `normalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalFlags;

/// The flags to go on with. Where they differ from the segment's own, the segment must be rewritten to carry them.
///
/// # Errors
/// [`IllegalFlags`] if the segment must be dropped.
#[inline]
pub const fn sanity(flags: TcpFlags) -> Result<TcpFlags, IllegalFlags> {
    let opens = flags.contains(TcpFlags::SYN);
    let resets = flags.contains(TcpFlags::RST);
    let acknowledges = flags.contains(TcpFlags::ACK);
    // A SYN cannot also close: what a FIN with it would close is not open (T/TCP, RFC 1644, is historic).
    let flags = if opens { TcpFlags(flags.0 & !TcpFlags::FIN.0) } else { flags };

    // RFC 9293 §3.10.7: whatever is neither SYN, ACK nor RST is dropped in every state.
    let senseless = if opens { resets } else { !acknowledges && !resets };
    // RFC 9293 §3.10.7.4, fifth: without ACK a segment is dropped before its URG, text and FIN are looked at.
    const NEED_ACK: TcpFlags = TcpFlags::FIN.union(TcpFlags::PSH).union(TcpFlags::URG);
    if senseless || (!acknowledges && flags.intersects(NEED_ACK)) { Err(IllegalFlags) } else { Ok(flags) }
}
