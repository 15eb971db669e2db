//! Capabilities, capabilities(7).

use std::fmt;

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::Error;

/// A capability that a process of ours may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Interfaces, routes, neighbours, TAPs.
    NetAdmin,
    /// Packet sockets.
    NetRaw,
}

impl Capability {
    const fn set(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
        }
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(CapabilitySet);

impl Capabilities {
    /// Nothing that any process could not do.
    pub const NONE: Self = Self(CapabilitySet::empty());

    /// With one more.
    pub const fn with(self, more: Capability) -> Self {
        Self(self.0.union(more.set()))
    }

    /// The set of these bits, a capability's number each.
    pub(crate) fn from_mask(mask: u64) -> Self {
        Self(CapabilitySet::from_bits_retain(mask))
    }

    /// Its bits, as /proc/PID/status shows them.
    pub fn mask(self) -> u64 {
        self.0.bits()
    }

    /// Those in both.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that the calling thread may have.
    ///
    /// # Errors
    /// The system's.
    pub fn of_this_thread() -> Result<Self, Error> {
        let sets = rustix::thread::capabilities(None).map_err(failed("learn capabilities"))?;
        Ok(Self(sets.permitted))
    }

    /// Lowers the calling thread to those of these that it has, and what it executes to none.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(self) -> Result<(), Error> {
        let kept = self.common(Self::of_this_thread()?).0;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        rustix::thread::set_capabilities(None, sets).map_err(failed("give capabilities up"))?;
        rustix::thread::clear_ambient_capability_set().map_err(failed("give ambient capabilities up"))
    }

    /// Empties the set of what an executed program could ever have.
    pub(crate) fn close_bounding_set() -> Result<(), Error> {
        for number in 0..u64::BITS {
            match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
                1 << number,
            )) {
                Ok(()) => {}
                // This kernel has no more.
                Err(Errno::INVAL) => return Ok(()),
                Err(error) => return Err(failed("empty the bounding set")(error)),
            }
        }
        Ok(())
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<String> = self.0.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
        f.write_str(&names.join(" "))
    }
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Error {
    move |error| Error::System { what, error: error.into() }
}
