//! One end's view of one connection.

use wire::{Seq, TcpFlags};

use crate::frame::Tcp;

/// How far apart the first sequence numbers of connections between the same ports are.
const STEP: u32 = 1_000_000;

/// Where a connection is, as this end knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// There is none.
    #[default]
    Closed,
    /// The client has sent its SYN.
    SynSent,
    /// The server has answered it.
    SynReceived,
    /// Data may pass.
    Open,
    /// This end has sent its FIN.
    Closing,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// Where it is.
    pub state: State,
    /// A segment came that was not acknowledged yet.
    pub owes_ack: bool,
    /// The next octet to send.
    pub next: u32,
    /// The first one that is not acknowledged.
    pub unacknowledged: u32,
    /// The next octet to come.
    pub expected: u32,
    /// Octets that are still to come.
    pub wanted: u32,
    /// Octets that are still to be sent.
    pub left: u32,
    /// Segments with data that were made in this trial.
    pub made: u32,
    /// When it last got on, in units of 1024 ns, modulo 2^32.
    pub since: u32,
}

/// The clock of [`Peer::since`].
#[inline]
pub const fn ticks(nanos: u64) -> u32 {
    (nanos >> 10) as u32
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Octets that came, those of lost segments in front of them included: nothing is sent twice.
    pub octets: u32,
    /// Its sender has no more.
    pub fin: bool,
}

impl Peer {
    /// Starts a connection: a sequence number that the last one between these ports did not come near.
    pub fn start(&mut self, flow: u32, state: State, now: u64) {
        let first = if self.next == 0 { flow.wrapping_mul(0x9e37_79b1) | 1 } else { self.next };
        let next = first.wrapping_add(STEP);
        let made = self.made;
        *self = Self { state, next, unacknowledged: next, made, since: ticks(now), ..Self::default() };
    }

    /// The fields of a segment that takes so many sequence numbers.
    pub const fn segment(&mut self, flags: TcpFlags, takes: u32) -> Tcp {
        let segment = Tcp { seq: self.next, ack: self.expected, flags };
        self.next = self.next.wrapping_add(takes);
        self.owes_ack = false;
        segment
    }

    /// Octets sent and not acknowledged.
    pub const fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.unacknowledged)
    }

    /// Takes a segment of an open connection, with so many octets of data.
    pub fn absorb(&mut self, tcp: &Tcp, data: u32, now: u64) -> News {
        if tcp.ack.wrapping_sub(self.unacknowledged) <= self.in_flight() {
            self.unacknowledged = tcp.ack;
        }
        let ahead = Seq(tcp.seq).since(Seq(self.expected));
        let fin = tcp.flags.contains(TcpFlags::FIN);
        if ahead < 0 || data == 0 && !fin {
            return News { octets: 0, fin: false };
        }
        self.expected = tcp.seq.wrapping_add(data).wrapping_add(u32::from(fin));
        self.since = ticks(now);
        let octets = ahead as u32 + data;
        self.wanted = self.wanted.saturating_sub(octets);
        News { octets, fin }
    }
}

#[cfg(test)]
mod tests {
    use wire::TcpFlags;

    use super::{News, Peer, State};
    use crate::frame::Tcp;

    #[test]
    fn gaps_count_as_come_and_old_segments_as_nothing() {
        let mut peer = Peer { state: State::Open, expected: u32::MAX - 9, wanted: 100, ..Peer::default() };
        let ack = TcpFlags::ACK;
        let mut hear = |seq: u32, flags, data| peer.absorb(&Tcp { seq, ack: 0, flags }, data, 0);
        assert_eq!(hear(u32::MAX - 9, ack, 10), News { octets: 10, fin: false }, "up to the wrap");
        assert_eq!(hear(20, ack, 30), News { octets: 50, fin: false }, "twenty were lost");
        assert_eq!(hear(0, ack, 20), News { octets: 0, fin: false }, "they come late");
        assert_eq!(hear(50, ack, 0), News { octets: 0, fin: false }, "nothing but an acknowledgment");
        assert_eq!(hear(50, ack.union(TcpFlags::FIN), 0), News { octets: 0, fin: true });
        assert_eq!((peer.expected, peer.wanted), (51, 40));
    }

    #[test]
    fn acknowledgments_count_within_what_was_sent() {
        let mut peer = Peer { state: State::Open, next: 10, unacknowledged: u32::MAX - 9, ..Peer::default() };
        assert_eq!(peer.in_flight(), 20);
        for (ack, in_flight) in [(11, 20), (u32::MAX, 11), (u32::MAX - 9, 11), (10, 0)] {
            peer.absorb(&Tcp { seq: 0, ack, flags: TcpFlags::ACK }, 0, 0);
            assert_eq!(peer.in_flight(), in_flight, "{ack}");
        }
    }

    #[test]
    fn the_next_connection_of_a_flow_begins_beyond_the_last_one() {
        let mut peer = Peer::default();
        peer.start(0, State::SynSent, 0);
        let first = peer.next;
        peer.segment(TcpFlags::SYN, 1);
        peer.start(0, State::SynSent, 0);
        assert_eq!(peer.next, first.wrapping_add(1_000_001));
    }
}
