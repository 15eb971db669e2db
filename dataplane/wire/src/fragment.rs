//! What one fragment says of itself, in both IP versions.

/// The fragment fields of an IPv4 header (RFC 791 §3.1) or an IPv6 fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub ident: u32,
    /// Where the data of this fragment starts in the packet, in octets: a multiple of 8, at most 65528.
    pub offset: u16,
    /// True if more fragments follow.
    pub more: bool,
}

impl Fragment {
    /// True for the fragment that holds the start of the upper-layer header.
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// True if this is the whole packet after all (RFC 6946): only IPv6 can have such.
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}
