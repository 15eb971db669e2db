//! TCP: connections with a handshake, numbers that advance, and an end.
//!
//! Overview: two kinds. An exchange is opened at a rate, has a request and a response, and ends. Held connections are all
//! opened first, carry segments at a rate, in turn, and are all closed at the end. Nothing is sent twice: a lost segment is a
//! loss that is counted, and a connection that gets no further is given up.
//! Bounds: 28 octets for each connection and end, and 8 for the order of what it receives.

mod segments;

use anyhow::Result;
use wire::TcpFlags;

use crate::end::End;
use crate::flow::{Flows, Role};
use crate::frame::{Received, SEGMENT_MAX, Tcp};
use crate::mark::Mark;
use crate::order::{Arrival, Order};
use crate::outcome::{Opening, Tally};
use crate::pace::{Pacer, SECOND};
use crate::profile::{Exchange, Kind, Profile};
use crate::traffic::peer::{Peer, State, ticks};
use crate::traffic::{Phase, Place, Sizes, Trial};
use segments::Segments;

/// A connection that does not get on for so long is given up.
const PATIENCE: u32 = ticks(2 * SECOND);
/// While all are opened, a SYN that is not answered for so long is sent again.
const RETRY: u32 = ticks(SECOND / 2);
/// Segments of a response on their way at most (RFC 6928's initial window; no other is needed).
const AHEAD: u32 = 10 * SEGMENT_MAX as u32;
/// Octets of one connection on their way at most: half the window.
const IN_FLIGHT_MAX: u32 = 1 << 22;
/// Connections that a poll looks at, to find those that do not get on.
const SWEPT: u32 = 32;
/// Connections that are looked at for one that is free.
const TRIED: u32 = 64;

/// What connections are for.
#[derive(Debug)]
enum Script {
    /// A request, a response, and the end.
    Exchange(Exchange),
    /// Segments in turn, of these sizes, by who sends.
    Hold(Sizes, bool),
}

/// One end of all connections.
#[derive(Debug)]
pub struct Connections {
    flows: Flows,
    role: Role,
    script: Script,
    segments: Segments,
    peers: Vec<Peer>,
    phase: Phase,
    pacer: Pacer,
    trial: u8,
    /// The flow whose turn it is, and how many turns all had.
    flow: u32,
    turn: u32,
    /// The flow that is looked at next for not getting on.
    swept: u32,
    order: Order,
    /// Connections that this end has open.
    open: u32,
    tally: Tally,
}

impl Connections {
    /// What a profile asks of an end.
    ///
    /// # Errors
    /// A frame is too long.
    pub fn new(profile: &Profile, flows: Flows, place: Place) -> Result<Self> {
        let script = match &profile.kind {
            Kind::Connections(exchange) => Script::Exchange(*exchange),
            _ => Script::Hold(Sizes::new(profile, place)?, profile.senders.include(place.role)),
        };
        Ok(Self {
            segments: Segments::new(profile.layout(), place)?,
            peers: vec![Peer::default(); flows.count() as usize],
            order: Order::new(flows.count()),
            flows,
            role: place.role,
            script,
            phase: Phase::Send,
            pacer: Pacer::new(0.0),
            trial: 0,
            flow: 0,
            turn: 0,
            swept: 0,
            open: 0,
            tally: Tally::new(),
        })
    }

    /// Begins a trial, or the opening or closing of all connections.
    pub fn begin(&mut self, trial: Trial) {
        let rate = match (&self.script, trial.phase, self.role) {
            (Script::Hold(_, false), Phase::Send, _) => 0.0,
            (Script::Hold(..), Phase::Send, _) | (_, _, Role::Client) => trial.rate,
            _ => 0.0,
        };
        self.pacer = Pacer::new(rate);
        (self.trial, self.phase) = (trial.number, trial.phase);
        (self.flow, self.turn) = (0, 0);
        self.order.reset();
        self.tally = Tally::new();
        if matches!(self.script, Script::Exchange(_)) {
            if self.role == Role::Client {
                self.tally.connections = Some(Opening::new());
            }
            // What an earlier trial left behind is of no use.
            for peer in &mut self.peers {
                (peer.state, peer.made) = (State::Closed, 0);
            }
            self.open = 0;
        }
    }

    /// Whether all connections are open, or closed, as the phase wants it.
    pub fn is_done(&self) -> bool {
        match self.phase {
            Phase::Open => self.open == self.flows.count(),
            Phase::Close => self.open == 0,
            Phase::Send => false,
        }
    }

    /// Connections that this end has open.
    pub const fn open(&self) -> u32 {
        self.open
    }

