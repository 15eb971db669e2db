//! `tpctl drops`: why packets are dropped, by reason, interface and rule, with rates and the last examples.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use api::{DropExample, DropQuery, DropReport, InterfaceDrops};
use clap::Args;
use ruleset::{Reason, Ruleset};
use serde::Serialize;

use crate::live::{Sockets, Source};
use crate::rulebook::{RuleName, Rulebook};
use crate::{output, time};

/// Examples of one reason that are shown where all reasons are.
const FEW: usize = 3;

#[derive(Args)]
pub struct Arguments {
    /// Only this reason, with all its examples
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<Reason>,
    /// Only what was dropped in this time, at most a day: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = time::seconds)]
    since: Option<u32>,
    /// Again and again, every two seconds or as often as is said
    #[arg(long, value_name = "TIME", value_parser = time::seconds, num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn reason(word: &str) -> Result<Reason, String> {
    let known = Reason::ALL.into_iter().find(|reason| reason.name() == word);
    known.ok_or_else(|| format!("not a reason; these are: {}", Reason::ALL.map(Reason::name).join(", ")))
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Shown {
    /// The time that the counts cover, in seconds.
    covered_s: u64,
    reasons: Vec<OfReason>,
    rules: Vec<OfRule>,
    examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
struct OfReason {
    reason: Reason,
    meaning: &'static str,
    packets: u64,
    per_second: f64,
    /// By interface, those that counted any.
    interfaces: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct OfRule {
    #[serde(flatten)]
    rule: RuleName,
    packets: u64,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Example {
    #[serde(flatten)]
    example: DropExample,
    /// The example's rule, by name.
    by: Option<RuleName>,
    /// What it did not fit, in words.
    explanation: Option<String>,
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let query = DropQuery { since_s: arguments.since.map(u64::from), reason: arguments.reason };
    let few = if arguments.reason.is_some() { usize::MAX } else { FEW };
    loop {
        let shown = shown(&mut sockets.source()?, &query, few)?;
        let mut out = io::stdout().lock();
        match (arguments.json, arguments.watch) {
            (true, None) => {
                serde_json::to_writer_pretty(&mut out, &shown)?;
                writeln!(out)?;
            }
            (true, Some(_)) => {
                serde_json::to_writer(&mut out, &shown)?;
                writeln!(out)?;
            }
            (false, watch) => {
                if watch.is_some() {
                    write!(out, "{}", output::clear())?;
                }
                write(&mut out, &shown, &query)?;
            }
        }
        out.flush()?;
        drop(out);
        let Some(every) = arguments.watch else { return Ok(ExitCode::SUCCESS) };
        std::thread::sleep(Duration::from_secs(every.into()));
    }
}

fn shown(source: &mut Source, query: &DropQuery, few: usize) -> anyhow::Result<Shown> {
    let report = source.drop_report(query)?;
    let live = source.ruleset()?.filter(|live| live.generation == report.generation);
    Ok(Shown::of(report, live.as_ref().map(|live| &live.ruleset), few))
}

impl Shown {
    fn of(report: DropReport, rules: Option<&Ruleset>, few: usize) -> Self {
        let DropReport { covered_s, interfaces, recent_ms, recent, examples, .. } = report;
        let book = rules.map(Rulebook::new);
        let name = |place: u32| book.as_ref().and_then(|book| book.name(place));
        let rate = |packets: u64| packets as f64 * 1000.0 / recent_ms.max(1) as f64;
        let mut rules: Vec<OfRule> = (report.rules.iter())
            .filter_map(|drops| {
                let (packets, per_second) = (drops.packets, rate(drops.recent));
                Some(OfRule { rule: name(drops.rule)?, packets, per_second })
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.packets));
        let mut shown = BTreeMap::new();
        // Of each reason the newest, in the order of their times.
        let mut examples: Vec<Example> = (examples.into_iter().rev())
            .filter(|example| {
                let shown: &mut usize = shown.entry(example.reason).or_default();
                *shown += 1;
                *shown <= few
            })
            .map(|example| Example {
                by: example.rule.and_then(name),
                explanation: example.misfit.as_ref().map(|misfit| misfit.kind.to_string()),
                example,
            })
            .collect();
        examples.reverse();
        Self { covered_s, reasons: of_reasons(&interfaces, &recent, rate), rules, examples }
    }
}

fn of_reasons(
    interfaces: &[InterfaceDrops],
    recent: &[InterfaceDrops],
    rate: impl Fn(u64) -> f64,
) -> Vec<OfReason> {
    let packets = |drops: &InterfaceDrops, reason: Reason| {
        drops.reasons.iter().find(|count| count.reason == reason).map_or(0, |count| count.packets)
    };
    let of = |reason: Reason| {
        let counts = interfaces.iter().map(|drops| (drops.interface.clone(), packets(drops, reason)));
        let by: BTreeMap<String, u64> = counts.filter(|(_, packets)| *packets > 0).collect();
        let recent = recent.iter().map(|drops| packets(drops, reason)).sum();
        OfReason {
            reason,
            meaning: reason.doc(),
            packets: by.values().sum(),
            per_second: rate(recent),
            interfaces: by,
        }
    };
    Reason::ALL.into_iter().map(of).filter(|drops| drops.packets > 0).collect()
}

fn write(out: &mut dyn Write, shown: &Shown, query: &DropQuery) -> io::Result<()> {
    let Shown { covered_s, reasons, rules, examples } = shown;
    let began = if query.since_s.is_some() { "in" } else { "since the start," };
    let covered = time::words(*covered_s);
    if reasons.is_empty() {
        return writeln!(out, "nothing was dropped {began} {covered}");
    }
    writeln!(out, "dropped {began} {covered}\n")?;
    writeln!(out, "{:<15} {:>12} {:>10}  by interface", "reason", "packets", "/s")?;
    for drops in reasons {
        let by: Vec<String> =
            drops.interfaces.iter().map(|(name, packets)| format!("{name} {packets}")).collect();
        let (name, packets, rate) = (drops.reason.name(), drops.packets, drops.per_second);
        writeln!(out, "{name:<15} {packets:>12} {rate:>10.1}  {}", by.join(", "))?;
        writeln!(out, "{:<15} {}", "", drops.meaning)?;
    }
    if !rules.is_empty() {
        writeln!(out, "\n{:<15} {:>12} {:>10}  rule", "block rules", "packets", "/s")?;
    }
    for OfRule { rule, packets, per_second } in rules {
        writeln!(out, "{:<15} {packets:>12} {per_second:>10.1}  {rule}", "")?;
    }
    if !examples.is_empty() {
        writeln!(out, "\nexamples")?;
    }
    examples.iter().try_for_each(|example| write_example(out, example))
}

fn write_example(out: &mut dyn Write, Example { example, by, explanation }: &Example) -> io::Result<()> {
    let DropExample { seconds, nanoseconds, reason, interface, from_host, hook, packet, .. } = example;
    let place = match (hook, &example.arrival) {
        (Some(hook), _) => hook.to_string(),
        (None, None) if example.to_host => format!("on the way to the host by {interface}"),
        (None, None) => format!("on the way out by {interface}"),
        (None, Some(arrival)) if interface != arrival => {
            let from = if *from_host { "from the host by" } else { "by" };
            format!("{from} {arrival}, on the way out by {interface}")
        }
        (None, Some(arrival)) if *from_host => format!("from the host by {arrival}"),
        (None, Some(arrival)) => format!("by {arrival}"),
    };
    let clock = time::clock(*seconds, *nanoseconds);
    writeln!(out, "{clock}  {reason}, {place}: {packet}")?;
    if let Some(explanation) = explanation {
        writeln!(out, "    {explanation}")?;
    }
    if let Some(misfit) = &example.misfit {
        let [source, destination] = &misfit.stack;
        let [forward, reverse] = misfit.packets;
        writeln!(out, "    state {source} -> {destination}, {forward}:{reverse} pkts")?;
    }
    if let Some(by) = by {
        writeln!(out, "    {by}")?;
    }
    match example.between {
        0 => Ok(()),
        more => writeln!(out, "    and {more} more before it, not shown"),
    }
}

#[cfg(test)]
mod tests {
    use api::{HookView, PacketView, ReasonCount, RuleDrops, SeenPacket};
    use ruleset::{Action, BlockReply, Direction, Rule, SourceLine, TupleEnd};

    use super::*;

    fn example(seconds: u64, reason: Reason) -> DropExample {
        let end = |last| TupleEnd { address: [10, 0, 0, last].into(), port: Default::default() };
        DropExample {
            seconds,
            nanoseconds: 0,
            worker: 0,
            reason,
            interface: "wan0".into(),
            arrival: Some("wan0".into()),
            from_host: false,
            to_host: false,
            hook: Some(HookView { direction: Direction::In, interface: "wan0".into() }),
            rule: Some(0),
            packet: SeenPacket::Packet(PacketView {
                proto: "gre".into(),
                source: end(1),
                destination: end(2),
                tcp: None,
                icmp: None,
                fragment: false,
                ttl: 64,
                length: 100,
            }),
            misfit: None,
            between: 2,
        }
    }

    fn report() -> DropReport {
        let drops = |interface: &str, packets| InterfaceDrops {
            interface: interface.into(),
            reasons: vec![
                ReasonCount { reason: Reason::Match, packets },
                ReasonCount { reason: Reason::Short, packets: 0 },
            ],
        };
        DropReport {
            covered_s: 90,
            interfaces: vec![drops("wan0", 30), drops("lan0", 10)],
            recent_ms: 10_000,
            recent: vec![drops("wan0", 5), drops("lan0", 0)],
            generation: 1,
            rules: vec![RuleDrops { rule: 0, packets: 40, recent: 5 }],
            examples: (1..=5).map(|second| example(second, Reason::Match)).collect(),
        }
    }

    fn rules() -> Ruleset {
        let source = SourceLine { file: "pf.conf".into(), line: 7 };
        let action = Action::Block(BlockReply::Drop);
        Ruleset { rules: vec![Rule { action, source, ..Rule::default() }], ..Ruleset::default() }
    }

    #[test]
    fn drops_are_told_by_reason_interface_and_rule_with_the_last_examples() {
        let shown = Shown::of(report(), Some(&rules()), 2);
        let mut out = Vec::new();
        write(&mut out, &shown, &DropQuery::default()).unwrap();
        let expected = "\
dropped since the start, 1 min 30 s

reason               packets         /s  by interface
match                     40        0.5  lan0 10, wan0 30
                A block rule matched.

block rules          packets         /s  rule
                          40        0.5  pf.conf:7: @0 block drop all

examples
00:00:04.000Z  match, in on wan0: gre 10.0.0.1 > 10.0.0.2, ttl 64, 100 bytes
    pf.conf:7: @0 block drop all
    and 2 more before it, not shown
00:00:05.000Z  match, in on wan0: gre 10.0.0.1 > 10.0.0.2, ttl 64, 100 bytes
    pf.conf:7: @0 block drop all
    and 2 more before it, not shown
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn an_example_says_how_far_its_packet_had_come() {
        let told = |arrival: Option<&str>, (from_host, to_host), hook| {
            let arrival = arrival.map(str::to_owned);
            let hook = if hook { example(1, Reason::TxFull).hook } else { None };
            let example = DropExample { arrival, from_host, to_host, hook, ..example(1, Reason::TxFull) };
            let mut out = Vec::new();
            write_example(&mut out, &Example { example, by: None, explanation: None }).unwrap();
            let text = String::from_utf8(out).unwrap();
            text.split_once("tx-full, ").unwrap().1.split_once(':').unwrap().0.to_owned()
        };
        let (wire, from_host, to_host) = ((false, false), (true, false), (false, true));
        assert_eq!(told(Some("wan0"), wire, true), "in on wan0");
        assert_eq!(told(Some("wan0"), wire, false), "by wan0");
        assert_eq!(told(Some("wan0"), from_host, false), "from the host by wan0");
        assert_eq!(told(Some("lan0"), wire, false), "by lan0, on the way out by wan0");
        assert_eq!(told(Some("lan0"), from_host, false), "from the host by lan0, on the way out by wan0");
        assert_eq!(told(None, wire, false), "on the way out by wan0");
        assert_eq!(told(None, to_host, false), "on the way to the host by wan0");
    }

    #[test]
    fn no_drops_are_told_in_one_line() {
        let shown = Shown::of(DropReport { covered_s: 3, ..DropReport::default() }, None, 2);
        let mut out = Vec::new();
        write(&mut out, &shown, &DropQuery { since_s: Some(3), reason: None }).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "nothing was dropped in 3 s\n");
    }
}
