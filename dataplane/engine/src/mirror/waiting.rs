//! Copies that wait for the shell to fetch them.
//!
//! Overview: a copy that was made on the long way has bytes of its own; those of packets that went the short way are told by
//! which of the burst's frames they repeat, and are made of these as they are fetched. What is rewritten of a frame on
//! the short way is [noted](Noted) before.
//! Life cycle: from a burst to the next. Ownership: the [mirror](super). Bounds: the burst's.

use ruleset::Reason;

use super::plan::{Form, PlanId};
use super::{Mirror, Unresolved};
use crate::fate::{Created, Source};
use crate::fib::InterfaceId;
use crate::frame::Frame;
use crate::loss::Losses;
use crate::normalize::{Cut, cut_up};
use crate::rewrite::{PLAIN_HEAD, forward_plain};
use crate::shard::BURST;
use crate::state::Family;

/// What is noted of a packet that goes the short way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted {
    /// What is about to be rewritten of its frame.
    pub head: [u8; PLAIN_HEAD],
    /// What it is copied by.
    pub plan: PlanId,
}

/// What is noted of the packets of a burst, by their number in it.
#[derive(Debug)]
pub(crate) struct NotedBurst([Noted; BURST]);

impl Default for NotedBurst {
    fn default() -> Self {
        Self([Noted { head: [0; PLAIN_HEAD], plan: PlanId::NONE }; BURST])
    }
}

impl NotedBurst {
    /// The plans of so many packets from number `first` on, each with how many packets follow it one behind the other.
    #[inline]
    pub fn plans(&self, first: usize, packets: usize) -> impl Iterator<Item = (PlanId, usize)> {
        let noted = self.0.get(first..first + packets).unwrap_or_default();
        noted.chunk_by(|one, next| one.plan == next.plan).map(|alike| (alike[0].plan, alike.len()))
    }

    /// That of a packet.
    #[inline(always)]
    pub fn get_mut(&mut self, number: usize) -> Option<&mut Noted> {
        self.0.get_mut(number)
    }
}

const _: () = assert!(BURST <= u8::MAX as usize, "a packet's number in its burst has eight bits");

/// Copies that are to be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Own(Own),
    Repeated(Repeated),
}

/// A copy that has bytes of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub to: InterfaceId,
    pub of: Option<InterfaceId>,
    /// Where they end; they begin where those of the copy before end.
    pub end: u32,
    /// It waits for its Ethernet header.
    pub waits: bool,
    /// It goes in fragments.
    pub cut: Option<Cut>,
}

/// A copy of each of the burst's frames from one number to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    pub to: InterfaceId,
    pub of: Option<InterfaceId>,
    pub form: Form,
    pub family: Family,
    pub begin: u8,
    pub end: u8,
}

/// Copies that leave by one way.
#[derive(Debug)]
pub struct Copies<'a, F> {
    /// The interface that they leave by.
    pub to: InterfaceId,
    /// The interface on whose wire the frames were that they repeat; `None` if they are routed to a host.
    pub of: Option<InterfaceId>,
    /// What they wait for, or those frames do, before they have their Ethernet header.
    pub unresolved: Option<Unresolved>,
    bodies: Bodies<'a, F>,
}

#[derive(Debug)]
enum Bodies<'a, F> {
    One { head: &'a [u8], rest: &'a [u8] },
    Repeated { frames: &'a [F], noted: &'a [Noted], form: Form, family: Family },
}

impl<F: Frame> Copies<'_, F> {
    /// Gives each copy to `take`: what the frame begins with, and what follows; either may be empty.
    #[inline(always)]
    pub fn each(self, mut take: impl FnMut(&[u8], &[u8])) {
        match self.bodies {
            Bodies::One { head, rest } => take(head, rest),
            Bodies::Repeated { frames, noted, form, family } => {
                for (frame, Noted { head, .. }) in frames.iter().zip(noted) {
                    let mut sent;
                    let head: &[u8] = match &form {
                        Form::Left => &[],
                        Form::Arrived => head,
                        Form::Sent { link, .. } => {
                            sent = *head;
                            forward_plain(&mut sent, family, link);
                            &sent
                        }
                    };
                    take(head, frame.bytes().get(head.len()..).unwrap_or_default());
                }
            }
        }
    }
}

impl Mirror {
    /// Gives out all copies; `frames` are those of the burst.
    #[inline]
    pub(super) fn drain<F: Frame>(
        &mut self,
        frames: &[F],
        mut losses: Losses<'_>,
        mut each: impl FnMut(Copies<'_, F>, &mut Losses<'_>),
    ) {
        let (mut start, mut unresolved) = (0, self.unresolved.drain(..));
        for waiting in self.gathered.drain(..) {
            let Own { to, of, end, waits, cut } = match waiting {
                Waiting::Own(own) => own,
                Waiting::Repeated(Repeated { to, of, form, family, begin, end }) => {
                    let range = usize::from(begin)..usize::from(end);
                    let noted = self.noted.as_deref().and_then(|noted| noted.0.get(range.clone()));
                    let (Some(frames), Some(noted)) = (frames.get(range), noted) else { continue };
                    let bodies = Bodies::Repeated { frames, noted, form, family };
                    each(Copies { to, of, unresolved: None, bodies }, &mut losses);
                    continue;
                }
            };
            let own = self.bytes.get(start..end as usize).unwrap_or_default();
            let unresolved = if waits { unresolved.next() } else { None };
            start = end as usize;
            let mut give = |head: &[u8], rest: &[u8]| {
                each(Copies { to, of, unresolved, bodies: Bodies::One { head, rest } }, &mut losses);
            };
            match cut {
                None => give(own, &[]),
                Some(cut) => match cut_up(own, cut, give) {
                    Some(pieces) => losses.counters.create(Created::Copy, pieces.saturating_sub(1)),
                    None => losses.leaving((to, Source::Wire), Reason::Fragment, own),
                },
            }
        }
        self.bytes.clear();
        self.count = 0;
    }
}
