//! The short way of a packet that begins a connection and may be given another source where it leaves, as behind most firewalls.
//!
//! Overview: as [`begin`](super::begin), with the rules of the OUT hook asked further behind a `match` rule that translates, a
//! source [found at once](crate::translate::NewSource), and a further tuple for the record. Where anything else is to be done,
//! the packet goes the long way.
//! Ownership: the shard. Bounds: those of `begin`, a further walk of the rules, as many ports as a packet may ask about whatever
//! the others do, a further insertion.

use ruleset::{Direction, RoutingTable};
use wire::Proto;

use super::begin::{First, Plan, face, plan, question};
use crate::eval::{PlainPass, Question, Root, Tag, Walk};
use crate::fate::Fate;
use crate::fib::InterfaceId;
use crate::frame::Frame;
use crate::packet::Tuple;
use crate::quick::Kind;
use crate::rewrite;
use crate::scrub::Scrubbing;
use crate::shard::{Shard, View};
use crate::state::{Beside, Change, Family, Sketch, Which};
use crate::translate::{NewSource, Translation, forward_translated, replace_source6};

impl Shard {
    /// Makes both states of a connection whose first packet may be given another source at the OUT hook, and forwards it. `None`,
    /// and nothing is changed, if it must go the long way.
    #[inline(never)]
    pub(super) fn begin_turning<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &mut First<'_>,
        frame: &mut F,
    ) -> Option<Fate> {
        self.connections.prefetch_next_link(first.quick.key.family());
        let mut question = question(view, first);
        let plan = plan(view, root, first, &mut question)?;
        match root.few(&question) {
            Some(few) => self.begin_turned(view, root, first, frame, &plan, |question, walk| {
                root.advance_among_few(few, question, walk)
            }),
            None => self.begin_by_many(view, root, first, frame, &plan),
        }
    }

    /// As [`begin_turned`](Self::begin_turned), where many rules are in question, or some in anchors.
    #[inline(never)]
    fn begin_by_many<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &mut First<'_>,
        frame: &mut F,
        plan: &Plan<'_>,
    ) -> Option<Fate> {
        let advance = |question: &Question<'_>, walk: &mut Walk| root.advance_turning(question, walk);
        self.begin_turned(view, root, first, frame, plan, advance)
    }

    /// As [`begin_turning`](Self::begin_turning), of a packet that the IN hook lets pass. `advance` has a walk of the OUT hook's rules
    /// go on.
    #[inline(always)]
    fn begin_turned<'r, F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &'r Root,
        first: &mut First<'_>,
        frame: &mut F,
        plan: &Plan<'_>,
        advance: impl Fn(&Question<'_>, &mut Walk) -> Option<&'r Translation>,
    ) -> Option<Fate> {
        let (mut walk, mut source) = (Walk::of(Tag::default()), None);
        let Tuple { src, sport, .. } = first.packet.tuple;
        let left = self.leave_turned(view, root, first, plan.out, &mut walk, &mut source, advance);
        (first.packet.tuple.src, first.packet.tuple.sport) = (src, sport);
        // Tracked in two ways, they are two records.
        let left = left.filter(|left| left.slot.sloppy == plan.entered.slot.sloppy)?;
        let (matched, scrubbing, table) = (walk.matched(), Scrubbing::default(), RoutingTable::MAIN);
        let terms = self.connections.terms(&Beside { root, matched, scrubbing, table }).ok()?;
        let class = Sketch { terms, ..face(&left, Direction::Out, plan.out) };
        let record = self.make_both(view, first, plan, class)?;
        if let Some(source) = &source {
            let own = (first.quick.hash, first.quick.sender);
            if self.connections.add_far_tuple(record, own, &source.far()).is_err() {
                self.connections.take_back(record, first.quick.hash);
                return None;
            }
            self.take_source(source);
        }
        self.note_begun(view, root, first, frame, (plan, &left), record);
        match &source {
            None => rewrite::forward_plain(frame.bytes_mut(), first.quick.key.family(), &plan.link),
            Some(source) => write(frame.bytes_mut(), first.packet.tuple.proto, source, &plan.link),
        }
        Some(Fate::Transmit(plan.out))
    }

    /// By which rule a packet leaves, if nothing else is to be done than to give it another `source`, once: it has that then.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "what is to be known of a packet at a hook, and what becomes of it"
    )]
    fn leave_turned<'r>(
        &self,
        view: &View<'_>,
        root: &'r Root,
        first: &mut First<'_>,
        out: InterfaceId,
        walk: &mut Walk,
        source: &mut Option<NewSource>,
        advance: impl Fn(&Question<'_>, &mut Walk) -> Option<&'r Translation>,
    ) -> Option<PlainPass<'r>> {
        loop {
            let hook = Question { direction: Direction::Out, interface: out, ..question(view, first) };
            let (left, translation) = match advance(&hook, walk) {
                Some(translation) => (None, Some(translation)),
                None => {
                    let (left, translation) = root.passed_turning(walk)?;
                    (Some(left), translation)
                }
            };
            if let Some(translation) = translation {
                if source.is_some() {
                    return None;
                }
                let new = self.source_at_once(view, root, &first.packet.tuple, out, translation)?;
                (first.packet.tuple.src, first.packet.tuple.sport) = (new.address, new.port);
                *source = Some(new);
            }
            if left.is_some() {
                return left;
            }
        }
    }
}

/// Writes a new source into the frame of a packet, which goes on.
#[inline(always)]
fn write(frame: &mut [u8], proto: Proto, source: &NewSource, link: &[u8; 12]) {
    let NewSource { address, port, .. } = *source;
    let kind = if proto == Proto::TCP { Kind::Segment } else { Kind::Datagram };
    match source.family() {
        Family::Inet => {
            let (address, port) = (address.v4().to_be_bytes(), port.0.to_be_bytes());
            forward_translated(frame, kind, &Change { end: Which::Source, address, port }, link);
        }
        Family::Inet6 => replace_source6(frame, kind, (&address, port), link),
    }
}
