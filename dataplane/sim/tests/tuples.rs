//! Of connections that come and go all the time, no two are ever translated to the same tuple, and each hears its own answers.
//!
//! And a million of them are behind 64 addresses. A hundred times the connections, and a million, under `deploy/test --long`.

use std::collections::VecDeque;

use engine::{Arrival, Fate, InterfaceId, Source, Tick, WorkerId};
use ruleset::Reason;
use sim::firewall::Firewall;
use sim::replay::{report, seeds_of};
use sim::rng::Rng;
use sim::sketch::{Body, Sketch};
use sim::topology::{self, address, mac};
use wire::Af;

const INSIDE: Arrival = Arrival { interface: InterfaceId(0), source: Source::Wire };
const OUTSIDE: Arrival = Arrival { interface: InterfaceId(1), source: Source::Wire };

/// `udp.first`, `udp.single` and `udp.multiple`, in seconds.
const LIFETIME: u32 = 20;

const RULES: &str = "
    set timeout { udp.first 20, udp.single 20, udp.multiple 20, adaptive.start 0, adaptive.end 0 }
    set limit states 200000
    block
    pass in on em0
    pass out on em1 nat-to 10.1.0.64/30 port 50000:50511 random
";

/// What the rules translate to.
const FIRST_ADDRESS: u8 = 64;
const ADDRESSES: usize = 4;
const FIRST_PORT: u16 = 50_000;
const PORTS: usize = 512;

/// All clients speak with one host, at so many ports of it.
const SERVER: u8 = 2;
const SERVER_PORTS: u16 = 8;

/// The stations that speak.
const CLIENTS: core::ops::RangeInclusive<u64> = 2..=9;

const BURST: usize = 32;

/// Connections of one seed.
const CONNECTIONS: u64 = 1_000_000;

/// Where things are in a frame.
mod at {
    use core::ops::Range;
    pub const IP: usize = wire::ethernet::HEADER_LEN;
    pub const SOURCE: usize = IP + 15;
    pub const DESTINATION: usize = IP + 19;
    pub const SOURCE_PORT: Range<usize> = IP + 20..IP + 22;
    pub const DESTINATION_PORT: Range<usize> = IP + 22..IP + 24;
    pub const CHECKSUM: Range<usize> = IP + 26..IP + 28;
}

/// A datagram from one station to another, and their ports, without a checksum of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Datagram {
    from: (u8, u16),
    to: (u8, u16),
}

impl Datagram {
    fn write(self, template: &[u8], frame: &mut Vec<u8>) {
        template.clone_into(frame);
        (frame[at::SOURCE], frame[at::DESTINATION]) = (self.from.0, self.to.0);
        frame[at::SOURCE_PORT].copy_from_slice(&self.from.1.to_be_bytes());
        frame[at::DESTINATION_PORT].copy_from_slice(&self.to.1.to_be_bytes());
        frame[at::CHECKSUM].fill(0);
        wire::ipv4::fill_checksum(frame, at::IP).expect("an IPv4 header");
    }

    fn read(frame: &[u8]) -> Self {
        let port =
            |at: core::ops::Range<usize>| u16::from_be_bytes(frame[at].try_into().expect("two octets"));
        Self {
            from: (frame[at::SOURCE], port(at::SOURCE_PORT)),
            to: (frame[at::DESTINATION], port(at::DESTINATION_PORT)),
        }
    }
}

/// Who has a tuple, and since when, in sixteenths of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Owner {
    client: (u8, u16),
    since: u64,
}

impl Owner {
    const fn is_live(self, now: u64) -> bool {
        self.since > 0 && now - self.since < 16 * LIFETIME as u64
    }
}

/// The firewall, and who has which tuple by what left it.
struct Bed {
    firewall: Firewall,
    workers: u64,
    rng: Rng,
    now: Tick,
    owners: Vec<Owner>,
    /// From clients to the server, and back.
    templates: [Vec<u8>; 2],
    frames: Vec<Vec<u8>>,
    made: u64,
    refused: u64,
    answered: u64,
}

