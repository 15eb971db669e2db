//! What hosts and routers say to groups on a link: router discovery, group membership, VRRP. It is never forwarded; it passes
//! between the link and the host's own daemons as the rules say, in both directions.

use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, Lab, Links, Namespace, PATIENCE, bed, installed, wait_until};

/// Neighbours and members of groups may speak, and nobody else; `rules` come first.
fn only(lab: &Lab, rules: &str) -> Result<()> {
    let rest = "pass quick inet6 proto icmp6 icmp6-type { neighbrsol neighbradv } no state\n\
                pass quick inet6 proto icmp6 icmp6-type { 130 131 132 143 } allow-opts no state\nblock drop all\n";
    lab.apply(&format!("{rules}{rest}")).map(|_| ())
}

/// radvd in a namespace, which tells of itself as a router and of a prefix.
fn radvd(namespace: &Namespace, folder: &Path, link: &str, prefix: &str) -> Result<Daemon> {
    namespace.run("sysctl -q -w net.ipv6.conf.all.forwarding=1").ok();
    let file = |kind: &str| folder.join(format!("radvd-{link}.{kind}"));
    let text = format!(
        "interface {link} {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix {prefix} {{ }}; }};\n"
    );
    std::fs::write(file("conf"), text)?;
    let mut command = namespace.command("radvd");
    command.args(["-n", "-m", "stderr", "-d", "1", "-u", "root"]);
    command.arg("-C").arg(file("conf")).arg("-p").arg(file("pid"));
    Daemon::start(&mut command, &file("log"))
}

/// The prefixes that an advertisement to a solicitation of the client tells of.
fn solicit(lab: &Lab) -> Result<String> {
    Ok(lab.client.try_run("rdisc6 -1 -r 2 -w 1000 eth-lan")?.text)
}

#[test]
fn the_host_answers_solicitations_as_rules_allow() {
    if !installed("radvd", "router advertisements") || !installed("rdisc6", "router solicitations") {
        return;
    }
    bed("solicit", Links::Tap, "block drop all\n", |lab| {
        let _radvd = radvd(&lab.firewall, &lab.folder, "lan0", "fd00:71::/64")?;
        let [both, asked, answered] = [
            "pass quick on lan0 inet6 proto icmp6 icmp6-type { routersol routeradv } no state\n",
            "pass in quick on lan0 inet6 proto icmp6 icmp6-type routersol no state\n",
            "pass out quick on lan0 inet6 proto icmp6 icmp6-type routeradv no state\n",
        ];
        only(lab, both)?;
        let mut said = String::new();
        wait_until("an advertisement", PATIENCE, || {
            said = solicit(lab).unwrap_or_default();
            said.contains("fd00:71::/64")
        })
        .with_context(|| said.clone())?;
        // The question comes in, and the answer does not get out.
        only(lab, asked)?;
        let before = lab.drops()?;
        let said = solicit(lab)?;
        ensure!(said.contains("No response"), "{said}");
        wait_until("the answer to be dropped", PATIENCE, || {
            lab.drops().is_ok_and(|drops| drops.since(&before).of_reason("match") > 0)
        })?;
        // What the host advertises by itself may leave, and nobody may ask for it.
        only(lab, answered)?;
        let before = lab.drops()?;
        solicit(lab)?;
        ensure!(lab.drops()?.since(&before).of_reason("match") > 0, "the question was not dropped");
        only(lab, both)?;
        wait_until("an advertisement again", PATIENCE, || {
            solicit(lab).is_ok_and(|said| said.contains("fd00:71::/64"))
        })
    });
}

#[test]
fn the_host_learns_a_router_as_rules_allow() {
    if !installed("radvd", "router advertisements") {
        return;
    }
    bed("advertised", Links::Tap, "block drop all\n", |lab| {
        lab.firewall.run("sysctl -q -w net.ipv6.conf.wan0.accept_ra=2")?;
        let has = |lab: &Lab| -> Result<bool> {
            let addresses = lab.firewall.run("ip -6 addr show dev wan0")?;
            let route = lab.firewall.run("ip -6 route show default dev wan0")?;
            Ok(addresses.contains("fd00:72:") && route.contains("proto ra"))
        };
        only(lab, "")?;
        let before = lab.drops()?;
        let _radvd = radvd(&lab.server, &lab.folder, "eth-wan", "fd00:72::/64")?;
        wait_until("advertisements to be dropped", PATIENCE, || {
            lab.drops().is_ok_and(|drops| drops.since(&before).of_reason("match") >= 2)
        })?;
        ensure!(!has(lab)?, "an advertisement reached the host past the rules");
        only(lab, "pass in quick on wan0 inet6 proto icmp6 icmp6-type routeradv no state\n")?;
        wait_until("the host to have an address and a route", PATIENCE, || has(lab).unwrap_or(false))?;
        let mut told = String::new();
        wait_until("packets to be forwarded by it", PATIENCE, || {
            told =
                lab.tpctl("show route 2001:db8::1").map_or_else(|error| error.to_string(), |said| said.text);
            told.contains("wan0") && told.contains("fe80:")
        })
        .with_context(|| told.clone())
    });
}

