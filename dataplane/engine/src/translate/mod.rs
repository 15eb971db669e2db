//! Translation of addresses and ports (pf.conf(5) `nat-to`, `rdr-to`, `binat-to`).
//!
//! Overview: rules say where a translation leads ([`Translation`]), a [pool](crate::pool) which address it is, a [search](port) which
//! port. A `match` rule translates at once, so that the rules behind it see the packet as it is then; a `pass` rule when it
//! has decided. Most connections are given their new end [at once](at_once), on the short way. What is translated is the
//! [`Packet`]: its frame is [rewritten](rewrite()) last, behind every gate, so that a refused packet is still as its sender
//! sent it. What a connection was translated to is kept with its record, as further tuples of it
//! ([`Connections::tuples`](crate::state::Connections::tuples)).
//! Life cycle: pools are made with the root. Ownership: the shard; the turn of a `round-robin` pool is shared by all workers.
//! Mappings that do not depend on remote ends ([`mapping`]) are shared by all workers too.
//! Bounds: [`port::AT_ONCE`] ports are asked about in a poll, [`ATTEMPTS_MAX`](crate::pool) addresses tried for a packet.
//!
//! Deviation: a connection of the host's own whose tuple is one that answers to a translated connection come by is given another
//! source port, where pf refuses it.
//!
//! Deviation: a packet that is translated and makes no state is dropped (reason `translate`), but for ICMP errors and
//! messages, whose source is replaced: nothing could find its way back.

mod at_once;
mod mapping;
mod numbers;
mod port;
mod reserved;
mod rewrite;
mod shortage;
mod sought;

use core::net::Ipv4Addr;

use ruleset::{Direction, PortBlocks, PortSet, Reason};
use wire::{Af, Port};

use crate::Address;
use crate::af_to::{AfTo, Far};
use crate::eval::{Root, is_request};
use crate::fib::InterfaceId;
use crate::hook::{Hook, Passage, Stop};
use crate::packet::{Packet, Transport, Tuple};
use crate::pool::{Asked, Known, Mapping, Order, Pool, Target};
use crate::shard::{Shard, View};
use crate::source::{Use, Wish};
use crate::sources::{Endpoint, Mapped};
use crate::state::{Key, Tuples};
use crate::witness::RuleAt;

pub(crate) use at_once::{NewEnd, Unusual};
pub(crate) use numbers::renumber;
#[cfg(test)]
pub(crate) use port::{AT_ONCE, OF_A_PACKET};
pub(crate) use port::{Budget, Searches};
use port::{Round, Task, Way};
use reserved::Reserved;
pub use rewrite::rewrite;
pub(crate) use rewrite::{forward_translated, forward_translated6, replace_end6};
pub use shortage::Shortage;
pub(crate) use shortage::Shortages;
use sought::Sought;

/// What `nat-to` and `rdr-to` of a rule ask for.
#[derive(Debug)]
pub(crate) struct Translation {
    pub nat: Option<(Pool, NatPorts)>,
    pub rdr: Option<(Pool, RdrPorts)>,
    /// That both are for packets of the other family.
    pub af_to: Option<AfTo>,
}

impl Translation {
    /// True if packets get another destination.
    pub const fn redirects(&self) -> bool {
        self.rdr.is_some() || self.af_to.is_some()
    }
}

/// Where a connection's source port comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NatPorts {
    /// `static-port`: it stays.
    Kept,
    /// One of these that is free.
    Range(Port, Port),
    /// One of the source's own that is free (`port-block`).
    Blocks(PortBlocks),
    /// One of a set that is free (`map-e-portset`).
    Set(PortSet),
}

impl NatPorts {
    /// The ports, or identifiers of queries, out of which a source has one, or the numbers of a set's; `None` where it has no
    /// choice.
    #[inline(always)]
    fn range(&self, kind: &Kind, source: Address) -> Option<(Port, Port)> {
        match (kind, self) {
            (Kind::Portless | Kind::Single, _) | (Kind::Ported, Self::Kept) => None,
            (_, Self::Blocks(blocks)) => {
                let (_, first, last) = blocks.share_of(Ipv4Addr::from_bits(source.v4()));
                Some((first, last))
            }
            (_, Self::Set(set)) => Some((Port(0), Port(set.count() - 1))),
            (Kind::Echo, _) => Some((Port(1), Port(u16::MAX))),
            (Kind::Ported, Self::Range(first, last)) => Some((*first, *last)),
        }
    }

