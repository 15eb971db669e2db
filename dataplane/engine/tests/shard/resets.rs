//! What ends a connection and what does not (reliability A1 to A6, A17): resets, and packets that a host would discard.

use crate::firewall::packet::{Packet, seal};
use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Arrival, Fate, Source, WorkerId};
use ruleset::{PeerState, Reason, Timeout};
use wire::TcpFlags;

/// Bytes in front of the IP and of the TCP header of a plain frame.
const L3: usize = 14;
const L4: usize = L3 + 20;

/// The client has sent up to 1101, the server up to 5001.
const CONNECTION: &str = "
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000                   -> out em1
    em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001         -> out em0
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 100 -> out em1
    em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1101          -> out em0
";

fn connected() -> Firewall {
    let mut firewall = Firewall::with(vec![block(), pass()]);
    firewall.tell(CONNECTION);
    firewall
}

fn all_are(firewall: &Firewall, state: PeerState) -> bool {
    let states = firewall.states();
    states.len() == 2
        && states.iter().all(|both| both.source.state == state && both.destination.state == state)
}

fn frame(text: &str) -> Vec<u8> {
    let packet = Packet::parse(text);
    let from = if packet.src.to_string().starts_with("10.0") { EM0 } else { EM1 };
    packet.frame(mac(from, 2), mac(from, 1))
}

#[test]
fn a01_resets_that_are_not_exact_change_nothing() {
    let mut firewall = connected();
    let before = firewall.dump();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 0                -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 900000           -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1300             -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1099             -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp RA seq 1103 ack 5001   -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp RA seq 1050 ack 5000   -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 0                -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 5100             -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 5003 ack 1101   -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 4990 ack 1100   -> state-mismatch
        ",
    );
    assert_eq!(firewall.dump(), before);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 5001 len 100 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack 1201 len 100 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1201                   -> out em1
        ",
    );
    assert!(all_are(&firewall, PeerState::TimeWait), "{}", firewall.dump());
    assert!(firewall.states().iter().all(|state| state.expires_in_s == 90), "tcp.closed");
}

/// As in pf, a reset may be one octet off. The host that it reaches asks back (RFC 5961 §3.2), and goes on: the state is still
/// there to let it.
#[test]
fn a01_a_reset_one_octet_off_cuts_nobody_off() {
    let mut firewall = connected();
    firewall.tell(
        "
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 5000 ack 1101         -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1101 ack 5001          -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 5001 len 100 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack 1201 len 100 -> out em0
        ",
    );
}

/// Numbers that are different at each call, and the same in each run.
fn numbers() -> impl FnMut() -> u32 {
    let mut state = 0x1234_5678_9abc_def1_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    }
}

/// How many there are in a blind flood.
fn blind_resets() -> u32 {
    let large = std::env::var_os("TURNPIKE_LONG").is_some() || !cfg!(debug_assertions);
    if large { 1_000_000 } else { 50_000 }
}

/// As from the server, with one of the ports behind which the firewall hides clients.
fn reset(base: &[u8], port: u16, flags: TcpFlags, seq: u32, ack: u32) -> Vec<u8> {
    let mut frame = base.to_vec();
    frame[L4 + 2..L4 + 4].copy_from_slice(&port.to_be_bytes());
    frame[L4 + 4..L4 + 8].copy_from_slice(&seq.to_be_bytes());
    frame[L4 + 8..L4 + 12].copy_from_slice(&ack.to_be_bytes());
    frame[L4 + 13] = flags.0;
    seal(&mut frame);
    frame
}

const CONNECTIONS: u16 = 1000;

