//! Fragments: datagrams put together before anything is decided of them (pf.conf(5) `set reassemble`), and cut up as they leave.
//!
//! Overview: the fragments of a datagram meet at one worker, the home of their addresses, protocol and identification, where
//! they [wait](cache); whoever gets one handed over keeps it. A datagram that is whole is decided as if it had arrived so, by
//! whoever has its last fragment, or by the worker to which it is handed then, in the fragments that it came in. It is
//! longer than frames may be: it waits in the [outbox] until the shell takes it in [pieces]. So does what is longer than
//! the link's MTU and may be fragmented.
//!
//! A datagram leaves cut for the link (IPv4), or in fragments of the size that it came in (IPv6, whose senders find out what
//! fits); one that fits a link leaves whole. The identification stays.
//!
//! Deviation: pf puts fragments together behind `set skip`, here they are before: what enters by an interface that is skipped
//! may leave by one that is not (test `behind_an_interface_that_is_skipped`).
//! Ownership: the shard. Bounds: those of [cache], and a datagram for each frame of a burst.

mod cache;
mod cells;
mod outbox;
mod pieces;
mod slab;

use ruleset::{Limit, Reason, Timeout};
use wire::{Af, Port, Proto, ethernet, ipv4, ipv6};

use crate::eval::Root;
use crate::fate::{Arrival, Created, Fate, Source};
use crate::fib::{Interface, NextHop};
use crate::frame::{Frame, RxChecksum};
use crate::hook::{Hook, Passage, Passed, Stop};
use crate::loss::Losses;
use crate::packet::{Packet, Tuple};
use crate::parse::{Parsed, parse};
use crate::reply::{NoReply, Problem};
use crate::routing::{destination, is_martian};
use crate::shard::{Shard, View};
use crate::state::{Key, StatePool};
use crate::tick::Tick;
use crate::witness::Seen;
pub use cache::FragmentCounts;
use cache::{Added, Arriving, Cache, Joined, QueueKey};
pub(crate) use outbox::Datagram;
use outbox::{Outbox, Place, Ready};
pub(crate) use pieces::{Cut, cut_up};
use pieces::{Cut6, HEAD_MAX};

/// The most datagrams that are given up at a time because the rest of them did not come.
const EXPIRED_MAX: usize = 16;

/// A shard's fragments.
#[derive(Debug)]
pub(crate) struct Normalizer {
    cache: Cache,
    /// Away while a datagram in it is decided.
    outbox: Option<Box<Outbox>>,
    /// How the datagram came that is decided now.
    joined: Option<Origin>,
    /// How the packet is to be cut up that is decided now.
    cut: Option<Cut>,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// In fragments like these.
    cut: Cut,
    /// Bytes of the longest, from the IP header on.
    longest: u32,
}

/// A part of a datagram, for the shell to put into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where the datagram arrived.
    pub arrival: Arrival,
    /// What becomes of it, as of any frame.
    pub fate: Fate,
    /// What the frame begins with.
    pub head: &'a [u8],
    /// What follows.
    pub rest: &'a [u8],
    /// As [`Frame::priority_code`].
    pub priority_code: Option<u8>,
}

/// What a fragment's headers say of it.
struct Part {
    ident: u32,
    offset: u16,
    more: bool,
    data_at: usize,
    /// As [`Arriving::next_header`].
    next_header: Option<(u16, u8)>,
}

impl Part {
    fn read(frame: &[u8], packet: &Packet) -> Option<Self> {
        let l3 = usize::from(packet.l3);
        match packet.tuple.af {
            Af::Inet => {
                let wire::Fragment { ident, offset, more } = ipv4::Header::at(frame, l3).ok()?.fragment()?;
                Some(Self { ident, offset, more, data_at: packet.l4.into(), next_header: None })
            }
            Af::Inet6 => {
                let place = ipv6::Packet::parse(frame.get(l3..)?).ok()?.chain().ok()?.fragment?;
                let wire::Fragment { ident, offset, more } = place.fragment;
                let names = u16::try_from(l3 + place.previous_next_header_at).ok()?;
                let data_at = l3 + place.offset + ipv6::FRAGMENT_HEADER_LEN;
                let next_header = Some((names, place.next_header.0));
                Some(Self { ident, offset, more, data_at, next_header })
            }
        }
    }
}

