//! What a firewall that tracks windows expects of segments: who begins, which numbers may follow, and how it ends.

use std::collections::HashMap;

use tgen::flow::Tuple;
use tgen::frame::{self, Layout, Tcp};
use tgen::profile::Family;
use wire::{Seq, TcpFlags};

/// One end of a connection, by what it has sent.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Behind the last octet that it sent; none before its SYN.
    next: Option<u32>,
    fin: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Tracker {
    /// By what the end sends: source before destination.
    ends: HashMap<([u8; 32], [u8; 4]), End>,
}

fn backwards(tuple: &Tuple) -> ([u8; 32], [u8; 4]) {
    let mut addresses = tuple.addresses;
    // An IPv4 tuple has zeros in the second half.
    let half = if tuple.addresses[8..].iter().all(|octet| *octet == 0) { 4 } else { 16 };
    addresses[..half].copy_from_slice(&tuple.addresses[half..2 * half]);
    addresses[half..2 * half].copy_from_slice(&tuple.addresses[..half]);
    let [a, b, c, d] = tuple.ports;
    (addresses, [c, d, a, b])
}

impl Tracker {
    /// Takes note of a segment.
    ///
    /// # Panics
    /// It does not fit its connection.
    pub fn check(&mut self, data: &[u8]) {
        let read = |family| frame::read(Layout::tcp(family), data).ok();
        let Some(received) = read(Family::Ipv4).or_else(|| read(Family::Ipv6)) else { return };
        let tcp = received.tcp.expect("a segment");
        let own = (received.tuple.addresses, received.tuple.ports);
        let other = backwards(&received.tuple);
        let peer = self.ends.get(&other).copied().unwrap_or_default();
        let mut end = self.ends.get(&own).copied().unwrap_or_default();
        if tcp.flags == TcpFlags::SYN {
            self.ends.insert(other, End::default());
            end = End::default();
        } else if tcp.flags.contains(TcpFlags::SYN) {
            assert_eq!(peer.next, Some(tcp.ack), "an answer acknowledges the SYN: {tcp:?}");
            end = End::default();
        } else if !tcp.flags.contains(TcpFlags::RST) {
            let next = end.next.unwrap_or_else(|| panic!("a segment without a SYN: {tcp:?}"));
            let acknowledged = peer.next.unwrap_or_else(|| panic!("nothing to acknowledge: {tcp:?}"));
            assert_eq!(tcp.seq, next, "numbers follow each other: {tcp:?}");
            assert!(Seq(tcp.ack).at_or_before(Seq(acknowledged)), "acknowledged before it was sent: {tcp:?}");
            assert!(!end.fin || received.data.is_empty(), "data behind the end: {tcp:?}");
        }
        end.next = Some(tcp.seq.wrapping_add(takes(&tcp, received.data.len())));
        end.fin |= tcp.flags.contains(TcpFlags::FIN);
        self.ends.insert(own, end);
    }
}

/// Sequence numbers that a segment takes.
fn takes(tcp: &Tcp, data: usize) -> u32 {
    let one = |flag| u32::from(tcp.flags.contains(flag));
    data as u32 + one(TcpFlags::SYN) + one(TcpFlags::FIN)
}
