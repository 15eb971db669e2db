//! Floods, storms and chosen keys: the work for a packet or a poll stays bounded, whatever the table holds.

use core::net::{IpAddr, Ipv4Addr};

use ruleset::{Action, AddressPattern, Direction, Limit, Pool, Reason, Rule, Ruleset, StateMode, Timeout};
use wire::checksum::Sum;
use wire::{Af, Mac, Port, Proto};

use crate::entropy::Entropy;
use crate::fib::{Interface, InterfaceId, Neighbor, NextHop, Role, Route, RouteEntry};
use crate::shard::BURST;
use crate::state::{Hashing, Index, Key, KeyHash, RecordId};
use crate::translate::{AT_ONCE, OF_A_PACKET};
use crate::work::{self, Work};
use crate::{
    Address, Arrival, Fate, Fib, Root, Shard, ShardConfig, Source, Tick, Tuple, View, WorkerId, Zone,
};

const EM0: InterfaceId = InterfaceId(0);
const EM1: InterfaceId = InterfaceId(1);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn interface(name: &str, number: u8) -> Interface {
    Interface {
        name: name.into(),
        groups: Vec::new(),
        mac: Mac([2, 0, 0, 0, number, 1]),
        mtu: 1500,
        addresses: Vec::new(),
        zone: Zone(0),
        up: true,
        role: Role::Routed,
    }
}

fn fib() -> Fib {
    let gateway = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let hop = NextHop { interface: EM1, gateway: Some(gateway), mtu: None };
    let prefix = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let default = RouteEntry { prefix, length: 0, route: Route::Forward(vec![hop]) };
    let neighbor = Neighbor { interface: EM1, address: gateway, mac: ROUTER };
    Fib::new(1, vec![interface("em0", 0), interface("em1", 1)], [default], [neighbor])
}

/// Nothing here needs to be unpredictable.
struct Counter(u64);

impl Entropy for Counter {
    fn next_u64(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// A shard that passes every connection, with room for so many states.
struct Firewall {
    shard: Shard,
    root: Root,
    fib: Fib,
    now: Tick,
}

impl Firewall {
    fn new(states: u32) -> Self {
        Self::with(states, Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() })
    }

    fn with(states: u32, rule: Rule) -> Self {
        let mut ruleset = Ruleset { rules: vec![rule], ..Ruleset::default() };
        ruleset.options.limits.set(Limit::States, states);
        ruleset.options.timeouts.set(Timeout::AdaptiveStart, 0);
        ruleset.options.timeouts.set(Timeout::AdaptiveEnd, 0);
        let fib = fib();
        let root = Root::compile(&ruleset, fib.interfaces(), None).expect("valid rules");
        let config = ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: states,
            interfaces: 2,
            key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        };
        Self { shard: Shard::new(config), root, fib, now: Tick::from_secs(1) }
    }

    /// The fates of a burst of SYNs, one each of the connections from number `first` on.
    fn open(&mut self, first: u32) -> Vec<Fate> {
        self.decide((first..).take(BURST).map(|number| syn(number, SERVER)).collect())
    }

    fn decide(&mut self, mut frames: Vec<Vec<u8>>) -> Vec<Fate> {
        let mut fates = vec![Fate::Drop(Reason::NoRules); frames.len()];
        let view = View { now: self.now, root: Some(&self.root), fib: &self.fib };
        let arrival = Arrival { interface: EM0, source: Source::Wire };
        self.shard.process(&view, &mut Counter(0), arrival, &mut frames, &mut fates);
        fates
    }

    fn expire(&mut self, most: usize) -> u64 {
        let view = View { now: self.now, root: Some(&self.root), fib: &self.fib };
        self.shard.expire(&view, most)
    }
}

const SERVER: u32 = 0xcb00_7101;

/// The SYN that opens a connection to `server`.
fn syn(number: u32, server: u32) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
    frame[26..30].copy_from_slice(&(0x0a00_0000 | number).to_be_bytes());
    frame[30..34].copy_from_slice(&server.to_be_bytes());
    let checksum = Sum::ZERO.plus(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&checksum.0);
    frame[34..38].copy_from_slice(&[0x40, 0, 0, 80]);
    (frame[46], frame[47]) = (5 << 4, 2);
    frame
}

