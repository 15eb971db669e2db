//! Scenarios whose instructions are counted: the engine on frames in plain memory.
//!
//! Overview: [`run`] makes a firewall and its connections, then lets a burst at a time be decided in `collected`, which
//! callgrind counts and nothing else. Bounds: [`UNITS`] packets or connections.

use anyhow::{Context, bail, ensure};
use engine::{Fate, Frame, NoRoom, RxChecksum};

use crate::bed::BURST;
use crate::firewall::Firewall;
use crate::rules::{rules, translating};
use crate::stages::{PASS, PASS_AND_COPY};
use crate::traffic::{Buffer, Sender, Source, Step, TRANSLATING, Traffic};

/// Packets, or connections, that are counted.
pub const UNITS: usize = 64 * BURST;

/// With which most rulesets for OpenBSD begin.
const SCRUBBING: &str = "match in all scrub (no-df random-id max-mss 1440)\nblock\npass\n";

/// The name of `collected`, as callgrind knows it, whatever it is compiled for.
pub const COLLECTED: &str = "*instructions*collected*";

/// The longest frame that is made.
const ROOM: usize = 80;

/// A frame in plain memory, whose IPv4 checksum a device has found good.
#[derive(Clone, Debug)]
struct PlainFrame {
    bytes: [u8; ROOM],
    begin: usize,
    end: usize,
}

impl PlainFrame {
    const fn empty() -> Self {
        Self { bytes: [0; ROOM], begin: 0, end: 0 }
    }
}

impl Buffer for PlainFrame {
    fn fill<const N: usize>(&mut self, headers: &[u8; N], payload: usize) -> &mut [u8; N] {
        assert_eq!(payload, 0, "frames are as short as they can be");
        (self.begin, self.end) = (0, N);
        let place = self.bytes.first_chunk_mut().expect("room for the longest frame");
        place.copy_from_slice(headers);
        place
    }
}

impl Frame for PlainFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..self.end]
    }

    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.begin = self.begin.checked_sub(count).ok_or(NoRoom)?;
        Ok(())
    }

    fn trim_front(&mut self, count: usize) {
        self.begin = (self.begin + count).min(self.end);
    }

    fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.begin + length);
    }

    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        let end = self.end + count;
        ensure_room(end)?;
        self.end = end;
        Ok(())
    }

    fn rx_hash(&self) -> Option<u32> {
        None
    }

    #[inline]
    fn ip_checksum(&self) -> RxChecksum {
        RxChecksum::Good
    }

    fn l4_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }
}

const fn ensure_room(end: usize) -> Result<(), NoRoom> {
    if end <= ROOM { Ok(()) } else { Err(NoRoom) }
}

/// The firewall with the frames that it is about to decide.
struct Scene {
    firewall: Firewall,
    source: Source,
    frames: Vec<PlainFrame>,
    /// What was copied of the burst that was decided last.
    copied: Vec<u8>,
}

impl Scene {
    fn new(rules: &str, source: Source) -> anyhow::Result<Self> {
        Ok(Self {
            firewall: Firewall::new(rules, 2 * UNITS as u32)?,
            source,
            frames: vec![PlainFrame::empty(); BURST],
            copied: Vec::with_capacity(BURST * ROOM),
        })
    }

    /// Writes a packet each of the connections from number `first` on.
    fn write(&mut self, first: usize, sender: Sender, step: Step) {
        for (frame, number) in self.frames.iter_mut().zip(first as u64..) {
            match step {
                Step::Data => self.source.write_data(frame, number, sender),
                _ => self.source.write(frame, number, sender, step),
            }
        }
    }

    /// Decides the frames without being counted.
    fn pass(&mut self, sender: Sender) -> anyhow::Result<()> {
        let fates = self.firewall.decide(&mut self.frames, sender);
        let passed = fates.iter().all(|fate| matches!(fate, Fate::Transmit(_)));
        ensure!(passed, "packets were refused: {:?}", self.firewall.refusals());
        Ok(())
    }

