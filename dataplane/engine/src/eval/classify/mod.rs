//! Which rules may match a packet: the others are never looked at.
//!
//! Overview: [`Classifier::visit`] yields the numbers of the rules that accept the fields of a packet, in order; but those
//! at the end of which only the last one that matches counts come from the end on, where they are few. Rules are [split] by
//! hook, family and protocol. A part has, for each field that its rules tell packets by, the [intervals](dimension) of the
//! field's values with the [vector](vectors) of the rules that accept them; the rules in question are those in the vectors of
//! all fields of a packet. Fields are addresses and ports, of ICMP the type, and what the split left out. Rules about protocols
//! that have no class of their own, and what else a rule may ask for (flags, tags, tables, `(if)`, masks with gaps), are left
//! to the visit. Flags are not a field because few rules are left by then, and most ask for the same ones.
//! Life cycle: made with the [`Root`](super::Root), by a control thread. Ownership: immutable.
//! Bounds: a rule takes two intervals of a field, or four where it negates, and each of them at most 200 bytes up to 8,192
//! rules in a part, 64 more for each further factor of 16; a rule is in four parts, on an average, at most. What rules have
//! in common costs nothing: 10,000 rules about hosts of their own take 1.1 MB and 100,000 take 6.6 MB, compiled in 40 and
//! 300 ms without optimisation.

mod dimension;
mod split;
#[cfg(test)]
mod tests;
mod vectors;

use core::ops::ControlFlow;

use ruleset::{Action, PortMatch};
use wire::{Af, Port};

use super::filter::{EndFilter, Filter, Gate, Pattern};
use super::walk::{Question, has_ports};
use crate::Address;
use crate::packet::{Packet, Transport};
use dimension::{Accepted, Dimension};
use split::{By, Hooks, Members, ProtoClass, Sort, Split};
use vectors::{Loom, Size, Together, Vector, Vectors, Weaver, Word};

/// The rules of a root as they are found.
#[derive(Debug)]
pub(super) struct Classifier {
    hooks: Hooks,
    /// By the number of a [`Sort`].
    part_of: Vec<u32>,
    parts: Vec<Part>,
    vectors: Vectors,
}

/// A few rules in question, while the source of a packet may become another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Few {
    part: u32,
    sort: Sort,
    bits: u64,
}

/// Some of the rules, and the fields of packets by which they are told apart.
#[derive(Debug)]
struct Part {
    /// By bit.
    rules: Vec<u32>,
    /// Of some of them at least.
    order: Order,
    /// The first ones, which are to be visited [in order](Order::Forth), as bits; where all fit a word.
    early: u64,
    /// Those that do not accept every source, likewise.
    asking_source: u64,
    size: Size,
    source: Option<Addresses>,
    destination: Option<Addresses>,
    source_port: Option<Dimension<u16>>,
    destination_port: Option<Dimension<u16>>,
    icmp_type: Option<Dimension<u8>>,
    /// By hook class.
    hook: Option<Vec<Vector>>,
    /// By [`ProtoClass`].
    proto: Option<[Vector; ProtoClass::ALL.len()]>,
}

#[derive(Debug)]
enum Addresses {
    Inet(Dimension<u32>),
    Inet6(Dimension<u128>),
}

impl Classifier {
    pub fn new(rules: &[Filter]) -> Self {
        let hooks = Hooks::of(rules);
        let Split { by, parts, part_of } = Split::of(rules, &hooks);
        let mut weaver = Weaver::new();
        let parts = parts
            .into_iter()
            .map(|(af, numbers)| {
                let rules: Vec<&Filter> = numbers.iter().map(|number| &rules[*number as usize]).collect();
                Part::new(&mut weaver, (af, numbers), &rules, by, &hooks)
            })
            .collect();
        Self { hooks, part_of, parts, vectors: weaver.finish() }
    }

