//! `scrub (reassemble tcp)` (pf.md 2.9): timestamps that no honest end sends, and hops to live.
//!
//! What is added to timestamps is random; it is learned from the other side's states ([`Oracle::learn`]), and everything else
//! that is said of timestamps must follow from it. As in the product, resets are compared with nothing, and nothing is learned
//! from them; a value of 0 is one like any other; the earliest value of an end is the lower one of its first two; how far a
//! clock can have come is rounded up.

use ruleset::{Direction, PeerState, Timeout};
use wire::tcp::Timestamps;
use wire::{Seq, TcpFlags};

use super::hook::Outcome;
use super::packet::{Packet, Transport};
use super::state::{SECOND, State, StateId};
use super::{Oracle, Tcp};

/// "Δt … * 1100/s".
const TICKS: u128 = 1100;

/// "Disabled after 24 d idle or 12 d total."
const IDLE_MAX: u64 = 24 * 86_400 * SECOND;
const AGE_MAX: u64 = 12 * 86_400 * SECOND;

/// `struct pf_state_scrub`: what is known of an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// A packet of it was seen.
    seen: bool,
    /// PFSS_TIMESTAMP: its SYN had one.
    stamps: bool,
    /// PFSS_PAWS: it has echoed one.
    paws: bool,
    /// PFSS_PAWS_IDLED.
    idled: bool,
    /// PFSS_DATA_TS or PFSS_DATA_NOTS: whether its first data had one.
    data: Option<bool>,
    /// What is added to its own here.
    added: u32,
    /// What the state at the other hook adds, where that comes first.
    before: u32,
    value: u32,
    earliest: u32,
    echo: u32,
    /// When the last one came, in nanoseconds.
    last: u64,
    ttl: u8,
}

/// The packet is dropped.
pub(super) struct BadTimestamp;

const fn before(a: u32, b: u32) -> bool {
    Seq(a).before(Seq(b))
}

impl Clock {
    const fn compares(&self) -> bool {
        self.paws && !self.idled
    }

    /// `pf_normalize_tcp_init`.
    fn begin(&mut self, tcp: &Tcp) {
        self.seen = true;
        if let Some(Timestamps { value, .. }) = tcp.stamps
            && tcp.flags.contains(TcpFlags::SYN)
        {
            (self.stamps, self.value, self.earliest) = (true, value, value);
        }
    }

    fn adds(&self) -> u32 {
        if self.stamps { self.added } else { 0 }
    }

    /// The end of `pf_normalize_tcp_stateful`.
    fn learn(&mut self, Timestamps { value, echo }: Timestamps, now: u64) {
        self.last = now;
        if !self.paws || !before(value, self.value) {
            self.value = value;
        }
        if !self.paws && before(value, self.earliest) {
            self.earliest = value;
        }
        if echo != 0 {
            if !self.paws || !before(echo, self.echo) {
                self.echo = echo;
            }
            self.paws = true;
        }
    }
}

/// When, and what is known of the state.
struct Moment {
    now: u64,
    granularity: u64,
    age: u64,
    leeway: u128,
    /// "both ≥ESTABLISHED"
    established: bool,
    /// The state and its partner are one in the product, which knows timestamps as their ends send them: the 0 that stands for
    /// no echo is theirs.
    shares: bool,
}

impl Moment {
    /// True if a clock cannot have come to `value`: "tsval > src.tsval + ((Δt+tsdiff)*1100/s)".
    fn is_beyond(&self, clock: &Clock, value: u32) -> bool {
        let passed = u128::from(self.now - clock.last + self.granularity);
        let ticks = passed * TICKS / u128::from(SECOND) + self.leeway * TICKS;
        ticks <= i32::MAX as u128 && before(clock.value.wrapping_add(ticks as u32), value)
    }
}

/// What a segment echoes, as the other end sent it.
fn told(Timestamps { value, echo }: Timestamps, other: &Clock) -> Timestamps {
    Timestamps { value, echo: if echo == 0 { 0 } else { echo.wrapping_sub(other.adds()) } }
}

