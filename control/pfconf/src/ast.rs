//! Statements as they are written: lists not yet expanded, names of hosts not yet resolved, every part with its place.

use std::num::NonZeroU16;

use ruleset::{
    BlockPolicy, BlockReply, Direction, FlagsMatch, InterfaceMatch, InterfacePart, Limit, LogOptions,
    Overload, PacketRate, PoolKind, PortMatch, PortSet, RoutingKind, RoutingTable, SetPrio, StateMode,
    StatePolicy, Timeout, Tracking,
};
use serde::{Deserialize, Serialize};
use wire::{Af, Port, Proto};

use crate::optimize::Optimize;
use crate::source::Span;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub statements: Vec<Statement>,
    /// Where the keywords of rules stand.
    pub places: Vec<Spanned<&'static str>>,
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub kind: StatementKind,
    pub span: Span,
    /// The line on which it ends, which pfctl names in errors.
    pub line: u32,
    /// Its number, for the order of findings.
    pub order: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum StatementKind {
    Macro {
        name: String,
        text: String,
    },
    /// Several if they were given in braces.
    Set(Vec<SetOption>),
    Table(TableStatement),
    Rule(Box<RuleStatement>),
    Anchor(Box<AnchorStatement>),
    LoadAnchor {
        anchor: String,
        file: String,
    },
    Antispoof(Box<AntispoofStatement>),
    Queue(Box<QueueStatement>),
}

/// `set …`.
#[derive(Clone, Debug)]
pub(crate) enum SetOption {
    /// Nothing: no interface is skipped any more.
    Skip(Vec<InterfaceItem>),
    BlockPolicy(BlockPolicy),
    StatePolicy(StatePolicy),
    Limit(Limit, u32),
    Timeout(Timeout, u32),
    Optimization(&'static Optimization),
    RulesetOptimization(Optimize),
    StateDefaults(Vec<StateOption>),
    Reassemble {
        yes: bool,
        no_df: bool,
    },
    LogInterface(Option<String>),
    HostId(u32),
    Debug(String),
    Fingerprints(String),
    Syncookies(Syncookies),
    /// `require-order`: whether the parser refuses statements out of order.
    RequireOrder(bool),
    FailPolicy(BlockPolicy),
    KeepCounters,
}

/// A profile of `set optimization`: what it makes of the time-outs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Optimization {
    pub name: &'static str,
    pub timeouts: &'static [(Timeout, u32)],
    /// `nat-to` maps and filters by the endpoint inside alone.
    pub endpoint_independent: bool,
}

/// `set syncookies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncookies {
    Never,
    Always,
    /// With the percentages of half-open states at which they start and end.
    Adaptive(Option<(u8, u8)>),
}

/// `table <name> …`.
#[derive(Clone, Debug)]
pub(crate) struct TableStatement {
    pub name: Spanned<String>,
    pub persist: bool,
    pub constant: bool,
    pub counters: bool,
    /// `{ … }` and `file "…"`, in the order in which they were written.
    pub contents: Vec<TableContents>,
}

#[derive(Clone, Debug)]
pub(crate) enum TableContents {
    Hosts(Vec<HostItem>),
    File(Spanned<String>),
}

/// `pass`, `block`, `match`, or a rule that comes before those, with lists.
#[derive(Clone, Debug)]
pub(crate) struct RuleStatement {
    pub action: RuleAction,
    pub direction: Option<Direction>,
    pub log: LogOptions,
    pub quick: bool,
    pub interfaces: Vec<InterfaceItem>,
    pub af: Option<Af>,
    pub protocols: Vec<Proto>,
    pub from: EndpointSpec,
    /// `os`: operating systems of the source.
    pub os: Vec<String>,
    pub to: EndpointSpec,
    pub options: FilterOptions,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleAction {
    Pass,
    Match,
    /// `None`: by `set block-policy`.
    Block(Option<BlockReply>),
    /// FreeBSD's `scrub`, `nat`, `rdr` and `binat`.
    Early(Early),
}

/// A rule of one of the rulesets that FreeBSD evaluates before the filter: the first that matches decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Early {
    pub section: Section,
    /// `no …`: what matches is left alone.
    pub exempt: bool,
    /// `… pass`: what matches is not filtered.
    pub pass: bool,
}

