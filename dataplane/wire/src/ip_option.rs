//! Which options and extension headers a packet carries: what pf.conf(5) `allow-opts` is about.

/// A set of findings about IP options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IpOptions(pub u8);

impl IpOptions {
    /// None.
    pub const NONE: Self = Self(0);
    /// A router alert (RFC 2113, RFC 2711): IGMP and MLD carry it by right.
    pub const ROUTER_ALERT: Self = Self(0x01);
    /// Any other option that is not padding.
    pub const OTHER: Self = Self(0x02);
    /// An IPv6 hop-by-hop header, whatever is in it.
    pub const HOP_BY_HOP: Self = Self(0x04);
    /// An IPv6 destination options header, whatever is in it.
    pub const DST_OPTS: Self = Self(0x08);
    /// An IPv6 routing header.
    pub const ROUTING: Self = Self(0x10);
    /// An authentication header.
    pub const AUTH: Self = Self(0x20);
    /// An IPv4 source route, loose or strict.
    pub const SOURCE_ROUTE: Self = Self(0x40);

    /// The findings of both.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if every finding of `other` is in `self`.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if nothing was found.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
