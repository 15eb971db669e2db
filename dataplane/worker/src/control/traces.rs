//! Traces of packets, from the workers to the one who asked for them.
//!
//! Overview: a client has the workers trace what fits, and gets it as it comes, until it has as many as it asked for, its time
//! is over, or it hangs up. Ownership: the client's thread; one client at a time. Bounds: those of the query, and
//! [`WAITING_MAX`] traces that wait for it.

use std::time::Duration;

use api::{
    HookTrace, HookView, Meeting, TRACE_COUNT_MAX, TraceAsks, TraceEnds, TraceFate, TraceQuery, TraceView,
};
use engine::trace::{Asks, Ends, TraceFilter, TraceTerm, Traced};
use engine::{Fate, Fib, InterfaceId, RuleAt};
use ruleset::Action;
use wire::{Af, Port, Proto};

use super::desk::{Desk, lock};
use super::examples::{end, packet_view};
use crate::dump::Stalled;

/// Traces that wait for whoever asked for them; more are lost.
pub const WAITING_MAX: usize = 1024;

/// How long workers may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why nothing is traced.
#[derive(Debug, thiserror::Error)]
pub enum Untraced {
    /// Somebody else traces.
    #[error("somebody traces already; only one may at a time (tpctl trace)")]
    Busy,
    /// There is no such interface.
    #[error("there is no interface {0}")]
    Interface(String),
    /// Workers do not answer.
    #[error("the worker does not answer; see the dataplane's log")]
    Stalled,
}

/// A trace that is under way; it ends when this is dropped.
pub struct Tracing<'a> {
    desk: &'a Desk,
    _only: std::sync::MutexGuard<'a, ()>,
    left: u32,
}

impl Desk {
    /// Has the workers trace what fits.
    ///
    /// # Errors
    /// If another trace is under way, or a worker does not answer.
    pub fn trace(&self, query: &TraceQuery) -> Result<Tracing<'_>, Untraced> {
        let filter = filter(query, &self.kernel.fib())?;
        let only = self.tracing.try_lock().map_err(|_| Untraced::Busy)?;
        self.journal.traces().clear();
        let left = query.count.min(TRACE_COUNT_MAX);
        let tracing = Tracing { desk: self, _only: only, left };
        lock(&self.lister).trace(&filter, left, PATIENCE).map_err(|Stalled| Untraced::Stalled)?;
        Ok(tracing)
    }
}

impl Tracing<'_> {
    /// Whether there is more to come.
    pub const fn is_open(&self) -> bool {
        self.left > 0
    }

    /// What has come, at most as much as was asked for.
    pub fn take(&mut self) -> Vec<TraceView> {
        let live = self.desk.showcase.live().map(|live| (live.root.epoch(), live.generation));
        let mut waiting = self.desk.journal.traces();
        let count = waiting.len().min(self.left as usize);
        self.left -= count as u32;
        let told = waiting.drain(..count).map(|(trace, epoch)| TraceView {
            generation: live.filter(|(of, _)| *of == epoch).map_or(0, |(_, generation)| generation),
            ..trace
        });
        told.collect()
    }
}

impl Drop for Tracing<'_> {
    fn drop(&mut self) {
        // A worker that does not come back traces as many as it was told to, at most.
        let _ = lock(&self.desk.lister).trace(&TraceFilter::default(), 0, PATIENCE);
    }
}

fn filter(query: &TraceQuery, fib: &Fib) -> Result<TraceFilter, Untraced> {
    let number = |name: &String| {
        let found = fib.interfaces().iter().position(|interface| interface.name == *name);
        found.map(|number| InterfaceId(number as u16)).ok_or_else(|| Untraced::Interface(name.clone()))
    };
    let terms = query.terms.iter().map(|term| {
        let ends = match term.ends {
            TraceEnds::Any => Ends::Any,
            TraceEnds::Source => Ends::Source,
            TraceEnds::Destination => Ends::Destination,
        };
        let asks = match &term.asks {
            TraceAsks::Proto(proto) => Asks::Proto(Proto(*proto)),
            TraceAsks::Inet => Asks::Family(Af::Inet),
            TraceAsks::Inet6 => Asks::Family(Af::Inet6),
            TraceAsks::Net(address, prefix) => Asks::Net(*address, *prefix),
            TraceAsks::Port(port) => Asks::Port(Port(*port)),
            TraceAsks::Interface(name) => Asks::Interface(number(name)?),
        };
        Ok(TraceTerm { not: term.not, ends, asks })
    });
    terms.collect::<Result<_, _>>().map(TraceFilter)
}

/// What is told of a trace of a packet that was decided at this time since 1970.
pub fn view(traced: &Traced, worker: u16, fib: &Fib, at: Duration) -> TraceView {
    let name =
        |id: InterfaceId| fib.interface(id).map_or_else(String::new, |interface| interface.name.clone());
    let hook = |trace: &engine::trace::HookTrace| HookTrace {
        hook: HookView { direction: trace.direction, interface: name(trace.interface) },
        met: meeting(&trace.met),
        became: trace
            .became
            .map(|tuple| [end(tuple.af, (tuple.src, tuple.sport)), end(tuple.af, (tuple.dst, tuple.dport))]),
    };
    TraceView {
        seconds: at.as_secs(),
        nanoseconds: at.subsec_nanos(),
        worker,
        generation: 0,
        arrival: name(traced.arrival.interface),
        from_host: traced.arrival.source == engine::Source::Host,
        packet: packet_view(&traced.packet),
        hooks: traced.hooks().map(hook).collect(),
        dropped: traced.dropped,
        fate: match traced.fate {
            Fate::Transmit(out) => TraceFate::Sent(name(out)),
            Fate::Host(out) => TraceFate::Host(name(out)),
            Fate::Hold { interface, next_hop } => TraceFate::Held { interface: name(interface), next_hop },
            Fate::HandOff(worker) | Fate::Place(worker) | Fate::Lend(worker) | Fate::Return(worker) => {
                TraceFate::Worker(worker.0)
            }
            Fate::Kept => TraceFate::Kept,
            Fate::Drop(_) => TraceFate::Nowhere,
        },
    }
}

fn meeting(met: &engine::trace::Meeting) -> Meeting {
    let number = |rule: &Option<RuleAt>| rule.map(|rule| rule.number);
    match met {
        engine::trace::Meeting::Skipped => Meeting::Skipped,
        engine::trace::Meeting::Nothing => Meeting::Nothing,
        engine::trace::Meeting::State(rule) => Meeting::State { rule: number(rule) },
        engine::trace::Meeting::Rules(asked) => Meeting::Rules {
            visits: asked.visits().iter().map(|visit| (visit.rule, visit.matched)).collect(),
            more: asked.more,
            decided: number(&asked.decided),
            passes: !matches!(asked.action, Action::Block(_)),
            made: asked.made,
        },
    }
}
