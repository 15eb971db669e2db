//! Neighbours: who the device under test is, and telling it who we are (ARP, RFC 826; neighbour discovery, RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::icmp6::{self, nd};
use wire::{EtherType, Mac, Proto, arp, ethernet, ipv6};

use crate::profile::{Family, SidePlan};

/// A message of neighbour discovery must not have been forwarded (RFC 4861 §7.1.1).
const HOP_LIMIT: u8 = 255;
/// A neighbour advertisement that was asked for, and is to be believed.
const SOLICITED_OVERRIDE: u8 = 0x60;

/// The tester's port on one side, as its neighbour sees it.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    mac: Mac,
    plan: SidePlan,
    family: Family,
}

/// What a frame said about neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asked for an address of ours: the frame that tells.
    Asked(Vec<u8>),
    /// The device under test told its Ethernet address.
    Gateway(Mac),
}

impl Station {
    /// A port with this Ethernet address.
    pub const fn new(mac: Mac, plan: SidePlan, family: Family) -> Self {
        Self { mac, plan, family }
    }

    /// Its Ethernet address.
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// The device under test.
    pub const fn gateway(&self) -> IpAddr {
        match self.family {
            Family::Ipv4 => IpAddr::V4(self.plan.gateway),
            Family::Ipv6 => IpAddr::V6(self.plan.gateway6),
        }
    }

    /// The frame that asks for the device under test.
    pub fn question(&self) -> Vec<u8> {
        match self.family {
            Family::Ipv4 => {
                let target = self.plan.gateway;
                self.arp(arp::Operation::REQUEST, self.plan.address, Mac::default(), target, Mac::BROADCAST)
            }
            Family::Ipv6 => {
                let target = self.plan.gateway6;
                let [.., a, b, c] = target.octets();
                // The solicited-node group of the target (RFC 4291 §2.7.1), and its Ethernet address (RFC 2464 §7).
                let group =
                    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
                let option = option(&nd::NdOption::SourceLinkLayer(self.mac));
                let message = nd::Nd::NeighborSolicit { target, options: nd::Options::new(&option) };
                self.nd(&message, self.plan.address6, group, Mac([0x33, 0x33, 0xff, a, b, c]))
            }
        }
    }

    /// What a frame says that concerns us.
    pub fn hear(&self, frame: &[u8]) -> Option<Heard> {
        let frame = ethernet::Frame::parse(frame).ok()?;
        match (self.family, frame.ether_type()) {
            (Family::Ipv4, EtherType::ARP) => self.hear_arp(&arp::Repr::parse(frame.payload()).ok()?),
            (Family::Ipv6, EtherType::IPV6) => {
                self.hear_nd(&ipv6::Packet::parse(frame.payload()).ok()?, frame.header().src())
            }
            _ => None,
        }
    }

    fn hear_arp(&self, heard: &arp::Repr) -> Option<Heard> {
        match heard.operation {
            arp::Operation::REQUEST if self.owns(heard.target) => Some(Heard::Asked(self.arp(
                arp::Operation::REPLY,
                heard.target,
                heard.sender_mac,
                heard.sender,
                heard.sender_mac,
            ))),
            arp::Operation::REPLY if heard.sender == self.plan.gateway => {
                Some(Heard::Gateway(heard.sender_mac))
            }
            _ => None,
        }
    }

    fn hear_nd(&self, packet: &ipv6::Packet<'_>, from: Mac) -> Option<Heard> {
        let header = packet.header();
        if header.next_header() != Proto::ICMP6 || header.hop_limit() != HOP_LIMIT {
            return None;
        }
        let message = icmp6::Message::parse(packet.payload()).ok()?;
        match nd::Nd::parse(&message).ok()?? {
            nd::Nd::NeighborSolicit { target, .. }
                if self.owns6(target) && !header.src().is_unspecified() =>
            {
                let option = option(&nd::NdOption::TargetLinkLayer(self.mac));
                let options = nd::Options::new(&option);
                let answer = nd::Nd::NeighborAdvert { flags: SOLICITED_OVERRIDE, target, options };
                Some(Heard::Asked(self.nd(&answer, target, header.src(), from)))
            }
            nd::Nd::NeighborAdvert { target, options, .. } if target == self.plan.gateway6 => {
                let told = options.iter().find_map(|option| match option {
                    Ok(nd::NdOption::TargetLinkLayer(mac)) => Some(mac),
                    _ => None,
                });
                Some(Heard::Gateway(told.unwrap_or(from)))
            }
            _ => None,
        }
    }

