//! ABORT of SCTP.

use wire::sctp::{self, ChunkType};
use wire::{Error, Proto};

use super::refusal::{Endpoints, NoReply, check};
use super::{Header, TTL, turn_back};
use crate::packet::ip_header_len;
use crate::{Frame, Packet, Transport};

/// Turns an SCTP packet into the ABORT that a host without that association would answer it with (RFC 9260 §8.4): pf.conf(5)
/// `block return`, as FreeBSD has it.
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn abort(frame: &mut impl Frame, packet: &Packet, endpoints: Endpoints) -> Result<(), NoReply> {
    if packet.tuple.proto != Proto::SCTP || packet.transport != Transport::Other {
        return Err(NoReply::NotSctp);
    }
    check(frame, packet, endpoints)?;
    let octets = frame.bytes().get(usize::from(packet.l4)..packet.end as usize);
    let received = sctp::Packet::parse(octets.unwrap_or_default()).map_err(|_| NoReply::NotSctp)?;
    received.verify_checksum().map_err(|_| NoReply::Checksum)?;
    let ends = [ChunkType::ABORT, ChunkType::ERROR, ChunkType::SHUTDOWN_COMPLETE];
    if received.chunks().any(|chunk| ends.contains(&chunk)) {
        return Err(NoReply::Reset);
    }
    let (tag, reflected) = match received.initiate_tag() {
        // It must not be 0 (RFC 9260 §3.3.2): nobody would take the answer.
        Some(0) => return Err(NoReply::NotSctp),
        Some(tag) if received.tag() == 0 => (tag, false),
        _ => (received.tag(), true),
    };
    let back = packet.tuple.reverse();
    let answer = sctp::Abort { src_port: back.sport, dst_port: back.dport, tag, reflected };
    let l4 = usize::from(packet.l3).saturating_add(ip_header_len(packet.tuple.af));
    frame.truncate(l4.saturating_add(sctp::Abort::LEN));
    write(frame.bytes_mut(), packet, l4, &answer).map_err(|_| NoReply::Inconsistent)
}

/// Writes the answer over a frame cut to its length, which cannot fail half-way: what it answers was no shorter.
fn write(frame: &mut [u8], packet: &Packet, l4: usize, answer: &sctp::Abort) -> Result<(), Error> {
    turn_back(frame)?;
    let back = packet.tuple.reverse();
    let (head, chunks) = frame.split_at_mut_checked(l4).ok_or(Error::Short)?;
    let ip = Header {
        src: back.src,
        dst: back.dst,
        af: back.af,
        proto: Proto::SCTP,
        ttl: TTL,
        tos: 0,
        payload_len: chunks.len(),
    };
    ip.emit(head.get_mut(usize::from(packet.l3)..).ok_or(Error::Short)?)?;
    answer.emit(chunks)
}
