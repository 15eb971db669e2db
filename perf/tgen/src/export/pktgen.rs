//! Ranges for pktgen: commands, and a table for `throughput.lua`.
//!
//! Its ranges all move on with each packet. With a number of ports that has no divisor in common with the number of clients
//! each port meets each client; there are as many flows as the profile says, or a few more.

use super::{Hosts, MADE_BY};
use crate::profile::{Profile, Senders};

/// The last port of clients, such that there are flows enough.
fn last_port(profile: &Profile, hosts: &Hosts) -> u16 {
    let [first, last] = hosts.ports;
    let clients = profile.clients.min(profile.flows);
    let fits = |last: &u16| divisor(clients, u32::from(last - first) + 1) == 1;
    (last..=u16::MAX).find(fits).unwrap_or(last)
}

/// The greatest common divisor.
const fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn senders(profile: &Profile) -> &'static [usize] {
    match profile.senders {
        Senders::Both => &[0, 1],
        Senders::Clients => &[0],
        Senders::Servers => &[1],
    }
}

/// Commands for `pktgen -f`.
pub fn commands(profile: &Profile, hosts: &Hosts, bytes: u16) -> String {
    let last = last_port(profile, hosts);
    let [first, _] = hosts.ports;
    let mut text = format!(
        "# {}: perf/profiles/{}.toml for pktgen.\n# Port 0 is on the clients' side, port 1 on the servers'. The \
         Ethernet addresses of the device under test are yours to\n# fill in. Then: start all\n# Made from the \
         definition: {MADE_BY}\n",
        profile.about, profile.name
    );
    let sides =
        [(&hosts.clients, &hosts.servers, "src", "dst"), (&hosts.servers, &hosts.clients, "dst", "src")];
    let server = profile.server_port;
    for port in [0, 1] {
        let (from, to, client, other) = sides[port];
        let own = &hosts.own[port];
        text += &format!(
            "\nset {port} src ip {own}/24\nenable {port} process\nrange {port} dst mac 02:00:00:00:00:0{port} \
             02:00:00:00:00:0{port} 02:00:00:00:00:0{port} 00:00:00:00:00:00\nrange {port} src ip {} {} {} \
             0.0.0.1\nrange {port} dst ip {} {} {} 0.0.0.1\nrange {port} {client} port {first} {first} {last} \
             1\nrange {port} {other} port {server} {server} {server} 0\nrange {port} size {bytes} {bytes} {bytes} \
             0\nrange {port} proto udp\nenable {port} range\n",
            from[0], from[0], from[1], to[0], to[0], to[1],
        );
    }
    for port in senders(profile) {
        text += &format!("set {port} count 0\nset {port} rate 10\n");
    }
    text
}

/// A table for `throughput.lua`.
pub fn table(profile: &Profile, hosts: &Hosts, bytes: u16) -> String {
    let pair = |[first, last]: &[String; 2]| format!("{{ \"{first}\", \"{last}\" }}");
    let senders: Vec<String> = senders(profile).iter().map(usize::to_string).collect();
    format!(
        "-- {}: perf/profiles/{}.toml for pktgen, read by throughput.lua.\n-- Made from the definition: {MADE_BY}\n\
         return {{\n    size = {bytes},\n    clients = {},\n    servers = {},\n    client_ports = {{ {}, {} }},\n    \
         server_port = {},\n    senders = {{ {} }},\n}}\n",
        profile.about,
        profile.name,
        pair(&hosts.clients),
        pair(&hosts.servers),
        hosts.ports[0],
        last_port(profile, hosts),
        profile.server_port,
        senders.join(", ")
    )
}
