//! What clients change while the ruleset stays: tables, states, filtering, counters, the log. And what they ask of rulesets
//! that are not live.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{
    AddressCounts, Candidate, Counts, Filtering, FloodStatus, Hooks, Info, InterfaceInfo, Judged, LogLevel,
    Logged, ReasonCount, ResponseBody, Reviewed, Traffic, Verdicts,
};
use engine::{Counted, Crossings, Selection};
use ruleset::{
    Flow, Limit, Moment, Options, Reason, StateSelector, StateView, Syncookies, TableEdit, TableEntry,
};

use super::desk::{Desk, PATIENCE, busy, fragment_status, lock};
use super::ledger::{Carried, Totals};
use super::rules;
use super::sources::{limit_counts, source_status};
use crate::dump::Stalled;
use crate::telemetry::Sheet;
use crate::verbosity;

/// How long a review of the states may take.
const REVIEW_PATIENCE: Duration = Duration::from_secs(20);

/// States that a review shows.
const EXAMPLES: usize = 20;

/// Packets that are judged at once.
const FLOWS_MAX: usize = 1024;

impl Desk {
    /// Changes tables of the live ruleset.
    pub fn edit_tables(&self, edits: &[TableEdit], user: u32) -> ResponseBody {
        match lock(&self.rules).edit_tables(edits) {
            Ok(()) => {
                for TableEdit { name, clear, remove, add, zero: _ } in edits {
                    tracing::info!(
                        table = name,
                        clear,
                        removed = remove.len(),
                        added = add.len(),
                        user,
                        "a table has changed"
                    );
                }
                self.watch_gateways();
                ResponseBody::Done
            }
            Err(refusal) => ResponseBody::Refused(refusal.to_string()),
        }
    }

    /// What a table of the live ruleset holds; `None` if there is no such table.
    pub fn entries(&self, table: &str) -> Option<Vec<TableEntry>> {
        let live = self.showcase.live()?;
        live.root.entries(table).map(Iterator::collect)
    }

    /// What is counted for each entry of a table of the live ruleset; `None` if there is no such table.
    pub fn address_counts(&self, table: &str) -> Option<Vec<AddressCounts>> {
        let live = self.showcase.live()?;
        let counted = |Counted { packets, bytes }: Counted| Traffic { packets, bytes };
        let counts = live.root.address_counts(table)?;
        Some(
            counts
                .map(|(net, counts)| AddressCounts { net, counted: counts.map(|hook| hook.map(counted)) })
                .collect(),
        )
    }

    /// Removes the states that fit, on every worker.
    ///
    /// # Errors
    /// [`Stalled`]: some may be gone, and others not.
    pub fn kill(&self, selector: &StateSelector, user: u32) -> Result<ResponseBody, Stalled> {
        let selection = Arc::new(Selection::new(selector, &self.kernel.fib()));
        let (mut cursor, mut count) = (0, 0);
        while cursor != u32::MAX {
            let (killed, next) = lock(&self.lister).kill(cursor, &selection, PATIENCE)?;
            count += killed;
            cursor = next;
        }
        tracing::info!(states = count, user, "states were removed: {selector:?}");
        Ok(ResponseBody::Killed(count))
    }

    /// Whether the rules are asked.
    pub fn filtering(&self) -> Filtering {
        match self.showcase.live().map(|live| live.root.filtering()) {
            Some(engine::Filtering::Off) => Filtering::Off,
            Some(engine::Filtering::On) | None => Filtering::On,
        }
    }

    /// Has the rules asked, or not.
    pub fn switch(&self, filtering: Filtering, user: u32) -> ResponseBody {
        let wanted = match filtering {
            Filtering::On => engine::Filtering::On,
            Filtering::Off => engine::Filtering::Off,
        };
        match lock(&self.rules).switch(wanted) {
            Ok(true) => {
                lock(&self.ledger).switched = Instant::now();
                match filtering {
                    Filtering::Off => {
                        tracing::error!(
                            user,
                            "filtering is OFF: every packet is forwarded, no rule is asked (pfctl -e ends this)"
                        )
                    }
                    Filtering::On => tracing::error!(user, "filtering is on again"),
                }
                ResponseBody::Switched { changed: true }
            }
            Ok(false) => ResponseBody::Switched { changed: false },
            Err(refusal) => ResponseBody::Refused(refusal.to_string()),
        }
    }

    /// Changes what is logged, until the dataplane ends.
    pub fn set_log_level(&self, level: LogLevel, user: u32) -> ResponseBody {
        match verbosity::set(level) {
            Ok(()) => {
                tracing::error!(user, "what is logged is {} and graver from now on", level.name());
                ResponseBody::Done
            }
            Err(why) => ResponseBody::Refused(why.to_string()),
        }
    }

