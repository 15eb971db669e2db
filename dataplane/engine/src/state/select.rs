//! States that are to be removed on demand (pfctl(8) `-k`, `-F states`).
//!
//! Overview: a [`Selection`] is made once from names; [`Connections::kill`] compares a record's faces with it. Ownership:
//! made by a control thread, read by workers. Bounds: a record at a time, nothing is allocated.

use ipnet::IpNet;
use ruleset::{Removal, StateSelector};
use wire::{Af, Port, Proto};

use super::class::Class;
use super::index::RecordId;
use super::key::{Hashing, Key, Side};
use super::table::Connections;
use super::tuples::Ends;
use crate::Address;
use crate::fib::{Fib, InterfaceId};
use crate::sources::Flushes;

/// What states are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Whatever,
    /// `None` floats.
    To(Option<InterfaceId>),
    /// An interface that does not exist.
    Nothing,
}

/// One end of the packet that made a state.
#[derive(Clone, Copy, Debug)]
struct EndSelection {
    net: Option<(Af, Address, Address)>,
    port: Option<Port>,
}

impl EndSelection {
    fn of(net: Option<IpNet>, port: Option<Port>) -> Self {
        let range = |net: IpNet| (Af::of(&net.addr()), net.network().into(), net.broadcast().into());
        Self { net: net.map(range), port }
    }

    fn takes(&self, own: Af, (address, own_port): (Address, Port)) -> bool {
        self.net.is_none_or(|(af, first, last)| af == own && first <= address && address <= last)
            && self.port.is_none_or(|port| port == own_port)
    }
}

/// States that fit everything given, with names made numbers.
#[derive(Clone, Debug)]
pub struct Selection {
    binding: Binding,
    proto: Option<Proto>,
    source: EndSelection,
    destination: EndSelection,
    label: Option<Box<str>>,
    id: Option<u64>,
    /// How it is told of.
    removal: Removal,
}

impl Selection {
    /// What a selector means for these interfaces.
    pub fn new(selector: &StateSelector, fib: &Fib) -> Self {
        let binding = match selector.interface.as_deref() {
            None => Binding::Whatever,
            Some("all") => Binding::To(None),
            Some(name) => match fib.interfaces().iter().position(|interface| interface.name == name) {
                Some(number) => Binding::To(Some(InterfaceId(number as u16))),
                None => Binding::Nothing,
            },
        };
        Self {
            binding,
            proto: selector.proto,
            source: EndSelection::of(selector.source, selector.source_port),
            destination: EndSelection::of(selector.destination, selector.destination_port),
            label: selector.label.as_deref().map(Box::from),
            id: selector.id,
            removal: if *selector == StateSelector::default() { Removal::Flushed } else { Removal::Killed },
        }
    }

    /// Whether a state is selected, by the ends of the packet that made it in front of the hook.
    fn takes(&self, key: &Key, ends: &Ends, class: &Class, side: Side, id: u64) -> bool {
        let source = class.maker(side);
        let bound = match self.binding {
            Binding::Whatever => true,
            Binding::To(interface) => class.interface == interface,
            Binding::Nothing => false,
        };
        bound
            && self.proto.is_none_or(|proto| proto == key.proto)
            && self.id.is_none_or(|wanted| wanted == id)
            && self.source.takes(key.af, ends.end(source))
            && self.destination.takes(key.af, ends.end(source.other()))
            && self.label.as_ref().is_none_or(|label| class.rule.labels.contains(label))
    }
}

impl Connections {
    /// Removes those states of one record that are selected, and returns how many they were.
    pub fn kill(&mut self, number: u32, selection: &Selection, hashing: &Hashing) -> u32 {
        self.remove_if(number, hashing, selection.removal, |key, ends, class, side, id| {
            selection.takes(key, ends, class, side, id)
        })
    }

    /// Removes those states of one record that are to be flushed, and returns how many they were.
    pub fn flush(&mut self, number: u32, flushes: &Flushes, hashing: &Hashing) -> u32 {
        self.remove_if(number, hashing, Removal::Flushed, |key, ends, class, side, _| {
            let (source, _) = ends.end(class.maker(side));
            flushes.takes(key.af, source, class.rule.owner())
        })
    }

    /// Removes those states of one record that fit, of which is told the key, the ends in front of the hook, the class, the side
    /// and the id.
    fn remove_if(
        &mut self,
        number: u32,
        hashing: &Hashing,
        why: Removal,
        fits: impl Fn(&Key, &Ends, &Class, Side, u64) -> bool,
    ) -> u32 {
        let id = RecordId(number);
        if !self.hot[number as usize].is_live() {
            return 0;
        }
        let (key, tuples) = (self.key(id), self.tuples(id));
        let first = self.cold[number as usize].id;
        let doomed = Side::BOTH.map(|side| {
            self.face(id, side).is_some_and(|class| {
                let ends =
                    tuples.map_or_else(|| Ends::of(&key, false), |tuples| tuples.at(class.direction)[0]);
                fits(&key, &ends, class, side, first + side as u64)
            })
        });
        let hash = hashing.hash(&key);
        if doomed == [true, true] {
            return self.remove(id, hash, why);
        }
        let mut removed = 0;
        for (side, _) in Side::BOTH.into_iter().zip(doomed).filter(|(_, doomed)| *doomed) {
            removed += self.remove_face(id, side, hash, why);
        }
        removed
    }
}
