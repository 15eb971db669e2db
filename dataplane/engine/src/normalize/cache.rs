//! Fragments that wait for the rest of their datagrams.
//!
//! Overview: a [`Queue`] has the fragments of one datagram in the order of their offsets, no two of which overlap. As in
//! pf, it has sixteen entry points, one for each 4096 bytes, so that a search is bounded; of a datagram with more than
//! [`PER_POINT_MAX`] fragments at one point nothing is kept. What of a new IPv4 fragment overlaps an earlier part of the
//! datagram is cut off it, and what it overlaps of a later part is cut off that; an IPv6 datagram with an overlap is
//! refused altogether (RFC 5722), including what comes of it later, until its time is over.
//! Life cycle: made at the start with all its memory; a queue ends when it is whole, when its time is over
//! (`set timeout frag`), or when it is the oldest and room is needed. Ownership: one worker. Bounds: `set limit frags` over all
//! workers; [`FRAGMENTS_MAX`], [`QUEUES_MAX`] and [`CELLS_MAX`] of one.

use ruleset::Reason;
use wire::Af;

use super::cells::Cells;
use super::slab::{NONE, Slab};
use crate::fate::{Arrival, Source};
use crate::fib::InterfaceId;
use crate::loss::Losses;
use crate::state::{Credits, Key, KeyHash, Side, StatePool};
use crate::tick::Tick;

/// The most fragments that a worker keeps.
const FRAGMENTS_MAX: usize = 1 << 15;
/// The most datagrams of which a worker keeps fragments.
const QUEUES_MAX: usize = 1 << 13;
/// The most cells of half a kibibyte that they fill.
const CELLS_MAX: usize = 1 << 15;
/// Entry points of a queue (pf's `PF_FRAG_ENTRY_POINTS`).
const POINTS: usize = 16;
/// The most fragments at an entry point (pf's `PF_FRAG_ENTRY_LIMIT`).
const PER_POINT_MAX: u8 = 64;
/// Bytes of a datagram behind each other that share an entry point.
const POINT: u16 = 1 << 12;
/// The most datagrams that are given up for a fragment; each has a cell or more, or is one that was refused.
const SACRIFICES_MAX: usize = 64;
/// The longest fragment that is told of whole where it is an example of what was dropped.
const EXAMPLE_MAX: usize = 1518;
/// The most bytes of a datagram.
const DATAGRAM_MAX: u32 = 65_535;

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueKey {
    /// Addresses, protocol (IPv4) and, as ports, the identification: what the home is chosen by.
    pub key: Key,
    pub sender: Side,
    /// The identification.
    pub ident: u32,
    /// The host sent it, rather than somebody on a wire.
    pub from_host: bool,
}

/// A fragment that has just arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arriving<'a> {
    /// Its frame, without padding.
    pub frame: &'a [u8],
    /// Where in the frame its part of the datagram's data begins.
    pub data_at: u16,
    pub offset: u16,
    pub more: bool,
    /// IPv6: where the octet is that names the fragment header, and what is to stand there instead.
    pub next_header: Option<(u16, u8)>,
    pub interface: InterfaceId,
}

impl Arriving<'_> {
    const fn length(&self) -> usize {
        self.frame.len() - self.data_at as usize
    }
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits.
    Kept,
    /// It is dropped.
    Refused(Reason),
    /// It was the last one that was missing of this queue.
    Whole(u32),
}

/// A fragment, or what is left of it.
#[derive(Debug)]
struct Entry {
    next: u32,
    cell: u32,
    interface: InterfaceId,
    offset: u16,
    length: u16,
    /// Where in the frame that is.
    data_at: u16,
    more: bool,
}

impl Entry {
    const fn end(&self) -> u32 {
        self.offset as u32 + self.length as u32
    }

    const fn point(&self) -> usize {
        (self.offset / POINT) as usize
    }
}