/// Connections of one client to one server, hidden behind one address, and the ports that they have there.
fn masqueraded() -> (Firewall, Vec<u16>) {
    let mut firewall = Firewall::of(WorkerId(0), 1, 4096);
    let nat = pass().outgoing().on("em1").nat_to("10.1.0.1/32", (50_001, 65_535));
    firewall.load(ruleset(vec![block(), pass(), nat]));
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let mut ports = Vec::new();
    for port in 1024..1024 + CONNECTIONS {
        let opened = firewall.pass_on("em0", &format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1000"));
        let hidden =
            opened.split_once("10.1.0.1.").and_then(|(_, rest)| rest.split_once(' ')).expect("a port");
        let hidden: u16 = hidden.0.parse().expect("a port");
        firewall.pass_on("em1", &format!("10.1.0.2.80 > 10.1.0.1.{hidden} tcp SA seq 5000 ack 1001"));
        firewall.pass_on("em0", &format!("10.0.0.2.{port} > 10.1.0.2.80 tcp A seq 1001 ack 5001"));
        ports.push(hidden);
    }
    (firewall, ports)
}

/// Sends frames as from the server, which are all to be dropped.
fn drops_all(firewall: &mut Firewall, frames: impl Iterator<Item = Vec<u8>>) -> u64 {
    let from = Arrival { interface: EM1, source: Source::Wire };
    let (mut sent, mut frames) = (0, frames.peekable());
    while frames.peek().is_some() {
        let mut burst: Vec<Vec<u8>> = frames.by_ref().take(engine::BURST).collect();
        let fates = firewall.decide_burst(from, &mut burst);
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Drop(_))), "{fates:?}");
        sent += fates.len() as u64;
    }
    sent
}

#[test]
fn a02_a_million_blind_resets_close_none_of_a_thousand_connections() {
    let (mut firewall, ports) = masqueraded();
    let before = firewall.dump();
    let base = frame("10.1.0.2.80 > 10.1.0.1.1 tcp R seq 0");
    let (mut next, acked) = (numbers(), TcpFlags::RST.union(TcpFlags::ACK));
    let blind = (0..blind_resets()).map(|number| {
        let port = ports[number as usize % ports.len()];
        let seq = match next() {
            // What would be exact is not blind.
            5000..=5002 => 6000,
            seq => seq,
        };
        let flags = if number / 1000 % 2 == 0 { TcpFlags::RST } else { acked };
        reset(&base, port, flags, seq, next())
    });
    let sent = drops_all(&mut firewall, blind);
    assert_eq!(sent, u64::from(blind_resets()));
    assert_eq!(firewall.dropped(Reason::StateMismatch), sent);
    assert_eq!(firewall.dump(), before);
}

/// ReDAN: whoever tries all ports of the public address learns nothing and removes nothing.
#[test]
fn a02_resets_to_every_port_remove_no_mapping() {
    let (mut firewall, ports) = masqueraded();
    let before = firewall.dump();
    let base = frame("10.1.0.2.80 > 10.1.0.1.1 tcp R seq 0");
    let acked = TcpFlags::RST.union(TcpFlags::ACK);
    for flags in [TcpFlags::RST, acked] {
        drops_all(&mut firewall, (0..=u16::MAX).map(|port| reset(&base, port, flags, 77, 99)));
    }
    assert_eq!(firewall.dump(), before);
    assert_eq!(firewall.dropped(Reason::StateMismatch), 2 * u64::from(CONNECTIONS));
    for (port, hidden) in (1024..).zip(ports) {
        firewall.pass_on("em0", &format!("10.0.0.2.{port} > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 1"));
        firewall.pass_on("em1", &format!("10.1.0.2.80 > 10.1.0.1.{hidden} tcp PA seq 5001 ack 1002 len 1"));
    }
}

/// A number within the window, and an acknowledgment of 0 that must not count as an exact one.
#[test]
fn a03_a_reset_that_acknowledges_0_is_no_perfect_one() {
    let mut firewall = connected();
    let before = firewall.dump();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp RA seq 4294964301 ack 0 -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 905 ack 0        -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1101 win 0 ttl 64
        ",
    );
    assert_eq!(firewall.dump(), before);
}

#[test]
fn a04_a_syn_prepares_no_reset() {
    let mut firewall = connected();
    let before = firewall.dump();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 777777 -> challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1101 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 777777 -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 777778 -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 777777 -> challenge: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1101 ack 5001 win 0 ttl 64
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 777778 -> state-mismatch
        ",
    );
    assert_eq!(firewall.dump(), before);
}

/// The sender has lost what lies between, and knows both sequences.
#[test]
fn a05_a_reset_from_before_a_gap_ends_the_connection() {
    let mut firewall = connected();
    let old = firewall.states()[0].id;
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 4001 ack 5001 len 1000 -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp RA seq 1101 ack 5001          -> out em1
        ",
    );
    assert!(all_are(&firewall, PeerState::TimeWait), "{}", firewall.dump());
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 70000             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 90000 ack 70001  -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 70001 ack 90001   -> out em1
        ",
    );
    assert!(all_are(&firewall, PeerState::Established), "{}", firewall.dump());
    assert_ne!(firewall.states()[0].id, old);
}