    /// Visits the rules that accept the fields of a packet, until `see` ends it. Those of which only the last one that matches
    /// counts come last, and from the end on, so that the first one does.
    #[inline]
    pub fn visit(&self, question: &Question<'_>, mut see: impl FnMut(u32, Order) -> ControlFlow<()>) {
        let (number, sort) = self.part_for(question);
        let part = &self.parts[number as usize];
        // Why it ended is known to `see`.
        let _ = match part.order {
            Order::Back => self.visit_part::<true>(part, question, sort, |number| see(number, Order::Back)),
            Order::Forth if part.size.is_word() => self.visit_both(part, question, sort, see),
            Order::Forth => {
                self.visit_part::<false>(part, question, sort, |number| see(number, Order::Forth))
            }
        };
    }

    /// Few rules, of which some are to be visited in order.
    #[inline(always)]
    fn visit_both(
        &self,
        part: &Part,
        question: &Question<'_>,
        sort: Sort,
        mut see: impl FnMut(u32, Order) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut word = self.vectors.word(part.rules.len());
        part.gather::<true, true>(question.packet, sort, |vector| word.meet(vector));
        part.visit_word(word, |some| some, |bit, order| see(part.rules[bit], order))
    }

    /// The rules that accept the fields of a packet, whatever its source is; `None` where they are many.
    #[inline(always)]
    pub fn few(&self, question: &Question<'_>) -> Option<Few> {
        let (number, sort) = self.part_for(question);
        let part = &self.parts[number as usize];
        if !part.size.is_word() {
            return None;
        }
        let mut word = self.vectors.word(part.rules.len());
        part.gather::<false, true>(question.packet, sort, |vector| word.meet(vector));
        Some(Few { part: number, sort, bits: word.bits() })
    }

    /// As [`Self::visit`], of the few rules which are known to accept all other fields of a packet than its source. Where it ends at
    /// one that comes [forth](Order::Forth), those behind it are left.
    #[inline(always)]
    pub fn visit_few(
        &self,
        few: &mut Few,
        packet: &Packet,
        mut see: impl FnMut(u32, Order) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Few { part, sort, bits } = *few;
        let part = &self.parts[part as usize];
        let mut met = 0;
        let ended = part.visit_word(
            self.vectors.word_of(bits),
            // Mostly none of the first ones asks for the source, and one of them changes it.
            |some| part.meet_source(some, packet, sort),
            |bit, order| {
                met = bit;
                see(part.rules[bit], order)
            },
        );
        few.bits &= u64::MAX << met << 1;
        ended
    }

    /// The number of the part with the rules that may match a packet, and the packet's sort.
    #[inline(always)]
    fn part_for(&self, question: &Question<'_>) -> (u32, Sort) {
        let tuple = &question.packet.tuple;
        let hook = self.hooks.class(question.interface, question.direction);
        let sort = Sort { hook, af: tuple.af, proto: ProtoClass::of(tuple.proto) };
        (self.part_of[sort.number()], sort)
    }

    #[inline(always)]
    fn visit_part<const BACK: bool>(
        &self,
        part: &Part,
        question: &Question<'_>,
        sort: Sort,
        mut see: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut see = |bit: usize| see(part.rules[bit]);
        if part.size.is_word() {
            let mut word = self.vectors.word(part.rules.len());
            part.gather::<true, true>(question.packet, sort, |vector| word.meet(vector));
            return word.visit::<BACK>(&mut see);
        }
        let mut together = Together::default();
        part.gather::<true, true>(question.packet, sort, |vector| together.meet(vector));
        let mut all = 0..part.rules.len();
        match together.vectors() {
            // The packet has nothing by which these rules are told apart.
            [] if BACK => all.rev().try_for_each(see),
            [] => all.try_for_each(see),
            vectors => self.vectors.visit_common::<BACK>(part.size, vectors, &mut see),
        }
    }
}

/// In which order rules are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From the first rule on: each may have a word in what becomes of the packet.
    Forth,
    /// From the last rule on: none of them is `match`, `quick`, sets a tag or asks what few ask, and none has to do with an anchor,
    /// so that the last one that matches decides alone.
    Back,
}

