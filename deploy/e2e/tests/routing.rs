//! Forwarding as a router does: TTL, MTU, routes, neighbours and addresses as the kernel has them at every moment.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, address};
use e2e::transfer::{ensure_same, random_file};
use e2e::{Lab, Links, PATIENCE, WebServer, bed, run, wait_until};

const OPEN: &str = "pass\n";

/// Pings once, with an answer to come, and returns what ping said.
fn ping(lab: &Lab, words: &str) -> Result<String> {
    Ok(lab.client.try_run(&format!("ping -n -c 1 -W 10 {words}"))?.text)
}

#[test]
fn the_last_hop_is_answered_from_the_firewalls_own_address() {
    bed("ttl", Links::AfPacket, OPEN, |lab| {
        let before = lab.drops()?;
        let cases = [
            (Lab::SERVER, "From 10.1.0.1 icmp_seq=1 Time to live exceeded"),
            (Lab::SERVER6, "From fd00:1::1 icmp_seq=1 Time exceeded: Hop limit"),
        ];
        for (server, expected) in cases {
            let said = ping(lab, &format!("-e 4660 -t 1 {server}"))?;
            ensure!(said.contains(expected), "{expected} was expected:\n{said}");
        }
        lab.expect_drops(&before, &[("lan0", "ttl", 2)])?;
        // What entered has made pf's state for that, and none for leaving.
        lab.expect_states(&[
            "all icmp 10.2.0.2:8 <- 10.1.0.2:4660 0:0".to_owned(),
            "all ipv6-icmp fd00:2::2[128] <- fd00:1::2[4660] 0:0".to_owned(),
        ])?;
        for server in [Lab::SERVER, Lab::SERVER6] {
            let said = ping(lab, &format!("-t 2 {server}"))?;
            ensure!(said.contains(" 0% packet loss"), "two hops are enough:\n{said}");
        }
        lab.expect_drops(&before, &[("lan0", "ttl", 2)])
    });
}

#[test]
fn a_smaller_mtu_is_told_to_senders_who_adapt() {
    bed("mtu", Links::Tap, OPEN, |lab| {
        lab.firewall.run("ip link set wan0 mtu 1300")?;
        let before = lab.drops()?;
        let told = [
            (Lab::SERVER, "From 10.1.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1300)"),
            (Lab::SERVER6, "From fd00:1::1 icmp_seq=1 Packet too big: mtu=1300"),
        ];
        for (server, expected) in told {
            lab.client.wait_for_ping(&format!("-M do -s 1300 {server}"), expected)?;
        }
        // Counters are shown a moment after what they count.
        wait_until("both packets to be counted", PATIENCE, || {
            lab.drops().is_ok_and(|drops| drops.since(&before).of_reason("too-big") >= 2)
        })?;
        let dropped = lab.drops()?.since(&before);
        ensure!(dropped.total() == dropped.of_reason("too-big"), "dropped: {dropped}");
        forget_path_mtu(lab)?;
        // Exactly as large as the link: 1300 = 20 + 8 + 1272 = 40 + 8 + 1252.
        let before = lab.drops()?;
        for (server, size) in [(Lab::SERVER, 1272), (Lab::SERVER6, 1252)] {
            let said = ping(lab, &format!("-M do -s {size} {server}"))?;
            ensure!(said.contains(" 0% packet loss"), "a full packet is not too big:\n{said}");
            ping(lab, &format!("-M do -s {} {server}", size + 1))?;
        }
        lab.expect_drops(&before, &[("lan0", "too-big", 2)])?;
        forget_path_mtu(lab)?;
        upload(lab)
    });
}

fn forget_path_mtu(lab: &Lab) -> Result<()> {
    lab.client.run("ip route flush cache")?;
    lab.client.run("ip -6 route flush cache").map(|_| ())
}

/// TCP starts with segments that are too big, and finds the way by what the firewall tells it (RFC 1191, RFC 8201).
fn upload(lab: &Lab) -> Result<()> {
    let (www, sent) = (lab.folder.join("www"), lab.folder.join("sent"));
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    random_file(&sent, 2)?;
    for host in ["10.2.0.2", "[fd00:2::2]"] {
        lab.client.run(&format!("curl -sSf --max-time 20 -T {} http://{host}/file", sent.display()))?;
        ensure_same(&sent, &www.join("file")).context(host)?;
        std::fs::remove_file(www.join("file"))?;
    }
    Ok(())
}

