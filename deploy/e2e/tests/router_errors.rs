//! The router's own ICMP errors, behind translation and `route-to`, in both families: a time to live that has run out, and the MTU of
//! the link that the packet would have left by; each quotes the packet as its sender sent it. Redirects are never sent.

use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e::{Capture, Lab, Links, PATIENCE, Shape, bed, wait_until};
use wire::corpus::{Network, Upper, dissect};
use wire::icmp6::nd::Nd;
use wire::{Mac, ethernet, icmp4};

/// Behind the second way by the rules, and behind the first one by the routes.
const FAR: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// The largest datagrams of the first way and of the second one.
const MTU: [usize; 2] = [1400, 1300];

/// The destination's address begins before this octet of a frame.
const DESTINATION_BEFORE: usize = 40;

const RULES: &str = "block\n\
    match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
    match out on wan0 inet6 from lan0:network nat-to (wan0:0)\n\
    match out on wan1 inet from lan0:network nat-to (wan1:0)\n\
    match out on wan1 inet6 from lan0:network nat-to (wan1:0)\n\
    pass out\n\
    pass in on lan0\n\
    pass in on lan0 inet to 192.0.2.1 route-to 10.4.0.2@wan1\n\
    pass in on lan0 inet6 to 2001:db8::1 route-to fd00:4::2@wan1\n";

#[test]
fn errors_of_the_router_are_about_what_was_sent_and_where_it_goes() {
    let shape = Shape { uplink: true, ..Links::Tap.into() };
    bed("router-errors", shape, RULES, |lab| {
        prepare(lab)?;
        let capture = Capture::start(lab, &lab.client, "eth-lan", &["icmp or icmp6"])?;
        time_to_live(lab)?;
        path_mtu(lab)?;
        let own = Mac(lab.client.mac("eth-lan")?);
        between_neighbours(lab, &capture, own)?;
        // One for each family and way, twice.
        let errors = errors(&capture, own)?;
        ensure!(errors >= 8, "{errors} errors were captured");
        capture.stop()
    });
}

fn prepare(lab: &Lab) -> Result<()> {
    for (option, far, host, gateways, own) in [
        ("-4", FAR[0], 32, [Lab::SERVER, "10.4.0.2"], "10.4.0.1"),
        ("-6", FAR[1], 128, [Lab::SERVER6, "fd00:4::2"], "fd00:4::1"),
    ] {
        lab.server.run(&format!("ip {option} addr add {far}/{host} dev lo"))?;
        lab.firewall.run(&format!("ip {option} route add {far}/{host} via {}", gateways[0]))?;
        // Nobody outside has a way to the inside.
        lab.server.run(&format!("ip {option} route del default"))?;
        lab.server.run(&format!("ip {option} route replace {own}/{host} dev eth-up src {}", gateways[1]))?;
    }
    for (port, mtu) in ["wan0", "wan1"].into_iter().zip(MTU) {
        lab.firewall.run(&format!("ip link set {port} mtu {mtu}"))?;
    }
    Ok(())
}

/// Waits for ping to say this.
fn ping(lab: &Lab, words: &str, expected: &str) -> Result<()> {
    let mut said = String::new();
    wait_until(expected, PATIENCE, || {
        let done = lab.client.try_run(&format!("ping -n -c 1 -W 1 {words}"));
        said = done.map_or_else(|error| error.to_string(), |done| done.text);
        said.contains(expected)
    })
    .with_context(|| format!("ping {words}:\n{said}"))
}

fn time_to_live(lab: &Lab) -> Result<()> {
    for (target, expected) in [
        (Lab::SERVER, "From 10.1.0.1 icmp_seq=1 Time to live exceeded"),
        (FAR[0], "From 10.1.0.1 icmp_seq=1 Time to live exceeded"),
        (Lab::SERVER6, "From fd00:1::1 icmp_seq=1 Time exceeded: Hop limit"),
        (FAR[1], "From fd00:1::1 icmp_seq=1 Time exceeded: Hop limit"),
    ] {
        ping(lab, &format!("-t 1 {target}"), expected)?;
        ping(lab, &format!("-t 2 {target}"), " 0% packet loss")?;
    }
    Ok(())
}

