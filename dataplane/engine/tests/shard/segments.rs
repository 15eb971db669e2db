//! Honest TCP, and what looks like it (reliability A7 to A10, A12 to A16, A18, A20): handshakes of every kind, old segments,
//! window scaling, pick-up, probes, flags, and the time-outs of all protocols.

use crate::firewall::packet::{Packet, seal};
use crate::firewall::rules::{Written, block, block_return, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Created, Fate, Tick};
use ruleset::{PeerState, Reason, Timeout};
use wire::Proto;

/// Where the IP and the TCP header of a plain frame begin.
const L3: usize = 14;
const L4: usize = L3 + 20;

const HANDSHAKE: &str = "
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000           -> out em1
    em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001  -> out em1
";

fn strict() -> Firewall {
    Firewall::with(vec![block(), pass()])
}

fn connected() -> Firewall {
    let mut firewall = strict();
    firewall.tell(HANDSHAKE);
    firewall
}

fn all_are(firewall: &Firewall, state: PeerState) -> bool {
    let states = firewall.states();
    states.len() == 2
        && states.iter().all(|both| both.source.state == state && both.destination.state == state)
}

/// Every state, but for what the clock changes.
fn timeless(firewall: &Firewall) -> String {
    let mut states = firewall.states();
    for state in &mut states {
        (state.age_s, state.expires_in_s) = (0, 0);
    }
    states.iter().map(|state| format!("{state:#}\n")).collect()
}

fn frame(text: &str) -> Vec<u8> {
    Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1))
}

#[test]
fn a07_an_end_is_challenged_once_in_half_a_second_however_many_syns_come() {
    let mut firewall = connected();
    let before = timeless(&firewall);
    let syn = frame("10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000000");
    let expected = "challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1000 win 0 ttl 64";
    for _ in 0..20 {
        assert_eq!(firewall.send("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000000"), expected);
        for _ in 1..500 {
            let fate = firewall.decide(arrival("em0"), &mut syn.clone());
            assert_eq!(fate, Fate::Drop(Reason::Challenge));
        }
        firewall.now = firewall.now + Tick::from_millis(500);
    }
    assert_eq!(timeless(&firewall), before);
    // Each one was a drop, and twenty of them were made into an answer: no frame is left over.
    let counters = firewall.shard.counters();
    assert_eq!((counters.dropped(Reason::Challenge), counters.created(Created::Rst)), (10_000, 20));
    assert_eq!(counters.dropped_in_all(), 10_000);
}

#[test]
fn a07_the_other_end_and_other_connections_are_challenged_all_the_same() {
    let mut firewall = connected();
    firewall.tell(&HANDSHAKE.replace("40000", "40001"));
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 7 -> challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1000 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 7 -> challenge
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 7 -> challenge: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1000 ack 5001 win 0 ttl 64
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 7 -> challenge: 10.1.0.2.80 > 10.0.0.2.40001 tcp A seq 5001 ack 1000 win 0 ttl 64
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 7 -> challenge
        ",
    );
}

/// The server still has the connection that the client has forgotten. Its answer fits nothing; it is reset in the client's name,
/// as in pf, and the SYN that is sent again finds the port free.
#[test]
fn a08_a_connection_begins_where_the_server_remembers_an_older_one() {
    let mut firewall = strict();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 700 ack 500000   -> state-mismatch: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 500000 ack 0 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 9000 ack 1001   -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 9001    -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 9001 ack 1001 len 100 -> out em0
        ",
    );
    assert!(all_are(&firewall, PeerState::Established), "{}", firewall.dump());
}

#[test]
fn a09_a_syn_replaces_a_connection_that_is_over_within_one_packet() {
    let mut firewall = connected();
    let old = firewall.states()[0].id;
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1001 ack 5001 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 1002 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1002 ack 5002  -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 200000         -> out em1
        ",
    );
    let states = firewall.states();
    assert!(states.len() == 2 && states.iter().all(|state| state.source.seqlo == 200_000 && state.id != old));
    // An answer to the older one is refused, and does not end the new one.
    firewall.tell(
        "
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001     -> state-mismatch: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001 ack 0 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 200000             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 90000 ack 200001  -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 200001 ack 90001   -> out em1
        ",
    );
    assert!(all_are(&firewall, PeerState::Established), "{}", firewall.dump());
}

