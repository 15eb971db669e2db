//! The source that most connections get: the only address of a pool, and one of the first ports that are asked about.
//!
//! Overview: what [`Shard::replace_source`] would choose, by the same random numbers, where that is found at once; but that a port
//! is passed over, too, which only looks as if it were in use: nobody is asked for more than a few bits of a hash. Where none is
//! found, the packet goes the long way, on which each is told exactly. Nothing is changed before the source is
//! [taken](Shard::take_source).
//! Ownership: the shard. Bounds: as many ports as a packet may ask about whatever the others do.

use wire::Port;

use super::port::{OF_A_PACKET, Round, Task};
use super::reserved::{Reserved, Suspects};
use super::{NatPorts, Sought, Translation, is_of_the_link};
use crate::Address;
use crate::eval::Root;
use crate::fib::{Fib, InterfaceId};
use crate::packet::Tuple;
use crate::shard::{Shard, View};
use crate::state::{Family, Far, KeyHash, Narrow, Side};

/// How many random numbers a source is chosen by: one for its address, one for its port.
const DRAWN: usize = 2;

/// Another source for the first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewSource {
    pub address: Address,
    pub port: Port,
    /// What the packet is with it.
    key: Narrow,
    wide: [Address; 2],
    hash: KeyHash,
    sender: Side,
    /// The range that the port is of; 0 where no searches are remembered.
    range: u64,
}

impl NewSource {
    pub const fn family(&self) -> Family {
        self.key.family()
    }

    /// The packet as connections know it.
    pub const fn far(&self) -> Far<'_> {
        Far { key: self.key, wide: &self.wide, hash: self.hash, sender: self.sender }
    }
}

impl Translation {
    /// True if it does nothing but give packets another source, and remembers nothing of them.
    pub fn is_at_once(&self) -> bool {
        !self.redirects()
            && self.nat.as_ref().is_some_and(|(pool, ports)| {
                let forgets = pool.sticky.is_none() && pool.load.is_none() && pool.mapping.is_none();
                forgets && matches!(ports, NatPorts::Range(..))
            })
    }
}

impl Shard {
    /// The source that a TCP segment or a UDP datagram of this tuple, which leaves by an interface, is given by a translation
    /// that [is one at once](Translation::is_at_once), if that is found at once.
    #[inline(always)]
    pub(crate) fn source_at_once(
        &self,
        view: &View<'_>,
        root: &Root,
        tuple: &Tuple,
        interface: InterfaceId,
        translation: &Translation,
    ) -> Option<NewSource> {
        let (pool, ports) = translation.nat.as_ref()?;
        let NatPorts::Range(first, last) = *ports else { return None };
        let src = pool.only(tuple.af, root.known(view.fib))?;
        // Who is behind the address already may have its own port only.
        if is_of_the_link(tuple) || src == tuple.src {
            return None;
        }
        let other = Tuple { src, ..*tuple };
        let range = self.unsearched(view, &other, interface, (ports, (first, last)))?;
        let suspects = Suspects::of(root, view.fib, tuple.proto);
        let sought = Sought::of(&other);
        let mut round = Round::new(first, last, self.draws.behind(DRAWN - 1));
        for _ in 0..OF_A_PACKET {
            let port = round.next()?;
            if suspects.contains(port) && is_reserved((root, view.fib), tuple, src, interface, ports, port) {
                continue;
            }
            if let Some((key, hash)) = sought.at_once(port, &self.connections, &self.hashing, self.worker) {
                let Sought { wide, sender, .. } = sought;
                return Some(NewSource { address: src, port, key, wide, hash, sender, range });
            }
        }
        None
    }

    /// A range, if it is to be searched from its beginning; 0 where all are.
    #[inline]
    fn unsearched(
        &self,
        view: &View<'_>,
        tuple: &Tuple,
        interface: InterfaceId,
        range: (&NatPorts, (Port, Port)),
    ) -> Option<u64> {
        if self.searches.are_none() {
            return Some(0);
        }
        let range = self.range_of(view, tuple, Some(interface), range);
        let task = self.searches.task(range, view.sixteenths(), self.counters.removals);
        (task == Task::Whole).then_some(range)
    }

    /// A packet has been given a source: what it was chosen by is used.
    #[inline]
    pub(crate) fn take_source(&mut self, source: &NewSource) {
        self.draws.skip(DRAWN);
        if source.range != 0 {
            self.searches.forget(source.range);
        }
    }
}

/// True if a port that may be reserved is, of this source of a packet.
#[cold]
#[inline(never)]
fn is_reserved(
    base: (&Root, &Fib),
    tuple: &Tuple,
    src: Address,
    interface: InterfaceId,
    ports: &NatPorts,
    port: Port,
) -> bool {
    let NatPorts::Range(first, last) = *ports else { return false };
    let range = (*ports, (first, last));
    Reserved::of(base, &Tuple { src, ..*tuple }, Some(interface), range).contains(port)
}
