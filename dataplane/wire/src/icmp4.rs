//! ICMP for IPv4 (RFC 792, RFC 950, RFC 1191, RFC 1256).

use core::net::Ipv4Addr;

use crate::checksum::{Delta, Sum};
use crate::field::header;
pub use crate::icmp::Class;
use crate::icmp::message;
use crate::{Checksum, Error};

/// Octets of the header that all messages share.
pub const HEADER_LEN: usize = 8;

/// The type octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type(pub u8);

impl Type {
    /// Echo reply.
    pub const ECHO_REPLY: Self = Self(0);
    /// Destination unreachable.
    pub const UNREACHABLE: Self = Self(3);
    /// Source quench (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: Self = Self(4);
    /// Redirect.
    pub const REDIRECT: Self = Self(5);
    /// Echo request.
    pub const ECHO_REQUEST: Self = Self(8);
    /// Router advertisement.
    pub const ROUTER_ADVERT: Self = Self(9);
    /// Router solicitation.
    pub const ROUTER_SOLICIT: Self = Self(10);
    /// Time exceeded.
    pub const TIME_EXCEEDED: Self = Self(11);
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: Self = Self(12);
    /// Timestamp request.
    pub const TIMESTAMP_REQUEST: Self = Self(13);
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: Self = Self(14);
    /// Information request.
    pub const INFO_REQUEST: Self = Self(15);
    /// Information reply.
    pub const INFO_REPLY: Self = Self(16);
    /// Address mask request.
    pub const MASK_REQUEST: Self = Self(17);
    /// Address mask reply.
    pub const MASK_REPLY: Self = Self(18);

    /// What messages of this type are for.
    #[inline]
    pub const fn class(self) -> Class {
        match self {
            Self::ECHO_REQUEST | Self::TIMESTAMP_REQUEST | Self::INFO_REQUEST | Self::MASK_REQUEST => {
                Class::Request
            }
            Self::ECHO_REPLY | Self::TIMESTAMP_REPLY | Self::INFO_REPLY | Self::MASK_REPLY => Class::Reply,
            Self::UNREACHABLE
            | Self::SOURCE_QUENCH
            | Self::REDIRECT
            | Self::TIME_EXCEEDED
            | Self::PARAMETER_PROBLEM => Class::Error,
            _ => Class::Other,
        }
    }

    /// The type of the reply to this request, or of the request that this replies to.
    pub const fn counterpart(self) -> Option<Self> {
        Some(match self {
            Self::ECHO_REQUEST => Self::ECHO_REPLY,
            Self::ECHO_REPLY => Self::ECHO_REQUEST,
            Self::TIMESTAMP_REQUEST => Self::TIMESTAMP_REPLY,
            Self::TIMESTAMP_REPLY => Self::TIMESTAMP_REQUEST,
            Self::INFO_REQUEST => Self::INFO_REPLY,
            Self::INFO_REPLY => Self::INFO_REQUEST,
            Self::MASK_REQUEST => Self::MASK_REPLY,
            Self::MASK_REPLY => Self::MASK_REQUEST,
            _ => return None,
        })
    }
}

/// Codes of [`Type::UNREACHABLE`] (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1).
pub mod unreachable {
    /// Network unreachable.
    pub const NET: u8 = 0;
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Protocol unreachable.
    pub const PROTOCOL: u8 = 2;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and "do not fragment" set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Source route failed.
    pub const SOURCE_ROUTE: u8 = 5;
    /// Network unknown.
    pub const NET_UNKNOWN: u8 = 6;
    /// Host unknown.
    pub const HOST_UNKNOWN: u8 = 7;
    /// Source host isolated.
    pub const ISOLATED: u8 = 8;
    /// Network administratively prohibited.
    pub const NET_PROHIBITED: u8 = 9;
    /// Host administratively prohibited.
    pub const HOST_PROHIBITED: u8 = 10;
    /// Network unreachable for this type of service.
    pub const NET_TOS: u8 = 11;
    /// Host unreachable for this type of service.
    pub const HOST_TOS: u8 = 12;
    /// Administratively prohibited by filtering.
    pub const FILTERED: u8 = 13;
    /// Host precedence violation.
    pub const PRECEDENCE: u8 = 14;
    /// Precedence cutoff.
    pub const PRECEDENCE_CUTOFF: u8 = 15;
}

