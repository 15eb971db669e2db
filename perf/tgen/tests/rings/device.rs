//! A device under test of which all is known: it forwards between two rings, and loses, copies or damages what it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use dpdk::{Burst, Mbuf, Mempool};
use tgen::neighbor::{Heard, Station};
use tgen::profile::{Family, Network, SidePlan};
use wire::Mac;

use crate::Wire;
use crate::tracker::Tracker;

/// What to do with packets; each number `n` means every `n`th one, and 0 none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// Lost.
    pub lose: u64,
    /// Sent twice.
    pub copy: u64,
    /// Sent behind the next one.
    pub swap: u64,
    /// A bit of its data turned over.
    pub damage: u64,
    /// Of segments longer than 1000 octets.
    pub lose_segments_after: u64,
    /// Segments must fit their connection, as a firewall sees it, or the device panics and forwards nothing any more.
    pub strict: bool,
    /// Everything goes back to where it came from.
    pub reflect: bool,
    /// Nothing is answered and nothing forwarded.
    pub deaf: bool,
}

/// A device that runs until it is dropped.
pub struct Device {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// Starts one between the tester's two ports.
    pub fn start(wires: Vec<Wire>, pool: Mempool, behaviour: Behaviour) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || run(wires, &pool, behaviour, &told));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let done = thread.join();
            assert!(done.is_ok() || std::thread::panicking(), "the device under test found a fault");
        }
    }
}

fn run(wires: Vec<Wire>, pool: &Mempool, behaviour: Behaviour, stop: &AtomicBool) {
    let network = Network::built_in();
    let stations = [network.client, network.server].map(stations);
    let (mut inputs, mut outputs): (Vec<_>, Vec<_>) =
        wires.into_iter().map(|wire| (wire.from_tester, wire.to_tester)).unzip();
    let mut forwarding = [Forwarding::default(), Forwarding::default()];
    let mut tracker = Tracker::default();
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        let mut busy = false;
        for side in [0, 1] {
            busy |= inputs[side].dequeue(&mut burst) > 0;
            for mbuf in burst.drain().filter(|_| !behaviour.deaf) {
                let answer = stations[side].iter().find_map(|station| match station.hear(mbuf.data()) {
                    Some(Heard::Asked(answer)) => Some(answer),
                    _ => None,
                });
                match answer {
                    Some(answer) => {
                        let mut mbuf = pool.alloc().expect("a large pool");
                        mbuf.extend_from_slice(&answer).expect("a short frame");
                        send(&mut outputs[side], mbuf, stop);
                    }
                    None => {
                        if behaviour.strict {
                            tracker.check(mbuf.data());
                        }
                        let out = &mut outputs[if behaviour.reflect { side } else { 1 - side }];
                        forwarding[side].forward(mbuf, &behaviour, pool, &mut |mbuf| send(out, mbuf, stop));
                    }
                }
            }
        }
        if !busy {
            std::thread::yield_now();
        }
    }
}

/// Waits for room: a loss that nobody ordered would be no knowledge.
fn send(out: &mut dpdk::Producer, mut mbuf: Mbuf, stop: &AtomicBool) {
    while let Err(back) = out.push(mbuf) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        mbuf = back;
        std::thread::yield_now();
    }
}

/// The device as a tester would be in its place: it answers for the gateway's addresses.
fn stations(plan: SidePlan) -> [Station; 2] {
    let exchanged = SidePlan {
        gateway: plan.address,
        address: plan.gateway,
        gateway6: plan.address6,
        address6: plan.gateway6,
        ..plan
    };
    [Family::Ipv4, Family::Ipv6].map(|family| Station::new(Mac([2, 0, 0, 0, 9, 9]), exchanged, family))
}

#[derive(Default)]
struct Forwarding {
    count: u64,
    long: u64,
    held: Option<Mbuf>,
}

impl Forwarding {
    fn forward(&mut self, mut mbuf: Mbuf, behaviour: &Behaviour, pool: &Mempool, send: &mut dyn FnMut(Mbuf)) {
        self.count += 1;
        let is = |every: u64| every > 0 && self.count.is_multiple_of(every);
        if is(behaviour.lose) {
            return;
        }
        if mbuf.len() > 1_000 && behaviour.lose_segments_after > 0 {
            self.long += 1;
            if self.long.is_multiple_of(behaviour.lose_segments_after) {
                return;
            }
        }
        if is(behaviour.damage)
            && let Some(octet) = mbuf.data_mut().last_mut()
        {
            *octet ^= 0x10;
        }
        let late = self.held.take();
        if is(behaviour.copy) {
            send(mbuf.copy(pool).expect("a large pool"));
        }
        if is(behaviour.swap) {
            self.held = Some(mbuf);
        } else {
            send(mbuf);
        }
        if let Some(mbuf) = late {
            send(mbuf);
        }
    }
}
