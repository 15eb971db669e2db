//! Two correct hosts are never cut: whatever the network loses, doubles and reorders on either side of the firewall, what
//! is refused is late, and both streams arrive and close.

use engine::track::{Mode, Peer, Segment, TcpOutcome, open_tcp, tcp};
use proptest::prelude::*;
use ruleset::{PeerState, Timeout};
use wire::Seq;

use crate::host::{Config, Host};
use crate::random::Random;

/// How far a segment can be overtaken at once.
const REORDER_MAX: usize = 4;

/// A host, a firewall, a host. The arrays are indexed by the sending host.
struct Network {
    hosts: [Host; 2],
    ends: Option<[Peer; 2]>,
    /// What the firewall adds to the sequence numbers of each host (pf.conf(5) `modulate state`).
    seqdiff: [u32; 2],
    timeout: Option<Timeout>,
    before_firewall: [Vec<Segment>; 2],
    behind_firewall: [Vec<Segment>; 2],
    random: Random,
    /// Of 100 segments, how many are lost, and as many doubled, on each of the two ways.
    bad_percent: u32,
}

impl Network {
    fn put(&mut self, segment: Segment, sender: usize, firewall_passed: bool) {
        let fate = self.random.below(100);
        let way = if firewall_passed { &mut self.behind_firewall } else { &mut self.before_firewall };
        let copies = match fate {
            fate if fate < self.bad_percent => 0,
            fate if fate < 2 * self.bad_percent => 2,
            _ => 1,
        };
        way[sender].extend(std::iter::repeat_n(segment, copies));
    }

    /// Any of the first segments while the network is bad, in order otherwise.
    fn take(&mut self, sender: usize, firewall_passed: bool) -> Option<Segment> {
        let way = if firewall_passed { &mut self.behind_firewall } else { &mut self.before_firewall };
        let waiting = way[sender].len();
        let choices = if self.bad_percent > 0 { waiting.min(REORDER_MAX) } else { waiting.min(1) };
        (choices > 0).then(|| way[sender].remove(self.random.below(choices as u32) as usize))
    }

    fn send(&mut self, sender: usize) {
        if let Some(segment) = self.hosts[sender].send(&mut self.random) {
            self.put(segment, sender, false);
        }
    }

    fn deliver(&mut self, sender: usize) {
        if let Some(segment) = self.take(sender, true) {
            self.hosts[1 - sender].receive(&segment);
        }
    }

    /// The segment as its receiver gets it.
    fn modulated(&self, segment: Segment, sender: usize) -> Segment {
        let (seq, ack) = (self.seqdiff[sender], self.seqdiff[1 - sender]);
        Segment { seq: segment.seq.plus(seq), ack: segment.ack.minus(ack), ..segment }
    }

    /// The firewall takes a segment and passes it on, or fails the test.
    fn filter(&mut self, sender: usize) {
        let Some(segment) = self.take(sender, false) else { return };
        let Some(ends) = self.ends else {
            let (from, to, timeout) = open_tcp(&segment);
            let mut ends = by_host(sender, from, to);
            for (end, seqdiff) in ends.iter_mut().zip(self.seqdiff) {
                end.seqdiff = seqdiff;
            }
            (self.ends, self.timeout) = (Some(ends), Some(timeout));
            return self.put(self.modulated(segment, sender), sender, true);
        };
        let (from, to) = (ends[sender], ends[1 - sender]);
        match tcp(&from, &to, &segment, Mode::Strict) {
            TcpOutcome::Pass { from, to, refresh, .. } => {
                self.ends = Some(by_host(sender, from, to));
                self.timeout = refresh.or(self.timeout);
                self.put(self.modulated(segment, sender), sender, true);
            }
            // Late copies may be lost. So may those of a SYN, which would open a connection that is over again were it not
            // that hosts wait until they have died out (RFC 9293 §3.6.1).
            outcome => assert!(
                self.hosts[1 - sender].has_beginning_of(&self.modulated(segment, sender)),
                "{segment:?}\n{outcome:?}\nfrom {from:?}\nto {to:?}\nreceiver {:?}",
                self.hosts[1 - sender]
            ),
        }
    }

    /// One thing happens somewhere.
    fn stir(&mut self) {
        let sender = self.random.below(2) as usize;
        match self.random.below(4) {
            0 => self.send(sender),
            1 => self.filter(sender),
            2 => self.deliver(sender),
            _ => self.hosts[sender].read(&mut self.random),
        }
    }
}

fn by_host(sender: usize, from: Peer, to: Peer) -> [Peer; 2] {
    if sender == 0 { [from, to] } else { [to, from] }
}

fn config() -> impl Strategy<Value = Config> {
    let wscale = prop_oneof![1 => Just(None), 2 => (0u8..=14).prop_map(Some)];
    (any::<u32>(), wscale, 2_000u32..300_000, 0u32..60_000).prop_map(|(iss, wscale, buffer, total)| {
        // A host that scales by so much has room for a few units.
        let buffer = buffer.max(4 << wscale.unwrap_or(0));
        Config { iss: Seq(iss), wscale, buffer, total }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_hosts_are_never_cut(
        configs in (config(), config()),
        both_begin: bool,
        seqdiff in prop_oneof![Just([0, 0]), any::<[u32; 2]>()],
        bad_percent in 1u32..30,
        seed: u64,
    ) {
        let second = if both_begin { Host::connecting } else { Host::listening };
        let mut network = Network {
            hosts: [Host::connecting(configs.0), second(configs.1)],
            ends: None,
            seqdiff,
            timeout: None,
            before_firewall: Default::default(),
            behind_firewall: Default::default(),
            random: Random(seed),
            bad_percent,
        };
        for _ in 0..4_000 {
            network.stir();
        }
        network.bad_percent = 0;
        let mut left = 400_000;
        while !network.hosts.iter().all(Host::done) && left > 0 {
            network.stir();
            left -= 1;
        }
        prop_assert!(left > 0, "the streams do not arrive: {:?}", network.hosts);
        let states = network.ends.map(|ends| ends.map(|end| end.state));
        prop_assert_eq!(states, Some([PeerState::FinWait2; 2]));
        prop_assert_eq!(network.timeout, Some(Timeout::TcpClosed));
    }
}
