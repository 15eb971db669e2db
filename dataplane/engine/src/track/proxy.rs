//! The two handshakes of a connection whose server is spared those that nobody means (`pf_synproxy`, pf.conf(5) `synproxy
//! state`): first the one with the client, in the server's name, then the one with the server, in the client's.
//!
//! Until both are complete, of the two ends the client is `PROXY:SRC` or `PROXY:DST`. Its `seqhi` is the initial sequence number
//! that it was told, the server's `seqhi` the one that the server is told; either end's `seqlo` is its own. What they differ by is
//! each end's `seqdiff` from then on.
//!
//! Deviations: a client that probes a window of 0 may begin one octet before what pf expects (RFC 9293 §3.8.6.1), and completes its
//! handshake or has the server asked again where its ACK or our SYN was lost; a RST of either end that fits ends the connection, and the server's is passed on, where pf waits for the
//! time-out (test `track_proxy`).

use ruleset::PeerState;
use wire::{Seq, TcpFlags};

use super::{Peer, Segment};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;

/// Who sent a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxySide {
    /// The end that asked for the connection.
    Client,
    /// The other one.
    Server,
}

/// What becomes of a segment whose connection's handshakes are not both complete, and of the client and the server.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOutcome {
    /// It goes no further.
    Drop,
    /// The client's SYN, again: it is answered once more.
    Repeat {
        /// The SYN|ACK's sequence number.
        seq: Seq,
        /// The SYN|ACK's acknowledgment number.
        ack: Seq,
    },
    /// The client has completed its handshake: the server is sent a SYN.
    Ask {
        /// The client.
        client: Peer,
        /// The server.
        server: Peer,
        /// The SYN.
        syn: Segment,
    },
    /// The server has answered: either end gets an ACK, and from now on they speak with each other.
    Join {
        /// The client.
        client: Peer,
        /// The server.
        server: Peer,
        /// What the client gets: it opens the server's window.
        to_client: Segment,
        /// What the server gets.
        to_server: Segment,
    },
    /// One end resets the connection.
    End {
        /// The client.
        client: Peer,
        /// The server.
        server: Peer,
        /// What the client gets if it was the server.
        to_client: Option<Segment>,
    },
}

/// True for an end whose connection's handshakes are not both complete.
#[inline]
pub const fn is_proxied(peer: &Peer) -> bool {
    matches!(peer.state, PeerState::ProxySrc | PeerState::ProxyDst)
}

/// The client that is told `isn` by a SYN|ACK, given what [`open_tcp`](super::open_tcp) made of its SYN.
#[must_use]
pub const fn await_client(opened: Peer, isn: Seq) -> Peer {
    Peer { state: PeerState::ProxySrc, seqhi: isn, wscale: None, ..opened }
}

/// Judges a segment between a client and a server whose handshakes are not both complete. `isn` is the initial sequence number
/// that the server is told, if it was told none.
pub fn proxy(client: &Peer, server: &Peer, segment: &Segment, sender: ProxySide, isn: Seq) -> ProxyOutcome {
    match sender {
        ProxySide::Client if client.state == PeerState::ProxySrc && segment.has(SYN) => {
            repeat(client, segment)
        }
        ProxySide::Client if segment.has(RST) => match segment.seq == client.seqlo.plus(1) {
            true => end(client, server, None),
            false => ProxyOutcome::Drop,
        },
        ProxySide::Client => ask(client, server, segment, isn),
        ProxySide::Server if client.state == PeerState::ProxyDst => join(client, server, segment),
        ProxySide::Server => ProxyOutcome::Drop,
    }
}

fn repeat(client: &Peer, segment: &Segment) -> ProxyOutcome {
    match segment.seq == client.seqlo && !segment.has(ACK) {
        true => ProxyOutcome::Repeat { seq: client.seqhi, ack: segment.seq.plus(1) },
        false => ProxyOutcome::Drop,
    }
}

fn ask(client: &Peer, server: &Peer, segment: &Segment, isn: Seq) -> ProxyOutcome {
    let waits = client.state == PeerState::ProxySrc;
    let is_here = segment.seq == client.seqlo.plus(1) || segment.seq == client.seqlo;
    let completes = segment.has(ACK) && !segment.has(SYN) && segment.ack == client.seqhi.plus(1) && is_here;
    if !completes || (waits && segment.has(TcpFlags::FIN)) {
        return ProxyOutcome::Drop;
    }
    let client = Peer { state: PeerState::ProxyDst, max_win: segment.window.max(1), ..*client };
    // What an end that was told nothing has there.
    let untold = Peer::unseen(PeerState::Closed).seqhi;
    let told = if server.seqhi == untold { isn } else { server.seqhi };
    // Which is no initial sequence number then.
    let told = if told == untold { told.plus(1) } else { told };
    let syn = Segment { flags: SYN, seq: told, ..Segment::default() };
    ProxyOutcome::Ask { client, server: Peer { seqhi: told, ..*server }, syn }
}

fn join(client: &Peer, server: &Peer, segment: &Segment) -> ProxyOutcome {
    if !segment.has(ACK) || segment.ack != server.seqhi.plus(1) {
        return ProxyOutcome::Drop;
    }
    if segment.has(RST) {
        let reset = Segment { flags: RST, seq: client.seqhi.plus(1), ..Segment::default() };
        return end(client, server, Some(reset));
    }
    if !segment.has(SYN) {
        return ProxyOutcome::Drop;
    }
    let window = segment.window.max(1);
    let acknowledge = |seq, ack, window| Segment { flags: ACK, seq, ack, window, ..Segment::default() };
    let to_client = acknowledge(client.seqhi.plus(1), client.seqlo.plus(1), window);
    let to_server = acknowledge(segment.ack, segment.seq.plus(1), client.max_win);
    let joined = |seqlo: Seq, told: Seq, max_win: u16, allowed: u16| Peer {
        state: PeerState::Established,
        seen: true,
        seqlo,
        seqhi: seqlo.plus(allowed.into()),
        max_win,
        wscale: None,
        seqdiff: told.0.wrapping_sub(seqlo.0),
    };
    ProxyOutcome::Join {
        client: joined(client.seqlo, server.seqhi, client.max_win, window),
        server: joined(segment.seq, client.seqhi, window, client.max_win),
        to_client,
        to_server,
    }
}

const fn end(client: &Peer, server: &Peer, to_client: Option<Segment>) -> ProxyOutcome {
    let (client, server) =
        (Peer { state: PeerState::TimeWait, ..*client }, Peer { state: PeerState::TimeWait, ..*server });
    ProxyOutcome::End { client, server, to_client }
}
