//! Which rules may match a packet: the others are never looked at.
//!
//! Overview: [`Classifier::visit`] yields the numbers of rules in their order, all that match and few more. Rules are
//! [split] by hook, family and protocol. A part of more than [`WALKED_MAX`] rules has, for each field that its rules tell
//! packets by, the [intervals](dimension) of the field's values with the [vector](vectors) of the rules that accept them;
//! the rules in question are those in the vectors of all fields of a packet. Fields are addresses and ports, of ICMP the
//! type, and what the split left out. Everything else (flags, tags, tables, `(if)`) is left to the visit, which compares a
//! rule as a whole: vectors leave rules out, they decide nothing. Flags are not a field because few rules are left by then,
//! and most ask for the same ones.
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

use ruleset::PortMatch;
use wire::{Af, Port};

use super::filter::{EndFilter, Filter, Pattern};
use super::walk::{Question, has_ports};
use crate::Address;
use crate::packet::{Packet, Transport};
use dimension::{Accepted, Dimension};
use split::{By, Hooks, ProtoClass, Sort, Split};
use vectors::{Depth, Loom, MOST_TOGETHER, Vector, Vectors, Weaver};

/// Parts of so many rules are walked: reading the rules costs less than intersecting.
const WALKED_MAX: usize = 16;

/// The rules of a root as they are found.
#[derive(Debug)]
pub(super) struct Classifier {
    hooks: Hooks,
    /// By the number of a [`Sort`].
    part_of: Vec<u32>,
    parts: Vec<Rules>,
    vectors: Vectors,
}

/// The rules of a part, by number; the bits of vectors are their places.
#[derive(Debug)]
enum Rules {
    Walked(Vec<u32>),
    Classified(Vec<u32>, Box<Fields>),
}

/// The fields by which the rules of a part are told apart.
#[derive(Debug)]
struct Fields {
    depth: Depth,
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
        Self::walking(WALKED_MAX, rules)
    }

    /// As [`new`](Self::new), where parts of up to `walked_max` rules are walked.
    fn walking(walked_max: usize, rules: &[Filter]) -> Self {
        let hooks = Hooks::of(rules);
        let Split { by, parts, part_of } = Split::of(rules, &hooks);
        let mut weaver = Weaver::new();
        let parts = parts
            .into_iter()
            .map(|(af, part)| {
                if part.len() <= walked_max {
                    return Rules::Walked(part);
                }
                let members: Vec<&Filter> = part.iter().map(|number| &rules[*number as usize]).collect();
                let fields = Fields::new(&mut weaver, af, &members, by, &hooks);
                Rules::Classified(part, Box::new(fields))
            })
            .collect();
        Self { hooks, part_of, parts, vectors: weaver.finish() }
    }

    /// Visits the rules that may match, until `see` ends it. Every rule that matches is among them.
    #[inline]
    pub fn visit(&self, question: &Question<'_>, mut see: impl FnMut(u32) -> ControlFlow<()>) {
        let tuple = &question.packet.tuple;
        let hook = self.hooks.class(question.interface, question.direction);
        let sort = Sort { hook, af: tuple.af, proto: ProtoClass::of(tuple.proto) };
        let part = &self.parts[self.part_of[sort.number()] as usize];
        // Why it ended is known to `see`.
        let _ = match part {
            Rules::Classified(rules, fields) => {
                let mut vectors = [Vector::default(); MOST_TOGETHER];
                match fields.vectors_of(question.packet, sort, &mut vectors) {
                    // Nothing by which its rules are told apart is in the packet.
                    0 => rules.iter().try_for_each(|number| see(*number)),
                    count => {
                        let vectors = &vectors[..count];
                        self.vectors.visit_common(fields.depth, vectors, &mut |bit| see(rules[bit]))
                    }
                }
            }
            Rules::Walked(rules) => rules.iter().try_for_each(|number| see(*number)),
        };
    }
}

impl Fields {
    fn new(weaver: &mut Weaver, af: Af, rules: &[&Filter], by: By, hooks: &Hooks) -> Self {
        Self {
            depth: Depth::of(rules.len()),
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

    /// The vectors of a packet's fields; returns how many there are.
    #[inline]
    fn vectors_of(&self, packet: &Packet, sort: Sort, vectors: &mut [Vector; MOST_TOGETHER]) -> usize {
        let tuple = &packet.tuple;
        let ported = has_ports(packet);
        let all = [
            self.destination.as_ref().map(|field| field.accepting(tuple.dst)),
            self.source.as_ref().map(|field| field.accepting(tuple.src)),
            self.destination_port.as_ref().filter(|_| ported).map(|field| field.accepting(tuple.dport.0)),
            self.source_port.as_ref().filter(|_| ported).map(|field| field.accepting(tuple.sport.0)),
            self.icmp_type.as_ref().zip(icmp_type(packet)).map(|(field, kind)| field.accepting(kind)),
            self.hook.as_ref().map(|classes| classes[sort.hook.0 as usize]),
            self.proto.as_ref().map(|classes| classes[sort.proto as usize]),
        ];
        let mut count = 0;
        for vector in all.into_iter().flatten() {
            vectors[count] = vector;
            count += 1;
        }
        count
    }
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

fn ports(wanted: PortMatch) -> Accepted<u16> {
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
            Af::Inet => Dimension::new(weaver, rules, |rule| addresses(af, end(rule)).low()).map(Self::Inet),
            Af::Inet6 => Dimension::new(weaver, rules, |rule| addresses(af, end(rule))).map(Self::Inet6),
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

/// The addresses of a family that an end accepts, or more: what depends on anything but the address is not left out.
fn addresses(af: Af, end: &EndFilter) -> Accepted<u128> {
    match (&end.pattern, end.negated) {
        (Pattern::Any, true) => Accepted::NONE,
        (Pattern::Range(first, last), false) => Accepted::between(first.0, last.0),
        (Pattern::Range(first, last), true) => Accepted::outside(first.0, last.0),
        (Pattern::Masked { net, mask }, false) => {
            // IPv4 addresses are below: what is above is known to be 0. Bits behind a gap in the mask are not looked at.
            let above = match af {
                Af::Inet => !u128::from(u32::MAX),
                Af::Inet6 => 0,
            };
            let rest = u128::MAX.checked_shr((mask.0 | above).leading_ones()).unwrap_or(0);
            let first = net.0 & !above & !rest;
            Accepted::between(first, first | rest)
        }
        (Pattern::Any, false)
        | (Pattern::Masked { .. }, true)
        | (Pattern::Table(_) | Pattern::Interface(_) | Pattern::NoRoute, _) => Accepted::ALL,
    }
}
