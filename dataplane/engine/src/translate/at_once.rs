//! The source that most connections get where they leave, and the destination where they come in: the first address that a pool
//! has for them, and one of the first ports that are asked about, or the one that it is to be.
//!
//! Overview: what [`Shard::translate`] would choose, by the same random numbers, where that is found at once; but that a port
//! is passed over, too, which only looks as if it were in use: nobody is asked for more than a few bits of a hash. Where none is
//! found, the packet goes the long way, on which each is told exactly. Nothing is changed before the new end is
//! [taken](Shard::take_end).
//! Ownership: the shard. Bounds: as many ports as a packet may ask about whatever the others do.

use ruleset::Direction;
use wire::Port;

use super::port::{OF_A_PACKET, Round, Task};
use super::reserved::{Reserved, Suspects};
use super::{Kind, NatPorts, RdrPorts, Sought, Translation, is_of_the_link};
use crate::Address;
use crate::eval::Root;
use crate::fib::{Fib, InterfaceId};
use crate::packet::Tuple;
use crate::pool::{Asked, Pool, Turn};
use crate::shard::{Shard, View};
use crate::state::{Family, Narrow, NewTuple};

/// Another source, or another destination, for the first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEnd<'r> {
    pub address: Address,
    pub port: Port,
    /// What the packet is with it.
    pub tuple: NewTuple,
    /// The range that the port is of; 0 where no searches are remembered.
    range: u64,
    /// Whose turn it was in the pool, where addresses have one in turn.
    turn: Option<Turn<'r>>,
}

/// A translation is not as most are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unusual;

impl NewEnd<'_> {
    pub const fn family(&self) -> Family {
        self.tuple.key.family()
    }
}

impl Translation {
    /// True if it does nothing but give packets another source or another destination, and remembers nothing of them.
    pub fn is_at_once(&self) -> bool {
        let forgets = |pool: &Pool| pool.sticky.is_none() && pool.load.is_none() && pool.mapping.is_none();
        match (&self.nat, &self.rdr, self.af_to) {
            (Some((pool, _)), None, None) => forgets(pool),
            (None, Some((pool, _)), None) => forgets(pool),
            _ => false,
        }
    }
}