    /// The port of a number in the range.
    #[inline(always)]
    const fn nth(&self, number: Port) -> Port {
        match self {
            Self::Set(set) => set.port(number.0),
            _ => number,
        }
    }

    /// What tells the range from others with the same bounds.
    const fn salt(&self) -> u64 {
        match self {
            Self::Set(set) => {
                (set.offset_bits as u64) << 56 | (set.id_bits as u64) << 48 | (set.id as u64) << 32
            }
            _ => 0,
        }
    }
}

/// Where a connection's destination port comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RdrPorts {
    /// It stays.
    Kept,
    One(Port),
    /// As far behind the first as the port that was asked for is behind `asked`, round the end.
    Following {
        first: Port,
        last: Port,
        asked: Port,
    },
}

impl RdrPorts {
    pub const fn of(self, port: Port) -> Port {
        match self {
            Self::Kept => port,
            Self::One(port) => port,
            Self::Following { first, last, asked } => {
                let width = (last.0 - first.0) as u32 + 1;
                Port(first.0 + (port.0.wrapping_sub(asked.0) as u32 % width) as u16)
            }
        }
    }
}

/// What was found for a source.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// A port, of the address that was asked for.
    At(Port),
    /// A mapping, perhaps one that another worker has made meanwhile.
    Mapped(Endpoint),
}

/// What a source is sought for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    /// The packet, but for its source.
    pub base: Tuple,
    /// Its destination, where the source says it.
    pub far: Option<Far>,
    /// By which interface it leaves; `None` if that is not known yet.
    pub interface: Option<InterfaceId>,
}

impl Aim {
    /// The packet from an address.
    fn from(&self, src: Address) -> Tuple {
        Tuple { src, dst: self.far.map_or(self.base.dst, |far| far.of(src)), ..self.base }
    }
}

const NOTHING_LEFT: Stop = Stop::silent(Reason::Translate);

impl Passage<'_> {
    /// Gives the packet another tuple, from here on; how it arrived is kept.
    pub fn turn(&mut self, tuple: Tuple) {
        if tuple == self.packet.tuple {
            return;
        }
        if tuple.af != self.packet.tuple.af {
            return self.turn_over(tuple);
        }
        self.keep_arrived();
        self.packet.tuple = tuple;
        self.turned = true;
    }

    /// Gives the packet that an ICMP error quotes another tuple. The error goes to its sender, and comes from its receiver
    /// where that is translated, so that nobody learns of a host behind.
    fn turn_quoted(&mut self, tuple: Tuple) {
        let Transport::IcmpError { kind, code, mut quoted } = self.packet.transport else { return };
        if quoted.tuple == tuple {
            return;
        }
        if quoted.tuple.af != tuple.af {
            return self.turn_over_quoted(tuple);
        }
        self.keep_arrived();
        let outer = &mut self.packet.tuple;
        outer.dst = tuple.src;
        if quoted.tuple.dst != tuple.dst {
            outer.src = tuple.dst;
        }
        quoted.tuple = tuple;
        self.packet.transport = Transport::IcmpError { kind, code, quoted };
    }

    /// Makes of a packet of a translated connection what it is behind the hook of `direction`.
    pub fn follow(&mut self, tuples: &Tuples, direction: Direction) {
        let (sender, packet) = (self.flow.sender, &self.packet);
        let ends = match direction {
            // What a packet of the other family was made of is not between the hooks.
            Direction::In if tuples.crosses() && sender != tuples.initiator => &tuples.near,
            Direction::In => &tuples.between,
            Direction::Out if sender == tuples.initiator => &tuples.far,
            Direction::Out => &tuples.near,
        };
        let quotes = matches!(packet.transport, Transport::IcmpError { .. });
        // What an error quotes was sent by the end that the error goes to.
        let from = if quotes { sender.other() } else { sender };
        match packet.transport {
            Transport::IcmpError { quoted, .. } => self.turn_quoted(ends.tuple(from, quoted.tuple)),
            _ => self.turn(ends.tuple(from, packet.tuple)),
        }
    }

    /// The packet as its sender sent it.
    pub fn restore(&mut self) {
        if let Some(arrived) = self.arrived.take() {
            *self.packet = arrived;
            self.turned_over = false;
        }
    }
}

