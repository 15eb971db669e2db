//! Timestamps and hops to live of a connection's ends (pf.conf(5) `scrub (reassemble tcp)`, `pf_normalize_tcp_stateful`).
//!
//! Of an end that has begun with a timestamp (RFC 7323 §3) something is added to all its timestamps, so that nobody behind the
//! firewall tells its uptime from them, or that two ends are one machine. Once both have echoed the other, a segment whose
//! timestamp is older than what was echoed, newer than its clock can be, or which echoes what was never sent, is refused, and
//! so is data without a timestamp of an end whose first data had one. An end's packets leave with the most hops to live that
//! any of them had: what is to die on its way behind the firewall does not.
//!
//! Deviations: resets are compared with nothing, as their receivers do not either (RFC 7323 §5.2); pf takes the sender's later
//! clock for the earliest of the two by comparing it with the receiver's, and refuses what a server says first then; a
//! timestamp of 0 is one like any other; pf's bound on a clock is void where the time since is as good as none (tests
//! `shard_stamps`).

use ruleset::PeerState;
use wire::tcp::Timestamps;
use wire::{Seq, TcpFlags};

use super::Segment;

/// The fastest clock of timestamps, in ticks per second: 1 ms (RFC 7323 §5.4), and a tenth more.
const TICKS_MAX: u64 = 1_100;

/// How long an end may be silent until its timestamps are compared no more, in seconds: its clock may have wrapped.
const IDLE_MAX: u32 = 24 * DAY;

/// How long they are compared in all.
const AGE_MAX: u32 = 12 * DAY;

const DAY: u32 = 86_400;

/// The time that is kept of an end counts so many to the second.
pub const UNITS: u32 = 16;

/// What is known of an end.
mod bits {
    /// A packet of it was seen.
    pub const SEEN: u8 = 1;
    /// Its first one had a timestamp.
    pub const STAMPS: u8 = 1 << 1;
    /// It has echoed the other end: its timestamps can be compared.
    pub const ECHOED: u8 = 1 << 2;
    /// They are compared no more.
    pub const LAPSED: u8 = 1 << 3;
    /// The first of its data had a timestamp.
    pub const DATA_WITH: u8 = 1 << 4;
    /// The first of its data had none.
    pub const DATA_WITHOUT: u8 = 1 << 5;
}

/// The timestamps of one end, as they are before anything is added. 0 in all is an end that nobody has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Zeroable)]
#[repr(C)]
pub struct Stamps {
    /// What is added to them.
    pub added: u32,
    /// The latest.
    pub value: u32,
    /// The earliest.
    pub first: u32,
    /// The latest of the other end that it has echoed.
    pub echo: u32,
    /// When the latest came, in [`UNITS`].
    pub when: u32,
    /// The most hops to live of its packets.
    pub ttl: u8,
    known: u8,
    spare: u16,
}

/// What a segment says, beside what tracking looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its timestamps, as they arrive where they are looked at.
    pub stamps: Option<Timestamps>,
    /// Its hops to live.
    pub ttl: u8,
}

/// When a segment comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// In [`UNITS`], from any time on; it may wrap.
    pub now: u32,
    /// Seconds since its connection began.
    pub age: u32,
    /// `set timeout tcp.tsdiff`: the seconds by which a clock may run ahead.
    pub leeway: u32,
    /// The state of the end that has come less far.
    pub level: PeerState,
}

/// What no honest sender does with timestamps; the reason is `bad-timestamp`. Numbers are ticks of the clock that the timestamp
/// is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTimestamp {
    /// The segment has two of them.
    Twice,
    /// Data without one, of an end whose first data had one.
    Missing,
    /// It is by so much older than what its receiver has echoed already.
    Old(u32),
    /// It is by so much later than its sender's clock can be.
    Ahead(u32),
    /// It echoes one by so much later than the latest that was sent.
    EchoOfNone(u32),
    /// It echoes one by so much earlier than the first that was sent.
    EchoOfOlder(u32),
}

/// What becomes of a segment that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restamped {
    /// What its sender becomes.
    pub from: Stamps,
    /// What its receiver becomes.
    pub to: Stamps,
    /// What the segment says from there on.
    pub said: Said,
}

/// True if `a` is before `b`, modulo 2³².
const fn before(a: u32, b: u32) -> bool {
    Seq(a).before(Seq(b))
}

impl Stamps {
    const fn is(&self, bit: u8) -> bool {
        self.known & bit != 0
    }

    /// A packet of it has passed.
    pub const fn is_seen(&self) -> bool {
        self.is(bits::SEEN)
    }

    /// Its timestamps are compared.
    const fn compares(&self) -> bool {
        self.is(bits::ECHOED) && !self.is(bits::LAPSED)
    }

    /// Those of an end, and then those of the other one, as they are where those of `far` have been added to.
    #[must_use]
    pub const fn beyond(near: &Self, far: &Self) -> [Self; 2] {
        let Self { added, value, first, .. } = *far;
        [
            Self { added: 0, echo: near.echo.wrapping_add(added), ..*near },
            Self { added: 0, value: value.wrapping_add(added), first: first.wrapping_add(added), ..*far },
        ]
    }

