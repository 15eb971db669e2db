//! Packets that rules lead past the routing table (pf.conf(5) `route-to`, `reply-to`).
//!
//! Overview: the rule that makes a state chooses a gateway of its pool, and the state remembers it. Which of its packets
//! leave by it is told by the direction in which they meet it. What enters is led there in front of the OUT hook, whose
//! rules see the interface that the gateway is on; what leaves, behind it, and meets no further rules.
//! Ownership: the shard. Bounds: each of the two hooks leads a packet aside once at most, so that pf's limit on routing it
//! again and again is never reached.
//!
//! Gateways are where the main routing table has them, whatever `rtable` says: a table may have a default route alone.
//!
//! Deviation: `reply-to` holds also where the routing table has no route to the sender; multicast and broadcast are never
//! led aside, nor is anything that crosses a transparent pair.

use ruleset::{Direction, Reason};
use wire::Af;

use crate::Address;
use crate::eval::Root;
use crate::fate::Fate;
use crate::fib::Interface;
use crate::frame::Frame;
use crate::hook::{Passage, Passed, Stop};
use crate::mirror::{Origin, Unresolved};
use crate::pool::{Asked, Pool, Target};
use crate::rewrite;
use crate::routing::{Guide, Out, Route, route};
use crate::shard::{Shard, View};
use crate::source::{Use, Wish};

/// A packet behind the OUT hook.
#[derive(Debug)]
pub(crate) struct Departure<'v> {
    pub out: Out,
    pub link: &'v Interface,
    /// What it met at the hook.
    pub left: Passed,
}

impl Shard {
    /// The gateway of a pool for a connection that `source` begins.
    #[cold]
    #[inline(never)]
    pub(crate) fn pick(
        &mut self,
        view: &View<'_>,
        root: &Root,
        af: Af,
        source: Address,
        pool: &Pool,
    ) -> Result<Target, Stop> {
        let random = self.draw();
        let asked = Asked { af, source, old: source, random };
        let known = root.known(view.fib);
        let is_alive = |gateway: &Target| view.fib.is_alive(af, gateway);
        let wish = Wish { pool, uses: Use::Route, af, source };
        let kept = self.kept(view, &wish, known);
        let chosen = match kept.valid {
            Some(gateway) if is_alive(&gateway) => Some(gateway),
            own => {
                let other = pool.pick(&asked, known, is_alive, &|target| self.load(view, pool, af, target));
                // A dead gateway is left for one that lives.
                own.filter(|_| !other.as_ref().is_some_and(is_alive)).or(other)
            }
        };
        let chosen = chosen.ok_or(Stop::silent(Reason::NoRoute))?;
        self.settle_on(view, root, &wish, chosen, kept)
    }

    /// What says where a packet goes which has passed the IN hook: the gateway of the state which it is an answer for, so that it
    /// goes back where the question came from, else that of the state at the hook, else the routing table.
    pub(crate) fn guide_behind(&self, passage: &mut Passage<'_>, entered: &Passed) -> Guide {
        let at_hook = passage.gateway.take();
        let far = passage.flow.sender.other();
        let reply = entered.found().and_then(|record| {
            let own = self.connections.face(record, far);
            let apart = || self.connections.face(self.connections.twin(record)?, far);
            let class = own.or_else(apart).filter(|class| class.direction == Direction::In)?;
            self.connections.gateway(class, Direction::Out)
        });
        reply.or(at_hook).map_or(Guide::Table(passage.routed.table), Guide::Gateway)
    }

    /// The other way out of a packet that the OUT hook has led aside from this one.
    #[inline]
    pub(crate) fn turn_aside(
        &self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        out: &Out,
    ) -> Result<Option<Out>, Stop> {
        let Some(gateway) = passage.gateway.take() else { return Ok(None) };
        let is_bridged = view.fib.interface(out.hop.interface).is_some_and(|link| link.bridge().is_some());
        if is_bridged || out.gateway == Some(gateway) {
            return Ok(None);
        }
        match route(view.fib, passage.packet, passage.flow.hash.0, Guide::Gateway(gateway))? {
            Route::Out(elsewhere) => Ok(Some(elsewhere)),
            // What leaves is not led back to the host; groups stay where they are.
            Route::Host => Ok(None),
        }
    }

    /// Sends a packet, which is as it is to be but for its Ethernet header, to its next hop.
    pub(crate) fn send_by<F: Frame>(
        &mut self,
        view: &View<'_>,
        frame: &mut F,
        passage: &mut Passage<'_>,
        out: &Out,
        link: &Interface,
    ) -> Fate {
        let interface = out.hop.interface;
        // What waits keeps the Ethernet addresses that it came with: the way back to its sender, if it waits in vain.
        if let Some(destination) = out.mac {
            rewrite::set_link(frame, link.mac, destination);
        }
        let waits_for = out.mac.is_none().then(|| out.hop.station(passage.packet.tuple.af, out.dst));
        if passage.copy_to.is_some() {
            let unresolved = waits_for.map(|next_hop| Unresolved { interface, next_hop });
            self.mirror(view, passage, Origin::left(interface, unresolved), frame.bytes());
        }
        match waits_for {
            None => Fate::Transmit(interface),
            Some(next_hop) => Fate::Hold { interface, next_hop },
        }
    }
}
