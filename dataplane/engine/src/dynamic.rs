//! What `(interface:part)` stands for (pf.conf(5) PARAMETERS): addresses of interfaces as they are at the time of the packet.
//!
//! Ownership: made with the root, immutable. Bounds: the addresses of the interfaces named.

use ruleset::InterfacePart;
use wire::Af;

use crate::Address;
use crate::fib::{Fib, InterfaceId, share_bits};

/// `(interface:part)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OfInterfaces {
    pub interfaces: Vec<InterfaceId>,
    pub part: InterfacePart,
    /// `:0`: the first of each family.
    pub no_alias: bool,
    /// `/n`: the networks of that length around the addresses.
    pub prefix: Option<u8>,
}

/// An address, and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Around {
    pub address: Address,
    pub bits: u8,
}

impl Around {
    /// The first address that has these bits, and the last.
    pub fn range(self, af: Af) -> (Address, Address) {
        let behind = af.bits().saturating_sub(self.bits);
        let mask = u128::MAX.checked_shl(behind.into()).map_or(u128::MAX, |bits| !bits);
        let mask = if af == Af::Inet { mask & u128::from(u32::MAX) } else { mask };
        (Address(self.address.0 & !mask), Address(self.address.0 | mask))
    }
}

impl OfInterfaces {
    /// What it stands for, of a family.
    pub fn each<'a>(&'a self, af: Af, fib: &'a Fib) -> impl Iterator<Item = Around> + 'a {
        // As in pf, link-local addresses are aliases, and their network is nobody's.
        let no_link_local = self.part == InterfacePart::Network || self.no_alias;
        let most = if self.no_alias { 1 } else { usize::MAX };
        let bits = self.prefix.unwrap_or(af.bits());
        self.interfaces.iter().filter_map(|id| fib.interface(*id)).flat_map(move |interface| {
            let own = interface
                .addresses
                .iter()
                .filter(move |own| Af::of(&own.address) == af && !(no_link_local && own.is_link_local()));
            let around = own.filter_map(move |own| match self.part {
                InterfacePart::Own => Some(Around { address: own.address.into(), bits }),
                InterfacePart::Network => Some(Around { address: own.address.into(), bits: own.prefix }),
                InterfacePart::Broadcast => {
                    own.broadcast().map(|address| Around { address, bits: af.bits() })
                }
                InterfacePart::Peer => own.peer.map(|peer| Around { address: peer.into(), bits }),
            });
            around.take(most)
        })
    }

    /// The address that is all there is of a family, where that is one of its own of one interface; `None` as well where it
    /// takes longer to tell.
    #[inline]
    pub fn only(&self, af: Af, fib: &Fib) -> Option<Address> {
        match (self.interfaces.as_slice(), self.part, self.prefix) {
            ([id], InterfacePart::Own, None) => fib.only_address(*id, af),
            _ => None,
        }
    }

    pub fn contains(&self, af: Af, address: Address, fib: &Fib) -> bool {
        self.each(af, fib).any(|around| share_bits(af, address, around.address, around.bits))
    }

    /// What others can be sent to, or told to be: the first and the last address of each range.
    pub fn ranges<'a>(&'a self, af: Af, fib: &'a Fib) -> impl Iterator<Item = (Address, Address)> + 'a {
        let is_link_local = move |around: &Around| af == Af::Inet6 && around.address.0 >> 118 == 0xfe80 >> 6;
        self.each(af, fib).filter(move |around| !is_link_local(around)).map(move |around| around.range(af))
    }
}

#[cfg(test)]
mod tests {
    use wire::Mac;

    use super::*;
    use crate::Zone;
    use crate::fib::{Interface, InterfaceAddress, Role};

    #[test]
    fn what_is_known_at_once_is_all_there_is() {
        let interface = |addresses: &[&str]| Interface {
            name: "em0".into(),
            groups: Vec::new(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            addresses: addresses
                .iter()
                .map(|address| InterfaceAddress::new(address.parse().expect("an address"), 24))
                .collect(),
            zone: Zone(0),
            up: true,
            role: Role::Routed,
        };
        let own = |number| OfInterfaces {
            interfaces: vec![InterfaceId(number)],
            part: InterfacePart::Own,
            no_alias: false,
            prefix: None,
        };
        let of = [
            (interface(&["192.0.2.1", "2001:db8::1"]), [1, 1]),
            (interface(&["192.0.2.1", "192.0.2.2", "fe80::1"]), [2, 0]),
            (interface(&["2001:db8::1", "2001:db8::2"]), [0, 2]),
        ];
        let fib = Fib::new(1, of.iter().map(|(interface, _)| interface.clone()).collect(), [], []);
        for (number, (_, counts)) in (0..).zip(&of) {
            for (af, count) in [Af::Inet, Af::Inet6].into_iter().zip(counts) {
                let all: Vec<Address> = own(number).ranges(af, &fib).map(|(first, _)| first).collect();
                assert_eq!(all.len(), *count);
                let only = own(number).only(af, &fib);
                assert_eq!(only.as_slice(), if *count == 1 { &all[..] } else { &[] });
            }
        }
        let network = OfInterfaces { part: InterfacePart::Network, ..own(0) };
        assert_eq!([network.only(Af::Inet, &fib), own(3).only(Af::Inet, &fib)], [None; 2]);
    }
}
