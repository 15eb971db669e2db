//! Which rules can match at all at a hook: the rules are split by what a packet has few values of.
//!
//! Overview: packets are sorted by the hook (interface and direction), the family and the protocol. Rules that apply to a
//! sort are a part; sorts that meet the same rules share one. A rule that names little is in many parts, so where parts
//! would be too large together, packets are sorted by less, and what is left out becomes a field like any other.
//! Bounds: all parts together have at most [`COPIES_MAX`] times as many rules as the ruleset; packets are of at most 20
//! sorts for each set of interfaces that rules tell apart.

use hashbrown::HashMap;
use ruleset::Direction;
use wire::{Af, Proto};

use crate::eval::filter::{Filter, Interfaces};
use crate::fib::InterfaceId;

/// How often a rule may be in parts, on an average.
const COPIES_MAX: usize = 4;

/// Parts of so many rules together are never too large.
const SMALL: usize = 4096;

/// Interfaces that no rule tells apart, seen from one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HookClass(pub u32);

/// Protocols that packets are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProtoClass {
    Tcp,
    Udp,
    Icmp,
    Icmp6,
    Other,
}

impl ProtoClass {
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmp6, Self::Other];

    #[inline]
    pub const fn of(proto: Proto) -> Self {
        match proto {
            Proto::TCP => Self::Tcp,
            Proto::UDP => Self::Udp,
            Proto::ICMP => Self::Icmp,
            Proto::ICMP6 => Self::Icmp6,
            _ => Self::Other,
        }
    }

    pub fn meets(self, rule: &Filter) -> bool {
        rule.proto.is_none_or(|proto| Self::of(proto) == self)
    }
}

/// The hooks of a ruleset.
#[derive(Debug)]
pub(super) struct Hooks {
    /// By interface number: interfaces of a number are the same to every rule. The last stands for those that were not
    /// there when the rules were compiled.
    same: Vec<u32>,
    /// An interface of each number.
    examples: Vec<InterfaceId>,
}

impl Hooks {
    pub fn of(rules: &[Filter]) -> Self {
        let known = rules.iter().map(|rule| match &rule.interfaces {
            Interfaces::Every => 0,
            Interfaces::Listed(listed) => listed.len(),
        });
        let known = known.max().unwrap_or(0);
        let mut hooks = Self { same: Vec::with_capacity(known + 1), examples: Vec::new() };
        let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
        for interface in (0..=known).map(|number| InterfaceId(number as u16)) {
            let named = (0..).zip(rules).filter(|(_, rule)| match &rule.interfaces {
                Interfaces::Every => false,
                listed @ Interfaces::Listed(_) => listed.contains(interface),
            });
            let next = hooks.examples.len() as u32;
            let number = *numbers.entry(named.map(|(number, _)| number).collect()).or_insert(next);
            if number == next {
                hooks.examples.push(interface);
            }
            hooks.same.push(number);
        }
        hooks
    }

    #[inline]
    pub fn class(&self, interface: InterfaceId, direction: Direction) -> HookClass {
        let at = usize::from(interface.0).min(self.same.len() - 1);
        HookClass(self.same[at] * 2 + direction as u32)
    }

    pub fn classes(&self) -> impl Iterator<Item = HookClass> {
        (0..2 * self.examples.len() as u32).map(HookClass)
    }

    /// True if a rule applies at the hooks of a class.
    pub fn meet(&self, class: HookClass, rule: &Filter) -> bool {
        let direction = if class.0.is_multiple_of(2) { Direction::In } else { Direction::Out };
        rule.direction.is_none_or(|wanted| wanted == direction)
            && rule.interfaces.contains(self.examples[class.0 as usize / 2])
    }
}

/// A sort of packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sort {
    pub hook: HookClass,
    pub af: Af,
    pub proto: ProtoClass,
}

impl Sort {
    /// The sort's number.
    #[inline]
    pub const fn number(self) -> usize {
        (self.hook.0 as usize * 2 + self.af as usize) * ProtoClass::ALL.len() + self.proto as usize
    }
}

/// The rules of a part, by number.
pub(super) type Members = (Af, Vec<u32>);

/// Parts, and the part of each sort.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub by: By,
    pub parts: Vec<Members>,
    pub part_of: Vec<u32>,
}

/// What packets are sorted by beside the family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct By {
    pub hook: bool,
    pub proto: bool,
}

impl Split {
    /// The finest split whose parts are not too large together.
    pub fn of(rules: &[Filter], hooks: &Hooks) -> Self {
        let finer = [
            By { hook: true, proto: true },
            By { hook: true, proto: false },
            By { hook: false, proto: true },
        ];
        let most = (COPIES_MAX * rules.len()).max(SMALL);
        let split = finer.into_iter().find_map(|by| Self::by(by, rules, hooks, most));
        split.unwrap_or_else(|| {
            // A part for each family is always small enough.
            let coarsest = By { hook: false, proto: false };
            Self::by(coarsest, rules, hooks, usize::MAX).unwrap_or_default()
        })
    }

    fn by(by: By, rules: &[Filter], hooks: &Hooks, most: usize) -> Option<Self> {
        let mut split = Self { by, ..Self::default() };
        let mut known: HashMap<Members, u32> = HashMap::new();
        let mut size = 0;
        for hook in hooks.classes() {
            if !by.hook && hook.0 > 0 {
                // All hooks have the parts of the first one.
                split.part_of.extend_from_within(..2 * ProtoClass::ALL.len());
                continue;
            }
            let here: Vec<u32> = numbers(rules, |rule| !by.hook || hooks.meet(hook, rule));
            for af in [Af::Inet, Af::Inet6] {
                for proto in ProtoClass::ALL {
                    let meets = |number: &u32| {
                        let rule = &rules[*number as usize];
                        rule.af.is_none_or(|own| own == af) && (!by.proto || proto.meets(rule))
                    };
                    let part: Members = (af, here.iter().copied().filter(meets).collect());
                    let next = split.parts.len() as u32;
                    let number = *known.entry(part.clone()).or_insert(next);
                    if number == next {
                        size += part.1.len();
                        split.parts.push(part);
                    }
                    split.part_of.push(number);
                }
            }
            if size > most {
                return None;
            }
        }
        Some(split)
    }
}

fn numbers(rules: &[Filter], wanted: impl Fn(&Filter) -> bool) -> Vec<u32> {
    (0..).zip(rules).filter(|(_, rule)| wanted(rule)).map(|(number, _)| number).collect()
}
