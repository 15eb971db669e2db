//! What Prometheus reads.
//!
//! Overview: every scrape is made anew from one [`Reading`] of the dataplane and one [`View`]; nothing is kept, so that
//! counters are the dataplane's own and survive a restart of this process. Names, types and units follow Prometheus' rules:
//! base units, `_total` on counters only. Bounds: labels are interfaces, workers, pools, kinds, reasons and tables, which are
//! few by themselves, and rules and the firewall's own addresses for translation, which are capped. No label carries another
//! address.

pub mod catalogue;
mod families;
mod rules;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{
    BURST_BOUNDS, Distribution, InterfaceStatus, LATENCY_BOUNDS_NS, LimitCount, MappingCount, ReasonCount,
    Status, WorkerStatus,
};
use prometheus::TextEncoder;

use crate::View;
use crate::collector::Reading;
use crate::server::Writers;
use catalogue::Metric;
use families::Families;

/// The content type of the text format.
pub const FORMAT: &str = prometheus::TEXT_FORMAT;

/// Writes every metric that is known. Without a reading those of the dataplane are missing, and `turnpike_dataplane_up`
/// says why they are.
///
/// # Errors
/// Those of the text encoder.
pub fn render(
    view: &View,
    reading: Option<&Reading>,
    writers: &Writers,
    rules_max: usize,
) -> prometheus::Result<String> {
    let mut out = Families::default();
    control(&mut out, view, reading.is_some());
    if let Some(pflog) = &writers.pflog {
        out.begin(Metric::PflogWritten).count(&[], pflog.written());
        out.begin(Metric::PflogFailed).count(&[], pflog.failed());
    }
    if let Some(ipfix) = &writers.ipfix {
        out.begin(Metric::IpfixSent).count(&[], ipfix.sent());
        out.begin(Metric::IpfixFailed).count(&[], ipfix.failed());
        out.begin(Metric::IpfixMissed).count(&[], ipfix.missed());
    }
    if let Some(reading) = reading {
        let status = &reading.status;
        traffic(&mut out, status);
        devices(&mut out, status);
        drops(&mut out, reading);
        packets(&mut out, status);
        states(&mut out, status);
        workers(&mut out, status);
        resources(&mut out, status);
        mappings(&mut out, &reading.mappings, rules_max);
    }
    tables(&mut out, view);
    if let Some(usage) = reading.and_then(|reading| reading.usage.as_ref()) {
        rules::add(&mut out, view, usage, rules_max);
    }
    TextEncoder::new().encode_to_string(&out.finish())
}

/// What this process knows by itself.
fn control(out: &mut Families, view: &View, dataplane_up: bool) {
    let truth = |is: bool| f64::from(u8::from(is));
    out.begin(Metric::BuildInfo).value(&[env!("CARGO_PKG_VERSION")], 1.0);
    out.single(Metric::DataplaneUp, truth(dataplane_up));
    out.single(Metric::RulesetGeneration, view.live.generation() as f64);
    out.single(Metric::RulesetRevision, view.live.revision().unwrap_or(0) as f64);
    out.single(Metric::ConfirmationPending, truth(view.pending.is_some()));
    if let Some(seconds) = view.last_apply_unix_s {
        out.single(Metric::LastApply, seconds as f64);
    }
    out.single(Metric::ApplyFailures, view.apply_failures as f64);
}

/// A value of each interface.
type OfInterface = (Metric, fn(&InterfaceStatus) -> u64);

fn by_interface(out: &mut Families, status: &Status, families: &[OfInterface]) {
    for (metric, value) in families {
        let mut family = out.begin(*metric);
        for interface in &status.interfaces {
            family.count(&[&interface.name], value(interface));
        }
    }
}

