//! `tpctl events`: states as they are made, reach other levels and go, as it happens.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use api::{EventBatch, EventKind, EventQuery, EventView, ShortageView};
use clap::Args;
use ruleset::{PortBlock, Removal, StateView, protocol_name};
use serde::Serialize;
use wire::Proto;

use crate::{filter, live, output, time};

#[derive(Args)]
#[command(after_help = reasons())]
pub struct Arguments {
    /// Of which states: host 10.1.0.2 and tcp port 80; without any, of all
    #[arg(value_name = "FILTER", trailing_var_arg = false)]
    filter: Vec<String>,
    /// Begin with the states that were made within this time and still live
    #[arg(long, value_name = "TIME", value_parser = time::seconds)]
    since: Option<u32>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// All that is known of each state
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// What a removed state's word means.
fn reasons() -> String {
    let lines = Removal::ALL.map(|why| format!("  {:<9} {}\n", why.name(), why.doc()));
    format!("Why states are removed:\n{}", lines.concat())
}

/// Prints until there are as many as wanted, or nobody reads any more.
pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let query = EventQuery { terms: filter::terms(&arguments.filter)? };
    let mut printer = Printer::new(io::stdout().lock(), arguments);
    let (mut begun, mut listing) = (false, Ok(()));
    live::connect(socket)?.events(&query, |batch| {
        if !std::mem::replace(&mut begun, true)
            && let Some(within) = arguments.since
        {
            // What happens meanwhile waits.
            listing = living(&query, within, socket, &mut printer);
        }
        printer.batch(batch);
        listing.is_ok() && printer.wants_more()
    })?;
    listing?;
    output::ended(printer.failure, "the events")
}

/// Prints the states that live and were made within so many seconds, as if that were told now.
fn living<W: Write>(
    query: &EventQuery,
    within: u32,
    socket: &Path,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let now = time::now_unix_s();
    live::connect(socket)?.states_while(|state| {
        if state.age_s <= within && query.fits(&state) {
            printer.living(state, now);
        }
        printer.wants_more()
    })?;
    Ok(())
}

#[derive(Serialize)]
struct Lost {
    lost: u64,
}

#[derive(Serialize)]
struct Exhausted<'a> {
    exhausted: &'a ShortageView,
}

/// Of what no port was left, and for how many packets.
fn what_was_exhausted(shortage: &ShortageView) -> String {
    let ShortageView { address, packets, .. } = shortage;
    let number = Proto(shortage.proto);
    let proto = protocol_name(number).map_or_else(|| number.0.to_string(), str::to_owned);
    let of = shortage.block.map_or_else(String::new, |PortBlock { subscriber, first, last, .. }| {
        format!(" ports {} to {} of {subscriber}", first.0, last.0)
    });
    format!("exhausted {proto} {address}{of}, {packets} pkts")
}

/// Where events go.
struct Printer<W: Write> {
    out: W,
    json: bool,
    verbose: bool,
    left: u64,
    /// States that were told of though their making was not seen: it may come late.
    known: BTreeSet<u64>,
    failure: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn new(out: W, arguments: &Arguments) -> Self {
        let &Arguments { json, verbose, count, .. } = arguments;
        Self { out, json, verbose, left: count.unwrap_or(u64::MAX), known: BTreeSet::new(), failure: None }
    }

    fn wants_more(&self) -> bool {
        self.left > 0 && self.failure.is_none()
    }

    fn batch(&mut self, batch: &EventBatch) {
        for event in &batch.events {
            if event.event == EventKind::Created && self.known.remove(&event.state.id) {
                continue;
            }
            self.event(event);
        }
        for shortage in &batch.shortages {
            self.shortage(shortage);
        }
        if batch.lost > 0 && self.wants_more() {
            let written = match self.json {
                true => json_line(&mut self.out, &Lost { lost: batch.lost }),
                false => writeln!(self.out, "{} events lost", batch.lost),
            };
            self.failure = written.err();
        }
        self.failure = self.failure.take().or(self.out.flush().err());
    }

    /// A state that was made before.
    fn living(&mut self, state: StateView, now: u64) {
        self.known.insert(state.id);
        self.event(&EventView {
            seconds: now.saturating_sub(state.age_s.into()),
            nanoseconds: 0,
            // Which one has it is the upper part of its id.
            worker: (state.id >> 48) as u16,
            event: EventKind::Created,
            reason: None,
            age_ms: u64::from(state.age_s) * 1000,
            idle_ms: 0,
            state,
            block: None,
        });
    }

    fn shortage(&mut self, shortage: &ShortageView) {
        if !self.wants_more() {
            return;
        }
        self.left -= 1;
        let written = match self.json {
            true => json_line(&mut self.out, &Exhausted { exhausted: shortage }),
            false => {
                let when = time::clock(shortage.seconds, shortage.nanoseconds);
                writeln!(self.out, "{when} {}", what_was_exhausted(shortage))
            }
        };
        self.failure = written.err();
    }

    fn event(&mut self, event: &EventView) {
        if !self.wants_more() {
            return;
        }
        self.left -= 1;
        let written = match (self.json, self.verbose) {
            (true, _) => json_line(&mut self.out, event),
            (false, verbose) => {
                let clock = time::clock(event.seconds, event.nanoseconds);
                if verbose {
                    writeln!(self.out, "{clock} {event:#}")
                } else {
                    writeln!(self.out, "{clock} {event}")
                }
            }
        };
        self.failure = written.err();
    }
}

fn json_line<T: Serialize>(mut out: impl Write, value: &T) -> io::Result<()> {
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_exhausted_is_a_block_where_sources_have_them() {
        let told = |block| {
            what_was_exhausted(&ShortageView {
                seconds: 0,
                nanoseconds: 0,
                worker: 0,
                pool: 1,
                address: [192, 0, 2, 1].into(),
                proto: 17,
                block,
                packets: 3,
            })
        };
        assert_eq!(told(None), "exhausted udp 192.0.2.1, 3 pkts");
        let [subscriber, address] = [[10, 0, 0, 5], [192, 0, 2, 1]].map(std::net::IpAddr::from);
        let block = PortBlock { subscriber, address, first: wire::Port(1024), last: wire::Port(1535) };
        assert_eq!(told(Some(block)), "exhausted udp 192.0.2.1 ports 1024 to 1535 of 10.0.0.5, 3 pkts");
    }
}