/// What a packet is to `nat-to`.
enum Kind {
    /// Its source port can be another.
    Ported,
    /// A query whose identifier can be another.
    Echo,
    /// It has none.
    Portless,
    /// It makes no state: nothing will come back to it.
    Single,
}

impl Kind {
    const fn of(packet: &Packet) -> Self {
        match packet.transport {
            Transport::Tcp(_) | Transport::Udp => Self::Ported,
            Transport::IcmpQuery { kind, .. } if is_echo(packet.tuple.af, kind) => Self::Echo,
            Transport::IcmpError { .. } | Transport::IcmpOther { .. } => Self::Single,
            _ => Self::Portless,
        }
    }
}

const fn is_echo(af: Af, kind: u8) -> bool {
    is_request(af, kind) && matches!(kind, 8 | 128)
}

impl Shard {
    /// Translates a packet at a hook as the rule of this number asks, which is to blame if there is nothing to translate it to.
    #[cold]
    #[inline(never)]
    pub(crate) fn translate(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        (translation, rule): (&Translation, Option<u32>),
    ) -> Result<(), Stop> {
        let translated = self.try_translate(view, root, passage, hook, translation);
        if translated.is_err() && self.witness.blame.rule.is_none() {
            self.witness.blame.rule = rule.map(|number| RuleAt { epoch: root.epoch(), number });
        }
        translated
    }

    fn try_translate(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        translation: &Translation,
    ) -> Result<(), Stop> {
        if is_of_the_link(&passage.packet.tuple) {
            return Ok(());
        }
        if let Some(af_to) = translation.af_to {
            return self.translate_family(view, root, passage, (translation, af_to));
        }
        if let Some((pool, ports)) = &translation.rdr {
            self.redirect(view, root, passage, pool, *ports)?;
        }
        match &translation.nat {
            Some((pool, ports)) => {
                let aim = Aim { base: passage.packet.tuple, far: None, interface: hook.leaves_by() };
                self.replace_source(view, root, passage, (pool, *ports), &aim)
            }
            None => Ok(()),
        }
    }

    fn redirect(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        pool: &Pool,
        ports: RdrPorts,
    ) -> Result<(), Stop> {
        let tuple = passage.packet.tuple;
        let kind = Kind::of(passage.packet);
        if matches!(kind, Kind::Single) {
            return Ok(());
        }
        let dst = self.destination_of(view, root, pool, &tuple, tuple.af)?;
        let dport = if matches!(kind, Kind::Ported) { ports.of(tuple.dport) } else { tuple.dport };
        passage.turn(Tuple { dst, dport, ..tuple });
        Ok(())
    }

    /// The address of a pool, of this family, that packets of a tuple go to.
    pub(crate) fn destination_of(
        &mut self,
        view: &View<'_>,
        root: &Root,
        pool: &Pool,
        tuple: &Tuple,
        af: Af,
    ) -> Result<Address, Stop> {
        let known = root.known(view.fib);
        let asked = Asked { af, source: tuple.src, old: tuple.dst, random: self.draw() };
        let wish = Wish { pool, uses: Use::Rdr, af, source: tuple.src };
        let kept = self.kept(view, &wish, known);
        let chosen = kept.valid.or_else(|| self.follow_order(view, &wish, &asked, known, &mut None));
        let chosen = chosen.ok_or(NOTHING_LEFT)?;
        self.settle_on(view, root, &wish, chosen, kept).map(|target| target.address)
    }

