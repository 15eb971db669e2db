//! One rule, as pf.conf(5) means it after macros and lists are expanded.
//!
//! A rule holds exactly what it was written with, so that it can be printed again; what `set` options make of it
//! (block policy, state policy) is resolved here too and marked where the printer must know the difference.

use serde::{Deserialize, Serialize};
use wire::{Af, Proto, TcpFlags};

use crate::{
    AddressPattern, Call, Endpoint, InterfaceMatch, Pool, Routing, RoutingTable, SourceTracking, StatePolicy,
    Timeout,
};

/// The hook that a rule applies to: packets entering or leaving an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// Entering the firewall through the interface.
    In,
    /// Leaving the firewall through the interface.
    Out,
}

impl Direction {
    /// The other hook.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// What a matching rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// `pass`.
    Pass,
    /// `block`, with what is told to the sender.
    Block(BlockReply),
    /// `match`: decides nothing, but its parameters stick.
    Match,
}

/// An ICMP destination-unreachable code for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IcmpReply {
    /// Code of ICMP type 3 (RFC 792).
    pub code: u8,
    /// Code of ICMPv6 type 1 (RFC 4443 §3.1).
    pub code6: u8,
}

impl Default for IcmpReply {
    /// Port unreachable in both families: 3/3 and 1/4.
    fn default() -> Self {
        Self { code: 3, code6: 4 }
    }
}

/// What a blocked packet's sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockReply {
    /// `drop`: nothing.
    Drop,
    /// `return-rst [(ttl n)]`: a RST for TCP, nothing for others. `ttl` 0 is the default time to live.
    Rst {
        /// Time to live of the RST, or 0.
        ttl: u8,
    },
    /// `return-icmp` and `return-icmp6`: an ICMP unreachable for every protocol. The family that was not asked for
    /// carries `None`.
    Icmp {
        /// Code for IPv4, if IPv4 is answered.
        code: Option<u8>,
        /// Code for IPv6, if IPv6 is answered.
        code6: Option<u8>,
    },
    /// `return`: a RST for TCP, an ICMP unreachable for others.
    Return(IcmpReply),
}

/// `log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogOptions {
    /// `log` was given.
    pub enabled: bool,
    /// `(all)`: every packet of a state, not only the one that made it.
    pub all: bool,
    /// `(matches)`: log at every later matching rule.
    pub matches: bool,
    /// `(user)`: the socket's owner.
    pub user: bool,
    /// `(to pflogN)`.
    pub to: u8,
}

/// `flags set/mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlagsMatch {
    /// Flags that must be set, out of `mask`.
    pub set: TcpFlags,
    /// Flags that are looked at.
    pub mask: TcpFlags,
}

impl FlagsMatch {
    /// `S/SA`, the default of stateful TCP rules.
    pub const SYN_ONLY: Self = Self { set: TcpFlags::SYN, mask: TcpFlags(0x12) };

    /// True if `flags` is accepted.
    #[inline]
    pub fn accepts(self, flags: TcpFlags) -> bool {
        flags.masked(self.mask) == self.set
    }
}

/// `icmp-type` or `icmp6-type`, according to the rule's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IcmpMatch {
    /// The type.
    pub kind: u8,
    /// `code`, if given.
    pub code: Option<u8>,
}

/// `no state`, `keep state`, `modulate state`, `synproxy state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StateMode {
    /// `no state`, and what `block` and `match` rules have.
    #[default]
    None,
    /// `keep state`, the default of `pass`.
    Keep,
    /// `modulate state`.
    Modulate,
    /// `synproxy state`.
    Synproxy,
}

/// The options in parentheses behind `keep state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateOptions {
    /// `max n`: states of this rule; 0 is unlimited.
    pub max: u32,
    /// `if-bound` or `floating`, if given; else `set state-policy` holds.
    pub policy: Option<StatePolicy>,
    /// `sloppy`: no sequence checks.
    pub sloppy: bool,
    /// `no-sync`.
    pub no_sync: bool,
    /// `pflow`.
    pub pflow: bool,
    /// `source-track` and the limits that need it.
    pub source: SourceTracking,
    /// Time-outs given here, in the order in which they were written.
    pub timeouts: Vec<(Timeout, u32)>,
}

