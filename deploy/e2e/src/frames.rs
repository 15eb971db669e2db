//! Raw frames, as no stack would send them.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::{Lab, Namespace};

const SENDER: &str = include_str!("frames.py");

/// Sends frames on an interface of a station, and returns how many the kernel took.
///
/// # Errors
/// python3 is missing, or failed.
pub fn send<'a>(
    lab: &Lab,
    station: &Namespace,
    interface: &str,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Result<u64> {
    let mut lines = String::new();
    for frame in frames {
        for octet in frame {
            write!(lines, "{octet:02x}")?;
        }
        lines.push('\n');
    }
    let path = lab.folder.join("frames");
    std::fs::write(&path, lines)?;
    let mut command = station.command("python3");
    let done = command.args(["-c", SENDER, interface]).arg(&path).output().context("cannot start python3")?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "the sender failed: {}", String::from_utf8_lossy(&done.stderr));
    said.trim().parse().with_context(|| format!("the sender said {said:?}"))
}
