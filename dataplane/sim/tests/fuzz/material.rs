//! What stories are made of: conversations of real stacks, frames of every kind, and what generators draw.

use engine::{Arrival, InterfaceId, Source, Tick};
use pfconf::Interfaces;
use sim::firewall::Firewall;
use sim::host::Host;
use sim::link::{Faults, Link};
use sim::network::Network;
use sim::playback::Recording;
use sim::program::{Buffers, Caller, Echo, Ping, Stream, text};
use sim::rng::Rng;
use sim::topology::{self, Routes, mac};
use sim::traffic::rules::Variety;
use sim::traffic::{Generator, Step};
use wire::{Af, corpus};

use super::answer::manner;
use super::frame::{Layout, change, repair};
use super::rules;
use super::story::{Event, Story};

/// Frames of a conversation that are kept.
const LENGTH: usize = 60;
/// Events of a story.
const EVENTS_MAX: usize = 100;

const SECOND: u64 = 1_000_000_000;

type Arriving = (Arrival, Vec<u8>);

pub struct Material {
    /// Each in its order.
    pub conversations: Vec<Vec<Arriving>>,
    frames: Vec<Vec<u8>>,
    generator: Generator,
}

impl Material {
    pub fn new(seed: u64) -> Self {
        let frames = corpus::packets().into_iter().map(|(_, frame)| frame);
        let damaged = corpus::malformed().into_iter().map(|(_, frame, _)| frame);
        let mut conversations: Vec<_> = [Af::Inet, Af::Inet6].into_iter().flat_map(conversations).collect();
        let moved: Vec<_> = conversations.iter().flat_map(|one| moved(one)).collect();
        conversations.extend(moved);
        Self {
            conversations,
            frames: frames.chain(damaged).collect(),
            generator: Generator::new(Rng::new(seed), Variety::Full),
        }
    }

    /// A story of one conversation, as it was.
    pub fn first(&self, rng: &mut Rng) -> Story {
        let conversation = rng.pick(&self.conversations);
        let events = conversation.iter().map(|(at, frame)| Event::Frame(*at, frame.clone(), Vec::new()));
        Story {
            seed: rng.next(),
            workers: rng.between(1, 4) as u16,
            burst: *rng.pick(&[1, 1, 1, 4, 64]),
            rules: rules::lines(rng),
            events: events.collect(),
        }
    }

    /// A story that has grown out of others.
    pub fn grown(&mut self, stories: &[Story], rng: &mut Rng) -> Story {
        let mut story = rng.pick(stories).clone();
        story.seed = rng.next();
        for _ in 0..rng.between(1, 8) {
            self.grow(&mut story, stories, rng);
        }
        story.events.truncate(EVENTS_MAX);
        story
    }

    fn grow(&mut self, story: &mut Story, stories: &[Story], rng: &mut Rng) {
        let at = rng.below(story.events.len() as u64 + 1) as usize;
        let within = at.min(story.events.len().saturating_sub(1));
        match rng.below(20) {
            0..=9 => {
                let event = self.event(story, rng);
                story.events.insert(at, event);
            }
            10..=11 if !story.events.is_empty() => drop(story.events.remove(within)),
            12 if !story.events.is_empty() => {
                let other = rng.below(story.events.len() as u64) as usize;
                story.events.swap(within, other);
            }
            13..=14 if !story.events.is_empty() => {
                if let Event::Frame(_, _, changes)
                | Event::Answer(_, _, changes)
                | Event::Next(_, _, changes) = &mut story.events[within]
                {
                    changes.push(change(rng));
                }
            }
            15 => {
                let other = &rng.pick(stories).events;
                let from = rng.below(other.len() as u64 + 1) as usize;
                let count = rng.below(20) as usize;
                story.events.splice(at..at, other.iter().skip(from).take(count).cloned());
            }
            16..=17 => rules::add(&mut story.rules, rng),
            18 => {
                story.rules =
                    if rng.chance(1, 2) { rng.pick(stories).rules.clone() } else { rules::lines(rng) }
            }
            _ => {
                story.workers = rng.between(1, 4) as u16;
                story.burst = *rng.pick(&[1, 2, 8, 64]);
            }
        }
    }

    fn event(&mut self, story: &Story, rng: &mut Rng) -> Event {
        let changes = |rng: &mut Rng| -> Vec<_> {
            let count = if rng.chance(1, 2) { 0 } else { rng.between(1, 2) };
            let mut changes: Vec<_> = (0..count).map(|_| change(rng)).collect();
            if count > 0 && rng.chance(3, 4) {
                changes.push(super::frame::Change::Repair(false));
            }
            changes
        };
        let which = |rng: &mut Rng| if rng.chance(2, 3) { 0 } else { rng.below(16) as u8 };
        match rng.below(100) {
            0..=34 => Event::Answer(which(rng), manner(rng), changes(rng)),
            35..=49 => Event::Next(which(rng), manner(rng), changes(rng)),
            50..=54 => Event::Again(which(rng), changes(rng)),
            55..=75 => {
                let (arrival, frame) = self.frame(rng);
                Event::Frame(arrival, frame, changes(rng))
            }
            76..=85 => Event::Wait(wait(rng)),
            86..=90 => Event::Sweep(*rng.pick(&[1, 4, 255])),
            91..=94 => {
                let mut lines = if rng.chance(1, 3) { rules::lines(rng) } else { story.rules.clone() };
                rules::add(&mut lines, rng);
                Event::Load(lines)
            }
            95 => Event::Reroute(*rng.pick(&[Routes::Usual, Routes::Detour, Routes::Bridged])),
            96 => Event::Kill,
            97 => Event::Forget,
            _ => Event::GiveUp,
        }
    }