    /// Counts from zero.
    ///
    /// # Errors
    /// [`Stalled`]: nothing has changed.
    pub fn clear(&self, counts: Counts) -> Result<ResponseBody, Stalled> {
        match counts {
            Counts::Info => {
                let Some(sheets) = self.sheets() else { return Ok(busy()) };
                lock(&self.ledger).clear_totals(self.totals(&Sheet::sum(&sheets)), Instant::now());
            }
            Counts::Interface(name) => {
                let Some(sheets) = self.sheets() else { return Ok(busy()) };
                let fib = self.kernel.fib();
                let place = fib.interfaces().iter().position(|interface| interface.name == name);
                let carried = |number| Carried::each(&Sheet::sum(&sheets)).nth(number);
                let Some((number, carried)) = place.and_then(|number| Some((number, carried(number)?)))
                else {
                    return Ok(ResponseBody::Refused(format!("no interface {name}")));
                };
                lock(&self.ledger).clear_interface(number, carried, Instant::now());
            }
            Counts::Rules(anchors) => {
                let Some(live) = self.showcase.live() else { return Ok(ResponseBody::Done) };
                let usage = self.counted_by(&live.root)?;
                let anchors: BTreeSet<String> = anchors.into_iter().collect();
                let ruleset = live.root.ruleset();
                let chosen = ruleset.rules.iter().map(|rule| anchors.contains(ruleset.path(rule)));
                lock(&self.ledger).clear_rules(live.root.epoch(), usage, chosen);
            }
        }
        Ok(ResponseBody::Done)
    }

    fn totals(&self, sheet: &Sheet) -> Totals {
        Totals::of(sheet, &self.facts.states.source_counts())
    }

    /// What is counted since then.
    pub fn info(&self) -> ResponseBody {
        let Some(sheet) = self.sheets().map(|sheets| Sheet::sum(&sheets)) else { return busy() };
        let ledger = lock(&self.ledger).clone();
        let Totals { searches, inserts, removals, fragments, sources, limits, floods, drops } =
            ledger.since_cleared(self.totals(&sheet));
        let drops = Reason::ALL.into_iter().zip(drops);
        let fib = self.kernel.fib();
        let carried: Vec<_> =
            fib.interfaces().iter().zip(ledger.carried_since_cleared(Carried::each(&sheet))).collect();
        let live = self.showcase.live();
        let options = live.as_ref().map(|live| &live.root.ruleset().options);
        let logged = options.and_then(|options| options.log_interface.clone());
        let logged = logged.map(|name| {
            let mut crossings = Crossings::default();
            for (_, (_, own)) in carried.iter().filter(|(interface, _)| interface.is_called(&name)) {
                crossings += own.crossings;
            }
            Logged { name, hooks: hooks(&crossings) }
        });
        ResponseBody::Info(Box::new(Info {
            filtering: self.filtering(),
            since_s: ledger.switched.elapsed().as_secs(),
            counted_s: ledger.cleared.elapsed().as_secs(),
            level: verbosity::name(),
            host_id: options.map_or(0, |options| options.host_id),
            checksum: live.as_ref().map_or_else(String::new, |live| format!("{:032x}", live.root.checksum())),
            states: sheet.worker.states,
            half_open: sheet.worker.half_open,
            searches,
            inserts,
            removals,
            fragments: fragment_status(&sheet, fragments),
            floods: FloodStatus {
                detected: floods[0],
                cookies_sent: floods[1],
                cookies_validated: floods[2],
                watermarks: options.and_then(watermarks),
            },
            sources: source_status(self.facts.states.source_counts().current, sources),
            limits: limit_counts(limits),
            drops: drops.map(|(reason, packets)| ReasonCount { reason, packets }).collect(),
            logged,
            interfaces: carried
                .iter()
                .zip(self.links())
                .map(|((interface, (since, carried)), link)| InterfaceInfo {
                    link,
                    ..interface_info(&interface.name, *since, carried)
                })
                .collect(),
        }))
    }

    /// What the live rules and a candidate say to packets.
    pub fn judge(&self, candidate: &Candidate, flows: &[Flow]) -> ResponseBody {
        if let Some(refusal) = refused(flows) {
            return refusal;
        }
        let (fib, live) = (self.kernel.fib(), self.showcase.live());
        let previous = live.as_ref().map(|live| live.root.as_ref());
        match rules::compile(candidate, fib.interfaces(), previous, &self.facts.states) {
            Ok(root) => {
                let judged = |flow: &Flow| Judged {
                    live: previous.and_then(|root| root.judge(&fib, flow)),
                    candidate: root.judge(&fib, flow),
                };
                ResponseBody::Judged(flows.iter().map(judged).collect())
            }
            Err(refusal) => ResponseBody::Refused(refusal.to_string()),
        }
    }

