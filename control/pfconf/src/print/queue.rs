//! Queues.

use std::fmt::Write;

use super::Style;
use crate::ast::{Bandwidth, InterfaceName, QueueStatement};

pub(crate) fn text(queue: &QueueStatement, style: Style<'_>) -> String {
    let mut out = format!("queue {}", style.word(&queue.name));
    if let Some(parent) = &queue.parent {
        let _ = write!(out, " parent {}", style.word(parent));
    }
    for interface in &queue.interfaces {
        if let InterfaceName::Name(name) = &interface.name {
            let _ = write!(out, " on {}", style.word(name));
        }
    }
    if let Some(flows) = queue.flows {
        let _ = write!(out, " flows {flows}");
    }
    if let Some(quantum) = queue.quantum {
        let _ = write!(out, " quantum {quantum}");
    }
    for (word, bandwidth) in [("bandwidth", queue.bandwidth), ("min", queue.min), ("max", queue.max)] {
        if let Some(Bandwidth { rate: bits, burst }) = bandwidth {
            let _ = write!(out, " {word} {}", rate(bits));
            if let Some((bits, milliseconds)) = burst {
                let _ = write!(out, " burst {} for {milliseconds}ms", rate(bits));
            }
        }
    }
    if queue.default {
        out += " default";
    }
    if let Some(limit) = queue.qlimit {
        let _ = write!(out, " qlimit {limit}");
    }
    out
}

/// In the largest unit that leaves no fraction.
fn rate(bits: u64) -> String {
    const UNITS: &[&str] = &["", "K", "M", "G"];
    let mut value = bits;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && value >= 1000 && value.is_multiple_of(1000) {
        value /= 1000;
        unit += 1;
    }
    format!("{value}{}", UNITS[unit])
}
