//! Routing daemons, as operators run them: they talk through the firewall's own rules, and forwarding follows them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, Lab, Links, Namespace, bed, installed, routes, run, wait_until};

use crate::{PATIENCE, long};

/// Nothing enters or leaves but the daemons' protocols, and pings.
const RULES: &str = "\
block log all
pass quick proto tcp from 10.2.0.0/24 to 10.2.0.0/24 port 179
pass quick on wan0 proto ospf
pass quick on { lan0, wan0 } proto igmp allow-opts
pass quick proto icmp
";

/// BIRD in a namespace; `name` tells its files from others'.
struct Bird<'a> {
    namespace: &'a Namespace,
    control: String,
    _daemon: Daemon,
}

impl<'a> Bird<'a> {
    fn start(namespace: &'a Namespace, folder: &Path, name: &str, text: &str) -> Result<Self> {
        let path = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
        let head = "log stderr all;\nprotocol device { scan time 1; }\n";
        std::fs::write(path("conf"), format!("{head}{text}"))?;
        let mut command = namespace.command("bird");
        command.args(["-f", "-c", &path("conf"), "-s", &path("ctl"), "-P", &path("pid")]);
        let daemon = Daemon::start(&mut command, Path::new(&path("log")))?;
        Ok(Self { namespace, control: path("ctl"), _daemon: daemon })
    }

    fn tell(&self, words: &str) -> Result<String> {
        self.namespace.run(&format!("birdc -s {} {words}", self.control))
    }
}

/// The neighbour's router: it knows networks behind the server, and tells them by BGP and OSPF.
fn neighbor(lab: &Lab, statics: &str) -> Result<()> {
    std::fs::write(lab.folder.join("statics"), statics)?;
    lab.server.run("ip addr add 198.51.100.1 dev lo")?;
    lab.server.run("ip addr add 203.0.113.1 dev lo")?;
    lab.server.run("ip addr add 10.2.0.3/24 dev eth-wan")?;
    Ok(())
}

