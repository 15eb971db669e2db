//! The standard bed: a client behind lan0, a server behind wan0, the firewall between them.
//!
//! ```text
//! client 10.1.0.2/24, fd00:1::2/64 ── lan0 .1 ─ turnpike-dataplane ─ wan0 .1 ── server 10.2.0.2/24, fd00:2::2/64
//! ```
//!
//! Or with a transparent pair, and both stations in one network:
//!
//! ```text
//! client 10.3.0.2/24, fd00:3::2/64 ── lan0 ─ turnpike-dataplane ─ wan0 ── server 10.3.0.3/24, fd00:3::3/64
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::control;
use crate::{Daemon, Drops, Namespace, Output, PATIENCE, Shape, program, scratch, wait_until};

/// What the names of all beds begin with.
pub const PREFIX: &str = "turnpike";

/// Lines of the log in a report.
const REPORTED: usize = 100;
/// Counters that are as expected must still be so after this time.
const SETTLED: Duration = Duration::from_millis(100);

/// How the ports of the dataplane are linked to the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// TAP ports, whose kernel ends are moved to the client and the server.
    Tap,
    /// veth pairs, with `net_af_packet` on the firewall's ends.
    AfPacket,
    /// veth pairs, with `net_af_xdp` on the firewall's ends.
    AfXdp,
}

/// What the ports of the dataplane are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Interfaces of a router.
    Routed,
    /// A transparent pair.
    Bridged,
}

/// One of the two networks of the bed.
struct Network {
    /// The firewall's interface.
    port: &'static str,
    /// The station's interface.
    station: &'static str,
    number: u8,
}

const LAN: Network = Network { port: "lan0", station: "eth-lan", number: 1 };
const WAN: Network = Network { port: "wan0", station: "eth-wan", number: 2 };

/// A bed with a running dataplane, which has no ruleset yet.
#[derive(Debug)]
pub struct Lab {
    /// Inside, behind lan0.
    pub client: Namespace,
    /// Outside, behind wan0.
    pub server: Namespace,
    /// Where the dataplane and its host interfaces are.
    pub firewall: Namespace,
    /// turnpike-dataplane. Declared behind the namespaces: it is ended by hand before them.
    pub dataplane: Daemon,
    /// For files of the bed.
    pub folder: PathBuf,
    shape: Shape,
    /// The dataplane was killed on purpose, and has not been started again.
    killed: bool,
    kept: bool,
}

impl Lab {
    /// The address of the client.
    pub const CLIENT: &str = "10.1.0.2";
    /// The address of the server.
    pub const SERVER: &str = "10.2.0.2";
    /// The firewall's address on the client's side.
    pub const GATEWAY: &str = "10.1.0.1";
    /// The IPv6 address of the client.
    pub const CLIENT6: &str = "fd00:1::2";
    /// The IPv6 address of the server.
    pub const SERVER6: &str = "fd00:2::2";
    /// The firewall's IPv6 address on the client's side.
    pub const GATEWAY6: &str = "fd00:1::1";
    /// The firewall's address on the server's side.
    pub const OUTSIDE: &str = "10.2.0.1";
    /// The firewall's IPv6 address on the server's side.
    pub const OUTSIDE6: &str = "fd00:2::1";
    /// The addresses of the client in front of a transparent pair.
    pub const BRIDGED_CLIENT: [&str; 2] = ["10.3.0.2", "fd00:3::2"];
    /// The addresses of the server behind it.
    pub const BRIDGED_SERVER: [&str; 2] = ["10.3.0.3", "fd00:3::3"];

    /// Rules for what IPv6 stations say by themselves (neighbours, routers, multicast groups), so that nothing but the
    /// traffic of a test moves a counter or makes a state.
    pub const QUIET: &str =
        "pass quick inet6 proto icmp6 icmp6-type { 130 131 132 133 134 135 136 143 } allow-opts no state\n";