    fn frame(&mut self, rng: &mut Rng) -> Arriving {
        match rng.below(4) {
            0..=1 => {
                let conversation = rng.pick(&self.conversations);
                rng.pick(conversation).clone()
            }
            2 => loop {
                self.generator.delivered();
                if let Step::Packet { arrival, sketch } = self.generator.draw() {
                    return (arrival, sketch.frame(mac(arrival.interface, 2), mac(arrival.interface, 1)));
                }
            },
            _ => {
                let interface = InterfaceId(rng.below(topology::INTERFACES.into()) as u16);
                let source = if rng.chance(1, 5) { Source::Host } else { Source::Wire };
                (Arrival { interface, source }, rng.pick(&self.frames).clone())
            }
        }
    }
}

/// About as long as some time-out, or no time at all.
fn wait(rng: &mut Rng) -> u64 {
    let seconds = *rng.pick(&[0, 0, 1, 2, 5, 9, 10, 20, 30, 60, 90, 120, 600, 3600, 86_400, 1_000_000]);
    let off = *rng.pick(&[0, 1, SECOND / 16, SECOND / 2]);
    if rng.chance(1, 2) { seconds * SECOND + off } else { (seconds * SECOND).saturating_sub(off) }
}

/// What real stacks send through a firewall that lets everything pass: a transfer, echoes, datagrams; each by itself.
fn conversations(af: Af) -> Vec<Vec<Arriving>> {
    let server = topology::address(af, InterfaceId(1), 3);
    let transfer = |network: &mut Network, [here, there]: [_; 2], rng: &mut Rng| {
        let buffers = Buffers { receive: 65_535, send: 65_535 };
        let (request, response) = (text(rng, 3000), text(rng, 9000));
        Stream::listen(network.host(there), 80, buffers, response.clone(), request.clone());
        Stream::connect(network.host(here), 40_000, (server, 80), buffers, request, response);
    };
    let stamped = |network: &mut Network, hosts: [_; 2], rng: &mut Rng| {
        hosts.into_iter().for_each(|host| network.host(host).use_timestamps());
        transfer(network, hosts, rng);
    };
    let datagrams = |network: &mut Network, [here, there]: [_; 2], _: &mut Rng| {
        Echo::start(network.host(there), 80);
        Caller::start(network.host(here), 5000, (server, 80), 5);
        Ping::start(network.host(here), 600, server, 5);
    };
    vec![recorded(af, 1, transfer), recorded(af, 2, stamped), recorded(af, 3, datagrams)]
}

fn recorded(
    af: Af,
    seed: u64,
    start: impl FnOnce(&mut Network, [sim::network::HostId; 2], &mut Rng),
) -> Vec<Arriving> {
    let mut rng = Rng::new(seed);
    let mut firewall = Firewall::new(topology::fib(), 1, 64, rng.fork());
    firewall.load(&pfconf::compile("pass\n", &Interfaces::default()).expect("a rule")).expect("a ruleset");
    let mut network = Network::new(firewall);
    let faults =
        Faults { delay: 5_000_000, jitter: 9_000_000, duplication: 300, loss: 300, ..Faults::default() };
    let hosts = [(InterfaceId(0), 2), (InterfaceId(1), 3)].map(|(interface, station)| {
        let host = Host::new(interface, station, &mut rng);
        network.attach(host, Link::new(faults, rng.fork()))
    });
    start(&mut network, hosts, &mut rng);
    network.run(Tick::from_secs(600)).expect("a transfer that ends");
    let recording = Recording::read(network.capture().bytes()).expect("a capture");
    let to_firewall = |frame: &Vec<u8>| topology::interfaces().find(|id| frame.starts_with(&mac(*id, 1).0));
    let frames = recording.frames.into_iter().filter_map(|recorded| {
        let interface = to_firewall(&recorded.frame)?;
        Some((Arrival { interface, source: Source::Wire }, recorded.frame))
    });
    let frames: Vec<_> = frames.take(LENGTH).collect();
    assert!(
        frames
            .iter()
            .any(|(_, frame)| Layout::of(frame).is_some_and(|layout| layout.ipv4 == (af == Af::Inet)))
    );
    frames
}

/// The client's part of a conversation, with somebody whom the rules redirect, or of the other family.
fn moved(conversation: &[Arriving]) -> Vec<Vec<Arriving>> {
    let to = |frame: &[u8], octets: &[u8]| -> Option<Vec<u8>> {
        let layout = Layout::of(frame)?;
        let at = layout.network + if layout.ipv4 { 16 } else { 24 };
        let mut frame = frame.to_vec();
        if layout.ipv4 != (octets.len() == 4) {
            return None;
        }
        frame[at..at + octets.len()].copy_from_slice(octets);
        repair(&mut frame, false);
        Some(frame)
    };
    let mapped = |last: u8| [&[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0][..], &[10, 1, 0, last]].concat();
    let others = [
        vec![10, 1, 0, 1],
        vec![10, 1, 0, 46],
        vec![10, 1, 0, 50],
        vec![10, 1, 0, 99],
        mapped(3),
        mapped(99),
    ];
    let client = || conversation.iter().filter(|(arrival, _)| arrival.interface == InterfaceId(0));
    let with = |octets: &Vec<u8>| -> Vec<Arriving> {
        client().filter_map(|(arrival, frame)| Some((*arrival, to(frame, octets)?))).collect()
    };
    others.iter().map(with).filter(|moved| !moved.is_empty()).collect()
}
