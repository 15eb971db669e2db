//! Floors: the least that any stateful forwarder does, each on top of the one before. What a firewall costs is read as
//! a ratio to these, because they feel the same memory, the same clock and the same neighbours.

use anyhow::Context;
use dpdk::{Burst, Hash, Mbuf, prefetch_value};

use crate::bed::{BURST, Bed};
use crate::flows::{Choice, Flows};
use crate::measure::Work;

const KEY: usize = 16;
type Key = [u8; KEY];

/// A frame as the floors' source makes it: one direction, nothing but addresses and ports differs.
const FRAME: [u8; 60] = {
    let mut frame = [0; 60];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[17] = 46;
    frame[22] = 64;
    frame[23] = 6;
    frame[46] = 0x50;
    frame[47] = 0x10;
    frame
};

/// Source, destination, ports, protocol, as they stand in the packet.
#[inline(always)]
fn key_of(connection: u64) -> Key {
    let mut key = [0; KEY];
    key[0..4].copy_from_slice(&(0x0a00_0000 | (connection as u32 & 0x00ff_ffff)).to_be_bytes());
    key[4..8].copy_from_slice(&(0xc0a8_0001 + (connection >> 16) as u32 * 7).to_be_bytes());
    key[8..10].copy_from_slice(&(connection as u16).to_be_bytes());
    key[10..12].copy_from_slice(&443_u16.to_be_bytes());
    key[12] = 6;
    key
}

#[inline(always)]
fn receive(bed: &Bed, burst: &mut Burst, flows: &mut Flows) {
    bed.receive(burst, |mbuf| {
        let key = key_of(flows.draw());
        mbuf.extend_from_slice(&FRAME).expect("an empty mbuf has room");
        mbuf.data_mut()[26..38].copy_from_slice(&key[..12]);
    });
}

/// Checks what a forwarder must, takes one off the TTL, and exchanges the addresses.
#[inline(always)]
fn parse(mbuf: &mut Mbuf) -> Key {
    let mut key = [0; KEY];
    let Some(frame) = mbuf.data_mut().first_chunk_mut::<60>() else { return key };
    let plain = frame[12..14] == [8, 0] && frame[14] == 0x45 && frame[22] >= 2;
    if !plain || u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0 {
        return key;
    }
    key[..12].copy_from_slice(&frame[26..38]);
    key[12] = frame[23];
    frame[22] -= 1;
    let sum = u32::from(u16::from_ne_bytes([frame[24], frame[25]])) + u32::from(0x0100_u16.to_be());
    let sum = sum + u32::from(sum >= 0xffff);
    frame[24..26].copy_from_slice(&(sum as u16).to_ne_bytes());
    frame.copy_within(6..12, 0);
    key
}

#[inline(always)]
fn parse_all(burst: &mut Burst) -> [Key; BURST] {
    let mut keys = [[0; KEY]; BURST];
    for (mbuf, key) in burst.iter_mut().zip(&mut keys) {
        *key = parse(mbuf);
    }
    keys
}

/// What a connection has beside its place in the table.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct State {
    key: Key,
    packets: [u64; 2],
    bytes: [u64; 2],
    last_seen: u32,
    seqlo: u32,
    seqhi: u32,
    ends: [u8; 4],
}

impl State {
    #[inline(always)]
    fn update(&mut self, mbuf: &Mbuf, now: u32) {
        self.packets[0] += 1;
        self.bytes[0] += u64::from(mbuf.packet_len());
        self.last_seen = now;
        self.ends[0] += u8::from(self.seqlo > self.seqhi);
    }
}

/// Receive and send.
#[derive(Debug)]
pub struct RxTx {
    flows: Flows,
}

impl RxTx {
    /// Packets of so many connections.
    pub fn new(connections: u64) -> Self {
        Self { flows: Flows::new(connections) }
    }
}

impl Work for RxTx {
    fn name(&self) -> &'static str {
        "rx_tx"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.flows.set_choice(choice);
    }

    #[inline(always)]
    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        receive(bed, &mut burst, &mut self.flows);
        bed.send(&mut burst);
    }
}

/// And parse, TTL, checksum, Ethernet addresses.
#[derive(Debug)]
pub struct Parse(RxTx);

impl Parse {
    /// Packets of so many connections.
    pub fn new(connections: u64) -> Self {
        Self(RxTx::new(connections))
    }
}

impl Work for Parse {
    fn name(&self) -> &'static str {
        "parse"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.0.flows.set_choice(choice);
    }

    #[inline(always)]
    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        receive(bed, &mut burst, &mut self.0.flows);
        std::hint::black_box(parse_all(&mut burst));
        bed.send(&mut burst);
    }
}

/// And `rte_hash_lookup_bulk`, and an update of 64 bytes.
#[derive(Debug)]
pub struct RteHash {
    source: RxTx,
    hash: Hash<Key>,
    states: Vec<State>,
    missed: u64,
}

