//! What the rules may ask about the machine: its interfaces, their addresses, and the routes.

use core::net::IpAddr;

use ipnet::IpNet;
use ruleset::{InterfaceMatch, InterfacePart, InterfacePattern};
use wire::Af;

/// An interface, by its place in [`World::interfaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceId(pub usize);

/// Whether an interface is a loopback, which `on any` leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A port.
    #[default]
    Port,
    /// A loopback.
    Loopback,
}

/// What is known of an interface. None is point-to-point, so `(if:peer)` names nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The groups that it belongs to.
    pub groups: Vec<String>,
    /// Whether it is a loopback.
    pub kind: InterfaceKind,
    /// Its addresses with their prefix lengths; the first of each family is the one that `:0` means.
    pub addresses: Vec<IpNet>,
}

impl Interface {
    /// True if `name` is its name or one of its groups.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.groups.iter().any(|group| group == name)
    }
}

/// The machine around the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its routes: prefix, and the interface that leads there.
    pub routes: Vec<(IpNet, InterfaceId)>,
    /// Its transparent pairs: what arrives at one leaves by the other.
    pub pairs: Vec<[InterfaceId; 2]>,
}

impl World {
    /// The interface of this number.
    ///
    /// # Panics
    /// If there is none: the caller made it up.
    pub fn interface(&self, id: InterfaceId) -> &Interface {
        &self.interfaces[id.0]
    }

    /// True if the address is one of ours.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(|net| net.addr() == address)
    }

    /// The interface that the longest matching route leads to.
    pub fn route(&self, to: IpAddr) -> Option<InterfaceId> {
        let matching = self.routes.iter().filter(|(net, _)| net.contains(&to));
        matching.max_by_key(|(net, _)| net.prefix_len()).map(|(_, interface)| *interface)
    }

    /// The other interface of the transparent pair that this one belongs to.
    pub fn peer(&self, id: InterfaceId) -> Option<InterfaceId> {
        let pair = self.pairs.iter().find(|pair| pair.contains(&id))?;
        pair.iter().copied().find(|other| *other != id)
    }

    /// pf.conf(5) `on`.
    pub(super) fn matches(&self, wanted: &InterfaceMatch, on: InterfaceId) -> bool {
        let interface = self.interface(on);
        let named = match &wanted.pattern {
            InterfacePattern::Any => interface.kind == InterfaceKind::Port,
            InterfacePattern::Name(name) => interface.is_named(name),
        };
        named != wanted.negated
    }

    /// pf.conf(5) `(interface[:modifier][/prefix])`: true if `address` is among what it stands for now.
    pub(super) fn stands_for(
        &self,
        name: &str,
        part: InterfacePart,
        no_alias: bool,
        prefix: Option<u8>,
        address: IpAddr,
    ) -> bool {
        let of_family = |net: &&IpNet| Af::of(&net.addr()) == Af::of(&address);
        self.interfaces.iter().filter(|interface| interface.is_named(name)).any(|interface| {
            let count = if no_alias { 1 } else { usize::MAX };
            interface.addresses.iter().filter(of_family).take(count).any(|net| match part {
                InterfacePart::Own => {
                    let bits = prefix.unwrap_or(Af::of(&address).bits());
                    IpNet::new(net.addr(), bits).is_ok_and(|own| own.contains(&address))
                }
                InterfacePart::Network => net.contains(&address),
                InterfacePart::Broadcast => matches!(net, IpNet::V4(_)) && net.broadcast() == address,
                InterfacePart::Peer => false,
            })
        })
    }
}
