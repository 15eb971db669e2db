//! Several workers, and what passes between them.

use engine::Errand;
use engine::{Arrival, Custody, Fate, InterfaceId, Shard, ShardConfig, Source, StatePool, WorkerId};
use ruleset::{Limit, Rule, Ruleset};

use super::packet::{Packet, render};
use super::rules::{block, pass, ruleset};
use super::{EM0, Firewall, arrival, mac};

pub const FROM_INSIDE: Arrival = Arrival { interface: EM0, source: Source::Wire };

pub fn syn(port: u16) -> String {
    format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1")
}

/// A packet and where it arrives.
pub fn arriving(interface: &str, text: &str) -> (Arrival, Vec<u8>) {
    let arrival = arrival(interface);
    (arrival, Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 1)))
}

/// Workers, and what passes between them.
pub struct Team(pub Vec<Firewall>);

/// Where a packet went: who had it one after the other, and what the last one did with it.
pub type Way = (Vec<u16>, Fate);

impl Team {
    pub fn of(workers: u16, states: u32, rules: &[Rule]) -> Self {
        let firewall = |number| {
            let mut firewall = Firewall::of(WorkerId(number), workers, states);
            firewall.entropy.step = 0x9e37_79b9_7f4a_7c15 ^ u64::from(number) << 1;
            let mut rules = ruleset(rules.to_vec());
            rules.options.limits.set(Limit::States, states);
            firewall.load(rules);
            firewall
        };
        Self((0..workers).map(firewall).collect())
    }

    /// Workers that share what workers of one process do, with these rules and options.
    pub fn sharing(workers: u16, states: u32, rules: &Ruleset) -> Self {
        let pool = StatePool::new(states, workers);
        let firewall = |number| {
            let mut firewall = Firewall::of(WorkerId(number), workers, states);
            let config = ShardConfig {
                worker: WorkerId(number),
                workers,
                max_states: states,
                interfaces: 3,
                key: [11, 12],
            };
            firewall.shard = Shard::sharing(config, pool.clone());
            firewall.entropy.step = 0x9e37_79b9_7f4a_7c15 ^ u64::from(number) << 1;
            let mut rules = rules.clone();
            rules.options.limits.set(Limit::States, states);
            firewall.load(rules);
            firewall
        };
        Self((0..workers).map(firewall).collect())
    }

    pub fn relieve(&mut self, home: usize, at: Option<u16>) {
        self.0[home].shard.relieve(at.map(WorkerId));
    }

    /// A packet that worker `at` receives.
    pub fn send(&mut self, at: u16, interface: &str, text: &str) -> Way {
        self.carry(at, interface, text, true)
    }

    pub fn carry(&mut self, at: u16, interface: &str, text: &str, releases: bool) -> Way {
        let (arrival, mut frame) = arriving(interface, text);
        self.follow(at, arrival, &mut frame, releases)
    }

    pub fn follow(&mut self, at: u16, arrival: Arrival, frame: &mut Vec<u8>, releases: bool) -> Way {
        self.follow_while(at, arrival, frame, |team| _ = releases && team.release() > 0)
    }

    /// As [`follow`](Self::follow), with something that happens between one worker's decision and the next one's.
    pub fn follow_while(
        &mut self,
        at: u16,
        arrival: Arrival,
        frame: &mut Vec<u8>,
        meanwhile: impl Fn(&mut Self),
    ) -> Way {
        let before = frame.clone();
        let mut way = vec![at];
        let mut fate = self.0[usize::from(at)].decide(arrival, frame);
        let mut handoffs = 0;
        while let Some((owner, errand)) = fate.handed() {
            assert_eq!(*frame, before, "what is another's is not touched");
            meanwhile(self);
            handoffs += u8::from(errand == Errand::Follow);
            let custody = Custody { from: way.last().copied().map(WorkerId), handoffs, errand };
            way.push(owner.0);
            fate = self.0[usize::from(owner.0)].take_over(arrival, custody, frame);
        }
        meanwhile(self);
        (way, fate)
    }

    /// As [`send`](Self::send): where the packet left, and what it was then. `None` if it was dropped.
    pub fn forward(&mut self, at: u16, interface: &str, text: &str) -> Option<(InterfaceId, String)> {
        let (arrival, mut frame) = arriving(interface, text);
        match self.follow(at, arrival, &mut frame, true).1 {
            Fate::Transmit(out) => Some((out, render(&frame))),
            Fate::Drop(_) => None,
            fate => panic!("{text}: {fate:?}"),
        }
    }

    /// Fragments that workers receive from inside: who has the datagrams in the end, and each piece of them with what becomes
    /// of it.
    pub fn gather(&mut self, arriving: &[(u16, Vec<u8>)]) -> Vec<(u16, Fate, Vec<u8>)> {
        let mut left = Vec::new();
        for (at, frame) in arriving {
            let mut frame = frame.clone();
            let fate = self.0[usize::from(*at)].decide(FROM_INSIDE, &mut frame);
            self.pursue((*at, 0), fate, frame, &mut left);
        }
        left
    }

    fn pursue(
        &mut self,
        (at, handoffs): (u16, u8),
        fate: Fate,
        mut frame: Vec<u8>,
        left: &mut Vec<(u16, Fate, Vec<u8>)>,
    ) {
        self.release();
        for (fate, piece) in self.0[usize::from(at)].pieces() {
            self.pursue((at, handoffs), fate, piece, left);
        }
        match fate.handed() {
            Some((owner, errand)) => {
                let handoffs = handoffs + 1;
                let custody = Custody { from: Some(WorkerId(at)), handoffs, errand };
                let fate = self.0[usize::from(owner.0)].take_over(FROM_INSIDE, custody, &mut frame);
                self.pursue((owner.0, handoffs), fate, frame, left);
            }
            None if matches!(fate, Fate::Kept | Fate::Drop(_)) => {}
            None => left.push((at, fate, frame)),
        }
    }

    /// Tells workers what the others have to say.
    pub fn release(&mut self) -> usize {
        let mut told = 0;
        for at in (0..self.0.len()).chain(0..self.0.len()) {
            while let Some((to, notice)) = self.0[at].shard.notice() {
                assert_ne!(usize::from(to.0), at, "nobody tells itself");
                self.0[usize::from(to.0)].shard.hear(WorkerId(at as u16), &notice);
                self.0[at].shard.noticed();
                told += 1;
            }
        }
        told
    }

    pub fn states(&self) -> Vec<u32> {
        self.0.iter().map(|one| one.shard.states()).collect()
    }

    pub fn aliases(&self) -> Vec<u32> {
        self.0.iter().map(|one| one.shard.aliases()).collect()
    }

    pub fn wait(&mut self, seconds: u64) {
        self.0.iter_mut().for_each(|one| _ = one.wait(seconds));
    }

    /// Flows, by their client's port, whose home is worker `home`: found by a team that places none.
    pub fn ports_of(home: u16, workers: u16) -> impl Iterator<Item = u16> {
        let mut probe = Self::of(workers, 8, &[block(), pass()]);
        (1000..).filter(move |port| {
            let mut frame = Packet::parse(&syn(*port)).frame(mac(EM0, 2), mac(EM0, 1));
            let fate = probe.0[0].decide(FROM_INSIDE, &mut frame);
            let owner = if let Fate::HandOff(owner) = fate { owner.0 } else { 0 };
            owner == home
        })
    }
}