    /// Enters the first packet of an end; `random` is added to its timestamps.
    fn meet(&mut self, segment: &Segment, said: &Said, random: u32) {
        (self.known, self.ttl) = (bits::SEEN, said.ttl);
        // Whether timestamps are used is agreed on by SYNs.
        if let Some(Timestamps { value, .. }) = said.stamps
            && segment.has(TcpFlags::SYN)
        {
            self.known |= bits::STAMPS;
            (self.added, self.value, self.first) = (random, value, value);
        }
    }

    /// Gives up comparing what may have wrapped.
    const fn lapse(&mut self, moment: &Moment, max_age: u32) {
        let idle = moment.now.wrapping_sub(self.when) / UNITS;
        if self.compares() && (idle > IDLE_MAX || moment.age > max_age) {
            self.known |= bits::LAPSED;
        }
    }

    /// The latest that its clock can have come to since its last timestamp; `None` if that may be anything.
    fn latest(&self, moment: &Moment) -> Option<u32> {
        // Rounded up, never to refuse what is right.
        let passed = u64::from(moment.now.wrapping_sub(self.when)) + 1;
        let ticks = passed * TICKS_MAX / u64::from(UNITS) + u64::from(moment.leeway) * TICKS_MAX;
        (ticks <= i32::MAX as u64).then(|| self.value.wrapping_add(ticks as u32))
    }

    /// Enters a timestamp of the end.
    fn advance(&mut self, Timestamps { value, echo }: Timestamps, now: u32) {
        let is_new = !self.is(bits::ECHOED);
        self.when = now;
        if is_new || !before(value, self.value) {
            self.value = value;
        }
        if is_new && before(value, self.first) {
            self.first = value;
        }
        if echo != 0 {
            if is_new || !before(echo, self.echo) {
                self.echo = echo;
            }
            self.known |= bits::ECHOED;
        }
    }
}

/// The first timestamps of a segment's options; those behind a malformed one are not looked at, by its receiver neither.
///
/// # Errors
/// [`BadTimestamp::Twice`] if there are two.
pub fn timestamps_of(options: wire::tcp::Options<'_>) -> Result<Option<Timestamps>, BadTimestamp> {
    let mut all = options.iter().map_while(Result::ok).filter_map(|option| match option {
        wire::tcp::TcpOption::Timestamps(stamps) => Some(stamps),
        _ => None,
    });
    let first = all.next();
    if all.next().is_some() { Err(BadTimestamp::Twice) } else { Ok(first) }
}

/// Judges a segment that fits its connection. `from` is its sender, of whom `random` is the beginning if it is the first one.
///
/// # Errors
/// [`BadTimestamp`] if it must be dropped.
pub fn stamps(
    from: &Stamps,
    to: &Stamps,
    segment: &Segment,
    said: &Said,
    moment: &Moment,
    random: u32,
) -> Result<Restamped, BadTimestamp> {
    let (mut from, mut to, mut told) = (*from, *to, *said);
    if !from.is_seen() {
        from.meet(segment, said, random);
    }
    from.lapse(moment, AGE_MAX);
    to.lapse(moment, u32::MAX);
    from.ttl = from.ttl.max(said.ttl);
    told.ttl = from.ttl;
    let resets = segment.has(TcpFlags::RST);
    // In the numbers of whoever made them.
    let own = said.stamps.map(|Timestamps { value, echo }| {
        let is_ours = echo != 0 && to.is(bits::STAMPS);
        Timestamps { value, echo: if is_ours { echo.wrapping_sub(to.added) } else { echo } }
    });
    if from.compares() && to.compares() && !resets {
        match own {
            Some(own) if moment.level >= PeerState::Established => fits(&from, &to, own, moment)?,
            None if segment.len > 0 && from.is(bits::DATA_WITH) => return Err(BadTimestamp::Missing),
            _ => {}
        }
    }
    if segment.len > 0 && from.is(bits::STAMPS) && !from.is(bits::DATA_WITH | bits::DATA_WITHOUT) {
        from.known |= if own.is_some() { bits::DATA_WITH } else { bits::DATA_WITHOUT };
    }
    if let Some(own) = own {
        if from.is(bits::STAMPS) && !from.is(bits::LAPSED) && !resets {
            from.advance(own, moment.now);
        }
        let added = if from.is(bits::STAMPS) { from.added } else { 0 };
        told.stamps = Some(Timestamps { value: own.value.wrapping_add(added), ..own });
    }
    Ok(Restamped { from, to, said: told })
}

/// Compares the timestamps of a segment with what was seen of both ends.
fn fits(from: &Stamps, to: &Stamps, own: Timestamps, moment: &Moment) -> Result<(), BadTimestamp> {
    // How far the first is before the second, if it is.
    let gap = |first: u32, second: u32| before(first, second).then(|| second.wrapping_sub(first));
    if let Some(by) = gap(own.value, to.echo) {
        return Err(BadTimestamp::Old(by));
    }
    if own.echo != 0 {
        if let Some(by) = gap(to.value, own.echo) {
            return Err(BadTimestamp::EchoOfNone(by));
        }
        if let Some(by) = gap(own.echo, to.first) {
            return Err(BadTimestamp::EchoOfOlder(by));
        }
    }
    match from.latest(moment).and_then(|latest| gap(latest, own.value)) {
        Some(by) => Err(BadTimestamp::Ahead(by)),
        None => Ok(()),
    }
}