    /// Gives the packet the tuple of an aim, from another source.
    pub(crate) fn replace_source(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        (pool, ports): (&Pool, NatPorts),
        aim: &Aim,
    ) -> Result<(), Stop> {
        let packet = &passage.packet;
        let (tuple, Tuple { af, proto, .. }) = (packet.tuple, aim.base);
        let kind = Kind::of(packet);
        let known = root.known(view.fib);
        let asked = Asked { af, source: tuple.src, old: tuple.src, random: self.draw() };
        let wish = Wish { pool, uses: Use::Nat, af, source: tuple.src };
        let (mut kept, mut order) = (self.kept(view, &wish, known), None);
        let range = ports.range(&kind, tuple.src);
        let wants = pool.mapping.filter(|mapping| range.is_some() && mapping.covers(tuple.proto));
        let mapped = wants.map(|Mapping { rule, .. }| {
            let inside = Endpoint { af: tuple.af, address: tuple.src, port: tuple.sport };
            Mapped { rule, proto, inside }
        });
        if let Some(mapped) = &mapped
            && let Some(outside) = self.mapping_of(view, root, &wish, mapped, kept)?
        {
            return self.follow_mapping(passage, Tuple { sport: outside.port, ..aim.from(outside.address) });
        }
        let first = kept.valid.or_else(|| self.follow_order(view, &wish, &asked, known, &mut order));
        let mut next = Some(first.ok_or(NOTHING_LEFT)?);
        while let Some(chosen) = next {
            let Target { address: src, .. } = match kind {
                Kind::Single => chosen,
                _ => self.settle_on(view, root, &wish, chosen, kept)?,
            };
            let other = aim.from(src);
            let random = self.draw();
            let found = match (&kind, range) {
                (Kind::Single, _) => Some(Found::At(tuple.sport)),
                (_, Some(range)) => {
                    let range = (ports, range);
                    self.free_port_of(view, &other, aim.interface, range, random, mapped.as_ref())
                }
                (_, None) if other == tuple => Some(Found::At(tuple.sport)),
                (_, None) => self.only_port(&other).map(Found::At),
            };
            match found {
                None => {}
                Some(Found::At(sport)) => {
                    passage.turn(Tuple { sport, ..other });
                    return Ok(());
                }
                Some(Found::Mapped(Endpoint { address, port, .. })) => {
                    return self.follow_mapping(passage, Tuple { sport: port, ..aim.from(address) });
                }
            }
            self.shortages.lacks(
                pool.id,
                src.to_ip(af),
                matches!(ports, NatPorts::Blocks(_)).then_some(range).flatten(),
            );
            // Another worker may have a port of an address that is to be kept.
            let keeps = kept.valid.is_some() && self.hashing.workers() > 1;
            kept = kept.overtaken();
            next = if keeps { None } else { self.follow_order(view, &wish, &asked, known, &mut order) };
        }
        // What has but one port is no better off elsewhere.
        Err(if range.is_some() { Stop::Exhausted } else { NOTHING_LEFT })
    }

    /// Gives a connection of the host's own, whose source port stands for another connection's, one that is free, if there is one:
    /// the host's kernel knows nothing of translation.
    #[cold]
    #[inline(never)]
    pub(crate) fn step_aside(&mut self, view: &View<'_>, passage: &mut Passage<'_>, hook: &Hook<'_>) {
        let tuple = passage.packet.tuple;
        if !matches!(Kind::of(passage.packet), Kind::Ported) {
            return;
        }
        let (first, last) = ruleset::Pool::NAT_PORTS;
        let (range, random) = ((NatPorts::Range(first, last), (first, last)), self.draw());
        let found = self.free_port_of(view, &tuple, hook.leaves_by(), range, random, None);
        if let Some(Found::At(sport)) = found {
            passage.turn(Tuple { sport, ..tuple });
        }
    }

    /// The next address of a pool to try; the first where there is no order of them yet.
    fn follow_order(
        &self,
        view: &View<'_>,
        wish: &Wish<'_>,
        asked: &Asked,
        known: Known<'_>,
        order: &mut Option<Order>,
    ) -> Option<Target> {
        let Wish { pool, af, .. } = *wish;
        if order.is_none() {
            *order = pool.order(asked, known, &|target| self.load(view, pool, af, target));
        }
        pool.next(order.as_mut()?, af, known)
    }

