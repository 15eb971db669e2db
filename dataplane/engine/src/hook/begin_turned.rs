//! The short way of a packet that begins a connection and may be given another source where it leaves, as behind most firewalls,
//! or another destination where it comes in, as in front of most servers.
//!
//! Overview: as [`begin`](super::begin), with the rules of a hook asked further behind a `match` rule that translates, an end
//! [found at once](crate::translate::NewEnd), and a further tuple for the record. Where anything else is to be done, the packet
//! goes the long way. A source as most are, the only address of a pool with a port out of a range, has code of its own, which is
//! compiled for that; other ends share the rest.
//! Ownership: the shard. Bounds: those of `begin`, a further walk of the rules, as many ports as a packet may ask about whatever
//! the others do, a further insertion.

use ruleset::{Direction, RoutingTable};
use wire::{Port, Proto};

use super::begin::{First, Plan, face, plan, question};
use crate::Address;
use crate::eval::{Matched, PlainPass, Question, Root, Strays, Tag, Walk};
use crate::fate::Fate;
use crate::fib::InterfaceId;
use crate::frame::Frame;
use crate::packet::Tuple;
use crate::quick::Kind;
use crate::rewrite;
use crate::routing::gate_forwarding;
use crate::scrub::Scrubbing;
use crate::shard::{Shard, View};
use crate::state::{Beside, Change, Family, RecordId, Sketch, Which};
use crate::translate::{NewEnd, Translation, Unusual, forward_translated, replace_end6};

/// A packet that the IN hook lets pass.
struct Entered<'a, 'r> {
    plan: Plan<'r>,
    /// What that hook has done with it, if it may have done anything.
    redirected: Option<Redirected<'a, 'r>>,
    /// How far it has come among the rules of the OUT hook, if it has met one that translates it.
    came_to: Option<Walk>,
}

/// What the IN hook has done with a packet, and what that was before.
struct Redirected<'a, 'r> {
    /// The `match` rules that it met.
    matched: &'a Matched,
    /// The destination that it was given, if it was.
    new: Option<NewEnd<'r>>,
    dst: Address,
    dport: Port,
}

/// Why a packet does not begin a connection on a way.
#[derive(Clone, Copy, Debug)]
enum Detour {
    /// It must go the long way.
    Long,
    /// A translation that is not as most are is to find an end for it.
    Unusual,
}

