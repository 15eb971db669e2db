//! Hosts on links around a firewall, and one virtual clock that jumps from event to event.
//!
//! Life cycle: built, run until every program has finished or the time is over, asked what happened. Everything random is
//! drawn from generators that were forked from one seed in a fixed order, so a run replays to the last bit.

use std::collections::BTreeMap;

use engine::{Arrival, Fate, InterfaceId, Source, Tick};

use crate::capture::Capture;
use crate::firewall::{Firewall, link_destination};
use crate::host::Host;
use crate::link::Link;

/// Records that the firewall looks at for expired states at each event.
const SWEEP: usize = 32;

/// What happens when its time has come.
#[derive(Clone, Debug)]
enum Event {
    /// A frame from a host reaches the firewall.
    Up(usize, Vec<u8>),
    /// A frame reaches a host.
    Down(usize, Vec<u8>),
}

/// A host and its link.
struct Branch {
    host: Host,
    link: Link,
}

/// The simulation.
pub struct Network {
    now: Tick,
    /// By time, then by order of sending.
    events: BTreeMap<(Tick, u64), Event>,
    scheduled: u64,
    branches: Vec<Branch>,
    firewall: Firewall,
    capture: Capture,
}

/// A host of a network, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostId(usize);

impl Network {
    /// A network with a firewall and no hosts.
    pub fn new(firewall: Firewall) -> Self {
        let names: Vec<&str> =
            firewall.fib().interfaces().iter().map(|interface| interface.name.as_str()).collect();
        let capture = Capture::new(names);
        Self { now: Tick(0), events: BTreeMap::new(), scheduled: 0, branches: Vec::new(), firewall, capture }
    }

    /// Adds a host on a link of its own.
    pub fn attach(&mut self, host: Host, link: Link) -> HostId {
        self.branches.push(Branch { host, link });
        HostId(self.branches.len() - 1)
    }

    /// A host.
    pub fn host(&mut self, id: HostId) -> &mut Host {
        &mut self.branches[id.0].host
    }

    /// A host's link.
    pub fn link(&mut self, id: HostId) -> &mut Link {
        &mut self.branches[id.0].link
    }

    /// The firewall.
    pub const fn firewall(&mut self) -> &mut Firewall {
        &mut self.firewall
    }

    /// The virtual time.
    pub const fn now(&self) -> Tick {
        self.now
    }

    /// Everything that the firewall received and sent.
    pub const fn capture(&self) -> &Capture {
        &self.capture
    }

    /// How far the programs of all hosts are.
    pub fn describe(&self) -> String {
        self.branches.iter().map(|branch| branch.host.describe()).collect()
    }

    /// The states, as pfctl prints them.
    pub fn dump(&self) -> String {
        self.firewall.dump(self.now)
    }

    /// Runs until every program has finished.
    ///
    /// # Errors
    /// What went wrong on a host, or that the programs had not finished at `deadline`.
    pub fn run(&mut self, deadline: Tick) -> Result<(), String> {
        loop {
            self.let_hosts_run();
            if let Some(failure) = self.branches.iter().find_map(|branch| branch.host.failure()) {
                return Err(failure);
            }
            if self.branches.iter().all(|branch| branch.host.has_finished()) {
                return Ok(());
            }
            match self.next_moment() {
                Some(next) if next <= deadline => self.now = next,
                Some(_) => return Err(format!("not finished after {} s", deadline.secs())),
                None => return Err("nobody has anything to do, but not all have finished".into()),
            }
            self.happen();
        }
    }

    fn next_moment(&mut self) -> Option<Tick> {
        let now = self.now;
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.branches.iter_mut().filter_map(|branch| branch.host.wakes(now));
        // A host that wants to run at once has just done so: its clock is coarser than ours.
        wakes.map(|at| at.max(now + Tick(1000))).chain(event).min()
    }

    /// All events whose time has come.
    fn happen(&mut self) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Event::Up(branch, frame) => self.filter(self.branches[branch].host.interface(), frame),
                Event::Down(branch, frame) => self.branches[branch].host.receive(&frame),
            }
        }
        self.firewall.sweep(self.now, SWEEP);
    }

    fn let_hosts_run(&mut self) {
        let now = self.now;
        for number in 0..self.branches.len() {
            let Branch { host, link } = &mut self.branches[number];
            let arrivals: Vec<_> = host
                .run(now)
                .into_iter()
                .flat_map(|frame| link.carry(now, frame).collect::<Vec<_>>())
                .collect();
            for (at, frame) in arrivals {
                self.schedule(at, Event::Up(number, frame));
            }
        }
    }

    fn schedule(&mut self, at: Tick, event: Event) {
        self.events.insert((at, self.scheduled), event);
        self.scheduled += 1;
    }

    fn filter(&mut self, interface: InterfaceId, mut frame: Vec<u8>) {
        self.capture.record(self.now, interface, &frame);
        let arrival = Arrival { interface, source: Source::Wire };
        let fate = self.firewall.receive(self.now, arrival, &mut frame);
        for (fate, frame) in self.firewall.pieces().into_iter().chain([(fate, frame)]) {
            if let Fate::Transmit(out) = fate {
                self.capture.record(self.now, out, &frame);
                self.deliver(out, frame);
            }
        }
    }

    /// Puts a frame onto the link of the host that it is addressed to; if there is none, it is lost.
    fn deliver(&mut self, out: InterfaceId, frame: Vec<u8>) {
        let to = link_destination(&frame);
        let now = self.now;
        let meant = |branch: &Branch| branch.host.interface() == out && branch.host.mac() == to;
        let Some(number) = self.branches.iter().position(meant) else { return };
        let arrivals: Vec<_> = self.branches[number].link.carry(now, frame).collect();
        for (at, frame) in arrivals {
            self.schedule(at, Event::Down(number, frame));
        }
    }
}