/// Codes of [`Type::TIME_EXCEEDED`].
pub mod time_exceeded {
    /// Time to live exceeded in transit.
    pub const TRANSIT: u8 = 0;
    /// Fragment reassembly time exceeded.
    pub const REASSEMBLY: u8 = 1;
}

/// Codes of [`Type::REDIRECT`].
pub mod redirect {
    /// For the network.
    pub const NET: u8 = 0;
    /// For the host.
    pub const HOST: u8 = 1;
    /// For the type of service and network.
    pub const TOS_NET: u8 = 2;
    /// For the type of service and host.
    pub const TOS_HOST: u8 = 3;
}

header! {
    /// The first 8 octets of a message. Which of the fields that share octets are meant depends on the type.
    pub Header[HEADER_LEN];
    /// Type.
    pub kind, set_kind: Type = 0;
    /// Code.
    pub code, set_code: u8 = 1;
    /// Checksum over the message; no pseudo header.
    pub checksum, set_checksum: Checksum = 2;
    /// Queries: identifier.
    pub ident, set_ident: u16 = 4;
    /// Queries: sequence number.
    pub sequence, set_sequence: u16 = 6;
    /// Redirect: the gateway to use.
    pub gateway, set_gateway: Ipv4Addr = 4;
    /// Parameter problem: the octet of the quoted packet that is at fault.
    pub pointer, set_pointer: u8 = 4;
    /// Fragmentation needed: the MTU of the next hop (RFC 1191).
    pub mtu, set_mtu: u16 = 6;
    /// The last four octets, whatever they mean.
    pub rest, set_rest: [u8; 4] = 4;
}

message!();

/// Stores the identifier of the query that fills `message` and carries its checksum along; `Short` below 8 octets.
///
/// An echo reply with all else zero is the only packet whose sum can become zero, which one incremental update cannot
/// tell from 65535 (RFC 1624 §4). It is summed anew.
pub fn rewrite_ident(message: &mut [u8], ident: u16) -> Result<(), Error> {
    let mut header = Header::at_mut(message, 0)?;
    let delta = Delta::of(&header.ident().to_be_bytes(), &ident.to_be_bytes());
    header.set_ident(ident);
    let checksum = header.checksum().adjusted(delta);
    header.set_checksum(checksum);
    if checksum == Checksum::ZERO {
        let sum = Sum::ZERO.plus(message).checksum();
        if sum == Checksum::ONES {
            Header::at_mut(message, 0)?.set_checksum(sum);
        }
    }
    Ok(())
}

impl Repr {
    /// A query of a type, or the answer to one.
    pub const fn query(kind: Type, ident: u16, sequence: u16) -> Self {
        let ([a, b], [c, d]) = (ident.to_be_bytes(), sequence.to_be_bytes());
        Self { kind, code: 0, rest: [a, b, c, d] }
    }

    /// An error without further fields.
    pub const fn error(kind: Type, code: u8) -> Self {
        Self { kind, code, rest: [0; 4] }
    }

    /// "Fragmentation needed" for a next hop of `mtu` octets (RFC 1191).
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        let [high, low] = mtu.to_be_bytes();
        Self { kind: Type::UNREACHABLE, code: unreachable::FRAGMENTATION_NEEDED, rest: [0, 0, high, low] }
    }

    /// A redirect to `gateway`.
    pub const fn redirect(code: u8, gateway: Ipv4Addr) -> Self {
        Self { kind: Type::REDIRECT, code, rest: gateway.octets() }
    }

    /// A parameter problem at octet `pointer` of the quoted packet.
    pub const fn parameter_problem(pointer: u8) -> Self {
        Self { kind: Type::PARAMETER_PROBLEM, code: 0, rest: [pointer, 0, 0, 0] }
    }

    /// Writes the header at the start of `message`, whose body must already stand behind it, and the checksum over all
    /// of `message`. `Short` if the header does not fit.
    pub fn emit(&self, message: &mut [u8]) -> Result<(), Error> {
        self.emit_over(Sum::ZERO, message)
    }
}