#[derive(Debug)]
struct Queue {
    key: QueueKey,
    hash: KeyHash,
    next_in_bucket: u32,
    older: u32,
    younger: u32,
    since: Tick,
    heads: [u32; POINTS],
    counts: [u8; POINTS],
    fragments: u32,
    /// Bytes that are there.
    bytes: u32,
    /// Where the data ends that is there.
    end: u32,
    /// The datagram ends there.
    has_last: bool,
    /// Data bytes of the longest fragment.
    longest: u16,
    next_header: Option<(u16, u8)>,
    /// Fragments overlapped: what comes is dropped.
    refused: bool,
}

/// A datagram that was put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// Bytes of the first fragment's headers.
    pub header_len: usize,
    /// Bytes behind them.
    pub data_len: usize,
    pub fragments: u32,
    /// Data bytes of the longest fragment.
    pub longest: u16,
    pub next_header: Option<(u16, u8)>,
    pub ident: u32,
}

/// What is counted of datagrams in fragments, as pf counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentCounts {
    /// Datagrams of which fragments wait.
    pub current: u32,
    /// Searches for the datagram of a fragment.
    pub searches: u64,
    /// Datagrams of which a fragment came.
    pub inserts: u64,
    /// Datagrams that were put together or given up.
    pub removals: u64,
}

#[derive(Debug)]
pub(super) struct Cache {
    cells: Cells,
    entries: Slab<Entry>,
    queues: Slab<Queue>,
    /// The first queue of each bucket.
    buckets: Vec<u32>,
    oldest: u32,
    youngest: u32,
    credits: Credits,
    counts: FragmentCounts,
}

impl Cache {
    /// A cache whose fragments count against `pool` with those of the other workers.
    pub fn new(pool: StatePool) -> Self {
        Self {
            cells: Cells::new(CELLS_MAX),
            entries: Slab::new(FRAGMENTS_MAX),
            queues: Slab::new(QUEUES_MAX),
            buckets: vec![NONE; QUEUES_MAX],
            oldest: NONE,
            youngest: NONE,
            credits: Credits::new(pool),
            counts: FragmentCounts::default(),
        }
    }

    /// True if nothing waits, nor was refused.
    pub const fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    pub const fn counts(&self) -> FragmentCounts {
        self.counts
    }

    /// Fragments that wait.
    pub const fn fragments(&self) -> u32 {
        self.credits.used()
    }

    /// Takes a fragment in. `limit` is that of all workers' fragments.
    pub fn add(
        &mut self,
        arriving: &Arriving<'_>,
        (key, hash): (&QueueKey, KeyHash),
        now: Tick,
        limit: u32,
        losses: &mut Losses<'_>,
    ) -> Added {
        let length = arriving.length();
        let end = usize::from(arriving.offset) + length;
        if length == 0 || (arriving.more && !length.is_multiple_of(8)) || end > DATAGRAM_MAX as usize {
            return Added::Refused(Reason::Fragment);
        }
        if !self.make_room(arriving.frame.len(), limit, losses) {
            return Added::Refused(Reason::Memory);
        }
        let added = match self.find(key, hash) {
            Some(queue) => self.fill_up(queue, arriving, losses),
            None => self.open(key, hash, now).map_or(Err(Reason::Memory), |queue| {
                self.queues[queue].next_header = arriving.next_header;
                self.keep(queue, arriving, arriving.offset, arriving.data_at, losses).map(|()| queue)
            }),
        };
        match added {
            Ok(queue) => {
                let Queue { has_last, bytes, end, .. } = self.queues[queue];
                if has_last && bytes == end { Added::Whole(queue) } else { Added::Kept }
            }
            Err(reason) => {
                self.credits.give(1);
                Added::Refused(reason)
            }
        }
    }

    /// Has a credit, an entry, a queue and so many bytes ready, for which the oldest datagrams are given up if need be.
    fn make_room(&mut self, bytes: usize, limit: u32, losses: &mut Losses<'_>) -> bool {
        self.credits.look(limit);
        for _ in 0..SACRIFICES_MAX {
            let there = self.entries.room() > 0 && self.queues.room() > 0 && self.cells.have_room(bytes);
            if there && self.credits.take(limit) {
                return true;
            }
            if self.oldest == NONE {
                return false;
            }
            self.give_up(self.oldest, Reason::Memory, losses);
        }
        false
    }