impl Bed {
    fn new(seed: u64, workers: u16, rules: &str, max_states: u32) -> Self {
        let rules = pfconf::compile(rules, &pfconf::Interfaces::default()).expect("rules");
        let mut firewall = Firewall::new(topology::fib(), workers, max_states, Rng::new(seed));
        firewall.load(&rules).expect("rules that the engine takes");
        // Everybody's address outside is in the server's network.
        let template = |arrival: Arrival| {
            let [src, dst] = [arrival, OUTSIDE].map(|at| address(Af::Inet, at.interface, SERVER));
            let sketch = Sketch::new(src, dst, Body::Udp { sport: 1, dport: 1, len: 0 });
            sketch.frame(mac(arrival.interface, 2), mac(arrival.interface, 1))
        };
        Self {
            firewall,
            workers: workers.into(),
            rng: Rng::new(seed),
            now: Tick::from_secs(1000),
            owners: vec![Owner::default(); ADDRESSES * PORTS * usize::from(SERVER_PORTS)],
            templates: [INSIDE, OUTSIDE].map(template),
            frames: vec![Vec::new(); BURST],
            made: 0,
            refused: 0,
            answered: 0,
        }
    }

    const fn sixteenths(&self) -> u64 {
        self.now.0 / (1_000_000_000 / 16)
    }

    fn worker(&mut self) -> WorkerId {
        WorkerId(self.rng.below(self.workers) as u16)
    }

    /// The place of what a server's port sees of a client.
    fn place(seen: (u8, u16), server_port: u16) -> usize {
        let number = usize::from(seen.0 - FIRST_ADDRESS) * PORTS + usize::from(seen.1 - FIRST_PORT);
        number * usize::from(SERVER_PORTS) + usize::from(server_port)
    }

    /// What clients say to the server arrives at some worker.
    fn send(&mut self, said: &[Datagram; BURST]) -> [Fate; BURST] {
        for (datagram, frame) in said.iter().zip(&mut self.frames) {
            datagram.write(&self.templates[0], frame);
        }
        let mut fates = [Fate::Drop(Reason::NoRules); BURST];
        let worker = self.worker();
        self.firewall.burst(self.now, worker, INSIDE, &mut self.frames, &mut fates);
        fates
    }

    /// Clients say something for the first time, or again.
    fn open(&mut self) -> Result<(), String> {
        let said = core::array::from_fn(|_| {
            let client = (self.rng.between(*CLIENTS.start(), *CLIENTS.end()) as u8, self.rng.next() as u16);
            Datagram { from: client, to: (SERVER, 1 + self.rng.below(SERVER_PORTS.into()) as u16) }
        });
        let fates = self.send(&said);
        let now = self.sixteenths();
        for ((datagram, frame), fate) in said.iter().zip(&self.frames).zip(fates) {
            match fate {
                Fate::Transmit(interface) if interface == OUTSIDE.interface => {}
                Fate::Drop(Reason::Translate) => {
                    self.refused += 1;
                    continue;
                }
                other => return Err(format!("{datagram:?}: {other:?}")),
            }
            let left = Datagram::read(frame);
            let owner = &mut self.owners[Self::place(left.from, left.to.1 - 1)];
            if owner.is_live(now) && owner.client != datagram.from {
                return Err(format!("{:?} and {:?} share {left:?}", owner.client, datagram.from));
            }
            self.made += u64::from(!owner.is_live(now));
            *owner = Owner { client: datagram.from, since: now };
        }
        Ok(())
    }

    /// The server answers somebody, whom it may have forgotten.
    fn answer(&mut self) -> Result<(), String> {
        let place = self.rng.below(self.owners.len() as u64) as usize;
        let (number, port) = (place / usize::from(SERVER_PORTS), place % usize::from(SERVER_PORTS));
        let seen = (FIRST_ADDRESS + (number / PORTS) as u8, FIRST_PORT + (number % PORTS) as u16);
        let said = Datagram { from: (SERVER, 1 + port as u16), to: seen };
        let (fate, heard) = self.reply(said);
        let now = self.sixteenths();
        let owner = &mut self.owners[place];
        match fate {
            Fate::Transmit(interface) if interface == INSIDE.interface && owner.is_live(now) => {
                if heard.to != owner.client {
                    return Err(format!("{heard:?} was for {:?}", owner.client));
                }
                owner.since = now;
                self.answered += 1;
                Ok(())
            }
            Fate::Drop(_) if !owner.is_live(now) => Ok(()),
            other => Err(format!("{said:?} to {owner:?} at {now}: {other:?}")),
        }
    }

    /// What the server says arrives at some worker, and becomes something else.
    fn reply(&mut self, said: Datagram) -> (Fate, Datagram) {
        let (mut frame, mut fate) = (Vec::new(), [Fate::Drop(Reason::NoRules)]);
        said.write(&self.templates[1], &mut frame);
        let worker = self.worker();
        self.firewall.burst(self.now, worker, OUTSIDE, core::slice::from_mut(&mut frame), &mut fate);
        (fate[0], Datagram::read(&frame))
    }