    /// A free source port out of a range, as far as it is searched now; for a mapping one that no other has.
    fn free_port_of(
        &mut self,
        view: &View<'_>,
        tuple: &Tuple,
        interface: Option<InterfaceId>,
        (ports, (first, last)): (NatPorts, (Port, Port)),
        random: u64,
        mapped: Option<&Mapped>,
    ) -> Option<Found> {
        let reserved =
            view.root.map(|root| Reserved::of((root, view.fib), tuple, interface, (ports, (first, last))));
        let reserved = reserved.as_ref();
        let range = self.range_of(view, tuple, interface, (&ports, (first, last)));
        let now = view.sixteenths();
        // Mappings end wherever their last state does: other workers' removals are not known here.
        let removals = if mapped.is_some() { now.0.into() } else { self.counters.removals };
        let whole = Way::new(Round::new(first, last, random), removals);
        let mut way = match self.searches.task(range, now, removals) {
            Task::None => return None,
            Task::Rest(way) => way,
            Task::Whole => whole,
        };
        loop {
            let round = &mut way.rest;
            let found = match mapped {
                Some(mapped) => {
                    self.free_endpoint(view, tuple, (ports, reserved), round, mapped).map(Found::Mapped)
                }
                None => self.free_port(view, tuple, (ports, reserved), round).map(Found::At),
            };
            if found.is_some() {
                self.searches.note_found(range, way, now);
                return found;
            }
            if !way.has_missed(removals) {
                self.searches.note(range, way, now);
                return None;
            }
            way = whole;
        }
    }

    /// What tells the range that ports of a tuple are sought in from others, and from itself when others of it were reserved.
    fn range_of(
        &self,
        view: &View<'_>,
        tuple: &Tuple,
        interface: Option<InterfaceId>,
        (ports, (first, last)): (&NatPorts, (Port, Port)),
    ) -> u64 {
        let (key, _) = Key::of(&Tuple { sport: Port(0), ..*tuple });
        let bounds = (u64::from(first.0) << 16 | u64::from(last.0)) ^ ports.salt();
        let bounds = bounds ^ reserved::serial(view.root, view.fib, interface).rotate_left(32);
        self.hashing.hash(&key).0 ^ bounds.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// A source port with which no packet of another connection comes or answers by this tuple, and whose answers are this
    /// worker's; none that is reserved.
    fn free_port(
        &mut self,
        view: &View<'_>,
        tuple: &Tuple,
        (ports, reserved): (NatPorts, Option<&Reserved<'_>>),
        round: &mut Round,
    ) -> Option<Port> {
        let Self { ports_to_ask, connections, hashing, worker, sources, .. } = self;
        let avoids = view.root.is_some_and(Root::maps) && !sources.nodes.is_empty();
        let sought = Sought::of(tuple);
        let found = ports_to_ask.first_free(round, |number| {
            let sport = ports.nth(number);
            reserved.is_none_or(|reserved| !reserved.contains(sport))
                && sought.is_free(sport, connections, hashing, *worker)
                && !(avoids && sources.is_mapped(view, &Tuple { sport, ..*tuple }))
        });
        found.map(|number| ports.nth(number))
    }

    /// The source port of a tuple that can have no other, unless it is taken; where its answers are another worker's, that one
    /// [knows](crate::placement).
    fn only_port(&self, tuple: &Tuple) -> Option<Port> {
        let (key, _) = Key::of(tuple);
        (!self.connections.is_taken(&key, self.hashing.hash(&key))).then_some(tuple.sport)
    }
}

/// Link-local and multicast traffic is of one link: nobody else may see it under another address (RFC 4291 §2.5.6).
const fn is_of_the_link(tuple: &Tuple) -> bool {
    match tuple.af {
        Af::Inet => tuple.dst.v4() >> 28 == 0xe || tuple.dst.v4() == u32::MAX,
        Af::Inet6 => tuple.src.0 >> 118 == 0x3fa || tuple.dst.0 >> 118 == 0x3fa || tuple.dst.0 >> 120 == 0xff,
    }
}