/// One end is gone: its SYN is challenged, it resets what it does not know, and its next SYN is welcome.
#[test]
fn a09_a_host_that_has_lost_its_connection_begins_anew_behind_the_challenge() {
    let mut firewall = connected();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1001 ack 5001    -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 200000            -> challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1002 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1002              -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 200000            -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 90000 ack 200001 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 200001 ack 90001  -> out em1
        ",
    );
    assert!(all_are(&firewall, PeerState::Established), "{}", firewall.dump());
}

/// Its acknowledgments were lost, so the sender begins again far behind what the firewall has seen acknowledged.
#[test]
fn a10_a_retransmission_from_far_below_the_window_passes() {
    let mut firewall = strict();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 65535 ws 7              -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 65535 ws 7    -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 win 8192           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 win 8192           -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 68036 ack 5001 win 8192 len 1000 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 69036 win 8192          -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 win 8192 len 1000 -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 69036 ack 5001 win 8192 len 1000 -> out em1
        ",
    );
    assert_eq!(firewall.dropped(Reason::StateMismatch), 0);
}

#[test]
fn a12_windows_are_scaled_only_if_both_syns_say_so_and_by_14_at_most() {
    // The options of the two SYNs and of the ACK behind them, and the window that the server then has.
    for (client, server, later, window) in [
        ("win 8192 ws 7", "win 8192", "win 8192", 8192),
        ("win 8192", "win 8192 ws 7", "win 8192", 8192),
        ("win 8192", "win 8192", "win 8192 ws 7", 8192),
        ("win 8192 ws 7", "win 8192 ws 7", "win 100", 12_800),
        ("win 65535 ws 15", "win 65535 ws 15", "win 5", 81_920),
        ("win 65535 ws 14", "win 65535 ws 14", "win 5", 81_920),
    ] {
        let mut firewall = strict();
        let last = 5001 + window - 100;
        firewall.tell(&format!(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 {client}              -> out em1
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 {server}    -> out em0
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 {later}      -> out em1
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq {last} ack 1001 len 101   -> state-mismatch
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq {last} ack 1001 len 100   -> out em0
            "
        ));
    }
}

#[test]
fn a13_a_stream_in_its_middle_is_blocked_unless_the_rules_take_it_up() {
    strict().tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1000 ack 9000 len 10  -> match
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 9000 ack 1000         -> match
        ",
    );
    // By its flags alone nothing stalls, however large the windows are that nobody told of.
    let mut sloppy = Firewall::with(vec![block(), pass().any_flags().sloppy()]);
    sloppy.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1000 ack 9000 win 100 len 10      -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 9000 ack 1010 win 100 len 1000    -> out em0
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 900000 ack 1010 win 100 len 1000  -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1010 ack 901000 win 100 len 10    -> out em1
        ",
    );
    assert_eq!(sloppy.dropped(Reason::StateMismatch), 0);
    // By its numbers it passes within what is certain: no scale is made up, and as in pf none is ever learnt.
    let mut taken_up = Firewall::with(vec![block(), pass().any_flags()]);
    taken_up.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1000 ack 9000 win 8000 len 10     -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 9000 ack 1010 win 8000 len 1000   -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1010 ack 10000 win 8000            -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 17000 ack 1010 win 8000 len 1000  -> out em0
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 18000 ack 1010 win 8000 len 1     -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1010 ack 18000 win 8000            -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 18000 ack 1010 win 8000 len 1     -> out em0
        ",
    );
    assert!(!taken_up.dump().contains("wscale"), "{}", taken_up.dump());
}

/// RFC 9293 §3.5, figure 8.
#[test]
fn a14_both_ends_may_begin_at_once() {
    let mut firewall = strict();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 9000             -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp SA seq 1000 ack 9001   -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 9000 ack 1001   -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 9001 len 10 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 9001 ack 1011 len 10 -> out em0
        ",
    );
    assert!(all_are(&firewall, PeerState::Established), "{}", firewall.dump());
}