impl Normalizer {
    pub fn new(pool: StatePool) -> Self {
        Self { cache: Cache::new(pool), outbox: Some(Box::new(Outbox::new())), joined: None, cut: None }
    }

    /// True if the packet that goes on may be [cut up](Shard::cut).
    #[inline]
    pub const fn concerns(&self) -> bool {
        self.cut.is_some() || self.joined.is_some()
    }

    /// True if the packet that is decided now came in fragments.
    pub const fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// How it is cut up to be as it came, if so.
    pub fn came_as(&self) -> Option<Cut> {
        self.joined.map(|origin| origin.cut)
    }

    /// Has a packet leave beside the one that is decided: what `make` makes of a copy of its frame. False if it cannot.
    #[cold]
    pub fn send_beside(
        &mut self,
        frame: &[u8],
        arrival: Arrival,
        fate: Fate,
        make: impl FnOnce(&mut Datagram<'_>) -> Result<(), NoReply>,
    ) -> bool {
        let Some(outbox) = &mut self.outbox else { return false };
        let made = outbox.slot().and_then(|mut slot| {
            slot.fill(frame)?;
            make(&mut slot).ok()?;
            Some(slot.place())
        });
        if let Some(place) = made {
            outbox.push(place, arrival, fate, None);
        }
        made.is_some()
    }

    /// How a copy of the packet that is decided now is cut up for a link, if it is; `None` if it may not be and is too large.
    pub fn cut_of_copy(&self, packet: &Packet, mtu: u32) -> Option<Option<Cut>> {
        if packet.length() > mtu {
            return self.cut_larger(packet, mtu).map(Some);
        }
        Some(self.came_as().filter(|cut| matches!(cut, Cut::Inet6(_))))
    }

    /// How a packet is cut up that is larger than an MTU; `None` if it may not be.
    fn cut_larger(&self, packet: &Packet, mtu: u32) -> Option<Cut> {
        match self.joined {
            Some(Origin { longest, cut }) if packet.tuple.af == Af::Inet6 => (longest <= mtu).then_some(cut),
            _ => {
                let least = u32::from(packet.l4 - packet.l3) + LEAST_DATA;
                (!packet.dont_fragment && least <= mtu).then_some(Cut::Inet { mtu })
            }
        }
    }

    /// The identification of the IPv6 fragments that the packet came in, if so.
    pub const fn ident(&self) -> Option<u32> {
        match self.joined {
            Some(Origin { cut: Cut::Inet6(Cut6 { ident, .. }), .. }) => Some(ident),
            _ => None,
        }
    }

    /// Has an IPv6 packet that was an IPv4 one of this identification be cut for an MTU.
    pub const fn cut_for(&mut self, mtu: u32, ident: u16) {
        let at = ipv6::HEADER_LEN as u16;
        let room = mtu as u16 - at - ipv6::FRAGMENT_HEADER_LEN as u16;
        let next_header_at = ipv6::NEXT_HEADER_AT as u16;
        self.cut = Some(Cut::Inet6(Cut6 { ident: ident as u32, data_max: room, at, next_header_at }));
    }

    /// The packet that was just decided is not to be cut up after all.
    pub const fn stay_whole(&mut self) {
        self.cut = None;
    }
}

impl Shard {
    /// What becomes of a fragment; `None` if it is to be judged by itself.
    #[cold]
    #[inline(never)]
    pub(crate) fn normalize<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        own: &Interface,
        frame: &F,
        packet: &Packet,
    ) -> Option<Fate> {
        let root = view.root.filter(|root| root.filters())?;
        let options = &root.ruleset().options;
        if !options.reassemble.enabled {
            return None;
        }
        let drop = |shard: &mut Self, reason| {
            shard.witness.note(view.now, reason, (arrival, arrival.interface), Seen::Packet(*packet));
            Some(shard.drop(arrival, reason))
        };
        let to_another = !packet.group_frame && destination(frame.bytes()) != own.mac;
        if to_another && arrival.source == Source::Wire && own.bridge().is_none() {
            return drop(self, Reason::NotOurs);
        }
        if is_martian(packet) || packet.tuple.src == packet.tuple.dst {
            return drop(self, Reason::Martian);
        }
        let Some(part) = Part::read(frame.bytes(), packet) else { return drop(self, Reason::Fragment) };
        let dont_fragment = packet.tuple.af == Af::Inet && packet.dont_fragment;
        if (dont_fragment && !options.reassemble.no_df) || part.data_at > HEAD_MAX {
            return drop(self, Reason::Fragment);
        }
        let key = queue_key(packet, part.ident, arrival);
        let hash = self.hashing.hash(&key.key);
        let home = self.hashing.home(hash);
        if home != self.worker && !self.placement.is_handed_over() {
            return Some(self.hand_off(arrival, home));
        }
        let Some(datagram) = frame.bytes().get(..packet.end as usize) else {
            return drop(self, Reason::Short);
        };
        let arriving = Arriving {
            frame: datagram,
            data_at: part.data_at as u16,
            offset: part.offset,
            more: part.more,
            next_header: part.next_header,
            interface: arrival.interface,
        };
        let limit = options.limits.get(Limit::Frags);
        let Self { normalizer: Normalizer { cache, .. }, counters, witness, .. } = self;
        let mut losses = Losses::new(counters, witness, view.now);
        match cache.add(&arriving, (&key, hash), view.now, limit, &mut losses) {
            Added::Kept => Some(Fate::Kept),
            Added::Refused(reason) => drop(self, reason),
            Added::Whole(queue) => Some(self.join(view, arrival, own, queue)),
        }
    }