    /// The names of a bed's namespaces: client, firewall, server.
    pub fn namespaces(bed: &str) -> [String; 3] {
        ["client", "firewall", "server"].map(|role| format!("{PREFIX}-{bed}-{role}"))
    }

    /// Removes what is left of a bed that was kept, or whose process was killed.
    pub fn clean(bed: &str) {
        Self::namespaces(bed).iter().for_each(|name| Namespace::remove(name));
        // There may be none.
        std::fs::remove_dir_all(std::env::temp_dir().join(folder_name(bed))).ok();
    }

    /// Builds a bed and starts its dataplane.
    ///
    /// # Errors
    /// What could not be built; whatever was built is gone then.
    pub fn start(bed: &str, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let folder = scratch(&folder_name(bed))?;
        let [client, firewall, server] = Self::namespaces(bed);
        let (client, firewall, server) =
            (Namespace::create(&client)?, Namespace::create(&firewall)?, Namespace::create(&server)?);
        if shape.links != Links::Tap {
            link_by_veth(&LAN, &client, &firewall, shape.mtu[0])?;
            link_by_veth(&WAN, &server, &firewall, shape.mtu[1])?;
        }
        let ports = [&LAN, &WAN].map(|network| (network.port, network.station));
        let control = format!("\n[control]\npflog = {:?}\n", folder.join("control/pflog"));
        std::fs::write(folder.join("turnpike.toml"), shape.configuration(ports) + &control)?;
        let dataplane = start_dataplane(&firewall, &folder)?;
        let lab = Self { client, server, firewall, dataplane, folder, shape, killed: false, kept: false };
        lab.connect()?;
        Ok(lab)
    }

