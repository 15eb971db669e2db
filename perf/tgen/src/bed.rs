//! A bed on the command line: ports, signals, progress.

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use dpdk::Device;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use tgen::flow::Role;
use tgen::neighbor::Station;
use tgen::outcome::Outcome;
use tgen::ports::{Machine, Opened};
use tgen::profile::{Network, Profile};
use tgen::report::thousands;
use tgen::side::Side;
use tgen::tester::{LOOKS_PER_SECOND, Tester};

use crate::options::Bed;

/// A bed with its ports open.
pub struct Running {
    /// The traffic.
    pub profile: Profile,
    /// Both ports.
    pub tester: Tester,
    /// The line's rate in bits a second, if it is known.
    pub line: Option<f64>,
    open_rate: f64,
    // Behind the tester, whose queues are theirs.
    _ports: Ports,
}

/// Ports, closed at the end; but those of memif are left to the kernel, which closes them with the process: the driver
/// (22.11) frees what EAL's interrupt thread may be using for the other end's goodbye.
struct Ports {
    ports: Vec<dpdk::Port>,
    closes: bool,
}

impl Drop for Ports {
    fn drop(&mut self) {
        if !self.closes {
            self.ports.drain(..).for_each(std::mem::forget);
        }
    }
}

/// Opens the ports of a bed, and finds the device under test.
///
/// # Errors
/// What is missing.
pub fn start(bed: &Bed) -> Result<Running> {
    let profile = Profile::find(&bed.profile)?;
    let network = bed.network.as_deref().map_or_else(|| Ok(Network::built_in()), Network::read)?;
    profile.fits(&network)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the program as it is.
        signal_hook::flag::register_conditional_default(signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    for device in [&bed.client, &bed.server] {
        clear_socket(device);
    }
    let machine = Machine::new(&[bed.client.clone(), bed.server.clone()], &bed.lcores)?;
    let opened = [machine.open(&bed.client)?, machine.open(&bed.server)?];
    let [one, other] = &opened;
    let speeds = (one.wait_for_link()?, other.wait_for_link()?);
    let line = bed.line_rate.or_else(|| Some(speeds.0?.min(speeds.1?)));
    let macs = opened.each_ref().map(|one| one.mac);
    let peers = if bed.direct {
        [Some(macs[1]), Some(macs[0])]
    } else {
        [bed.client_peer.map(|peer| peer.0), bed.server_peer.map(|peer| peer.0)]
    };
    let mut parts = Role::BOTH.into_iter().zip(opened).zip(peers);
    let mut next = || {
        let ((role, Opened { end, mac, port, .. }), peer) = parts.next().expect("two of each");
        let plan = if role == Role::Client { network.client } else { network.server };
        let station = Station::new(mac, plan, profile.family);
        (Side::new(role, end, station, peer, profile.layout()), port)
    };
    let ((client, client_port), (server, server_port)) = (next(), next());
    let settle = Duration::from_secs_f64(bed.settle);
    let Machine { lcores, clock, .. } = machine;
    let mut tester = Tester::new([client, server], lcores, clock, settle, stop);
    tester.resolve(&profile, &network)?;
    let open_rate = bed.open_rate;
    let closes = ![&bed.client, &bed.server].into_iter().any(is_memif);
    let ports = Ports { ports: vec![client_port, server_port], closes };
    Ok(Running { profile, tester, line, open_rate, _ports: ports })
}

/// Removes the socket of a memif whose process has gone, as [`Ports`] leaves it: nobody listens at it any more, but as long as it
/// is there, nobody can.
fn clear_socket(device: &Device) {
    let named = device.args().split(',').find_map(|option| option.strip_prefix("socket="));
    let Some(path) = named.filter(|_| is_memif(device)) else { return };
    // memif's sockets are of another kind, which only one that somebody has open tells.
    if UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        // What cannot be removed, the driver complains of.
        let _ = std::fs::remove_file(path);
    }
}

fn is_memif(device: &Device) -> bool {
    device.name().starts_with("net_memif")
}

/// Opens the connections that are to stay open.
///
/// # Errors
/// Not all of them open.
pub fn open(running: &mut Running) -> Result<()> {
    running.tester.open(&running.profile, running.open_rate, &mut || ())
}

/// Closes them.
///
/// # Errors
/// An lcore cannot be started.
pub fn close(running: &mut Running) -> Result<()> {
    running.tester.close(&running.profile, running.open_rate, &mut || ())
}

/// Writes a report for programs, if it is wanted.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: Option<&Path>, report: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A trial with a line of progress each second, on standard error.
///
/// # Errors
/// It cannot start.
pub fn trial(tester: &mut Tester, rate: f64, seconds: f64) -> Result<Outcome> {
    let progress = tester.progress();
    let mut looks = 0_u64;
    let mut watch = || {
        looks += 1;
        if looks.is_multiple_of(LOOKS_PER_SECOND) {
            let (sent, received) = progress.totals();
            let line = format!(
                "{:>4} s  sent {}, received {}\n",
                looks / LOOKS_PER_SECOND,
                thousands(sent as f64),
                thousands(received as f64)
            );
            // Whoever closed it does not want to know.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    };
    tester.trial(rate, seconds, &mut watch)
}
