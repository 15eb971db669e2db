//! The kinds of traffic, each as one end of it does it.

pub mod datagrams;

use anyhow::Result;
use wire::Mac;

use crate::end::End;
use crate::flow::{Flows, Role};
use crate::frame::{Received, Template};
use crate::outcome::Tally;
use crate::profile::{Network, Profile, Senders};
use datagrams::Datagrams;

/// A trial, as an end knows it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Its number, modulo 256.
    pub number: u8,
    /// By the profile's unit, a second.
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
}

impl Load {
    /// What a profile asks of an end.
    ///
    /// # Errors
    /// A frame is too long.
    pub fn new(profile: &Profile, network: &Network, place: Place) -> Result<Self> {
        let flows = Flows::new(profile, network);
        let stream = Sizes::new(profile, place)?;
        Ok(Self::Datagrams(Datagrams::new(flows, stream, place.role, sends(profile.senders, place.role))))
    }

    /// Begins a trial with nothing counted.
    pub fn begin(&mut self, trial: Trial) {
        match self {
            Self::Datagrams(datagrams) => datagrams.begin(trial),
        }
    }

    /// Sends what was due when `plan` nanoseconds had passed since the start. True if there was anything to do.
    #[inline]
    pub fn send(&mut self, end: &mut End, now: u64, plan: u64) -> bool {
        match self {
            Self::Datagrams(datagrams) => datagrams.send(end, now, plan),
        }
    }

    /// Takes a packet that came.
    #[inline]
    pub fn hear(&mut self, received: &Received<'_>, now: u64) {
        match self {
            Self::Datagrams(datagrams) => datagrams.hear(received, now),
        }
    }

    /// Counts what was due when `plan` nanoseconds had passed, and will never be sent.
    pub fn give_up(&mut self, plan: u64) {
        match self {
            Self::Datagrams(datagrams) => datagrams.give_up(plan),
        }
    }

    /// What was counted so far.
    pub const fn tally(&self) -> &Tally {
        match self {
            Self::Datagrams(datagrams) => datagrams.tally(),
        }
    }

    /// As [`tally`](Self::tally), to be changed.
    pub const fn tally_mut(&mut self) -> &mut Tally {
        match self {
            Self::Datagrams(datagrams) => datagrams.tally_mut(),
        }
    }
}

const fn sends(senders: Senders, role: Role) -> bool {
    matches!(
        (senders, role),
        (Senders::Both, _) | (Senders::Clients, Role::Client) | (Senders::Servers, Role::Server)
    )
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