/// FreeBSD's rulesets, in the order in which they are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Section {
    Scrub,
    Nat,
    Rdr,
    Binat,
}

impl Section {
    pub(crate) const ALL: [(Self, &'static str); 4] =
        [(Self::Scrub, "scrub"), (Self::Nat, "nat"), (Self::Rdr, "rdr"), (Self::Binat, "binat")];

    /// Its keyword.
    pub(crate) const fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The section that a word begins a rule or an anchor of.
    pub(crate) fn of(word: &str) -> Option<Self> {
        let word = word.strip_suffix("-anchor").unwrap_or(word);
        Self::ALL.into_iter().find(|(_, known)| *known == word).map(|(section, _)| section)
    }
}

/// `[!] interface` of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InterfaceItem {
    pub negated: bool,
    pub name: InterfaceName,
    #[serde(skip)]
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum InterfaceName {
    Any,
    Name(String),
    /// `rdomain n`.
    Domain(u32),
}

/// What `from` or `to` names; empty lists are `any`.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointSpec {
    pub hosts: Vec<HostItem>,
    pub ports: Vec<PortMatch>,
}

/// `[!] host` of a list.
#[derive(Clone, Debug)]
pub(crate) struct HostItem {
    pub negated: bool,
    pub host: HostSpec,
    /// `weight n`, in pools.
    pub weight: Option<NonZeroU16>,
    /// The interface of `(interface host)`, in FreeBSD's routes.
    pub via: Option<String>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostSpec {
    NoRoute,
    UrpfFailed,
    /// An address, a network, a name or an interface, with what follows a `/`.
    Name(String),
    /// `first - last`.
    Range(String, String),
    /// `(interface:…)`.
    Dynamic {
        name: String,
        part: InterfacePart,
        no_alias: bool,
        prefix: Option<u8>,
    },
    Table(String),
    /// `route "label"`.
    RouteLabel(String),
    /// `@interface` without an address: the way out alone, for what needs no next hop.
    Via(String),
}

/// Everything that may stand behind `from … to …`, in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterOptions {
    pub users: Vec<IdMatch>,
    pub groups: Vec<IdMatch>,
    pub received_on: Option<InterfaceMatch>,
    pub flags: Option<FlagsSpec>,
    pub icmp: Vec<IcmpItem>,
    pub tos: Option<u8>,
    pub prio: Option<u8>,
    pub packet_rate: Option<PacketRate>,
    /// In units of 2⁻³².
    pub probability: Option<u32>,
    pub state: Option<StateSpec>,
    pub fragment: bool,
    pub allow_opts: bool,
    pub scrub: ruleset::Scrub,
    pub set_tos: Option<u8>,
    pub set_prio: Option<SetPrio>,
    pub labels: Vec<String>,
    pub ridentifier: Option<u32>,
    pub once: bool,
    pub tag: Option<String>,
    pub tagged: Option<(bool, String)>,
    pub rtable: Option<RoutingTable>,
    pub nat: Option<Redirect>,
    pub rdr: Option<Redirect>,
    /// The translation was written as `binat-to`.
    pub binat: bool,
    /// `af-to`: the family that packets get; the sources are in `nat`, the destinations in `rdr`.
    pub af_to: Option<Af>,
    pub route: Option<(RoutingKind, Redirect)>,
    pub more: Extras,
}

/// Parts of a rule that are parsed and printed whole but have no place in the dataplane's rules yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extras {
    pub from_route: Option<String>,
    pub to_route: Option<String>,
    pub domain: Option<(bool, u32)>,
    pub user: Option<IdMatch>,
    pub group: Option<IdMatch>,
    pub packet_size: Option<u16>,
    pub set: SetActions,
    pub scrub: Scrub,
    pub divert: Option<Divert>,
}

/// What else `set (…)` of a rule may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetActions {
    pub queue: Option<(String, Option<String>)>,
    pub delay: Option<u16>,
}

