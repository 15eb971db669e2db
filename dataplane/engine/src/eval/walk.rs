//! pf's walk: the rules in order, the last match decides, `quick` ends it (pf.conf(5) PACKET FILTERING). Of the rules only
//! those are compared which the [classifier](super::classify) does not leave out.

mod plain;

use core::ops::ControlFlow;
use std::sync::Arc;

use ruleset::{Action, Direction, PortMatch, RoutingTable, StateMode};
use wire::{Af, Proto, TcpFlags};

use super::classify::Order;
use super::filter::{Filter, Gate, Pattern, Seen};
use super::noted::Noted;
use super::{Matched, Root, RuleSlot, Tag};
use crate::Address;
use crate::fib::{Fib, InterfaceId};
use crate::packet::{Packet, Transport};
use crate::pool::Pool;
use crate::scrub::Scrubbing;
use crate::tick::Tick;
use crate::trace::Asked;
use crate::translate::{NatPorts, Translation};
use crate::witness::RuleAt;

pub(crate) use plain::{PlainPass, Strays};

/// What is asked of the rules: one packet at one hook.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub packet: &'a Packet,
    pub direction: Direction,
    pub interface: InterfaceId,
    /// The tag that the packet carries already.
    pub tag: Tag,
    /// Where it was received; `None` for one that the host sends.
    pub received_on: Option<InterfaceId>,
    /// As pf counts it, 0 to 7.
    pub priority: u8,
    /// Of a SYN, where rules ask for it: [`Root::shape`].
    pub shape: Option<u16>,
    pub fib: &'a Fib,
    pub role: Role,
    pub occasion: Occasion,
}

/// What a packet is there for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Occasion {
    /// It has come: rules that match up to a rate or once count it. `luck` is random, where [`Root::has_chance`].
    Real { now: Tick, luck: u64 },
    /// To ask what would become of it: nothing is changed, and what needs luck does not happen.
    Imagined,
}

impl Occasion {
    /// True if rule `number` matches by a chance of so many 2⁻³², of which the greatest is certainty.
    pub(super) fn favours(self, number: u32, probability: u32) -> bool {
        probability == u32::MAX
            || match self {
                Self::Real { luck, .. } => spread(luck ^ u64::from(number) << 32) < probability,
                Self::Imagined => false,
            }
    }
}

/// As good as random, for each number another (SplitMix64's finalizer).
const fn spread(number: u64) -> u32 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (number >> 32) as u32
}

/// What the packet is that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// One that makes a state where a rule keeps one.
    Original,
    /// A copy of any packet of a connection: a rule decides on it as if it kept no state, so what `pass` implies for the
    /// sake of its state (`flags S/SA`, and no replies of ICMP queries) is not asked of it.
    Copy,
}

/// What the rules decide.
#[derive(Clone, Debug)]
pub(crate) struct Decision<'a> {
    pub action: Action,
    pub state: StateMode,
    pub if_bound: bool,
    /// The tag that the packet carries from now on.
    pub tag: Tag,
    /// The tag that a state puts on its packets: what this walk set. As in pf, a `tagged` that was asked makes the tag
    /// that the packet came with a part of the walk.
    pub state_tag: Tag,
    /// `log` of the deciding rule.
    pub log: bool,
    /// The rules that log the packet beside it.
    pub noted: Noted,
    /// The `match` rules that it has met.
    pub matched: Matched,
    /// What they and the deciding rule change of it.
    pub scrubbing: Scrubbing,
    /// What it is routed by, if it comes in: they may say so as well.
    pub table: RoutingTable,
    /// The deciding rule, by number; `None` where no rule matched.
    pub rule: Option<u32>,
    /// The rule that ended the walk, by number; the number of rules if none did.
    pub ended_at: usize,
    /// `nat-to`, `rdr-to` of the deciding rule.
    pub translation: Option<&'a Translation>,
    /// `route-to`, `reply-to`, `dup-to` a host of the deciding rule.
    pub gateways: Option<&'a Pool>,
    pub slot: &'a Arc<RuleSlot>,
}

