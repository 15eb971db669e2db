//! A host with one connection: the least TCP that is correct (RFC 9293), so that whatever it sends must pass.
//!
//! It sends a stream of `total` octets, closes behind it, and reads what the other host sends. It goes back to the first
//! octet that is not acknowledged whenever it is told to, keeps nothing that arrives out of order, and probes a closed
//! window. When it does any of this is the network's choice: it has no clock.

use engine::track::Segment;
use wire::{Seq, TcpFlags};

use crate::random::Random;

const MSS: u32 = 1_460;

/// What a host is made of.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its initial sequence number.
    pub iss: Seq,
    /// The shift that it offers for its windows.
    pub wscale: Option<u8>,
    /// Octets of received data that it can hold.
    pub buffer: u32,
    /// Octets that it sends before it closes.
    pub total: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Listen,
    SynSent,
    SynReceived,
    Open,
}

/// One end of the connection.
#[derive(Debug)]
pub struct Host {
    config: Config,
    progress: Progress,
    /// The shifts of its own windows and of the other host's, if they agreed on scaling.
    scaling: Option<(u8, u8)>,
    /// The first octet that is not acknowledged, the next one to send, and the one behind everything ever sent.
    una: Seq,
    nxt: Seq,
    max: Seq,
    /// The last octet that the other host lets it send ends here.
    edge: Seq,
    /// The next octet expected.
    rcv_nxt: Seq,
    /// Octets received and not read by the application.
    unread: u32,
    /// The other host's FIN has arrived, in its place.
    pub heard_fin: bool,
}

impl Host {
    /// A host that waits for a connection.
    pub fn listening(config: Config) -> Self {
        let iss = config.iss;
        Self {
            config,
            progress: Progress::Listen,
            scaling: None,
            una: iss,
            nxt: iss,
            max: iss,
            edge: iss,
            rcv_nxt: Seq(0),
            unread: 0,
            heard_fin: false,
        }
    }

    /// A host that begins one.
    pub fn connecting(config: Config) -> Self {
        Self { progress: Progress::SynSent, ..Self::listening(config) }
    }

    /// The number of its FIN.
    fn fin(&self) -> Seq {
        self.config.iss.plus(1 + self.config.total)
    }

    /// True if everything is sent, closed and acknowledged, and the other host has closed too.
    pub fn done(&self) -> bool {
        self.una == self.fin().plus(1) && self.heard_fin
    }

    /// True if the segment is late: this host has its first octet, or its acknowledgment if it occupies nothing. Whatever
    /// else it brings, its sender need not send it again like this.
    pub fn has_beginning_of(&self, segment: &Segment) -> bool {
        let occupied =
            segment.len + u32::from(segment.has(TcpFlags::SYN)) + u32::from(segment.has(TcpFlags::FIN));
        let late =
            if occupied > 0 { segment.seq.before(self.rcv_nxt) } else { segment.ack.at_or_before(self.una) };
        matches!(self.progress, Progress::SynReceived | Progress::Open) && late
    }

    /// The application reads some of what has arrived.
    pub fn read(&mut self, random: &mut Random) {
        self.unread -= random.below(self.unread + 1);
    }

    /// The next segment that the host would send, whichever of those it may send now.
    pub fn send(&mut self, random: &mut Random) -> Option<Segment> {
        match self.progress {
            Progress::Listen => None,
            Progress::SynSent => Some(self.syn(TcpFlags::SYN)),
            Progress::SynReceived => Some(self.syn(TcpFlags::SYN.union(TcpFlags::ACK))),
            Progress::Open => match random.below(4) {
                0 => Some(self.text(self.nxt, 0)),
                1 => {
                    self.nxt = self.una;
                    self.send_more(random)
                }
                _ => self.send_more(random),
            },
        }
    }

    /// Data from `nxt` on as far as the window goes, a probe if it is closed, the FIN behind all of it.
    fn send_more(&mut self, random: &mut Random) -> Option<Segment> {
        let left = self.fin().since(self.nxt).max(0).unsigned_abs();
        let window = self.edge.since(self.nxt).max(0).unsigned_abs();
        if left > 0 && window == 0 && self.una == self.nxt {
            // A probe does not count as sent: it will be sent again once there is room.
            let nxt = self.nxt;
            let probe = self.text(nxt, 1);
            self.nxt = nxt;
            return Some(probe);
        }
        let len = left.min(window).min(1 + random.below(MSS));
        (len > 0 || self.nxt == self.fin()).then(|| self.text(self.nxt, len))
    }

