//! Copies of packets for span ports (pf.conf(5) `dup-to`).
//!
//! Overview: a rule, or the state that it made, names a port that gets a copy of each packet: of the frame as it arrived at
//! the IN hook, or as it leaves behind the OUT hook. A copy meets the `out` rules of its target, of which `block`, `dup-to`
//! and `log` hold, so that copies of copies are possible; it never meets a state. A packet carries the set of ports that it
//! was copied to, so that no state and no rule makes it appear twice on one, nor run in circles.
//! Life cycle: copies are gathered while a burst is decided, and fetched by the shell behind it. Ownership: the shard's worker.
//! Bounds: [`TARGETS_MAX`] copies of a packet; [`COPIES_MAX`] copies and [`BYTES_MAX`] bytes in a burst. Memory is taken when
//! the first ruleset with `dup-to` arrives.

use core::net::IpAddr;

use ruleset::{Action, Direction, Reason};

use crate::eval::{Question, Role, Root};
use crate::fate::Created;
use crate::fib::InterfaceId;
use crate::hook::Passage;
use crate::log::Entry;
use crate::shard::{BURST, Shard, View};

/// The most copies of one packet.
const TARGETS_MAX: usize = 8;
/// The most copies of the packets of one burst.
const COPIES_MAX: usize = 4 * BURST;
/// The most bytes of them: two copies each of the longest frames.
const BYTES_MAX: usize = 2 * BURST * 9728;

/// The ports that a packet was copied to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    targets: [InterfaceId; TARGETS_MAX],
    count: u8,
}

impl Copied {
    /// True if there was no copy.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a port; false if it was there, or if there are too many.
    fn insert(&mut self, target: InterfaceId) -> bool {
        let count = usize::from(self.count);
        if count == TARGETS_MAX || self.targets[..count].contains(&target) {
            return false;
        }
        self.targets[count] = target;
        self.count += 1;
        true
    }
}

/// A next hop whose Ethernet address is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The interface that the original leaves by.
    pub interface: InterfaceId,
    /// Its next hop.
    pub next_hop: IpAddr,
}

/// Where a packet is copied: on the wire of which interface, and whether it waits for its Ethernet header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub of: InterfaceId,
    pub unresolved: Option<Unresolved>,
}

impl Origin {
    /// On this interface, complete.
    pub const fn on(of: InterfaceId) -> Self {
        Self { of, unresolved: None }
    }
}

/// A copy that waits for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCopy<'a> {
    /// The port that it is for.
    pub to: InterfaceId,
    /// The interface that the packet was copied on.
    pub of: InterfaceId,
    /// What its original waits for before it has its Ethernet header; the copy is to have the same.
    pub unresolved: Option<Unresolved>,
    /// The frame.
    pub frame: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    to: InterfaceId,
    of: InterfaceId,
    unresolved: Option<Unresolved>,
    /// Where its bytes end; they begin where those of the copy before end.
    end: usize,
}

/// The copies of a burst.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    gathered: Vec<Gathered>,
    bytes: Vec<u8>,
}

impl Mirror {
    /// Takes memory if rules of this root make copies.
    pub fn adopt(&mut self, root: &Root) {
        if root.copies() && self.bytes.capacity() == 0 {
            self.gathered.reserve_exact(COPIES_MAX);
            self.bytes.reserve_exact(BYTES_MAX);
        }
    }

    /// True if nothing was gathered.
    pub const fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Copies a frame; false if there is no room.
    fn add(&mut self, to: InterfaceId, origin: &Origin, frame: &[u8]) -> bool {
        let end = self.bytes.len() + frame.len();
        if self.gathered.len() == COPIES_MAX || end > BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(frame);
        let Origin { of, unresolved } = *origin;
        self.gathered.push(Gathered { to, of, unresolved, end });
        true
    }

    /// Gives out all copies in their order.
    pub fn drain(&mut self, mut each: impl FnMut(FrameCopy<'_>)) {
        let mut start = 0;
        for Gathered { to, of, unresolved, end } in self.gathered.drain(..) {
            each(FrameCopy { to, of, unresolved, frame: &self.bytes[start..end] });
            start = end;
        }
        self.bytes.clear();
    }
}

impl Shard {
    /// Copies a packet to the port that the hook which it has just passed wants it copied to, and on from there. `frame` is
    /// the packet as it is on that hook's wire, but for the Ethernet header where the next hop is not known.
    #[cold]
    #[inline(never)]
    pub(crate) fn mirror(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        origin: Origin,
        frame: &[u8],
    ) {
        let Some(root) = view.root else { return };
        let mut wanted = passage.copy_to.take();
        while let Some(target) = wanted {
            if !passage.copied.insert(target) {
                return;
            }
            self.counters.create(Created::Copy);
            wanted = match self.judge_copy(view, root, passage, target, frame) {
                Ok(next) if self.mirror.add(target, &origin, frame) => next,
                Ok(_) => return self.counters.drop_packet(target, Reason::NoBuffer),
                Err(reason) => return self.counters.drop_packet(target, reason),
            };
        }
    }

    /// What the rules of the target say to a copy: where it is copied to from there, or why it may not leave.
    fn judge_copy(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &Passage<'_>,
        target: InterfaceId,
        frame: &[u8],
    ) -> Result<Option<InterfaceId>, Reason> {
        if root.skips(target) {
            return Ok(None);
        }
        let direction = Direction::Out;
        let question = Question {
            packet: passage.packet,
            direction,
            interface: target,
            tag: passage.tag,
            fib: view.fib,
            role: Role::Copy,
        };
        let decision = root.decide(&question);
        self.rule_totals.count_walk(root, decision.ended_at);
        self.rule_totals.count_packet(&decision, passage.packet.length());
        let dropped = matches!(decision.action, Action::Block(_)).then_some(Reason::Match);
        if decision.log {
            let entry = Entry { tick: view.now, interface: target, direction, dropped, rule: decision.rule };
            self.log.record(entry, passage.packet, frame);
        }
        dropped.map_or(Ok(decision.slot.copy_to), Err)
    }

    /// True if the burst has left copies to be fetched.
    #[inline]
    pub fn has_copies(&self) -> bool {
        !self.mirror.is_empty()
    }

    /// Gives the copies that the burst has left to `each`, in their order, with the counters for what it has to drop.
    pub fn take_copies(&mut self, mut each: impl FnMut(FrameCopy<'_>, &mut crate::Counters)) {
        let Self { mirror, counters, .. } = self;
        mirror.drain(|copy| each(copy, counters));
    }
}