/// What a burst of new connections may read at most: for each packet both buckets of its key, which is looked for twice and
/// may be put into either, where entries move if both are full; records are read where a tag is equal by chance.
const BURST_MAX: Work = Work { buckets: 26 * BURST as u64, records: BURST as u64 };

fn is_within(work: Work, most: Work) -> bool {
    work.buckets <= most.buckets && work.records <= most.records
}

#[test]
fn e01_a_full_table_refuses_new_connections_without_looking_through_it_and_keeps_its_own() {
    const CONNECTIONS: u32 = 312 * BURST as u32;
    let mut firewall = Firewall::new(2 * CONNECTIONS);
    for first in (0..CONNECTIONS).step_by(BURST) {
        let (work, _) = work::of(|| firewall.open(first));
        assert!(is_within(work, BURST_MAX), "{work:?} with {} states", firewall.shard.states());
    }
    assert_eq!(firewall.shard.states(), 2 * CONNECTIONS);
    for first in (1_000_000..1_000_000 + CONNECTIONS).step_by(BURST) {
        let (work, fates) = work::of(|| firewall.open(first));
        assert_eq!(fates, [Fate::Drop(Reason::Memory); BURST]);
        // Nothing is put in, so that only lookups read.
        assert!(is_within(work, Work { buckets: 4 * BURST as u64, ..BURST_MAX }), "{work:?}");
    }
    assert_eq!(firewall.shard.counters().dropped_in_all(), u64::from(CONNECTIONS));
    for first in (0..CONNECTIONS).step_by(BURST) {
        assert_eq!(firewall.open(first), [Fate::Transmit(EM1); BURST], "a connection that was there goes on");
    }
    assert_eq!(firewall.shard.states(), 2 * CONNECTIONS);
}

#[test]
fn e07_a_million_states_that_expire_at_once_are_removed_a_poll_at_a_time() {
    const CONNECTIONS: u32 = 7_813 * BURST as u32;
    const POLL: u64 = 512;
    let mut firewall = Firewall::new(2 * CONNECTIONS + 2 * BURST as u32);
    for first in (0..CONNECTIONS).step_by(BURST) {
        firewall.open(first);
    }
    let made = u64::from(firewall.shard.states());
    assert!(made >= 1_000_000);
    firewall.now = firewall.now + Tick::from_secs(3_600);
    let (mut polls, mut removed) = (0, 0);
    while firewall.shard.states() > 0 {
        let (work, gone) = work::of(|| firewall.expire(POLL as usize));
        // Each record is visited once, and its entry is in one of two buckets.
        assert!(is_within(work, Work { buckets: 2 * POLL, records: POLL }), "{work:?} in poll {polls}");
        assert!(gone <= 2 * POLL);
        (polls, removed) = (polls + 1, removed + gone);
        if polls == 500 {
            let (work, fates) = work::of(|| firewall.open(5_000_000));
            assert_eq!(fates, [Fate::Transmit(EM1); BURST], "between two polls packets go on");
            assert!(is_within(work, BURST_MAX), "{work:?}");
            firewall.now = firewall.now + Tick::from_secs(3_600);
        }
    }
    assert_eq!(removed, made + 2 * BURST as u64);
    assert!(polls >= made / (2 * POLL), "no poll does the work of another");
}