impl RteHash {
    /// With every connection in the table.
    ///
    /// # Errors
    /// DPDK's, or that a connection found no place.
    pub fn new(bed: &Bed, connections: u64) -> anyhow::Result<Self> {
        let entries =
            u32::try_from((connections + connections / 8).max(8)).context("too many connections")?;
        let mut hash = Hash::new(bed.eal(), "floor", entries)?;
        let mut states = vec![State::default(); hash.positions()];
        for connection in 0..connections {
            let key = key_of(connection);
            let position = hash.add(&key).context("rte_hash has no place for a connection")?;
            states[position] = State { key, ..State::default() };
        }
        Ok(Self { source: RxTx::new(connections), hash, states, missed: 0 })
    }
}

impl Work for RteHash {
    fn name(&self) -> &'static str {
        "rte_hash_floor"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.source.flows.set_choice(choice);
    }

    #[inline(always)]
    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        receive(bed, &mut burst, &mut self.source.flows);
        let keys = parse_all(&mut burst);
        let mut positions = [-1_i32; BURST];
        self.hash.lookup_bulk(&keys, &mut positions);
        for position in positions {
            if let Some(state) = self.states.get(position as usize) {
                prefetch_value(state);
            }
        }
        for (mbuf, position) in burst.iter().zip(positions) {
            match self.states.get_mut(position as usize) {
                Some(state) => state.update(mbuf, 7),
                None => self.missed += 1,
            }
        }
        bed.send(&mut burst);
    }

    fn verdict(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.missed == 0, "rte_hash did not find {} packets", self.missed);
        Ok(())
    }
}

const SLOTS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    tags: [u16; SLOTS],
    /// One more than the number of the state; 0 is none.
    states: [u32; SLOTS],
}

/// A table of our own with nothing of a firewall: a bucket of one cache line, a state of one cache line that holds the
/// key, both prefetched.
#[derive(Debug)]
pub struct OwnBucket {
    source: RxTx,
    buckets: Vec<Bucket>,
    states: Vec<State>,
    missed: u64,
}

#[inline(always)]
fn hash_of(key: &Key) -> u64 {
    let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap_or_default());
    let product = u128::from(word(0) ^ 0x9e37_79b9_7f4a_7c15) * u128::from(word(8) ^ 0xbf58_476d_1ce4_e5b9);
    (product >> 64) as u64 ^ product as u64
}

impl OwnBucket {
    /// With every connection in the table that has a place in its one bucket, which at this load all but a few have.
    pub fn new(connections: u64) -> Self {
        let mut buckets = (connections as usize * 16 / (SLOTS * 7)).next_power_of_two();
        loop {
            if let Some(table) = Self::fill(connections, buckets) {
                return table;
            }
            buckets *= 2;
        }
    }

    fn fill(connections: u64, buckets: usize) -> Option<Self> {
        let mut table = Self {
            source: RxTx::new(connections),
            buckets: vec![Bucket::default(); buckets],
            states: vec![State::default(); connections as usize],
            missed: 0,
        };
        let mut without = 0;
        for connection in 0..connections {
            let key = key_of(connection);
            table.states[connection as usize].key = key;
            let hash = hash_of(&key);
            let bucket = &mut table.buckets[hash as usize & (buckets - 1)];
            match bucket.states.iter().position(|state| *state == 0) {
                Some(slot) => {
                    bucket.states[slot] = connection as u32 + 1;
                    bucket.tags[slot] = (hash >> 48) as u16;
                }
                None => without += 1,
            }
        }
        // A packet in a hundred without a state changes nothing that is measured.
        (without * 100 <= connections).then_some(table)
    }

    #[inline(always)]
    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let bucket = self.buckets[hash as usize & (self.buckets.len() - 1)];
        let tag = (hash >> 48) as u16;
        let same = bucket
            .tags
            .iter()
            .enumerate()
            .fold(0_u32, |mask, (slot, own)| mask | u32::from(*own == tag) << slot);
        let mut same = same;
        std::iter::from_fn(move || {
            if same == 0 {
                return None;
            }
            let slot = same.trailing_zeros() as usize;
            same &= same - 1;
            Some((bucket.states[slot & (SLOTS - 1)] as usize).wrapping_sub(1))
        })
    }
}

impl Work for OwnBucket {
    fn name(&self) -> &'static str {
        "bucket_floor"
    }

    fn set_choice(&mut self, choice: Choice) {
        self.source.flows.set_choice(choice);
    }

    #[inline(always)]
    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        receive(bed, &mut burst, &mut self.source.flows);
        let keys = parse_all(&mut burst);
        let hashes = keys.map(|key| hash_of(&key));
        for hash in hashes {
            prefetch_value(&self.buckets[hash as usize & (self.buckets.len() - 1)]);
        }
        for hash in hashes {
            if let Some(state) = self.candidates(hash).next().and_then(|number| self.states.get(number)) {
                prefetch_value(state);
            }
        }
        for ((mbuf, key), hash) in burst.iter().zip(&keys).zip(hashes) {
            let found = self
                .candidates(hash)
                .find(|number| self.states.get(*number).is_some_and(|state| state.key == *key));
            match found.and_then(|number| self.states.get_mut(number)) {
                Some(state) => state.update(mbuf, 7),
                None => self.missed += 1,
            }
        }
        bed.send(&mut burst);
    }
}