    fn find(&mut self, key: &QueueKey, hash: KeyHash) -> Option<u32> {
        self.counts.searches += 1;
        let mut queue = self.buckets[bucket(hash)];
        while queue != NONE {
            if self.queues[queue].key == *key {
                return Some(queue);
            }
            queue = self.queues[queue].next_in_bucket;
        }
        None
    }

    fn open(&mut self, key: &QueueKey, hash: KeyHash, now: Tick) -> Option<u32> {
        let queue = self.queues.put(Queue {
            key: *key,
            hash,
            next_in_bucket: self.buckets[bucket(hash)],
            older: self.youngest,
            younger: NONE,
            since: now,
            heads: [NONE; POINTS],
            counts: [0; POINTS],
            fragments: 0,
            bytes: 0,
            end: 0,
            has_last: false,
            longest: 0,
            next_header: None,
            refused: false,
        })?;
        self.buckets[bucket(hash)] = queue;
        match self.youngest {
            NONE => self.oldest = queue,
            youngest => self.queues[youngest].younger = queue,
        }
        self.youngest = queue;
        self.counts.inserts += 1;
        self.counts.current += 1;
        Some(queue)
    }

    /// Adds a fragment to those that are there of its datagram, as `pf_fillup_fragment` does.
    fn fill_up(
        &mut self,
        queue: u32,
        arriving: &Arriving<'_>,
        losses: &mut Losses<'_>,
    ) -> Result<u32, Reason> {
        let Queue { end: total, has_last, refused, key, .. } = self.queues[queue];
        if refused {
            return Err(Reason::Fragment);
        }
        let inet6 = key.key.af == Af::Inet6;
        let (mut offset, mut data_at) = (arriving.offset, arriving.data_at);
        let end = u32::from(offset) + arriving.length() as u32;
        let contradicts = (end < total && !arriving.more)
            || (has_last && (end > total || (end == total && arriving.more)))
            || (!has_last && end == total && !arriving.more);
        if contradicts {
            if inet6 {
                self.refuse(queue, losses);
            }
            return Err(Reason::Fragment);
        }
        let before = self.last_from(queue, offset);
        let overlap = before.map_or(0, |entry| self.entries[entry].end().saturating_sub(offset.into()));
        if overlap > 0 {
            if inet6 {
                self.refuse(queue, losses);
                return Err(Reason::Fragment);
            }
            if u32::from(offset) + overlap >= end {
                return Err(Reason::Fragment);
            }
            // Less than the fragment is long.
            (offset, data_at) = (offset + overlap as u16, data_at + overlap as u16);
        }
        while let Some(after) = self.first_behind(queue, before, offset)
            && end > u32::from(self.entries[after].offset)
        {
            if inet6 || !self.cut_front(queue, after, end, losses) {
                self.refuse(queue, losses);
                return Err(Reason::Fragment);
            }
        }
        if offset == 0 {
            self.queues[queue].next_header = arriving.next_header;
        }
        self.keep(queue, arriving, offset, data_at, losses).map(|()| queue)
    }

    /// Cuts off a fragment what lies before `end`, all of it if need be. False if what is left has no place.
    fn cut_front(&mut self, queue: u32, entry: u32, end: u32, losses: &mut Losses<'_>) -> bool {
        self.unlink(queue, entry);
        let cut = (end - u32::from(self.entries[entry].offset)) as u16;
        let whole = &mut self.entries[entry];
        if cut >= whole.length {
            self.lose(queue, entry, Reason::Fragment, losses);
            return true;
        }
        (whole.offset, whole.length, whole.data_at) =
            (whole.offset + cut, whole.length - cut, whole.data_at + cut);
        if self.link(queue, entry) {
            return true;
        }
        self.lose(queue, entry, Reason::Fragment, losses);
        false
    }