    /// What the live rules say to packets, and what they will once filtering is on.
    pub fn judge_enabled(&self, flows: &[Flow]) -> ResponseBody {
        if let Some(refusal) = refused(flows) {
            return refusal;
        }
        let Some(live) = self.showcase.live() else {
            return ResponseBody::Refused("no ruleset is live".into());
        };
        let (fib, enabled) = (self.kernel.fib(), live.root.switched(engine::Filtering::On));
        let judged =
            |flow: &Flow| Judged { live: live.root.judge(&fib, flow), candidate: enabled.judge(&fib, flow) };
        ResponseBody::Judged(flows.iter().map(judged).collect())
    }

    /// Asks a candidate about the first packet of every live state.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn review(&self, candidate: &Candidate) -> Result<ResponseBody, Stalled> {
        let fib = self.kernel.fib();
        // What is live is let go of at once: a commit waits for whoever holds it.
        let live = self.showcase.live();
        let previous = live.as_ref().map(|live| live.root.as_ref());
        let compiled = rules::compile(candidate, fib.interfaces(), previous, &self.facts.states);
        drop(live);
        let root = match compiled {
            Ok(root) => root,
            Err(refusal) => return Ok(ResponseBody::Refused(refusal.to_string())),
        };
        let deadline = Instant::now() + REVIEW_PATIENCE;
        let mut reviewed = Reviewed::default();
        let mut cursor = 0;
        while cursor != u32::MAX && Instant::now() < deadline {
            let (states, next) = self.states(cursor)?;
            cursor = next;
            for state in states {
                reviewed.examined += 1;
                let Some(ruling) = root.judge(&fib, &first_packet(&state)).filter(|ruling| !ruling.passes)
                else {
                    continue;
                };
                reviewed.blocked += 1;
                if reviewed.examples.len() < EXAMPLES {
                    reviewed.examples.push((state, ruling));
                }
            }
        }
        reviewed.complete = cursor == u32::MAX;
        Ok(ResponseBody::Reviewed(Box::new(reviewed)))
    }
}

/// At how many half-open states cookies begin and end, with `set syncookies adaptive`.
fn watermarks(options: &Options) -> Option<[u32; 2]> {
    let Syncookies::Adaptive { start, end } = options.syncookies else { return None };
    let limit = u64::from(options.limits.get(Limit::States));
    Some([start, end].map(|percent| (limit * u64::from(percent) / 100) as u32))
}

/// Why these packets are not judged, if they are not.
fn refused(flows: &[Flow]) -> Option<ResponseBody> {
    let one_family = |flow: &Flow| flow.source.address.is_ipv4() == flow.destination.address.is_ipv4();
    (flows.len() > FLOWS_MAX || !flows.iter().all(one_family)).then(|| {
        ResponseBody::Refused(format!(
            "at most {FLOWS_MAX} packets are judged at once, each with two addresses of one family"
        ))
    })
}

fn interface_info(name: &str, since: Instant, carried: &Carried) -> InterfaceInfo {
    let Carried { counts, crossings, dropped } = *carried;
    let traffic = |packets, bytes| Traffic { packets, bytes };
    InterfaceInfo {
        name: name.to_owned(),
        counted_s: since.elapsed().as_secs(),
        received: traffic(counts.rx_packets, counts.rx_bytes),
        sent: traffic(counts.tx_packets, counts.tx_bytes),
        host_in: traffic(counts.host_in_packets, counts.host_in_bytes),
        punted: traffic(counts.punted_packets, counts.punted_bytes),
        dropped,
        hooks: hooks(&crossings),
        ..InterfaceInfo::default()
    }
}

fn hooks(crossings: &Crossings) -> Hooks {
    let told = |passed: Counted, blocked: Counted| {
        let traffic = |Counted { packets, bytes }| Traffic { packets, bytes };
        Verdicts { passed: traffic(passed), blocked: traffic(blocked) }
    };
    let [
        in4_passed,
        in4_blocked,
        out4_passed,
        out4_blocked,
        in6_passed,
        in6_blocked,
        out6_passed,
        out6_blocked,
    ] = *crossings.cells();
    Hooks {
        in4: told(in4_passed, in4_blocked),
        out4: told(out4_passed, out4_blocked),
        in6: told(in6_passed, in6_blocked),
        out6: told(out6_passed, out6_blocked),
    }
}

/// The packet that a state was made by, as far as the state tells.
fn first_packet(state: &StateView) -> Flow {
    Flow {
        proto: state.proto,
        source: state.source.end,
        destination: state.destination.end,
        direction: state.direction,
        interface: (state.interface != "all").then(|| state.interface.clone()),
        moment: Moment::First,
    }
}