/// `pf_normalize_tcp_stateful`, of a segment of `src`.
fn normalize(
    src: &mut Clock,
    dst: &mut Clock,
    tcp: &Tcp,
    ttl: u8,
    moment: &Moment,
) -> Result<(), BadTimestamp> {
    if !src.seen {
        src.begin(tcp);
    }
    src.ttl = src.ttl.max(ttl);
    let idles = |clock: &Clock| (moment.now - clock.last) / SECOND > IDLE_MAX / SECOND;
    src.idled |= src.paws && (idles(src) || moment.age > AGE_MAX);
    dst.idled |= dst.paws && idles(dst);
    let resets = tcp.flags.contains(TcpFlags::RST);
    let stamps = tcp.stamps.map(|stamps| told(stamps, dst)).map(|Timestamps { value, echo }| {
        let void = moment.shares && echo == dst.before;
        Timestamps { value, echo: if void { 0 } else { echo } }
    });
    if src.compares() && dst.compares() && !resets {
        match stamps {
            Some(Timestamps { value, echo }) if moment.established => {
                let unheard = echo != 0 && (before(dst.value, echo) || before(echo, dst.earliest));
                if before(value, dst.echo) || unheard || moment.is_beyond(src, value) {
                    return Err(BadTimestamp);
                }
            }
            None if tcp.payload > 0 && src.data == Some(true) => return Err(BadTimestamp),
            _ => {}
        }
    }
    if tcp.payload > 0 && src.stamps {
        src.data = src.data.or(Some(stamps.is_some()));
    }
    if let Some(stamps) = stamps.filter(|_| src.stamps && !src.idled && !resets) {
        src.learn(stamps, moment.now);
    }
    Ok(())
}

impl Oracle {
    fn moment(&self, state: &State, now: u64) -> Moment {
        let own = state.options.timeouts.iter().rev().find(|(timeout, _)| *timeout == Timeout::TcpTsdiff);
        let leeway = own.map(|(_, seconds)| *seconds).filter(|seconds| *seconds != 0);
        Moment {
            now: self.rounded(now),
            granularity: self.granularity,
            age: self.rounded(now) - self.rounded(state.created),
            leeway: leeway.unwrap_or_else(|| self.rules.options.timeouts.get(Timeout::TcpTsdiff)).into(),
            established: state.source.state.min(state.destination.state) >= PeerState::Established,
            shares: state.partner.is_some(),
        }
    }

    /// Has a new state look at timestamps, if its rule asks for that.
    pub(super) fn begin_stamps(&self, state: &mut State, packet: &Packet, now: u64) {
        let Transport::Tcp(tcp) = &packet.transport else { return };
        if !state.actions.reassemble_tcp || state.options.sloppy {
            return;
        }
        let mut clocks = [Clock::default(); 2];
        let [source, destination] = &mut clocks;
        let moment = self.moment(state, now);
        // There is nothing yet to compare it with.
        let _ = normalize(source, destination, tcp, packet.ttl, &moment);
        if let Some(offsets) = self.offsets_of(state) {
            (source.added, destination.added) = (offsets[0], offsets[1]);
        }
        state.clocks = Some(clocks);
    }

    /// Judges a segment that fits; `before` is the state without it.
    pub(super) fn judge_stamps(
        &self,
        before: &State,
        state: &mut State,
        direction: Direction,
        packet: &Packet,
        now: u64,
    ) -> Result<(), BadTimestamp> {
        let moment = self.moment(before, now);
        let own = direction == state.direction;
        let (Some([source, destination]), Transport::Tcp(tcp)) = (&mut state.clocks, &packet.transport)
        else {
            return Ok(());
        };
        let (src, dst) = if own { (source, destination) } else { (destination, source) };
        let ttl = if moment.shares { self.hops } else { packet.ttl };
        normalize(src, dst, tcp, ttl, &moment)
    }