    /// Keeps what is left of a fragment, in its queue.
    fn keep(
        &mut self,
        queue: u32,
        arriving: &Arriving<'_>,
        offset: u16,
        data_at: u16,
        losses: &mut Losses<'_>,
    ) -> Result<(), Reason> {
        let cell = self.cells.put(arriving.frame).ok_or(Reason::Memory)?;
        let length = (arriving.frame.len() - usize::from(data_at)) as u16;
        let Arriving { interface, more, .. } = *arriving;
        let entry = Entry { next: NONE, cell, interface, offset, length, data_at, more };
        let Some(entry) = self.entries.put(entry) else {
            self.cells.free(cell);
            return Err(Reason::Memory);
        };
        if !self.link(queue, entry) {
            self.cells.free(cell);
            self.entries.free(entry);
            self.refuse(queue, losses);
            return Err(Reason::Fragment);
        }
        let own = &mut self.queues[queue];
        own.longest = own.longest.max(arriving.length() as u16);
        Ok(())
    }

    /// Drops what is there of a datagram, and what will come of it.
    fn refuse(&mut self, queue: u32, losses: &mut Losses<'_>) {
        self.empty(queue, |own, entry| own.lose(queue, entry, Reason::Fragment, losses));
        self.queues[queue].refused = true;
    }

    /// The last fragment of a queue that begins at `offset` or before.
    fn last_from(&self, queue: u32, offset: u16) -> Option<u32> {
        let heads = &self.queues[queue].heads;
        (0..=usize::from(offset / POINT)).rev().find_map(|point| {
            let (mut found, mut entry) = (None, heads[point]);
            while entry != NONE && self.entries[entry].offset <= offset {
                found = Some(entry);
                entry = self.entries[entry].next;
            }
            found
        })
    }

    /// The first fragment behind one, or of the whole queue, that begins at `offset` or behind.
    fn first_behind(&self, queue: u32, before: Option<u32>, offset: u16) -> Option<u32> {
        let same_point = before.map(|entry| self.entries[entry].next).filter(|next| *next != NONE);
        let behind = before.map_or(0, |entry| self.entries[entry].point() + 1);
        let elsewhere = || self.queues[queue].heads[behind..].iter().find(|head| **head != NONE).copied();
        let found = same_point.or_else(elsewhere);
        debug_assert!(found.is_none_or(|entry| self.entries[entry].offset >= offset), "in their order");
        found
    }

    /// Puts a fragment in its place; false if there are too many about there.
    fn link(&mut self, queue: u32, entry: u32) -> bool {
        let Entry { offset, length, more, .. } = self.entries[entry];
        let (point, end) = (self.entries[entry].point(), self.entries[entry].end());
        let before = self.last_from(queue, offset).filter(|before| self.entries[*before].point() == point);
        let own = &mut self.queues[queue];
        if own.counts[point] == PER_POINT_MAX {
            return false;
        }
        own.counts[point] += 1;
        own.fragments += 1;
        own.bytes += u32::from(length);
        own.has_last |= !more;
        own.end = own.end.max(end);
        match before {
            None => self.entries[entry].next = std::mem::replace(&mut own.heads[point], entry),
            Some(before) => {
                self.entries[entry].next = std::mem::replace(&mut self.entries[before].next, entry);
            }
        }
        true
    }

    /// Takes a fragment out of its place.
    fn unlink(&mut self, queue: u32, entry: u32) {
        let Entry { next, length, .. } = self.entries[entry];
        let point = self.entries[entry].point();
        let own = &mut self.queues[queue];
        own.counts[point] -= 1;
        own.fragments -= 1;
        own.bytes -= u32::from(length);
        if own.heads[point] == entry {
            own.heads[point] = next;
            return;
        }
        let mut before = own.heads[point];
        while before != NONE && self.entries[before].next != entry {
            before = self.entries[before].next;
        }
        if before != NONE {
            self.entries[before].next = next;
        }
    }

    /// Lets a fragment go that is in no queue.
    fn let_go(&mut self, entry: u32) {
        self.cells.free(self.entries[entry].cell);
        self.entries.free(entry);
        self.credits.give(1);
    }

