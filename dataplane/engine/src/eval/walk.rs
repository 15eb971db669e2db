//! pf's walk: the rules in order, the last match decides, `quick` ends it (pf.conf(5) PACKET FILTERING). Of the rules only
//! those are compared which the [classifier](super::classify) does not leave out.

use core::ops::ControlFlow;
use std::sync::Arc;

use ruleset::{Action, Direction, StateMode};
use wire::{Af, Proto, TcpFlags};

use super::classify::Order;
use super::filter::{Filter, Pattern};
use super::{Root, RuleSlot, Tag};
use crate::fib::{Fib, InterfaceId};
use crate::packet::{Packet, Transport};

/// What is asked of the rules: one packet at one hook.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub packet: &'a Packet,
    pub direction: Direction,
    pub interface: InterfaceId,
    /// The tag that the packet carries already.
    pub tag: Tag,
    pub fib: &'a Fib,
    pub role: Role,
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
    /// The deciding rule, by number; `None` where no rule matched.
    pub rule: Option<u32>,
    /// The rule that ended the walk, by number; the number of rules if none did.
    pub ended_at: usize,
    pub slot: &'a Arc<RuleSlot>,
}

/// What the rules so far have come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    rule: Option<u32>,
    tag: Tag,
    state_tag: Tag,
    ended_at: Option<u32>,
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
            let asks_flags = rule.flags.is_some() && !is_spared(rule, question.role);
            let asks_table =
                [&rule.from, &rule.to].iter().any(|end| matches!(end.pattern, Pattern::Table(_)));
            for_all &= !asks_flags && !asks_table;
        });
        (decision, for_all)
    }

    #[inline(always)]
    fn decide_and_note(&self, question: &Question<'_>, mut note: impl FnMut(&Filter)) -> Decision<'_> {
        let mut walk = Walk::of(question);
        self.classifier.visit(question, |number, order| {
            let rule = &self.rules[number as usize];
            note(rule);
            if !self.matches_rest(rule, question) {
                return ControlFlow::Continue(());
            }
            match order {
                Order::Forth => walk.follow(number, rule),
                Order::Back => walk.decide(number, rule),
            }
        });
        self.decided(&walk)
    }

    /// What the classifier leaves open of a rule.
    #[inline]
    fn matches_rest(&self, rule: &Filter, question: &Question<'_>) -> bool {
        let packet = question.packet;
        let tuple = &packet.tuple;
        rule.proto.is_none_or(|proto| proto == tuple.proto)
            && transport_matches(rule, packet, question.role)
            && rule.from.accepts_rest(tuple.af, tuple.src, &self.tables, question.fib)
            && rule.to.accepts_rest(tuple.af, tuple.dst, &self.tables, question.fib)
    }

    pub(super) fn decided(&self, walk: &Walk) -> Decision<'_> {
        let rule = walk.rule.map(|number| &self.rules[number as usize]);
        Decision {
            action: rule.map_or(Action::Pass, |rule| rule.action),
            state: rule.map_or(StateMode::None, |rule| rule.state),
            if_bound: rule.is_some_and(|rule| rule.if_bound),
            tag: walk.tag,
            state_tag: walk.state_tag,
            log: rule.is_some_and(|rule| rule.log.enabled),
            rule: walk.rule,
            ended_at: walk.ended_at.map_or(self.rules.len(), |number| number as usize),
            slot: rule.map_or(&self.default_slot, |rule| &rule.slot),
        }
    }
}

impl Walk {
    pub(super) fn of(question: &Question<'_>) -> Self {
        Self { rule: None, tag: question.tag, state_tag: Tag::default(), ended_at: None }
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

    /// Does what a rule says that matches but for `tagged`, which is asked here; `quick` ends the walk.
    #[inline(always)]
    pub(super) fn follow(&mut self, number: u32, rule: &Filter) -> ControlFlow<()> {
        if !is_tagged(rule, self) {
            return ControlFlow::Continue(());
        }
        // `tag` sticks as soon as the rule matches, whatever decides in the end.
        if let Some(tag) = rule.tag {
            (self.tag, self.state_tag) = (tag, tag);
        }
        if rule.action != Action::Match {
            self.rule = Some(number);
        }
        if !rule.quick {
            return ControlFlow::Continue(());
        }
        self.ended_at = Some(number);
        ControlFlow::Break(())
    }
}

/// pf.conf(5) `tagged`, asked last.
#[inline(always)]
fn is_tagged(rule: &Filter, walk: &mut Walk) -> bool {
    let Some((wanted, negated)) = rule.tagged else { return true };
    walk.state_tag = walk.tag;
    (wanted == Some(walk.tag)) != negated
}

/// True if rules ask for a packet's ports.
pub(super) fn has_ports(packet: &Packet) -> bool {
    matches!(packet.tuple.proto, Proto::TCP | Proto::UDP | Proto::SCTP)
        && packet.transport != Transport::Fragment
}

#[inline(always)]
pub(super) fn transport_matches(rule: &Filter, packet: &Packet, role: Role) -> bool {
    if rule.fragment {
        return packet.transport == Transport::Fragment;
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
        Transport::Udp | Transport::Fragment | Transport::Other => true,
    }
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
