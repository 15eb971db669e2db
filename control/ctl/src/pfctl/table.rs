//! `-t TABLE -T VERB`: pfctl's words about tables; 2 is returned where not all addresses match.

use std::io::Read;
use std::num::NonZeroU16;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use api::control::{AddressFate, TableAction, TableOutcome, TableRequest};
use api::{Candidate, Cut};
use pfconf::{Feedback, Interfaces, LoadedTable, Member, TableChange, TableVerb, print_rule};
use ruleset::TableContents;
use serde::Serialize;

use super::Arguments;
use super::offline::Offline;
use super::system::{self, System};
use super::word::Verb;
use crate::live::{self, Format, Sockets};
use crate::session;
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
    let machine = arguments.machine()?;
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
    let table = system.table(arguments.anchor(), name)?.context(ABSENT)?;
    if arguments.json {
        let rows: Vec<Row> = table.rows().map(|row| Row::of(row.member, Feedback::None)).collect();
        live::print(Format::Json, &rows, |_, _| Ok(()))?;
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", pfconf::print_members(&table, arguments.verbose, ctime));
    Ok(ExitCode::SUCCESS)
}

fn test(arguments: &Arguments, system: &mut System<'_>, name: &str) -> anyhow::Result<ExitCode> {
    let members = given(arguments)?;
    let host = |member: &Member| !member.negated && member.net.prefix_len() == member.net.max_prefix_len();
    ensure!(members.iter().all(host), "illegal test address: a table is tested for hosts");
    let table = system.table(arguments.anchor(), name)?.context(ABSENT)?;
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
struct Done {
    created: bool,
    /// How many addresses it is about.
    given: usize,
    change: TableChange,
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
    let wanted = wanted(arguments, verb, members)?;
    let done = match system {
        System::Offline(offline) => in_scratch(arguments, offline, name, wanted.as_ref())?,
        System::Live(sockets) => {
            let name = system::full_name(arguments.anchor(), name);
            let change = if sockets.is_direct() { directly } else { by_control };
            change(arguments, sockets, &name, wanted.as_ref())?
        }
    };
    if done.created {
        arguments.say(&format!("1 table created{}", end(arguments)));
        if arguments.noaction {
            return Ok(ExitCode::SUCCESS);
        }
    }
    report(arguments, verb, &done)?;
    Ok(ExitCode::SUCCESS)
}

/// What a verb asks for; `None` to remove the table.
fn wanted(arguments: &Arguments, verb: Verb, members: Vec<Member>) -> anyhow::Result<Option<TableVerb>> {
    Ok(Some(match verb {
        Verb::Kill => return Ok(None),
        Verb::Flush => TableVerb::Flush,
        Verb::Add => TableVerb::Add(members),
        Verb::Delete => TableVerb::Delete(members),
        Verb::Replace => TableVerb::Replace(members),
        Verb::Zero => TableVerb::Zero(members),
        Verb::Expire => {
            let [seconds] = arguments.addresses.as_slice() else { bail!("-T expire takes one number") };
            let seconds = seconds.parse().ok().with_context(|| format!("expiry time: invalid: {seconds}"))?;
            TableVerb::Expire(seconds)
        }
        Verb::Show | Verb::Test | Verb::Load => unreachable!("they have functions of their own"),
    }))
}

const fn makes_tables(wanted: Option<&TableVerb>) -> bool {
    matches!(wanted, Some(TableVerb::Add(_) | TableVerb::Replace(_)))
}

fn given_to(wanted: &TableVerb, change: &TableChange) -> usize {
    match wanted {
        TableVerb::Add(members)
        | TableVerb::Delete(members)
        | TableVerb::Replace(members)
        | TableVerb::Zero(members) => members.len(),
        TableVerb::Flush | TableVerb::Expire(_) => change.each.len(),
    }
}

/// What a verb would make of a table; refuses what a constant one allows only its ruleset.
fn trial(table: &mut LoadedTable, name: &str, wanted: &TableVerb) -> anyhow::Result<TableChange> {
    if table.is_constant() && !matches!(wanted, TableVerb::Zero(_)) {
        bail!("Operation not permitted: table <{name}> is const, change it in the ruleset");
    }
    Ok(table.apply(wanted, now_unix_s()))
}

fn in_scratch(
    arguments: &Arguments,
    offline: &mut Offline,
    name: &str,
    wanted: Option<&TableVerb>,
) -> anyhow::Result<Done> {
    let anchor = arguments.anchor();
    let mut loaded = offline.loaded().clone();
    let created = makes_tables(wanted) && loaded.create_table(anchor, name, now_unix_s());
    let table = loaded.table_mut(anchor, name).context(ABSENT)?;
    let change = match wanted {
        Some(wanted) => trial(table, name, wanted)?,
        None => {
            // Removing it is a change, and refused likewise.
            trial(table, name, &TableVerb::Flush)?;
            loaded.remove_table(anchor, name);
            TableChange::default()
        }
    };
    if !arguments.noaction {
        offline.change(|kept| *kept = loaded)?;
    }
    Ok(Done { created, given: wanted.map_or(0, |wanted| given_to(wanted, &change)), change })
}

/// Changes the dataplane's table, and nothing on disk.
fn directly(
    arguments: &Arguments,
    sockets: &Sockets,
    name: &str,
    wanted: Option<&TableVerb>,
) -> anyhow::Result<Done> {
    let mut client = live::connect(sockets.dataplane())?;
    let ruleset = client.rules()?.context("no ruleset is live")?.ruleset;
    let mut table = LoadedTable::of(ruleset.table(name).context(ABSENT)?);
    table.hold(&system::entries(&mut client, name)?, now_unix_s());
    let wanted = wanted.unwrap_or(&TableVerb::Flush);
    let change = trial(&mut table, name, wanted)?;
    if !arguments.noaction {
        let operator = session::operator(arguments.force);
        let held = table.rows().map(|row| row.member.entry());
        let contents = TableContents { name: name.to_owned(), entries: held.collect() };
        let candidate = Candidate::with_table(&ruleset, contents);
        if let Some(cut) = Cut::find(&mut client, candidate, &operator.sessions)? {
            system::warn(Some(&cut.allow(&ruleset, operator.force, print_rule)?));
        }
        client.edit_tables(vec![change.edit(name, wanted)])?;
    }
    Ok(Done { created: false, given: given_to(wanted, &change), change })
}

/// Has turnpike-control change a table, live and on disk.
fn by_control(
    arguments: &Arguments,
    sockets: &Sockets,
    name: &str,
    wanted: Option<&TableVerb>,
) -> anyhow::Result<Done> {
    let (action, members, older_than_s) = match wanted {
        None => (TableAction::Kill, &[][..], 0),
        Some(TableVerb::Flush) => (TableAction::Flush, &[][..], 0),
        Some(TableVerb::Add(members)) => (TableAction::Add, &members[..], 0),
        Some(TableVerb::Delete(members)) => (TableAction::Delete, &members[..], 0),
        Some(TableVerb::Replace(members)) => (TableAction::Replace, &members[..], 0),
        Some(TableVerb::Zero(members)) => (TableAction::Zero, &members[..], 0),
        Some(TableVerb::Expire(seconds)) => (TableAction::Expire, &[][..], *seconds),
    };
    let request = TableRequest {
        action,
        addresses: members.iter().map(Member::to_string).collect(),
        older_than_s,
        dry_run: arguments.noaction,
        detail: arguments.verbose > 0 || arguments.json,
        operator: session::operator(arguments.force),
    };
    let TableOutcome { created, given, added, deleted, changed, each, warning } =
        sockets.control().change_table(name, &request)?;
    system::warn(warning.as_ref());
    let fate = |fate: &AddressFate| {
        let members = pfconf::members(&pfconf::Isolated(&Interfaces::default()), [fate.address.as_str()]);
        let member = members.ok()?.into_iter().next()?;
        Some((member, Feedback::of_letter(fate.fate).unwrap_or(Feedback::None)))
    };
    let each = each.iter().filter_map(fate).collect();
    Ok(Done { created, given, change: TableChange { each, added, deleted, changed } })
}

fn report(arguments: &Arguments, verb: Verb, done: &Done) -> anyhow::Result<()> {
    let end = end(arguments);
    let say = |text: String| arguments.say(&format!("{text}{end}"));
    let Done { given, change, .. } = done;
    match verb {
        Verb::Kill => say("1 table deleted".into()),
        Verb::Flush => say(format!("{} addresses deleted", change.deleted)),
        Verb::Zero if *given == 0 => say("1 table/stats cleared".into()),
        Verb::Add => say(format!("{}/{given} addresses added", change.added)),
        Verb::Delete => say(format!("{}/{given} addresses deleted", change.deleted)),
        Verb::Zero => say(format!("{}/{given} addresses cleared", change.changed)),
        Verb::Expire => say(format!("{}/{given} addresses expired", change.deleted)),
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
    weight: Option<NonZeroU16>,
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
