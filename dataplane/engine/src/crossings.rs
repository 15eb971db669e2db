//! What each interface's hooks let pass and what they blocked, by family: the counters of `pfctl -vvsI`.
//!
//! Overview: as in pf, a packet counts wherever it meets a state or the rules, with the bytes of its IP datagram: at the IN
//! hook of the interface that it enters by, and at the OUT hook of the one that it leaves by. What is skipped or not
//! filtered meets neither and does not count, nor does what dies before it (not for this station, no IP header that is
//! whole and right). A packet that is handed over counts with its owner, who judges it from the beginning. Those that go the
//! short way are counted by [`Run`]s.
//! Ownership: the shard.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::ops::AddAssign;

use ruleset::{Direction, Reason};
use wire::{Af, EtherType, ethernet, ipv4, ipv6};

use crate::counters::Counters;
use crate::eval::Counted;
use crate::fate::{Arrival, Fate, Source};
use crate::fib::{Interface, InterfaceId};
use crate::frame::{Frame, RxChecksum};
use crate::hook::{Hook, Passage, Passed, Stop};
use crate::routing::destination;
use crate::shard::{Shard, View};
use crate::state::Family;

/// What a hook did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It let it pass.
    Passed,
    /// It did not.
    Blocked,
}

/// What was counted for one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossings([Counted; Self::CELLS]);

impl Crossings {
    /// How many numbers of packets there are, and of bytes as many.
    pub const CELLS: usize = 8;

    /// What each cell is, in pfctl's order.
    pub const NAMES: [&str; Self::CELLS] = [
        "in4.passed",
        "in4.blocked",
        "out4.passed",
        "out4.blocked",
        "in6.passed",
        "in6.blocked",
        "out6.passed",
        "out6.blocked",
    ];

    /// What these cells hold, in the order of their [names](Self::NAMES).
    pub const fn of(cells: [Counted; Self::CELLS]) -> Self {
        Self(cells)
    }

    /// The cells, in the order of their [names](Self::NAMES).
    pub const fn cells(&self) -> &[Counted; Self::CELLS] {
        &self.0
    }

    /// What was counted at a hook for a family.
    pub fn at(&self, af: Af, direction: Direction, verdict: Verdict) -> Counted {
        self.0.get(Self::cell(Family::of(af), direction, verdict)).copied().unwrap_or_default()
    }

    /// What was counted since it was `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for (own, earlier) in self.0.iter_mut().zip(earlier.0) {
            own.packets = own.packets.saturating_sub(earlier.packets);
            own.bytes = own.bytes.saturating_sub(earlier.bytes);
        }
        self
    }

    #[inline]
    const fn cell(family: Family, direction: Direction, verdict: Verdict) -> usize {
        (family as usize) << 2 | (direction as usize) << 1 | verdict as usize
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, family: Family, direction: Direction, verdict: Verdict, counted: Counted) {
        if let Some(cell) = self.0.get_mut(Self::cell(family, direction, verdict)) {
            *cell += counted;
        }
    }
}

impl AddAssign for Crossings {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own += other);
    }
}

/// What a packet met on its way, by [`Direction`]: nothing, or a hook of this interface, which did this with it.
pub(crate) type Crossed = [Option<(InterfaceId, Verdict)>; 2];

/// Packets that go the short way, one behind the other, from one interface to another.
#[derive(Debug)]
#[must_use]
pub(crate) struct Run {
    from: InterfaceId,
    to: InterfaceId,
    /// By [`Family`]: how many in the upper half, their bytes in the lower. A burst is of 64 packets, each of fewer than 2^16
    /// bytes.
    counted: [u64; 2],
}

impl Run {
    /// None yet.
    pub const fn new(from: InterfaceId, to: InterfaceId) -> Self {
        Self { from, to, counted: [0; 2] }
    }

    /// One more, of so many bytes.
    #[inline(always)]
    pub const fn add(&mut self, family: Family, length: u16) {
        #[expect(clippy::indexing_slicing, reason = "there are two families")]
        let counted = &mut self.counted[family as usize];
        *counted = counted.wrapping_add(1 << 32 | length as u64);
    }

