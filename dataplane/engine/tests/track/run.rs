//! A long transfer through windows of a gigabyte (reliability A11): whatever is lost behind the firewall and overtakes before it,
//! no segment of two correct stacks is refused, across every wrap of the sequence numbers.

use std::collections::{BTreeMap, BTreeSet};

use engine::track::{Mode, Peer, Segment, TcpOutcome, open_tcp, tcp};
use wire::{Seq, TcpFlags};

/// Octets of a segment, as hosts hand them to their network cards.
const LENGTH: u32 = 64_000;
/// Segments: together more than 4 GiB, so that every number comes twice.
const SEGMENTS: u64 = 70_000;
/// Segments under way at once, 256 MB of them.
const FLIGHT: u64 = 4000;
/// Steps after which what was not acknowledged is sent again.
const PATIENCE: u64 = 200;

const CLIENT_ISN: u32 = 4_294_000_000;
const SERVER_ISN: u32 = 4_294_967_000;
/// In units of 2^14.
const WINDOW: u16 = 65_535;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The firewall's two ends.
struct Firewall {
    client: Peer,
    server: Peer,
}

impl Firewall {
    fn pass(&mut self, from_client: bool, segment: &Segment) {
        let (from, to) =
            if from_client { (&self.client, &self.server) } else { (&self.server, &self.client) };
        match tcp(from, to, segment, Mode::Strict) {
            TcpOutcome::Pass { from, to, .. } if from_client => (self.client, self.server) = (from, to),
            TcpOutcome::Pass { from, to, .. } => (self.server, self.client) = (from, to),
            other => panic!("{segment:?} is refused: {other:?}"),
        }
    }
}

fn handshake() -> Firewall {
    let syn = Segment {
        flags: TcpFlags::SYN,
        seq: Seq(CLIENT_ISN),
        window: WINDOW,
        wscale: Some(14),
        ..Segment::default()
    };
    let (client, server, _) = open_tcp(&syn);
    let mut firewall = Firewall { client, server };
    let answer = Segment {
        flags: TcpFlags::SYN.union(TcpFlags::ACK),
        seq: Seq(SERVER_ISN),
        ack: Seq(CLIENT_ISN).plus(1),
        ..syn
    };
    firewall.pass(false, &answer);
    let established = bare(Seq(CLIENT_ISN).plus(1), Seq(SERVER_ISN).plus(1));
    firewall.pass(true, &established);
    // The window of a SYN is not scaled: the server opens it.
    firewall.pass(false, &bare(established.ack, established.seq));
    firewall
}

fn bare(seq: Seq, ack: Seq) -> Segment {
    Segment { flags: TcpFlags::ACK, seq, ack, window: WINDOW, ..Segment::default() }
}

/// The sequence number at which a segment of the client begins.
fn start(number: u64) -> Seq {
    Seq(CLIENT_ISN).plus(1).plus((number as u32).wrapping_mul(LENGTH))
}

/// By the step at which they reach the firewall, in the order in which they were sent.
type Line = BTreeMap<(u64, u64), u64>;

#[test]
fn a11_nothing_is_refused_in_a_run_across_the_wraps_of_the_sequence_numbers() {
    let mut firewall = handshake();
    let mut random = Random(0x0bad_5eed_0bad_5eed);
    let (mut data, mut acks) = (Line::new(), Line::new());
    let mut sent_at: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut next, mut acknowledged) = (0, 0);
    let (mut received, mut missing) = (BTreeSet::new(), 0);
    let (mut order, mut again, mut step) = (0_u64, 0_u64, 0_u64);
    while acknowledged < SEGMENTS {
        step += 1;
        let overdue =
            sent_at.first_key_value().filter(|(_, at)| **at + PATIENCE < step).map(|(number, _)| *number);
        let number = match overdue {
            Some(number) => Some(number),
            None if next < SEGMENTS && next < acknowledged + FLIGHT => Some(next),
            None => None,
        };
        if let Some(number) = number {
            again += u64::from(number < next);
            next = next.max(number + 1);
            sent_at.insert(number, step);
            let late = if random.happens(5) { random.below(40) } else { 0 };
            order += 1;
            data.insert((step + late, order), number);
        }
        while let Some(entry) = data.first_entry().filter(|entry| entry.key().0 <= step) {
            let number = entry.remove();
            let ack = Seq(SERVER_ISN).plus(1);
            firewall.pass(true, &Segment { len: LENGTH, ..bare(start(number), ack) });
            // Behind the firewall one in a hundred is lost, and one in a hundred comes twice.
            if random.happens(1) {
                continue;
            }
            if random.happens(1) {
                firewall.pass(true, &Segment { len: LENGTH, ..bare(start(number), ack) });
            }
            if number >= missing {
                received.insert(number);
            }
            while received.remove(&missing) {
                missing += 1;
            }
            order += 1;
            acks.insert((step + 1 + random.below(20), order), missing);
        }
        while let Some(entry) = acks.first_entry().filter(|entry| entry.key().0 <= step) {
            let number = entry.remove();
            firewall.pass(false, &bare(Seq(SERVER_ISN).plus(1), start(number)));
            if !random.happens(1) && number > acknowledged {
                acknowledged = number;
                sent_at = sent_at.split_off(&number);
            }
        }
    }
    assert!(u64::from(LENGTH) * SEGMENTS > 1 << 32);
    assert!(again > SEGMENTS / 200, "{again} segments were sent again");
}