    fn syn(&mut self, flags: TcpFlags) -> Segment {
        let iss = self.config.iss;
        self.sent_up_to(iss.plus(1));
        let window = u16::try_from(self.config.buffer).unwrap_or(u16::MAX);
        // RFC 7323 §2.2: a SYN|ACK carries the option only if the SYN did.
        let answers = flags.contains(TcpFlags::ACK);
        let wscale = self.config.wscale.filter(|_| !answers || self.scaling.is_some());
        Segment { flags, seq: iss, ack: self.rcv_nxt, window, wscale, ..Segment::default() }
    }

    fn text(&mut self, seq: Seq, len: u32) -> Segment {
        let closes = seq.plus(len) == self.fin();
        let flags = if closes { TcpFlags::ACK.union(TcpFlags::FIN) } else { TcpFlags::ACK };
        self.sent_up_to(seq.plus(len + u32::from(closes)));
        let (shift, _) = self.scaling.unwrap_or_default();
        let window = u16::try_from((self.config.buffer - self.unread) >> shift).unwrap_or(u16::MAX);
        Segment { flags, seq, ack: self.rcv_nxt, window, len, ..Segment::default() }
    }

    fn sent_up_to(&mut self, seq: Seq) {
        self.nxt = seq;
        if self.max.before(seq) {
            self.max = seq;
        }
    }

    /// Takes what the network delivers.
    pub fn receive(&mut self, segment: &Segment) {
        if segment.has(TcpFlags::SYN) {
            self.receive_syn(segment);
        } else if segment.has(TcpFlags::ACK) && self.progress != Progress::Listen {
            let acknowledged = self.receive_ack(segment);
            if self.progress == Progress::SynReceived && acknowledged {
                self.progress = Progress::Open;
            }
            if self.progress == Progress::Open {
                self.receive_text(segment);
            }
        }
    }

    fn receive_syn(&mut self, segment: &Segment) {
        let acknowledged = segment.has(TcpFlags::ACK) && self.receive_ack(segment);
        match self.progress {
            Progress::Listen | Progress::SynSent => {
                self.rcv_nxt = segment.seq.plus(1);
                self.scaling = self.config.wscale.zip(segment.wscale);
                self.edge = self.config.iss.plus(1 + u32::from(segment.window));
                self.progress = if acknowledged { Progress::Open } else { Progress::SynReceived };
            }
            Progress::SynReceived if acknowledged => self.progress = Progress::Open,
            Progress::SynReceived | Progress::Open => {}
        }
    }

    /// True if the acknowledgment is one of something that was sent.
    fn receive_ack(&mut self, segment: &Segment) -> bool {
        if !self.config.iss.before(segment.ack) || self.max.before(segment.ack) {
            return false;
        }
        if self.una.before(segment.ack) {
            self.una = segment.ack;
        }
        if self.nxt.before(self.una) {
            self.nxt = self.una;
        }
        let (_, shift) = self.scaling.filter(|_| !segment.has(TcpFlags::SYN)).unwrap_or_default();
        let window = u32::from(segment.window) << shift;
        if self.edge.before(segment.ack.plus(window)) {
            self.edge = segment.ack.plus(window);
        }
        true
    }

    fn receive_text(&mut self, segment: &Segment) {
        let skip = self.rcv_nxt.since(segment.seq);
        let new = i64::from(segment.len) - i64::from(skip);
        if skip < 0 || new < 0 {
            return;
        }
        let room = self.config.buffer - self.unread;
        let taken = u32::try_from(new).map_or(0, |new| new.min(room));
        self.rcv_nxt = self.rcv_nxt.plus(taken);
        self.unread += taken;
        if segment.has(TcpFlags::FIN) && i64::from(taken) == new && !self.heard_fin {
            self.rcv_nxt = self.rcv_nxt.plus(1);
            self.heard_fin = true;
        }
    }
}
