//! Mappings that do not depend on the remote end (RFC 4787 §4, §5, §6): `endpoint-independent`, `set optimization rfc-nat`.
//!
//! Overview: whoever is to have a source port and has a [mapping](crate::sources) is given that, towards any remote end; who
//! has none is given an endpoint that nobody else has. Under `rfc-nat` a packet for such an endpoint that no state knows is
//! let in by the rule that made the mapping, unless a rule redirects it or blocks it with `quick`: it begins a connection
//! with the endpoint inside, which counts for the mapping as all others do. If it comes from inside itself (a hairpin), its
//! source is translated by the same rule where it leaves, so that the other one sees the endpoint that it would answer to.
//! Ownership: the shard, but for the mappings. Bounds: as a port search; an endpoint that is asked for costs as much as
//! [`ASKED`] ports.
//!
//! What comes to its own mapping from the very endpoint inside is dropped (reason `translate`): its answers would be it again.

use ruleset::{Direction, Reason};
use wire::TcpFlags;

use super::{Aim, Endpoint, Mapped, NOTHING_LEFT, NatPorts, Reserved, Round, Sought};
use crate::eval::{Decision, Root};
use crate::hook::{Hook, Passage, Stop};
use crate::packet::{Packet, Transport, Tuple};
use crate::pool::Target;
use crate::shard::{Shard, View};
use crate::source::{Kept, Sources, Wish, seconds};
use crate::state::{Key, Role};

/// What the first segment of a connection does not carry.
const OTHERS: TcpFlags = TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN);

/// As many ports as an answer of the shared mappings is worth.
const ASKED: u32 = 3;

impl Sources {
    /// True if the source of a tuple is the endpoint of a mapping.
    #[cold]
    pub(super) fn is_mapped(&self, view: &View<'_>, tuple: &Tuple) -> bool {
        let outside = Endpoint { af: tuple.af, address: tuple.src, port: tuple.sport };
        self.nodes.behind(&outside, tuple.proto, self.secret, seconds(view)).is_some()
    }
}

impl Shard {
    /// The endpoint outside of a mapping, for which the state that is to be made counts; `None` if there is none yet, or the pool
    /// does not have its address any more.
    pub(super) fn mapping_of(
        &mut self,
        view: &View<'_>,
        root: &Root,
        wish: &Wish<'_>,
        of: &Mapped,
        kept: Kept,
    ) -> Result<Option<Endpoint>, Stop> {
        let (known, now) = (root.known(view.fib), seconds(view));
        let target = |outside: &Endpoint| Target { address: outside.address, via: None };
        let is_valid = |outside: &Endpoint| wish.pool.contains(outside.af, &target(outside), known);
        let joined = self.sources.nodes.join_mapping(of, self.sources.secret, now, is_valid);
        let Some((node, outside)) = joined else { return Ok(None) };
        self.sources.claim(Role::Mapping, node, now);
        // A source that has been given another address meanwhile keeps both.
        if kept.valid.is_none_or(|valid| valid.address == outside.address) {
            self.settle_on(view, root, wish, target(&outside), kept)?;
        }
        Ok(Some(outside))
    }

    /// Gives a packet the tuple of its mapping, unless another connection has that.
    pub(super) fn follow_mapping(&self, passage: &mut Passage<'_>, tuple: Tuple) -> Result<(), Stop> {
        let (key, _) = Key::of(&tuple);
        if self.connections.is_anothers(&key, self.hashing.hash(&key), &passage.flow.key) {
            return Err(NOTHING_LEFT);
        }
        passage.turn(tuple);
        Ok(())
    }

