//! Nothing that arrives makes a shard panic, and every frame has one fate: every kind of packet, cut at every length, with
//! every octet damaged, and noise, under many rulesets.

use engine::{Arrival, InterfaceId, Source, Tick};
use sim::firewall::Firewall;
use sim::replay::seeds;
use sim::rng::Rng;
use sim::topology;
use sim::traffic::rules::{self, Variety};
use wire::corpus;

/// Octets of the two Ethernet addresses.
const ADDRESSES: usize = 12;

fn kinds() -> Vec<Vec<u8>> {
    let good = corpus::packets().into_iter().map(|(_, frame)| frame);
    let bad = corpus::malformed().into_iter().map(|(_, frame, _)| frame);
    good.chain(bad).collect()
}

/// A firewall that the packets of the corpus do not leave at once: their networks are behind its interfaces.
fn firewall(seed: u64) -> Firewall {
    let mut rng = Rng::new(seed);
    let workers = rng.between(1, 2) as u16;
    let rules = rules::ruleset(&mut rng, Variety::Full);
    let mut firewall =
        Firewall::new(topology::fib_with(&["192.0.2.0/24", "2001:db8::/64"]), workers, 256, rng);
    firewall.load(&rules).expect("rules that the engine takes");
    firewall
}

/// Sends a frame to the firewall from both sides of an interface.
fn send(firewall: &mut Firewall, now: Tick, frame: &[u8]) {
    for source in [Source::Wire, Source::Host] {
        let arrival = Arrival { interface: InterfaceId(1), source };
        let mut frame = frame.to_vec();
        // Broadcasts stay broadcasts; all else is for the firewall.
        if frame.first().is_some_and(|octet| octet & 1 == 0)
            && let Some(to) = frame.first_chunk_mut::<6>()
        {
            *to = topology::mac(arrival.interface, 1).0;
        }
        let _ = firewall.receive(now, arrival, &mut frame);
    }
}

#[test]
fn every_kind_of_packet_and_every_part_of_it() {
    let kinds = kinds();
    let mut accepted = 0;
    for seed in seeds(1, 30) {
        let mut firewall = firewall(seed);
        for (number, frame) in kinds.iter().enumerate() {
            let now = Tick::from_secs(1000 + number as u64);
            for length in 0..=frame.len() {
                send(&mut firewall, now, &frame[..length]);
            }
            firewall.expire(now);
        }
        firewall.check_conservation();
        accepted += firewall.ledger().transmitted + firewall.ledger().to_host;
    }
    assert!(accepted > 1000, "some of them are as they should be: {accepted}");
}

#[test]
fn every_octet_of_every_kind_damaged() {
    let kinds = kinds();
    for seed in seeds(1 << 20, 30) {
        let mut rng = Rng::new(seed);
        let mut firewall = firewall(seed);
        for (number, frame) in kinds.iter().enumerate() {
            let now = Tick::from_secs(1000 + number as u64);
            for at in ADDRESSES.min(frame.len())..frame.len() {
                let mut damaged = frame.clone();
                damaged[at] ^= rng.between(1, 255) as u8;
                send(&mut firewall, now, &damaged);
            }
        }
        firewall.check_conservation();
    }
}

#[test]
fn noise_with_and_without_the_look_of_a_packet() {
    let kinds = kinds();
    for seed in seeds(2 << 20, 30) {
        let mut rng = Rng::new(seed);
        let mut firewall = firewall(seed);
        for round in 0..3000 {
            let mut frame: Vec<u8> = (0..rng.below(200)).map(|_| rng.next() as u8).collect();
            // The start of something real, and noise behind it; or noise from the first octet on.
            if rng.chance(3, 4) {
                let real = rng.pick(&kinds);
                let keep = rng.below(real.len() as u64 + 1) as usize;
                frame.splice(0..0, real[..keep].iter().copied());
            }
            send(&mut firewall, Tick::from_millis(round * 100), &frame);
        }
        firewall.check_conservation();
    }
}
