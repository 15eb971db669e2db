//! `tpctl trace`: what becomes of packets that fit a filter, stage by stage, as it happens.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use api::{HookTrace, Meeting, TraceFate, TraceQuery, TraceView};
use clap::Args;
use ruleset::Ruleset;

use crate::filter;
use crate::rulebook::{RuleName, Rulebook};
use crate::time;
use crate::{live, output};

#[derive(Args)]
pub struct Arguments {
    /// Which packets: host 10.1.0.2 and tcp port 80; without any, all
    #[arg(value_name = "FILTER", trailing_var_arg = false)]
    filter: Vec<String>,
    /// End after so many packets
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    count: u32,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = time::seconds, default_value = "60s")]
    time: u32,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// Prints until there are as many as wanted, time is over, or nobody reads any more.
pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let query = TraceQuery {
        terms: filter::terms(&arguments.filter)?,
        count: arguments.count,
        seconds: arguments.time,
    };
    let rules = live::connect(socket)?.rules()?;
    let mut out = io::stdout().lock();
    let mut failure = None;
    live::connect(socket)?.trace(&query, |traces| {
        let written = traces.iter().try_for_each(|trace| {
            if arguments.json {
                serde_json::to_writer(&mut out, trace)?;
                return writeln!(out);
            }
            let live = rules.as_ref().filter(|live| live.generation == trace.generation);
            write_trace(&mut out, trace, live.map(|live| &live.ruleset))
        });
        failure = written.and_then(|()| out.flush()).err();
        failure.is_none()
    })?;
    output::ended(failure, "the trace")
}

fn write_trace(out: &mut dyn Write, trace: &TraceView, rules: Option<&Ruleset>) -> io::Result<()> {
    let book = rules.map(Rulebook::new);
    let name = |rule: u32| match book.as_ref().and_then(|book| book.name(rule)) {
        Some(name) => RuleName::to_string(&name),
        None => format!("rule {rule} of another ruleset"),
    };
    let TraceView { seconds, nanoseconds, worker, arrival, from_host, packet, hooks, dropped, fate, .. } =
        trace;
    let by = if *from_host { "from the host by" } else { "by" };
    let clock = time::clock(*seconds, *nanoseconds);
    writeln!(out, "{clock}  worker {worker}, {by} {arrival}: {packet}")?;
    for hook in hooks {
        write_hook(out, hook, &name)?;
    }
    let verdict = match (dropped, fate) {
        (Some(reason), TraceFate::Sent(_) | TraceFate::Host(_)) => {
            format!("dropped: {reason}, and its sender told")
        }
        (Some(reason), _) => format!("dropped: {reason}"),
        (None, TraceFate::Sent(interface)) => format!("sent by {interface}"),
        (None, TraceFate::Host(interface)) => format!("to the host, by {interface}"),
        (None, TraceFate::Held { interface, next_hop }) => {
            format!("waits for the Ethernet address of {next_hop}, to leave by {interface}")
        }
        (None, TraceFate::Worker(worker)) => format!("handed to worker {worker}, which has its flow"),
        (None, TraceFate::Kept) => "waits for the other fragments of its datagram".to_owned(),
        (None, TraceFate::Nowhere) => "dropped".to_owned(),
    };
    writeln!(out, "    {verdict}")
}

fn write_hook(out: &mut dyn Write, trace: &HookTrace, name: &dyn Fn(u32) -> String) -> io::Result<()> {
    write!(out, "    {}: ", trace.hook)?;
    match &trace.met {
        Meeting::Skipped => writeln!(out, "not filtered (set skip)")?,
        Meeting::Nothing => writeln!(out, "neither states nor rules were asked")?,
        Meeting::State { rule: Some(rule) } => writeln!(out, "has a state, of {}", name(*rule))?,
        Meeting::State { rule: None } => writeln!(out, "has a state")?,
        Meeting::Rules { visits, more, decided, passes, made } => {
            writeln!(out, "has no state; rules that may match:")?;
            for (rule, matched) in visits {
                let does = match (*matched, *decided == Some(*rule)) {
                    (true, true) => "decides",
                    (true, false) => "matches",
                    (false, _) => "no",
                };
                writeln!(out, "        {does:<8} {}", name(*rule))?;
            }
            if *more > 0 {
                writeln!(out, "        and {more} more")?;
            }
            let verdict = match (decided.is_some(), *passes, *made) {
                (false, ..) => "no rule matched: it passes without a state",
                (true, true, true) => "passes, and makes a state",
                (true, true, false) => "passes",
                (true, false, _) => "blocked",
            };
            writeln!(out, "        {verdict}")?;
        }
    }
    match &trace.became {
        Some([source, destination]) => writeln!(out, "        translated to {source} > {destination}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use api::{HookView, PacketView};
    use ruleset::{Action, BlockReply, Direction, Reason, Rule, SourceLine, TupleEnd};

    use super::*;

    fn end(text: &str) -> TupleEnd {
        TupleEnd { address: text.parse().unwrap(), port: Default::default() }
    }

    #[test]
    fn a_trace_tells_each_stage() {
        let rule = |line, action| Rule {
            action,
            source: SourceLine { file: "pf.conf".into(), line },
            ..Rule::default()
        };
        let rules = vec![rule(1, Action::Block(BlockReply::Drop)), rule(2, Action::Pass)];
        let ruleset = Ruleset { rules, ..Ruleset::default() };
        let hook = |direction, interface: &str| HookView { direction, interface: interface.into() };
        let asked = |decided, passes| Meeting::Rules {
            visits: vec![(0, true), (1, decided == 1)],
            more: 2,
            decided: Some(decided),
            passes,
            made: passes,
        };
        let trace = TraceView {
            seconds: 60,
            nanoseconds: 0,
            worker: 1,
            generation: 1,
            arrival: "lan0".into(),
            from_host: false,
            packet: PacketView {
                proto: "gre".into(),
                source: end("10.0.0.1"),
                destination: end("10.0.0.2"),
                tcp: None,
                icmp: None,
                fragment: false,
                ttl: 64,
                length: 100,
            },
            hooks: vec![
                HookTrace { hook: hook(Direction::In, "lan0"), met: asked(1, true), became: None },
                HookTrace {
                    hook: hook(Direction::Out, "wan0"),
                    met: asked(0, false),
                    became: Some([end("192.0.2.1"), end("10.0.0.2")]),
                },
            ],
            dropped: Some(Reason::Match),
            fate: TraceFate::Nowhere,
        };
        let mut out = Vec::new();
        write_trace(&mut out, &trace, Some(&ruleset)).unwrap();
        let told = String::from_utf8(out).unwrap();
        let expected = "\
00:01:00.000Z  worker 1, by lan0: gre 10.0.0.1 > 10.0.0.2, ttl 64, 100 bytes
    in on lan0: has no state; rules that may match:
        matches  pf.conf:1: @0 block drop all
        decides  pf.conf:2: @1 pass all
        and 2 more
        passes, and makes a state
    out on wan0: has no state; rules that may match:
        decides  pf.conf:1: @0 block drop all
        no       pf.conf:2: @1 pass all
        and 2 more
        blocked
        translated to 192.0.2.1 > 10.0.0.2
    dropped: match
";
        assert_eq!(told.replace("pass all no state", "pass all"), expected);
        let mut out = Vec::new();
        write_trace(&mut out, &trace, None).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("rule 1 of another ruleset"));
    }
}