/// What the rules so far have come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    rule: Option<u32>,
    tag: Tag,
    state_tag: Tag,
    ended_at: Option<u32>,
    /// The `match` rule that translates the packet before any other sees it.
    pub(crate) translating: Option<u32>,
    /// The call of the anchor that the walk is in, by number.
    anchor: u32,
    noted: Noted,
    matched: Matched,
    /// What the `match` rules so far change of the packet.
    scrubbing: Scrubbing,
    /// By which table they have it routed.
    table: RoutingTable,
    /// The rulesets that have had their first match, as bits.
    taken: u8,
    /// A rule that was asked could have done more than is to be done.
    strays: bool,
}

impl Root {
    /// The decision on a packet. Where no rule matches it passes without a state.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision<'_> {
        self.decide_and_note(question, |_| ())
    }

    /// The decision on a copy of a segment or a datagram, and whether it holds for all others of its sender and connection
    /// that are no fragments, as long as rules and forwarding base stay: no rule that was asked looks at control bits, nor
    /// at tables, which may change meanwhile.
    pub(crate) fn decide_for_all(&self, question: &Question<'_>) -> (Decision<'_>, bool) {
        let mut for_all = true;
        let decision = self.decide_and_note(question, |rule| {
            let asks_flags = rule.flags.is_some() && !is_spared(rule, question.role)
                || rule.rest.as_ref().is_some_and(|rest| rest.looks_at_each_packet());
            let asks_table =
                [&rule.from, &rule.to].iter().any(|end| matches!(end.pattern, Pattern::Table(_)));
            for_all &= !asks_flags && !asks_table;
        });
        (decision, for_all)
    }

    #[inline(always)]
    fn decide_and_note(&self, question: &Question<'_>, mut note: impl FnMut(&Filter)) -> Decision<'_> {
        let mut walk = Walk::of(question.tag);
        let mut note = |rule: &Filter, _| {
            note(rule);
            true
        };
        self.visit::<false, false>(question, &mut walk, &mut note);
        while walk.translating.is_some() {
            self.visit::<true, false>(question, &mut walk, &mut note);
        }
        self.decided(&walk)
    }

    /// Goes on with a walk up to the next `match` rule that translates, and returns what that asks for: the rules behind it
    /// are to see the translated packet. `None` where the walk has come to its end.
    #[inline(always)]
    pub(crate) fn advance(&self, question: &Question<'_>, walk: &mut Walk) -> Option<&Translation> {
        self.go_on::<false>(question, walk, |_, _| true);
        self.rules[walk.translating? as usize].translation.as_deref()
    }

    /// As [`Self::advance`], and tells which rules the packet was compared with.
    #[cold]
    pub(crate) fn advance_noting(
        &self,
        question: &Question<'_>,
        walk: &mut Walk,
        asked: &mut Asked,
    ) -> Option<&Translation> {
        asked.begin();
        // The number of a rule is in its slot's serial.
        let note = |rule: &Filter, table| {
            asked.visit(rule.slot.serial as u32, self.matches_rest(rule, question, table));
            true
        };
        self.go_on::<false>(question, walk, note);
        self.rules[walk.translating? as usize].translation.as_deref()
    }

    /// Lets a walk meet the rules from where it is on.
    #[inline(always)]
    fn go_on<const PLAIN: bool>(
        &self,
        question: &Question<'_>,
        walk: &mut Walk,
        is_meant: impl FnMut(&Filter, RoutingTable) -> bool,
    ) {
        if walk.translating.is_none() {
            self.visit::<false, PLAIN>(question, walk, is_meant);
        } else {
            self.visit::<true, PLAIN>(question, walk, is_meant);
        }
    }

    /// Lets a walk meet the rules, from its beginning or `RESUMED` behind the rule that translates. It strays from a rule that is
    /// not meant; where all that are do no more than decide and translate, it is `PLAIN`.
    #[inline(always)]
    fn visit<const RESUMED: bool, const PLAIN: bool>(
        &self,
        question: &Question<'_>,
        walk: &mut Walk,
        is_meant: impl FnMut(&Filter, RoutingTable) -> bool,
    ) {
        let behind = walk.translating.take();
        if RESUMED && walk.ended_at.is_some() {
            return;
        }
        if self.anchored {
            self.visit_behind::<RESUMED, true, PLAIN>(question, behind, walk, is_meant);
        } else {
            self.visit_behind::<RESUMED, false, PLAIN>(question, behind, walk, is_meant);
        }
    }

    #[inline(always)]
    fn visit_behind<const RESUMED: bool, const ANCHORED: bool, const PLAIN: bool>(
        &self,
        question: &Question<'_>,
        behind: Option<u32>,
        walk: &mut Walk,
        mut is_meant: impl FnMut(&Filter, RoutingTable) -> bool,
    ) {
        self.classifier.visit(question, |number, order| {
            self.come_by::<RESUMED, ANCHORED, PLAIN>((number, order), question, behind, walk, &mut is_meant)
        });
    }

    /// Lets a walk, which goes on `behind` a rule, meet one that the classifier does not leave out.
    #[inline(always)]
    fn come_by<const RESUMED: bool, const ANCHORED: bool, const PLAIN: bool>(
        &self,
        (number, order): (u32, Order),
        question: &Question<'_>,
        behind: Option<u32>,
        walk: &mut Walk,
        mut is_meant: impl FnMut(&Filter, RoutingTable) -> bool,
    ) -> ControlFlow<()> {
        if RESUMED && Some(number) <= behind {
            return ControlFlow::Continue(());
        }
        let rule = &self.rules[number as usize];
        if ANCHORED {
            self.come_to(number, walk)?;
            if rule.caller != walk.anchor || rule.turn.hidden_by & walk.taken != 0 {
                return ControlFlow::Continue(());
            }
        }
        // As long as a walk is plain, nobody has said so.
        let table = if PLAIN { RoutingTable::MAIN } else { walk.table };
        if !is_meant(rule, table) {
            walk.strays = true;
            return ControlFlow::Break(());
        }
        if !self.matches_rest(rule, question, table) {
            return ControlFlow::Continue(());
        }
        match order {
            Order::Forth if ANCHORED && rule.gate.is_some() => walk.enter(number, rule, question),
            Order::Forth => {
                // What is plain asks nothing more.
                if ANCHORED && PLAIN {
                    walk.taken |= rule.turn.takes;
                }
                walk.follow::<PLAIN>(number, rule, question)
            }
            Order::Back => walk.decide(number, rule),
        }
    }

    /// Leaves the anchors whose last rule is before this one; `quick` of one of them ends the walk if the last match was
    /// right in it.
    #[inline]
    fn come_to(&self, number: u32, walk: &mut Walk) -> ControlFlow<()> {
        while walk.anchor != Gate::NONE {
            let call = &self.rules[walk.anchor as usize];
            let Some(gate) = call.gate.filter(|gate| gate.end <= number) else { break };
            let last = walk.rule.map(|number| self.rules[number as usize].caller);
            if gate.quick && last == Some(walk.anchor) {
                walk.ended_at = Some(gate.end - 1);
                return ControlFlow::Break(());
            }
            walk.anchor = call.caller;
        }
        ControlFlow::Continue(())
    }

    /// What the classifier leaves open of a rule.
    #[inline]
    fn matches_rest(&self, rule: &Filter, question: &Question<'_>, table: RoutingTable) -> bool {
        let packet = question.packet;
        rule.proto.is_none_or(|proto| proto == packet.tuple.proto)
            && transport_matches(rule, packet, question.role)
            && (rule.names_ends() || self.finds_ends(rule, question, table))
    }

    /// Whether the ends of a packet are what a rule asks for that does not name both itself.
    #[inline(never)]
    fn finds_ends(&self, rule: &Filter, question: &Question<'_>, table: RoutingTable) -> bool {
        let tuple = &question.packet.tuple;
        let seen = Seen { tables: &self.tables, fib: question.fib, interface: question.interface, table };
        rule.from.accepts_rest(tuple.af, tuple.src, &seen) && rule.to.accepts_rest(tuple.af, tuple.dst, &seen)
    }

    /// Has the rule of a number, which made a mapping, let a packet in that others have decided on. False if that is final:
    /// a rule that redirects it, or blocks it with `quick`.
    pub(crate) fn let_in<'r>(&'r self, number: u32, decision: &mut Decision<'r>) -> bool {
        let is_last = decision.rule.is_some_and(|rule| rule as usize == decision.ended_at);
        if decision.translation.is_some() || (is_last && matches!(decision.action, Action::Block(_))) {
            return false;
        }
        let Some(rule) = self.rules.get(number as usize).filter(|rule| rule.maps()) else { return false };
        *decision = Decision {
            action: Action::Pass,
            state: StateMode::Keep,
            if_bound: rule.if_bound,
            log: rule.log.enabled,
            rule: Some(number),
            gateways: None,
            slot: &rule.slot,
            ..decision.clone()
        };
        true
    }

    /// The `nat-to` of a rule whose sources keep their ports, and whether packets from `src` that come in by `interface` are of
    /// its sources: from inside.
    pub(crate) fn mapping_rule(
        &self,
        number: u32,
        (af, src): (Af, Address),
        (fib, interface): (&Fib, InterfaceId),
    ) -> Option<((&Pool, NatPorts), bool)> {
        let rule = self.rules.get(number as usize)?;
        let seen = Seen { tables: &self.tables, fib, interface, table: RoutingTable::MAIN };
        let is_source = rule.from.pattern.finds(af, src, &seen) != rule.from.negated;
        Some((rule.mapping()?, is_source && !rule.interfaces.contains(interface)))
    }

    pub(crate) fn decided(&self, walk: &Walk) -> Decision<'_> {
        let rule = walk.rule.map(|number| &self.rules[number as usize]);
        Decision {
            action: rule.map_or(Action::Pass, |rule| rule.action),
            state: rule.map_or(StateMode::None, |rule| rule.state),
            if_bound: rule.is_some_and(|rule| rule.if_bound),
            tag: walk.tag,
            state_tag: walk.state_tag,
            log: rule.is_some_and(|rule| rule.log.enabled),
            noted: walk.noted,
            matched: walk.matched,
            scrubbing: rule.map_or(walk.scrubbing, |rule| walk.scrubbing_behind(rule)),
            table: rule.and_then(|rule| rule.table).unwrap_or(walk.table),
            rule: walk.rule,
            ended_at: walk.ended_at.map_or(self.rules.len(), |number| number as usize),
            translation: rule.and_then(|rule| rule.translation.as_deref()),
            gateways: rule.and_then(|rule| rule.gateways.as_deref()),
            slot: rule.map_or(&self.default_slot, |rule| &rule.slot),
        }
    }
}

