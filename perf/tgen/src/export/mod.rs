//! The same definitions for other generators: TRex and pktgen.
//!
//! Overview: [`files`] writes a profile as each of them wants it. The files of the built-in profiles are in `perf/trex` and
//! `perf/pktgen`, where a test compares them. Their texts are ours; they use the programs' published interfaces.

mod pktgen;
mod trex;

use crate::flow::{Flows, Role};
use crate::profile::{Family, Kind, Network, Profile};

/// How to make them again.
const MADE_BY: &str = "UPDATE_EXPORTS=1 cargo test -p tgen --test exports";

/// A file of another generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it belongs, below `perf`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// A profile as other generators want it, as far as they can.
pub fn files(profile: &Profile, network: &Network) -> Vec<File> {
    let name = profile.name.replace('-', "_");
    let file =
        |folder: &str, ending: &str, text: String| File { path: format!("{folder}/{name}.{ending}"), text };
    let hosts = Hosts::new(profile, network);
    match &profile.kind {
        Kind::Udp(stream) => {
            let mut files = vec![file("trex/stl", "py", trex::stateless(profile, &hosts, stream))];
            // A range of pktgen has one size, and counts IPv4 addresses.
            if let ([frame], Family::Ipv4) = (stream.frames.as_slice(), profile.family) {
                files.push(file("pktgen", "pkt", pktgen::commands(profile, &hosts, frame.bytes)));
                files.push(file("pktgen", "lua", pktgen::table(profile, &hosts, frame.bytes)));
            }
            files
        }
        Kind::Established(stream) => {
            vec![file("trex/astf", "py", trex::established(profile, &hosts, stream))]
        }
        Kind::Connections(exchange) => {
            vec![file("trex/astf", "py", trex::connections(profile, &hosts, exchange))]
        }
    }
}

/// Who is where: the first and the last address of each side, and ports.
struct Hosts {
    clients: [String; 2],
    servers: [String; 2],
    /// The tester's ports, on the side of clients and of servers.
    own: [String; 2],
    /// Of clients, for as many flows as the profile has.
    ports: [u16; 2],
}

impl Hosts {
    fn new(profile: &Profile, network: &Network) -> Self {
        let flows = Flows::new(profile, network);
        let address = |flow: u32, role: Role| {
            let octets = flows.tuple(flow, role).addresses;
            match profile.family {
                Family::Ipv4 => {
                    let [a, b, c, d, ..] = octets;
                    core::net::Ipv4Addr::from([a, b, c, d]).to_string()
                }
                Family::Ipv6 => {
                    let source: [u8; 16] = *octets.first_chunk().expect("half of 32 octets");
                    core::net::Ipv6Addr::from(source).to_string()
                }
            }
        };
        // Clients and servers come in the order of flows; there may be fewer flows than hosts.
        let last = |hosts: u32| hosts.min(profile.flows) - 1;
        let first_port = crate::profile::CLIENT_PORT_MIN;
        let blocks = profile.flows.div_ceil(profile.clients) as u16;
        Self {
            clients: [0, last(profile.clients)].map(|flow| address(flow, Role::Client)),
            servers: [0, last(profile.servers)].map(|flow| address(flow, Role::Server)),
            own: [network.client.address, network.server.address].map(|address| address.to_string()),
            ports: [first_port, first_port + (blocks - 1)],
        }
    }
}