    /// A fragment that is not put together with others meets the rules of a hook by itself: it belongs to no connection that
    /// anybody could tell.
    #[cold]
    pub(crate) fn admit_fragment(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Passed, Stop> {
        judge(root, passage.packet, hook.frame)?;
        self.admit(view, root, passage, hook)
    }

    /// Puts a datagram together and decides it. It waits for the shell then, and nothing is left of its last fragment.
    fn join(&mut self, view: &View<'_>, arrival: Arrival, own: &Interface, queue: u32) -> Fate {
        let Some(mut outbox) = self.normalizer.outbox.take() else { return Fate::Kept };
        let Self { normalizer: Normalizer { cache, .. }, counters, witness, .. } = self;
        let joined = outbox.slot().and_then(|mut slot| {
            let joined = cache.take(queue, slot.room())?;
            slot.set_len(joined.header_len + joined.data_len);
            Some((slot, joined))
        });
        match joined {
            Some((slot, joined)) => {
                counters.joined += u64::from(joined.fragments) - 1;
                if let Some((place, fate, cut)) = self.decide_joined(view, arrival, own, slot, &joined) {
                    outbox.push(place, arrival, fate, cut);
                }
            }
            None => {
                cache.give_up(queue, Reason::Memory, &mut Losses::new(counters, witness, view.now));
            }
        }
        self.normalizer.outbox = Some(outbox);
        Fate::Kept
    }

    /// Decides a datagram: where it is in its slot, its fate, and how it is cut up; `None` if it was dropped.
    fn decide_joined(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        own: &Interface,
        mut datagram: Datagram<'_>,
        joined: &Joined,
    ) -> Option<(Place, Fate, Option<Cut>)> {
        let zone = crate::bridge::zone_of_frame(own, datagram.bytes());
        let origin = finish(datagram.bytes_mut(), joined);
        let whole = parse(datagram.bytes(), zone, RxChecksum::Unknown);
        let (origin, mut packet) = match (origin, whole) {
            (Some(origin), Ok(Parsed::Ip(packet))) => (origin, packet),
            (_, whole) => {
                let reason = whole.err().unwrap_or(Reason::Fragment);
                self.losses(view.now).arrived(arrival, arrival.interface, reason, datagram.bytes());
                return None;
            }
        };
        self.normalizer.joined = Some(origin);
        let fate = self.decide_ip(view, arrival, own, &mut datagram, &mut packet, None);
        self.normalizer.joined = None;
        let cut = self.normalizer.cut.take();
        match fate {
            Fate::Drop(_) => None,
            _ if fate.handed().is_some() => Some((datagram.place(), fate, Some(origin.cut))),
            _ => Some((datagram.place(), fate, cut)),
        }
    }

    /// What is larger than the link or the route takes is cut up, or refused.
    #[inline]
    pub(crate) fn gate_size(&mut self, packet: &Packet, hop: &NextHop, link: &Interface) -> Result<(), Stop> {
        let mtu = u32::from(hop.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)));
        if packet.length() > mtu { self.exceed(packet, mtu) } else { Ok(()) }
    }

    #[cold]
    fn exceed(&mut self, packet: &Packet, mtu: u32) -> Result<(), Stop> {
        let cut = self.normalizer.cut_larger(packet, mtu);
        let cut = cut.ok_or_else(|| Stop::router(Reason::TooBig, Problem::TooBig { mtu }))?;
        if matches!(cut, Cut::Inet { .. }) {
            self.normalizer.cut = Some(cut);
        }
        Ok(())
    }

    /// A packet goes on that came in fragments, or is longer than an MTU: how it is cut up. What did not come in
    /// fragments is in the outbox then.
    #[cold]
    pub(crate) fn cut<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &F,
        packet: &Packet,
        fate: Fate,
    ) -> Fate {
        let Normalizer { outbox, joined, cut, .. } = &mut self.normalizer;
        match (joined, outbox) {
            (Some(Origin { cut: cut6 @ Cut::Inet6(_), .. }), _) if packet.tuple.af == Af::Inet6 => {
                *cut = Some(*cut6);
                fate
            }
            (Some(_), _) => {
                let mtu = link_mtu(view, fate);
                if cut.is_none() && packet.length() > mtu {
                    *cut = Some(Cut::Inet { mtu });
                }
                fate
            }
            (None, Some(outbox)) => {
                let cut = cut.take();
                let filled = outbox.slot().and_then(|mut slot| {
                    if let Some(code) = frame.priority_code() {
                        slot.set_priority_code(code);
                    }
                    slot.fill(frame.bytes())
                });
                match filled {
                    Some(place) => {
                        outbox.push(place, arrival, fate, cut);
                        Fate::Kept
                    }
                    None => self.drop(arrival, Reason::Memory),
                }
            }
            (None, None) => fate,
        }
    }

    /// True if datagrams wait to be taken in pieces.
    #[inline]
    pub fn has_pieces(&self) -> bool {
        self.normalizer.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    /// Gives what the burst has left of datagrams to `each`, in pieces that fit into frames and in their order, with
    /// where it counts what it has to drop. To be called behind each burst that [has some](Self::has_pieces).
    pub fn take_pieces(&mut self, now: Tick, mut each: impl FnMut(Piece<'_>, &mut Losses<'_>)) {
        let Self { normalizer: Normalizer { outbox: Some(outbox), .. }, counters, witness, .. } = self else {
            return;
        };
        let mut losses = Losses::new(counters, witness, now);
        outbox.drain(|ready, frame| {
            let Ready { place: Place { priority_code, .. }, arrival, fate, cut } = *ready;
            let Some(cut) = cut else {
                return each(Piece { arrival, fate, head: frame, rest: &[], priority_code }, &mut losses);
            };
            let mut first = true;
            let pieces = cut_up(frame, cut, |head, rest| {
                if !core::mem::replace(&mut first, false) {
                    losses.counters.create(Created::Fragment, 1);
                    losses.counters.handed_off += u64::from(fate.handed().is_some());
                }
                each(Piece { arrival, fate, head, rest, priority_code }, &mut losses);
            });
            if pieces.is_none() {
                losses.arrived(arrival, arrival.interface, Reason::Fragment, frame);
            }
        });
    }

    /// Gives up datagrams whose time is over, a few at a time.
    #[inline]
    pub fn expire_fragments(&mut self, view: &View<'_>) {
        if self.normalizer.cache.is_empty() {
            return;
        }
        let Some(root) = view.root else { return };
        let patience = Tick::from_secs(root.ruleset().options.timeouts.get(Timeout::Frag).into());
        let Self { normalizer: Normalizer { cache, .. }, counters, witness, .. } = self;
        cache.expire(view.now, patience, EXPIRED_MAX, &mut Losses::new(counters, witness, view.now));
    }

    /// Drops all fragments that wait.
    pub fn drop_fragments(&mut self, now: Tick) {
        let Self { normalizer: Normalizer { cache, .. }, counters, witness, .. } = self;
        cache.clear(&mut Losses::new(counters, witness, now));
    }

    /// Fragments that wait for the rest of their datagrams.
    pub const fn fragments(&self) -> u32 {
        self.normalizer.cache.fragments()
    }

    /// What is counted of datagrams in fragments.
    pub const fn fragment_counts(&self) -> FragmentCounts {
        self.normalizer.cache.counts()
    }
}

