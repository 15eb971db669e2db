//! ICMP errors.

use core::net::Ipv6Addr;

use wire::{Af, Proto, icmp4, icmp6};

use super::refusal::{Endpoints, NoReply, check};
use super::{Header, TTL, turn_back};
use crate::packet::ip_header_len;
use crate::{Address, Frame, Packet};

/// What is told to the sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Destination unreachable: type 3 over IPv4, 1 over IPv6. pf.conf(5) `return-icmp`, `return-icmp6`, or no route.
    Unreachable {
        /// The code, of the packet's own family.
        code: u8,
    },
    /// The time to live, or hop limit, ran out on the way.
    TimeExceeded,
    /// Larger than the next link takes: 3/4 over IPv4 (RFC 1191), "packet too big" over IPv6.
    TooBig {
        /// The MTU of that link, in bytes of IP datagram; IPv4 has 16 bits for it.
        mtu: u32,
    },
    /// A header field is at fault.
    Parameter {
        /// The code, of the packet's own family.
        code: u8,
        /// Where that field is, in bytes from the start of the IP header; IPv4 has 8 bits for it.
        pointer: u32,
    },
}

/// A family's headers in front of a quote.
struct Form {
    /// The longest datagram.
    longest: usize,
    /// Octets of IP and ICMP headers.
    headers: usize,
    /// RFC 1812 §4.3.2.5: over IPv4 an error SHOULD have precedence 6, "internetwork control". RFC 4443 wants nothing.
    tos: u8,
    proto: Proto,
}

impl Form {
    const fn of(af: Af) -> Self {
        let ip = ip_header_len(af);
        match af {
            // RFC 1812 §4.3.2.3: as much of the packet as fits a datagram of 576 bytes.
            Af::Inet => Self { longest: 576, headers: ip + icmp4::HEADER_LEN, tos: 0xc0, proto: Proto::ICMP },
            // RFC 4443 §2.4 c: of the minimum MTU.
            Af::Inet6 => Self { longest: 1280, headers: ip + icmp6::HEADER_LEN, tos: 0, proto: Proto::ICMP6 },
        }
    }

    /// Octets quoted of a packet: padding behind the datagram is none of it.
    const fn quote_len(&self, packet: &Packet) -> usize {
        let (length, most) = (packet.length() as usize, self.longest - self.headers);
        if length < most { length } else { most }
    }
}

/// Turns the packet into an ICMP error about itself, which quotes it as it is in the frame. `source` is the address that
/// the error comes from: of the interface that the packet arrived on for a router's errors, `None` for the packet's own
/// destination (pf.conf(5) `return-icmp`).
///
/// # Errors
/// [`NoReply`]; the frame is untouched then.
pub fn icmp_error(
    frame: &mut impl Frame,
    packet: &Packet,
    endpoints: Endpoints,
    source: Option<Address>,
    problem: Problem,
) -> Result<(), NoReply> {
    check(frame, packet, endpoints)?;
    let form = Form::of(packet.tuple.af);
    let quote_len = form.quote_len(packet);
    if form.headers + quote_len > 2 * packet.length() as usize {
        return Err(NoReply::Short);
    }
    frame.prepend(form.headers).map_err(|_| NoReply::NoRoom)?;
    frame.truncate(usize::from(packet.l3) + form.headers + quote_len);
    let error = Error { form, src: source.unwrap_or(packet.tuple.dst), dst: packet.tuple.src, problem };
    error.write(frame.bytes_mut(), packet).map_err(|_| NoReply::Inconsistent)
}

/// An error to be written.
struct Error {
    form: Form,
    src: Address,
    dst: Address,
    problem: Problem,
}

impl Error {
    /// Writes the error into a frame that was grown by its headers at the front and cut behind its quote, so that
    /// everything fits and this cannot fail half-way.
    fn write(&self, frame: &mut [u8], packet: &Packet) -> Result<(), wire::Error> {
        let l3 = usize::from(packet.l3);
        // The Ethernet header and its tags, at most 22 bytes, move to the front of the 28 or 48 new ones.
        let (room, old) = frame.split_at_mut_checked(self.form.headers).ok_or(wire::Error::Short)?;
        let (to, from) = room.get_mut(..l3).zip(old.get(..l3)).ok_or(wire::Error::Short)?;
        to.copy_from_slice(from);
        turn_back(frame)?;
        let ip = frame.get_mut(l3..).ok_or(wire::Error::Short)?;
        let (head, message) =
            ip.split_at_mut_checked(ip_header_len(packet.tuple.af)).ok_or(wire::Error::Short)?;
        let header = Header {
            src: self.src,
            dst: self.dst,
            af: packet.tuple.af,
            proto: self.form.proto,
            ttl: TTL,
            tos: self.form.tos,
            payload_len: message.len(),
        };
        header.emit(head)?;
        match packet.tuple.af {
            Af::Inet => self.problem.icmp4().emit(message),
            Af::Inet6 => {
                let (src, dst) = (Ipv6Addr::from_bits(self.src.0), Ipv6Addr::from_bits(self.dst.0));
                self.problem.icmp6().emit(src, dst, message)
            }
        }
    }
}

impl Problem {
    fn icmp4(self) -> icmp4::Repr {
        match self {
            Self::Unreachable { code } => icmp4::Repr::error(icmp4::Type::UNREACHABLE, code),
            Self::TimeExceeded => {
                icmp4::Repr::error(icmp4::Type::TIME_EXCEEDED, icmp4::time_exceeded::TRANSIT)
            }
            Self::TooBig { mtu } => icmp4::Repr::fragmentation_needed(u16::try_from(mtu).unwrap_or(u16::MAX)),
            Self::Parameter { code, pointer } => {
                let pointer = u8::try_from(pointer).unwrap_or(u8::MAX);
                icmp4::Repr { code, ..icmp4::Repr::parameter_problem(pointer) }
            }
        }
    }

    const fn icmp6(self) -> icmp6::Repr {
        match self {
            Self::Unreachable { code } => icmp6::Repr::plain(icmp6::Type::UNREACHABLE, code),
            Self::TimeExceeded => {
                icmp6::Repr::plain(icmp6::Type::TIME_EXCEEDED, icmp6::time_exceeded::TRANSIT)
            }
            Self::TooBig { mtu } => icmp6::Repr::packet_too_big(mtu),
            Self::Parameter { code, pointer } => icmp6::Repr::parameter_problem(code, pointer),
        }
    }
}
