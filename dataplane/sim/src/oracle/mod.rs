//! The oracle: pf's stateful filter as pf itself does it, slow and plain, to be compared with the engine.
//!
//! Overview: a forwarded packet meets two hooks ([`Oracle::hook`]), each finds or makes a state of its own in a plain
//! list, and nothing is shared between the two. Every clause is written down from pf's documented behaviour, none from
//! the engine, or the comparison would prove nothing. [`Oracle::forward`] strings the hooks together as a router does.
//! Where the product differs from pf on purpose, [`Deviations`] says so, one flag each; [`Deviations::NONE`] is pf.
//!
//! - `packet`: what a packet is here; `parse`: from bytes.
//! - `world`: interfaces, addresses, routes.
//! - `state`: one state; `table`: all of them, and when they expire.
//! - `tcp`, `icmp`: the protocols; `track`: what a packet does to the state that it finds.
//! - `reassembly`: datagrams in fragments, by themselves.
//! - `scrub`: what is changed of packets; `modulate`: of sequence numbers; `stamps`: timestamps, and who is refused for them.
//! - `walk`: the rules; `rate`: `max-pkt-rate`, `max-src-conn-rate`; `source`: what sources may have.
//! - `translate`: what rules make of addresses and ports.
//! - `reply`: what a blocked sender is told; `hook`, `forward`: the order of it all.
//!
//! Life cycle: built with a ruleset, fed packets one by one. Ownership: one owner, no interior mutability.
//! Bounds: `set limit states`; a lookup is linear in the number of states.
//!
//! Not modelled: `af-to`, pools that are tables, `os`, synproxy, `no-df`, `random-id` and `max-mss`, checksums of IP headers, the
//! router's own ICMP errors, byte-level rewriting.

mod forward;
mod hook;
mod icmp;
mod modulate;
mod packet;
mod parse;
mod rate;
pub mod reassembly;
mod reply;
mod scrub;
mod source;
mod stamps;
mod state;
mod table;
mod tcp;
mod track;
mod translate;
mod walk;
mod world;

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, BTreeSet};

use ruleset::{Direction, Reason, Rule, Ruleset, StateMode, StateView};

pub use forward::{From, Onward};
pub use hook::Hook;
pub use packet::{
    Checksum, Icmp, IpOptions, Packet, Part, Quoted, QuotedPart, QuotedTransport, Tcp, Transport,
};
pub use parse::Unparsed;
use rate::Threshold;
pub use reply::{Reply, Verdict};
pub use scrub::Actions;
pub use stamps::Clock;
pub use state::{Key, Peer, RuleRef, SECOND, Seen, State, StateId};
pub use translate::Ends;
pub use world::{Interface, InterfaceId, InterfaceKind, World};

/// Where the product differs from pf on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviations {
    /// A packet changes the states that it meets only if it gets through; a refusal changes them only by the reset of a
    /// mismatched handshake, which two states that one packet made in one pass suffer together. pf commits hook by hook,
    /// and keeps what it learnt of an end before it refused its first segment.
    pub commit_once: bool,
    /// An equal key on the side that no wire shows does not refuse a new state. In pf it does (`state-insert`).
    pub hidden_keys_may_collide: bool,
    /// Sequence number 0 is a number like any other; pf takes it for an end that it has not seen. The upper bound of an
    /// end is always learnt from its first segment, nothing can acknowledge an end whose numbers were forgotten, and no
    /// error can quote an end that has said nothing; pf compares with what counts from 0 in all three cases.
    pub seen_bit: bool,
    /// `return-rst` answers in the two forms of RFC 9293 §3.5.2. pf sends RST|ACK whatever it answers.
    pub rfc_resets: bool,
    /// Behind a FIN that sits one past the window, segments without payload pass. pf compares them with the window as if
    /// they had the FIN's place.
    pub fin_past_window: bool,
    /// An ICMP error that quotes nothing intelligible, or a packet that its receiver did not send, is dropped. pf goes
    /// on to its rules, because no state was found.
    pub bad_quotes_dropped: bool,
    /// `match` rules change packets without a state, too. In pf only the rule that decides does.
    pub matches_change_stateless: bool,
    /// A FIN or RST with a wrong checksum that meets a state is dropped (`proto-cksum`); pf takes it for what it says.
    pub damage_refused: bool,
    /// A packet that leaves meets the state of the connection as part of which it has come in, if that is bound to the interface,
    /// or if no state is; pf has it meet the newest that is bound, or the oldest that floats.
    pub connections_stay_whole: bool,
    /// Several workers may refuse a translation to a tuple that is in use behind its first packet only: the connection has no
    /// states then.
    pub refused_late: bool,
    /// Under `modulate state`, answers are in the numbers that their receiver knows, and an acknowledgment field that
    /// acknowledges nothing is left alone. pf answers in its own numbers, and changes the field all the same.
    pub numbers_as_told: bool,
}

