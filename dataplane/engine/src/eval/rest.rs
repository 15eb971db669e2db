//! What few rules ask beside what most ask: looked at when all else fits, in pf's order, the rate last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::Af;

use super::Tag;
use super::filter::Interfaces;
use super::fingerprint::Os;
use super::meter::Meter;
use super::walk::{Occasion, Question, Walk};
use crate::fib::InterfaceId;
use crate::packet::Packet;

/// What few rules ask.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// `tos`.
    pub tos: Option<u8>,
    /// `prio`.
    pub prio: Option<u8>,
    /// `os`.
    pub os: Option<Os>,
    /// `probability`, in units of 2⁻³².
    pub probability: Option<u32>,
    /// The tag asked for, and whether it must be absent. A tag that no rule sets is `None`: no packet has it.
    pub tagged: Option<(Option<Tag>, bool)>,
    /// `received-on`.
    pub received_on: Option<ReceivedOn>,
    /// `max-pkt-rate`.
    pub meter: Option<Arc<Meter>>,
    /// `once`: whether it has matched. Shared by all workers, of which the first to set it has matched.
    pub spent: Option<AtomicBool>,
}

/// `received-on`.
#[derive(Debug)]
pub(super) struct ReceivedOn {
    pub on: Interfaces,
    /// Packets that the host sends were received nowhere.
    pub nowhere: bool,
}

impl ReceivedOn {
    fn accepts(&self, arrival: Option<InterfaceId>) -> bool {
        arrival.map_or(self.nowhere, |interface| self.on.contains(interface))
    }
}

impl Rest {
    /// True if nothing is asked.
    pub const fn is_empty(&self) -> bool {
        matches!(
            self,
            Self {
                tos: None,
                prio: None,
                os: None,
                probability: None,
                tagged: None,
                received_on: None,
                meter: None,
                spent: None
            }
        )
    }

    /// True if packets of one sender and connection may be told apart.
    pub const fn looks_at_each_packet(&self) -> bool {
        !matches!(
            self,
            Self { tos: None, prio: None, os: None, probability: None, meter: None, spent: None, .. }
        )
    }

    /// True if `once` has matched.
    pub fn is_spent(&self) -> bool {
        self.spent.as_ref().is_some_and(|spent| spent.load(Ordering::Relaxed))
    }

    /// Whether a packet is as rule `number` asks for. As in pf, asking for a tag makes the one that the packet came with a
    /// part of the walk.
    #[inline(never)]
    pub fn accepts(&self, number: u32, question: &Question<'_>, walk: &mut Walk) -> bool {
        !self.is_spent()
            && self.os.as_ref().is_none_or(|os| os.accepts(question.shape))
            && self.tos.is_none_or(|tos| tos == type_of_service(question.packet))
            && self.probability.is_none_or(|probability| question.occasion.favours(number, probability))
            && self.tagged.is_none_or(|(wanted, negated)| (wanted == Some(walk.carried())) != negated)
            && self.received_on.as_ref().is_none_or(|wanted| wanted.accepts(question.received_on))
            && self.prio.is_none_or(|prio| prio == question.priority)
            && self.takes(question.occasion)
    }

    /// Takes a packet that is as all else asks, if the rate and `once` allow.
    fn takes(&self, occasion: Occasion) -> bool {
        let Occasion::Real { now, .. } = occasion else { return true };
        self.meter.as_ref().is_none_or(|meter| meter.takes(now))
            && self.spent.as_ref().is_none_or(|spent| !spent.swap(true, Ordering::Relaxed))
    }
}

/// What `tos` is compared with: as in pf, all of IPv4's octet, and of IPv6's what is not for congestion (RFC 3168).
const fn type_of_service(packet: &Packet) -> u8 {
    match packet.tuple.af {
        Af::Inet => packet.tos,
        Af::Inet6 => packet.tos & 0xfc,
    }
}
