//! The kinds of traffic, each as one end of it does it.

pub mod connections;
pub mod datagrams;
pub mod peer;

use anyhow::Result;
use wire::Mac;

use crate::end::End;
use crate::flow::{Flows, Role};
use crate::frame::{Received, Template};
use crate::outcome::Tally;
use crate::profile::{Kind, Network, Profile};
use connections::Connections;
use datagrams::Datagrams;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Open all connections that are to stay open.
    Open,
    /// Send what the profile says.
    Send,
    /// Close them.
    Close,
}

/// A trial, as an end knows it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// What is to be done.
    pub phase: Phase,
    /// Its number, modulo 256.
    pub number: u8,
    /// By the profile's unit, a second; connections to open or to close.
    pub rate: f64,
}

/// Who an end is, and to whom it sends.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its role.
    pub role: Role,
    /// The Ethernet address of its port.
    pub own: Mac,
    /// That of the next hop.
    pub peer: Mac,
}

/// What an end does.
#[derive(Debug)]
pub enum Load {
    /// Datagrams.
    Datagrams(Datagrams),
    /// Connections of either kind.
    Connections(Connections),
}

impl Load {
    /// What a profile asks of an end.
    ///
    /// # Errors
    /// A frame is too long.
    pub fn new(profile: &Profile, network: &Network, place: Place) -> Result<Self> {
        let flows = Flows::new(profile, network);
        Ok(match profile.kind {
            Kind::Udp(_) => {
                let sizes = Sizes::new(profile, place)?;
                Self::Datagrams(Datagrams::new(flows, sizes, place.role, profile.senders))
            }
            Kind::Established(_) | Kind::Connections(_) => {
                Self::Connections(Connections::new(profile, flows, place)?)
            }
        })
    }

    /// Begins a trial with nothing counted.
    pub fn begin(&mut self, trial: Trial) {
        match self {
            Self::Datagrams(datagrams) => datagrams.begin(trial),
            Self::Connections(connections) => connections.begin(trial),
        }
    }

    /// Sends what was due when `plan` nanoseconds had passed since the start. True if there was anything to do.
    #[inline]
    pub fn send(&mut self, end: &mut End, now: u64, plan: u64) -> bool {
        match self {
            Self::Datagrams(datagrams) => datagrams.send(end, now, plan),
            Self::Connections(connections) => connections.send(end, now, plan),
        }
    }

    /// Whether all connections are open, or closed, where that is the phase.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Datagrams(_) => false,
            Self::Connections(connections) => connections.is_done(),
        }
    }

    /// Connections that this end has open.
    pub const fn open(&self) -> u32 {
        match self {
            Self::Datagrams(_) => 0,
            Self::Connections(connections) => connections.open(),
        }
    }

    /// Takes a packet that came, and answers it where that is due.
    #[inline]
    pub fn hear(&mut self, end: &mut End, received: &Received<'_>, now: u64) {
        match self {
            Self::Datagrams(datagrams) => datagrams.hear(received, now),
            Self::Connections(connections) => connections.hear(end, received, now),
        }
    }

    /// Counts what was due when `plan` nanoseconds had passed, and will never be sent.
    pub fn give_up(&mut self, plan: u64) {
        match self {
            Self::Datagrams(datagrams) => datagrams.give_up(plan),
            Self::Connections(connections) => connections.give_up(plan),
        }
    }

    /// What was counted so far.
    pub fn tally(&self) -> &Tally {
        match self {
            Self::Datagrams(datagrams) => datagrams.tally(),
            Self::Connections(connections) => connections.tally(),
        }
    }

    /// As [`tally`](Self::tally), to be changed.
    pub fn tally_mut(&mut self) -> &mut Tally {
        match self {
            Self::Datagrams(datagrams) => datagrams.tally_mut(),
            Self::Connections(connections) => connections.tally_mut(),
        }
    }
}

/// Frames of a mix of sizes, in turn.
#[derive(Clone, Debug)]
pub struct Sizes {
    templates: Vec<Template>,
    /// Numbers of templates.
    turn: Vec<u16>,
    next: usize,
}

impl Sizes {
    /// The frames of a profile's stream.
    ///
    /// # Errors
    /// A frame is too long.
    pub fn new(profile: &Profile, place: Place) -> Result<Self> {
        let sizes = profile.sizes();
        let mut distinct = sizes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let layout = profile.layout();
        let data = |bytes: u16| usize::from(bytes - crate::profile::CHECK_SEQUENCE) - layout.headers();
        let templates = distinct
            .iter()
            .map(|bytes| Template::new(layout, data(*bytes), place.own, place.peer))
            .collect::<Result<_>>()?;
        let number = |bytes: &u16| distinct.binary_search(bytes).map_or(0, |at| at as u16);
        Ok(Self { templates, turn: sizes.iter().map(number).collect(), next: 0 })
    }

    /// The next frame.
    #[inline]
    pub fn template(&self) -> &Template {
        &self.templates[usize::from(self.turn[self.next])]
    }

    /// Goes on to the one behind it.
    #[inline]
    pub fn advance(&mut self) {
        self.next += 1;
        if self.next == self.turn.len() {
            self.next = 0;
        }
    }
}
