//! Neighbours that move, that never answer, and that the kernel forgets; and next hops that stand for each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, address};
use e2e::{Lab, Links, Namespace, bed, routes, wait_until};
use rustix::io::Errno;
use serde_json::Value;

use crate::PATIENCE;

const OPEN: &str = "pass\n";

/// The Ethernet address by which a neighbour is reached.
fn mac(lab: &Lab, neighbor: &str) -> Result<Option<String>> {
    let known = lab.show("neighbors")?;
    let found = known.as_array().and_then(|all| all.iter().find(|one| one["address"] == neighbor));
    Ok(found.and_then(|one| one["mac"].as_str()).map(str::to_owned))
}

#[test]
fn a_neighbour_that_gets_another_ethernet_address_is_followed() {
    bed("moved", Links::AfPacket, OPEN, |lab| {
        lab.client.wait_for_ping(Lab::SERVER, " 0% packet loss")?;
        let route = lab.show(&format!("route {}", Lab::SERVER))?;
        ensure!(route["route"]["destination"] == "10.2.0.0/24", "{route}");
        let hop = &route["route"]["next_hops"][0];
        ensure!(hop["via"] == Lab::SERVER && hop["interface"] == "wan0" && hop["mac"].is_string(), "{route}");
        // It tells by a gratuitous ARP (RFC 5227 §3), as a pair of servers with one address does.
        lab.server.run("sysctl -qw net.ipv4.conf.eth-wan.arp_notify=1")?;
        lab.server.run("ip link set eth-wan address 02:00:00:00:77:01")?;
        wait_until("the new address", PATIENCE, || {
            mac(lab, Lab::SERVER).is_ok_and(|mac| mac.as_deref() == Some("02:00:00:00:77:01"))
        })?;
        lab.client.wait_for_ping(Lab::SERVER, " 0% packet loss")?;
        let said = lab.tpctl("show neighbors")?.text;
        ensure!(said.contains("10.2.0.2 dev wan0 lladdr 02:00:00:00:77:01"), "{said}");
        let none = lab.tpctl("show route 203.0.113.1")?;
        ensure!(none.code == Some(1) && none.text.contains("has no route"), "{}", none.text);
        Ok(())
    });
}

#[test]
fn who_talks_to_a_dead_neighbour_is_told() {
    bed("told", Links::AfPacket, OPEN, |lab| {
        let before = lab.drops()?;
        for (dead, family) in [("10.2.0.99", "-4"), ("fd00:2::99", "-6")] {
            let attempt = sockets::connect(&lab.client, address(dead, 80), PATIENCE)?;
            let error = attempt.outcome.err().context("a dead neighbour answered")?;
            ensure!(error.raw_os_error() == Some(Errno::HOSTUNREACH.raw_os_error()), "{dead}: {error}");
            let said = lab.client.try_run(&format!("ping {family} -n -c 1 -W 10 {dead}"))?.text;
            let from = if family == "-4" {
                "From 10.1.0.1 icmp_seq=1 Destination Host Unreachable"
            } else {
                "From fd00:1::1 icmp_seq=1 Destination unreachable: Address unreachable"
            };
            ensure!(said.contains(from), "{from} was expected:\n{said}");
        }
        let dropped = lab.drops()?.since(&before);
        ensure!(dropped.total() == dropped.of_reason("no-neighbor") && dropped.total() >= 4, "{dropped}");
        let created = lab.show("status")?["workers"][0]["conservation"]["created"].as_u64();
        ensure!(created >= Some(4) && created <= Some(dropped.total()), "{created:?} for {dropped}");
        Ok(())
    });
}