#[test]
fn nearly_full_ranges_bound_the_work_of_a_moment() {
    const PORTS: u32 = 1024;
    const BURSTS: u64 = 3;
    const SERVERS: u32 = BURST as u32;
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let ports = Some((Port(1), Port(PORTS as u16)));
    let pool = Pool {
        address: AddressPattern::Net(address.into()),
        kind: None,
        sticky: false,
        ports,
        static_port: false,
        port_block: None,
        port_set: None,
        endpoint_independent: false,
    };
    let rule = Rule {
        action: Action::Pass,
        direction: Some(Direction::Out),
        af: Some(Af::Inet),
        state: StateMode::Keep,
        nat: Some(pool),
        ..Rule::default()
    };
    let mut firewall = Firewall::with(2 * PORTS * SERVERS, rule);
    // A connection more to each server.
    let mut number = 0;
    let mut open = |firewall: &mut Firewall| {
        number += SERVERS;
        let frames = (0..SERVERS).map(|at| syn(number + at, SERVER + at)).collect();
        work::of(|| firewall.decide(frames))
    };
    let pass =
        |firewall: &mut Firewall, milliseconds| firewall.now = firewall.now + Tick::from_millis(milliseconds);
    while firewall.shard.states() < PORTS * SERVERS {
        open(&mut firewall);
        pass(&mut firewall, 10);
    }
    pass(&mut firewall, 100);
    // Wherever a state goes, all that is full may be so no more.
    firewall.shard.counters.removals += 1;
    let all_asked = 2 * u64::from(PORTS * SERVERS);
    let bound = 2 * (u64::from(AT_ONCE) + BURSTS * BURST as u64 * u64::from(OF_A_PACKET));
    let most = Work { buckets: bound + BURSTS * BURST_MAX.buckets, records: bound / 2 };
    assert!(most.buckets < all_asked * 3 / 4, "what is asked for is more than there is");
    let mut done = Work::default();
    for _ in 0..BURSTS {
        let (work, fates) = open(&mut firewall);
        assert_eq!(fates, [Fate::Drop(Reason::Translate); BURST]);
        (done.buckets, done.records) = (done.buckets + work.buckets, done.records + work.records);
    }
    assert!(done.buckets > bound / 2 && is_within(done, most), "{done:?} at one moment");
    let fates = firewall.decide(vec![syn(0, SERVER + SERVERS)]);
    assert_eq!(fates[0], Fate::Transmit(EM1), "who asks for one port has it");
    // What was begun is brought to its end, and known to be full then.
    for _ in 0..3 {
        pass(&mut firewall, 100);
        assert!(is_within(open(&mut firewall).0, most));
    }
    pass(&mut firewall, 100);
    let (work, fates) = open(&mut firewall);
    assert_eq!(fates, [Fate::Drop(Reason::Translate); BURST]);
    // Where two ranges have one place, each is searched again.
    assert!(work.buckets < all_asked / 8, "{work:?}");
}

/// Keys that an attacker has chosen so that a hash which is known collides, each with what that hash makes of it.
mod chosen {
    /// Source, destination, ports.
    pub type Words = [u32; 3];

    /// CRC32C (RFC 3720 appendix B.4), as DPDK's `rte_hash_crc` without a secret seed.
    pub fn crc32c(words: Words) -> u32 {
        let bytes = words.into_iter().flat_map(u32::to_be_bytes);
        bytes.fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
        })
    }

    /// The Toeplitz hash with the key that drivers are shipped with, Microsoft's for verification.
    pub fn toeplitz(words: Words) -> u32 {
        const KEY: [u32; 4] = [0x6d5a_56da, 0x255b_0ec2, 0x4167_253d, 0x43a3_8fb0];
        let window = |at: usize| {
            let pair = u64::from(KEY[at / 32]) << 32 | u64::from(KEY[at / 32 + 1]);
            (pair >> (32 - at % 32)) as u32
        };
        let is_set = |at: &usize| words[at / 32] >> (31 - at % 32) & 1 == 1;
        (0..96).filter(is_set).fold(0, |hash, at| hash ^ window(at))
    }

    /// What any Toeplitz hash that is symmetric by a periodic key can tell: the words of 16 bits, folded.
    pub fn fold(words: Words) -> u32 {
        words.into_iter().fold(0, |fold, word| fold ^ word >> 16 ^ word & 0xffff)
    }

    const JHASH: u32 = 0xdead_beef + (3 << 2);

    /// Jenkins's lookup3 of three words, as Linux and DPDK have it.
    pub fn jhash(words: Words) -> u32 {
        let [mut a, mut b, mut c] = words.map(|word| word.wrapping_add(JHASH));
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        (c ^ b).wrapping_sub(b.rotate_left(24))
    }

    /// Words whose `jhash` is `target`: every step of it can be undone.
    pub fn undo_jhash(target: u32, a: u32, b: u32) -> Words {
        let (mut a, mut b) = (a, b);
        let mut c = target.wrapping_add(b.rotate_left(24)) ^ b;
        b = b.wrapping_add(a.rotate_left(14)) ^ a;
        a = a.wrapping_add(c.rotate_left(4)) ^ c;
        c = c.wrapping_add(b.rotate_left(16)) ^ b;
        b = b.wrapping_add(a.rotate_left(25)) ^ a;
        a = a.wrapping_add(c.rotate_left(11)) ^ c;
        c = c.wrapping_add(b.rotate_left(14)) ^ b;
        [a, b, c].map(|word| word.wrapping_sub(JHASH))
    }

    /// Words with `destination` and `ports` whose hash is `target`, if there are any, for a hash that is linear over GF(2)
    /// but for a constant.
    pub struct Linear {
        hash: fn(Words) -> u32,
        /// By highest bit: a difference of the hash, and of the source that makes it.
        basis: [Option<(u32, u32)>; 32],
    }

    impl Linear {
        pub fn new(hash: fn(Words) -> u32) -> Self {
            let mut basis = [None; 32];
            for bit in 0..32 {
                let (mut difference, mut source) = (hash([1 << bit, 0, 0]) ^ hash([0; 3]), 1 << bit);
                while difference != 0 {
                    let place = &mut basis[difference.ilog2() as usize];
                    let Some((own, from)) = *place else {
                        *place = Some((difference, source));
                        break;
                    };
                    (difference, source) = (difference ^ own, source ^ from);
                }
            }
            Self { hash, basis }
        }

        pub fn solve(&self, target: u32, destination: u32, ports: u32) -> Option<Words> {
            let (mut difference, mut source) = ((self.hash)([0, destination, ports]) ^ target, 0);
            while difference != 0 {
                let (own, from) = self.basis[difference.ilog2() as usize]?;
                (difference, source) = (difference ^ own, source ^ from);
            }
            Some([source, destination, ports])
        }
    }
}

