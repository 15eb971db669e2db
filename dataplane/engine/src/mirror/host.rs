//! Copies for hosts: each leaves as a router would send the packet there (`dup-to` a host, pf's `pf_route`).
//!
//! Overview: the copy is the packet as the hook has left it, with other Ethernet addresses, and behind an IN hook with a hop
//! less to live. The way to the host is the forwarding base's: a host whose Ethernet address is not known is asked for, and
//! the copy waits for it; what follows the short way until it answers is lost. Nobody is told of a copy that cannot leave,
//! and the original never pays for it.
//!
//! Deviation: what must stay on its link (link-local addresses, link-layer groups) is not copied to a host, and neither is a
//! segment of a handshake that is completed for a server.
//! Ownership: the shard. Bounds: those of the [mirror](super).

use ruleset::Reason;
use wire::{Mac, ethernet};

use super::plan::{Form, Step};
use super::{CopyTo, Judged, Origin, Sent, Unresolved};
use crate::eval::Root;
use crate::fate::Created;
use crate::fib::{Interface, NextHop, Way};
use crate::frame::{Frame, NoRoom};
use crate::hook::Passage;
use crate::pool::Target;
use crate::rewrite;
use crate::routing::stays_on_link;
use crate::shard::{Shard, View, repair};
use crate::witness::Blame;

/// Where a copy leaves.
struct Exit<'v> {
    hop: NextHop,
    mac: Option<Mac>,
    link: &'v Interface,
}

impl Exit<'_> {
    /// The largest IP datagram that goes there whole.
    fn mtu(&self) -> u16 {
        self.hop.mtu.map_or(self.link.mtu, |mtu| mtu.min(self.link.mtu))
    }
}

impl Shard {
    /// Copies a packet to a host, and returns where it is copied to from there; `origin` is that copy then.
    pub(super) fn copy_to_host(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &Passage<'_>,
        frame: &[u8],
        origin: &mut Origin,
        host: &Target,
    ) -> Option<CopyTo> {
        // It is no packet of either end.
        if passage.remade.is_some() {
            self.mirror.trail.lead_nowhere();
            return None;
        }
        let Some(exit) = way_out(view, passage, host) else {
            if self.mirror.trail.has_room() {
                self.counters.create(Created::Copy, 1);
                self.lose_copy(view, passage, origin.of, (Reason::NoRoute, Blame::default()));
                self.mirror.trail.add(Step::nowhere(origin.of), true);
            }
            return None;
        };
        let to = exit.hop.interface;
        if !self.mirror.trail.takes(to) {
            return None;
        }
        self.counters.create(Created::Copy, 1);
        let Judged { walked, blocked, next, lasting } = self.judge_copy(view, root, passage, to, frame);
        let obstacle = if blocked.is_some() { Some(Reason::Match) } else { obstacle(passage, origin, &exit) };
        let destination = exit.mac.unwrap_or_default();
        let link = rewrite::link(destination, exit.link.mac);
        // Those that do not wait are lost until the next hop is known.
        let lost = obstacle.or_else(|| exit.mac.is_none().then_some(Reason::NoNeighbor));
        let form = Form::Sent { link, by: None };
        self.mirror.trail.add(Step { to, form, walked, lost }, lasting);
        self.mirror.trail.bound(exit.mtu());
        if obstacle.is_some_and(is_of_one_packet) || is_bridged(view, origin) {
            self.mirror.trail.lead_nowhere();
        }
        let sent = match obstacle {
            Some(reason) => Err(reason),
            None => self.send_copy(passage, frame, origin, &exit, link),
        };
        match sent {
            Ok(()) => next,
            Err(reason) => {
                self.lose_copy(view, passage, to, (reason, blocked.unwrap_or_default()));
                None
            }
        }
    }

