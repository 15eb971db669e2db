//! TCP connections as their two ends would lead them, more or less.
//!
//! An end says what a host might say next: it opens, answers, sends, repeats, probes, closes, resets. It hears only what
//! got through. It is no TCP: nothing is delivered, and it does not wait for answers.

use core::net::IpAddr;

use wire::{Seq, TcpFlags};

use crate::rng::Rng;
use crate::sketch::Segment;

const ACK: TcpFlags = TcpFlags::ACK;

/// How far an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Closed,
    /// It has sent a SYN.
    Opening,
    /// It has heard a SYN, and sent its own.
    Open,
    /// It has sent a FIN.
    Closing,
}

/// One end.
#[derive(Clone, Debug)]
pub struct End {
    /// Where it is.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    progress: Progress,
    first: Seq,
    next: Seq,
    /// What the other end has acknowledged.
    acknowledged: Seq,
    /// What it has heard of the other end.
    heard: Option<Seq>,
    window: u16,
    wscale: Option<u8>,
    /// Its clock of timestamps, if it has one, and the latest of the other end.
    clock: Option<u32>,
    echo: u32,
}

/// An address and a port.
type Socket = (IpAddr, u16);

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The ends; the first one opens, as a rule.
    pub ends: [End; 2],
    /// Of each end, the socket that it speaks from and the one that it speaks to.
    paths: [(Socket, Socket); 2],
}

impl End {
    fn new(rng: &mut Rng, address: IpAddr, port: u16) -> Self {
        let first = Seq(match rng.below(4) {
            // About to wrap, and about to be as far from 0 as can be.
            0 => 0u32.wrapping_sub(rng.below(3000) as u32),
            1 => (1 << 31) - rng.below(3000) as u32,
            _ => rng.next() as u32,
        });
        Self {
            address,
            port,
            progress: Progress::Closed,
            first,
            next: first,
            acknowledged: first,
            heard: None,
            window: *rng.pick(&[0, 1, 1000, 8192, 65535]),
            wscale: *rng.pick(&[None, None, Some(0), Some(3), Some(7), Some(14), Some(15)]),
            clock: rng.chance(1, 2).then(|| *rng.pick(&[0, 5000, u32::MAX - 50, 1 << 31])),
            echo: 0,
        }
    }

    fn segment(&self, flags: TcpFlags, seq: Seq, len: u16) -> Segment {
        let (ack, flags) = match self.heard {
            Some(heard) => (heard, flags.union(ACK)),
            None => (Seq(0), flags),
        };
        Segment { flags, seq, ack, window: self.window, wscale: None, len, ..Segment::default() }
    }

    fn say(&mut self, rng: &mut Rng) -> Segment {
        match (self.progress, self.heard) {
            (Progress::Closed, _) => {
                self.progress = if self.heard.is_some() { Progress::Open } else { Progress::Opening };
                self.next = self.first.plus(1);
                self.syn()
            }
            (Progress::Opening, None) => self.syn(),
            (Progress::Opening, Some(_)) => {
                self.progress = Progress::Open;
                self.segment(ACK, self.next, 0)
            }
            (Progress::Open | Progress::Closing, _) => self.talk(rng),
        }
    }

    fn syn(&self) -> Segment {
        Segment { wscale: self.wscale, ..self.segment(TcpFlags::SYN, self.first, 0) }
    }

    fn talk(&mut self, rng: &mut Rng) -> Segment {
        let len = *rng.pick(&[1, 1, 100, 536, 1000, 1400]);
        match rng.below(16) {
            0..=4 if self.progress == Progress::Open => {
                let segment = self.segment(TcpFlags::PSH, self.next, len);
                self.next = self.next.plus(len.into());
                segment
            }
            5..=6 => self.segment(ACK, self.next, 0),
            7 => {
                let segment = self.segment(ACK, self.next, 0);
                // Something came that follows upon what did not.
                let left = segment.ack.plus(1000);
                Segment { sack: Some([left, left.plus(len.into())]), ..segment }
            }
            8 => self.segment(ACK, self.acknowledged, len),
            9 => self.segment(ACK, self.next.minus(1), rng.below(2) as u16),
            10 => {
                self.window = *rng.pick(&[0, 1, 500, 8192, 65535]);
                self.segment(ACK, self.next, 0)
            }
            11 if self.first.plus(1) == self.next => self.syn(),
            12 if rng.chance(1, 3) => {
                let reset = self.segment(TcpFlags::RST, self.next, 0);
                self.start_over(rng);
                reset
            }
            _ if self.progress == Progress::Closing => {
                if rng.chance(1, 4) {
                    self.start_over(rng);
                }
                self.segment(TcpFlags::FIN, self.next.minus(1), 0)
            }
            13..=15 => {
                let segment = self.segment(TcpFlags::FIN, self.next, 0);
                self.progress = Progress::Closing;
                self.next = self.next.plus(1);
                segment
            }
            _ => self.segment(ACK, self.next, 0),
        }
    }