/// A destination behind the server, in one family: `ip` flags, the destination, the server, and ping's words for no
/// route, unreachable, and prohibited.
const BEHIND: [(&str, &str, &str, [&str; 3]); 2] = [
    (
        "-4",
        "192.0.2.1",
        Lab::SERVER,
        ["Destination Net Unreachable", "Destination Net Unreachable", "Packet filtered"],
    ),
    (
        "-6",
        "2001:db8::1",
        Lab::SERVER6,
        [
            "Destination unreachable: No route",
            "Destination unreachable: No route",
            "Destination unreachable: Administratively prohibited",
        ],
    ),
];

#[test]
fn routes_take_effect_as_they_are_added_changed_and_removed() {
    bed("routes", Links::Tap, OPEN, |lab| {
        for (family, target, server, [absent, unreachable, prohibited]) in BEHIND {
            let before = lab.drops()?;
            let route = |words: &str| lab.firewall.run(&format!("ip {family} route {words}"));
            lab.server.run(&format!("ip {family} addr add {target} dev lo"))?;
            lab.client.wait_for_ping(target, absent)?;
            route(&format!("add {target} via {server}"))?;
            lab.client.wait_for_ping(target, " 0% packet loss")?;
            // IPv6 routes of another kind stand beside each other; they are changed by removing one.
            let mut live = String::new();
            for (kind, expected) in [("unreachable", unreachable), ("prohibit", prohibited)] {
                route(&format!("del {live} {target}"))?;
                route(&format!("add {kind} {target}"))?;
                live = kind.to_owned();
                lab.client.wait_for_ping(target, expected)?;
            }
            route(&format!("del {live} {target}"))?;
            route(&format!("add blackhole {target}"))?;
            lab.client.ping_until(target, "a black hole", |said| !said.contains("From"))?;
            route(&format!("del blackhole {target}"))?;
            route(&format!("add {target} via {server}"))?;
            lab.client.wait_for_ping(target, " 0% packet loss")?;
            route(&format!("del {target}"))?;
            lab.client.wait_for_ping(target, absent)?;
            let dropped = lab.drops()?.since(&before);
            ensure!(dropped.total() == dropped.of_reason("no-route"), "dropped: {dropped}");
        }
        Ok(())
    });
}

#[test]
fn the_longest_prefix_wins_and_connections_follow_their_route() {
    bed("prefixes", Links::AfPacket, OPEN, |lab| {
        lab.server.run("ip addr add 192.0.2.1 dev lo")?;
        lab.firewall.run("ip route add 192.0.2.0/24 via 10.2.0.2")?;
        // One identifier: one connection all the time.
        let connection = "-e 4660 192.0.2.1";
        lab.client.wait_for_ping(connection, " 0% packet loss")?;
        lab.firewall.run("ip route add blackhole 192.0.2.1/32")?;
        lab.client.wait_for_ping(connection, "100% packet loss")?;
        lab.firewall.run("ip route del blackhole 192.0.2.1/32")?;
        lab.client.wait_for_ping(connection, " 0% packet loss")?;
        lab.expect_states(&[
            "all icmp 192.0.2.1:8 <- 10.1.0.2:4660 0:0".to_owned(),
            "all icmp 10.1.0.2:4660 -> 192.0.2.1:8 0:0".to_owned(),
        ])
    });
}

#[test]
fn packets_wait_for_an_unknown_neighbour() {
    bed("neighbour", Links::Tap, OPEN, |lab| {
        let echo = Echo::start(&lab.server, 7)?;
        let before = lab.drops()?;
        for server in [Lab::SERVER, Lab::SERVER6] {
            lab.firewall.run("ip neigh flush dev wan0")?;
            let said = ping(lab, server)?;
            ensure!(said.contains(" 0% packet loss"), "the first packet was lost:\n{said}");
        }
        // Deaf for a while: what is sent meanwhile waits, and arrives when the server hears again.
        lab.server.run("ip link set eth-wan arp off")?;
        lab.firewall.run("ip neigh flush dev wan0")?;
        let udp = Datagrams::open(&lab.client, address(Lab::SERVER, 7), PATIENCE)?;
        // The route's next hop is known for a moment longer than the kernel knows it.
        let mut sent = 0;
        wait_until("the firewall to forget the server", PATIENCE, || {
            sent += u64::from(udp.send(8).is_ok());
            held(lab).is_ok_and(|held| held > 0)
        })?;
        lab.server.run("ip link set eth-wan arp on")?;
        wait_until("the waiting packets to leave", PATIENCE, || held(lab).is_ok_and(|held| held == 0))?;
        udp.ask().context("when the neighbour is known again")?;
        // Those sent by hand, at least one of which waited, and the question.
        let arrived = || echo.datagrams() == sent + 1;
        wait_until("what waited to arrive", PATIENCE, arrived)
            .with_context(|| format!("{} of {} arrived", echo.datagrams(), sent + 1))?;
        lab.expect_drops(&before, &[])
    });
}