/// A server that answers a SYN with a SYN of its own makes the client the one that answers. The state stays that of the client,
/// whose rule made it: in four segments and in five.
#[test]
fn a14_a_split_handshake_does_not_turn_its_connection_round() {
    for answers in [
        "em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 9000 -> out em0",
        "em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 9000 ack 1001 -> out em0
         em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 9000 -> out em0",
    ] {
        let mut firewall =
            Firewall::with(vec![block(), pass().incoming().on("em0"), pass().outgoing().on("em1")]);
        firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1").tell(answers).tell(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp SA seq 1000 ack 9001   -> out em1
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 9001 ack 1001    -> out em0
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 9001 ack 1001 len 10 -> out em0
            em1: 10.1.0.2.80 > 10.0.0.2.40001 tcp S seq 1                -> match
            ",
        );
        assert_eq!(
            firewall.lines(),
            [
                "all tcp 10.0.0.2:40000 -> 10.1.0.2:80       ESTABLISHED:ESTABLISHED",
                "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
            ],
            "{answers}"
        );
    }
}

#[test]
fn a15_probes_keep_alives_urgent_data_and_repeated_fins_pass() {
    // The window that was announced first is used up, the next probe is one octet beyond.
    let mut firewall = connected();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 8193 ack 5001 len 1000       -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 9193 win 0           -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 9193 ack 5001 len 2          -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 9193 ack 5001 len 1           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 9193 win 0           -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 9193 ack 5001 len 1           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 9194 win 8192        -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 9193 ack 5001                 -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 9193 ack 5001 len 1           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5000 ack 9194                 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PAU seq 9194 ack 5001 len 1         -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 9195 ack 5001                -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 9195 ack 5001                -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 9196                -> out em0
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 9196                -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 9196 ack 5002                 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 9196                -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 9196 ack 5002                 -> out em1
        ",
    );
    assert!(all_are(&firewall, PeerState::FinWait2), "{}", firewall.dump());
}

/// An hour of silence behind one FIN is more than pf's `tcp.closing` of a quarter of it, which can be set.
#[test]
fn a15_a_half_closed_connection_is_silent_as_long_as_tcp_closing_says() {
    let half_closed = "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1001 ack 5001 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1002  -> out em0
    ";
    let data = |fate| format!("em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack 1002 len 10 -> {fate}");
    connected().tell(half_closed).wait(899).tell(&data("out em0"));
    connected().tell(half_closed).wait(900).tell(&data("match"));
    let mut patient = Firewall::with(vec![block(), pass().timeout(Timeout::TcpClosing, 7440)]);
    patient.tell(HANDSHAKE).tell(half_closed).wait(3600).tell(&data("out em0"));
}

/// What is sent, and the time-out that holds then: exactly so many seconds, of each of the two states.
#[test]
fn a15_every_time_out_is_pfs_to_the_second() {
    let syn = "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1\n";
    let answered = format!("{syn}em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0\n");
    let fin = format!("{HANDSHAKE}\nem0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1001 ack 5001 -> out em1\n");
    let fins = format!("{fin}em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5001 ack 1002 -> out em0\n");
    let over = format!("{fins}em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1002 ack 5002 -> out em1\n");
    let reset = format!("{HANDSHAKE}\nem0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001 -> out em1\n");
    let udp = "em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1\n";
    let gre = "em0: 10.0.0.2 > 10.1.0.2 proto 47 len 20 -> out em1\n";
    let ping = "em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 7 -> out em1\n";
    let back = |one: &str| {
        format!(
            "{one}em1: 10.1.0.2{} -> out em0\n",
            if one == udp { ".53 > 10.0.0.2.1 udp" } else { " > 10.0.0.2 proto 47 len 20" }
        )
    };
    for (timeout, seconds, story) in [
        (Timeout::TcpFirst, 120, syn.to_owned()),
        (Timeout::TcpOpening, 30, answered),
        (Timeout::TcpEstablished, 86_400, HANDSHAKE.to_owned()),
        (Timeout::TcpClosing, 900, fin),
        (Timeout::TcpFinwait, 45, fins),
        (Timeout::TcpClosed, 90, over),
        (Timeout::TcpClosed, 90, reset),
        (Timeout::UdpFirst, 60, udp.to_owned()),
        (Timeout::UdpSingle, 30, format!("{udp}{udp}")),
        (Timeout::UdpMultiple, 60, format!("{}{udp}", back(udp))),
        (Timeout::OtherFirst, 60, gre.to_owned()),
        (Timeout::OtherSingle, 30, format!("{gre}{gre}")),
        (Timeout::OtherMultiple, 60, format!("{}{gre}", back(gre))),
        (Timeout::IcmpFirst, 20, ping.to_owned()),
        (Timeout::IcmpError, 10, format!("{ping}em1: 10.1.0.2 > 10.0.0.2 icmp 0/0 id 7 -> out em0")),
    ] {
        let mut firewall = Firewall::with(vec![block(), pass().any_flags()]);
        firewall.tell(&story);
        assert_eq!(firewall.shard.states(), 2, "{timeout}");
        assert!(firewall.states().iter().all(|state| state.expires_in_s == seconds), "{}", firewall.dump());
        assert_eq!(firewall.wait(u64::from(seconds) - 1).sweep(), 0, "{timeout}: a second before");
        assert_eq!(firewall.wait(1).sweep(), 2, "{timeout}: when it is over");
    }
}

