//! What turnpike-control's API takes and gives, as JSON: the same that `tpctl --json` prints.
//!
//! Fields are only ever added under one version of the paths ([`PREFIX`](super::PREFIX)).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ruleset::{Ruleset, StateView};
use serde::{Deserialize, Serialize};

use crate::Status;

/// A ruleset as it was written, with everything that reading it needs: it compiles to the same anywhere, at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// The file's name in findings.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Texts of the files that it includes or loads, by the path that it names them with.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Addresses of the DNS names in it.
    #[serde(default)]
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Macros that the text cannot change (`-D`).
    #[serde(default)]
    pub definitions: Vec<(String, String)>,
    /// The dialect that it is read in; `None` for the one that it uses.
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// What was loaded into anchors since, each in place of what was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Anchored>,
    /// Of what these sources have for anchors, or for the main ruleset, which has no path, the tables count, each in place of
    /// one of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Anchored>,
    /// Its options do not hold, but those that hold where nothing is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// The rules of an anchor as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchored {
    /// The anchor's path.
    pub anchor: String,
    /// Its rules.
    pub sources: Sources,
}

/// Whose pf.conf(5) a ruleset is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenBSD's.
    OpenBsd,
    /// FreeBSD's.
    FreeBsd,
}

/// What of a request's sources is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Everything, in place of what is live.
    #[default]
    Everything,
    /// The tables, beside what is live.
    Tables,
    /// Nothing: what is live loses its options.
    Reset,
}

/// A request to make a ruleset the live one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The ruleset. Anchors that it has no rules for keep what was loaded into them.
    pub sources: Sources,
    /// The sources are those of each of these anchors; the rest stays as it is. Without one they are the main ruleset's.
    #[serde(default)]
    pub anchors: Vec<String>,
    /// What of the sources is loaded.
    #[serde(default)]
    pub part: Part,
    /// Seconds after which the rules before return unless the new ones are confirmed; `None` needs no confirmation.
    #[serde(default)]
    pub confirm_s: Option<u32>,
    /// A remark to be kept with the revision.
    #[serde(default)]
    pub comment: String,
    /// What must not be cut off by it.
    #[serde(default)]
    pub operator: Operator,
}

/// Connections to the box that whoever changes rules depends on: rules that would cut them are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The connections.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// They may be cut.
    #[serde(default)]
    pub force: bool,
}

/// A TCP connection to the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Where it comes from.
    pub client: SocketAddr,
    /// Where it goes: an address of the box.
    pub server: SocketAddr,
}

/// What became of an apply or a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Number of the revision that is live now.
    pub revision: u64,
    /// The dataplane's number for it.
    pub generation: u64,
    /// Seconds left to confirm it, if that is asked for.
    pub confirm_s: Option<u32>,
    /// How many rules it has.
    pub rules: usize,
    /// Warnings.
    pub findings: Vec<Finding>,
}

/// Whether a ruleset would be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// True if it would.
    pub valid: bool,
    /// How many rules it has.
    pub rules: usize,
    /// How many tables it has.
    pub tables: usize,
    /// Errors and warnings.
    pub findings: Vec<Finding>,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The ruleset is refused.
    Error,
    /// The ruleset is accepted.
    Warning,
}

/// Something wrong with a ruleset, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What was expected there, or empty.
    pub expected: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong and what to do about it.
    pub error: String,
    /// The findings, if a ruleset is at fault.
    #[serde(default)]
    pub diagnostics: Vec<Finding>,
    /// The findings for people: with the lines themselves and carets.
    #[serde(default)]
    pub rendered: String,
}

/// How control and the dataplane are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Version of turnpike-control.
    pub version: String,
    /// Since its start, in seconds.
    pub uptime_s: u64,
    /// Which rules are live.
    pub live: Live,
    /// The revision that awaits confirmation.
    pub pending: Option<Pending>,
    /// When rules were last made live, in seconds since 1970; `None` if not since the start.
    pub last_apply_unix_s: Option<u64>,
    /// Applies, rollbacks and reloads that failed since the start.
    pub apply_failures: u64,
    /// Why the dataplane does not answer, if it does not.
    pub problem: Option<String>,
    /// How the dataplane is, if it answers.
    pub dataplane: Option<Status>,
}