impl Part {
    fn new(weaver: &mut Weaver, (af, numbers): Members, rules: &[&Filter], by: By, hooks: &Hooks) -> Self {
        let speaks_early = |rule: &&Filter| {
            let anchored = rule.gate.is_some() || rule.caller != Gate::NONE;
            // A state remembers the `match` rules that its packet met.
            rule.action == Action::Match
                || rule.quick
                || rule.tag.is_some()
                || rule.rest.is_some()
                || rule.turn.hidden_by != 0
                || anchored
        };
        // Behind `match log (matches)` every rule that matches is noted.
        let notes_all = |rule: &&Filter| rule.action == Action::Match && rule.log.enabled && rule.log.matches;
        let last_early = match rules.iter().any(notes_all) {
            true => rules.len().checked_sub(1),
            false => rules.iter().rposition(speaks_early),
        };
        Self {
            rules: numbers,
            order: if last_early.is_some() { Order::Forth } else { Order::Back },
            early: last_early.map_or(0, |last| u64::MAX >> (63 - last.min(63))),
            asking_source: (0..64)
                .zip(rules)
                .filter(|(_, rule)| asks_source(rule))
                .map(|(bit, _)| 1 << bit)
                .sum(),
            size: Size::of(rules.len()),
            source: Addresses::new(weaver, af, rules, |rule| &rule.from),
            destination: Addresses::new(weaver, af, rules, |rule| &rule.to),
            source_port: Dimension::new(weaver, rules, |rule| ports(rule.from.port)),
            destination_port: Dimension::new(weaver, rules, |rule| ports(rule.to.port)),
            icmp_type: Dimension::new(weaver, rules, icmp_types),
            hook: (!by.hook).then(|| {
                hooks.classes().map(|hook| those(weaver, rules, |rule| hooks.meet(hook, rule))).collect()
            }),
            proto: (!by.proto)
                .then(|| ProtoClass::ALL.map(|proto| those(weaver, rules, |rule| proto.meets(rule)))),
        }
    }

    /// Hands on the vectors of a packet's fields: its `SOURCE` and the `OTHERS`.
    #[inline(always)]
    fn gather<const SOURCE: bool, const OTHERS: bool>(
        &self,
        packet: &Packet,
        sort: Sort,
        mut meet: impl FnMut(Vector),
    ) {
        let tuple = &packet.tuple;
        if OTHERS && let Some(field) = &self.destination {
            meet(field.accepting(tuple.dst));
        }
        if SOURCE && let Some(field) = &self.source {
            meet(field.accepting(tuple.src));
        }
        if has_ports(packet) {
            if OTHERS && let Some(field) = &self.destination_port {
                meet(field.accepting(tuple.dport.0));
            }
            if SOURCE && let Some(field) = &self.source_port {
                meet(field.accepting(tuple.sport.0));
            }
        }
        if !OTHERS {
            return;
        }
        if let Some((field, kind)) = self.icmp_type.as_ref().zip(icmp_type(packet)) {
            meet(field.accepting(kind));
        }
        if let Some(classes) = &self.hook {
            meet(classes[sort.hook.0 as usize]);
        }
        if let Some(classes) = &self.proto {
            meet(classes[sort.proto as usize]);
        }
    }

    /// Those rules of a word that accept a packet's source.
    #[inline(always)]
    fn meet_source<'v>(&self, word: Word<'v>, packet: &Packet, sort: Sort) -> Word<'v> {
        if word.bits() & self.asking_source == 0 { word } else { self.meet_asked_source(word, packet, sort) }
    }

    /// As [`Self::meet_source`], where one of them asks for it. By itself, so that asking whether is done in place.
    #[inline(never)]
    fn meet_asked_source<'v>(&self, mut word: Word<'v>, packet: &Packet, sort: Sort) -> Word<'v> {
        self.gather::<true, false>(packet, sort, |vector| word.meet(vector));
        word
    }

    /// Visits the rules of a word: those of its first ones that `meet` leaves, then those of the others.
    #[inline(always)]
    fn visit_word<'v>(
        &self,
        word: Word<'v>,
        meet: impl Fn(Word<'v>) -> Word<'v>,
        mut see: impl FnMut(usize, Order) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (early, others) = word.split(self.early);
        meet(early).visit::<false>(&mut |bit: usize| see(bit, Order::Forth))?;
        meet(others).visit::<true>(&mut |bit: usize| see(bit, Order::Back))
    }
}

