//! IPv4 addresses inside of IPv6 addresses (RFC 6052 §2.2).
//!
//! Behind a prefix shorter than 96 bits, the IPv4 address leaves out octet 8 of the IPv6 address, which is 0.

use ruleset::NAT64_LENGTHS;

/// The half of an address in front of octet 8, from which on a short prefix's IPv4 address stands an octet further down.
const UPPER: u128 = (u64::MAX as u128) << 64;

/// An octet.
const SKIPPED: u32 = 8;

/// The bits that are not of a prefix; all of them without one.
const fn host_mask(length: u8) -> u128 {
    match u128::MAX.checked_shr(length as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// The IPv6 address behind whose prefix of this length, one of [`NAT64_LENGTHS`], an IPv4 address stands; octets behind that
/// are 0.
pub(super) const fn embed(prefix: u128, length: u8, v4: u32) -> u128 {
    let network = prefix & !host_mask(length);
    if length >= 96 {
        return network | v4 as u128;
    }
    let contiguous = (v4 as u128) << (96 - length);
    network | contiguous & UPPER | (contiguous & !UPPER) >> SKIPPED
}

/// The IPv4 address that stands behind a prefix of this length.
pub(super) const fn extract(length: u8, address: u128) -> u32 {
    if length >= 96 {
        return address as u32;
    }
    let lower = (address & !UPPER) << SKIPPED & !UPPER;
    ((address & UPPER | lower) >> (96 - length)) as u32
}

/// The prefix behind which `address` holds this IPv4 address, of the longest one if there are several.
pub(super) fn holding(address: u128, v4: u32) -> Option<u8> {
    let holds = |length: &u8| embed(address, *length, v4) == address;
    NAT64_LENGTHS.into_iter().rev().find(holds)
}

/// Where destinations are (`af-to … to`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Its first address, in bits of its family.
    pub first: u128,
    pub length: u8,
    /// Bits of an address of its family.
    pub bits: u8,
}

impl Network {
    /// The address in it that stands for an IPv4 address: one that holds it where there is a place for it, else one that ends as
    /// it does.
    pub const fn with(&self, v4: u32) -> u128 {
        let Self { first, length, bits } = *self;
        if bits == 128 && length <= 96 {
            return embed(first, length, v4);
        }
        first | v4 as u128 & host_mask(length + (128 - bits))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn v6(text: &str) -> u128 {
        text.parse::<Ipv6Addr>().expect("an IPv6 address").to_bits()
    }

    /// The table of RFC 6052 §2.4, and the well-known prefix.
    #[test]
    fn every_prefix_has_the_address_where_rfc_6052_has_it() {
        let v4 = Ipv4Addr::new(192, 0, 2, 33).to_bits();
        for (prefix, length, expected) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
        ] {
            let address = embed(v6(prefix), length, v4);
            assert_eq!(Ipv6Addr::from_bits(address), Ipv6Addr::from_bits(v6(expected)), "/{length}");
            assert_eq!(extract(length, address), v4, "/{length}");
            assert_eq!(holding(address, v4), Some(length));
            assert_eq!(holding(address, v4 + 1), None);
        }
    }

    #[test]
    fn a_network_without_such_a_place_gives_its_own_bits() {
        let (v4, net) = (0xc000_0221, |first, length, bits| Network { first, length, bits });
        assert_eq!(net(0, 0, 32).with(v4), u128::from(v4));
        assert_eq!(net(0x0a00_0000, 8, 32).with(v4), 0x0a00_0221);
        assert_eq!(net(0x0a00_0001, 32, 32).with(v4), 0x0a00_0001);
        let host = v6("2001:db8::5");
        assert_eq!(net(host, 128, 128).with(v4), host);
        assert_eq!(net(v6("2001:db8::"), 120, 128).with(v4), v6("2001:db8::21"));
    }

    proptest! {
        #[test]
        fn what_is_embedded_is_found_again(prefix: u128, v4: u32) {
            for length in NAT64_LENGTHS {
                let address = embed(prefix, length, v4);
                prop_assert_eq!(extract(length, address), v4);
                prop_assert_eq!((address ^ prefix) & !host_mask(length), 0, "the prefix stays");
                if length < 96 {
                    prop_assert_eq!((address >> 56) as u8, 0, "octet 8");
                }
            }
        }
    }
}
