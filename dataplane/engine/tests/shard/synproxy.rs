//! Whole packets through a shard that completes handshakes for servers (pf.conf(5) `synproxy state`).

use crate::firewall::packet::{Packet, number_behind};
use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{EM0, Firewall, arrival, bridged, mac};
use engine::fib::NonIpPolicy;
use engine::{Created, Root};
use ruleset::{PeerState, Reason, Rule};
use wire::Proto;

fn next(seq: u32) -> u32 {
    seq.wrapping_add(1)
}

fn proxying() -> Vec<Rule> {
    vec![block(), pass().incoming().synproxy(), pass().outgoing()]
}

/// The numbers of a connection whose two handshakes are complete: what the client was told, and what the server was.
struct Told {
    client: u32,
    server: u32,
}

/// Where the two ends are, and as whom the client knows the server.
struct Ends {
    near: &'static str,
    far: &'static str,
    client: &'static str,
    public: &'static str,
    server: &'static str,
}

const FORWARDED: Ends =
    Ends { near: "em0", far: "em1", client: "10.0.0.2.40000", public: "10.1.0.2.80", server: "10.1.0.2.80" };

/// Both handshakes, with the client's number 1000 and the server's 5000.
fn join(firewall: &mut Firewall, ends: &Ends) -> Told {
    let Ends { near, far, client, public, server } = ends;
    let (told, beside) = firewall.shake(near, &format!("{client} > {public} tcp S seq 1000 mss 1400 ws 7"));
    let isn = number_behind("seq", &told);
    assert_eq!(told, format!("{near}: {public} > {client} tcp SA seq {isn} ack 1001 win 0 mss 1400 ttl 64"));
    assert!(beside.is_empty());
    let ack = format!("{client} > {public} tcp A seq 1001 ack {} win 300", next(isn));
    let (syn, beside) = firewall.shake(near, &ack);
    let asked = number_behind("seq", &syn);
    assert_eq!(syn, format!("{far}: {client} > {server} tcp S seq {asked} ack 0 win 0 mss 1400 ttl 63"));
    assert!(beside.is_empty());
    let answer = format!("{server} > {client} tcp SA seq 5000 ack {} win 600 mss 1460 ws 8", next(asked));
    let (opened, beside) = firewall.shake(far, &answer);
    let expected = format!("{near}: {public} > {client} tcp A seq {} ack 1001 win 600 ttl 63", next(isn));
    assert_eq!(opened, expected);
    let acknowledged =
        format!("{far}: {client} > {server} tcp A seq {} ack 5001 win 300 ttl 64", next(asked));
    assert_eq!(beside, [acknowledged]);
    Told { client: isn, server: asked }
}

/// Data both ways, in the numbers of each end.
fn speak(firewall: &mut Firewall, ends: &Ends, told: &Told) {
    let Ends { near, far, client, public, server } = ends;
    for round in 0..3 {
        let (sent, got) = (1001 + 100 * round, 5001 + 200 * round);
        let (for_server, for_client) =
            (next(told.server).wrapping_add(100 * round), next(told.client).wrapping_add(200 * round));
        let said = format!("{client} > {public} tcp PA seq {sent} ack {for_client} win 200 len 100");
        let heard = format!("{client} > {server} tcp PA seq {for_server} ack {got} win 200 len 100");
        assert_eq!(firewall.turn(near, &said, &heard), format!("out {far}"));
        let for_server = for_server.wrapping_add(100);
        let said = format!("{server} > {client} tcp PA seq {got} ack {for_server} win 200 len 200");
        let heard = format!("{public} > {client} tcp PA seq {for_client} ack {} win 200 len 200", sent + 100);
        assert_eq!(firewall.turn(far, &said, &heard), format!("out {near}"));
    }
}

#[test]
fn a19_both_handshakes_are_completed_and_the_ends_speak_in_their_own_numbers() {
    let mut firewall = Firewall::with(proxying());
    let told = join(&mut firewall, &FORWARDED);
    let states = firewall.states();
    assert_eq!(states.len(), 2, "{}", firewall.dump());
    for state in &states {
        let ends = (state.source.state, state.destination.state);
        assert_eq!(ends, (PeerState::Established, PeerState::Established), "{}", firewall.dump());
        assert!(state.expires_in_s > 80_000, "{state:#}");
        assert_eq!((state.source.wscale, state.destination.wscale), (None, None));
    }
    assert!(firewall.dump().contains("](+"), "{}", firewall.dump());
    speak(&mut firewall, &FORWARDED, &told);
    let reset = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp R seq {}", 5601);
    let heard = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp R seq {}", next(told.client).wrapping_add(600));
    assert_eq!(firewall.turn("em1", &reset, &heard), "out em0");
    assert!(firewall.states().iter().all(|state| state.source.state == PeerState::TimeWait));
    // Every packet of the handshakes is a drop and one that was made, and the server got one besides.
    assert_eq!(firewall.dropped(Reason::Synproxy), 3);
    assert_eq!(firewall.shard.counters().created(Created::Handshake), 4);
}