#[test]
fn a_next_hop_in_use_is_never_forgotten() {
    bed("in-use", Links::Tap, OPEN, |lab| {
        // What the kernel finds out in a minute, it does here in a second.
        for (family, server) in [("ipv4", Lab::SERVER), ("ipv6", Lab::SERVER6)] {
            lab.firewall.run(&format!("sysctl -qw net.{family}.neigh.wan0.base_reachable_time_ms=500"))?;
            lab.firewall.run(&format!("sysctl -qw net.{family}.neigh.wan0.gc_stale_time=1"))?;
            lab.client.wait_for_ping(server, " 0% packet loss")?;
        }
        let echo = Echo::start(&lab.server, 7)?;
        let udp = Datagrams::open(&lab.client, address(Lab::SERVER, 7), PATIENCE)?;
        let before = lab.drops()?;
        let rounds = if crate::long() { 1200 } else { 40 };
        for _ in 0..rounds {
            udp.ask()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure!(echo.datagrams() == rounds, "{} of {rounds} arrived", echo.datagrams());
        lab.expect_drops(&before, &[])
    });
}

/// Two routers on the server's side, each in a namespace of its own, behind a bridge in the server's.
fn routers(lab: &Lab) -> Result<[Namespace; 2]> {
    lab.server.run("ip link add br0 type bridge")?;
    lab.server.run("ip addr flush dev eth-wan")?;
    lab.server.run("ip link set eth-wan master br0")?;
    lab.server.run("ip link set br0 up")?;
    let mut made = Vec::new();
    for number in [3, 4] {
        let router = Namespace::create(&format!("{}-r{number}", lab.server.name()))?;
        let (name, end) = (format!("r{number}"), router.name());
        lab.server.run(&format!("ip link add {name} type veth peer name eth0 netns {end}"))?;
        lab.server.run(&format!("ip link set {name} master br0 up"))?;
        router.run("ethtool -K eth0 tx off rx off tso off gso off gro off")?;
        router.run(&format!("ip addr add 10.2.0.{number}/24 dev eth0"))?;
        router.run("ip addr add 198.51.100.1/24 dev lo")?;
        router.run("ip link set eth0 up")?;
        router.run("ip route add default via 10.2.0.1 src 198.51.100.1")?;
        made.push(router);
    }
    made.try_into().map_err(|_| anyhow::anyhow!("two routers"))
}

/// Asks by so many flows, each a few times; which router answered each.
fn spread(lab: &Lab, echoes: [&Echo; 2], flows: u64) -> Result<[u64; 2]> {
    let mut flows_of = [0, 0];
    for _ in 0..flows {
        let udp = Datagrams::open(&lab.client, address("198.51.100.1", 7), PATIENCE)?;
        let before = echoes.map(Echo::datagrams);
        for _ in 0..3 {
            udp.ask()?;
        }
        let came = [echoes[0].datagrams() - before[0], echoes[1].datagrams() - before[1]];
        ensure!(came == [3, 0] || came == [0, 3], "one flow took both routers: {came:?}");
        flows_of[usize::from(came[0] == 0)] += 1;
    }
    Ok(flows_of)
}

#[test]
fn flows_spread_over_equal_next_hops_and_leave_a_dead_one() {
    bed("ecmp", Links::Tap, OPEN, |lab| {
        let [one, two] = routers(lab)?;
        let first = Echo::start(&one, 7)?;
        let second = Echo::start(&two, 7)?;
        let echoes = [&first, &second];
        lab.firewall.run(
            "ip route add 198.51.100.0/24 nexthop via 10.2.0.3 dev wan0 nexthop via 10.2.0.4 dev wan0",
        )?;
        routes::expect_the_kernels(lab, PATIENCE)?;
        let found = spread(lab, echoes, 40)?;
        ensure!(found[0] >= 5 && found[1] >= 5, "flows are not spread: {found:?}");
        let told = lab.show("route 198.51.100.1")?;
        let hops = told["route"]["next_hops"].as_array().map_or(0, Vec::len);
        ensure!(hops == 2, "{told}");

        // A router that dies without anyone telling: the kernel finds that it does not answer.
        two.run("ip link set eth0 down")?;
        lab.firewall.run("ip neigh flush dev wan0")?;
        let only_one = |told: &Value| {
            let hops = told["route"]["next_hops"].as_array();
            hops.is_some_and(|hops| hops.len() == 1 && hops[0]["via"] == "10.2.0.3")
        };
        let asking = Datagrams::open(&lab.client, address("198.51.100.1", 7), Duration::from_millis(100))?;
        wait_until("the dead router to be left", PATIENCE, || {
            // Some flow must want it before anybody looks for it.
            let _ = lab.client.try_run("ping -n -c 1 -W 1 198.51.100.1");
            let _ = asking.ask();
            lab.show("route 198.51.100.1").is_ok_and(|told| only_one(&told))
        })?;
        let found = spread(lab, echoes, 20)?;
        ensure!(found == [20, 0], "{found:?}");
        // It is used again when it is back.
        two.run("ip link set eth0 up")?;
        two.run("ip route replace default via 10.2.0.1 src 198.51.100.1")?;
        wait_until("the router to be used again", PATIENCE, || {
            lab.show("route 198.51.100.1").is_ok_and(|told| !only_one(&told))
        })?;
        // A next hop that routing takes away is left at once.
        lab.firewall.run("ip route replace 198.51.100.0/24 via 10.2.0.4 dev wan0")?;
        routes::expect_the_kernels(lab, PATIENCE)?;
        ensure!(spread(lab, echoes, 10)? == [0, 10], "the route that is left");
        drop((one, two));
        Ok(())
    });
}

#[test]
fn a_routes_mtu_is_told_to_senders() {
    bed("route-mtu", Links::Tap, OPEN, |lab| {
        lab.server.run("ip addr add 198.51.100.1 dev lo")?;
        lab.server.run("ip -6 addr add 2001:db8:77::1 dev lo")?;
        lab.firewall.run("ip route add 198.51.100.0/24 via 10.2.0.2 mtu 1400")?;
        lab.firewall.run("ip -6 route add 2001:db8:77::/48 via fd00:2::2 mtu 1350")?;
        for (target, told) in [
            ("198.51.100.1", "Frag needed and DF set (mtu = 1400)"),
            ("2001:db8:77::1", "Packet too big: mtu=1350"),
        ] {
            lab.client.wait_for_ping(&format!("-M do -s 1400 {target}"), told)?;
            lab.client.run("ip route flush cache")?;
            lab.client.run("ip -6 route flush cache")?;
            let whole = if target.contains(':') { 1350 - 48 } else { 1400 - 28 };
            lab.client.wait_for_ping(&format!("-M do -s {whole} {target}"), " 0% packet loss")?;
        }
        let said = lab.tpctl("show routes")?.text;
        ensure!(said.contains("mtu 1400") && said.contains("mtu 1350"), "{said}");
        Ok(())
    });
}
