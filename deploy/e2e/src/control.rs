//! turnpike-control beside a bed's dataplane.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use serde_json::Value;

use crate::{Daemon, Lab, Output, PATIENCE, program, wait_until};

/// True if turnpike-control, which said this of its status, has found rules in the dataplane, and these are still the live ones.
/// The dataplane's own part of the status may be earlier.
pub(crate) fn knows_what_is_live(status: &str) -> bool {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let live = status["live"]["generation"].as_u64();
    live > Some(0) && live == status["dataplane"]["generation"].as_u64()
}

/// A running turnpike-control in the firewall's namespace; ended when it is dropped. One that is started again in the same
/// bed finds the revisions of the one before.
#[derive(Debug)]
pub struct Control {
    daemon: Daemon,
    socket: PathBuf,
}

impl Control {
    /// Where it serves metrics, in the firewall's namespace.
    pub const METRICS: &str = "127.0.0.1:9190";

    /// Starts it, and waits until it knows what is live in the dataplane.
    ///
    /// # Errors
    /// It does not start, or does not find the dataplane.
    pub fn start(lab: &Lab) -> Result<Self> {
        let own = lab.folder.join("control");
        std::fs::create_dir_all(&own)?;
        // It gives root up before it makes its socket there.
        std::fs::set_permissions(&own, Permissions::from_mode(0o777))?;
        let socket = own.join("sock");
        let mut command = lab.firewall.command(&program("turnpike-control")?.to_string_lossy());
        for (flag, value) in [
            ("--config", lab.folder.join("turnpike.toml")),
            ("--socket", socket.clone()),
            ("--dataplane-socket", lab.socket()),
            ("--state-dir", lab.folder.join("control/state")),
        ] {
            command.arg(flag).arg(value);
        }
        command.args(["--metrics", Self::METRICS]);
        let daemon = Daemon::start(&mut command, &lab.folder.join("control.log"))?;
        let control = Self { daemon, socket };
        wait_until("turnpike-control to know what is live", PATIENCE, || {
            control.tpctl(lab, "show status --json").is_ok_and(|said| knows_what_is_live(&said.text))
        })
        .with_context(|| format!("turnpike-control said:\n{}", control.daemon.said()))?;
        Ok(control)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(mut self) -> Result<()> {
        self.daemon.signal("KILL")?;
        self.daemon.wait(PATIENCE).map(|_| ())
    }

    /// Runs `tpctl` with these words against it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn tpctl(&self, lab: &Lab, words: &str) -> Result<Output> {
        let tpctl = program("tpctl")?;
        lab.firewall.try_run(&format!("{} --socket {} {words}", tpctl.display(), self.socket.display()))
    }

    /// What it shows of itself and of the dataplane.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self, lab: &Lab) -> Result<Value> {
        let said = self.tpctl(lab, "show status --json")?;
        ensure!(said.ok(), "tpctl show status failed ({:?}):\n{}", said.code, said.text);
        serde_json::from_str(&said.text).with_context(|| format!("not JSON: {}", said.text))
    }

    /// What it serves to Prometheus.
    ///
    /// # Errors
    /// It serves nothing.
    pub fn metrics(&self, lab: &Lab) -> Result<Metrics> {
        let text = lab.firewall.run(&format!("curl -sSf --max-time 20 http://{}/metrics", Self::METRICS))?;
        Ok(Metrics(text))
    }
}

/// A scrape.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl fmt::Display for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Metrics {
    /// The value of a series, as `turnpike_states` or `turnpike_rx_packets_total{interface="lan0"}`.
    ///
    /// # Errors
    /// There is none.
    pub fn value(&self, series: &str) -> Result<f64> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("no {series} in:\n{}", self.0))
    }

    /// Every counter (`…_total`) with its labels, and its value.
    pub fn counters(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let name = series.split('{').next()?;
            Some((series, value.parse().ok()?)).filter(|_| name.ends_with("_total") && !line.starts_with('#'))
        })
    }
}