    /// Sends what was due when `plan` nanoseconds had passed; true if anything was.
    #[inline]
    pub fn send(&mut self, end: &mut End, now: u64, plan: u64) -> bool {
        self.sweep(end, now);
        let due = self.pacer.due(plan);
        let mut made = 0;
        while made < due.min(dpdk::BURST_MAX as u64) && self.make(end, now) {
            made += 1;
        }
        self.pacer.take(made);
        due > 0
    }

    /// Does one thing that was due; false if it cannot be done now.
    #[inline]
    fn make(&mut self, end: &mut End, now: u64) -> bool {
        if !end.has_room() {
            return false;
        }
        match (self.phase, &self.script) {
            (Phase::Send, Script::Hold(..)) => self.hold_turn(end, now),
            (Phase::Close, _) => {
                if let Some(flow) = self.advance_to(State::Open) {
                    self.finish(end, flow);
                }
                true
            }
            (Phase::Open | Phase::Send, _) => {
                let Some(flow) = self.advance_to(State::Closed) else { return false };
                let peer = &mut self.peers[flow as usize];
                peer.start(flow, State::SynSent, now);
                if let Script::Exchange(exchange) = self.script {
                    peer.wanted = exchange.response_bytes;
                }
                if let Some(opening) = &mut self.tally.connections {
                    opening.opened += 1;
                }
                self.syn(end, flow);
                true
            }
        }
    }

    /// The next flow that is in this state, among some.
    fn advance_to(&mut self, state: State) -> Option<u32> {
        for _ in 0..TRIED.min(self.flows.count()) {
            let flow = self.flow;
            self.advance();
            if self.peers[flow as usize].state == state {
                return Some(flow);
            }
        }
        None
    }