fn traffic(out: &mut Families, status: &Status) {
    by_interface(
        out,
        status,
        &[
            (Metric::RxPackets, |at| at.rx_packets),
            (Metric::RxBytes, |at| at.rx_bytes),
            (Metric::TxPackets, |at| at.tx_packets),
            (Metric::TxBytes, |at| at.tx_bytes),
            (Metric::PuntedPackets, |at| at.punted_packets),
            (Metric::PuntedBytes, |at| at.punted_bytes),
            (Metric::PartialChecksums, |at| at.partial_checksums),
            (Metric::HostInPackets, |at| at.host_in_packets),
            (Metric::HostInBytes, |at| at.host_in_bytes),
            (Metric::HandedOff, |at| at.handed_off_packets),
            (Metric::InterfaceUp, |at| at.up.into()),
        ],
    );
}

fn devices(out: &mut Families, status: &Status) {
    by_interface(
        out,
        status,
        &[
            (Metric::LinkUp, |at| at.hardware.link_up.into()),
            (Metric::DeviceMissed, |at| at.hardware.rx_missed),
            (Metric::DeviceRxErrors, |at| at.hardware.rx_errors),
            (Metric::DeviceNoBuffer, |at| at.hardware.rx_no_buffer),
            (Metric::DeviceTxErrors, |at| at.hardware.tx_errors),
        ],
    );
    const BYTES_OF_MBIT: u64 = 1_000_000 / 8;
    let mut speed = out.begin(Metric::LinkSpeed);
    for interface in status.interfaces.iter().filter(|interface| interface.hardware.link_mbps > 0) {
        speed.count(&[&interface.name], u64::from(interface.hardware.link_mbps) * BYTES_OF_MBIT);
    }
}

fn drops(out: &mut Families, reading: &Reading) {
    let mut family = out.begin(Metric::Drops);
    for at in &reading.drops {
        for ReasonCount { reason, packets } in &at.reasons {
            family.count(&[reason.name(), &at.interface], *packets);
        }
    }
}

/// Packets that neither came from a wire nor went to one.
fn packets(out: &mut Families, status: &Status) {
    let mut created = out.begin(Metric::Created);
    for kind in status.workers.iter().take(1).flat_map(|first| &first.created) {
        let same = status.workers.iter().flat_map(|worker| &worker.created).filter(|of| of.kind == kind.kind);
        created.count(&[&kind.kind], same.map(|of| of.packets).sum());
    }
    let mut held = out.begin(Metric::Held);
    for worker in &status.workers {
        held.count(&[&worker.worker.to_string()], worker.conservation.held);
    }
    let mut joined = out.begin(Metric::Joined);
    for worker in &status.workers {
        joined.count(&[&worker.worker.to_string()], worker.conservation.joined);
    }
    let fragments = &status.fragments;
    for (metric, value) in [
        (Metric::Fragments, fragments.waiting),
        (Metric::FragmentSearches, fragments.searches),
        (Metric::FragmentInserts, fragments.inserts),
        (Metric::FragmentRemovals, fragments.removals),
    ] {
        out.begin(metric).count(&[], value);
    }
    let mut handoff = out.begin(Metric::Handoff);
    for worker in &status.workers {
        let (name, kept) = (worker.worker.to_string(), &worker.conservation);
        handoff.count(&[&name, "in"], kept.handoff_in);
        handoff.count(&[&name, "out"], kept.handoff_out);
    }
}

fn states(out: &mut Families, status: &Status) {
    for (metric, value) in [
        (Metric::States, status.states),
        (Metric::StatesLimit, status.states_limit),
        (Metric::StateSearches, status.searches),
        (Metric::StateInserts, status.inserts),
        (Metric::StateRemovals, status.removals),
        (Metric::SourceNodes, status.sources.current),
        (Metric::SourceNodesLimit, status.sources_limit),
        (Metric::SourceNodeSearches, status.sources.searches),
        (Metric::SourceNodeInserts, status.sources.inserts),
        (Metric::SourceNodeRemovals, status.sources.removals),
        (Metric::Overloads, status.overloads),
    ] {
        out.begin(metric).count(&[], value);
    }
    let mut limits = out.begin(Metric::LimitHits);
    for LimitCount { limit, count } in &status.limits {
        limits.count(&[limit.metric()], *count);
    }
}