#[test]
fn a06_an_inexact_reset_behind_a_fin_passes() {
    let mut firewall = connected();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1101 ack 5001 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1102  -> out em0
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 5100           -> out em0
        ",
    );
    assert_eq!(firewall.dropped(Reason::StateMismatch), 0);
    assert!(all_are(&firewall, PeerState::TimeWait), "{}", firewall.dump());
    // Whoever closed may give up, too; so may both, in whichever order.
    for ends in [
        "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1150             -> out em1",
        "em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 1102   -> out em0
         em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1150             -> out em1",
        "em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 1102   -> out em0
         em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 5050 ack 1102   -> out em0",
    ] {
        let mut firewall = connected();
        firewall.tell(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1101 ack 5001 -> out em1
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1102  -> out em0
            ",
        );
        firewall.tell(ends);
        assert!(all_are(&firewall, PeerState::TimeWait), "{ends}: {}", firewall.dump());
    }
}

/// What an attacker puts in, each of which would end, open or advance the connection if it were sound.
const INSERTED: [&str; 6] = [
    "10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1101",
    "10.0.0.2.40000 > 10.1.0.2.80 tcp RA seq 1101 ack 5001",
    "10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1101 ack 5001",
    "10.0.0.2.40000 > 10.1.0.2.80 tcp FPA seq 1101 ack 5001 len 10",
    "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 777777",
    "10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 5001 len 10",
];

type Flaw = (&'static str, fn(&mut Vec<u8>), Reason);

/// Flaws for which every host discards a packet, and why it is dropped here.
const FLAWS: [Flaw; 9] = [
    ("data offset of 4 words", |frame| frame[L4 + 12] = 4 << 4, Reason::Short),
    ("data offset behind the end", |frame| frame[L4 + 12] = 15 << 4, Reason::BadOffset),
    (
        "total length behind the end",
        |frame| {
            let length = (frame.len() - L3 + 1) as u16;
            frame[L3 + 2..L3 + 4].copy_from_slice(&length.to_be_bytes());
            seal(frame);
        },
        Reason::Short,
    ),
    (
        "total length within the TCP header",
        |frame| {
            frame[L3 + 2..L3 + 4].copy_from_slice(&[0, 39]);
            seal(frame);
        },
        Reason::Short,
    ),
    ("IP header of 4 words", |frame| frame[L3] = 0x44, Reason::Short),
    ("IP version 5", |frame| frame[L3] = 0x55, Reason::Normalize),
    ("wrong IP checksum", |frame| frame[L3 + 10] ^= 0x55, Reason::ProtoCksum),
    ("from itself", |frame| frame.copy_within(L3 + 16..L3 + 20, L3 + 12), Reason::ProtoCksum),
    ("cut off", |frame| frame.truncate(L4 + 19), Reason::Short),
];

fn inserts(firewall: &mut Firewall, mut frame: Vec<u8>) -> Fate {
    firewall.decide(arrival("em0"), &mut frame)
}

#[test]
fn a17_what_a_host_discards_changes_nothing() {
    let mut firewall = connected();
    let before = firewall.dump();
    for (text, (flaw, change, reason)) in
        INSERTED.iter().flat_map(|text| FLAWS.into_iter().map(move |flaw| (text, flaw)))
    {
        let mut frame = frame(text);
        change(&mut frame);
        assert_eq!(inserts(&mut firewall, frame), Fate::Drop(reason), "{flaw}: {text}");
        assert_eq!(firewall.dump(), before, "{flaw}: {text}");
    }
    // Of what ends a connection the TCP checksum counts too. A SYN ends none, and one that is damaged is not even answered.
    for (text, reason) in
        INSERTED[..5].iter().zip([[Reason::ProtoCksum; 4].as_slice(), &[Reason::Challenge]].concat())
    {
        let mut frame = frame(text);
        frame[L4 + 16] ^= 0x55;
        assert_eq!(inserts(&mut firewall, frame), Fate::Drop(reason), "{text}");
        assert_eq!(firewall.dump(), before, "wrong TCP checksum: {text}");
    }
    // Acknowledgments of what was never sent, and segments that acknowledge nothing.
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1101 ack 500000         -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 500000 len 10  -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 4294000000 len 10 -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp F seq 1101                     -> normalize
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp P seq 1101 len 10              -> normalize
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp - seq 1101 len 10              -> normalize
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp U seq 1101 len 10              -> normalize
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp SR seq 1101                    -> normalize
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 60000 ack 5001          -> state-mismatch
        ",
    );
    assert_eq!(firewall.dump(), before);
    // Without their flaws they are heard.
    for text in [INSERTED[5], "10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1111 ack 5001"] {
        assert_eq!(inserts(&mut firewall, frame(text)), Fate::Transmit(EM1), "{text}");
    }
    assert!(firewall.states().iter().all(|state| state.source.state == PeerState::Closing));
    assert_eq!(
        inserts(&mut firewall, frame("10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1112")),
        Fate::Transmit(EM1)
    );
    assert!(all_are(&firewall, PeerState::TimeWait));
}

