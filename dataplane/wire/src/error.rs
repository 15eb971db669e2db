//! Why bytes are not the header that they claim to be.

use core::fmt;

/// The one error of this crate. Each variant names a distinct defect, so that the engine can map it to pf's drop
/// reason (`short`, `bad-offset`, `normalize`, `ip-option`, `fragment`, `proto-cksum`) without looking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The bytes end inside a header, an option area or an extension header. From `emit`: the buffer is too small.
    Short,
    /// A length field of IP or UDP promises more octets than there are. `af_packet` cuts long frames silently, so this
    /// is also how a cut frame shows.
    Truncated,
    /// The version nibble is not that of the header being parsed.
    Version,
    /// A header length field (IHL, TCP data offset) is below the fixed header.
    HeaderLength,
    /// The TCP data offset points behind the end of the segment.
    BadOffset,
    /// The IPv4 total length is less than its header, or the UDP length less than 8.
    TotalLength,
    /// An option of IPv4, IPv6, TCP or ND has a length that is too small, wrong for its kind, or overruns its area.
    OptionLength,
    /// A hop-by-hop header that does not directly follow the IPv6 header (RFC 8200 §4.1).
    HopByHopOrder,
    /// More extension headers than [`crate::ipv6::EXTENSIONS_MAX`].
    ExtensionCount,
    /// A routing header of type 0 (deprecated by RFC 5095), or a second routing header.
    RoutingHeader,
    /// A fragment header inside a fragment.
    NestedFragment,
    /// A jumbo payload option (RFC 2675): no link here carries such a packet.
    Jumbo,
    /// An ARP packet that is not Ethernet and IPv4.
    ArpFormat,
    /// A checksum that does not match.
    Checksum,
    /// UDP over IPv6 without a checksum (RFC 8200 §8.1).
    ZeroChecksum,
    /// From `emit` and setters: a value does not fit its field.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "ends inside a header",
            Self::Truncated => "shorter than its length field says",
            Self::Version => "wrong IP version",
            Self::HeaderLength => "header length below the minimum",
            Self::BadOffset => "data offset behind the end of the segment",
            Self::TotalLength => "length field below the header length",
            Self::OptionLength => "malformed option length",
            Self::HopByHopOrder => "hop-by-hop options not first",
            Self::ExtensionCount => "too many extension headers",
            Self::RoutingHeader => "routing header of type 0, or a second one",
            Self::NestedFragment => "fragment header inside a fragment",
            Self::Jumbo => "jumbo payload",
            Self::ArpFormat => "not ARP for IPv4 over Ethernet",
            Self::Checksum => "wrong checksum",
            Self::ZeroChecksum => "UDP over IPv6 without checksum",
            Self::TooLong => "value too long for its field",
        })
    }
}

impl core::error::Error for Error {}