    pub(super) fn is_stamped(&self, id: StateId, packet: &Packet) -> bool {
        matches!(packet.transport, Transport::Tcp(_))
            && self.state(id).is_some_and(|state| state.clocks.is_some())
    }

    /// Remembers that one packet made both of these, which have seen it as it came to them.
    pub(super) fn relate(&mut self, one: StateId, other: StateId) {
        for (own, sibling) in [(one, other), (other, one)] {
            self.state_mut(own).sibling = Some(sibling);
            let (far, before) = self.before(own);
            let hops = self.hops;
            if let Some(clocks) = &mut self.state_mut(own).clocks {
                clocks[far].before = before;
                // Both are one in the product, which looks at a packet as it came.
                clocks[0].ttl = hops;
            }
        }
    }

    /// Takes on what the other side adds to timestamps now.
    pub(super) fn learn_offsets(&mut self) {
        for number in 0..self.states.len() {
            let offsets = self.offsets_of(&self.states[number]);
            let state = &mut self.states[number];
            if let (Some(clocks), Some(offsets)) = (&mut state.clocks, offsets) {
                (clocks[0].added, clocks[1].added) = (offsets[0], offsets[1]);
                let id = state.id;
                self.learn_before(id);
            }
        }
    }

    /// What the other side's state adds that is like this one.
    fn offsets_of(&self, state: &State) -> Option<[u32; 2]> {
        self.learned.offsets.get(&state.like?).copied()
    }

    /// Where the other side has two states in one, either may be the one that adds: it is all the same to packets, but not to
    /// the other state of the two, which sees what the first of them adds. It goes on with what it will see from now on. Once
    /// each is on its own, they are strangers.
    fn learn_before(&mut self, id: StateId) {
        let (far, before) = self.before(id);
        let state = self.state(id).expect("the caller has it");
        let shares = state.partner.is_some();
        let Some(sibling) = state.sibling else { return };
        let clocks = self.state(sibling).and_then(|sibling| sibling.clocks);
        let is_first = clocks.is_some_and(|clocks| !clocks[far].seen);
        let state = self.state_mut(id);
        state.sibling = Some(sibling).filter(|_| shares);
        let Some(clocks) = &mut state.clocks else { return };
        let by = before.wrapping_sub(core::mem::replace(&mut clocks[far].before, before));
        if is_first && !shares {
            return;
        }
        clocks[1 - far].echo = clocks[1 - far].echo.wrapping_add(by);
        if clocks[far].stamps {
            clocks[far].value = clocks[far].value.wrapping_add(by);
            clocks[far].earliest = clocks[far].earliest.wrapping_add(by);
        }
    }

    /// The end whose packets come by the hook of the state's sibling first, and what that adds to their timestamps.
    fn before(&self, id: StateId) -> (usize, u32) {
        let state = self.state(id).expect("the caller has it");
        let far = usize::from(state.direction == Direction::In);
        let sibling = state.sibling.and_then(|sibling| self.state(sibling));
        let offsets = sibling.and_then(|sibling| self.offsets_of(sibling));
        (far, offsets.map_or(0, |offsets| offsets[far]))
    }

    /// Changes a packet that passed a hook of `direction`: "TTL raised to the max seen per side", and its timestamps.
    pub(super) fn restamp(&mut self, packet: &mut Packet, outcome: &Outcome, direction: Direction) {
        let Some(id) = outcome.stamped else { return };
        let state = self.state_mut(id);
        let own = usize::from(direction != state.direction);
        let Some(clocks) = &mut state.clocks else { return };
        packet.ttl = packet.ttl.max(clocks[own].ttl);
        let Transport::Tcp(Tcp { stamps: Some(stamps), .. }) = &mut packet.transport else { return };
        *stamps = told(*stamps, &clocks[1 - own]);
        stamps.value = stamps.value.wrapping_add(clocks[own].adds());
    }
}