    /// A new mapping, to an endpoint that nobody has, and with which no packet of another connection comes or answers by this
    /// tuple, none that is reserved; answers to this connection are this worker's.
    pub(super) fn free_endpoint(
        &mut self,
        view: &View<'_>,
        tuple: &Tuple,
        (ports, reserved): (NatPorts, Option<&Reserved<'_>>),
        round: &mut Round,
        of: &Mapped,
    ) -> Option<Endpoint> {
        let Self { ports_to_ask, connections, hashing, worker, sources, .. } = self;
        let sought = Sought::of(tuple);
        loop {
            let is_free = |number| {
                let sport = ports.nth(number);
                reserved.is_none_or(|reserved| !reserved.contains(sport))
                    && sought.is_free(sport, connections, hashing, *worker)
            };
            let number = ports_to_ask.first_free(round, is_free)?;
            let outside = Endpoint { af: tuple.af, address: tuple.src, port: ports.nth(number) };
            let now = seconds(view);
            if let Some((node, leads_to)) = sources.nodes.map(of, sources.secret, &outside, now) {
                sources.claim(Role::Mapping, node, now);
                return Some(leads_to);
            }
            ports_to_ask.spend(ASKED);
        }
    }

    /// Lets a packet in through the mapping of the endpoint that it was sent to, if there is one, whatever the rules have come to.
    #[cold]
    #[inline(never)]
    pub(crate) fn open<'r>(
        &mut self,
        view: &View<'_>,
        root: &'r Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        decision: &mut Decision<'r>,
    ) -> Result<(), Stop> {
        debug_assert_eq!(hook.direction, Direction::In, "nothing is redirected that is routed");
        let begins = match passage.packet.transport {
            Transport::Tcp(segment) => {
                segment.flags.contains(TcpFlags::SYN) && !segment.flags.intersects(OTHERS)
            }
            Transport::Udp => true,
            // The identifier of a query is its sender's, whoever that is.
            _ => false,
        };
        let (tuple, now, secret) = (passage.packet.tuple, seconds(view), self.sources.secret);
        let Tuple { af, proto, src, sport, dst, dport, .. } = tuple;
        if !begins || self.sources.nodes.is_empty() {
            return Ok(());
        }
        let asked = Endpoint { af, address: dst, port: dport };
        let Some(mapped) = self.sources.nodes.behind(&asked, proto, secret, now) else { return Ok(()) };
        let Mapped { rule, inside, .. } = mapped;
        let Some(number) = root.number_of_owner(rule).filter(|_| inside.af == af) else { return Ok(()) };
        let Some((node, outside)) = self.sources.nodes.join_mapping(&mapped, secret, now, |_| true) else {
            return Ok(());
        };
        if outside != asked || !root.let_in(number, decision) {
            self.sources.nodes.leave(node, now);
            return Ok(());
        }
        self.sources.claim(Role::Mapping, node, now);
        if (src, sport) == (inside.address, inside.port) {
            return Err(Stop::silent(Reason::Translate));
        }
        self.follow_mapping(passage, Tuple { dst: inside.address, dport: inside.port, ..tuple })
    }

    /// Gives a packet the source that it has outside where it leaves for a host beside its sender, to whose mapping it was sent.
    #[cold]
    #[inline(never)]
    pub(crate) fn turn_hairpin(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<(), Stop> {
        let (Some(Packet { tuple: sent, .. }), Some(received_on)) = (passage.arrived, passage.received_on)
        else {
            return Ok(());
        };
        let now = passage.packet.tuple;
        let asked = Endpoint { af: sent.af, address: sent.dst, port: sent.dport };
        let mapped = self.sources.nodes.behind(&asked, sent.proto, self.sources.secret, seconds(view));
        let reached = |mapped: &Mapped| (mapped.inside.address, mapped.inside.port) == (now.dst, now.dport);
        let Some(Mapped { rule, .. }) = mapped.filter(reached) else { return Ok(()) };
        let from = (view.fib, received_on);
        match root.number_of_owner(rule).and_then(|rule| root.mapping_rule(rule, (now.af, now.src), from)) {
            Some((nat, true)) => {
                let aim = Aim { base: now, far: None, interface: hook.leaves_by() };
                self.replace_source(view, root, passage, nat, &aim)
            }
            _ => Ok(()),
        }
    }
}