fn workers(out: &mut Families, status: &Status) {
    let seconds = |ns: u64| ns as f64 / NANOSECONDS;
    type Of<'a> = &'a dyn Fn(&WorkerStatus) -> f64;
    let families: [(Metric, Of<'_>); 7] = [
        (Metric::WorkerBusy, &|worker| seconds(worker.busy_ns)),
        (Metric::WorkerIdle, &|worker| seconds(worker.idle_ns)),
        (Metric::WorkerPolls, &|worker| worker.polls as f64),
        (Metric::WorkerStalls, &|worker| worker.stalls as f64),
        (Metric::AnswersWithheld, &|worker| worker.withheld as f64),
        (Metric::FlowsPlaced, &|worker| worker.placed as f64),
        (Metric::FlowsAliased, &|worker| worker.aliases as f64),
    ];
    for (metric, value) in families {
        let mut family = out.begin(metric);
        for worker in &status.workers {
            family.value(&[&worker.worker.to_string()], value(worker));
        }
    }
    let bursts = sum(status.workers.iter().map(|worker| &worker.bursts));
    out.begin(Metric::BurstSize).distribution(&BURST_BOUNDS, 1.0, &bursts);
    let latency = sum(status.workers.iter().map(|worker| &worker.latency_ns));
    out.begin(Metric::Latency).distribution(&LATENCY_BOUNDS_NS, NANOSECONDS, &latency);
}

/// Of a second.
const NANOSECONDS: f64 = 1e9;

fn sum<'a>(distributions: impl Iterator<Item = &'a Distribution>) -> Distribution {
    let mut sum = Distribution::default();
    for one in distributions {
        sum.sum += one.sum;
        sum.counts.resize(sum.counts.len().max(one.counts.len()), 0);
        sum.counts.iter_mut().zip(&one.counts).for_each(|(sum, count)| *sum += count);
    }
    sum
}

fn resources(out: &mut Families, status: &Status) {
    out.single(Metric::DataplaneUptime, status.uptime_s as f64);
    let mut in_use = out.begin(Metric::MbufsInUse);
    for pool in &status.pools {
        in_use.count(&[&pool.name], pool.in_use.into());
    }
    let mut sizes = out.begin(Metric::MbufsSize);
    for pool in &status.pools {
        sizes.count(&[&pool.name], pool.size.into());
    }
    out.begin(Metric::LogLost).count(&[], status.log_lost);
    out.begin(Metric::EventsLost).count(&[], status.events_lost);
    out.begin(Metric::NetlinkOverruns).count(&[], status.netlink_overruns);
}

/// Connections by the address that they are translated to: the `most` addresses that have the most of them.
fn mappings(out: &mut Families, mappings: &[MappingCount], most: usize) {
    let mut addresses: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for MappingCount { address, connections, .. } in mappings.iter().filter(|count| count.connections > 0) {
        *addresses.entry(*address).or_default() += connections;
    }
    let mut busiest: Vec<(IpAddr, u64)> = addresses.into_iter().collect();
    busiest.sort_by_key(|(_, connections)| Reverse(*connections));
    let mut family = out.begin(Metric::NatPorts);
    for (address, connections) in busiest.iter().take(most) {
        family.count(&[&address.to_string()], *connections);
    }
    out.single(Metric::NatTruncated, busiest.len().saturating_sub(most) as f64);
}

fn tables(out: &mut Families, view: &View) {
    let mut family = out.begin(Metric::TableAddresses);
    for table in view.rules.iter().flat_map(|rules| &rules.tables) {
        let held = view.tables.get(&table.name).map_or(0, |table| table.len());
        family.count(&[&table.name], held as u64);
    }
}
