//! What Prometheus reads.
//!
//! Overview: every scrape is made anew from one [`Reading`] of the dataplane and one [`View`]; nothing is kept, so that
//! counters are the dataplane's own and survive a restart of this process. Names, types and units follow Prometheus' rules:
//! base units, `_total` on counters only. No label carries an address. Bounds: labels are interfaces, workers, pools,
//! reasons and tables, which are few by themselves, and rules, which are capped.

mod families;
mod rules;

use api::{ReasonCount, Status, WorkerStatus};
use prometheus::TextEncoder;

use crate::View;
use crate::collector::Reading;
use families::{Families, Kind};

/// The content type of the text format.
pub const FORMAT: &str = prometheus::TEXT_FORMAT;

/// Writes every metric that is known. Without a reading those of the dataplane are missing, and `turnpike_dataplane_up`
/// says why they are.
///
/// # Errors
/// Those of the text encoder.
pub fn render(view: &View, reading: Option<&Reading>, rules_max: usize) -> prometheus::Result<String> {
    let mut out = Families::default();
    control(&mut out, view, reading.is_some());
    if let Some(reading) = reading {
        traffic(&mut out, &reading.status);
        drops(&mut out, reading);
        states(&mut out, &reading.status);
        workers(&mut out, &reading.status);
    }
    tables(&mut out, view);
    if let Some(usage) = reading.and_then(|reading| reading.usage.as_ref()) {
        rules::add(&mut out, view, usage, rules_max);
    }
    TextEncoder::new().encode_to_string(&out.finish())
}

/// What this process knows by itself.
fn control(out: &mut Families, view: &View, dataplane_up: bool) {
    out.begin(Kind::Gauge, "build_info", "The version of turnpike-control; always 1.")
        .value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.single(
        Kind::Gauge,
        "dataplane_up",
        "Whether the dataplane answered: 1, else 0 and its own metrics are missing.",
        f64::from(u8::from(dataplane_up)),
    );
    out.single(
        Kind::Gauge,
        "ruleset_generation",
        "Number of the live ruleset in the dataplane; 0 if there is none.",
        view.live.generation() as f64,
    );
    out.single(
        Kind::Gauge,
        "ruleset_revision",
        "Number of the live revision; 0 if the live rules are none.",
        view.live.revision().unwrap_or(0) as f64,
    );
    out.single(
        Kind::Gauge,
        "ruleset_confirmation_pending",
        "Whether the live revision awaits confirmation.",
        f64::from(u8::from(view.pending.is_some())),
    );
    if let Some(seconds) = view.last_apply_unix_s {
        let help = "When rules were last made live by this process, in seconds since 1970.";
        out.single(Kind::Gauge, "ruleset_last_apply_timestamp_seconds", help, seconds as f64);
    }
    out.single(
        Kind::Counter,
        "ruleset_apply_failures_total",
        "Applies, rollbacks, reloads and reverts that failed.",
        view.apply_failures as f64,
    );
}

fn traffic(out: &mut Families, status: &Status) {
    type Of = fn(&api::InterfaceStatus) -> u64;
    const FAMILIES: [(&str, &str, Of); 6] = [
        ("rx_packets_total", "Frames received from the wire.", |at| at.rx_packets),
        ("rx_bytes_total", "Bytes received from the wire, Ethernet headers included.", |at| at.rx_bytes),
        ("tx_packets_total", "Frames put on the wire.", |at| at.tx_packets),
        ("tx_bytes_total", "Bytes put on the wire, Ethernet headers included.", |at| at.tx_bytes),
        ("punted_packets_total", "Frames handed to the host.", |at| at.punted_packets),
        ("host_in_packets_total", "Frames that the host sent.", |at| at.host_in_packets),
    ];
    for (name, help, value) in FAMILIES {
        let mut family = out.begin(Kind::Counter, name, help);
        for interface in &status.interfaces {
            family.count(&[("interface", &interface.name)], value(interface));
        }
    }
    let mut up = out.begin(Kind::Gauge, "interface_up", "Whether frames can be sent on the interface.");
    for interface in &status.interfaces {
        up.count(&[("interface", &interface.name)], interface.up.into());
    }
}

