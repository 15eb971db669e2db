//! pf's walk: the rules in order, the last match decides, `quick` ends it (pf.conf(5) PACKET FILTERING). Of the rules only
//! those are compared which the [classifier](super::classify) does not leave out.

use core::ops::ControlFlow;
use std::sync::Arc;

use ruleset::{Action, Direction, StateMode};
use wire::{Af, Proto, TcpFlags};

use super::filter::Filter;
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

impl Root {
    /// The decision on a packet. Where no rule matches it passes without a state.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision<'_> {
        let mut decision = self.undecided(question.tag);
        self.classifier.visit(question, |number| self.consider(number, question, &mut decision));
        decision
    }

    /// The decision before any rule.
    pub(super) fn undecided(&self, tag: Tag) -> Decision<'_> {
        Decision {
            action: Action::Pass,
            state: StateMode::None,
            if_bound: false,
            tag,
            state_tag: Tag::default(),
            log: false,
            rule: None,
            ended_at: self.rules.len(),
            slot: &self.default_slot,
        }
    }

    /// Compares the rest of a rule that the classifier left, and if it matches does what it says; `quick` ends the walk.
    #[inline]
    fn consider<'a>(
        &'a self,
        number: u32,
        question: &Question<'_>,
        decision: &mut Decision<'a>,
    ) -> ControlFlow<()> {
        let rule = &self.rules[number as usize];
        if !self.matches_rest(rule, question) {
            return ControlFlow::Continue(());
        }
        decision.follow(number, rule)
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
}

impl<'a> Decision<'a> {
    /// Does what a rule says that matches but for `tagged`, which is asked here.
    #[inline]
    pub(super) fn follow(&mut self, number: u32, rule: &'a Filter) -> ControlFlow<()> {
        if !is_tagged(rule, self) {
            return ControlFlow::Continue(());
        }
        // `tag` sticks as soon as the rule matches, whatever decides in the end.
        if let Some(tag) = rule.tag {
            (self.tag, self.state_tag) = (tag, tag);
        }
        if rule.action != Action::Match {
            self.action = rule.action;
            self.state = rule.state;
            self.if_bound = rule.if_bound;
            self.log = rule.log.enabled;
            self.rule = Some(number);
            self.slot = &rule.slot;
        }
        if !rule.quick {
            return ControlFlow::Continue(());
        }
        self.ended_at = number as usize;
        ControlFlow::Break(())
    }
}

/// pf.conf(5) `tagged`, asked last.
fn is_tagged(rule: &Filter, decision: &mut Decision<'_>) -> bool {
    let Some((wanted, negated)) = rule.tagged else { return true };
    decision.state_tag = decision.tag;
    (wanted == Some(decision.tag)) != negated
}

/// True if rules ask for a packet's ports.
pub(super) fn has_ports(packet: &Packet) -> bool {
    matches!(packet.tuple.proto, Proto::TCP | Proto::UDP | Proto::SCTP)
        && packet.transport != Transport::Fragment
}

pub(super) fn transport_matches(rule: &Filter, packet: &Packet, role: Role) -> bool {
    if rule.fragment {
        return packet.transport == Transport::Fragment;
    }
    let spared = role == Role::Copy && rule.state != StateMode::None;
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
