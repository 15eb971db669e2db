//! `-t TABLE -T VERB`: pfctl's words about tables; 2 is returned where not all addresses match.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use pfconf::{Feedback, Loaded, LoadedTable, Member, TableChange};
use serde::Serialize;

use super::Arguments;
use super::system::System;
use super::word::Verb;
use crate::live::{self, Format};
use crate::machine::Machine;
use crate::time::{ctime, now_unix_s};

/// The address of the table that decides, for each that was asked for.
struct Tested {
    address: Member,
    decides: Option<Member>,
}

impl Tested {
    fn matches(&self) -> bool {
        self.decides.is_some_and(|decides| !decides.negated)
    }
}

pub fn run(
    arguments: &Arguments,
    system: &mut System<'_>,
    name: &str,
    verb: Verb,
) -> anyhow::Result<ExitCode> {
    ensure!(name.len() <= ruleset::bounds::NAME_BYTES, "the name of the table is too long");
    match verb {
        Verb::Show => show(arguments, system, name),
        Verb::Test => test(arguments, system, name),
        _ => change(arguments, system, name, verb),
    }
}

/// What stands behind the flags, and in the file of `-f`.
fn given(arguments: &Arguments) -> anyhow::Result<Vec<Member>> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let words = arguments.addresses.iter().map(String::as_str);
    let mut members = pfconf::members(&machine, words).map_err(bare)?;
    if let Some(file) = &arguments.file {
        let mut text = String::new();
        match file.as_str() {
            "-" => std::io::stdin().lock().read_to_string(&mut text).map(|_| ()),
            path => std::fs::read_to_string(path).map(|read| text = read),
        }
        .with_context(|| format!("cannot load {file}"))?;
        members.extend(pfconf::read_members(&machine, &text).map_err(bare)?);
    }
    Ok(members)
}

/// Words of pfctl that are said without its name in front.
#[derive(Debug)]
pub struct Bare(pub String);

impl std::fmt::Display for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Bare {}

fn bare(error: pfconf::MemberError) -> Bare {
    Bare(error.to_string())
}

/// What is missing, in pfctl's words.
const ABSENT: &str = "Table does not exist.";