impl Deviations {
    /// pf as it is.
    pub const NONE: Self = Self {
        commit_once: false,
        hidden_keys_may_collide: false,
        seen_bit: false,
        rfc_resets: false,
        fin_past_window: false,
        bad_quotes_dropped: false,
        matches_change_stateless: false,
        damage_refused: false,
        connections_stay_whole: false,
        refused_late: false,
        numbers_as_told: false,
    };

    /// The product, of one worker.
    pub const ALL: Self = Self {
        commit_once: true,
        hidden_keys_may_collide: true,
        seen_bit: true,
        rfc_resets: true,
        fin_past_window: true,
        bad_quotes_dropped: true,
        matches_change_stateless: true,
        damage_refused: true,
        connections_stay_whole: true,
        refused_late: false,
        numbers_as_told: true,
    };
}

/// The priority of a packet that came with none.
const PRIO_DEFAULT: u8 = 3;

/// The tag that a packet carries between its hooks.
pub type Tag = Option<String>;

/// A rule asks for something that the oracle has no model of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmodelled {
    /// The rule's number.
    pub rule: usize,
}

/// The filter and its states.
#[derive(Clone, Debug)]
pub struct Oracle {
    rules: Ruleset,
    generation: u32,
    world: World,
    deviations: Deviations,
    /// Nanoseconds; `last_seen` is rounded down to a multiple.
    granularity: u64,
    /// All states. Those of one key stand in pf's order: bound to an interface first, the newest at the head, then
    /// floating ones, the oldest first.
    states: Vec<State>,
    last_id: u64,
    /// Of rules with `max-pkt-rate`, by generation and number.
    rates: BTreeMap<(u32, usize), Threshold>,
    /// Of `max-src-conn-rate`, by rule and source.
    connection_rates: BTreeMap<(u64, IpAddr), Threshold>,
    /// The numbers of the rules with `once` that have matched.
    expired: BTreeSet<usize>,
    /// Who sent the packet that is on its way through [`Oracle::forward`].
    speaker: From,
    /// Its priority.
    prio: u8,
    /// Its hops to live, as it came.
    hops: u8,
    /// Itself, as it came.
    came: Option<Packet>,
    /// What began the connection as part of which it has come in, and at which hook the state is which it has met there.
    entered: Option<(Ends, Direction)>,
    /// Where it goes, and by way of whom if it is a neighbour's: its destination as the IN hook has left it.
    way: (Onward, IpAddr),
    /// The hook at which it makes a state that is refused behind it.
    doomed: Option<Direction>,
    /// What the other side has made of the packet that is next.
    learned: Learned,
}

/// What there is of the other side behind a packet, for what both choose as they like.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Its states.
    pub states: Vec<StateView>,
    /// What those add to timestamps of their source and destination, by id.
    pub offsets: BTreeMap<u64, [u32; 2]>,
    /// The packet as it was sent, if it was.
    pub sent: Option<Packet>,
    /// Why it was not, else.
    pub refused: Option<Reason>,
}