#[test]
fn nothing_reaches_the_server_before_the_client_has_answered() {
    let mut firewall = Firewall::with(proxying());
    let (told, _) = firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    assert!(told.contains("win 0 mss 536 ttl"), "what a client that says nothing takes: {told}");
    assert_eq!(firewall.lines(), ["all tcp 10.1.0.2:80 <- 10.0.0.2:40000       PROXY:SRC"]);
    let before = firewall.dump();
    let isn = number_behind("seq", &told);
    for wrong in [
        "S seq 2000".to_owned(),
        format!("A seq 1001 ack {isn}"),
        format!("PA seq 1002 ack {} len 9", next(isn)),
        "R seq 1000".to_owned(),
        format!("A seq 1001 ack {} len 1 bad-sum", next(isn)),
        format!("FA seq 1001 ack {}", next(isn)),
    ] {
        let (became, beside) = firewall.shake("em0", &format!("10.0.0.2.40000 > 10.1.0.2.80 tcp {wrong}"));
        assert!(["synproxy", "proto-cksum"].contains(&became.as_str()), "{wrong}: {became}");
        assert!(beside.is_empty());
    }
    assert_eq!(firewall.send("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 1 ack 2"), "match");
    assert_eq!(firewall.dump(), before, "and none of it changed anything");
    let (again, _) = firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    assert_eq!(again, told);
    firewall.wait(121);
    assert_eq!(firewall.sweep(), 1, "tcp.first");
}

#[test]
fn a_syn_with_a_damaged_checksum_is_not_answered_and_makes_no_state() {
    let mut firewall = Firewall::with(proxying());
    assert_eq!(
        firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 len 1 bad-sum").0,
        "proto-cksum"
    );
    assert_eq!(firewall.shard.states(), 0);
}

