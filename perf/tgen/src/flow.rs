//! Flows: from a number to addresses and ports, and back.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::profile::{CLIENT_PORT_MIN, Family, Network, Profile};

/// The end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that opens it.
    Client,
    /// The other.
    Server,
}

impl Role {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The addresses and ports of a packet, as they stand in it: source before destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Both addresses; the first 8 octets for IPv4.
    pub addresses: [u8; 32],
    /// Both ports.
    pub ports: [u8; 4],
}

/// All flows of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    family: Family,
    count: u32,
    clients: u32,
    servers: u32,
    server_port: u16,
    /// Addresses of the first client and the first server, as numbers.
    first: [u128; 2],
}

impl Flows {
    /// The flows of a profile between the hosts of a plan.
    pub fn new(profile: &Profile, network: &Network) -> Self {
        let first = [&network.client, &network.server].map(|plan| match profile.family {
            Family::Ipv4 => u128::from(u32::from(plan.hosts.network())) + 1,
            Family::Ipv6 => u128::from(plan.hosts6.network()) + 1,
        });
        Self {
            family: profile.family,
            count: profile.flows,
            clients: profile.clients,
            servers: profile.servers,
            server_port: profile.server_port,
            first,
        }
    }

    /// How many.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// What a packet of a flow, below [`count`](Self::count), has when `sender` sends it.
    #[inline]
    pub fn tuple(&self, flow: u32, sender: Role) -> Tuple {
        let client = self.first[0] + u128::from(flow % self.clients);
        let server = self.first[1] + u128::from(flow % self.servers);
        // Below 2^16, as the profile was checked.
        let client_port = CLIENT_PORT_MIN + (flow / self.clients) as u16;
        let (from, to, ports) = match sender {
            Role::Client => (client, server, [client_port, self.server_port]),
            Role::Server => (server, client, [self.server_port, client_port]),
        };
        let mut addresses = [0; 32];
        match self.family {
            Family::Ipv4 => {
                addresses[..4].copy_from_slice(&(from as u32).to_be_bytes());
                addresses[4..8].copy_from_slice(&(to as u32).to_be_bytes());
            }
            Family::Ipv6 => {
                addresses[..16].copy_from_slice(&from.to_be_bytes());
                addresses[16..].copy_from_slice(&to.to_be_bytes());
            }
        }
        let [[a, b], [c, d]] = ports.map(u16::to_be_bytes);
        Tuple { addresses, ports: [a, b, c, d] }
    }

    /// The flow of a packet that `sender` sent; none if it is of no flow.
    #[inline]
    pub fn find(&self, tuple: &Tuple, sender: Role) -> Option<u32> {
        let [from, to] = self.addresses(&tuple.addresses);
        let [a, b, c, d] = tuple.ports;
        let (from_port, to_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let (client, port) = match sender {
            Role::Client => (from, from_port),
            Role::Server => (to, to_port),
        };
        let client = u32::try_from(client.checked_sub(self.first[0])?).ok()?;
        let block = u32::from(port.checked_sub(CLIENT_PORT_MIN)?);
        let flow = block.checked_mul(self.clients)?.checked_add(client)?;
        // All else must be as it is in that flow.
        (client < self.clients && flow < self.count && self.tuple(flow, sender) == *tuple).then_some(flow)
    }

    fn addresses(&self, octets: &[u8; 32]) -> [u128; 2] {
        match self.family {
            Family::Ipv4 => {
                let [a, b, c, d, e, f, g, h, ..] = *octets;
                [[a, b, c, d], [e, f, g, h]].map(|one| u128::from(u32::from(Ipv4Addr::from(one))))
            }
            Family::Ipv6 => {
                let (from, to) = octets.split_at(16);
                [from, to].map(|one| {
                    let one: [u8; 16] = one.try_into().expect("half of 32 octets");
                    u128::from(Ipv6Addr::from(one))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Flows, Role};
    use crate::profile::{BUILT_IN, Network, Profile};

    #[test]
    fn every_flow_is_found_by_its_packets_and_no_other() {
        for (name, _) in BUILT_IN {
            let profile = Profile::find(name).expect("built in");
            let flows = Flows::new(&profile, &Network::built_in());
            let mut seen = BTreeSet::new();
            for flow in (0..flows.count()).step_by(97).chain([flows.count() - 1]) {
                for role in Role::BOTH {
                    let tuple = flows.tuple(flow, role);
                    assert_eq!(flows.find(&tuple, role), Some(flow), "{name}: {flow}");
                    assert_eq!(flows.find(&tuple, role.other()), None, "{name}: {flow} backwards");
                    seen.insert((tuple.addresses, tuple.ports));
                }
                let mut stranger = flows.tuple(flow, Role::Client);
                stranger.ports[3] ^= 1;
                assert_eq!(flows.find(&stranger, Role::Client), None);
            }
            assert_eq!(seen.len() % 2, 0);
            let last = flows.tuple(flows.count() - 1, Role::Client);
            assert!(seen.contains(&(last.addresses, last.ports)));
        }
    }
}