impl Decision<'_> {
    /// The deciding rule, and the root that it is one of.
    pub fn rule_at(&self, root: &Root) -> Option<RuleAt> {
        self.rule.map(|number| RuleAt { epoch: root.epoch, number })
    }

    /// True if a rule logs the packet.
    pub fn logs(&self) -> bool {
        self.log || self.noted.rules().next().is_some()
    }
}

impl Walk {
    /// The walk of a packet that carries this tag, at its beginning.
    pub(crate) fn of(tag: Tag) -> Self {
        Self {
            rule: None,
            tag,
            state_tag: Tag(0),
            ended_at: None,
            translating: None,
            anchor: Gate::NONE,
            noted: Noted::default(),
            matched: Matched::default(),
            scrubbing: Scrubbing::default(),
            table: RoutingTable::MAIN,
            taken: 0,
            strays: false,
        }
    }

    /// Lets a rule decide that matches, where no rule before it can say anything more.
    #[inline(always)]
    fn decide(&mut self, number: u32, rule: &Filter) -> ControlFlow<()> {
        if rule.action == Action::Match {
            return ControlFlow::Continue(());
        }
        self.rule = Some(number);
        ControlFlow::Break(())
    }

    /// The tag that the packet carries so far, which a rule asks for.
    pub(super) const fn carried(&mut self) -> Tag {
        self.state_tag = self.tag;
        self.tag
    }

