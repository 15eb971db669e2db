//! How the dataplane is.

use std::io::{self, Write};

use api::control::{ControlStatus, Live};
use api::{Filtering, InterfacePlace, InterfaceStatus, LinkStatus, Status};

/// Writes a summary: ruleset, states, interfaces, workers, buffers.
pub fn write_status(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let rules = match status.generation {
        0 => "none: nothing is forwarded until `tpctl apply FILE`".to_owned(),
        generation => format!("generation {generation}"),
    };
    writeln!(out, "turnpike-dataplane {}, up {} s", status.version, status.uptime_s)?;
    writeln!(out, "ruleset   {rules}")?;
    if status.filtering == Filtering::Off {
        writeln!(
            out,
            "filtering OFF: everything is forwarded, no rule is asked; `tpctl pfctl -e` ends this"
        )?;
    }
    writeln!(out, "states    {} of {}", status.states, status.states_limit)?;
    for interface in &status.interfaces {
        write_interface(out, interface)?;
    }
    for worker in &status.workers {
        let kept = &worker.conservation;
        let total = (worker.busy_ns + worker.idle_ns).max(1);
        let withheld = match worker.withheld {
            0 => String::new(),
            count => format!(", {count} answers withheld"),
        };
        writeln!(
            out,
            "worker {}  cpu {}, busy {:.1} %, {} packets in, {} out, {} dropped, {} held{withheld}{}",
            worker.worker,
            worker.cpu,
            worker.busy_ns as f64 * 100.0 / total as f64,
            kept.sources(),
            kept.tx + kept.punted + kept.handoff_out,
            kept.drops,
            kept.held,
            if kept.holds() { "" } else { "  (counts do not add up at this moment)" },
        )?;
    }
    for pool in &status.pools {
        writeln!(out, "pool      {}: {} of {} buffers in use", pool.name, pool.in_use, pool.size)?;
    }
    Ok(())
}

/// How a link is.
pub fn link(up: bool, link: &LinkStatus) -> String {
    match (up, &link.cause, link.speed_mbps) {
        (true, _, Some(speed)) => format!("up at {speed} Mb/s"),
        (true, _, None) => "up".to_owned(),
        (false, Some(cause), _) => format!("down ({cause})"),
        (false, None, _) => "down".to_owned(),
    }
}

fn write_interface(out: &mut dyn Write, interface: &InterfaceStatus) -> io::Result<()> {
    let state = link(interface.up, &interface.link);
    let place = match &interface.place {
        InterfacePlace::BridgedTo(peer) => format!("bridged to {peer}"),
        InterfacePlace::Span => "span".to_owned(),
        InterfacePlace::Routed if interface.addresses.is_empty() => "no address".to_owned(),
        InterfacePlace::Routed => interface.addresses.join(" "),
    };
    let host = match &interface.place {
        InterfacePlace::BridgedTo(_) | InterfacePlace::Span => String::new(),
        InterfacePlace::Routed => {
            format!(", {} from and {} to the host", interface.host_in_packets, interface.punted_packets)
        }
    };
    let spread = interface.link.spread.as_ref().map_or_else(String::new, |how| format!(", spread {how}"));
    writeln!(
        out,
        "{:<9} {state}, {}, mtu {}, {place} ({}{spread}); rx {} tx {} packets{host}",
        interface.name,
        interface.mac,
        interface.mtu,
        interface.device,
        interface.rx_packets,
        interface.tx_packets,
    )?;
    if interface.partial_checksums > 0 {
        writeln!(
            out,
            "{:<9} {} packets came without a complete checksum: switch the sender's offload off (ethtool -K … tx off)",
            "", interface.partial_checksums
        )?;
    }
    Ok(())
}

/// Writes which rules are live and what awaits confirmation, then how the dataplane is.
pub fn write_control(out: &mut dyn Write, status: &ControlStatus) -> io::Result<()> {
    writeln!(out, "turnpike-control {}, up {} s", status.version, status.uptime_s)?;
    let live = match status.live {
        Live::None => "none known".to_owned(),
        Live::BuiltIn { .. } => "the built-in policy, which admits management only".into(),
        Live::Revision { revision, .. } => format!("revision {revision}"),
        Live::Foreign { .. } => "rules that were loaded past turnpike-control".into(),
    };
    writeln!(out, "live      {live}")?;
    if let Some(pending) = &status.pending {
        let (revision, left) = (pending.revision, pending.left_s);
        writeln!(
            out,
            "pending   revision {revision}: `tpctl confirm` within {left} s, or the rules before it return"
        )?;
    }
    if status.apply_failures > 0 {
        writeln!(out, "failures  {} since the start", status.apply_failures)?;
    }
    if let Some(problem) = &status.problem {
        writeln!(out, "dataplane {problem}")?;
    }
    match &status.dataplane {
        Some(dataplane) => write_status(out, dataplane),
        None => Ok(()),
    }
}