    /// Lets a fragment go that is in no queue any more, and counts it as dropped.
    fn lose(&mut self, queue: u32, entry: u32, reason: Reason, losses: &mut Losses<'_>) {
        let Entry { cell, interface, length, data_at, .. } = self.entries[entry];
        let source = if self.queues[queue].key.from_host { Source::Host } else { Source::Wire };
        let mut frame = [0; EXAMPLE_MAX];
        let there = usize::from(data_at + length).min(EXAMPLE_MAX);
        if losses.wants(reason) {
            self.cells.copy(cell, 0, &mut frame[..there]);
        }
        losses.arrived(Arrival { interface, source }, interface, reason, &frame[..there]);
        self.let_go(entry);
    }

    /// Takes the fragments of a queue out of it, and gives each to `each`.
    fn empty(&mut self, queue: u32, mut each: impl FnMut(&mut Self, u32)) {
        for point in 0..POINTS {
            let mut entry = std::mem::replace(&mut self.queues[queue].heads[point], NONE);
            while entry != NONE {
                let next = self.entries[entry].next;
                each(self, entry);
                entry = next;
            }
        }
        let own = &mut self.queues[queue];
        (own.counts, own.fragments, own.bytes) = ([0; POINTS], 0, 0);
    }

    /// Lets a queue go, which has no fragment.
    fn close(&mut self, queue: u32) {
        let Queue { hash, next_in_bucket, older, younger, .. } = self.queues[queue];
        let mut before = self.buckets[bucket(hash)];
        if before == queue {
            self.buckets[bucket(hash)] = next_in_bucket;
        } else {
            while self.queues[before].next_in_bucket != queue {
                before = self.queues[before].next_in_bucket;
            }
            self.queues[before].next_in_bucket = next_in_bucket;
        }
        match older {
            NONE => self.oldest = younger,
            older => self.queues[older].younger = younger,
        }
        match younger {
            NONE => self.youngest = older,
            younger => self.queues[younger].older = older,
        }
        self.queues.free(queue);
        self.counts.removals += 1;
        self.counts.current -= 1;
    }

    /// Drops what is there of a datagram.
    pub fn give_up(&mut self, queue: u32, reason: Reason, losses: &mut Losses<'_>) {
        self.empty(queue, |own, entry| own.lose(queue, entry, reason, losses));
        self.close(queue);
    }

    /// Gives up to `most` datagrams up whose first fragment came `patience` ago.
    pub fn expire(&mut self, now: Tick, patience: Tick, most: usize, losses: &mut Losses<'_>) {
        for _ in 0..most {
            if self.oldest == NONE || now - self.queues[self.oldest].since < patience {
                return;
            }
            self.give_up(self.oldest, Reason::Fragment, losses);
        }
    }

    /// Gives everything up, at the end.
    pub fn clear(&mut self, losses: &mut Losses<'_>) {
        while self.oldest != NONE {
            self.give_up(self.oldest, Reason::Fragment, losses);
        }
    }

    /// Puts a datagram together: writes headers and data to the beginning of `out`, and lets the fragments go. Of IPv6 the
    /// fragment header, which is the last one, is left out. `None` if `out` has no room for it.
    pub fn take(&mut self, queue: u32, out: &mut [u8]) -> Option<Joined> {
        let Queue { key, heads, end, fragments, longest, next_header, .. } = self.queues[queue];
        let first = &self.entries[heads[0]];
        let left_out = if next_header.is_some() { wire::ipv6::FRAGMENT_HEADER_LEN } else { 0 };
        let header_len = usize::from(first.data_at) - left_out;
        let out = out.get_mut(..header_len + end as usize)?;
        self.cells.copy(first.cell, 0, &mut out[..header_len]);
        for head in heads {
            let mut entry = head;
            while entry != NONE {
                let Entry { next, cell, offset, length, data_at, .. } = self.entries[entry];
                let at = header_len + usize::from(offset);
                self.cells.copy(cell, data_at.into(), &mut out[at..at + usize::from(length)]);
                entry = next;
            }
        }
        self.empty(queue, Self::let_go);
        self.close(queue);
        let (data_len, ident) = (end as usize, key.ident);
        Some(Joined { header_len, data_len, fragments, longest, next_header, ident })
    }
}

const fn bucket(hash: KeyHash) -> usize {
    // The home and the table of connections take other bits.
    (hash.0 >> 32) as usize % QUEUES_MAX
}