fn neighbor_conf(lab: &Lab) -> String {
    format!(
        "router id 10.2.0.2;
protocol static behind {{
ipv4;
include \"{}\";
}}
protocol static inside {{ ipv4; route 203.0.113.0/24 blackhole; }}
protocol bgp firewall {{
    local 10.2.0.2 as 65002; neighbor 10.2.0.1 as 65001;
    connect delay time 1; connect retry time 1; error wait time 1, 2;
    ipv4 {{ import all; export where proto = \"behind\"; next hop self; }};
}}
protocol ospf v2 area0 {{
    ipv4 {{ import none; export where proto = \"inside\"; }};
    area 0 {{ interface \"eth-wan\" {{ hello 1; dead count 4; }}; }};
}}
",
        lab.folder.join("statics").display()
    )
}

/// The daemons of FRR in the firewall's namespace.
fn frr(lab: &Lab) -> Result<Vec<Daemon>> {
    // They give up root's rights for their own user's.
    let folder = lab.folder.join("frr").display().to_string();
    std::fs::create_dir(&folder)?;
    run(&format!("chown frr:frr {folder}"))?;
    let configurations = [
        ("zebra", "log stdout\n"),
        (
            "bgpd",
            "log stdout\nrouter bgp 65001\n bgp router-id 10.2.0.1\n no bgp ebgp-requires-policy\n \
             neighbor 10.2.0.2 remote-as 65002\n neighbor 10.2.0.2 timers 3 9\n \
             neighbor 10.2.0.2 timers connect 1\n",
        ),
        (
            "ospfd",
            "log stdout\ninterface wan0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n\
             router ospf\n ospf router-id 10.2.0.1\n network 10.2.0.0/24 area 0\n",
        ),
    ];
    let mut daemons = Vec::new();
    for (name, text) in configurations {
        let file = |kind: &str| format!("{folder}/{name}.{kind}");
        std::fs::write(file("conf"), text)?;
        let mut command = lab.firewall.command(&format!("/usr/lib/frr/{name}"));
        command.args(["-f", &file("conf"), "-i", &file("pid"), "-P", "0", "-z"]);
        command.args([&format!("{folder}/zserv"), "--vty_socket", &folder]);
        daemons.push(Daemon::start(&mut command, &lab.folder.join(format!("{name}.log")))?);
        // The others look for its socket once a while.
        wait_until("zebra's socket", PATIENCE, || lab.folder.join("frr/zserv").exists())?;
    }
    Ok(daemons)
}

/// Waits until the dataplane forwards to `target` by way of this gateway.
fn wait_for_gateway(lab: &Lab, target: &str, gateway: &str) -> Result<()> {
    let mut told = serde_json::Value::Null;
    wait_until(&format!("{target} via {gateway}"), PATIENCE * 2, || {
        told = lab.tpctl(&format!("show route {target} --json")).map_or_else(
            |_| serde_json::Value::Null,
            |said| serde_json::from_str(&said.text).unwrap_or_default(),
        );
        told["route"]["next_hops"][0]["via"] == gateway
    })
    .with_context(|| format!("last told: {told}"))
}

#[test]
fn routes_of_frr_by_bgp_and_ospf_carry_forwarding() {
    let name = "routes_of_frr_by_bgp_and_ospf_carry_forwarding";
    if !Path::new("/usr/lib/frr/zebra").exists() || !installed("bird", name) {
        eprintln!("SKIPPED {name}: frr is not installed");
        return;
    }
    bed("frr", Links::AfPacket, "", |lab| {
        lab.apply(&format!("{}{RULES}", Lab::QUIET))?;
        neighbor(lab, "route 198.51.100.0/24 blackhole;\n")?;
        let conf = neighbor_conf(lab);
        let bird = Bird::start(&lab.server, &lab.folder, "neighbor", &conf)?;
        let frr = frr(lab)?;
        let outcome = follow(lab, &bird);
        if outcome.is_err() {
            frr.iter().for_each(|daemon| eprintln!("{}", daemon.said()));
            eprintln!("{}", bird.tell("show protocols all").unwrap_or_default());
        }
        drop(frr);
        outcome
    });
}

fn follow(lab: &Lab, bird: &Bird<'_>) -> Result<()> {
    // By BGP, a connection that the host opens or accepts through its rules; by OSPF, over multicast groups.
    for target in ["198.51.100.1", "203.0.113.1"] {
        wait_for_gateway(lab, target, Lab::SERVER)?;
        lab.client.wait_for_ping(target, " 0% packet loss")?;
    }
    routes::expect_the_kernels(lab, PATIENCE)?;
    let states = lab.states()?;
    ensure!(states.iter().any(|state| state.contains("tcp") && state.contains(":179")), "{states:#?}");
    ensure!(states.iter().any(|state| state.contains("89 224.0.0.5 <- 10.2.0.2")), "{states:#?}");

    // A withdrawal leads to what is left: a route that somebody else keeps, or none.
    // FRR takes the highest byte of a kernel route's metric for its distance: 255, the least preferred.
    lab.firewall.run("ip route add 198.51.100.0/24 via 10.2.0.3 metric 4278194176")?;
    bird.tell("disable behind")?;
    wait_for_gateway(lab, "198.51.100.1", "10.2.0.3")?;
    lab.client.wait_for_ping("198.51.100.1", " 0% packet loss")?;
    bird.tell("disable inside")?;
    lab.client.wait_for_ping("203.0.113.1", "Destination Net Unreachable")?;
    bird.tell("enable behind")?;
    wait_for_gateway(lab, "198.51.100.1", Lab::SERVER)?;
    lab.client.wait_for_ping("198.51.100.1", " 0% packet loss")?;
    routes::expect_the_kernels(lab, PATIENCE).map(|_| ())
}

#[test]
fn g05_a_link_that_goes_down_takes_the_routes_of_a_daemon_with_it() {
    let name = "g05_a_link_that_goes_down_takes_the_routes_of_a_daemon_with_it";
    if !installed("bird", name) {
        return;
    }
    bed("bird", Links::AfPacket, "", |lab| {
        lab.apply(&format!("{}{RULES}", Lab::QUIET))?;
        let count = if long() { 100_000_u32 } else { 5_000 };
        let mut statics = String::from("route 198.51.100.0/24 blackhole;\n");
        for number in 0..count {
            let [_, a, b, c] = number.to_be_bytes();
            writeln!(statics, "route 172.{}.{b}.{c}/32 blackhole;", 16 + a)?;
        }
        neighbor(lab, &statics)?;
        let _neighbor = Bird::start(&lab.server, &lab.folder, "neighbor", &neighbor_conf(lab))?;
        let own = "router id 10.2.0.1;
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp upstream {
    local 10.2.0.1 as 65001; neighbor 10.2.0.2 as 65002; hold time 9;
    connect delay time 1; connect retry time 1; error wait time 1, 2;
    ipv4 { import all; export none; };
}
";
        let _own = Bird::start(&lab.firewall, &lab.folder, "own", own)?;
        wait_for_gateway(lab, "198.51.100.1", Lab::SERVER)?;
        // Not one of them is lost on the way.
        wait_for_gateway(lab, "172.16.19.135", Lab::SERVER)?;
        wait_until("every route", PATIENCE * 4, || {
            routes::expect_the_kernels(lab, PATIENCE * 2).is_ok_and(|found| found >= count as usize)
        })?;
        lab.client.wait_for_ping("198.51.100.1", " 0% packet loss")?;
        // BIRD sees the host interface without carrier, and gives up what it learnt there.
        lab.server.run("ip link set eth-wan down")?;
        wait_until("the routes to go", PATIENCE * 4, || {
            lab.tpctl("show route 198.51.100.1").is_ok_and(|said| said.text.contains("has no route"))
        })?;
        wait_until("all routes to go", PATIENCE * 4, || {
            routes::expect_the_kernels(lab, PATIENCE * 2).is_ok_and(|found| found < 100)
        })?;
        lab.reconnect_server()?;
        lab.server.run("ip addr replace 10.2.0.3/24 dev eth-wan")?;
        wait_for_gateway(lab, "198.51.100.1", Lab::SERVER)?;
        lab.client.wait_for_ping("198.51.100.1", " 0% packet loss")
    });
}

/// More changes, faster than anybody reads them.
#[test]
fn a_storm_of_routes_leaves_the_same_table() {
    bed("storm", Links::Tap, "pass\n", |lab| {
        let count = if long() { 100_000_u32 } else { 4_000 };
        let mut storm = String::new();
        for round in 0..3 {
            for verb in ["add", "del"] {
                // What the last round adds stays.
                if round == 2 && verb == "del" {
                    break;
                }
                for number in 0..count {
                    let [_, a, b, c] = number.to_be_bytes();
                    writeln!(storm, "route {verb} 172.{}.{b}.{c}/32 via {}", 16 + a, Lab::SERVER)?;
                }
            }
        }
        let path = lab.folder.join("storm");
        std::fs::write(&path, storm)?;
        lab.firewall.run(&format!("ip -batch {}", path.display()))?;
        let found = routes::expect_the_kernels(lab, PATIENCE * 4)?;
        ensure!(found >= count as usize, "{found} routes");
        // Next hops that routes share by number take them along in silence.
        lab.firewall.run("ip nexthop add id 7 via 10.2.0.2 dev wan0")?;
        lab.firewall.run("ip route add 198.51.100.0/24 nhid 7")?;
        wait_for_gateway(lab, "198.51.100.1", Lab::SERVER)?;
        lab.firewall.run("ip nexthop del id 7")?;
        wait_until("the route to go", PATIENCE, || {
            lab.tpctl("show route 198.51.100.1").is_ok_and(|said| said.text.contains("has no route"))
        })?;
        routes::expect_the_kernels(lab, PATIENCE).map(|_| ())
    });
}