/// A19. The client's probes of its closed window have a lost SYN repeated.
#[test]
fn a19_the_loss_of_any_packet_of_the_handshakes_is_made_good() {
    let mut firewall = Firewall::with(proxying());
    let (told, _) = firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    let isn = number_behind("seq", &told);
    let (syn, _) =
        firewall.shake("em0", &format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack {}", next(isn)));
    for seq in [1001, 1000] {
        let probe = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq {seq} ack {}", next(isn));
        assert_eq!(firewall.shake("em0", &probe), (syn.clone(), vec![]));
    }
    assert_eq!(firewall.shard.states(), 2);
    let asked = number_behind("seq", &syn);
    let answer = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack {}", next(asked));
    let (_, beside) = firewall.shake("em1", &answer);
    assert_eq!(beside.len(), 1);
    // The server has not heard that: it answers again, and the client acknowledges.
    let heard = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq {isn} ack 1001");
    assert_eq!(firewall.turn("em1", &answer, &heard), "out em0");
    speak(&mut firewall, &FORWARDED, &Told { client: isn, server: asked });
}

#[test]
fn a_server_that_refuses_has_the_client_told() {
    let mut firewall = Firewall::with(proxying());
    let (told, _) = firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    let isn = number_behind("seq", &told);
    let (syn, _) =
        firewall.shake("em0", &format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack {}", next(isn)));
    let asked = number_behind("seq", &syn);
    let refusal = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 0 ack {} win 0", next(asked));
    let (reset, beside) = firewall.shake("em1", &refusal);
    let expected = format!("em0: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq {} ack 0 win 0 ttl 63", next(isn));
    assert_eq!((reset, beside), (expected, vec![]));
    assert!(
        firewall.states().iter().all(|state| state.source.state == PeerState::TimeWait),
        "{}",
        firewall.dump()
    );
    // The same ports are free again.
    join(&mut firewall, &FORWARDED);
}

#[test]
fn a_client_that_gives_up_leaves_nothing_alive() {
    let mut firewall = Firewall::with(proxying());
    firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    assert_eq!(firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001").0, "synproxy");
    assert_eq!(firewall.states()[0].source.state, PeerState::TimeWait);
    join(&mut firewall, &FORWARDED);
}

#[test]
fn the_server_behind_a_redirection_is_spared_too() {
    let ends = Ends { public: "192.0.2.80.80", server: "10.1.0.2.8080", ..FORWARDED };
    for outgoing in [pass().outgoing(), pass().outgoing().modulate()] {
        let rules = vec![
            block(),
            pass()
                .incoming()
                .proto(Proto::TCP)
                .to("192.0.2.80")
                .rdr_to("10.1.0.2", Some((8080, 8080)))
                .synproxy(),
            outgoing,
        ];
        let mut firewall = Firewall::with(rules);
        let told = join(&mut firewall, &ends);
        assert_eq!(firewall.states().len(), 2, "{}", firewall.dump());
        speak(&mut firewall, &ends, &told);
    }
}

#[test]
fn sloppy_and_strict_states_of_a_redirection_find_each_other() {
    let rules = vec![
        block(),
        pass().incoming().proto(Proto::TCP).to("192.0.2.80").rdr_to("10.1.0.2", Some((8080, 8080))).sloppy(),
        pass().outgoing(),
    ];
    Firewall::with(rules).tell(
        "
        em0: 10.0.0.2.40000 > 192.0.2.80.80 tcp S seq 1000 -> out em1 as 10.0.0.2.40000 > 10.1.0.2.8080 tcp S seq 1000
        em1: 10.1.0.2.8080 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0 as 192.0.2.80.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001
        em0: 10.0.0.2.40000 > 192.0.2.80.80 tcp A seq 1001 ack 5001 -> out em1 as 10.0.0.2.40000 > 10.1.0.2.8080 tcp A seq 1001 ack 5001
        ",
    );
}

#[test]
fn the_host_itself_is_spared_too() {
    let mut firewall = Firewall::with(proxying());
    let (told, _) = firewall.shake("em0", "10.0.0.2.40000 > 10.0.0.1.22 tcp S seq 1000");
    let isn = number_behind("seq", &told);
    let (syn, _) = firewall
        .shake("em0", &format!("10.0.0.2.40000 > 10.0.0.1.22 tcp A seq 1001 ack {} win 300", next(isn)));
    let asked = number_behind("seq", &syn);
    assert_eq!(
        syn,
        format!("host em0: 10.0.0.2.40000 > 10.0.0.1.22 tcp S seq {asked} ack 0 win 0 mss 536 ttl 64")
    );
    let answer = format!("10.0.0.1.22 > 10.0.0.2.40000 tcp SA seq 5000 ack {} win 600", next(asked));
    let (opened, beside) = firewall.shake("em0 host", &answer);
    assert_eq!(
        opened,
        format!("em0: 10.0.0.1.22 > 10.0.0.2.40000 tcp A seq {} ack 1001 win 600 ttl 64", next(isn))
    );
    let told_host =
        format!("host em0: 10.0.0.2.40000 > 10.0.0.1.22 tcp A seq {} ack 5001 win 300 ttl 64", next(asked));
    assert_eq!(beside, [told_host]);
    assert_eq!(firewall.shard.states(), 1);
}

#[test]
fn over_ipv6_clients_that_say_nothing_take_1220_octets() {
    let mut firewall = Firewall::with(proxying());
    let (told, _) = firewall.shake("em0", "2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1000");
    assert!(told.starts_with("em0: 2001:db8:1::2.80 > 2001:db8::2.40000 tcp SA seq"), "{told}");
    assert!(told.contains("ack 1001 win 0 mss 1220 ttl 64"), "{told}");
    let isn = number_behind("seq", &told);
    let ack = format!("2001:db8::2.40000 > 2001:db8:1::2.80 tcp A seq 1001 ack {}", next(isn));
    let (syn, _) = firewall.shake("em0", &ack);
    assert!(syn.starts_with("em1: 2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq"), "{syn}");
}

#[test]
fn segments_are_no_larger_than_the_clients_link() {
    let mut firewall = Firewall::with(proxying());
    let (told, _) = firewall.shake("em2", "10.2.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 mss 9000");
    assert!(told.contains(" mss 560 "), "em2 takes 600: {told}");
}

#[test]
fn a_server_that_rules_keep_it_from_is_not_asked() {
    let mut firewall = Firewall::with(vec![pass().incoming().synproxy(), block().outgoing()]);
    let (told, _) = firewall.shake("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    let isn = number_behind("seq", &told);
    let ack = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack {}", next(isn));
    assert_eq!(firewall.shake("em0", &ack), ("match".into(), vec![]));
    assert_eq!(firewall.lines(), ["all tcp 10.1.0.2:80 <- 10.0.0.2:40000       PROXY:SRC"]);
}

#[test]
fn what_leaves_or_does_not_begin_is_tracked_as_usual() {
    let mut firewall = Firewall::with(vec![block(), pass().any_flags().synproxy()]);
    firewall.tell(
        "
        em0 host: 10.0.0.1.5000 > 10.0.0.2.80 tcp S seq 1 -> sent em0
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp PA seq 1 ack 1 len 5 -> out em1
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> out em1
        ",
    );
}

#[test]
fn a_pair_without_addresses_completes_no_handshakes() {
    let mut firewall = Firewall::bridging(proxying());
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> over to em1");
    assert_eq!(firewall.states()[0].source.state, PeerState::SynSent);
    let rules = ruleset(vec![pass().incoming().on("br0").synproxy()]);
    let refused = Root::compile(&rules, bridged(NonIpPolicy::Pass).interfaces(), None);
    let error = refused.expect_err("a rule that can mean nothing").to_string();
    assert!(error.contains("synproxy state on a transparent pair"), "{error}");
}

#[test]
fn frames_without_room_behind_their_headers_grow() {
    let mut firewall = Firewall::with(proxying());
    let text = "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000";
    let mut frame = Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1));
    assert_eq!(frame.len(), 14 + 20 + 20);
    let _ = firewall.decide(arrival("em0"), &mut frame);
    assert_eq!(frame.len(), 14 + 20 + 24);
}