fn held(lab: &Lab) -> Result<u64> {
    let counts = &lab.show("status")?["workers"][0]["conservation"];
    counts["held"].as_u64().context("status does not say what is held")
}

#[test]
fn packets_to_a_dead_neighbour_are_given_up_and_counted() {
    bed("dead", Links::AfPacket, OPEN, |lab| {
        let before = lab.drops()?;
        for dead in ["10.2.0.99", "fd00:2::99"] {
            let udp = Datagrams::open(&lab.client, address(dead, 7), PATIENCE)?;
            for _ in 0..20 {
                udp.send(8)?;
            }
        }
        wait_until("packets to be held", PATIENCE, || held(lab).is_ok_and(|held| held > 0))?;
        wait_until("all to be given up", PATIENCE, || held(lab).is_ok_and(|held| held == 0))?;
        lab.expect_drops(&before, &[("wan0", "no-neighbor", 40)])?;
        // Whoever is alive was not disturbed.
        let said = ping(lab, Lab::SERVER)?;
        ensure!(said.contains(" 0% packet loss"), "{said}");
        Ok(())
    });
}

#[test]
fn addresses_take_effect_as_they_are_added_and_removed() {
    bed("addresses", Links::Tap, OPEN, |lab| {
        for (more, own, network, host, absent) in [
            ("10.1.0.77", "10.3.0.1/24", "10.3.0.2/24", "10.3.0.2", "Destination Net Unreachable"),
            ("fd00:1::77", "fd00:3::1/64", "fd00:3::2/64", "fd00:3::2", "Destination unreachable: No route"),
        ] {
            let length = if more.contains(':') { 64 } else { 24 };
            lab.firewall.run(&format!("ip addr add {more}/{length} dev lan0"))?;
            lab.client.wait_for_ping(more, " 0% packet loss")?;
            lab.firewall.run(&format!("ip addr del {more}/{length} dev lan0"))?;
            lab.client.wait_for_ping(more, "100% packet loss")?;

            lab.server.run(&format!("ip addr add {network} dev eth-wan"))?;
            lab.client.wait_for_ping(host, absent)?;
            lab.firewall.run(&format!("ip addr add {own} dev wan0"))?;
            lab.client.wait_for_ping(host, " 0% packet loss")?;
            lab.firewall.run(&format!("ip addr del {own} dev wan0"))?;
            lab.client.wait_for_ping(host, absent)?;
        }
        Ok(())
    });
}

/// More changes than the kernel can keep for a dataplane that is stopped: it must notice, and learn everything again.
#[test]
fn what_netlink_lost_is_learnt_again() {
    const ROUTES: u32 = 65_536;
    bed("overrun", Links::Tap, OPEN, |lab| {
        let mut batch = String::new();
        for number in 0..ROUTES {
            let [_, a, b, c] = number.to_be_bytes();
            writeln!(batch, "route add 172.{}.{b}.{c}/32 via {}", 16 + a, Lab::SERVER)?;
        }
        let path = lab.folder.join("routes");
        std::fs::write(&path, batch)?;
        lab.server.run("ip addr add 172.16.78.31 dev lo")?;
        lab.client.wait_for_ping("172.16.78.31", "Destination Net Unreachable")?;

        lab.dataplane.signal("STOP")?;
        let told = lab.firewall.run(&format!("ip -batch {}", path.display()));
        lab.dataplane.signal("CONT")?;
        told?;
        wait_until("the overrun to be noticed", PATIENCE, || {
            lab.show("status").is_ok_and(|status| status["netlink_overruns"].as_u64() > Some(0))
        })?;
        // The last but one of the routes.
        lab.client.wait_for_ping("172.16.78.31", " 0% packet loss")?;
        lab.firewall.run("ip route flush 172.16.0.0/12 table main").ok();
        run(&format!("rm {}", path.display()))?;
        let before = lab.drops()?;
        ensure!(sockets::ask(&lab.client, address(Lab::SERVER, 9), PATIENCE)?.outcome.is_err());
        lab.expect_drops(&before, &[])
    });
}