/// `tagged [!] name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TagMatch {
    /// `!`: the packet must not carry the tag.
    pub negated: bool,
    /// The tag's name.
    pub name: String,
}

/// `max-pkt-rate packets/seconds`: the rule matches while packets come no faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PacketRate {
    /// How many; 0 is unlimited.
    pub packets: u32,
    /// In so many seconds.
    pub seconds: u32,
}

/// `scrub (…)`: what packets are changed to, so that they do no harm behind the firewall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scrub {
    /// `no-df`: IPv4 packets may be fragmented, whatever their sender says.
    pub no_df: bool,
    /// `random-id`: IPv4 packets that are no fragments get another identification.
    pub random_id: bool,
    /// `min-ttl`: the least hops to live; 0 is no such bound.
    pub min_ttl: u8,
    /// `max-mss`: the greatest maximum segment size that TCP may announce, in bytes; 0 is no such bound.
    pub max_mss: u16,
    /// `reassemble tcp`: timestamps of TCP are changed and compared, and hops to live of an end never fall.
    pub reassemble_tcp: bool,
}

/// `set prio (low, high)`: the priorities that packets get, 0 to [`PRIO_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetPrio {
    /// Of most.
    pub bulk: u8,
    /// Of those that ask for low delay, and of TCP's acknowledgments without data.
    pub urgent: u8,
}

/// The highest priority of a packet (IEEE 802.1Q has 3 bits for it).
pub const PRIO_MAX: u8 = 7;

/// Where a rule was written: for findings, logs and errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceLine {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 if unknown.
    pub line: u32,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it decides.
    pub action: Action,
    /// `in` or `out`, else both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: LogOptions,
    /// `quick`.
    pub quick: bool,
    /// `on`.
    pub interface: Option<InterfaceMatch>,
    /// `inet` or `inet6`, given or implied by an address.
    pub af: Option<Af>,
    /// `proto`.
    pub proto: Option<Proto>,
    /// `from`.
    pub from: Endpoint,
    /// `to`.
    pub to: Endpoint,
    /// `received-on`.
    pub received_on: Option<InterfaceMatch>,
    /// `os`: the operating system that a SYN is from, or [`UNKNOWN_OS`](crate::UNKNOWN_OS).
    pub os: Option<String>,
    /// `flags`; `None` is `flags any`.
    pub flags: Option<FlagsMatch>,
    /// `icmp-type`, `icmp6-type`.
    pub icmp: Option<IcmpMatch>,
    /// `tos`: the whole octet, type of service or traffic class.
    pub tos: Option<u8>,
    /// `prio`: the priority that the packet has.
    pub prio: Option<u8>,
    /// `max-pkt-rate`.
    pub packet_rate: Option<PacketRate>,
    /// `probability`, in units of 2⁻³².
    pub probability: Option<u32>,
    /// Whether a state is kept.
    pub state: StateMode,
    /// Its options.
    pub state_options: StateOptions,
    /// `fragment`: matches fragments only.
    pub fragment: bool,
    /// `allow-opts`.
    pub allow_opts: bool,
    /// `scrub`.
    pub scrub: Scrub,
    /// `set tos`: the type of service, or traffic class, but for its two bits of congestion notification (RFC 3168).
    pub set_tos: Option<u8>,
    /// `set prio`.
    pub set_prio: Option<SetPrio>,
    /// `label`, expanded.
    pub label: Option<String>,
    /// FreeBSD: the labels behind the first.
    pub more_labels: Vec<String>,
    /// FreeBSD: `ridentifier`.
    pub ridentifier: Option<u32>,
    /// `once`: it matches one packet, and none after that.
    pub once: bool,
    /// `tag`.
    pub tag: Option<String>,
    /// `tagged`.
    pub tagged: Option<TagMatch>,
    /// `rtable`: what packets that come in are routed by.
    #[serde(default)]
    pub rtable: Option<RoutingTable>,
    /// `nat-to`: what takes the place of the source.
    pub nat: Option<Pool>,
    /// `rdr-to`: what takes the place of the destination.
    pub rdr: Option<Pool>,
    /// `af-to`: the family that packets get; their sources are in `nat` then, and their destinations in `rdr`, if it says so.
    pub af_to: Option<Af>,
    /// `route-to`, `reply-to`, `dup-to`.
    pub routing: Option<Routing>,
    /// FreeBSD's: the ruleset for translation that it is of, where that matters.
    pub first_match: Option<FirstMatch>,
    /// The anchor that it stands in, by number in [`Ruleset::anchors`](crate::Ruleset::anchors) from 1; 0 in none.
    pub anchor: u32,
    /// The anchor that it calls: it decides nothing then.
    pub call: Option<Call>,
    /// Stable over reloads: a hash of anchor path, canonical text and occurrence among equal texts.
    pub identity: u64,
    /// Where it was written.
    pub source: SourceLine,
}

