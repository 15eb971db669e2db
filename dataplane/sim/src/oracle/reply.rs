//! What becomes of a packet at a hook, and what its sender is told.

use core::net::{IpAddr, Ipv4Addr};

use ruleset::{BlockReply, Reason};
use wire::{Af, Seq, TcpFlags};

use super::icmp;
use super::packet::{Checksum, Packet, Part, Tcp, Transport};
use super::{From, Oracle, Peer};

/// A packet sent back to the sender, in the name of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A RST.
    Rst {
        /// Its sequence number.
        seq: Seq,
        /// Its acknowledgment number; 0 if ACK is not set.
        ack: Seq,
        /// RST, or RST|ACK.
        flags: TcpFlags,
        /// Its time to live; 0 is the default.
        ttl: u8,
    },
    /// An ICMP or ICMPv6 error that quotes the packet.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// An ACK that shows a SYN's sender where the connection is (RFC 5961 §4). The product limits how many it sends.
    ChallengeAck {
        /// Its sequence number.
        seq: Seq,
        /// Its acknowledgment number.
        ack: Seq,
    },
}

/// What becomes of a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It ends here.
    Drop {
        /// Why.
        reason: Reason,
        /// What the sender is told.
        reply: Option<Reply>,
    },
}

impl Verdict {
    /// Dropped without a word.
    pub const fn drop(reason: Reason) -> Self {
        Self::Drop { reason, reply: None }
    }
}

/// The TCP segment of a `ChallengeAck`: in the peer's name, "seq=dst.seqlo, ack=src.seqlo" (pf.md 2.4); as its receiver knows
/// the peer's numbers, if they are to be `told` so.
pub(super) const fn challenge(src: &Peer, dst: &Peer, told: bool) -> Reply {
    let seq = if told { dst.seqlo.plus(dst.seqdiff) } else { dst.seqlo };
    Reply::ChallengeAck { seq, ack: src.seqlo }
}

impl Oracle {
    /// A `block` rule's verdict (pf.md 1, Actions; §5).
    pub(super) fn blocked(&self, packet: &Packet, form: BlockReply) -> Verdict {
        let (resets, icmp) = match form {
            BlockReply::Drop => return Verdict::drop(Reason::Match),
            BlockReply::Rst { ttl } => (Some(ttl), None),
            BlockReply::Icmp { code, code6 } => (None, Some((code, code6))),
            BlockReply::Return(reply) => (Some(0), Some((Some(reply.code), Some(reply.code6)))),
        };
        if let (Transport::Tcp(tcp), Some(ttl)) = (&packet.transport, resets) {
            // "nor for packets with a bad TCP checksum (counter proto-cksum)"
            if tcp.checksum == Checksum::Bad && !tcp.flags.contains(TcpFlags::RST) {
                return Verdict::drop(Reason::ProtoCksum);
            }
            let reply = self.may_answer(packet).then(|| self.reset(tcp, ttl));
            return Verdict::Drop { reason: Reason::Match, reply };
        }
        let answers = self.may_answer(packet) && is_worth_an_error(packet);
        let reply = icmp.filter(|_| answers).and_then(|(code, code6)| match packet.af() {
            Af::Inet => code.map(|code| Reply::Icmp { kind: 3, code }),
            Af::Inet6 => code6.map(|code| Reply::Icmp { kind: 1, code }),
        });
        Verdict::Drop { reason: Reason::Match, reply }
    }

    /// The RST that answers a blocked segment.
    fn reset(&self, tcp: &Tcp, ttl: u8) -> Reply {
        let end = tcp.seq.plus(tcp.length());
        let rst_ack = TcpFlags::RST.union(TcpFlags::ACK);
        if !self.deviations.rfc_resets {
            return Reply::Rst { seq: tcp.ack, ack: end, flags: rst_ack, ttl };
        }
        // RFC 9293 §3.5.2, groups 1 and 2.
        if tcp.flags.contains(TcpFlags::ACK) {
            Reply::Rst { seq: tcp.ack, ack: Seq(0), flags: TcpFlags::RST, ttl }
        } else {
            Reply::Rst { seq: Seq(0), ack: end, flags: rst_ack, ttl }
        }
    }

    /// The verdict, without a reply where there must be none.
    pub(super) fn answerable(&self, verdict: Verdict, packet: &Packet) -> Verdict {
        match verdict {
            Verdict::Drop { reason, .. } if !self.may_answer(packet) => Verdict::drop(reason),
            verdict => verdict,
        }
    }

    /// What must never be answered (RFC 1122 §3.2.2, RFC 4443 §2.4, RFC 9293 §3.5.2): resets, ICMP errors, and
    /// packets whose source is not one host or whose destination is many, and
    /// fragments.
    fn may_answer(&self, packet: &Packet) -> bool {
        // "undo NAT changes": who is answered is who has sent it.
        let packet = self.came.as_ref().unwrap_or(packet);
        let transport = match &packet.transport {
            Transport::Tcp(tcp) => !tcp.flags.contains(TcpFlags::RST),
            Transport::Icmp(icmp) | Transport::Icmp6(icmp) => icmp::is_answerable(packet.af(), icmp.kind),
            Transport::Udp { .. } | Transport::Other(_) => true,
        };
        transport
            // Of the fragments that come here none is a first one.
            && packet.part == Part::Whole
            && is_host(packet.source)
            && !packet.destination.is_multicast()
            && packet.destination != IpAddr::V4(Ipv4Addr::BROADCAST)
            && (self.crosses() || self.is_of_stations(packet))
    }

    /// True if the packet crosses a transparent pair, of whose network we know nothing, and may be in it ourselves.
    fn crosses(&self) -> bool {
        matches!(self.speaker, From::Interface(id) if self.world.peer(id).is_some())
    }

    fn is_of_stations(&self, packet: &Packet) -> bool {
        (self.speaker == From::Host || !self.world.is_own(packet.source))
            && !self.is_subnet_broadcast(packet.destination)
    }

    fn is_subnet_broadcast(&self, address: IpAddr) -> bool {
        let nets = self.world.interfaces.iter().flat_map(|interface| &interface.addresses);
        nets.filter(|net| net.addr().is_ipv4() && net.prefix_len() < 31).any(|net| net.broadcast() == address)
    }
}

/// False for a datagram that is shorter than the headers in front of its quote: the error would be more than twice as long.
const fn is_worth_an_error(packet: &Packet) -> bool {
    let headers = match packet.af() {
        Af::Inet => 28,
        Af::Inet6 => 48,
    };
    packet.length >= headers
}

/// False for addresses that no single other host has: 0/8, 127/8, 224/3, ::, ::1, ff00::/8.
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => !(address.is_unspecified() || address.is_loopback() || address.is_multicast()),
    }
}