    /// Whether an address is the port's, or of a host behind it.
    fn owns(&self, address: Ipv4Addr) -> bool {
        address == self.plan.address || self.plan.hosts.contains(&address)
    }

    fn owns6(&self, address: Ipv6Addr) -> bool {
        address == self.plan.address6 || self.plan.hosts6.contains(&address)
    }

    fn arp(
        &self,
        operation: arp::Operation,
        sender: Ipv4Addr,
        target_mac: Mac,
        target: Ipv4Addr,
        to: Mac,
    ) -> Vec<u8> {
        let mut frame = vec![0; 60];
        let link =
            ethernet::Repr { dst: to, src: self.mac, tags: ethernet::Tags::None, ether_type: EtherType::ARP };
        let packet = arp::Repr { operation, sender_mac: self.mac, sender, target_mac, target };
        link.emit(&mut frame)
            .and_then(|()| packet.emit(&mut frame[ethernet::HEADER_LEN..]))
            .expect("60 octets have room for ARP");
        frame
    }

    fn nd(&self, message: &nd::Nd<'_>, from: Ipv6Addr, to: Ipv6Addr, to_mac: Mac) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER_LEN + ipv6::HEADER_LEN + message.len()];
        let link = ethernet::Repr {
            dst: to_mac,
            src: self.mac,
            tags: ethernet::Tags::None,
            ether_type: EtherType::IPV6,
        };
        let mut packet = ipv6::Repr::new(from, to, Proto::ICMP6, message.len());
        packet.hop_limit = HOP_LIMIT;
        link.emit(&mut frame)
            .and_then(|()| packet.emit(&mut frame[ethernet::HEADER_LEN..]))
            .and_then(|()| message.emit(from, to, &mut frame[ethernet::HEADER_LEN + ipv6::HEADER_LEN..]))
            .expect("made as long as it is");
        frame
    }
}

fn option(option: &nd::NdOption<'_>) -> [u8; 8] {
    let mut octets = [0; 8];
    option.emit(&mut octets).expect("an Ethernet address takes 8 octets");
    octets
}

#[cfg(test)]
mod tests {
    use wire::Mac;

    use super::{Heard, Station};
    use crate::profile::{Family, Network, SidePlan};

    const TESTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const DEVICE: Mac = Mac([2, 0, 0, 0, 0, 2]);

    /// The device under test asks as a tester with the addresses exchanged would.
    fn device(plan: SidePlan, family: Family) -> Station {
        let exchanged = SidePlan {
            gateway: plan.address,
            address: plan.gateway,
            gateway6: plan.address6,
            address6: plan.gateway6,
            hosts: "192.0.2.0/24".parse().expect("a network"),
            hosts6: "2001:db8::/64".parse().expect("a network"),
        };
        Station::new(DEVICE, exchanged, family)
    }

    #[test]
    fn both_find_each_other_and_strangers_hear_nothing() {
        let network = Network::built_in();
        for family in [Family::Ipv4, Family::Ipv6] {
            for plan in [network.client, network.server] {
                let tester = Station::new(TESTER, plan, family);
                let device = device(plan, family);
                for (asks, told, mac) in [(&tester, &device, DEVICE), (&device, &tester, TESTER)] {
                    let Some(Heard::Asked(answer)) = told.hear(&asks.question()) else {
                        panic!("{family:?}: no answer");
                    };
                    assert_eq!(asks.hear(&answer), Some(Heard::Gateway(mac)));
                    assert_eq!(told.hear(&answer), None, "its own answer");
                    assert_eq!(asks.hear(&asks.question()), None, "its own question");
                }
                let elsewhere = if plan == network.client { network.server } else { network.client };
                assert_eq!(Station::new(TESTER, elsewhere, family).hear(&device.question()), None);
            }
        }
    }
}