impl Shard {
    /// Makes both states of a connection whose first packet may be given another end, and forwards it. `None`, and nothing is
    /// changed, if it must go the long way.
    #[inline(never)]
    pub(super) fn begin_turning<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &mut First<'_>,
        frame: &mut F,
    ) -> Option<Fate> {
        self.connections.prefetch_next_lines(first.quick.key.family());
        let mut question = question(view, first);
        let entered = match root.passes_or_strays(&question) {
            Ok(entered) => entered,
            Err(Strays(true)) if root.redirects() => {
                return self.begin_redirected(view, root, first, frame);
            }
            Err(_) => return None,
        };
        let plan = plan(view, root, first, entered)?;
        (question.direction, question.interface) = (Direction::Out, plan.out);
        match root.few(&question) {
            Some(mut few) => self.begin_as_most(view, root, first, frame, plan, |question, walk| {
                root.advance_among_few(&mut few, question, walk)
            }),
            None => self.begin_by_many(view, root, first, frame, plan),
        }
    }

    /// The same where many rules of the OUT hook are in question, or some in anchors.
    #[inline(never)]
    fn begin_by_many<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &mut First<'_>,
        frame: &mut F,
        plan: Plan<'_>,
    ) -> Option<Fate> {
        let advance = |question: &Question<'_>, walk: &mut Walk| root.advance_turning(question, walk);
        self.begin_as_most(view, root, first, frame, plan, advance)
    }

    /// The same where a rule of the IN hook may give the packet another destination.
    #[inline(never)]
    fn begin_redirected<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &mut First<'_>,
        frame: &mut F,
    ) -> Option<Fate> {
        let Tuple { dst, dport, .. } = first.packet.tuple;
        let (mut walk, mut new, hook) = (Walk::of(Tag::default()), None, (Direction::In, first.arrival));
        let advance = |question: &Question<'_>, walk: &mut Walk| root.advance_turning(question, walk);
        let entered =
            self.pass_turning::<true>(view, root, first, hook, (&mut walk, false), &mut new, advance);
        // Where it goes from now on may be of a link alone.
        let entered = entered.ok().filter(|_| gate_forwarding(first.packet).is_ok());
        let plan = entered.and_then(|entered| plan(view, root, first, entered));
        let begun = plan.and_then(|plan| {
            let redirected = Some(Redirected { matched: walk.matched(), new, dst, dport });
            let entered = Entered { plan, redirected, came_to: None };
            self.begin_unusually(view, root, first, frame, entered)
        });
        (first.packet.tuple.dst, first.packet.tuple.dport) = (dst, dport);
        begun
    }

    /// As [`begin_turning`](Self::begin_turning), of a packet that the IN hook lets pass as it is. `advance` has a walk of the OUT
    /// hook's rules go on.
    #[inline(always)]
    fn begin_as_most<'r, F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &'r Root,
        first: &mut First<'_>,
        frame: &mut F,
        plan: Plan<'r>,
        advance: impl FnMut(&Question<'_>, &mut Walk) -> Option<&'r Translation>,
    ) -> Option<Fate> {
        let mut walk = Walk::of(Tag::default());
        let entered = Entered { plan, redirected: None, came_to: None };
        match self.begin_turned::<F, false>(view, root, first, frame, entered, &mut walk, advance) {
            Ok(fate) => Some(fate),
            Err(Detour::Long) => None,
            Err(Detour::Unusual) => {
                let entered = Entered { plan, redirected: None, came_to: Some(walk) };
                self.begin_unusually(view, root, first, frame, entered)
            }
        }
    }

    /// The same where the end that the packet is given may be any.
    #[inline(never)]
    fn begin_unusually<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &mut First<'_>,
        frame: &mut F,
        entered: Entered<'_, '_>,
    ) -> Option<Fate> {
        let mut walk = entered.came_to.unwrap_or(Walk::of(Tag::default()));
        let advance = |question: &Question<'_>, walk: &mut Walk| root.advance_turning(question, walk);
        self.begin_turned::<F, true>(view, root, first, frame, entered, &mut walk, advance).ok()
    }

    /// Makes both states of a connection whose first packet may be given `ANY` end, or one as most are, where it leaves.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of a packet between the hooks, and what becomes of it"
    )]
    fn begin_turned<'r, F: Frame, const ANY: bool>(
        &mut self,
        view: &View<'_>,
        root: &'r Root,
        first: &mut First<'_>,
        frame: &mut F,
        Entered { plan, redirected, came_to }: Entered<'_, 'r>,
        walk: &mut Walk,
        advance: impl FnMut(&Question<'_>, &mut Walk) -> Option<&'r Translation>,
    ) -> Result<Fate, Detour> {
        let mut new = redirected.as_ref().and_then(|redirected| redirected.new);
        let Tuple { src, sport, .. } = first.packet.tuple;
        let (hook, at) = ((Direction::Out, plan.out), (&mut *walk, came_to.is_some()));
        let left = self.pass_turning::<ANY>(view, root, first, hook, at, &mut new, advance);
        (first.packet.tuple.src, first.packet.tuple.sport) = (src, sport);
        if let Some(Redirected { dst, dport, .. }) = redirected {
            (first.packet.tuple.dst, first.packet.tuple.dport) = (dst, dport);
        }
        let left = left?;
        // Tracked in two ways, they are two records.
        if left.slot.sloppy != plan.entered.slot.sloppy {
            return Err(Detour::Long);
        }
        let made = self.make_turned(view, root, first, (&plan, redirected), (&left, walk.matched()));
        let record = made.ok_or(Detour::Long)?;
        if let Some(new) = &new {
            let own = (first.quick.hash, first.quick.sender);
            if self.connections.add_new_tuple(record, own, &new.tuple).is_err() {
                self.connections.take_back(record, first.quick.hash);
                return Err(Detour::Long);
            }
            self.take_end(new);
        }
        self.note_begun(view, root, first, frame, (&plan, &left), record);
        match &new {
            None => rewrite::forward_plain(frame.bytes_mut(), first.quick.key.family(), &plan.link),
            Some(new) => write(frame.bytes_mut(), first.packet.tuple.proto, new, &plan.link),
        }
        Ok(Fate::Transmit(plan.out))
    }

    /// Makes the record of a packet which has `left` and met `match` rules on its way.
    #[inline(always)]
    fn make_turned(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &First<'_>,
        (plan, redirected): (&Plan<'_>, Option<Redirected<'_, '_>>),
        (left, matched): (&PlainPass<'_>, &Matched),
    ) -> Option<RecordId> {
        let mut entered = face(&plan.entered, Direction::In, first.arrival);
        if let Some(Redirected { matched, .. }) = redirected {
            entered.terms = self.connections.terms(&beside(root, matched)).ok()?;
        }
        let terms = self.connections.terms(&beside(root, matched)).ok()?;
        if let Some(Redirected { matched: before, .. }) = redirected
            && entered.terms.is_some()
            && entered.terms == terms
            && before != matched
        {
            // There is no other number left, and no class has had that of the first ones yet.
            return None;
        }
        let left = Sketch { terms, ..face(left, Direction::Out, plan.out) };
        self.make_both(view, first, (entered, left))
    }

    /// By which rule a packet passes a hook, if nothing else is to be done than to give it a `new` end, once: it has that then. Its
    /// walk is at a translation already, if that is said.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of a packet at a hook, and what becomes of it"
    )]
    fn pass_turning<'r, const ANY: bool>(
        &self,
        view: &View<'_>,
        root: &'r Root,
        first: &mut First<'_>,
        hook: (Direction, InterfaceId),
        (walk, mut is_there): (&mut Walk, bool),
        new: &mut Option<NewEnd<'r>>,
        mut advance: impl FnMut(&Question<'_>, &mut Walk) -> Option<&'r Translation>,
    ) -> Result<PlainPass<'r>, Detour> {
        let (direction, interface) = hook;
        let mut has_ended = false;
        while !has_ended {
            let question = Question { direction, interface, ..question(view, first) };
            let halt = if ANY && is_there { root.turning(walk) } else { advance(&question, walk) };
            (is_there, has_ended) = (false, halt.is_none());
            let Some(translation) = halt.or_else(|| root.deciding_translation(walk)) else { break };
            if new.is_some() {
                return Err(Detour::Long);
            }
            let tuple = &mut first.packet.tuple;
            let end = match ANY {
                true => self.end_at_once(view, root, tuple, hook, translation),
                false => match self.usual_end_at_once(view, root, tuple, hook, translation) {
                    Err(Unusual) => return Err(Detour::Unusual),
                    Ok(end) => end,
                },
            };
            let end = end.ok_or(Detour::Long)?;
            match direction {
                Direction::In => (tuple.dst, tuple.dport) = (end.address, end.port),
                Direction::Out => (tuple.src, tuple.sport) = (end.address, end.port),
            }
            *new = Some(end);
        }
        root.passed(walk).ok_or(Detour::Long)
    }
}

/// What a state is made under beside its rule, if that is nothing but the `match` rules that its packet met.
#[inline(always)]
fn beside<'a>(root: &'a Root, matched: &'a Matched) -> Beside<'a> {
    Beside { root, matched, scrubbing: Scrubbing::default(), table: RoutingTable::MAIN }
}

/// Writes the end that a packet has been given into its frame, which goes on.
#[inline(always)]
fn write(frame: &mut [u8], proto: Proto, new: &NewEnd<'_>, link: &[u8; 12]) {
    let NewEnd { address, port, ref tuple, .. } = *new;
    let kind = if proto == Proto::TCP { Kind::Segment } else { Kind::Datagram };
    let end = match tuple.direction {
        Direction::In => Which::Destination,
        Direction::Out => Which::Source,
    };
    match new.family() {
        Family::Inet => {
            let (address, port) = (address.v4().to_be_bytes(), port.0.to_be_bytes());
            forward_translated(frame, kind, &Change { end, address, port }, link);
        }
        Family::Inet6 => replace_end6(frame, kind, end, (&address, port), link),
    }
}
