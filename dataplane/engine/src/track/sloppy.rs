//! TCP by its flags alone (`pf_tcp_track_sloppy`, pf.conf(5) `sloppy`).

use ruleset::PeerState;
use wire::TcpFlags;

use super::tcp::{TcpOutcome, acknowledge, announce, pass};
use super::{Peer, Segment};

/// No number is looked at and none is kept: an end that is not seen when the state is made is never seen.
#[inline]
pub(super) fn follow(from: &Peer, to: &Peer, segment: &Segment) -> TcpOutcome {
    let (mut from, mut to) = (*from, *to);
    announce(&mut from, segment);
    let established = segment.has(TcpFlags::ACK) && acknowledge_half_seen(&mut from, &mut to);
    pass(from, to, segment, established)
}

/// As [`acknowledge`], for a connection of which perhaps only one half is seen.
fn acknowledge_half_seen(from: &mut Peer, to: &mut Peer) -> bool {
    match (from.state, to.state) {
        // The ACK behind the SYN tells that the other end has answered.
        (PeerState::SynSent, PeerState::Closed) => {
            (from.state, to.state) = (PeerState::Established, PeerState::Established);
            true
        }
        // The FIN of the other end will not be seen: this one stands for both.
        (PeerState::Closing, PeerState::Established) if !to.seen => {
            to.state = PeerState::Closing;
            false
        }
        _ => acknowledge(from, to),
    }
}
