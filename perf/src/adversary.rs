//! Connections that an attacker has chosen: a million tuples of which a hash that he knows makes the same number, beside as many
//! that are strewn at random.
//!
//! Overview: the hashes of network cards and of many tables are linear over GF(2) but for a constant. So whatever they make
//! equal is a tuple and all sums of some differences; tuples at random are sums of differences at random,
//! and both are written by the same code at the same cost. Bounds: 2^20 connections, 36 KiB of tables.

use dpdk::{Burst, Mbuf};

use crate::bed::Bed;
use crate::firewall::{Firewall, Packets};
use crate::flows::{Choice, Flows, Random};
use crate::measure::Work;
use crate::traffic::{Sender, Source, Step, Traffic};

/// Client, server, their ports.
type Words = [u32; 3];

/// The most connections.
pub const CONNECTIONS_MAX: u64 = 1 << BITS;

const BITS: u32 = 20;

/// A tuple of the benchmark's networks, and the bits of tuples that may differ from it: ports keep their highest one, so that
/// none is 0.
const BASE: Words = [0x0a00_0000, 0xc0a8_0000, 0x8000_8000];
const FREE: Words = [0x00ff_ffff, 0x0000_ffff, 0x7fff_7fff];

/// A hash that attackers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// CRC32C (RFC 3720 appendix B.4), as `rte_hash_crc` without a secret seed.
    Crc32c,
    /// The Toeplitz hash with the key that drivers are shipped with.
    Toeplitz,
    /// The words of 16 bits, folded: what any symmetric Toeplitz hash can tell.
    Fold,
}

impl Weak {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Crc32c, Self::Toeplitz, Self::Fold];

    /// The name of a firewall whose connections it makes equal, in reports.
    pub const fn row(self) -> &'static str {
        match self {
            Self::Crc32c => "chosen_crc32c",
            Self::Toeplitz => "chosen_toeplitz",
            Self::Fold => "chosen_fold",
        }
    }

    /// What it makes of a tuple.
    pub fn hash(self, words: Words) -> u32 {
        match self {
            Self::Crc32c => words.into_iter().flat_map(u32::to_be_bytes).fold(u32::MAX, |crc, byte| {
                let shift = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
                (0..8).fold(crc ^ u32::from(byte), shift)
            }),
            Self::Toeplitz => {
                const KEY: [u32; 4] = [0x6d5a_56da, 0x255b_0ec2, 0x4167_253d, 0x43a3_8fb0];
                let window = |at: usize| {
                    let pair = u64::from(KEY[at / 32]) << 32 | u64::from(KEY[at / 32 + 1]);
                    (pair >> (32 - at % 32)) as u32
                };
                let is_set = |at: &usize| words[at / 32] >> (31 - at % 32) & 1 == 1;
                (0..96).filter(is_set).fold(0, |hash, at| hash ^ window(at))
            }
            Self::Fold => words.into_iter().fold(0, |fold, word| fold ^ word >> 16 ^ word & 0xffff),
        }
    }

    /// Independent differences that it does not see.
    fn kernel(self) -> Vec<Words> {
        let mut basis: [Option<(u32, Words)>; 32] = [None; 32];
        let mut kernel = Vec::new();
        for bit in free_bits() {
            let (mut seen, mut made_of) = (self.hash(bit) ^ self.hash([0; 3]), bit);
            while seen != 0 {
                let place = &mut basis[seen.ilog2() as usize];
                let Some((other, others)) = *place else {
                    *place = Some((seen, made_of));
                    break;
                };
                (seen, made_of) = (seen ^ other, sum(made_of, others));
            }
            if seen == 0 {
                kernel.push(made_of);
            }
        }
        kernel
    }
}

/// Each bit in which tuples may differ.
fn free_bits() -> impl Iterator<Item = Words> {
    (0..96).filter_map(|at| {
        let mut bit = [0; 3];
        bit[at / 32] = FREE[at / 32] & 1 << (at % 32);
        (bit != [0; 3]).then_some(bit)
    })
}

/// Independent differences at random: each has a bit that those before it have not.
fn random_differences() -> Vec<Words> {
    let mut random = Random::new();
    let bits: Vec<Words> = free_bits().collect();
    let mut order: Vec<usize> = (0..bits.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at as u64 + 1) as usize);
    }
    let difference = |at: usize| {
        let others = order[at + 1..].iter().filter(|_| random.next() & 1 == 1);
        others.fold(bits[order[at]], |made_of, other| sum(made_of, bits[*other]))
    };
    (0..BITS as usize).map(difference).collect()
}

const fn sum(one: Words, other: Words) -> Words {
    [one[0] ^ other[0], one[1] ^ other[1], one[2] ^ other[2]]
}

/// A source of such connections, TCP over IPv4.
pub struct Chosen {
    source: Source,
    flows: Flows,
    /// By eight bits of the connection's number: the sum of its differences.
    sums: [[Words; 256]; 3],
}

impl Chosen {
    /// So many connections of which a hash makes the same; strewn at random without one.
    ///
    /// # Panics
    /// If there are more than [`CONNECTIONS_MAX`].
    pub fn new(weak: Option<Weak>, connections: u64) -> Self {
        assert!(connections <= CONNECTIONS_MAX, "{connections} connections are too many");
        let differences = weak.map_or_else(random_differences, Weak::kernel);
        let mut sums = [[[0; 3]; 256]; 3];
        for (part, sums) in sums.iter_mut().enumerate() {
            for (number, own) in sums.iter_mut().enumerate() {
                let chosen = (0..8).filter(|bit| number >> bit & 1 == 1);
                *own = chosen.filter_map(|bit| differences.get(8 * part + bit)).copied().fold([0; 3], sum);
            }
        }
        Self { source: Source::new(Traffic::Tcp4, connections), flows: Flows::new(connections), sums }
    }

