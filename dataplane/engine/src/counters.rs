//! What a shard counts. Plain numbers of one writer; the shell copies them to where others may read them.

use ruleset::{Direction, LIMIT_HITS, LimitHit, REASON_COUNT, Reason};

use crate::crossings::{Crossings, Verdict};
use crate::eval::Counted;
use crate::fate::Created;
use crate::fib::InterfaceId;
use crate::state::Family;

/// The counters of a shard.
#[derive(Clone, Debug)]
pub struct Counters {
    drops: Vec<[u64; REASON_COUNT]>,
    created: [u64; Created::ALL.len()],
    partial_checksums: Vec<u64>,
    crossings: Vec<Crossings>,
    limits: [u64; LIMIT_HITS],
    /// Lookups of states.
    pub searches: u64,
    /// States made, counted as pf counts them.
    pub inserts: u64,
    /// States removed.
    pub removals: u64,
    /// Packets handed to another worker.
    pub handed_off: u64,
    /// Flows that were placed at another worker.
    pub placed: u64,
    /// Fragments that were put together, but for one of each datagram: that is a packet by itself.
    pub joined: u64,
    /// RSTs and ICMP errors that were due, but whose receiver had got enough.
    pub withheld: u64,
    /// Floods of SYNs that began (pf: `synfloods detected`).
    pub floods: u64,
    /// SYNs that were answered without a state.
    pub cookies_sent: u64,
    /// ACKs that had been told by such an answer.
    pub cookies_validated: u64,
}

impl Counters {
    pub(crate) fn new(interfaces: usize) -> Self {
        Self {
            drops: vec![[0; REASON_COUNT]; interfaces],
            created: [0; Created::ALL.len()],
            partial_checksums: vec![0; interfaces],
            crossings: vec![Crossings::default(); interfaces],
            limits: [0; LIMIT_HITS],
            searches: 0,
            inserts: 0,
            removals: 0,
            handed_off: 0,
            placed: 0,
            joined: 0,
            withheld: 0,
            floods: 0,
            cookies_sent: 0,
            cookies_validated: 0,
        }
    }

    /// Counts one dropped packet that arrived by `interface`, or was to leave by it.
    #[inline]
    pub fn drop_packet(&mut self, interface: InterfaceId, reason: Reason) {
        self.drop_packets(interface, reason, 1);
    }

    /// As [`Self::drop_packet`], for so many.
    #[inline]
    pub(crate) fn drop_packets(&mut self, interface: InterfaceId, reason: Reason, packets: u64) {
        if let Some(row) = self.drops.get_mut(usize::from(interface.0)) {
            row[reason as usize] += packets;
        }
    }

    /// Counts what has met a limit.
    pub(crate) const fn hit(&mut self, limit: LimitHit) {
        self.limits[limit as usize] += 1;
    }

    /// How often limits were met.
    pub const fn limits(&self) -> &[u64; LIMIT_HITS] {
        &self.limits
    }

    /// Counts packets that were made.
    pub(crate) fn create(&mut self, kind: Created, packets: u64) {
        self.created[kind as usize] += packets;
    }

    /// Counts packets no more that were made, and are not there any more.
    pub(crate) const fn take_back(&mut self, kind: Created, packets: u64) {
        self.created[kind as usize] -= packets;
    }

    /// Counts a packet whose checksum nobody has completed, by the interface that it was met on.
    pub(crate) fn meet_partial_checksum(&mut self, interface: InterfaceId) {
        if let Some(count) = self.partial_checksums.get_mut(usize::from(interface.0)) {
            *count += 1;
        }
    }

    /// Packets whose checksum nobody has completed, by interface, among those that are looked at: the ones that make states or
    /// are refused.
    pub fn partial_checksums(&self) -> &[u64] {
        &self.partial_checksums
    }

    /// Counts packets for a hook.
    #[inline]
    pub(crate) fn cross(
        &mut self,
        interface: InterfaceId,
        family: Family,
        direction: Direction,
        verdict: Verdict,
        counted: Counted,
    ) {
        if let Some(own) = self.crossings.get_mut(usize::from(interface.0)) {
            own.add(family, direction, verdict, counted);
        }
    }

    /// What the hooks of each interface let pass and blocked.
    pub fn crossings(&self) -> &[Crossings] {
        &self.crossings
    }

    /// Packets dropped for each reason, by the interface that they arrived on (host side and wire side alike).
    pub fn drops(&self) -> &[[u64; REASON_COUNT]] {
        &self.drops
    }

    /// Packets dropped for one reason, on all interfaces.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.drops.iter().map(|row| row[reason as usize]).sum()
    }

    /// Packets dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.drops.iter().flatten().sum()
    }

    /// Packets made of one kind.
    pub const fn created(&self, kind: Created) -> u64 {
        self.created[kind as usize]
    }
}