fn show(arguments: &Arguments, system: &mut System<'_>, name: &str) -> anyhow::Result<ExitCode> {
    ensure!(arguments.addresses.is_empty() && arguments.file.is_none(), "-T show takes no addresses");
    let loaded = system.loaded()?;
    if arguments.json {
        let table = loaded.table(arguments.anchor(), name).context(ABSENT)?;
        let rows: Vec<Row> = table.rows().map(|row| Row::of(row.member, Feedback::None)).collect();
        live::print(Format::Json, &rows, |_, _| Ok(()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = loaded.print_members(arguments.anchor(), name, arguments.verbose, ctime).context(ABSENT)?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn test(arguments: &Arguments, system: &mut System<'_>, name: &str) -> anyhow::Result<ExitCode> {
    let members = given(arguments)?;
    let host = |member: &Member| !member.negated && member.net.prefix_len() == member.net.max_prefix_len();
    ensure!(members.iter().all(host), "illegal test address: a table is tested for hosts");
    let loaded = system.loaded()?;
    let table = loaded.table(arguments.anchor(), name).context(ABSENT)?;
    let tested: Vec<Tested> = members
        .into_iter()
        .map(|address| Tested { address, decides: table.lookup(address.net.addr()) })
        .collect();
    let matching = tested.iter().filter(|tested| tested.matches()).count();
    arguments.say(&format!("{matching}/{} addresses match{}", tested.len(), end(arguments)));
    if arguments.json {
        let rows: Vec<Row> = tested.iter().map(|tested| Row::of(tested.address, letter(tested))).collect();
        live::print(Format::Json, &rows, |_, _| Ok(()))?;
    } else {
        for tested in &tested {
            match (arguments.verbose, tested.decides) {
                (0, _) => {}
                (1, _) if !tested.matches() => {}
                (1, _) => println!("{}", line(tested.address, Feedback::Match)),
                (_, None) => println!("{}\t nomatch", line(tested.address, Feedback::None)),
                (_, Some(decides)) => {
                    println!("{}\t{}", line(tested.address, letter(tested)), signed(decides));
                }
            }
        }
    }
    Ok(if matching < tested.len() { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn letter(tested: &Tested) -> Feedback {
    if tested.matches() { Feedback::Match } else { Feedback::NoMatch }
}

/// What a verb did, in numbers that its words are about.
enum Done {
    Killed,
    Flushed(usize),
    Zeroed,
    Members(TableChange),
}

fn change(
    arguments: &Arguments,
    system: &mut System<'_>,
    name: &str,
    verb: Verb,
) -> anyhow::Result<ExitCode> {
    let takes_addresses = !matches!(verb, Verb::Kill | Verb::Flush);
    let any = !arguments.addresses.is_empty() || arguments.file.is_some();
    ensure!(takes_addresses || !any, "this verb takes no addresses");
    let members = if verb == Verb::Expire { Vec::new() } else { given(arguments)? };
    let offline = system.scratch("changing a table")?;
    let mut trial = offline.loaded().clone();
    if matches!(verb, Verb::Add | Verb::Replace) && trial.create_table(arguments.anchor(), name, now_unix_s())
    {
        arguments.say(&format!("1 table created{}", end(arguments)));
        if arguments.noaction {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let done = apply(arguments, &mut trial, name, verb, &members)?;
    if !arguments.noaction {
        offline.change(|loaded| *loaded = trial)?;
    }
    report(arguments, verb, &members, &done)?;
    Ok(ExitCode::SUCCESS)
}

fn apply(
    arguments: &Arguments,
    loaded: &mut Loaded,
    name: &str,
    verb: Verb,
    members: &[Member],
) -> anyhow::Result<Done> {
    let anchor = arguments.anchor();
    let table = loaded.table_mut(anchor, name).context(ABSENT)?;
    if table.is_constant() && verb != Verb::Zero {
        bail!("Operation not permitted: table <{name}> is const, change it in the ruleset");
    }
    if verb == Verb::Kill {
        loaded.remove_table(anchor, name);
        return Ok(Done::Killed);
    }
    in_table(arguments, table, verb, members)
}

fn in_table(
    arguments: &Arguments,
    table: &mut LoadedTable,
    verb: Verb,
    members: &[Member],
) -> anyhow::Result<Done> {
    let now = now_unix_s();
    Ok(match verb {
        Verb::Flush => Done::Flushed(table.flush()),
        Verb::Add => Done::Members(table.add(members, now)),
        Verb::Delete => Done::Members(table.delete(members)),
        Verb::Replace => Done::Members(table.replace(members, now)),
        Verb::Zero if !members.is_empty() => Done::Members(table.zero_members(members, now)),
        Verb::Zero => {
            table.zero(now);
            Done::Zeroed
        }
        Verb::Expire => {
            let [seconds] = arguments.addresses.as_slice() else { bail!("-T expire takes one number") };
            let seconds = seconds.parse().ok().with_context(|| format!("expiry time: invalid: {seconds}"))?;
            Done::Members(table.expire(seconds, now))
        }
        Verb::Kill | Verb::Show | Verb::Test => unreachable!("handled by the callers"),
    })
}

fn report(arguments: &Arguments, verb: Verb, members: &[Member], done: &Done) -> anyhow::Result<()> {
    let end = end(arguments);
    let say = |text: String| arguments.say(&format!("{text}{end}"));
    let change = match done {
        Done::Killed => {
            say("1 table deleted".into());
            return Ok(());
        }
        Done::Flushed(count) => {
            say(format!("{count} addresses deleted"));
            return Ok(());
        }
        Done::Zeroed => {
            say("1 table/stats cleared".into());
            return Ok(());
        }
        Done::Members(change) => change,
    };
    let given = members.len();
    match verb {
        Verb::Add => say(format!("{}/{given} addresses added", change.added)),
        Verb::Delete => say(format!("{}/{given} addresses deleted", change.deleted)),
        Verb::Zero => say(format!("{}/{given} addresses cleared", change.changed)),
        Verb::Expire => say(format!("{}/{} addresses expired", change.deleted, change.each.len())),
        _ => {
            let counts = [(change.added, "added"), (change.deleted, "deleted"), (change.changed, "changed")];
            for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
                say(format!("{count} addresses {what}"));
            }
            if counts.iter().all(|(count, _)| *count == 0) {
                say("no changes".into());
            }
        }
    }
    if arguments.json {
        let rows: Vec<Row> =
            change.each.iter().map(|(member, feedback)| Row::of(*member, *feedback)).collect();
        return live::print(Format::Json, &rows, |_, _| Ok(()));
    }
    for (member, feedback) in &change.each {
        if arguments.verbose > 1 || (arguments.verbose == 1 && *feedback != Feedback::None) {
            println!("{}", line(*member, *feedback));
        }
    }
    Ok(())
}

/// An address, with what became of it.
#[derive(Serialize)]
struct Row {
    address: String,
    negated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")]
    feedback: String,
}

impl Row {
    fn of(member: Member, feedback: Feedback) -> Self {
        let address = Member { negated: false, ..member }.to_string();
        let feedback = feedback.letter().to_string().trim().to_owned();
        Self { address, negated: member.negated, weight: member.weight, feedback }
    }
}

fn line(member: Member, feedback: Feedback) -> String {
    format!("{} {}", feedback.letter(), signed(member))
}

/// An address behind `!` or a blank.
fn signed(member: Member) -> String {
    if member.negated { member.to_string() } else { format!(" {member}") }
}

/// How a sentence ends: with what `-n` makes of it.
fn end(arguments: &Arguments) -> &'static str {
    if arguments.noaction { " (dummy)." } else { "." }
}