/// What else `scrub (…)` of a rule may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scrub {
    /// FreeBSD's `scrub … set-tos`.
    pub set_tos: Option<u8>,
    /// FreeBSD's `scrub … no fragment reassemble`.
    pub fragments_kept: bool,
}

/// `divert-to`, `divert-reply`, `divert-packet`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Divert {
    /// FreeBSD names no address.
    To(Option<std::net::IpAddr>, Port),
    Reply,
    Packet(Port),
}

/// `user`, `group`: a comparison of an account's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IdMatch {
    Compare(Comparison, Id),
    /// `a >< b`.
    Inside(Id, Id),
    /// `a <> b`.
    Outside(Id, Id),
}

/// How an account's number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Equal, "="),
        (Self::NotEqual, "!="),
        (Self::Less, "<"),
        (Self::LessOrEqual, "<="),
        (Self::Greater, ">"),
        (Self::GreaterOrEqual, ">="),
    ];

    pub(crate) fn of(symbol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == symbol).map(|(comparison, _)| comparison)
    }

    pub(crate) const fn symbol(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Id {
    Number(u32),
    /// No socket, or a forwarded packet.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagsSpec {
    Any,
    Match(FlagsMatch),
}

/// `icmp-type`, `icmp6-type` of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpItem {
    pub af: Af,
    pub kind: u8,
    pub code: Option<u8>,
}

/// `keep state (…)` and the other forms.
#[derive(Clone, Debug)]
pub(crate) struct StateSpec {
    pub mode: StateMode,
    pub options: Vec<StateOption>,
}

#[derive(Clone, Debug)]
pub(crate) enum StateOption {
    Max(u32),
    Policy(StatePolicy),
    NoSync,
    Sloppy,
    Pflow,
    Timeout(Timeout, u32),
    SourceTrack(Tracking),
    MaxSrcStates(u32),
    MaxSrcNodes(u32),
    MaxSrcConn(u32),
    MaxSrcConnRate(PacketRate),
    Overload(Overload),
}

/// The target of a translation or a route, with the pool's options.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub hosts: Vec<HostItem>,
    pub port: RedirectPort,
    pub pool: PoolOptions,
    pub span: Span,
}

/// `port` of a translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RedirectPort {
    #[default]
    Default,
    One(Port),
    Range(Port, Port),
    /// `a:*`: as many as the destination ports.
    Offset(Port),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolOptions {
    pub kind: Option<PoolKind>,
    pub sticky: bool,
    pub static_port: bool,
    pub port_block: Option<u16>,
    pub endpoint_independent: bool,
    pub map_e: Option<PortSet>,
}

/// `anchor …`.
#[derive(Clone, Debug)]
pub(crate) struct AnchorStatement {
    pub name: Option<String>,
    pub rule: RuleStatement,
    /// What stands in braces.
    pub body: Option<Vec<Statement>>,
}

/// `antispoof for …`.
#[derive(Clone, Debug)]
pub(crate) struct AntispoofStatement {
    pub log: LogOptions,
    pub quick: bool,
    pub interfaces: Vec<AntispoofInterface>,
    pub af: Option<Af>,
    pub labels: Vec<String>,
    pub rtable: Option<RoutingTable>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct AntispoofInterface {
    pub item: InterfaceItem,
    /// In parentheses: its addresses at the time of the packet.
    pub dynamic: bool,
}

/// `queue …`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct QueueStatement {
    pub name: String,
    pub interfaces: Vec<InterfaceItem>,
    pub parent: Option<String>,
    pub bandwidth: Option<Bandwidth>,
    pub min: Option<Bandwidth>,
    pub max: Option<Bandwidth>,
    pub flows: Option<u32>,
    pub quantum: Option<u32>,
    pub qlimit: Option<u32>,
    pub default: bool,
}

/// A rate, and one for the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bandwidth {
    /// Bits per second.
    pub rate: u64,
    /// `burst rate for n ms`.
    pub burst: Option<(u64, u32)>,
}