/// What no rule may accept of fragments that are not put together: those of datagrams that may not be fragmented, and second
/// ones that begin within the TCP header (RFC 3128 §3).
fn judge(root: &Root, packet: &Packet, frame: &[u8]) -> Result<(), Stop> {
    let options = &root.ruleset().options.reassemble;
    let is_denied = packet.tuple.af == Af::Inet && packet.dont_fragment && !options.no_df;
    let is_within = || {
        let part = Part::read(frame, packet);
        packet.tuple.proto == Proto::TCP && part.is_none_or(|part| part.offset == WITHIN_TCP_HEADER)
    };
    if is_denied || is_within() { Err(Stop::silent(Reason::Fragment)) } else { Ok(()) }
}

/// Where a fragment begins that has the rest of a TCP header, in bytes of the datagram's data.
const WITHIN_TCP_HEADER: u16 = 8;

/// The least data of a fragment that is not the last one.
const LEAST_DATA: u32 = 8;

fn queue_key(packet: &Packet, ident: u32, arrival: Arrival) -> QueueKey {
    let proto = match packet.tuple.af {
        Af::Inet => packet.tuple.proto,
        // Later fragments may name another than the first, whose is valid (RFC 8200 §4.5).
        Af::Inet6 => Proto(0),
    };
    let [sport, dport] = [Port((ident >> 16) as u16), Port(ident as u16)];
    let (key, sender) = Key::of(&Tuple { proto, sport, dport, ..packet.tuple });
    QueueKey { key, sender, ident, from_host: arrival.source == Source::Host }
}