    /// Three quarters of all tuples are in use, and now and then, when many come at once, each of them.
    fn run(&mut self) -> Result<(), String> {
        let mut at_once = 0;
        while self.made < CONNECTIONS {
            self.open()?;
            self.answer()?;
            self.firewall.sweep(self.now, 512);
            if self.rng.below(2000) == 0 {
                at_once = 160;
            }
            if at_once == 0 {
                self.now = self.now + Tick(self.rng.below(104_000_000));
            } else {
                at_once -= 1;
            }
        }
        self.firewall.check_conservation();
        Ok(())
    }
}

fn never_shared(test: &str, first: u64, seeds: u64, workers: u16) {
    for seed in seeds_of(first, seeds) {
        let mut bed = Bed::new(seed, workers, RULES, 1 << 18);
        if let Err(why) = bed.run() {
            panic!("{}", report(test, seed, &why));
        }
        assert!(bed.answered > CONNECTIONS / 64, "{} answers", bed.answered);
        assert!(bed.refused > 0 && bed.refused < CONNECTIONS / 4, "{} refused", bed.refused);
    }
}

/// With the one below, a thousand million connections.
#[test]
fn no_two_clients_share_a_tuple() {
    never_shared("no_two_clients_share_a_tuple", 0, 700, 1);
}

#[test]
fn no_two_clients_share_a_tuple_with_three_workers() {
    never_shared("no_two_clients_share_a_tuple_with_three_workers", 1 << 32, 300, 3);
}

/// Each of 64 addresses has a whole range of ports for what is said to one port of one host: all are used, no two are given the
/// same, and each hears its own answers. As one moment does not look through all of a million, one of the last thousand may
/// have to say it again.
fn behind_64_addresses(workers: u16) {
    const BEHIND: usize = 64;
    let ports: usize = if std::env::var_os("TURNPIKE_LONG").is_some() { 16_384 } else { 256 };
    let (all, first_port) = (BEHIND * ports, (1 << 16) - ports);
    let rules = format!(
        "set limit states {limit}\nset timeout udp.first 86400\nblock\npass in on em0\n\
         pass out on em1 nat-to 10.1.0.{FIRST_ADDRESS}/26 port {first_port}:65535 round-robin",
        limit = 3 * all,
    );
    let mut bed = Bed::new(workers.into(), workers, &rules, 3 * all as u32);
    let client = |number: usize| (2 + (number / 60_000) as u8, 1 + (number % 60_000) as u16);
    let of = |number| Datagram { from: client(number), to: (SERVER, 1) };
    let mut heard_by = vec![None; all];
    let (mut waiting, mut refused): (VecDeque<Datagram>, usize) = ((0..all).map(of).collect(), 0);
    while !waiting.is_empty() {
        let open = all - waiting.len();
        // Who has said it is silent, or says it again.
        let said = core::array::from_fn(|at| waiting.pop_front().unwrap_or(of(at)));
        let fates = bed.send(&said);
        for ((datagram, frame), fate) in said.iter().zip(&bed.frames).zip(fates) {
            if fate == Fate::Drop(Reason::Translate) {
                refused += 1;
                assert!(all - open <= 1000 && refused <= 1000, "{datagram:?} behind {open} others");
                waiting.push_back(*datagram);
                continue;
            }
            assert_eq!(fate, Fate::Transmit(OUTSIDE.interface), "{datagram:?}");
            let (address, port) = Datagram::read(frame).from;
            let place = usize::from(address - FIRST_ADDRESS) * ports + (usize::from(port) - first_port);
            let before = heard_by[place].replace(datagram.from);
            assert!(before.is_none_or(|before| before == datagram.from), "two are {address}, {port}");
        }
        bed.now = bed.now + Tick(1_000_000);
    }
    assert_eq!(bed.send(&core::array::from_fn(|at| of(all + at))), [Fate::Drop(Reason::Translate); BURST]);
    for _ in 0..all / 16 {
        let place = bed.rng.below(all as u64) as usize;
        let seen = (FIRST_ADDRESS + (place / ports) as u8, (first_port + place % ports) as u16);
        let (fate, heard) = bed.reply(Datagram { from: (SERVER, 1), to: seen });
        // Of some clients it is not known yet where they are.
        let goes =
            matches!(fate, Fate::Transmit(to) | Fate::Hold { interface: to, .. } if to == INSIDE.interface);
        assert!(goes && Some(heard.to) == heard_by[place], "{seen:?}: {fate:?}, {heard:?}");
    }
    bed.firewall.check_conservation();
}

#[test]
fn a_million_connections_are_behind_64_addresses() {
    behind_64_addresses(1);
}

#[test]
fn a_million_connections_are_behind_64_addresses_with_four_workers() {
    behind_64_addresses(4);
}