    /// Where they come from.
    pub const fn from(&self) -> InterfaceId {
        self.from
    }

    /// Where they leave.
    pub const fn to(&self) -> InterfaceId {
        self.to
    }

    /// How many there are.
    #[inline]
    pub fn packets(&self) -> usize {
        self.counted.iter().map(|counted| (counted >> 32) as usize).sum()
    }

    /// Counts them.
    pub fn count(&self, counters: &mut Counters) {
        for (family, counted) in [Family::Inet, Family::Inet6].into_iter().zip(self.counted) {
            if counted != 0 {
                let counted = Counted { packets: counted >> 32, bytes: counted & u64::from(u32::MAX) };
                counters.cross(self.from, family, Direction::In, Verdict::Passed, counted);
                counters.cross(self.to, family, Direction::Out, Verdict::Passed, counted);
            }
        }
    }
}

impl Shard {
    /// Takes a packet through one hook, traced or not.
    #[inline]
    pub(crate) fn pass_hook(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Passed, Stop> {
        let Some(root) = view.root else { return Err(Stop::silent(Reason::NoRules)) };
        passage.gateway = None;
        if root.skips(hook.interface) {
            return Ok(Passed::Stateless);
        }
        let met = self.meet(view, root, passage, hook);
        let verdict = if met.is_ok() {
            Verdict::Passed
        } else {
            self.witness.blame.hook = Some((hook.direction, hook.interface));
            Verdict::Blocked
        };
        let [entered, left] = &mut passage.crossed;
        let place = match hook.direction {
            Direction::In => entered,
            Direction::Out => left,
        };
        *place = Some((hook.interface, verdict));
        met
    }

    /// Counts a packet for the hooks that it has met.
    pub(crate) fn count_crossed(&mut self, passage: &Passage<'_>) {
        let packet = passage.as_counted();
        let counted = Counted { packets: 1, bytes: packet.length().into() };
        let family = Family::of(packet.tuple.af);
        let [entered, left] = passage.crossed;
        if let Some((interface, verdict)) = entered {
            self.counters.cross(interface, family, Direction::In, verdict, counted);
        }
        if let Some((interface, verdict)) = left {
            self.counters.cross(interface, family, Direction::Out, verdict, counted);
        }
    }

    /// Drops a frame that could not be read. If it is there for the hook where it arrived, that has blocked it.
    #[cold]
    pub(crate) fn drop_unread<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        own: &Interface,
        frame: &F,
        reason: Reason,
    ) -> Fate {
        let Arrival { interface, source } = arrival;
        let to = destination(frame.bytes());
        let is_heard = source == Source::Host || own.bridge().is_some() || to == own.mac || to.is_group();
        if is_heard
            && view.root.is_some_and(|root| !root.skips(interface))
            && let Some((family, bytes)) = datagram(frame.bytes(), frame.ip_checksum())
        {
            let direction = match source {
                Source::Wire => Direction::In,
                Source::Host => Direction::Out,
            };
            let counted = Counted { packets: 1, bytes };
            self.counters.cross(interface, family, direction, Verdict::Blocked, counted);
        }
        self.discard(view, arrival, frame.bytes(), reason)
    }
}

/// The family and the bytes of the datagram in a frame that could not be read further than its IP header; `None` if that is
/// not whole and right either, so that pf would not see it.
fn datagram(frame: &[u8], checksum: RxChecksum) -> Option<(Family, u64)> {
    let link = ethernet::Frame::parse(frame).ok()?;
    let datagram = link.payload();
    match link.ether_type() {
        EtherType::IPV4 => {
            let ip = ipv4::Packet::parse(datagram).ok()?;
            let right = match checksum {
                RxChecksum::Good => true,
                RxChecksum::Bad => false,
                RxChecksum::Unknown => ip.verify_checksum().is_ok(),
            };
            right.then(|| (Family::Inet, (ip.header().header_len() + ip.payload().len()) as u64))
        }
        EtherType::IPV6 => {
            let ip = ipv6::Packet::parse(datagram).ok()?;
            Some((Family::Inet6, (ipv6::HEADER_LEN + ip.payload().len()) as u64))
        }
        _ => None,
    }
}