fn drops(out: &mut Families, reading: &Reading) {
    let help =
        "Packets dropped, by the reason, and the interface that they arrived on or should have left by.";
    let mut family = out.begin(Kind::Counter, "drops_total", help);
    for at in &reading.drops {
        for ReasonCount { reason, packets } in &at.reasons {
            family.count(&[("reason", reason.name()), ("interface", &at.interface)], *packets);
        }
    }
}

fn states(out: &mut Families, status: &Status) {
    out.single(
        Kind::Gauge,
        "states",
        "States now, as pf counts them: two for a forwarded connection.",
        status.states as f64,
    );
    out.single(Kind::Gauge, "states_limit", "The most states.", status.states_limit as f64);
    let counters = [
        ("state_searches_total", "Lookups of states.", status.searches),
        ("state_inserts_total", "States made.", status.inserts),
        ("state_removals_total", "States removed.", status.removals),
        (
            "log_lost_packets_total",
            "Packets that log rules recorded in vain: the records were full, or a reader too slow.",
            status.log_lost,
        ),
        (
            "netlink_overruns_total",
            "Times that the kernel dropped netlink messages, each followed by a full resynchronisation.",
            status.netlink_overruns,
        ),
    ];
    for (name, help, value) in counters {
        out.begin(Kind::Counter, name, help).count(&[], value);
    }
    out.single(
        Kind::Gauge,
        "dataplane_uptime_seconds",
        "Since the dataplane's start.",
        status.uptime_s as f64,
    );
    let mut pools =
        out.begin(Kind::Gauge, "mbufs_in_use", "Packet buffers held by packets, rings and devices.");
    for pool in &status.pools {
        pools.count(&[("pool", &pool.name)], pool.in_use.into());
    }
    let mut sizes = out.begin(Kind::Gauge, "mbufs_size", "Packet buffers in all.");
    for pool in &status.pools {
        sizes.count(&[("pool", &pool.name)], pool.size.into());
    }
}

fn workers(out: &mut Families, status: &Status) {
    type Of = fn(&WorkerStatus) -> f64;
    const FAMILIES: [(Kind, &str, &str, Of); 4] = [
        (
            Kind::Counter,
            "worker_busy_seconds_total",
            "Time of a worker in polls that found work.",
            |worker| seconds(worker.busy_ns),
        ),
        (
            Kind::Counter,
            "worker_idle_seconds_total",
            "Time of a worker in polls that found none, and asleep.",
            |worker| seconds(worker.idle_ns),
        ),
        (Kind::Counter, "worker_polls_total", "Polls of a worker.", |worker| worker.polls as f64),
        (Kind::Gauge, "held_packets", "Packets that wait for their next hop's Ethernet address.", |worker| {
            worker.conservation.held as f64
        }),
    ];
    for (kind, name, help, value) in FAMILIES {
        let mut family = out.begin(kind, name, help);
        for worker in &status.workers {
            family.value(&[("worker", &worker.worker.to_string())], value(worker));
        }
    }
    let mut handoff = out.begin(Kind::Counter, "handoff_packets_total", "Packets handed between workers.");
    for worker in &status.workers {
        let (name, kept) = (worker.worker.to_string(), &worker.conservation);
        handoff.count(&[("worker", &name), ("direction", "in")], kept.handoff_in);
        handoff.count(&[("worker", &name), ("direction", "out")], kept.handoff_out);
    }
    let sum = |of: fn(&WorkerStatus) -> u64| status.workers.iter().map(of).sum();
    let mut created = out.begin(Kind::Counter, "created_packets_total", "Packets that were made here.");
    created.count(&[("kind", "rst")], sum(|worker| worker.created_rst));
    created.count(&[("kind", "icmp")], sum(|worker| worker.created_icmp));
    created.count(&[("kind", "copy")], sum(|worker| worker.created_copy));
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn tables(out: &mut Families, view: &View) {
    let mut family =
        out.begin(Kind::Gauge, "table_addresses", "Addresses and networks in a table of the ruleset.");
    for table in view.rules.iter().flat_map(|rules| &rules.tables) {
        family.count(&[("table", &table.name)], table.entries.as_ref().map_or(0, Vec::len) as u64);
    }
}