    /// With a timestamp, if it has a clock; sometimes it forgets.
    fn stamped(&mut self, segment: Segment, rng: &mut Rng) -> Segment {
        let Some(clock) = &mut self.clock else { return segment };
        *clock = clock.wrapping_add(rng.below(100) as u32);
        let value = match rng.below(30) {
            0 => return segment,
            1 => clock.wrapping_sub(*rng.pick(&[1, 150, 100_000])),
            2 => clock.wrapping_add(*rng.pick(&[1, 1100, 2200, 33_000, 34_000, 66_000, 400_000])),
            _ => *clock,
        };
        let echo = match rng.below(30) {
            0 if self.echo != 0 => self.echo.wrapping_sub(*rng.pick(&[1, 1000])),
            1 if self.echo != 0 => self.echo.wrapping_add(*rng.pick(&[1, 1000])),
            2 => 0,
            _ => self.echo,
        };
        Segment { stamps: Some([value, echo]), ..segment }
    }

    fn start_over(&mut self, rng: &mut Rng) {
        *self = Self::new(rng, self.address, self.port);
    }

    fn hear(&mut self, segment: &Segment) {
        if let Some([value, _]) = segment.stamps {
            self.echo = value;
        }
        let end = segment.seq.plus(segment.len.into()).plus(
            u32::from(segment.flags.contains(TcpFlags::SYN))
                + u32::from(segment.flags.contains(TcpFlags::FIN)),
        );
        self.heard = Some(match self.heard {
            Some(heard) if !segment.flags.contains(TcpFlags::SYN) && end.before(heard) => heard,
            _ => end,
        });
        if segment.flags.contains(ACK) && self.acknowledged.before(segment.ack) {
            self.acknowledged = segment.ack;
        }
    }
}

impl Connection {
    /// A connection to come between two sockets.
    pub fn new(rng: &mut Rng, a: Socket, b: Socket) -> Self {
        Self { ends: [End::new(rng, a.0, a.1), End::new(rng, b.0, b.1)], paths: [(a, b), (b, a)] }
    }

    /// Where an end's segments come from and go to.
    pub const fn addresses(&self, sender: usize) -> (IpAddr, IpAddr) {
        let (from, to) = self.paths[sender];
        (from.0, to.0)
    }

    /// The next segment of one of the two ends, and which of them sends it.
    pub fn next(&mut self, rng: &mut Rng) -> (usize, Segment) {
        let silent = |end: &End| end.progress == Progress::Closed && end.heard.is_none();
        let sender = match (silent(&self.ends[0]), silent(&self.ends[1])) {
            // Somebody has to begin; sometimes both do.
            (true, true) => usize::from(rng.chance(1, 20)),
            (false, true) => usize::from(rng.chance(1, 20)),
            (true, false) => usize::from(rng.chance(19, 20)),
            (false, false) => rng.below(2) as usize,
        };
        let segment = self.ends[sender].say(rng);
        let segment = self.ends[sender].stamped(segment, rng);
        let (from, to) = self.paths[sender];
        (sender, Segment { sport: from.1, dport: to.1, ..segment })
    }

    /// A segment of `sender` reached the other end, which answers as it was spoken to.
    pub fn deliver(&mut self, sender: usize, segment: &Segment, from: IpAddr, to: IpAddr) {
        self.ends[1 - sender].hear(segment);
        self.paths[1 - sender] = ((to, segment.dport), (from, segment.sport));
    }
}

/// Does to a segment what mistakes and attackers do: a little off, or far.
pub fn mutate(rng: &mut Rng, segment: &mut Segment) {
    for _ in 0..rng.between(1, 2) {
        match rng.below(8) {
            0..=1 => segment.seq = displaced(rng, segment.seq),
            2..=3 => segment.ack = displaced(rng, segment.ack),
            4 => segment.flags = TcpFlags(segment.flags.0 ^ (1 << rng.below(8))),
            5 => segment.flags = TcpFlags(rng.below(64) as u8),
            6 => segment.window = *rng.pick(&[0, 1, 100, 32768, 65535]),
            _ => segment.len = *rng.pick(&[0, 1, 8, 1200]),
        }
    }
    if rng.chance(1, 8) {
        segment.wscale = *rng.pick(&[None, Some(0), Some(2), Some(14), Some(255)]);
    }
}

/// A number near another one, or at the edge of what pf tolerates, or anywhere.
fn displaced(rng: &mut Rng, seq: Seq) -> Seq {
    const SLACK: u64 = 65_535 + 1_500;
    let distance = match rng.below(8) {
        0..=2 => rng.between(1, 2),
        3 => rng.between(990, 1010),
        4 => rng.between(SLACK - 2, SLACK + 2),
        5 => rng.between(65_500, 65_600),
        6 => (SLACK << rng.below(15)) & 0xffff_ffff,
        _ => rng.next() & 0xffff_ffff,
    } as u32;
    match rng.below(20) {
        0 => Seq(0),
        n if n % 2 == 0 => seq.plus(distance),
        _ => seq.minus(distance),
    }
}