/// The state may be the second hook's alone, behind one that has changed the packet already.
#[test]
fn a17_damaged_ends_do_not_pass_behind_a_rule_that_changes_packets() {
    let changing = pass().incoming().no_state().change(|rule| rule.scrub.min_ttl = 2);
    let mut firewall = Firewall::with(vec![pass().outgoing(), changing]);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1");
    let before = firewall.dump();
    let mut reset = frame("10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001");
    let whole = reset.clone();
    reset[L4 + 16] ^= 0x55;
    assert_eq!(inserts(&mut firewall, reset), Fate::Drop(Reason::ProtoCksum));
    assert_eq!(firewall.dump(), before);
    assert_eq!(inserts(&mut firewall, whole), Fate::Transmit(EM1));
    assert_ne!(firewall.dump(), before);
}

/// What a host with a checksum offload sent over a virtual link is not damaged: nobody has completed it.
#[test]
fn a17_a_checksum_that_nobody_has_completed_is_no_flaw() {
    let mut firewall = connected();
    let mut closing = frame(INSERTED[2]);
    let pseudo = wire::checksum::Pseudo::V4("10.0.0.2".parse().unwrap(), "10.1.0.2".parse().unwrap());
    let partial = pseudo.sum(wire::Proto::TCP, 20).checksum();
    closing[L4 + 16..L4 + 18].copy_from_slice(&partial.0.map(|octet| !octet));
    assert_eq!(inserts(&mut firewall, closing), Fate::Transmit(EM1));
    assert!(firewall.states().iter().all(|state| state.source.state == PeerState::Closing));
}

/// Data is not summed. What is inserted so moves the numbers of its sender only, within the window that was opened for it: the
/// connection goes on.
#[test]
fn a17_damaged_data_cuts_nobody_off() {
    let mut firewall = connected();
    let mut damaged = frame("10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 5101 ack 5001 len 1000");
    damaged[L4 + 16] ^= 0x55;
    assert_eq!(inserts(&mut firewall, damaged), Fate::Transmit(EM1));
    assert!(all_are(&firewall, PeerState::Established));
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 5001 len 1000 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack 2101 len 1000 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 2101 ack 6001 len 1000 -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp RA seq 3101 ack 6001          -> out em1
        ",
    );
}

/// A host that has no key for it discards a segment with a signature (RFC 2385), and the firewall cannot know who has: a reset
/// with one counts. The state stays for the rest of `tcp.closed`, so that the hosts can go on.
#[test]
fn a17_a_signed_reset_cuts_nobody_off() {
    let mut firewall = connected();
    let mut signed = frame(INSERTED[0]);
    signed.extend([1, 1, 19, 18]);
    signed.extend([0x77; 16]);
    signed[L3 + 2..L3 + 4].copy_from_slice(&60_u16.to_be_bytes());
    signed[L4 + 12] = 10 << 4;
    seal(&mut signed);
    assert_eq!(inserts(&mut firewall, signed), Fate::Transmit(EM1));
    let closed = Timeout::TcpClosed.default_value();
    for _ in 0..3 {
        firewall.wait(u64::from(closed) - 1).tell(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1101 ack 5001 len 10 -> out em1
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1111         -> out em0
            ",
        );
    }
}