    #[inline(always)]
    fn words(&self, connection: u64) -> Words {
        let [a, b, c, ..] = connection.to_le_bytes().map(usize::from);
        sum(sum(BASE, self.sums[0][a]), sum(self.sums[1][b], self.sums[2][c]))
    }

    /// Puts the connection's addresses and ports in place of the plain source's.
    #[inline(always)]
    fn readdress(&self, mbuf: &mut Mbuf, connection: u64, sender: Sender) {
        let [client, server, ports] = self.words(connection);
        let (source, destination, ports) = match sender {
            Sender::Client => (client, server, ports),
            Sender::Server => (server, client, ports.rotate_left(16)),
        };
        let frame: &mut [u8; 38] = mbuf.data_mut().first_chunk_mut().expect("frames have 60 bytes");
        frame[24..26].fill(0);
        frame[26..30].copy_from_slice(&source.to_be_bytes());
        frame[30..34].copy_from_slice(&destination.to_be_bytes());
        frame[34..38].copy_from_slice(&ports.to_be_bytes());
        let word = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let sum = (14..34).step_by(2).map(word).sum::<u32>();
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }

    /// Receives a full burst of data packets from one side, each of a connection drawn evenly.
    #[inline(never)]
    fn receive(&mut self, bed: &Bed, burst: &mut Burst, sender: Sender) {
        bed.receive(burst, |mbuf| {
            let connection = self.flows.draw();
            self.source.write_data(mbuf, connection, sender);
            self.readdress(mbuf, connection, sender);
        });
    }
}

impl Packets for Chosen {
    fn connections(&self) -> u64 {
        self.source.connections()
    }

    fn write(&self, mbuf: &mut Mbuf, connection: u64, sender: Sender, step: Step) {
        self.source.write(mbuf, connection, sender, step);
        self.readdress(mbuf, connection, sender);
    }
}

/// A firewall that forwards them; without one they are sent as they came.
pub struct Forwarding {
    name: &'static str,
    firewall: Option<Firewall>,
    chosen: Chosen,
    sender: Sender,
    passed: usize,
    sent: usize,
}

impl Forwarding {
    /// Through a firewall in which all are established.
    ///
    /// # Errors
    /// If any cannot be.
    pub fn new(bed: &mut Bed, weak: Option<Weak>, connections: u64) -> anyhow::Result<Self> {
        let chosen = Chosen::new(weak, connections);
        let mut firewall = Firewall::new("block\npass\n", 2 * connections as u32)?;
        firewall.establish(bed, &chosen)?;
        let name = weak.map_or("uniform", Weak::row);
        Ok(Self { name, firewall: Some(firewall), ..Self::untouched(chosen) })
    }

    /// Past any firewall: what writing them costs.
    pub const fn untouched(chosen: Chosen) -> Self {
        Self { name: "rx_tx", firewall: None, chosen, sender: Sender::Client, passed: 0, sent: 0 }
    }
}

impl Work for Forwarding {
    fn name(&self) -> &'static str {
        self.name
    }

    fn set_choice(&mut self, choice: Choice) {
        self.chosen.flows.set_choice(choice);
        self.chosen.source.set_choice(choice);
    }

    fn burst(&mut self, bed: &mut Bed) {
        let mut burst = Burst::new();
        let sender = self.sender;
        self.chosen.receive(bed, &mut burst, sender);
        self.sent += burst.len();
        self.sender = sender.other();
        self.passed += match &mut self.firewall {
            Some(firewall) => firewall.process(bed, &mut burst, sender),
            None => {
                let count = burst.len();
                bed.send(&mut burst);
                count
            }
        };
    }

    fn verdict(&self) -> anyhow::Result<()> {
        let refused = self.sent - self.passed;
        let reasons = self.firewall.as_ref().map(Firewall::refusals).unwrap_or_default();
        anyhow::ensure!(refused == 0, "{refused} of {} packets were refused: {reasons:?}", self.sent);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn chosen_tuples_are_different_and_collide_under_the_hash_that_they_are_for_alone() {
        for weak in Weak::ALL {
            let chosen = Chosen::new(Some(weak), CONNECTIONS_MAX);
            let tuples: HashSet<Words> = (0..CONNECTIONS_MAX).map(|number| chosen.words(number)).collect();
            assert_eq!(tuples.len() as u64, CONNECTIONS_MAX, "{weak:?}");
            let hashes = |of: Weak| tuples.iter().map(|words| of.hash(*words)).collect::<HashSet<_>>().len();
            assert_eq!(hashes(weak), 1, "{weak:?}");
            assert!(Weak::ALL.iter().all(|other| *other == weak || hashes(*other) > 1000), "{weak:?}");
            let inside = |words: &Words| (0..3).all(|word| (words[word] ^ BASE[word]) & !FREE[word] == 0);
            assert!(tuples.iter().all(inside), "{weak:?}: a tuple is outside of the networks");
        }
    }

    #[test]
    fn tuples_at_random_collide_under_none() {
        let chosen = Chosen::new(None, CONNECTIONS_MAX);
        let tuples: HashSet<Words> = (0..CONNECTIONS_MAX).map(|number| chosen.words(number)).collect();
        assert_eq!(tuples.len() as u64, CONNECTIONS_MAX);
        for weak in [Weak::Crc32c, Weak::Toeplitz] {
            let hashes: HashSet<u32> = tuples.iter().map(|words| weak.hash(*words)).collect();
            assert!(hashes.len() > 100_000, "{weak:?}: {} numbers", hashes.len());
        }
    }
}
