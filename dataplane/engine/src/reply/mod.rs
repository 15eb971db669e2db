//! Replies: the offending frame itself is turned into its answer.
//!
//! Overview: pf.conf(5) `block return`, the challenge ACK, and the router's own ICMP errors. The answer is written over
//! the packet that it answers, in the same buffer, and goes back to where that came from, with its tags: Ethernet
//! addresses, IP addresses and ports change places. So no buffer has to be found, no route and no neighbour, and an
//! answer to the host leaves by the host interface that the packet came from. A RST or ACK needs no room; an ICMP error
//! needs 28 bytes (IPv4) or 48 (IPv6) in front of the frame.
//!
//! Life cycle: what must not be answered is refused first, and the frame is then untouched, byte for byte
//! ([`NoReply`]); behind that point nothing can fail. How often somebody is answered is limited by the shard.
//!
//! Bounds: a RST, ACK or ABORT is never longer than the packet that it answers; an ICMP error quotes that packet and is at
//! most 576 bytes long over IPv4 (RFC 1812 §4.3.2.3), 1280 over IPv6 (RFC 4443 §2.4), and at most twice as long as the
//! datagram that it answers: one of hardly more than a header gets none.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod icmp;
mod refusal;
mod sctp;
mod tcp;

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::{Af, Proto, ethernet, ipv4, ipv6};

pub use icmp::{Problem, icmp_error};
pub use refusal::{Endpoints, NoReply};
pub use sctp::abort;
pub use tcp::{ack, rst, rst_with, syn_ack};
pub(crate) use tcp::{header_len, remake};

/// Time to live, or hop limit, of an answer for which the rule says nothing else.
pub const TTL: u8 = 64;

/// An IP header without options for an answer.
struct Header {
    src: crate::Address,
    dst: crate::Address,
    af: Af,
    proto: Proto,
    ttl: u8,
    tos: u8,
    payload_len: usize,
}

impl Header {
    /// Writes the header at the start of `out`. An IPv4 datagram is never fragmented, so that it needs no identification
    /// (RFC 6864 §4.1), and an attacker cannot count by it how often we answer.
    fn emit(&self, out: &mut [u8]) -> Result<(), wire::Error> {
        let Self { proto, ttl, tos, payload_len, .. } = *self;
        match self.af {
            Af::Inet => {
                let (src, dst) = (Ipv4Addr::from_bits(self.src.v4()), Ipv4Addr::from_bits(self.dst.v4()));
                let header = ipv4::Repr::new(src, dst, proto, payload_len);
                ipv4::Repr { ttl, tos, dont_fragment: true, ..header }.emit(out)
            }
            Af::Inet6 => {
                let (src, dst) = (Ipv6Addr::from_bits(self.src.0), Ipv6Addr::from_bits(self.dst.0));
                let header = ipv6::Repr::new(src, dst, proto, payload_len);
                ipv6::Repr { hop_limit: ttl, traffic_class: tos, ..header }.emit(out)
            }
        }
    }
}

/// Sends a frame back: its Ethernet addresses change places.
fn turn_back(frame: &mut [u8]) -> Result<(), wire::Error> {
    let mut header = ethernet::Header::at_mut(frame, 0)?;
    let (src, dst) = (header.src(), header.dst());
    header.set_src(dst);
    header.set_dst(src);
    Ok(())
}