/// Their router alert is theirs to have, as in pf: it needs no `allow-opts`.
#[test]
fn membership_reports_reach_the_host_as_rules_allow() {
    bed("members", Links::Tap, "block drop all\n", |lab| {
        let join = |lab: &Lab, group: &str| -> Result<UdpSocket> {
            let group: Ipv6Addr = group.parse()?;
            let index = lab.client.run("cat /sys/class/net/eth-lan/ifindex")?.trim().parse()?;
            lab.client.inside(|| -> Result<UdpSocket> {
                let socket = UdpSocket::bind("[::]:0")?;
                socket.join_multicast_v6(&group, index)?;
                Ok(socket)
            })?
        };
        let heard = |lab: &Lab| -> Result<Daemon> {
            let mut command = lab.firewall.command("tcpdump");
            command.args(["-l", "-n", "-v", "-p", "-i", "lan0", "icmp6 or ip6 proto 0"]);
            let daemon = Daemon::start(&mut command, &lab.folder.join("heard.log"))?;
            wait_until("tcpdump to listen", PATIENCE, || daemon.said().contains("listening on"))?;
            Ok(daemon)
        };
        lab.apply("block drop all\n")?;
        let (before, listener) = (lab.drops()?, heard(lab)?);
        let member = join(lab, "ff02::1234")?;
        wait_until("a report to be dropped", PATIENCE, || {
            lab.drops().is_ok_and(|drops| drops.since(&before).of_reason("match") > 0)
        })?;
        ensure!(!listener.said().contains("ff02::1234"), "{}", listener.said());
        drop((member, listener));
        lab.apply("pass in quick on lan0 inet6 proto icmp6 icmp6-type 143 no state\nblock drop all\n")?;
        let listener = heard(lab)?;
        let _member = join(lab, "ff02::1234")?;
        wait_until("a report at the host", PATIENCE, || {
            let said = listener.said();
            said.contains("multicast listener report v2") && said.contains("ff02::1234")
        })
        .with_context(|| listener.said())
    });
}

/// The address that routers share.
const SHARED: &str = "10.2.0.100";

fn keepalived(namespace: &Namespace, folder: &Path, link: &str, priority: u8) -> Result<Daemon> {
    let file = |kind: &str| folder.join(format!("keepalived-{link}.{kind}")).display().to_string();
    let text = format!(
        "global_defs {{ script_user root }}\nvrrp_instance shared {{\n state BACKUP\n interface {link}\n \
         virtual_router_id 51\n priority {priority}\n advert_int 1\n virtual_ipaddress {{ {SHARED}/24 }}\n}}\n"
    );
    std::fs::write(file("conf"), text)?;
    let mut command = namespace.command("keepalived");
    command.args(["--dont-fork", "--log-console", "--vrrp", "-f", &file("conf")]);
    command.args(["-p", &file("pid"), "-r", &file("vrrp")]);
    Daemon::start(&mut command, Path::new(&file("log")))
}

/// Two routers share an address as long as they hear each other.
#[test]
fn routers_share_an_address_by_vrrp_as_rules_allow() {
    if !installed("keepalived", "VRRP") {
        return;
    }
    let rules = |direction: &str| {
        format!("pass quick proto icmp\npass {direction} quick on wan0 proto 112 no state\nblock drop all\n")
    };
    bed("vrrp", Links::Tap, &rules(""), |lab| {
        let holds = |namespace: &Namespace, link: &str| {
            namespace.run(&format!("ip addr show dev {link}")).is_ok_and(|said| said.contains(SHARED))
        };
        let settles = |lab: &Lab, what: &str, [here, there]: [bool; 2]| {
            wait_until(what, PATIENCE, || {
                holds(&lab.firewall, "wan0") == here && holds(&lab.server, "eth-wan") == there
            })
        };
        let _here = keepalived(&lab.firewall, &lab.folder, "wan0", 100)?;
        settles(lab, "the firewall to be master alone", [true, false])?;
        let mut weaker = keepalived(&lab.server, &lab.folder, "eth-wan", 50)?;
        wait_until("the peer to hear of it", PATIENCE, || weaker.said().contains("BACKUP STATE"))?;
        settles(lab, "the peer to stay behind", [true, false])?;
        // The kernel has been told; the firewall hears of it a moment later.
        lab.server.wait_for_ping(SHARED, " 0% packet loss")?;
        // What the firewall says does not get out.
        lab.rules(&rules("in"))?;
        settles(lab, "the peer to believe that it is alone", [true, true])?;
        lab.rules(&rules(""))?;
        settles(lab, "the peer to step back", [true, false])?;
        weaker.signal("TERM")?;
        weaker.wait(PATIENCE)?;
        let _stronger = keepalived(&lab.server, &lab.folder, "eth-wan", 200)?;
        settles(lab, "the firewall to step back", [false, true])?;
        // What the peer says does not get in.
        lab.rules(&rules("out"))?;
        settles(lab, "the firewall to believe that it is alone", [true, true])?;
        lab.rules(&rules(""))?;
        settles(lab, "the firewall to step back again", [false, true])
    });
}
