//! What rules would say to a packet that nobody sent: how a ruleset is asked before it is live.
//!
//! Overview: [`Root::judge`] makes the packet, and walks the rules as a worker does. Ownership: for control threads; nothing
//! is counted, logged or changed.

use ruleset::{Action, Direction, Flow, Moment, RoutingKind, Ruling, StateMode};
use wire::{Af, Proto, TcpFlags};

use super::{Decision, Filtering, Occasion, Question, Role, Root, Tag, Walk, is_request};
use crate::Address;
use crate::fib::{Fib, InterfaceId, Path};
use crate::packet::{Packet, Transport, Tuple};
use crate::scrub::USUAL_PRIORITY;
use crate::track::Segment;
use crate::translate::Translation;

impl Root {
    /// What these rules say to a packet; `None` if it never meets them: no route leads by an interface of the dataplane, or
    /// the interface is not filtered.
    ///
    /// A packet that leaves and that another host sent has come in before: the tag that it was given there is its own. One
    /// that is redirected does not pass: it goes to somebody else. What else is translated is not told, and the rules behind
    /// see the packet as it was.
    pub fn judge(&self, fib: &Fib, flow: &Flow) -> Option<Ruling> {
        let packet = packet_of(flow);
        let af = packet.tuple.af;
        let far = match flow.direction {
            Direction::In => packet.tuple.src,
            Direction::Out => packet.tuple.dst,
        };
        let interface = match &flow.interface {
            Some(name) => named(fib, name)?,
            None => towards(fib, af, far)?,
        };
        if self.filtering == Filtering::Off || self.skips(interface) {
            return None;
        }
        let tag = match flow.direction {
            Direction::In => Tag::default(),
            Direction::Out => self.tag_from_entry(fib, &packet),
        };
        let role = Role::Original;
        let question = Question {
            packet: &packet,
            direction: flow.direction,
            interface,
            tag,
            received_on: match flow.direction {
                Direction::In => Some(interface),
                Direction::Out => towards(fib, af, packet.tuple.src),
            },
            priority: USUAL_PRIORITY,
            shape: None,
            fib,
            role,
            occasion: Occasion::Imagined,
        };
        let (mut walk, mut redirected) = (Walk::of(tag), false);
        while let Some(translation) = self.advance(&question, &mut walk) {
            redirected |= translation.redirects();
        }
        let Decision { action, state, rule, translation, slot, .. } = self.decided(&walk);
        redirected |= translation.is_some_and(Translation::redirects);
        // What comes in for the host goes to a gateway.
        redirected |= flow.direction == Direction::In && slot.routes == Some(RoutingKind::To);
        let interface = fib.interface(interface)?.name.clone();
        let passes = action == Action::Pass && !redirected;
        Some(Ruling {
            passes,
            keeps_state: action == Action::Pass && state != StateMode::None,
            rule,
            interface,
        })
    }

    /// The tag that a packet carries after the hook where it came in.
    fn tag_from_entry(&self, fib: &Fib, packet: &Packet) -> Tag {
        match towards(fib, packet.tuple.af, packet.tuple.src) {
            Some(interface) if !self.skips(interface) => {
                let (tag, role) = (Tag::default(), Role::Original);
                let question = Question {
                    packet,
                    direction: Direction::In,
                    interface,
                    tag,
                    received_on: Some(interface),
                    priority: USUAL_PRIORITY,
                    shape: None,
                    fib,
                    role,
                    occasion: Occasion::Imagined,
                };
                self.decide(&question).tag
            }
            _ => Tag::default(),
        }
    }
}

fn named(fib: &Fib, name: &str) -> Option<InterfaceId> {
    let number = fib.interfaces().iter().position(|interface| interface.name == name)?;
    Some(InterfaceId(number as u16))
}

fn towards(fib: &Fib, af: Af, address: Address) -> Option<InterfaceId> {
    match fib.lookup(af, address, 0) {
        Path::Forward { interface, .. } => Some(interface),
        _ => None,
    }
}

/// A packet without a frame: rules look at nothing else.
fn packet_of(flow: &Flow) -> Packet {
    let af = Af::of(&flow.source.address);
    let tuple = Tuple {
        af,
        proto: flow.proto,
        zone: Default::default(),
        src: flow.source.address.into(),
        dst: flow.destination.address.into(),
        sport: flow.source.port,
        dport: flow.destination.port,
    };
    let kind = flow.destination.port.0 as u8;
    let transport = match flow.proto {
        Proto::TCP => Transport::Tcp(Segment {
            flags: match flow.moment {
                Moment::First => TcpFlags::SYN,
                Moment::Later => TcpFlags::ACK,
            },
            window: u16::MAX,
            ..Segment::default()
        }),
        Proto::UDP => Transport::Udp,
        Proto::ICMP | Proto::ICMP6 if is_request(af, kind) => Transport::IcmpQuery { kind, code: 0 },
        Proto::ICMP | Proto::ICMP6 => Transport::IcmpOther { kind, code: 0 },
        _ => Transport::Other,
    };
    Packet::without_frame(tuple, transport)
}