#[test]
fn a16_flags_that_no_stack_sends_are_dropped_without_an_answer() {
    let illegal = ["-", "F", "P", "U", "FPU", "FU", "SR", "SRA", "SFR", "SFPUAR"];
    for rules in [vec![block_return()], vec![pass().any_flags()]] {
        let mut firewall = Firewall::with(rules);
        for (port, flags) in (1..).zip(illegal) {
            let told = firewall.send("em0", &format!("10.0.0.2.{port} > 10.1.0.2.80 tcp {flags} seq 1000"));
            assert_eq!(told, "normalize", "{flags}");
        }
        assert_eq!(firewall.dropped(Reason::Normalize), illegal.len() as u64);
        assert_eq!((firewall.shard.states(), firewall.shard.counters().created(Created::Rst)), (0, 0));
    }
    // As pf, a SYN that also closes only opens.
    let mut firewall = strict();
    let mut both = frame("10.0.0.2.40000 > 10.1.0.2.80 tcp SF seq 1000");
    assert_eq!(firewall.decide(arrival("em0"), &mut both), Fate::Transmit(EM1));
    assert_eq!(both[L4 + 13], wire::TcpFlags::SYN.0);
    assert_eq!(firewall.states()[0].source.seqhi, 1002, "the FIN has no number");
}

/// As pf clears them: reserved bits, but for the one that is in use, and an urgent pointer without URG, on first packets and on those
/// that follow, whichever way they go. What means something stays.
#[test]
fn a16_bits_that_mean_nothing_are_cleared() {
    let story = [
        ("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ws 3"),
        ("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 ws 3"),
        ("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001"),
        ("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10"),
        ("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack 1011 len 10"),
        ("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1011 ack 5011 len 10"),
        ("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5011 ack 1021"),
    ];
    let of = |interface: &str, text: &str| {
        let own = arrival(interface).interface;
        Packet::parse(text).frame(mac(own, 2), mac(own, 1))
    };
    // Reserved bits, urgent pointer, further flags: what is sent, and what of it leaves.
    for (sent, left) in [
        ((0x0e, 0, 0), (0, 0, 0)),
        ((0x0f, 0, 0), (1, 0, 0)),
        ((0, 513, 0), (0, 0, 0)),
        ((4, 1, wire::TcpFlags::URG.0), (0, 1, wire::TcpFlags::URG.0)),
        ((1, 0, wire::TcpFlags::ECE.0), (1, 0, wire::TcpFlags::ECE.0)),
    ] {
        let (mut firewall, mut other) = (strict(), strict());
        for (interface, text) in story {
            let with = |(reserved, urgent, flags): (u8, u16, u8)| {
                let mut frame = of(interface, text);
                // URG without ACK is refused.
                let flags = if text.contains("tcp S ") { flags & !wire::TcpFlags::URG.0 } else { flags };
                let urgent =
                    if flags & wire::TcpFlags::URG.0 == left.2 & wire::TcpFlags::URG.0 { urgent } else { 0 };
                frame[L4 + 12] |= reserved;
                frame[L4 + 13] |= flags;
                frame[L4 + 18..L4 + 20].copy_from_slice(&urgent.to_be_bytes());
                seal(&mut frame);
                frame
            };
            let (mut strayed, mut clean) = (with(sent), with(left));
            let fate = firewall.decide(arrival(interface), &mut strayed);
            assert!(matches!(fate, Fate::Transmit(_)), "{text}: {fate:?}");
            assert_eq!(fate, other.decide(arrival(interface), &mut clean));
            assert_eq!(strayed, clean, "{text}: {sent:?}");
        }
        assert_eq!(timeless(&firewall), timeless(&other));
    }
}