    /// What is changed of the packet once a rule has its say, too.
    #[inline]
    fn scrubbing_behind(&self, rule: &Filter) -> Scrubbing {
        let mut scrubbing = self.scrubbing;
        if let Some(own) = &rule.scrubbing {
            scrubbing.follow(own);
        }
        scrubbing
    }

    /// Enters an anchor whose call matches but for what few ask, which is asked here. Its `tag` and its `rtable` stick at once.
    fn enter(&mut self, number: u32, rule: &Filter, question: &Question<'_>) -> ControlFlow<()> {
        if self.is_as_asked(number, rule, question) {
            self.anchor = number;
            if let Some(tag) = rule.tag {
                (self.tag, self.state_tag) = (tag, tag);
            }
            self.table = rule.table.unwrap_or(self.table);
        }
        ControlFlow::Continue(())
    }

    /// Whether the packet is as a rule asks that asks more than most.
    #[inline(always)]
    fn is_as_asked(&mut self, number: u32, rule: &Filter, question: &Question<'_>) -> bool {
        rule.rest.as_ref().is_none_or(|rest| rest.accepts(number, question, self))
    }

    /// Does what a rule says that matches but for what few ask, which is asked here; `quick` ends the walk. A `PLAIN` one does
    /// nothing that few do.
    #[inline(always)]
    pub(super) fn follow<const PLAIN: bool>(
        &mut self,
        number: u32,
        rule: &Filter,
        question: &Question<'_>,
    ) -> ControlFlow<()> {
        if !PLAIN && !self.is_as_asked(number, rule, question) {
            return ControlFlow::Continue(());
        }
        // `tag` sticks as soon as the rule matches, whatever decides in the end.
        if let Some(tag) = rule.tag.filter(|_| !PLAIN) {
            (self.tag, self.state_tag) = (tag, tag);
        }
        match rule.action {
            Action::Match => {
                self.matched.add(number);
                if !PLAIN {
                    self.scrubbing = self.scrubbing_behind(rule);
                    self.table = rule.table.unwrap_or(self.table);
                }
            }
            Action::Pass | Action::Block(_) => self.rule = Some(number),
        }
        if !PLAIN {
            self.noted.see(number, rule);
            self.taken |= rule.turn.takes;
        }
        if rule.quick {
            self.ended_at = Some(number);
        }
        if rule.translates_at_once() {
            self.translating = Some(number);
        }
        match (self.ended_at, self.translating) {
            (None, None) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// True if rules ask for a packet's ports.
#[inline]
pub(super) fn has_ports(packet: &Packet) -> bool {
    matches!(packet.tuple.proto, Proto::TCP | Proto::UDP | Proto::SCTP)
        && packet.transport != Transport::Fragment
}

#[inline(always)]
pub(super) fn transport_matches(rule: &Filter, packet: &Packet, role: Role) -> bool {
    if rule.fragment && packet.transport != Transport::Fragment {
        return false;
    }
    let spared = is_spared(rule, role);
    match packet.transport {
        Transport::Tcp(segment) => spared || flags_match(rule, segment.flags),
        Transport::IcmpQuery { kind, code } => {
            icmp_matches(rule, kind, code) && (spared || !is_reply_to_keep(rule, packet, kind))
        }
        Transport::IcmpError { kind, code, .. } | Transport::IcmpOther { kind, code } => {
            icmp_matches(rule, kind, code)
        }
        Transport::Fragment => asks_ip_alone(rule, packet.tuple.proto),
        Transport::Udp | Transport::Other => true,
    }
}

/// True if nothing is asked that a fragment does not tell.
fn asks_ip_alone(rule: &Filter, proto: Proto) -> bool {
    [&rule.from, &rule.to].iter().all(|end| end.port == PortMatch::Any)
        && rule.icmp.is_none()
        && (rule.flags.is_none() || proto != Proto::TCP)
}

/// True if what `pass` implies for the sake of its state is not asked.
fn is_spared(rule: &Filter, role: Role) -> bool {
    role == Role::Copy && rule.state != StateMode::None
}

/// `flags S/SA` looks at TCP only; a rule without `proto` still passes other protocols.
fn flags_match(rule: &Filter, flags: TcpFlags) -> bool {
    rule.flags.is_none_or(|wanted| wanted.accepts(flags))
}

fn icmp_matches(rule: &Filter, kind: u8, code: u8) -> bool {
    rule.icmp.is_none_or(|wanted| wanted.kind == kind && wanted.code.is_none_or(|own| own == code))
}

/// An ICMP reply never makes a state, so a rule that keeps state does not match it, unless it is `sloppy`.
fn is_reply_to_keep(rule: &Filter, packet: &Packet, kind: u8) -> bool {
    rule.state != StateMode::None && !rule.slot.sloppy && !is_request(packet.tuple.af, kind)
}

/// Echo, timestamp, information and address mask requests (RFC 792, RFC 950, RFC 4443).
pub(crate) const fn is_request(af: Af, kind: u8) -> bool {
    match af {
        Af::Inet => matches!(kind, 8 | 13 | 15 | 17),
        Af::Inet6 => kind == 128,
    }
}
