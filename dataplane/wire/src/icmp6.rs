//! ICMP for IPv6 (RFC 4443); neighbours in [`nd`], multicast listeners in [`mld`].

pub mod mld;
pub mod nd;

use core::borrow::BorrowMut;
use core::net::Ipv6Addr;

use crate::checksum::{Delta, Pseudo};
use crate::field::header;
pub use crate::icmp::Class;
use crate::icmp::message;
use crate::{Checksum, Error, Proto};

/// Octets of the header that all messages share.
pub const HEADER_LEN: usize = 8;
/// The hop limit of neighbour discovery, which shows that no router was in between (RFC 4861 §6.1, 7.1).
pub const ND_HOP_LIMIT: u8 = 255;

/// The type octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type(pub u8);

impl Type {
    /// Destination unreachable.
    pub const UNREACHABLE: Self = Self(1);
    /// Packet too big.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// Time exceeded.
    pub const TIME_EXCEEDED: Self = Self(3);
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: Self = Self(4);
    /// Echo request.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Echo reply.
    pub const ECHO_REPLY: Self = Self(129);
    /// Multicast listener query (RFC 2710, RFC 3810).
    pub const MLD_QUERY: Self = Self(130);
    /// Multicast listener report, version 1.
    pub const MLD_REPORT: Self = Self(131);
    /// Multicast listener done.
    pub const MLD_DONE: Self = Self(132);
    /// Router solicitation.
    pub const ROUTER_SOLICIT: Self = Self(133);
    /// Router advertisement.
    pub const ROUTER_ADVERT: Self = Self(134);
    /// Neighbour solicitation.
    pub const NEIGHBOR_SOLICIT: Self = Self(135);
    /// Neighbour advertisement.
    pub const NEIGHBOR_ADVERT: Self = Self(136);
    /// Redirect.
    pub const REDIRECT: Self = Self(137);
    /// Router renumbering.
    pub const ROUTER_RENUMBERING: Self = Self(138);
    /// Node information query.
    pub const NODE_INFO_QUERY: Self = Self(139);
    /// Node information reply.
    pub const NODE_INFO_REPLY: Self = Self(140);
    /// Multicast listener report, version 2 (RFC 3810).
    pub const MLD2_REPORT: Self = Self(143);

    /// What messages of this type are for: those below 128 are errors (RFC 4443 §2.1), known or not.
    #[inline]
    pub const fn class(self) -> Class {
        match self {
            Self::ECHO_REQUEST => Class::Request,
            Self::ECHO_REPLY => Class::Reply,
            Self(0..128) => Class::Error,
            _ => Class::Other,
        }
    }

    /// True for neighbour discovery (RFC 4861), whose messages no router forwards.
    #[inline]
    pub const fn is_nd(self) -> bool {
        matches!(self, Self(133..=137))
    }

    /// True for multicast listener messages.
    #[inline]
    pub const fn is_mld(self) -> bool {
        matches!(self, Self(130..=132 | 143))
    }
}

/// Codes of [`Type::UNREACHABLE`].
pub mod unreachable {
    /// No route to the destination.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    /// Beyond the scope of the source address.
    pub const BEYOND_SCOPE: u8 = 2;
    /// Address unreachable.
    pub const ADDRESS: u8 = 3;
    /// Port unreachable.
    pub const PORT: u8 = 4;
    /// Source address failed an ingress or egress policy.
    pub const POLICY: u8 = 5;
    /// Reject route.
    pub const REJECT_ROUTE: u8 = 6;
}

/// Codes of [`Type::TIME_EXCEEDED`].
pub mod time_exceeded {
    /// Hop limit exceeded in transit.
    pub const TRANSIT: u8 = 0;
    /// Fragment reassembly time exceeded.
    pub const REASSEMBLY: u8 = 1;
}

/// Codes of [`Type::PARAMETER_PROBLEM`].
pub mod parameter_problem {
    /// Erroneous header field.
    pub const FIELD: u8 = 0;
    /// Unknown next header.
    pub const NEXT_HEADER: u8 = 1;
    /// Unknown option.
    pub const OPTION: u8 = 2;
    /// First fragment without the whole header chain (RFC 7112).
    pub const FIRST_FRAGMENT: u8 = 3;
}

header! {
    /// The first 8 octets of a message. Which of the fields that share octets are meant depends on the type.
    pub Header[HEADER_LEN];
    /// Type.
    pub kind, set_kind: Type = 0;
    /// Code.
    pub code, set_code: u8 = 1;
    /// Checksum over pseudo header and message.
    pub checksum, set_checksum: Checksum = 2;
    /// Echo: identifier.
    pub ident, set_ident, rewrite_ident: u16 = 4;
    /// Echo: sequence number.
    pub sequence, set_sequence: u16 = 6;
    /// Packet too big: the MTU of the next hop.
    pub mtu, set_mtu: u32 = 4;
    /// Parameter problem: the octet of the quoted packet that is at fault.
    pub pointer, set_pointer: u32 = 4;
    /// The last four octets, whatever they mean.
    pub rest, set_rest: [u8; 4] = 4;
}

impl<B: BorrowMut<[u8; HEADER_LEN]>> Header<B> {
    /// Applies a change of covered octets, or of the pseudo header, to the checksum.
    #[inline]
    pub fn adjust(&mut self, delta: Delta) {
        self.set_checksum(self.checksum().adjusted(delta));
    }
}

message!();

impl Repr {
    /// An echo request or reply.
    pub const fn echo(kind: Type, ident: u16, sequence: u16) -> Self {
        let ([a, b], [c, d]) = (ident.to_be_bytes(), sequence.to_be_bytes());
        Self { kind, code: 0, rest: [a, b, c, d] }
    }

    /// An error without further fields, or a message of another kind with zeros.
    pub const fn plain(kind: Type, code: u8) -> Self {
        Self { kind, code, rest: [0; 4] }
    }

    /// "Packet too big" for a next hop of `mtu` octets.
    pub const fn packet_too_big(mtu: u32) -> Self {
        Self { kind: Type::PACKET_TOO_BIG, code: 0, rest: mtu.to_be_bytes() }
    }

    /// A parameter problem at octet `pointer` of the quoted packet.
    pub const fn parameter_problem(code: u8, pointer: u32) -> Self {
        Self { kind: Type::PARAMETER_PROBLEM, code, rest: pointer.to_be_bytes() }
    }

    /// Writes the header at the start of `message`, whose body must already stand behind it, and the checksum over all
    /// of `message`. `Short` if the header does not fit.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) -> Result<(), Error> {
        self.emit_over(Pseudo::V6(src, dst).sum(Proto::ICMP6, message.len()), message)
    }
}
