//! Timestamps and hops to live where packets meet states that look at them (pf.conf(5) `scrub (reassemble tcp)`).
//!
//! Overview: a segment that fits its state is judged by its timestamps ([`track::stamps`]), and goes on with others; the frame
//! is [written](write()) last. Ownership: the shard. Bounds: the options of a segment.
//! A sloppy state follows neither numbers nor timestamps.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ruleset::{PeerState, Reason, Timeout};
use wire::tcp::{self, TcpOption, Timestamps};
use wire::{Af, ipv4, ipv6};

use super::{Hook, Passage, Stop};
use crate::eval::Decision;
use crate::frame::Frame;
use crate::packet::{Packet, Transport};
use crate::shard::{Shard, View};
use crate::state::{RecordId, Side, Sixteenths};
use crate::track::{self, BadTimestamp, Restamped, Said, Segment, Stamps};
use crate::witness::Misfit;

const _: () = assert!(track::STAMP_UNITS == Sixteenths::PER_SECOND, "both count alike");

/// True if a state that a packet makes is to look at timestamps.
#[inline]
pub(super) fn are_asked_for(decision: &Decision<'_>, packet: &Packet) -> bool {
    decision.scrubbing.reassembles_tcp()
        && !decision.slot.sloppy
        && matches!(packet.transport, Transport::Tcp(_))
}

impl Passage<'_> {
    /// What the segment says where it is now: what came in, or what the hook before made of it.
    fn said(&self, frame: &[u8]) -> Result<Said, BadTimestamp> {
        let stamps = match self.restamped {
            Some(stamps) => stamps,
            // Another segment than the one that came.
            None if self.remade.is_some() => None,
            None => {
                let arrived = self.as_arrived();
                let octets = frame.get(usize::from(arrived.l4)..arrived.end as usize).unwrap_or_default();
                match tcp::Segment::parse(octets) {
                    Ok(segment) => track::timestamps_of(segment.options())?,
                    Err(_) => None,
                }
            }
        };
        Ok(Said { stamps, ttl: self.packet.ttl })
    }

    /// As [`said`](Self::said), of a packet that is about to make a state.
    pub(super) fn first_said(&self, hook: &Hook<'_>) -> Result<Said, Stop> {
        self.said(hook.frame).map_err(|_| Stop::silent(Reason::BadTimestamp))
    }

    fn restamp(&mut self, said: Said) {
        self.keep_arrived();
        self.packet.ttl = said.ttl;
        self.restamped = Some(said.stamps);
    }
}

impl Shard {
    /// Has a state look at timestamps, from the packet on that has made it.
    #[cold]
    pub(super) fn begin_stamps(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
        said: &Said,
    ) {
        let Transport::Tcp(segment) = passage.packet.transport else { return };
        self.connections.begin_stamps(record);
        let sender = passage.flow.sender;
        let side = hook.side(sender);
        let moment = self.stamp_moment(view, side, record, PeerState::Closed);
        let (nobody, random) = (Stamps::default(), self.draw() as u32);
        // There is nothing yet that it could be compared with.
        if let Ok(begun) = track::stamps(&nobody, &nobody, &segment, said, &moment, random) {
            self.connections.propose_stamps(record, sender, [begun.from, begun.to]);
            self.connections.keep_stamps(record);
            passage.restamp(begun.said);
        }
    }

    /// Judges a segment that fits its state by its timestamps, before anything of it is kept. `level` is how far the end has
    /// come that is behind.
    #[cold]
    pub(super) fn judge_stamps(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
        segment: &Segment,
        level: PeerState,
    ) -> Result<(), Stop> {
        let sender = passage.flow.sender;
        let side = self.side_met(passage, hook, record);
        let moment = self.stamp_moment(view, side, record, level);
        let random = self.draw() as u32;
        let [from, to]: [Stamps; 2] = self.connections.stamps(record, sender);
        let judged = passage
            .said(hook.frame)
            .and_then(|said| track::stamps(&from, &to, segment, &said, &moment, random));
        match judged {
            Ok(Restamped { from, to, said }) => {
                self.connections.propose_stamps(record, sender, [from, to]);
                passage.restamp(said);
                Ok(())
            }
            Err(bad) => {
                self.blame_state(view, (side, sender), record, Misfit::Timestamp(bad));
                Err(Stop::silent(Reason::BadTimestamp))
            }
        }
    }

    fn stamp_moment(
        &self,
        view: &View<'_>,
        side: Side,
        record: RecordId,
        level: PeerState,
    ) -> track::StampMoment {
        let face = self.connections.face(record, side);
        let own = face.and_then(|class| class.rule.timeout(Timeout::TcpTsdiff));
        let usual = || view.root.map_or(0, |root| root.ruleset().options.timeouts.get(Timeout::TcpTsdiff));
        let now = view.sixteenths();
        track::StampMoment {
            now: now.0,
            age: now.since(self.connections.created(record)) / Sixteenths::PER_SECOND,
            leeway: own.unwrap_or_else(usual),
            level,
        }
    }
}

/// Writes into the frame of a packet the timestamps and the hops to live with which it goes on.
#[cold]
pub(crate) fn write<F: Frame>(frame: &mut F, packet: &Packet, stamps: Option<Timestamps>) {
    // What was parsed is there: no error is possible.
    let _ = match packet.tuple.af {
        Af::Inet => ipv4::Header::at_mut(frame.bytes_mut(), packet.l3.into())
            .map(|mut header| header.rewrite_ttl(packet.ttl)),
        Af::Inet6 => ipv6::Header::at_mut(frame.bytes_mut(), packet.l3.into())
            .map(|mut header| header.set_hop_limit(packet.ttl)),
    };
    let bounds = usize::from(packet.l4)..packet.end as usize;
    if let (Some(stamps), Some(segment)) = (stamps, frame.bytes_mut().get_mut(bounds)) {
        let _ = write_stamps(segment, stamps);
    }
}

/// Gives a segment other timestamps, if it has some.
fn write_stamps(segment: &mut [u8], stamps: Timestamps) -> Result<(), wire::Error> {
    let options = tcp::Segment::parse(segment)?.options();
    let mut options = options.iter();
    while let Some(Ok(option)) = options.next() {
        if matches!(option, TcpOption::Timestamps(_)) {
            let at = tcp::HEADER_LEN + options.offset() + 2;
            let [a, b, c, d] = stamps.value.to_be_bytes();
            let [e, f, g, h] = stamps.echo.to_be_bytes();
            return tcp::rewrite_octets(segment, at, &[a, b, c, d, e, f, g, h]);
        }
    }
    Ok(())
}
