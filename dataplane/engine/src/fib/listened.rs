//! The ports that programs of the host itself listen on.
//!
//! Life cycle: made with a snapshot. Ownership: immutable. Bounds: as many as the shell tells of.

use core::hash::Hasher;
use core::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use wire::{Af, Port, Proto};

use super::Fib;
use crate::Address;
use crate::eval::PortOf;
use crate::port_runs::{AnyPorts, PortRuns};

/// A socket of the host that takes what comes from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// TCP or UDP.
    pub proto: Proto,
    /// The address that it is bound to; if that is unspecified, all of the host's own of its family.
    pub address: IpAddr,
    /// The port.
    pub port: Port,
}

/// Those that are listened on.
#[derive(Clone, Debug)]
pub(crate) struct Listened {
    /// At any address.
    pub any: AnyPorts,
    at: HashMap<(Proto, Af, Address), PortRuns>,
    /// Tells these from others.
    serial: u64,
}

/// The host's own addresses, whichever they are.
const EVERY: Address = Address(0);

impl Listened {
    /// `None` if nobody listens.
    pub(super) fn of(listeners: impl IntoIterator<Item = Listener>) -> Option<Self> {
        let mut hash = SipHasher13::new();
        let mut ranges: HashMap<_, Vec<(Port, Port)>> = HashMap::new();
        for Listener { proto, address, port } in listeners {
            let (af, address) = (Af::of(&address), Address::from(address));
            hash.write_u128(address.0);
            hash.write_u32(u32::from(port.0) << 16 | u32::from(proto.0) << 8 | u32::from(af == Af::Inet));
            ranges.entry((proto, af, address)).or_default().push((port, port));
        }
        let at: HashMap<_, _> = ranges.into_iter().map(|(of, ranges)| (of, PortRuns::of(ranges))).collect();
        let any = AnyPorts::of(|proto| {
            (&at).into_iter().filter(move |((of, ..), _)| *of == proto).map(|(_, runs)| runs)
        })?;
        Some(Self { any, at, serial: hash.finish().max(1) })
    }
}

impl Fib {
    /// The same, where programs of the host listen on these ports: no new source is given one of them.
    #[must_use]
    pub fn with_listeners(mut self, listeners: impl IntoIterator<Item = Listener>) -> Self {
        self.listened = Listened::of(listeners).map(Arc::new);
        self
    }

    /// What programs of the host listen on; `None` if it is nothing.
    #[inline]
    pub(crate) fn listened(&self) -> Option<&Listened> {
        self.listened.as_deref()
    }

    /// Tells from each other what is listened on at two times; 0 if it is nothing.
    pub(crate) fn listened_serial(&self) -> u64 {
        self.listened().map_or(0, |listened| listened.serial)
    }

    /// The last port of a run of ports of an address that a port is in, and that are listened on.
    #[cold]
    pub(crate) fn listened_till(&self, of: &PortOf, port: Port) -> Option<Port> {
        let (PortOf { proto, af, address, .. }, listened) = (*of, self.listened()?);
        let till = |at| listened.at.get(&(proto, af, at)).and_then(|runs: &PortRuns| runs.end_of(port));
        till(address).max(till(EVERY).filter(|_| self.is_own(af, address)))
    }
}
