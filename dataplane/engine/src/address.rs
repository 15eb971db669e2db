//! Addresses as the engine compares them: both families in one word, host order.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::Zeroable;
use wire::Af;

/// An IP address, right-aligned in host order: IPv4 in the low 32 bits. The family is kept beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Zeroable)]
pub struct Address(pub u128);

impl Address {
    /// The address in the form of the standard library.
    #[inline]
    pub const fn to_ip(self, af: Af) -> IpAddr {
        match af {
            Af::Inet => IpAddr::V4(Ipv4Addr::from_bits(self.0 as u32)),
            Af::Inet6 => IpAddr::V6(Ipv6Addr::from_bits(self.0)),
        }
    }

    /// The low 32 bits: the whole of an IPv4 address.
    #[inline]
    pub const fn v4(self) -> u32 {
        self.0 as u32
    }
}

impl From<Ipv4Addr> for Address {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_bits() as u128)
    }
}

impl From<Ipv6Addr> for Address {
    #[inline]
    fn from(address: Ipv6Addr) -> Self {
        Self(address.to_bits())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}