/// What is too large hears of the link that the rule leads to, and what is as large passes it.
fn path_mtu(lab: &Lab) -> Result<()> {
    let ways = [[Lab::SERVER, Lab::SERVER6], FAR];
    for ([four, six], mtu) in ways.into_iter().zip(MTU) {
        let told = format!("From 10.1.0.1 icmp_seq=1 Frag needed and DF set (mtu = {mtu})");
        ping(lab, &format!("-M do -s 1400 {four}"), &told)?;
        ping(lab, &format!("-M do -s {} {four}", mtu - 28), " 0% packet loss")?;
        let told = format!("From fd00:1::1 icmp_seq=1 Packet too big: mtu={mtu}");
        ping(lab, &format!("-M do -s 1400 {six}"), &told)?;
        ping(lab, &format!("-M do -s {} {six}", mtu - 48), " 0% packet loss")?;
    }
    Ok(())
}

/// The client sends to its gateway what another host of its own network is the next hop for: a kernel would send redirects.
fn between_neighbours(lab: &Lab, capture: &Capture, own: Mac) -> Result<()> {
    for (option, net, next, target) in [
        ("-4", "10.9.0.0/24", ["10.1.0.3", "24"], "10.9.0.1"),
        ("-6", "fd00:9::/64", ["fd00:1::3", "64"], "fd00:9::1"),
    ] {
        let [gateway, bits] = next;
        lab.client.run(&format!("ip {option} addr add {gateway}/{bits} dev eth-lan"))?;
        lab.firewall.run(&format!("ip {option} route add {net} via {gateway}"))?;
        let octets = match target.parse()? {
            IpAddr::V4(target) => target.octets().to_vec(),
            IpAddr::V6(target) => target.octets().to_vec(),
        };
        let comes_back = |frame: &&Vec<u8>| {
            let goes_there = frame.windows(octets.len()).take(DESTINATION_BEFORE).any(|part| part == octets);
            frame.starts_with(&own.0) && goes_there
        };
        // The route is known a moment later; nobody answers.
        wait_until("echo requests to come back", PATIENCE, || {
            let sent = lab.client.try_run(&format!("ping -n -c 3 -i 0.2 -W 1 {target}"));
            let frames = capture.in_order().unwrap_or_default();
            sent.is_ok() && frames.iter().filter(comes_back).count() >= 3
        })?;
    }
    Ok(())
}

/// How many errors the client has got. Each quotes what the client has sent, octet by octet; none is a redirect.
fn errors(capture: &Capture, own: Mac) -> Result<usize> {
    let frames = capture.in_order()?;
    let (came, sent): (Vec<_>, Vec<_>) = frames.iter().partition(|frame| frame.starts_with(&own.0));
    let mut errors = 0;
    for frame in came {
        let dissected = dissect(frame).map_err(|error| anyhow!("{error:?}: {frame:x?}"))?;
        let quoted = match &dissected.network {
            Network::Ipv4(_, _, Upper::Icmp4(message, _)) => {
                ensure!(message.header().kind() != icmp4::Type::REDIRECT, "a redirect: {dissected:?}");
                message.quoted()
            }
            Network::Ipv6(_, _, Upper::Icmp6(message, _)) => message.quoted(),
            Network::Ipv6(_, _, Upper::Nd(Nd::Redirect { .. })) => bail!("a redirect: {dissected:?}"),
            _ => None,
        };
        let Some(quoted) = quoted else { continue };
        let is_quoted = |frame: &&Vec<u8>| frame[ethernet::HEADER_LEN..].starts_with(quoted);
        ensure!(sent.iter().any(is_quoted), "the client has not sent what is quoted: {dissected:x?}");
        errors += 1;
    }
    Ok(errors)
}