/// RFC 3168 §6.1.1, and the third bit of Accurate ECN (RFC 9768 §3.1.1), which is the last one before the flags.
#[test]
fn a16_ecn_is_negotiated_and_used_through_the_firewall() {
    let mut firewall = strict();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp SEW seq 1000                      -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SAE seq 5000 ack 1001             -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PAW seq 1001 ack 5001 len 10 tos 2 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp AE seq 5001 ack 1011 tos 3        -> out em0
        ",
    );
    assert!(all_are(&firewall, PeerState::Established));
    let mut accurate = strict();
    let mut syn = frame("10.0.0.2.40000 > 10.1.0.2.80 tcp SEW seq 1000");
    syn[L4 + 12] |= 1;
    seal(&mut syn);
    let sent = syn.clone();
    assert_eq!(accurate.decide(arrival("em0"), &mut syn), Fate::Transmit(EM1));
    assert_eq!(syn[L4..], sent[L4..], "as it came");
}

/// A header that reaches beyond its segment leaves no payload, and not one of 2^32 octets less a few.
#[test]
fn a18_a_data_offset_beyond_the_segment_is_refused() {
    let mut firewall = connected();
    firewall.tell("em0: 2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1000 -> out em1");
    let before = firewall.dump();
    for (text, l4) in [
        ("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001", L4),
        ("10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001", L4),
        ("10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1001", L4),
        ("2001:db8::2.40000 > 2001:db8:1::2.80 tcp R seq 1001", L3 + 40),
        ("2001:db8::2.40001 > 2001:db8:1::2.80 tcp S seq 1001", L3 + 40),
    ] {
        for (words, reason) in
            [(15, Reason::BadOffset), (6, Reason::BadOffset), (4, Reason::Short), (0, Reason::Short)]
        {
            let mut frame = frame(text);
            frame[l4 + 12] = words << 4;
            if l4 == L4 {
                seal(&mut frame);
            }
            assert_eq!(firewall.decide(arrival("em0"), &mut frame), Fate::Drop(reason), "{words}: {text}");
        }
    }
    assert_eq!(firewall.dump(), before);
}

/// RFC 7413: data on the SYN, and on the SYN|ACK, counts in the windows.
#[test]
fn a20_data_on_a_syn_passes_and_counts() {
    let mut firewall = strict();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 len 500                 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1501 len 800       -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1501 ack 5801                -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 9593 ack 5801 len 101       -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 9593 ack 5801 len 100       -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 13893 ack 1501 len 101      -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 13893 ack 1501 len 100      -> out em0
        ",
    );
    assert_eq!(firewall.states()[0].proto, Proto::TCP);
    // A cookie that is not accepted: the data comes again.
    strict().tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 len 500                 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001               -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 500       -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1501                -> out em0
        ",
    );
}

/// The rules of this file, and those with time-outs, are what they look like.
#[test]
fn a13_rules_that_ask_for_a_syn_take_no_other_segment() {
    let mut firewall = Firewall::bare();
    firewall.load(ruleset(vec![block(), pass()]));
    for flags in ["A", "PA", "FA", "R", "RA", "SA"] {
        assert_eq!(
            firewall.send("em0", &format!("10.0.0.2.1 > 10.1.0.2.80 tcp {flags} seq 1 ack 1")),
            "match"
        );
    }
    assert_eq!(firewall.send("em0", "10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1"), "out em1");
}