/// Which rules are live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case")]
pub enum Live {
    /// None, or unknown because the dataplane cannot be reached.
    #[default]
    None,
    /// The built-in policy, which admits management only.
    BuiltIn {
        /// The dataplane's number for it.
        generation: u64,
    },
    /// A revision.
    Revision {
        /// The revision.
        revision: u64,
        /// The dataplane's number for it.
        generation: u64,
    },
    /// Rules that were not committed by this control process or one that ran before it.
    Foreign {
        /// The dataplane's number for them.
        generation: u64,
    },
}

impl Live {
    /// The dataplane's number for the live rules, 0 if there are none.
    pub const fn generation(self) -> u64 {
        match self {
            Self::None => 0,
            Self::BuiltIn { generation }
            | Self::Revision { generation, .. }
            | Self::Foreign { generation } => generation,
        }
    }

    /// The same rules under another number of the dataplane's.
    #[must_use]
    pub const fn at(self, generation: u64) -> Self {
        match self {
            Self::None => Self::None,
            Self::BuiltIn { .. } => Self::BuiltIn { generation },
            Self::Revision { revision, .. } => Self::Revision { revision, generation },
            Self::Foreign { .. } => Self::Foreign { generation },
        }
    }

    /// The revision, if one is live.
    pub const fn revision(self) -> Option<u64> {
        match self {
            Self::Revision { revision, .. } => Some(revision),
            _ => None,
        }
    }
}

/// A revision that awaits confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its number.
    pub revision: u64,
    /// Until the rules before it return, in seconds.
    pub left_s: u32,
}

/// How a revision came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Through the API.
    Apply,
    /// From pf.conf, on SIGHUP.
    Reload,
    /// From an older revision.
    Rollback {
        /// That revision.
        of: u64,
    },
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was made live for good: the newest such one is loaded at boot.
    Confirmed,
    /// It is live and awaits confirmation.
    Pending {
        /// When the rules before it return, in milliseconds since 1970.
        deadline_unix_ms: u64,
    },
    /// It was live and was not confirmed: the rules before it returned.
    Reverted,
}

/// A revision, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
    /// How it came to be.
    pub origin: Origin,
    /// What became of it.
    pub standing: Standing,
    /// The remark that was given with it.
    pub comment: String,
    /// How many rules it has.
    pub rules: usize,
}

/// What a `GET` of one revision gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionText {
    /// The revision.
    #[serde(flatten)]
    pub revision: Revision,
    /// As it was written.
    pub sources: Sources,
}

/// The live rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleListing {
    /// Which they are.
    pub live: Live,
    /// Each rule in pfctl's normal form, in the order of evaluation.
    pub text: Vec<String>,
    /// The same as values, with options and tables.
    pub ruleset: Ruleset,
}

/// A rule in a [`Difference`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleAt {
    /// Its number, from 0, in the ruleset that it is in (the candidate, if it is in both), or in its anchor.
    pub number: usize,
    /// The path of the anchor that it stands in; empty in the main ruleset.
    #[serde(default)]
    pub anchor: String,
    /// Its identity, in hexadecimal.
    pub identity: String,
    /// In pfctl's normal form.
    pub text: String,
}

/// A rule that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// As it is live.
    pub live: RuleAt,
    /// As it is in the candidate.
    pub candidate: RuleAt,
}

/// A table that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: TableFate,
    /// Entries that only the candidate has.
    pub added: Vec<String>,
    /// Entries that only the live table has.
    pub removed: Vec<String>,
}

/// What became of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFate {
    /// Only the candidate has it.
    Added,
    /// Only the live ruleset has it.
    Removed,
    /// Its attributes or entries differ.
    Changed,
}