    #[inline]
    fn advance(&mut self) {
        self.flow += 1;
        if self.flow == self.flows.count() {
            self.flow = 0;
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// Sends a SYN, for the first time or again.
    fn syn(&mut self, end: &mut End, flow: u32) {
        let peer = &mut self.peers[flow as usize];
        let tcp = Tcp { seq: peer.unacknowledged, ack: 0, flags: TcpFlags::SYN };
        peer.next = peer.unacknowledged.wrapping_add(1);
        let sent = self.segments.syn(end, &self.flows, self.role, flow, tcp);
        self.count(sent);
    }

    /// Sends a segment of the flow whose turn it is, if it is open and its window has room.
    #[inline]
    fn hold_turn(&mut self, end: &mut End, now: u64) -> bool {
        let Script::Hold(sizes, _) = &mut self.script else { return false };
        let peer = &mut self.peers[self.flow as usize];
        if peer.state != State::Open || peer.in_flight() > IN_FLIGHT_MAX {
            self.tally.left_out += 1;
            self.advance();
            return true;
        }
        let before = *peer;
        let data = sizes.template().data() as u32;
        let tcp = peer.segment(TcpFlags::ACK.union(TcpFlags::PSH), data);
        let mark = Mark { trial: self.trial, flow: self.flow, sequence: self.turn, stamp: now };
        let tuple = self.flows.tuple(self.flow, self.role);
        if !segments::write(end, sizes.template(), &tuple, tcp, Some(&mark)) {
            *peer = before;
            return false;
        }
        sizes.advance();
        self.tally.sent += 1;
        self.advance();
        true
    }

    /// Looks at some connections, whether they get on.
    #[inline]
    fn sweep(&mut self, end: &mut End, now: u64) {
        if self.role == Role::Server || self.phase == Phase::Close {
            return;
        }
        for _ in 0..SWEPT.min(self.flows.count()) {
            let flow = self.swept;
            self.swept = if flow + 1 == self.flows.count() { 0 } else { flow + 1 };
            let peer = &mut self.peers[flow as usize];
            let idle = ticks(now).wrapping_sub(peer.since);
            match self.script {
                Script::Exchange(_) if peer.state != State::Closed && idle >= PATIENCE => {
                    self.control(end, flow, TcpFlags::RST, 0);
                    self.reset(flow);
                }
                Script::Hold(..) if peer.state == State::SynSent && idle >= RETRY => {
                    peer.since = ticks(now);
                    self.syn(end, flow);
                }
                Script::Exchange(_) | Script::Hold(..) => {}
            }
        }
    }

    /// Takes a segment that came, and answers it.
    #[inline]
    pub fn hear(&mut self, end: &mut End, received: &Received<'_>, now: u64) {
        let flow = self.flows.find(&received.tuple, self.role.other());
        let (Some(flow), Some(tcp)) = (flow, received.tcp) else {
            self.tally.other += 1;
            return;
        };
        if !self.note(flow, received.data, now) {
            return;
        }
        if tcp.flags.contains(TcpFlags::RST) {
            self.reset(flow);
        } else if self.role == Role::Client {
            self.client(end, flow, &tcp, received.data.len() as u32, now);
        } else {
            self.server(end, flow, &tcp, received.data.len() as u32, now);
        }
    }

    /// Counts a segment by what its data says. False if it is of another trial, or came before.
    #[inline]
    fn note(&mut self, flow: u32, data: &[u8], now: u64) -> bool {
        if let Some(mark) = Mark::read(data).filter(|mark| mark.flow == flow) {
            if mark.trial != self.trial {
                self.tally.late += 1;
                return false;
            }
            match self.order.note(flow, mark.sequence) {
                Some(Arrival::Duplicate) => {
                    self.tally.duplicates += 1;
                    return false;
                }
                Some(Arrival::Reordered) => self.tally.reordered += 1,
                Some(Arrival::InOrder) | None => {}
            }
            self.tally.latency.saturating_record(now.saturating_sub(mark.stamp).max(1));
        }
        self.tally.received += 1;
        true
    }

    /// The connection is over before its end.
    fn reset(&mut self, flow: u32) {
        let peer = &mut self.peers[flow as usize];
        match peer.state {
            State::Closed => return,
            State::Open => self.open = self.open.saturating_sub(1),
            // The server has counted it off with the FIN that came, the client will not hear of one.
            State::Closing if self.role == Role::Client => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        peer.state = State::Closed;
        if let Some(opening) = &mut self.tally.connections {
            opening.failed += 1;
        }
    }

    fn client(&mut self, end: &mut End, flow: u32, tcp: &Tcp, data: u32, now: u64) {
        let peer = &mut self.peers[flow as usize];
        match peer.state {
            State::Closed | State::SynReceived => {}
            State::SynSent => self.client_opens(end, flow, tcp, now),
            State::Open | State::Closing => {
                let news = peer.absorb(tcp, data, now);
                if news.fin {
                    let closing = peer.state == State::Closing;
                    self.control(end, flow, TcpFlags::ACK, 0);
                    if closing {
                        self.closed(flow);
                    }
                } else {
                    self.client_goes_on(end, flow, news.octets);
                }
            }
        }
    }

    fn closed(&mut self, flow: u32) {
        self.peers[flow as usize].state = State::Closed;
        match &mut self.tally.connections {
            Some(opening) => opening.completed += 1,
            None => self.open = self.open.saturating_sub(1),
        }
    }

    fn client_opens(&mut self, end: &mut End, flow: u32, tcp: &Tcp, now: u64) {
        let peer = &mut self.peers[flow as usize];
        if !tcp.flags.contains(TcpFlags::SYN) {
            // Somebody remembers an older connection (RFC 5961 §4): it ends, and this one begins.
            let (seq, flags) = (tcp.ack, TcpFlags::RST);
            let sent = self.segments.control(end, &self.flows, self.role, flow, Tcp { seq, ack: 0, flags });
            self.count(sent);
            self.syn(end, flow);
            return;
        }
        if tcp.ack != peer.next {
            return;
        }
        let took = u64::from(ticks(now).wrapping_sub(peer.since)) << 10;
        peer.state = State::Open;
        peer.unacknowledged = tcp.ack;
        peer.expected = tcp.seq.wrapping_add(1);
        peer.since = ticks(now);
        match self.script {
            Script::Hold(..) => {
                self.open += 1;
                self.control(end, flow, TcpFlags::ACK, 0);
            }
            Script::Exchange(exchange) => {
                if let Some(opening) = &mut self.tally.connections {
                    opening.established += 1;
                    opening.setup.saturating_record(took.max(1));
                }
                if exchange.request_bytes > 0 {
                    self.data(end, flow, exchange.request_bytes.into(), now);
                } else {
                    self.control(end, flow, TcpFlags::ACK, 0);
                }
                if exchange.request_bytes == 0 && exchange.response_bytes == 0 {
                    self.finish(end, flow);
                }
            }
        }
    }

    /// So many octets came: the exchange may be over, or they are acknowledged.
    fn client_goes_on(&mut self, end: &mut End, flow: u32, octets: u32) {
        let peer = &mut self.peers[flow as usize];
        let over = peer.state == State::Open && peer.wanted == 0 && peer.in_flight() == 0;
        match self.script {
            Script::Exchange(_) if over => self.finish(end, flow),
            Script::Exchange(_) | Script::Hold(_, false) if octets > 0 => self.acknowledge(end, flow),
            Script::Exchange(_) | Script::Hold(..) => {}
        }
    }

    /// Acknowledges every second segment.
    fn acknowledge(&mut self, end: &mut End, flow: u32) {
        if self.peers[flow as usize].owes_ack {
            self.control(end, flow, TcpFlags::ACK, 0);
        } else {
            self.peers[flow as usize].owes_ack = true;
        }
    }

    fn finish(&mut self, end: &mut End, flow: u32) {
        self.control(end, flow, TcpFlags::FIN.union(TcpFlags::ACK), 1);
        self.peers[flow as usize].state = State::Closing;
    }

    fn server(&mut self, end: &mut End, flow: u32, tcp: &Tcp, data: u32, now: u64) {
        if tcp.flags.contains(TcpFlags::SYN) {
            return self.server_opens(end, flow, tcp, now);
        }
        let peer = &mut self.peers[flow as usize];
        if peer.state == State::SynReceived && tcp.ack == peer.next {
            peer.state = State::Open;
            peer.unacknowledged = tcp.ack;
            self.open += 1;
            if let Script::Exchange(Exchange { request_bytes: 0, response_bytes }) = self.script {
                peer.left = response_bytes;
                self.respond(end, flow, now);
            }
        }
        let peer = &mut self.peers[flow as usize];
        match peer.state {
            State::Closed | State::SynSent | State::SynReceived => {}
            State::Closing => {
                peer.absorb(tcp, data, now);
                if peer.in_flight() == 0 {
                    peer.state = State::Closed;
                }
            }
            State::Open => {
                let asked = peer.wanted > 0;
                let news = peer.absorb(tcp, data, now);
                if news.fin {
                    self.open = self.open.saturating_sub(1);
                    return self.finish(end, flow);
                }
                match self.script {
                    Script::Exchange(exchange) => {
                        let answers = asked && peer.wanted == 0;
                        if answers {
                            peer.left = exchange.response_bytes;
                        }
                        if answers && exchange.response_bytes == 0 {
                            self.control(end, flow, TcpFlags::ACK, 0);
                        }
                        self.respond(end, flow, now);
                    }
                    Script::Hold(_, false) if news.octets > 0 => self.acknowledge(end, flow),
                    Script::Hold(..) => {}
                }
            }
        }
    }

    fn server_opens(&mut self, end: &mut End, flow: u32, tcp: &Tcp, now: u64) {
        let peer = &mut self.peers[flow as usize];
        let again = peer.state == State::SynReceived && peer.expected == tcp.seq.wrapping_add(1);
        if again {
            peer.next = peer.unacknowledged;
        } else {
            if peer.state == State::Open {
                self.open = self.open.saturating_sub(1);
            }
            peer.start(flow, State::SynReceived, now);
        }
        peer.expected = tcp.seq.wrapping_add(1);
        if let Script::Exchange(exchange) = self.script {
            peer.wanted = exchange.request_bytes.into();
        }
        let answer = peer.segment(TcpFlags::SYN.union(TcpFlags::ACK), 1);
        let sent = self.segments.syn(end, &self.flows, self.role, flow, answer);
        self.count(sent);
    }

    /// Sends of a response what may be on its way.
    fn respond(&mut self, end: &mut End, flow: u32, now: u64) {
        loop {
            let peer = &mut self.peers[flow as usize];
            if peer.left == 0 || peer.in_flight() >= AHEAD {
                return;
            }
            let octets = peer.left.min(SEGMENT_MAX as u32);
            peer.left -= octets;
            self.data(end, flow, octets, now);
        }
    }

    /// Sends so many octets of data, at most a segment.
    fn data(&mut self, end: &mut End, flow: u32, octets: u32, now: u64) {
        let peer = &mut self.peers[flow as usize];
        let tcp = peer.segment(TcpFlags::ACK.union(TcpFlags::PSH), octets);
        let mark = Mark { trial: self.trial, flow, sequence: peer.made, stamp: now };
        peer.made = peer.made.wrapping_add(1);
        let sent = self.segments.data(end, &self.flows, self.role, octets, tcp, &mark);
        self.count(sent);
    }

    /// Sends a segment without data that takes so many sequence numbers.
    fn control(&mut self, end: &mut End, flow: u32, flags: TcpFlags, takes: u32) {
        let tcp = self.peers[flow as usize].segment(flags, takes);
        let sent = self.segments.control(end, &self.flows, self.role, flow, tcp);
        self.count(sent);
    }

    fn count(&mut self, sent: bool) {
        *(if sent { &mut self.tally.sent } else { &mut self.tally.left_out }) += 1;
    }

    /// Counts what was due when `plan` nanoseconds had passed and will never be sent, and connections that will not end.
    pub fn give_up(&mut self, plan: u64) {
        self.tally.left_out += self.pacer.due(plan) + self.pacer.left_out();
        if let Some(opening) = &mut self.tally.connections {
            opening.failed += self.peers.iter().filter(|peer| peer.state != State::Closed).count() as u64;
        }
    }

    /// What was counted.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// As [`tally`](Self::tally), to be changed.
    pub const fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