/// The MTU of the link that a packet leaves by.
fn link_mtu(view: &View<'_>, fate: Fate) -> u32 {
    let interface = match fate {
        Fate::Transmit(interface) | Fate::Host(interface) | Fate::Hold { interface, .. } => interface,
        _ => return u32::MAX,
    };
    view.fib.interface(interface).map_or(u32::MAX, |link| link.mtu.into())
}

/// Has the headers of a datagram that was put together say so; `None` if it is too long.
fn finish(frame: &mut [u8], joined: &Joined) -> Option<Origin> {
    let Joined { header_len, data_len, longest, next_header, ident, .. } = *joined;
    let l3 = ethernet::Frame::parse(frame).ok()?.l2_len();
    let header = header_len.checked_sub(l3)?;
    let Some((names, proto)) = next_header else {
        let whole = ipv4::Repr::of(&ipv4::Packet::parse_quoted(frame.get(l3..)?).ok()?);
        let whole = ipv4::Repr {
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            payload_len: data_len,
            ..whole
        };
        whole.emit(frame.get_mut(l3..)?).ok()?;
        let longest = header as u32 + u32::from(longest);
        return Some(Origin { cut: Cut::Inet { mtu: longest }, longest });
    };
    *frame.get_mut(usize::from(names))? = proto;
    let payload_len = (header + data_len).checked_sub(ipv6::HEADER_LEN)?;
    ipv6::Header::at_mut(frame, l3).ok()?.set_payload_len(u16::try_from(payload_len).ok()?);
    let (at, next_header_at) = (header as u16, usize::from(names).checked_sub(l3)? as u16);
    let cut = Cut6 { ident, data_max: longest, at, next_header_at };
    let longest = (header + ipv6::FRAGMENT_HEADER_LEN) as u32 + u32::from(longest);
    Some(Origin { cut: Cut::Inet6(cut), longest })
}
