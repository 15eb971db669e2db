//! Connections whose sequence numbers are changed on their way (pf.conf(5) `modulate state`, `synproxy state`).
//!
//! Overview: each face may add something to the numbers of each end, and whoever is behind it sees those. A record keeps an
//! end's numbers as the end itself sends them; a face meets the other end's with what the face on that side has added.
//! So one record tracks both of pf's states, and what each of them prints is worked out when it is asked for.
//! Life cycle: said of a face when it is made, or when synproxy has both handshakes; gone with the record.
//! Ownership: one shard. Bounds: 20 bytes beside each record, which take memory once connections of the kind were made.

use bytemuck::Zeroable;

use super::index::RecordId;
use super::key::{Key, KeyHash, Side};
use super::table::Connections;
use crate::track::Peer;

/// What is added to the sequence numbers of each end, by side; modulo 2³².
pub(crate) type Differences = [u32; 2];

/// What is kept of a record's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
#[repr(C)]
pub(super) struct Numbering {
    /// What each face adds, by its side.
    added: [Differences; 2],
    /// `synproxy state`: the largest segments that the client takes.
    mss: u16,
    spare: u16,
}

impl Numbering {
    /// What was added to the numbers of an end by the time that a face meets them.
    const fn before(&self, face: Side, end: Side) -> u32 {
        if face as u8 == end as u8 { 0 } else { self.added[end as usize][end as usize] }
    }
}

/// A peer with other numbers; one that is not seen has none.
fn moved(mut peer: Peer, by: u32) -> Peer {
    if peer.seen {
        (peer.seqlo, peer.seqhi) = (peer.seqlo.plus(by), peer.seqhi.plus(by));
    }
    peer
}

impl Connections {
    /// Has the face at a side add these to the numbers of both ends.
    #[cold]
    pub fn renumber(&mut self, id: RecordId, face: Side, differences: Differences) {
        let at = id.0 as usize;
        if !self.hot[at].is_renumbered() {
            self.hot[at].set_renumbered();
            self.numbering[at] = Numbering::default();
        }
        self.numbering[at].added[face.index()] = differences;
    }

    /// Keeps the largest segments that the client takes whose state is the face at a side.
    #[cold]
    pub fn set_mss(&mut self, id: RecordId, face: Side, mss: u16) {
        self.renumber(id, face, [0; 2]);
        self.numbering[id.0 as usize].mss = mss;
    }

    /// The largest segments that a client takes; 0 if nothing is kept of them.
    pub fn mss(&self, id: RecordId) -> u16 {
        if self.hot[id.0 as usize].is_renumbered() { self.numbering[id.0 as usize].mss } else { 0 }
    }

    /// What the face at a side adds to the numbers of both ends; `None` if nothing.
    #[inline]
    pub fn differences(&self, id: RecordId, face: Side) -> Option<Differences> {
        let at = id.0 as usize;
        self.hot[at].is_renumbered().then(|| self.numbering[at].added[face.index()])
    }

    /// As [`Self::differences`], for a packet of `sender`: as in pf, nothing is taken from what acknowledges an end that was not
    /// seen.
    #[inline]
    pub fn differences_from(&self, id: RecordId, face: Side, sender: Side) -> Option<Differences> {
        let mut differences = self.differences(id, face)?;
        if !self.hot[id.0 as usize].peer(sender.other()).seen {
            differences[sender.other().index()] = 0;
        }
        Some(differences)
    }

    /// The two ends as packets have them in front of the face at a side, the one at `first` first.
    #[inline]
    pub fn peers_at(&self, id: RecordId, face: Side, first: Side) -> (Peer, Peer) {
        let peers = self.peers(id, first);
        if self.hot[id.0 as usize].is_renumbered() { self.lifted(id, face, first, peers) } else { peers }
    }

    #[cold]
    fn lifted(&self, id: RecordId, face: Side, first: Side, peers: (Peer, Peer)) -> (Peer, Peer) {
        let numbering = &self.numbering[id.0 as usize];
        let lift = |peer: Peer, end: Side| Peer {
            seqdiff: numbering.added[face.index()][end.index()],
            ..moved(peer, numbering.before(face, end))
        };
        (lift(peers.0, first), lift(peers.1, first.other()))
    }

    /// Stores what a packet in front of the face at a side made of the two ends, the one at `first` first.
    #[inline]
    pub fn set_peers_at(&mut self, id: RecordId, face: Side, first: Side, peers: &(Peer, Peer)) {
        if self.hot[id.0 as usize].is_renumbered() {
            let numbering = self.numbering[id.0 as usize];
            let lower = |peer: Peer, end: Side| moved(peer, numbering.before(face, end).wrapping_neg());
            let lowered = (lower(peers.0, first), lower(peers.1, first.other()));
            self.set_peers(id, first, &lowered);
        } else {
            self.set_peers(id, first, peers);
        }
    }

    /// Leaves a record, which is to have the face at a side alone, with what that one meets and adds.
    #[cold]
    pub(super) fn keep_numbers_of(&mut self, id: RecordId, face: Side) {
        let at = id.0 as usize;
        if !self.hot[at].is_renumbered() {
            return;
        }
        let far = face.other();
        let met = moved(self.hot[at].peer(far), self.numbering[at].before(face, far));
        self.hot[at].set_peer(far, &met);
        self.numbering[at].added[far.index()] = [0; 2];
    }

    /// Gives a copy of a record, which is to have the face at a side alone, what that one meets and adds.
    pub(super) fn copy_numbers(&mut self, from: RecordId, to: RecordId, face: Side) {
        if self.hot[from.0 as usize].is_renumbered() {
            self.numbering[to.0 as usize] = self.numbering[from.0 as usize];
            self.keep_numbers_of(to, face);
        }
    }

    /// What all faces of a key's connection add to the numbers of both ends, that of `first` first.
    pub fn differences_of(&self, key: &Key, hash: KeyHash, first: Side) -> Differences {
        let mut sum = [0_u32; 2];
        for hit in self.hits(key, hash) {
            for face in Side::BOTH {
                let Some(added) = self.differences(hit.record, face) else { continue };
                for (sum, end) in sum.iter_mut().zip([first, first.other()]) {
                    *sum = sum.wrapping_add(added[hit.side(end).index()]);
                }
            }
        }
        sum
    }
}