/// Whether the classifier tells packets by their source for a rule.
fn asks_source(rule: &Filter) -> bool {
    addresses(&rule.from) != Accepted::ALL || rule.from.port != PortMatch::Any
}

/// The vector of the rules that `wanted` tells.
fn those(weaver: &mut Weaver, rules: &[&Filter], wanted: impl Fn(&Filter) -> bool) -> Vector {
    let mut loom = Loom::new(rules.len());
    rules.iter().enumerate().filter(|(_, rule)| wanted(rule)).for_each(|(bit, _)| loom.flip(bit));
    loom.store(weaver)
}

fn icmp_type(packet: &Packet) -> Option<u8> {
    match packet.transport {
        Transport::IcmpQuery { kind, .. }
        | Transport::IcmpError { kind, .. }
        | Transport::IcmpOther { kind, .. } => Some(kind),
        _ => None,
    }
}

fn icmp_types(rule: &Filter) -> Accepted<u8> {
    rule.icmp.map_or(Accepted::ALL, |icmp| Accepted::between(icmp.kind, icmp.kind))
}

/// The ports that a rule accepts.
pub(super) fn ports(wanted: PortMatch) -> Accepted<u16> {
    let above = |port: Port| port.0.checked_add(1);
    let below = |port: Port| port.0.checked_sub(1);
    let between = |first: Option<u16>, last: Option<u16>| match (first, last) {
        (Some(first), Some(last)) => Accepted::between(first, last),
        _ => Accepted::NONE,
    };
    match wanted {
        PortMatch::Any => Accepted::ALL,
        PortMatch::Equal(port) => Accepted::between(port.0, port.0),
        PortMatch::NotEqual(port) => Accepted::outside(port.0, port.0),
        PortMatch::Less(port) => between(Some(0), below(port)),
        PortMatch::LessOrEqual(port) => Accepted::between(0, port.0),
        PortMatch::Greater(port) => between(above(port), Some(u16::MAX)),
        PortMatch::GreaterOrEqual(port) => Accepted::between(port.0, u16::MAX),
        PortMatch::Range(first, last) => Accepted::between(first.0, last.0),
        PortMatch::Inside(first, last) => between(above(first), below(last)),
        PortMatch::Outside(first, last) => Accepted::outside(first.0, last.0),
    }
}

impl Addresses {
    fn new(
        weaver: &mut Weaver,
        af: Af,
        rules: &[&Filter],
        end: impl Fn(&Filter) -> &EndFilter,
    ) -> Option<Self> {
        match af {
            Af::Inet => Dimension::new(weaver, rules, |rule| addresses(end(rule)).low()).map(Self::Inet),
            Af::Inet6 => Dimension::new(weaver, rules, |rule| addresses(end(rule))).map(Self::Inet6),
        }
    }

    #[inline]
    fn accepting(&self, address: Address) -> Vector {
        match self {
            Self::Inet(field) => field.accepting(address.v4()),
            Self::Inet6(field) => field.accepting(address.0),
        }
    }
}

/// The addresses that an end accepts, as far as it names them; the rest is [`EndFilter::accepts_rest`].
fn addresses(end: &EndFilter) -> Accepted<u128> {
    match (&end.pattern, end.negated) {
        (Pattern::Any, true) => Accepted::NONE,
        (Pattern::Range(first, last), false) => Accepted::between(first.0, last.0),
        (Pattern::Range(first, last), true) => Accepted::outside(first.0, last.0),
        (Pattern::Any, false)
        | (
            Pattern::Masked { .. }
            | Pattern::Table(_)
            | Pattern::Interface(_)
            | Pattern::NoRoute
            | Pattern::UrpfFailed,
            _,
        ) => Accepted::ALL,
    }
}
