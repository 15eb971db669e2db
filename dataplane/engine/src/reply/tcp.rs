//! RST and challenge ACK.

use wire::{Proto, Seq, TcpFlags, tcp};

use super::refusal::{Endpoints, NoReply, check};
use super::{Header, TTL, turn_back};
use crate::parse::pseudo;
use crate::track::Segment;
use crate::{Frame, Packet, Transport};

/// What a TCP answer says.
struct Answer {
    flags: TcpFlags,
    seq: Seq,
    ack: Seq,
    window: u16,
    ttl: u8,
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
    answer(frame, packet, endpoints, &Answer { flags, seq, ack, window: 0, ttl: ttl_or_default(ttl) })
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
    answer(frame, packet, endpoints, &Answer { flags: TcpFlags::RST, seq, ack: Seq(0), window: 0, ttl })
}

/// Turns the segment into a challenge ACK (RFC 5961 §4.2), to its sender in the name of its receiver. `window` is as on
/// the wire, not scaled.
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn challenge_ack(
    frame: &mut impl Frame,
    packet: &Packet,
    endpoints: Endpoints,
    seq: Seq,
    ack: Seq,
    window: u16,
) -> Result<(), NoReply> {
    answer(frame, packet, endpoints, &Answer { flags: TcpFlags::ACK, seq, ack, window, ttl: TTL })
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
    let l4 = usize::from(packet.l3).saturating_add(Header::len(packet.tuple.af));
    let length = l4.saturating_add(tcp::HEADER_LEN);
    if (packet.end as usize) < length {
        return Err(NoReply::Inconsistent);
    }
    frame.truncate(length);
    write(frame.bytes_mut(), packet, l4, answer).map_err(|_| NoReply::Inconsistent)
}

/// Writes the answer over a frame cut to its length, whose transport header starts at `l4`. That the headers fit was
/// checked by the caller, so this cannot fail half-way.
fn write(frame: &mut [u8], packet: &Packet, l4: usize, answer: &Answer) -> Result<(), wire::Error> {
    turn_back(frame)?;
    let back = packet.tuple.reverse();
    let (head, segment) = frame.split_at_mut_checked(l4).ok_or(wire::Error::Short)?;
    let ip = Header {
        src: back.src,
        dst: back.dst,
        af: back.af,
        proto: Proto::TCP,
        ttl: answer.ttl,
        tos: 0,
        payload_len: segment.len(),
    };
    ip.emit(head.get_mut(usize::from(packet.l3)..).ok_or(wire::Error::Short)?)?;
    let header = tcp::Repr {
        src_port: back.sport,
        dst_port: back.dport,
        seq: answer.seq,
        ack: answer.ack,
        flags: answer.flags,
        window: answer.window,
        ..tcp::Repr::default()
    };
    header.emit(&pseudo(&back), segment)
}
