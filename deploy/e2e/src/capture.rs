//! What tcpdump sees on an interface.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{Daemon, Lab, Namespace, PATIENCE, wait_until};

/// A running tcpdump that writes a file.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Daemon,
    file: PathBuf,
}

impl Capture {
    /// Starts one; it listens when this returns. `filter` is pcap-filter(7)'s.
    ///
    /// # Errors
    /// tcpdump is missing, or does not listen.
    pub fn start(lab: &Lab, of: &Namespace, interface: &str, filter: &[&str]) -> Result<Self> {
        let (file, log) = (lab.folder.join(format!("{interface}.pcap")), lab.folder.join(interface));
        let mut command = of.command("tcpdump");
        command.args(["-U", "-n", "-B", "16384", "-i", interface, "-w"]).arg(&file).args(filter);
        let tcpdump = Daemon::start(&mut command, &log)?;
        wait_until("tcpdump to listen", PATIENCE, || tcpdump.said().contains("listening on"))?;
        Ok(Self { tcpdump, file })
    }

    /// The file that it writes.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// The frames so far, in their order.
    ///
    /// # Errors
    /// There is no file.
    pub fn in_order(&self) -> Result<Vec<Vec<u8>>> {
        let bytes = std::fs::read(&self.file)?;
        let (_, mut rest) = bytes.split_at_checked(24).context("no pcap file")?;
        let mut frames = Vec::new();
        // seconds, microseconds, captured, length.
        while let Some((head, behind)) = rest.split_at_checked(16) {
            let captured = head[8..12].try_into().map(u32::from_le_bytes)? as usize;
            let Some((frame, next)) = behind.split_at_checked(captured) else { break };
            frames.push(frame.to_vec());
            rest = next;
        }
        Ok(frames)
    }

    /// The frames so far, sorted: mirrors promise no order between the directions.
    ///
    /// # Errors
    /// There is no file.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = self.in_order()?;
        frames.sort();
        Ok(frames)
    }

    /// As [`frames`](Self::frames), once there are so many.
    ///
    /// # Errors
    /// They do not come.
    pub fn expect(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let reached = || self.in_order().is_ok_and(|frames| frames.len() >= count);
        wait_until(&format!("{count} frames"), PATIENCE, reached)
            .with_context(|| format!("{} were captured", self.in_order().map_or(0, |frames| frames.len())))?;
        self.frames()
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<()> {
        self.tcpdump.signal("TERM")?;
        self.tcpdump.wait(PATIENCE).map(|_| ())
    }
}