    /// Decides the frames, copies those that are to be, and is counted.
    fn count(&mut self, sender: Sender) -> anyhow::Result<()> {
        let Self { firewall, frames, copied, .. } = self;
        copied.clear();
        let passed = collected(|| {
            let fates = firewall.decide(frames, sender);
            let passed = fates.iter().all(|fate| matches!(fate, Fate::Transmit(_)));
            firewall.take_copies(frames, |head, rest| {
                copied.extend_from_slice(head);
                copied.extend_from_slice(rest);
            });
            passed
        });
        ensure!(passed, "packets were refused: {:?}", self.firewall.refusals());
        Ok(())
    }
}

/// What is counted.
#[inline(never)]
fn collected<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn bursts() -> impl Iterator<Item = usize> {
    (0..UNITS).step_by(BURST)
}

/// Does the work of a scenario: `established tcp4`, `translated tcp4` with other addresses, `scrubbed tcp4` with what most
/// rulesets scrub, `dup_to tcp4` with a copy of each packet, `setup 10` with so many rules, or `setup_nat 10` with one more,
/// which [translates](translating).
///
/// # Errors
/// If there is no such scenario, or packets were refused.
pub fn run(scenario: &str) -> anyhow::Result<()> {
    match scenario.split_once(' ') {
        Some(("established", traffic)) => established(PASS, named(traffic)?).map(drop),
        Some(("translated", traffic)) => established(TRANSLATING, named(traffic)?.translated()).map(drop),
        Some(("scrubbed", traffic)) => established(SCRUBBING, named(traffic)?).map(drop),
        Some(("dup_to", traffic)) => {
            let Scene { frames, copied, .. } = established(PASS_AND_COPY, named(traffic)?)?;
            let bytes: usize = frames.iter().map(|frame| frame.bytes().len()).sum();
            ensure!(copied.len() == bytes, "{} bytes of {bytes} were copied", copied.len());
            Ok(())
        }
        Some(("setup", count)) => setup(&rules(number(count)?)),
        Some((name, count)) if let Some(how) = name.strip_prefix("setup_") => {
            setup(&translating(how, number(count)?).with_context(|| format!("no translation {how}"))?)
        }
        _ => bail!("no scenario {scenario}"),
    }
}

fn number(rules: &str) -> anyhow::Result<usize> {
    rules.parse().context("the number of rules")
}

fn named(traffic: &str) -> anyhow::Result<Source> {
    let traffic = Traffic::named(traffic).with_context(|| format!("no traffic {traffic}"))?;
    Ok(Source::new(traffic, UNITS as u64))
}

/// The packets of established connections, under these rules.
fn established(rules: &str, source: Source) -> anyhow::Result<Scene> {
    let mut scene = Scene::new(rules, source)?;
    for first in bursts() {
        for (sender, step) in
            [(Sender::Client, Step::Open), (Sender::Server, Step::Answer), (Sender::Client, Step::Data)]
        {
            scene.write(first, sender, step);
            scene.pass(sender)?;
        }
    }
    // From the second packet of each direction on, a connection remembers its next hop.
    for first in bursts() {
        for sender in [Sender::Client, Sender::Server] {
            scene.write(first, sender, Step::Data);
            scene.pass(sender)?;
        }
    }
    for (number, first) in bursts().enumerate() {
        let sender = if number % 2 == 0 { Sender::Client } else { Sender::Server };
        scene.write(first, sender, Step::Data);
        scene.count(sender)?;
    }
    Ok(scene)
}

fn setup(rules: &str) -> anyhow::Result<()> {
    let mut scene = Scene::new(rules, Source::new(Traffic::Tcp4, UNITS as u64))?;
    for first in bursts() {
        scene.write(first, Sender::Client, Step::Open);
        scene.count(Sender::Client)?;
    }
    scene.firewall.age();
    while scene.firewall.states() > 0 {
        collected(|| scene.firewall.sweep(BURST));
    }
    Ok(())
}