/// An option (`set …`) that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionChange {
    /// Its name, as `timeout tcp.first`.
    pub name: String,
    /// Its live value.
    pub live: String,
    /// Its value in the candidate.
    pub candidate: String,
}

/// What would change if a candidate became live: rules are compared by identity, so that moving one is not a removal and
/// an addition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Rules that only the candidate has.
    pub added: Vec<RuleAt>,
    /// Rules that only the live ruleset has.
    pub removed: Vec<RuleAt>,
    /// Rules that stand elsewhere among those that stay.
    pub moved: Vec<RuleChange>,
    /// Rules of the same label whose text differs.
    pub changed: Vec<RuleChange>,
    /// Tables.
    pub tables: Vec<TableChange>,
    /// Options.
    pub options: Vec<OptionChange>,
    /// Live states that the candidate would not make again; `None` if nobody could say.
    #[serde(default)]
    pub states: Option<StateImpact>,
}

impl Difference {
    /// True if nothing would change, whatever the states are.
    pub fn is_empty(&self) -> bool {
        *self == Self { states: self.states.clone(), ..Self::default() }
    }
}

/// What a candidate says to the first packets of the live states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateImpact {
    /// States that were looked at.
    pub examined: u64,
    /// Of these, states whose first packet the candidate would block. They stay as long as they live.
    pub blocked: u64,
    /// False if there were too many to look at all.
    pub complete: bool,
    /// A few of those that would be blocked.
    pub examples: Vec<BlockedState>,
}

/// A live state that a candidate would not make again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedState {
    /// The state.
    pub state: StateView,
    /// The interface on which it would be blocked.
    pub interface: String,
    /// The candidate's rule that would block it.
    pub rule: Option<RuleAt>,
}

/// What is done to the addresses of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableAction {
    /// Remove the table.
    Kill,
    /// Remove every address.
    Flush,
    /// Add what is not there; make the table if it is absent.
    Add,
    /// Delete what is there.
    Delete,
    /// Hold these addresses and no others; make the table if it is absent.
    Replace,
    /// Set the counters of these addresses to zero, or without any those of the table.
    Zero,
    /// Remove addresses whose counters were not set to zero for a time.
    Expire,
}

/// A request to change a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRequest {
    /// What to do.
    pub action: TableAction,
    /// Addresses and networks, as pf.conf(5) writes them; `!` negates.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// For `expire`: the time, in seconds.
    #[serde(default)]
    pub older_than_s: u64,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Say what became of each address.
    #[serde(default)]
    pub detail: bool,
    /// What must not be cut off by it.
    #[serde(default)]
    pub operator: Operator,
}

/// What was done to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableOutcome {
    /// It was made.
    pub created: bool,
    /// Addresses that the request is about.
    pub given: usize,
    /// Addresses that were added.
    pub added: usize,
    /// Addresses that were deleted.
    pub deleted: usize,
    /// Addresses that were negated, or are not any more, or whose counters are zero.
    pub changed: usize,
    /// What became of each, if that was asked for.
    #[serde(default)]
    pub each: Vec<AddressFate>,
    /// What it cuts off, if it was forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What became of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressFate {
    /// The address, as pf.conf(5) writes it.
    pub address: String,
    /// pfctl's letter: A(dded), D(eleted), C(hanged), Z(ero), X twice, Y the other way, or blank.
    pub fate: char,
}

/// A table, without its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSummary {
    /// Its name.
    pub name: String,
    /// It stays without references.
    pub persist: bool,
    /// Only a ruleset changes it.
    pub constant: bool,
    /// It counts by address.
    pub counters: bool,
    /// The live ruleset has it.
    pub live: bool,
    /// How many addresses and networks it holds.
    pub addresses: usize,
    /// When its counters were set to zero, in seconds since 1970.
    pub cleared_unix_s: u64,
}