impl Shard {
    /// The source that a TCP segment or a UDP datagram of this tuple is given, which leaves by an interface, if that is found at
    /// once, by a translation that [is one at once](Translation::is_at_once), where it is as most are: the pool's only address,
    /// and a port out of one range.
    ///
    /// # Errors
    /// If it is not.
    #[inline(always)]
    pub(crate) fn usual_end_at_once<'r>(
        &self,
        view: &View<'_>,
        root: &Root,
        tuple: &Tuple,
        (direction, interface): (Direction, InterfaceId),
        translation: &Translation,
    ) -> Result<Option<NewEnd<'r>>, Unusual> {
        let (Direction::Out, Some((pool, NatPorts::Range(first, last)))) = (direction, &translation.nat)
        else {
            return Err(Unusual);
        };
        let src = pool.only(tuple.af, root.known(view.fib)).ok_or(Unusual)?;
        if is_of_the_link(tuple) {
            return Ok(None);
        }
        // Of its own, so that it is compiled for such a range.
        let range = (NatPorts::Range(*first, *last), (*first, *last));
        Ok(self.source_at_once(view, root, (tuple, interface), (src, None), range))
    }

    /// The end that a TCP segment or a UDP datagram of this tuple is given at the hook of `direction` by any translation that
    /// [is one at once](Translation::is_at_once), if that is found at once: another source where it leaves, another destination
    /// where it comes in.
    pub(crate) fn end_at_once<'r>(
        &self,
        view: &View<'_>,
        root: &Root,
        tuple: &Tuple,
        (direction, interface): (Direction, InterfaceId),
        translation: &'r Translation,
    ) -> Option<NewEnd<'r>> {
        if is_of_the_link(tuple) {
            return None;
        }
        match (direction, translation) {
            (Direction::Out, Translation { nat: Some((pool, ports)), .. }) => {
                self.any_source_at_once(view, root, (tuple, interface), pool, ports)
            }
            (Direction::In, Translation { rdr: Some((pool, ports)), .. }) => {
                self.destination_at_once(view, root, tuple, pool, *ports)
            }
            _ => None,
        }
    }

    fn any_source_at_once<'r>(
        &self,
        view: &View<'_>,
        root: &Root,
        (tuple, interface): (&Tuple, InterfaceId),
        pool: &'r Pool,
        ports: &NatPorts,
    ) -> Option<NewEnd<'r>> {
        let (src, turn) = self.address_at_once(view, root, tuple, tuple.src, pool)?;
        match ports.range(&Kind::Ported, tuple.src) {
            Some(ends) => self.source_at_once(view, root, (tuple, interface), (src, turn), (*ports, ends)),
            None if src == tuple.src => None,
            None => self.only_tuple(Direction::Out, &Tuple { src, ..*tuple }, (src, tuple.sport), turn),
        }
    }

    fn destination_at_once<'r>(
        &self,
        view: &View<'_>,
        root: &Root,
        tuple: &Tuple,
        pool: &'r Pool,
        ports: RdrPorts,
    ) -> Option<NewEnd<'r>> {
        let (dst, turn) = self.address_at_once(view, root, tuple, tuple.dst, pool)?;
        let dport = ports.of(tuple.dport);
        let other = Tuple { dst, dport, ..*tuple };
        if other == *tuple { None } else { self.only_tuple(Direction::In, &other, (dst, dport), turn) }
    }

    /// The address of a pool that takes the place of `old`, and whose turn it was.
    fn address_at_once<'r>(
        &self,
        view: &View<'_>,
        root: &Root,
        tuple: &Tuple,
        old: Address,
        pool: &'r Pool,
    ) -> Option<(Address, Option<Turn<'r>>)> {
        let known = root.known(view.fib);
        if let Some(only) = pool.only(tuple.af, known) {
            return Some((only, None));
        }
        let asked = Asked { af: tuple.af, source: tuple.src, old, random: self.draws.behind(0) };
        pool.first(&asked, known).map(|(target, turn)| (target.address, turn))
    }

    /// A source with one of the first ports of a range that are asked about.
    #[inline(always)]
    fn source_at_once<'r>(
        &self,
        view: &View<'_>,
        root: &Root,
        (tuple, interface): (&Tuple, InterfaceId),
        (src, turn): (Address, Option<Turn<'r>>),
        (ports, (first, last)): (NatPorts, (Port, Port)),
    ) -> Option<NewEnd<'r>> {
        // Who is behind the address already may have its own port only.
        if src == tuple.src {
            return None;
        }
        let range = self.unsearched(view, (tuple, src), interface, (&ports, (first, last)))?;
        let suspects = Suspects::of(root, view.fib, tuple.proto);
        let sought = Sought::of(&Tuple { src, ..*tuple });
        let mut round = Round::new(first, last, self.draws.behind(1));
        for _ in 0..OF_A_PACKET {
            let port = ports.nth(round.next()?);
            if suspects.contains(port)
                && is_reserved((root, view.fib), (tuple, src), interface, (ports, (first, last)), port)
            {
                continue;
            }
            if let Some((key, hash)) = sought.at_once(port, &self.connections, &self.hashing, self.worker) {
                let Sought { wide, sender, .. } = sought;
                let tuple = NewTuple { direction: Direction::Out, key, wide, hash, sender, foreign: false };
                return Some(NewEnd { address: src, port, tuple, range, turn });
            }
        }
        None
    }

    /// The new end of a tuple that can have no other, if nobody has one of its hash.
    fn only_tuple<'r>(
        &self,
        direction: Direction,
        tuple: &Tuple,
        (address, port): (Address, Port),
        turn: Option<Turn<'r>>,
    ) -> Option<NewEnd<'r>> {
        let (key, sender, wide) = Narrow::of_tuple(tuple);
        let hash = self.hashing.hash_narrow(&key, &wide);
        let foreign = self.hashing.home(hash) != self.worker;
        let is_free = !self.connections.may_be_taken(hash);
        let tuple = NewTuple { direction, key, wide, hash, sender, foreign };
        is_free.then_some(NewEnd { address, port, tuple, range: 0, turn })
    }

    /// A range of a source, if it is to be searched from its beginning; 0 where all are.
    #[inline(always)]
    fn unsearched(
        &self,
        view: &View<'_>,
        (tuple, src): (&Tuple, Address),
        interface: InterfaceId,
        range: (&NatPorts, (Port, Port)),
    ) -> Option<u64> {
        if self.searches.are_none() {
            return Some(0);
        }
        let range = self.range_of(view, &Tuple { src, ..*tuple }, Some(interface), range);
        let task = self.searches.task(range, view.sixteenths(), self.counters.removals);
        (task == Task::Whole).then_some(range)
    }

    /// A packet has been given a new end: what that was chosen by is used.
    #[inline(always)]
    pub(crate) fn take_end(&mut self, new: &NewEnd<'_>) {
        // One random number is for the address, and of a source one for the port.
        self.draws.skip(match new.tuple.direction {
            Direction::In => 1,
            Direction::Out => 2,
        });
        if new.range != 0 {
            self.searches.forget(new.range);
        }
        if let Some(turn) = new.turn {
            turn.take();
        }
    }
}

/// True if a port that may be reserved is, of this source of a packet.
#[cold]
#[inline(never)]
fn is_reserved(
    base: (&Root, &Fib),
    (tuple, src): (&Tuple, Address),
    interface: InterfaceId,
    range: (NatPorts, (Port, Port)),
    port: Port,
) -> bool {
    Reserved::of(base, &Tuple { src, ..*tuple }, Some(interface), range).contains(port)
}