    /// Has a copy leave; `origin` is that copy then.
    fn send_copy(
        &mut self,
        passage: &Passage<'_>,
        frame: &[u8],
        origin: &mut Origin,
        exit: &Exit<'_>,
        link: [u8; 12],
    ) -> Result<(), Reason> {
        let Some(cut) = self.normalizer.cut_of_copy(passage.packet, exit.mtu().into()) else {
            // Smaller ones may leave, and go on.
            self.mirror.trail.lead_nowhere();
            return Err(Reason::TooBig);
        };
        let to = exit.hop.interface;
        let next_hop = || exit.hop.station(passage.packet.tuple.af, passage.packet.tuple.dst);
        let unresolved = exit.mac.is_none().then(|| Unresolved { interface: to, next_hop: next_hop() });
        let start = self.mirror.bytes.len();
        if self.write_copy(passage, frame, origin, link).is_none() {
            self.mirror.bytes.truncate(start);
            self.mirror.trail.lead_nowhere();
            return Err(Reason::NoBuffer);
        }
        let sent = Sent { start, end: self.mirror.bytes.len(), link, cut };
        self.mirror.gather(to, None, unresolved, cut);
        *origin = Origin { sent: Some(sent), ..Origin::left(to, unresolved) };
        Ok(())
    }

    /// Writes the frame of a copy; `None` if there is no room.
    fn write_copy(
        &mut self,
        passage: &Passage<'_>,
        frame: &[u8],
        origin: &Origin,
        link: [u8; 12],
    ) -> Option<()> {
        let start = self.mirror.write(frame, origin.sent.as_ref())?;
        let bytes = &mut self.mirror.bytes;
        if origin.is_unrouted() {
            let mut copy = Own(bytes.get_mut(start..)?);
            repair(&mut copy, passage);
            rewrite::decrement_ttl(&mut copy, passage.packet).ok()?;
        }
        let tags = usize::from(passage.packet.l3).saturating_sub(ethernet::HEADER_LEN);
        if origin.sent.is_none() && tags > 0 {
            bytes.copy_within(start + ethernet::TAGS_AT + tags.., start + ethernet::TAGS_AT);
            bytes.truncate(bytes.len() - tags);
        }
        let addresses = bytes.get_mut(start..)?.first_chunk_mut()?;
        *addresses = link;
        Some(())
    }
}

/// The way to a host; `None` if there is none, or it is the firewall itself.
fn way_out<'v>(view: &View<'v>, passage: &Passage<'_>, host: &Target) -> Option<Exit<'v>> {
    match view.fib.way_to(passage.packet.tuple.af, host, passage.flow.hash.0) {
        Way::Forward { hop, mac } => Some(Exit { hop, mac, link: view.fib.interface(hop.interface)? }),
        _ => None,
    }
}

/// True for the wire of a transparent pair, whose frames may have tags.
fn is_bridged(view: &View<'_>, origin: &Origin) -> bool {
    view.fib.interface(origin.of).is_some_and(|own| own.bridge().is_some())
}

/// Why a copy cannot leave.
fn obstacle(passage: &Passage<'_>, origin: &Origin, exit: &Exit<'_>) -> Option<Reason> {
    let packet = &passage.packet;
    if stays_on_link(packet) {
        Some(Reason::LinkScope)
    } else if origin.is_unrouted() && packet.ttl <= 1 {
        Some(Reason::Ttl)
    } else {
        (!exit.link.up).then_some(Reason::PortDown)
    }
}

/// True for what says nothing of other packets of the connection.
const fn is_of_one_packet(obstacle: Reason) -> bool {
    matches!(obstacle, Reason::LinkScope | Reason::Ttl)
}

/// The frame of a copy, which stays as long as it is.
struct Own<'a>(&'a mut [u8]);

impl Frame for Own<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0
    }

    fn prepend(&mut self, _: usize) -> Result<(), NoRoom> {
        Err(NoRoom)
    }

    fn trim_front(&mut self, _: usize) {}

    fn truncate(&mut self, _: usize) {}

    fn append(&mut self, _: usize) -> Result<(), NoRoom> {
        Err(NoRoom)
    }
}