/// That a rule is of one of FreeBSD's rulesets in front of the filter, of each of which the first rule that matches a packet at a
/// hook is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstMatch {
    /// Which.
    pub ruleset: Translating,
    /// `no nat` and its sisters: nothing is translated.
    pub exempt: bool,
}

/// FreeBSD's rulesets in front of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Translating {
    /// `nat`.
    Nat,
    /// `rdr`.
    Rdr,
    /// `binat`, which comes before `nat` and behind `rdr`: whatever translates by one of the two is not asked by the other.
    Binat,
    /// `scrub`, which translates nothing.
    Scrub,
}

impl Default for Rule {
    /// `pass all no state`: the rule that applies where no rule matches.
    fn default() -> Self {
        Self {
            action: Action::Pass,
            direction: None,
            log: LogOptions::default(),
            quick: false,
            interface: None,
            af: None,
            proto: None,
            from: Endpoint::default(),
            to: Endpoint::default(),
            received_on: None,
            os: None,
            flags: None,
            icmp: None,
            tos: None,
            prio: None,
            packet_rate: None,
            probability: None,
            state: StateMode::None,
            state_options: StateOptions::default(),
            fragment: false,
            allow_opts: false,
            scrub: Scrub::default(),
            set_tos: None,
            set_prio: None,
            label: None,
            more_labels: Vec::new(),
            ridentifier: None,
            once: false,
            tag: None,
            tagged: None,
            rtable: None,
            nat: None,
            rdr: None,
            af_to: None,
            routing: None,
            first_match: None,
            anchor: 0,
            call: None,
            identity: 0,
            source: SourceLine::default(),
        }
    }
}

impl Rule {
    /// All its labels.
    pub fn labels(&self) -> impl Iterator<Item = &String> {
        self.label.iter().chain(&self.more_labels)
    }

    /// Everything that it names addresses with.
    pub fn patterns(&self) -> impl Iterator<Item = &AddressPattern> {
        let ends = [&self.from, &self.to].into_iter().map(|end| &end.address.pattern);
        ends.chain(self.targets())
    }

    /// What its translation and its route lead to.
    pub fn targets(&self) -> impl Iterator<Item = &AddressPattern> {
        let pools = [&self.nat, &self.rdr].into_iter().flatten().map(|pool| &pool.address);
        let gateways = self.routing.iter().flat_map(|routing| &routing.gateways);
        pools.chain(gateways.map(|gateway| &gateway.address))
    }

    /// Every table that it names.
    pub fn tables(&self) -> impl Iterator<Item = &String> {
        let named = self.patterns().filter_map(|pattern| match pattern {
            AddressPattern::Table(name) => Some(name),
            _ => None,
        });
        named.chain(self.state_options.source.overload.as_ref().map(|overload| &overload.table))
    }

    /// As [`tables`](Self::tables), to be changed.
    pub fn tables_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { from, to, nat, rdr, routing, state_options, .. } = self;
        let pools = [nat, rdr].into_iter().flatten().map(|pool| &mut pool.address);
        let gateways = routing.iter_mut().flat_map(|routing| &mut routing.gateways);
        let ends = [from, to].into_iter().map(|end| &mut end.address.pattern);
        let patterns = ends.chain(pools).chain(gateways.map(|gateway| &mut gateway.address));
        let named = patterns.filter_map(|pattern| match pattern {
            AddressPattern::Table(name) => Some(name),
            _ => None,
        });
        named.chain(state_options.source.overload.as_mut().map(|overload| &mut overload.table))
    }
}
