//! Ports that new sources are not given, because packets to them go elsewhere (RFC 6056 §3.1): those of an address that rules
//! [redirect](crate::eval::Redirected), and those that the host [listens on](crate::fib::Listened).
//!
//! Overview: a bit for each port of any address is asked first; only where that is set, whether it is so of this address, and
//! where packets to it would come. Where that is every port of a range, none of the range is left out: whoever says so of few
//! ports wants just those.
//! Ownership: the packet under way. Bounds: two bits for each port that is free by all of them; a run of neighbours at a time
//! to find that a range has no other.
//!
//! Deviation: pf leaves out ports alone of which the very tuple is in use
//! (test `redirected_and_listened_ports_are_left_out`).

use core::cell::Cell;

use wire::{Port, Proto};

use super::NatPorts;
use crate::eval::{PortOf, Root};
use crate::fib::{Fib, InterfaceId};
use crate::packet::Tuple;
use crate::port_runs::PortBits;

/// Those of any address, of a protocol: which may be reserved.
#[derive(Clone, Copy)]
pub(super) struct Suspects<'a> {
    redirected: Option<&'a PortBits>,
    listened: Option<&'a PortBits>,
}

impl<'a> Suspects<'a> {
    #[inline(always)]
    pub fn of(root: &'a Root, fib: &'a Fib, proto: Proto) -> Self {
        let redirected = root.redirected().and_then(|redirected| redirected.any.of_proto(proto));
        let listened = fib.listened().and_then(|listened| listened.any.of_proto(proto));
        Self { redirected, listened }
    }

    #[inline(always)]
    pub fn contains(&self, port: Port) -> bool {
        let is_of = |bits: Option<&PortBits>| bits.is_some_and(|bits| bits.contains(port));
        is_of(self.redirected) || is_of(self.listened)
    }
}

/// The reserved ports of a range.
pub(super) struct Reserved<'a> {
    suspects: Suspects<'a>,
    root: &'a Root,
    fib: &'a Fib,
    of: PortOf,
    ports: NatPorts,
    ends: (Port, Port),
    /// Whether that is all of the range, once it was asked.
    are_all: Cell<Option<bool>>,
}

impl<'a> Reserved<'a> {
    /// Those that the source of a packet is not given out of a range, where it leaves by an interface.
    pub fn of(
        (root, fib): (&'a Root, &'a Fib),
        tuple: &Tuple,
        interface: Option<InterfaceId>,
        (ports, ends): (NatPorts, (Port, Port)),
    ) -> Self {
        let Tuple { proto, af, src: address, .. } = *tuple;
        let of = PortOf { proto, af, address, interface };
        let suspects = Suspects::of(root, fib, proto);
        Self { suspects, root, fib, of, ports, ends, are_all: Cell::new(None) }
    }

    /// True if a port of the range is left out.
    #[inline]
    pub fn contains(&self, port: Port) -> bool {
        self.suspects.contains(port) && self.has_suspect(port)
    }

    #[cold]
    #[inline(never)]
    fn has_suspect(&self, port: Port) -> bool {
        self.till(port).is_some() && !self.are_all.get().unwrap_or_else(|| self.ask_all())
    }

    /// The last port of a run of reserved ones that a port is in.
    fn till(&self, port: Port) -> Option<Port> {
        let redirected = self.root.redirected_till(&self.of, port, self.fib);
        redirected.max(self.fib.listened_till(&self.of, port))
    }

    fn ask_all(&self) -> bool {
        let (first, last) = self.ends;
        let mut numbers = u32::from(first.0)..u32::from(last.0) + 1;
        let mut are_all = true;
        while are_all && !numbers.is_empty() {
            let port = |number| self.ports.nth(Port(number as u16));
            match self.till(port(numbers.start)) {
                Some(till) if matches!(self.ports, NatPorts::Set(_)) => {
                    numbers.start = numbers.find(|number| port(*number) > till).unwrap_or(numbers.end);
                }
                Some(till) => numbers.start = u32::from(till.0) + 1,
                None => are_all = false,
            }
        }
        self.are_all.set(Some(are_all));
        are_all
    }
}

/// Tells from each other what is reserved at two times, and by two ways out; 0 if it is nothing.
pub(super) fn serial(root: Option<&Root>, fib: &Fib, interface: Option<InterfaceId>) -> u64 {
    let redirected = root.map_or(0, Root::redirected_serial);
    let by = interface.filter(|_| redirected != 0).map_or(0, |interface| u64::from(interface.0) + 1);
    redirected ^ fib.listened_serial() ^ by.rotate_right(16)
}
