//! RST and challenge ACK, and the segments of handshakes that are completed for a server.

use wire::tcp::{OptionsBuf, TcpOption};
use wire::{Proto, Seq, TcpFlags, tcp};

use super::refusal::{Endpoints, NoReply, check};
use super::{Header, TTL, turn_back};
use crate::packet::ip_header_len;
use crate::parse::pseudo;
use crate::track::Segment;
use crate::{Frame, Packet, Transport, Tuple};

/// What a TCP answer says.
#[derive(Clone, Copy, Default)]
struct Answer {
    flags: TcpFlags,
    seq: Seq,
    ack: Seq,
    window: u16,
    ttl: u8,
    /// The option of that name.
    mss: Option<u16>,
}

impl Answer {
    fn options(&self) -> OptionsBuf {
        let mut options = OptionsBuf::EMPTY;
        if let Some(mss) = self.mss {
            // There is room for one.
            let _ = options.push(&TcpOption::Mss(mss));
        }
        options
    }
}

/// Turns the segment into the RST that a closed port would answer it with, pf.conf(5) `return-rst`; `ttl` 0 stands for
/// [`TTL`].
///
/// Deviation: pf always sends RST|ACK; these are the two forms of RFC 9293 §3.10.7.1, which every host accepts in every
/// state (test `reply`, `tcp::forms`).
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn rst(frame: &mut impl Frame, packet: &Packet, endpoints: Endpoints, ttl: u8) -> Result<(), NoReply> {
    let Transport::Tcp(segment) = packet.transport else {
        return Err(NoReply::NotTcp);
    };
    let (flags, seq, ack) = if segment.flags.contains(TcpFlags::ACK) {
        (TcpFlags::RST, segment.ack, Seq(0))
    } else {
        (TcpFlags::RST.union(TcpFlags::ACK), Seq(0), segment.seq.plus(sequence_len(&segment)))
    };
    answer(
        frame,
        packet,
        endpoints,
        &Answer { flags, seq, ack, ttl: ttl_or_default(ttl), ..Answer::default() },
    )
}

/// Turns the segment into a plain RST with sequence number `seq`, to its sender in the name of its receiver: what pf
/// answers a segment with that does not fit a connection under way. `ttl` 0 stands for [`TTL`].
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn rst_with(
    frame: &mut impl Frame,
    packet: &Packet,
    endpoints: Endpoints,
    seq: Seq,
    ttl: u8,
) -> Result<(), NoReply> {
    let ttl = ttl_or_default(ttl);
    answer(frame, packet, endpoints, &Answer { flags: TcpFlags::RST, seq, ttl, ..Answer::default() })
}

/// Turns the segment into an ACK to its sender in the name of its receiver: a challenge (RFC 5961 §4.2), or the end of a
/// handshake. `window` is as on the wire, not scaled.
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn ack(
    frame: &mut impl Frame,
    packet: &Packet,
    endpoints: Endpoints,
    seq: Seq,
    ack: Seq,
    window: u16,
) -> Result<(), NoReply> {
    let answer_with = Answer { flags: TcpFlags::ACK, seq, ack, window, ttl: TTL, mss: None };
    answer(frame, packet, endpoints, &answer_with)
}

/// Turns a SYN into the SYN|ACK of a server that takes nothing yet: with a window of 0 and the largest segments of `mss`
/// octets.
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn syn_ack(
    frame: &mut impl Frame,
    packet: &Packet,
    endpoints: Endpoints,
    seq: Seq,
    ack: Seq,
    mss: u16,
) -> Result<(), NoReply> {
    let flags = TcpFlags::SYN.union(TcpFlags::ACK);
    let answer_with = Answer { flags, seq, ack, window: 0, ttl: TTL, mss: Some(mss) };
    answer(frame, packet, endpoints, &answer_with)
}

/// Makes a frame the packet that it is to be in place of another one of the same connection and Ethernet header: a segment
/// without payload, and without options but perhaps that of `mss`.
pub(crate) fn remake(frame: &mut impl Frame, packet: &Packet, mss: Option<u16>) {
    let Transport::Tcp(Segment { flags, seq, ack, window, .. }) = packet.transport else { return };
    let answer = Answer { flags, seq, ack, window, ttl: packet.ttl, mss };
    let l4 = usize::from(packet.l4);
    if resize(frame, l4.saturating_add(header_len(mss))).is_ok() {
        // There is room for all of it.
        let _ = write(frame.bytes_mut(), packet, &packet.tuple, l4, &answer);
    }
}

/// Octets of a segment without payload, with the largest segments that it announces.
pub(crate) const fn header_len(mss: Option<u16>) -> usize {
    const MSS_LEN: usize = 4;
    tcp::HEADER_LEN + if mss.is_some() { MSS_LEN } else { 0 }
}

fn resize(frame: &mut impl Frame, length: usize) -> Result<(), NoReply> {
    frame.truncate(length);
    let missing = length.saturating_sub(frame.bytes().len());
    if missing == 0 { Ok(()) } else { frame.append(missing).map_err(|_| NoReply::NoRoom) }
}

/// SEG.LEN of RFC 9293 §3.10.7.1: the data, and one each for SYN and FIN.
const fn sequence_len(segment: &Segment) -> u32 {
    let syn = segment.flags.contains(TcpFlags::SYN) as u32;
    let fin = segment.flags.contains(TcpFlags::FIN) as u32;
    segment.len.wrapping_add(syn).wrapping_add(fin)
}

const fn ttl_or_default(ttl: u8) -> u8 {
    if ttl == 0 { TTL } else { ttl }
}

fn answer(
    frame: &mut impl Frame,
    packet: &Packet,
    endpoints: Endpoints,
    answer: &Answer,
) -> Result<(), NoReply> {
    if !matches!(packet.transport, Transport::Tcp(_)) {
        return Err(NoReply::NotTcp);
    }
    check(frame, packet, endpoints)?;
    let l4 = usize::from(packet.l3).saturating_add(ip_header_len(packet.tuple.af));
    if (packet.end as usize) < l4.saturating_add(tcp::HEADER_LEN) {
        return Err(NoReply::Inconsistent);
    }
    resize(frame, l4.saturating_add(header_len(answer.mss)))?;
    let bytes = frame.bytes_mut();
    turn_back(bytes)
        .and_then(|()| write(bytes, packet, &packet.tuple.reverse(), l4, answer))
        .map_err(|_| NoReply::Inconsistent)
}

/// Writes the answer over a frame cut to its length, whose transport header starts at `l4`. That the headers fit was
/// checked by the caller, so this cannot fail half-way.
fn write(
    frame: &mut [u8],
    packet: &Packet,
    tuple: &Tuple,
    l4: usize,
    answer: &Answer,
) -> Result<(), wire::Error> {
    let (head, segment) = frame.split_at_mut_checked(l4).ok_or(wire::Error::Short)?;
    let ip = Header {
        src: tuple.src,
        dst: tuple.dst,
        af: tuple.af,
        proto: Proto::TCP,
        ttl: answer.ttl,
        tos: 0,
        payload_len: segment.len(),
    };
    ip.emit(head.get_mut(usize::from(packet.l3)..).ok_or(wire::Error::Short)?)?;
    let header = tcp::Repr {
        src_port: tuple.sport,
        dst_port: tuple.dport,
        seq: answer.seq,
        ack: answer.ack,
        flags: answer.flags,
        window: answer.window,
        options: answer.options(),
        ..tcp::Repr::default()
    };
    header.emit(&pseudo(tuple), segment)
}