impl Oracle {
    /// A filter with these rules and no states. `granularity` is in nanoseconds, at least 1.
    ///
    /// # Errors
    /// The first rule with `synproxy state` or `os`, or whose probability is neither none nor certainty.
    pub fn new(
        rules: Ruleset,
        world: World,
        deviations: Deviations,
        granularity: u64,
    ) -> Result<Self, Unmodelled> {
        modelled(&rules)?;
        let granularity = granularity.max(1);
        Ok(Self {
            rules,
            generation: 0,
            world,
            deviations,
            granularity,
            states: Vec::new(),
            last_id: 0,
            rates: BTreeMap::new(),
            connection_rates: BTreeMap::new(),
            expired: BTreeSet::new(),
            speaker: From::Interface(InterfaceId(0)),
            prio: PRIO_DEFAULT,
            hops: 0,
            came: None,
            entered: None,
            way: (Onward::Nowhere, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            doomed: None,
            learned: Learned::default(),
        })
    }

    /// Replaces the rules; states keep what their own rule said.
    ///
    /// # Errors
    /// As for [`Oracle::new`]; the old rules stay.
    pub fn load(&mut self, rules: Ruleset) -> Result<(), Unmodelled> {
        modelled(&rules)?;
        self.rules = rules;
        self.generation += 1;
        self.expired.clear();
        Ok(())
    }

    /// Says what the other side is like behind the packet that comes next: what both choose as they like is taken from there.
    pub fn learn(&mut self, learned: Learned) {
        self.learned = learned;
        self.learn_offsets();
    }

    /// Changes the machine around the filter, but for the number of its interfaces.
    pub fn set_world(&mut self, world: World) {
        self.world = world;
    }

    /// The machine around the filter.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// All states, in pf's order of lookup.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// The states as `pfctl -ss -vv` prints them, oldest first.
    pub fn print_states(&self, now: u64) -> String {
        let mut states: Vec<&State> = self.states.iter().collect();
        states.sort_unstable_by_key(|state| state.id);
        states.into_iter().fold(String::new(), |mut text, state| {
            writeln!(text, "{:#}", self.view(state, now)).expect("a String takes everything");
            text
        })
    }

    /// One state as pfctl sees it.
    pub fn view(&self, state: &State, now: u64) -> StateView {
        state.view(
            self.bound_to(state),
            self.live_number(state.rule).map(|number| self.place(number)),
            now,
            self.deadline(state),
        )
    }

    /// What a state is bound to, as pfctl calls it.
    fn bound_to(&self, state: &State) -> String {
        state.interface.map_or_else(|| "all".to_owned(), |id| self.world.interface(id).name.clone())
    }

    /// The rule's number in the live ruleset, if it is still there.
    fn live_number(&self, rule: RuleRef) -> Option<usize> {
        if rule.generation == self.generation {
            return Some(rule.number);
        }
        self.rules.rules.iter().position(|live| live.identity == rule.identity)
    }

    /// A rule's number in its own ruleset, and that of the call of its anchor in the ruleset where that stands.
    fn place(&self, number: usize) -> (u32, Option<u32>) {
        let rules = &self.rules.rules;
        let caller = |number: usize| {
            let covers = |at: &usize| rules[*at].call.as_ref().is_some_and(|call| number < call.end as usize);
            (0..number).rev().find(covers)
        };
        let before = (0..number).filter(|before| {
            rules[*before].anchor == rules[number].anchor && caller(*before) == caller(number)
        });
        (before.count() as u32, caller(number).map(|call| self.place(call).0))
    }
}

fn modelled(rules: &Ruleset) -> Result<(), Unmodelled> {
    let beyond = |rule: &Rule| {
        rule.state == StateMode::Synproxy
            || rule.os.is_some()
            || rule.af_to.is_some()
            || [&rule.nat, &rule.rdr].into_iter().flatten().any(|pool| !translate::is_modelled(pool))
            || rule.probability.is_some_and(|chance| !matches!(chance, 0 | u32::MAX))
    };
    match rules.rules.iter().position(beyond) {
        Some(rule) => Err(Unmodelled { rule }),
        None => Ok(()),
    }
}