    /// Kills the dataplane, as a crash would.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill_dataplane(&mut self) -> Result<()> {
        self.killed = true;
        self.dataplane.signal("KILL")?;
        self.dataplane.wait(PATIENCE).map(|_| ())
    }

    /// Starts the dataplane again after it has ended, on the same configuration.
    ///
    /// # Errors
    /// It does not start, or its links cannot be made again.
    pub fn restart_dataplane(&mut self) -> Result<()> {
        self.dataplane = start_dataplane(&self.firewall, &self.folder)?;
        self.killed = false;
        self.connect()
    }

    /// Waits for the dataplane, and completes links and addresses, which are partly its own.
    fn connect(&self) -> Result<()> {
        self.wait_for_dataplane()?;
        for (network, station) in [(&LAN, &self.client), (&WAN, &self.server)] {
            if self.shape.links == Links::Tap {
                self.firewall.run(&format!("ip link set {} netns {}", network.station, station.name()))?;
            }
            self.address(network, station)?;
        }
        if self.shape.span == crate::Span::Tap {
            self.firewall.run("ip link set eth-span txqueuelen 10000 up")?;
        }
        if self.shape.uplink {
            self.firewall.run(&format!("ip link set eth-up netns {}", self.server.name()))?;
            self.server.run("ip addr replace 10.4.0.2/24 dev eth-up")?;
            self.server.run("ip -6 addr replace fd00:4::2/64 dev eth-up nodad")?;
            self.server.run("ip link set eth-up txqueuelen 10000 up")?;
            self.firewall.run("ip addr replace 10.4.0.1/24 dev wan1")?;
            self.firewall.run("ip -6 addr replace fd00:4::1/64 dev wan1 nodad")?;
        }
        self.wait_for_routes()
    }

    /// The kernel has been told of the firewall's addresses; the dataplane hears of them a moment later.
    fn wait_for_routes(&self) -> Result<()> {
        let numbers: &[u8] = match (self.shape.ports, self.shape.uplink) {
            (Ports::Bridged, _) => &[],
            (Ports::Routed, false) => &[LAN.number, WAN.number],
            (Ports::Routed, true) => &[LAN.number, WAN.number, 4],
        };
        let of = |n: &u8| {
            [format!("10.{n}.0.0/24"), format!("10.{n}.0.1/32")]
                .into_iter()
                .chain([format!("fd00:{n}::/64"), format!("fd00:{n}::1/128")])
        };
        let wanted: Vec<String> = numbers.iter().flat_map(of).collect();
        wait_until("the dataplane to have its addresses", PATIENCE, || {
            self.show("routes").is_ok_and(|routes| {
                let has = |wanted: &String| {
                    routes
                        .as_array()
                        .is_some_and(|all| all.iter().any(|route| route["destination"] == *wanted))
                };
                wanted.iter().all(has)
            })
        })
    }

    /// Sets the server's interface up again after it was down, with what it lost by that.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn reconnect_server(&self) -> Result<()> {
        self.address(&WAN, &self.server)
    }

    /// Makes the veth pair to the server anew after it was removed, with Ethernet's MTU. The dataplane's host interface is as
    /// it was.
    ///
    /// # Errors
    /// It is there.
    pub fn replug_server(&self) -> Result<()> {
        link_by_veth(&WAN, &self.server, &self.firewall, 1500)?;
        self.address(&WAN, &self.server)
    }

    fn wait_for_dataplane(&self) -> Result<()> {
        let mut answer = String::new();
        wait_until("the dataplane to answer", PATIENCE, || match self.tpctl("show status") {
            Ok(said) if said.ok() => true,
            Ok(Output { text, .. }) => {
                answer = text;
                false
            }
            Err(error) => {
                answer = error.to_string();
                false
            }
        })
        .with_context(|| format!("tpctl said:\n{answer}\nthe dataplane said:\n{}", self.dataplane.said()))
    }

    fn address(&self, network: &Network, station: &Namespace) -> Result<()> {
        let (port, name) = (network.port, network.station);
        let (n, host) = match self.shape.ports {
            Ports::Routed => (network.number, 2),
            Ports::Bridged => (3, network.number + 1),
        };
        station.run(&format!("ip addr replace 10.{n}.0.{host}/24 dev {name}"))?;
        station.run(&format!("ip -6 addr replace fd00:{n}::{host}/64 dev {name} nodad"))?;
        // A TAP's queue holds what a dataplane that got no CPU for a second has not fetched: beds count every packet.
        station.run(&format!("ip link set {name} txqueuelen 10000 up"))?;
        if self.shape.ports == Ports::Bridged {
            return Ok(());
        }
        station.run(&format!("ip route replace default via 10.{n}.0.1"))?;
        station.run(&format!("ip -6 route replace default via fd00:{n}::1"))?;
        self.firewall.run(&format!("ip addr replace 10.{n}.0.1/24 dev {port}"))?;
        self.firewall.run(&format!("ip -6 addr replace fd00:{n}::1/64 dev {port} nodad"))?;
        Ok(())
    }

    /// The dataplane's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("dataplane.sock")
    }

    /// Runs `tpctl` with these words against the bed's dataplane.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn tpctl(&self, words: &str) -> Result<Output> {
        let tpctl = program("tpctl")?;
        self.firewall.try_run(&format!(
            "{} --dataplane-socket {} {words}",
            tpctl.display(),
            self.socket().display()
        ))
    }

    /// Starts `tpctl` with these words against the bed's dataplane, for what goes on until it is told to end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_tpctl(&self, words: &str) -> Result<Daemon> {
        let mut command = self.firewall.command(&program("tpctl")?.to_string_lossy());
        command.arg("--dataplane-socket").arg(self.socket()).args(words.split(' '));
        Daemon::start(&mut command, &self.folder.join("tpctl.log"))
    }

    /// Starts turnpike-control, and waits until it knows what is live in the dataplane.
    ///
    /// # Errors
    /// It does not start, or finds nothing.
    pub fn start_control(&self) -> Result<Daemon> {
        let mut command = self.firewall.command(&program("turnpike-control")?.to_string_lossy());
        let config = self.folder.join("turnpike.toml");
        let paths = [
            ("--config", config),
            ("--socket", self.folder.join("control.sock")),
            ("--dataplane-socket", self.socket()),
            ("--state-dir", self.folder.join("state")),
            ("--pf-conf", self.folder.join("pf.conf")),
        ];
        for (word, path) in paths {
            command.arg(word).arg(path);
        }
        command.args(["--metrics", "127.0.0.1:0"]);
        let control = Daemon::start(&mut command, &self.folder.join("control.log"))?;
        wait_until("turnpike-control to know what is live", PATIENCE, || {
            self.ask("status --json").is_ok_and(|said| control::knows_what_is_live(&said.text))
        })
        .with_context(|| control.said())?;
        Ok(control)
    }

    /// Runs `tpctl` with these words against the bed's turnpike-control.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn ask(&self, words: &str) -> Result<Output> {
        let socket = self.folder.join("control.sock");
        self.firewall.try_run(&format!(
            "{} --socket {} {words}",
            program("tpctl")?.display(),
            socket.display()
        ))
    }

    /// Writes a pf.conf and commits it.
    ///
    /// # Errors
    /// It was refused; what `tpctl` said.
    pub fn apply(&self, rules: &str) -> Result<String> {
        let path = self.folder.join("pf.conf");
        std::fs::write(&path, rules)?;
        let said = self.tpctl(&format!("apply {}", path.display()))?;
        ensure!(said.ok(), "tpctl apply failed ({:?}):\n{}", said.code, said.text);
        Ok(said.text)
    }

    /// Commits [`Self::QUIET`] and then these rules.
    ///
    /// # Errors
    /// They were refused; what `tpctl` said.
    pub fn rules(&self, rules: &str) -> Result<String> {
        self.apply(&format!("{}{rules}", Self::QUIET))
    }

    /// The states, a line each, as `tpctl states` prints them, sorted.
    ///
    /// # Errors
    /// tpctl failed.
    pub fn states(&self) -> Result<Vec<String>> {
        let said = self.tpctl("states")?;
        ensure!(said.ok(), "tpctl states failed ({:?}):\n{}", said.code, said.text);
        let mut lines: Vec<String> = said.text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    /// Waits until the states are these, in any order; spaces may be fewer than `tpctl` prints.
    ///
    /// # Errors
    /// They are others, also after a while.
    pub fn expect_states(&self, expected: &[String]) -> Result<()> {
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut wanted: Vec<String> = expected.iter().map(words).collect();
        wanted.sort();
        let mut states = Vec::new();
        let reached = wait_until("these states", PATIENCE, || {
            states = self.states().unwrap_or_default().iter().map(words).collect();
            states.sort();
            states == wanted
        });
        reached.with_context(|| format!("wanted {wanted:#?}, found {states:#?}"))
    }

    /// How many packets the server has received by wan0, and by the uplink, where there is one.
    ///
    /// # Errors
    /// An interface is gone.
    pub fn received(&self) -> Result<[u64; 2]> {
        let of = |link: &str| -> Result<u64> {
            let said = self.server.run(&format!("ip -j -s link show dev {link}"))?;
            let links: serde_json::Value = serde_json::from_str(&said)?;
            links[0]["stats64"]["rx"]["packets"].as_u64().context("no counter")
        };
        Ok([of("eth-wan")?, of("eth-up")?])
    }

    /// What was dropped so far.
    ///
    /// # Errors
    /// tpctl failed.
    pub fn drops(&self) -> Result<Drops> {
        Drops::parse(&self.show("drops")?)
    }

    /// Checks that since `before` exactly these drops were counted: interface, reason, packets.
    ///
    /// # Errors
    /// Others were, or fewer after a while.
    pub fn expect_drops(&self, before: &Drops, expected: &[(&str, &str, u64)]) -> Result<()> {
        let wanted = Drops::of(expected);
        let added = || self.drops().map(|now| now.since(before)).unwrap_or_default();
        let reached = wait_until("the drop counters", PATIENCE, || added() == wanted);
        std::thread::sleep(SETTLED);
        let found = added();
        ensure!(reached.is_ok() && found == wanted, "dropped: {found}; expected: {wanted}");
        Ok(())
    }

    /// Everything the product shows of itself, what the firewall's kernel knows, and the dataplane's log.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for words in ["show status", "show rules", "states -v", "drops"] {
            let said = self.tpctl(words).map_or_else(|error| error.to_string(), |output| output.text);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "tpctl {words}:\n{said}");
        }
        for words in ["ip -br addr", "ip neigh"] {
            let said =
                self.firewall.try_run(words).map_or_else(|error| error.to_string(), |output| output.text);
            let _ = writeln!(text, "{words}:\n{said}");
        }
        let log = self.dataplane.said();
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(REPORTED);
        let _ = writeln!(
            text,
            "the dataplane's log, without the first {skipped} lines:\n{}",
            lines[skipped..].join("\n")
        );
        text
    }

    /// Ends a bed: the dataplane must be there and end with everything accounted for. One that was killed is started
    /// again before, as only a later one clears away what it left.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn end(&mut self) -> Result<()> {
        if self.killed {
            self.restart_dataplane()?;
        }
        self.stop().map(|_| ())
    }

    /// What `tpctl show … --json` prints.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn show(&self, what: &str) -> Result<serde_json::Value> {
        let said = self.tpctl(&format!("show {what} --json"))?;
        ensure!(said.ok(), "tpctl show {what} failed ({:?}):\n{}", said.code, said.text);
        serde_json::from_str(&said.text).with_context(|| format!("not JSON: {}", said.text))
    }

    /// Ends the dataplane as an operator would, and checks that it accounted for every packet and every buffer.
    ///
    /// # Errors
    /// It did not end, or something was left over: its log.
    pub fn stop(&mut self) -> Result<String> {
        self.dataplane.signal("TERM")?;
        let status = self.dataplane.wait(PATIENCE)?;
        let said = self.dataplane.said();
        if !status.success() {
            bail!("the dataplane ended with {status}:\n{said}");
        }
        ensure!(
            said.contains("holds; buffers in use: 0"),
            "the dataplane did not account for its packets:\n{said}"
        );
        Ok(said)
    }

    /// Leaves everything running when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
        self.dataplane.keep();
        self.client.keep();
        self.firewall.keep();
        self.server.keep();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.kept {
            // Its programs still write there until the namespaces go; what they leave is swept by the next start.
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

fn folder_name(bed: &str) -> String {
    format!("{PREFIX}-{bed}")
}

fn start_dataplane(firewall: &Namespace, folder: &Path) -> Result<Daemon> {
    let mut command = firewall.command(&program("turnpike-dataplane")?.to_string_lossy());
    command
        .arg("--config")
        .arg(folder.join("turnpike.toml"))
        .arg("--socket")
        .arg(folder.join("dataplane.sock"));
    Daemon::start(&mut command, &folder.join("dataplane.log"))
}

/// A veth pair between a station and the firewall. Segmentation and checksum offloads are off on both ends: frames must be
/// on the wire as they would be on a real one.
fn link_by_veth(network: &Network, station: &Namespace, firewall: &Namespace, mtu: u16) -> Result<()> {
    let (port, name) = (format!("p-{}", network.port), network.station);
    let (station_name, firewall_name) = (station.name(), firewall.name());
    crate::run(&format!(
        "ip link add {name} netns {station_name} type veth peer name {port} netns {firewall_name}"
    ))?;
    for (namespace, link) in [(station, name), (firewall, port.as_str())] {
        namespace.run(&format!("ethtool -K {link} tx off rx off tso off gso off gro off"))?;
        namespace.run(&format!("ip link set {link} up"))?;
    }
    // The firewall sets its end itself.
    station.run(&format!("ip link set {name} mtu {mtu}"))?;
    Ok(())
}