const CHOSEN: u32 = 1_000_000;
const TARGET: u32 = 0x0000_5a5a;

/// Puts a million keys into an index that has room for them, and asserts that it neither refuses one nor looks longer for
/// any than the bound.
fn withstands(name: &str, weak: fn(chosen::Words) -> u32, keys: impl Iterator<Item = chosen::Words>) {
    let hashing = Hashing::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210], 1);
    let mut index = Index::new(CHOSEN as usize);
    let mut naive = Index::new(CHOSEN as usize);
    let (mut hashes, mut refused) = (Vec::new(), 0);
    for (number, words) in (0..).map(RecordId).zip(keys) {
        assert_eq!(weak(words), TARGET, "{name}: {words:x?}");
        let [source, destination, ports] = words;
        let tuple = Tuple {
            af: Af::Inet,
            proto: Proto::TCP,
            zone: Zone(0),
            src: Address(source.into()),
            dst: Address(destination.into()),
            sport: Port((ports >> 16) as u16),
            dport: Port(ports as u16),
        };
        let hash = hashing.hash(&Key::of(&tuple).0);
        index.insert(hash, number).unwrap_or_else(|_| panic!("{name}: no place for key {}", number.0));
        hashes.push(hash);
        refused += u32::from(naive.insert(KeyHash(u64::from(weak(words)) << 32), number).is_err());
    }
    assert_eq!(hashes.len(), CHOSEN as usize, "{name}");
    assert!(refused > CHOSEN - 1000, "{name}: the keys would fill the buckets of a table that used it");
    let mut probes = 0;
    for (number, hash) in (0..).map(RecordId).zip(&hashes) {
        let (work, records) = work::of(|| index.candidates(*hash).collect::<Vec<_>>());
        assert!(records.contains(&number), "{name}");
        assert!(records.len() <= 16 && work.buckets <= 2, "{name}: {} records, {work:?}", records.len());
        probes += records.len();
    }
    assert!(probes < hashes.len() * 101 / 100, "{name}: {probes} records are read for {} keys", hashes.len());
}

#[test]
fn e03_keys_that_collide_under_known_hashes_are_as_good_as_any() {
    let linear = |hash: fn(chosen::Words) -> u32| {
        let linear = chosen::Linear::new(hash);
        // Client ports and servers in turn; the source is what makes them collide.
        let others = (0..u32::MAX).map(|n| (0xc0a8_0000 | n >> 15, (n & 0x7fff | 0x8000) << 16 | 443));
        others.filter_map(move |(destination, ports)| linear.solve(TARGET, destination, ports))
    };
    let take = CHOSEN as usize;
    withstands("CRC32C", chosen::crc32c, linear(chosen::crc32c).take(take));
    withstands("Toeplitz", chosen::toeplitz, linear(chosen::toeplitz).take(take));
    withstands("equal fold", chosen::fold, linear(chosen::fold).take(take));
    let jhash = (0..CHOSEN).map(|n| chosen::undo_jhash(TARGET, n.wrapping_mul(0x9e37_79b1), !n));
    withstands("jhash", chosen::jhash, jhash);
}
