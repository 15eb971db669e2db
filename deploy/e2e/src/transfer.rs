//! Files that cross the firewall.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Daemon, Lab, Namespace, PATIENCE, WebServer, run, wait_until};

/// Makes a file of random bytes.
///
/// # Errors
/// It cannot be written.
pub fn random_file(path: &Path, mib: usize) -> Result<()> {
    run(&format!("dd if=/dev/urandom of={} bs=1M count={mib} status=none", path.display())).map(|_| ())
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn checksum(path: &Path) -> Result<String> {
    let said = run(&format!("sha256sum {}", path.display()))?;
    said.split(' ').next().map(str::to_owned).context("sha256sum said nothing")
}

/// Checks that a file arrived as it was sent.
///
/// # Errors
/// It did not.
pub fn ensure_same(sent: &Path, received: &Path) -> Result<()> {
    let (sum, other) = (checksum(sent)?, checksum(received)?);
    ensure!(sum == other, "the file changed on its way: {sum} became {other}");
    Ok(())
}

/// A host in a URL: IPv6 addresses in brackets.
pub fn url_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Pings the server by each of its addresses, and sends a file of so many MiB up by PUT and down by GET: the bytes cross
/// twice, and must be the same at either end.
///
/// # Errors
/// Something did not arrive, or not whole.
pub fn both_ways(lab: &Lab, servers: [&str; 2], mib: usize) -> Result<()> {
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let (sent, received) = (lab.folder.join("sent"), lab.folder.join("received"));
    random_file(&sent, mib)?;
    for server in servers {
        lab.client.run(&format!("ping -n -c 3 -i 0.2 -W 5 {server}"))?;
        let url = format!("http://{}/file", url_host(server));
        lab.client.run(&format!("curl -sSf --max-time 60 -T {} {url}", sent.display()))?;
        ensure_same(&sent, &www.join("file")).context("upload")?;
        lab.client.run(&format!("curl -sSf --max-time 60 -o {} {url}", received.display()))?;
        ensure_same(&sent, &received).context("download")?;
        std::fs::remove_file(www.join("file"))?;
    }
    Ok(())
}

/// Has iperf3 send from the client to `host`, with such arguments besides. Returns the bytes that arrived.
///
/// # Errors
/// It cannot.
pub fn iperf3(lab: &Lab, host: &str, arguments: &str) -> Result<f64> {
    iperf3_from(lab, &lab.client, host, arguments, 60)
}

/// The same from another station, for so many seconds at most.
///
/// # Errors
/// It cannot.
pub fn iperf3_from(lab: &Lab, station: &Namespace, host: &str, arguments: &str, seconds: u32) -> Result<f64> {
    // A server for each client: one that had another before may be busy with that still, or not listen for a moment.
    let mut server = lab.server.command("iperf3");
    let _server = Daemon::start(server.args(["-s", "-1", "-p", "5201"]), &lab.folder.join("iperf3.log"))?;
    wait_until("iperf3 to listen", PATIENCE, || {
        lab.server.try_run("ss -Hltn sport = :5201").is_ok_and(|sockets| !sockets.text.trim().is_empty())
    })?;
    let said = station.run(&format!("timeout {seconds} iperf3 -c {host} -p 5201 -J {arguments}"))?;
    let report: serde_json::Value = serde_json::from_str(&said)?;
    let bytes = report["end"]["sum_received"]["bytes"].as_f64();
    bytes.with_context(|| format!("iperf3 reports no bytes: {report:#}"))
}

/// A download that goes on beside a test, at a limited rate.
#[derive(Debug)]
pub struct Download {
    curl: Daemon,
    sent: PathBuf,
    received: PathBuf,
}

impl Download {
    /// Starts it: `mib` of random bytes from the web server whose files are in `www`, at `mib_per_second`.
    ///
    /// # Errors
    /// The file cannot be made, or curl not be started.
    pub fn start(lab: &Lab, www: &Path, mib: usize, mib_per_second: usize) -> Result<Self> {
        let (sent, received) = (www.join("slow"), lab.folder.join("slow"));
        random_file(&sent, mib)?;
        let mut command = lab.client.command("curl");
        command
            .args(["-sSf", "--max-time", "60", "--limit-rate", &format!("{mib_per_second}M"), "-o"])
            .arg(&received)
            .arg(format!("http://{}/slow", Lab::SERVER));
        let curl = Daemon::start(&mut command, &lab.folder.join("curl.log"))?;
        Ok(Self { curl, sent, received })
    }

    /// True while it goes on.
    pub fn is_running(&mut self) -> bool {
        self.curl.is_running()
    }

    /// Waits for its end and checks that every byte arrived.
    ///
    /// # Errors
    /// curl failed, or bytes changed.
    pub fn finish(mut self) -> Result<()> {
        let status = self.curl.wait(Duration::from_secs(60))?;
        ensure!(status.success(), "the download failed: {}", self.curl.said());
        ensure_same(&self.sent, &self.received)
    }
}
