//! Whole packets through a shard that translates: `nat-to`, `rdr-to`, and what later rules, states, ICMP errors and answers
//! make of it.

use crate::firewall::rules::{Written, block, block_return, matching, pass};
use crate::firewall::{Firewall, interfaces, routes};
use engine::Fib;
use ruleset::{Reason, Timeout};
use wire::Proto;

/// What leaves by `em1` comes from 10.1.0.1, from these ports.
fn masquerading(ports: (u16, u16)) -> Firewall {
    Firewall::with(vec![
        block(),
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", ports),
        pass().incoming().on("em0"),
        pass().outgoing(),
    ])
}

/// Port 80 of 10.1.0.1 is port 8080 of 10.0.0.2.
fn serving() -> Firewall {
    Firewall::with(vec![
        block(),
        pass()
            .incoming()
            .on("em1")
            .proto(Proto::TCP)
            .to("10.1.0.1")
            .to_port(80)
            .rdr_to("10.0.0.2", Some((8080, 8080))),
        pass().outgoing().on("em0"),
    ])
}

#[test]
fn a_connection_behind_an_address_keeps_its_port_to_the_end() {
    let mut firewall = masquerading((50_001, 50_001));
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1000
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 2000 ack 1001 -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 2000 ack 1001
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 2001 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 1001 ack 2001
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 2001 len 100 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 1001 ack 2001 len 100
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 2001 ack 1101 len 700 -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 2001 ack 1101 len 700
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.1.0.1:50001 (10.0.0.2:40000) -> 10.1.0.2:80       ESTABLISHED:ESTABLISHED",
            "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
        ]
    );
    // Whoever sends by the inner tuple from outside, or to another port, is none of it.
    firewall.tell(
        "
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 2701 ack 1101 -> match
        em1: 10.1.0.2.80 > 10.1.0.1.50002 tcp A seq 2701 ack 1101 -> match
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 900000 ack 1101 len 1 -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1101 ack 2701 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp FA seq 1101 ack 2701
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp FA seq 2701 ack 1102 -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 2701 ack 1102
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1102 ack 2702 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 1102 ack 2702
        wait 91
        ",
    );
    assert_eq!((firewall.sweep(), firewall.shard.states()), (2, 0));
    firewall.tell("em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 2702 ack 1102 -> match");
}

#[test]
fn datagrams_queries_and_other_protocols_are_translated() {
    let mut firewall = masquerading((60_000, 60_000));
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 30 -> out em1 as 10.1.0.1.60000 > 10.1.0.2.53 udp len 30
        em1: 10.1.0.2.53 > 10.1.0.1.60000 udp len 300 -> out em0 as 10.1.0.2.53 > 10.0.0.2.5000 udp len 300
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 31 -> out em1 as 10.1.0.1.60000 > 10.1.0.2.53 udp len 31
        em0: 10.0.0.2 > 10.1.0.2 proto 47 len 20 -> out em1 as 10.1.0.1 > 10.1.0.2 proto 47 len 20
        em1: 10.1.0.2 > 10.1.0.1 proto 47 len 20 -> out em0 as 10.1.0.2 > 10.0.0.2 proto 47 len 20
        em0: 10.0.0.3 > 10.1.0.2 proto 47 len 20 -> translate
        ",
    );
    assert_eq!(firewall.shard.states(), 5, "pf keeps the state of the first hook");
    let id = echo(&mut firewall, 7);
    assert!(id != 7);
    firewall.tell(&format!(
        "
        em1: 10.1.0.2 > 10.1.0.1 icmp 0/0 id {id} -> out em0 as 10.1.0.2 > 10.0.0.2 icmp 0/0 id 7
        em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 7 -> out em1 as 10.1.0.1 > 10.1.0.2 icmp 8/0 id {id}
        em1: 10.1.0.2 > 10.1.0.1 icmp 0/0 id 7 -> match
        "
    ));
    assert!(
        firewall.lines().contains(&format!("all icmp 10.1.0.1:{id} (10.0.0.2:7) -> 10.1.0.2:8       0:0")),
        "{:#?}",
        firewall.lines()
    );
}

/// Sends an echo request from 10.0.0.2 to 10.1.0.2, and returns the identifier that it leaves with.
fn echo(firewall: &mut Firewall, id: u16) -> u16 {
    let sent = firewall.pass_on("em0", &format!("10.0.0.2 > 10.1.0.2 icmp 8/0 id {id}"));
    let (_, rest) = sent.split_once(" id ").expect("an identifier");
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_redirected_connection_meets_a_server_that_nobody_sees() {
    let mut firewall = serving();
    firewall.tell(
        "
        em1: 10.1.0.2.4321 > 10.1.0.1.80 tcp S seq 5 -> out em0 as 10.1.0.2.4321 > 10.0.0.2.8080 tcp S seq 5
        em0: 10.0.0.2.8080 > 10.1.0.2.4321 tcp SA seq 9 ack 6 -> out em1 as 10.1.0.1.80 > 10.1.0.2.4321 tcp SA seq 9 ack 6
        em1: 10.1.0.2.4321 > 10.1.0.1.80 tcp A seq 6 ack 10 -> out em0 as 10.1.0.2.4321 > 10.0.0.2.8080 tcp A seq 6 ack 10
        em0: 10.0.0.2.8080 > 10.1.0.2.4321 tcp A seq 10 ack 6 len 9 -> out em1 as 10.1.0.1.80 > 10.1.0.2.4321 tcp A seq 10 ack 6 len 9
        em1: 10.1.0.2.4321 > 10.1.0.1.81 tcp S seq 5 -> match
        em1: 10.1.0.2.4321 > 10.0.0.2.8080 tcp S seq 5 -> match
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:8080 (10.1.0.1:80) <- 10.1.0.2:4321       ESTABLISHED:ESTABLISHED",
            "all tcp 10.1.0.2:4321 -> 10.0.0.2:8080       ESTABLISHED:ESTABLISHED",
        ]
    );
}

#[test]
fn rules_behind_a_match_rule_see_the_translated_packet_and_those_behind_a_pass_rule_do_not() {
    let translating =
        || matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (50_001, 50_009));
    let with = |rules| Firewall::with(vec![pass().any_flags().incoming()].into_iter().chain(rules).collect());
    let syn = "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1";
    let passed = |mut firewall: Firewall| firewall.pass_on("em0", syn);
    let turned = "out em1: 10.1.0.1.";
    // Behind it the source is 10.1.0.1, before it 10.0.0.2.
    let behind = |net| with(vec![translating(), block().outgoing(), pass().outgoing().from(net)]);
    assert!(passed(behind("10.1.0.1")).starts_with(turned));
    assert_eq!(behind("10.0.0.2").send("em0", syn), "match");
    let before = with(vec![pass().outgoing().from("10.0.0.2"), translating()]);
    assert!(passed(before).starts_with(turned));
    // Two of them: the second one sees what the first one made.
    let twice = with(vec![
        translating(),
        matching().outgoing().from("10.1.0.1").nat_to("10.1.0.77", (7, 7)),
        pass().outgoing().from("10.1.0.77"),
    ]);
    assert!(passed(twice).starts_with("out em1: 10.1.0.77.7 > "));
    let pass_rule = pass().outgoing().nat_to("10.1.0.1", (50_001, 50_001));
    assert!(passed(with(vec![pass_rule.clone()])).starts_with(turned));
    assert_eq!(with(vec![pass_rule.clone(), block().outgoing().from("10.0.0.2")]).send("em0", syn), "match");
    assert!(passed(with(vec![pass_rule, block().outgoing().from("10.1.0.1")])).starts_with(turned));
}

#[test]
fn quick_ends_the_walk_at_a_rule_that_translates() {
    let rules = |quick: bool| {
        let rule = matching().outgoing().nat_to("10.1.0.1", (50_001, 50_001));
        let rule = if quick { rule.quick() } else { rule };
        vec![pass().incoming(), pass().outgoing(), rule, block().outgoing()]
    };
    let syn = "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1";
    assert_eq!(Firewall::with(rules(false)).send("em0", syn), "match");
    assert!(Firewall::with(rules(true)).pass_on("em0", syn).starts_with("out em1: 10.1.0.1.50001 > "));
}

/// D1. Of two ports, each remote end has both; the third connection finds nothing until one is over.
#[test]
fn d01_a_port_is_refused_only_where_its_very_tuple_is_taken() {
    let mut firewall = masquerading((50_001, 50_002));
    let mut used = Vec::new();
    for (host, remote) in [(2, 80), (3, 80), (2, 81), (3, 81), (2, 82)] {
        let syn = format!("10.0.0.{host}.40000 > 10.1.0.2.{remote} tcp S seq 1");
        used.push(firewall.pass_on("em0", &syn));
    }
    used.sort();
    used.dedup();
    assert_eq!(used.len(), 5, "no two share a tuple: {used:#?}");
    firewall.tell(
        "
        em0: 10.0.0.3.40001 > 10.1.0.2.80 tcp S seq 1 -> translate
        em0: 10.0.0.3.40001 > 10.1.0.2.81 tcp S seq 1 -> translate
        ",
    );
    assert!(firewall.pass_on("em0", "10.0.0.3.40001 > 10.1.0.2.82 tcp S seq 1").starts_with("out em1: "));
    let states = firewall.shard.states();
    firewall.wait(121);
    assert!(firewall.sweep() > 0, "{states} states");
    assert!(firewall.pass_on("em0", "10.0.0.3.40001 > 10.1.0.2.80 tcp S seq 1").starts_with("out em1: "));
}

/// What a host of the firewall's own uses is nobody else's.
#[test]
fn a_port_of_the_hosts_own_connection_is_taken() {
    let mut firewall = masquerading((50_001, 50_002));
    firewall.tell("em1 host: 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1 -> sent em1");
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50002 > 10.1.0.2.80 tcp S seq 1
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1 -> translate
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 1 ack 2 -> host em1
        ",
    );
}

/// And the other way round: what is a mapping's is not the host's.
#[test]
fn a_mapping_is_not_taken_from_its_client() {
    let mut firewall = masquerading((50_001, 50_001));
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1
        em1 host: 10.1.0.1.50002 > 10.1.0.2.80 tcp S seq 7 -> sent em1
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 1 ack 2 -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 1 ack 2
        em1: 10.1.0.2.80 > 10.1.0.1.50002 tcp SA seq 1 ack 8 -> host em1
        ",
    );
    let mut firewall = Firewall::with(vec![
        pass().incoming(),
        pass().outgoing().on("em1").nat_to("10.1.0.1", (50_001, 50_002)),
    ]);
    let client = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1");
    let port: u16 = client.split(['.', ' ']).nth(5).and_then(|port| port.parse().ok()).expect("a port");
    let other = if port == 50_001 { 50_002 } else { 50_001 };
    firewall.tell(&format!(
        "em1 host: 10.1.0.1.{port} > 10.1.0.2.80 tcp S seq 7 -> out em1 as 10.1.0.1.{other} > 10.1.0.2.80 tcp S seq 7"
    ));
}

/// D2. Errors from outside find the sender, and quote what it sent; those of strangers find nobody.
#[test]
fn d02_icmp_errors_are_translated_with_what_they_quote() {
    let mut firewall = masquerading((50_001, 50_001));
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp len 10
        em1: 10.1.0.254 > 10.1.0.1 icmp 11/0 about (10.1.0.1.50001 > 10.1.0.2.53 udp len 10) -> out em0 as 10.1.0.254 > 10.0.0.2 icmp 11/0 about (10.0.0.2.5000 > 10.1.0.2.53 udp len 10)
        em1: 10.1.0.2 > 10.1.0.1 icmp 3/3 about (10.1.0.1.50001 > 10.1.0.2.53 udp len 10) -> out em0 as 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2.5000 > 10.1.0.2.53 udp len 10)
        em1: 10.1.0.2 > 10.1.0.1 icmp 3/3 about (10.1.0.1.50002 > 10.1.0.2.53 udp len 10) -> match
        em1: 10.1.0.2 > 10.1.0.3 icmp 3/3 about (10.1.0.1.50001 > 10.1.0.2.53 udp len 10) -> icmp-mismatch
        em1: 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2.5000 > 10.1.0.2.53 udp len 10) -> match
        em0: 10.0.0.2 > 10.1.0.2 icmp 3/3 about (10.1.0.2.53 > 10.0.0.2.5000 udp len 10) -> out em1 as 10.1.0.1 > 10.1.0.2 icmp 3/3 about (10.1.0.2.53 > 10.1.0.1.50001 udp len 10)
        em0: 10.0.0.3 > 10.1.0.2 icmp 11/0 about (10.1.0.2.53 > 10.0.0.2.5000 udp len 10) -> out em1 as 10.1.0.1 > 10.1.0.2 icmp 11/0 about (10.1.0.2.53 > 10.1.0.1.50001 udp len 10)
        ",
    );
    assert!(firewall.states().iter().all(|state| state.destination.packets == 2 || state.expires_in_s == 60));
}

/// An error about a redirected packet comes from the address that its sender knows.
#[test]
fn d02_an_error_about_a_redirected_packet_hides_the_server() {
    let mut firewall = serving();
    firewall.tell(
        "
        em1: 10.1.0.2.4321 > 10.1.0.1.80 tcp S seq 5 -> out em0 as 10.1.0.2.4321 > 10.0.0.2.8080 tcp S seq 5
        em0: 10.0.0.2 > 10.1.0.2 icmp 3/3 about (10.1.0.2.4321 > 10.0.0.2.8080 tcp S seq 5) -> out em1 as 10.1.0.1 > 10.1.0.2 icmp 3/3 about (10.1.0.2.4321 > 10.1.0.1.80 tcp S seq 5)
        ",
    );
    let error = "10.1.0.254 > 10.1.0.1 icmp 3/1 about (10.1.0.1.80 > 10.1.0.2.4321 tcp SA seq 9)";
    assert_eq!(firewall.send("em1", error), "state-mismatch", "nothing of the server was seen");
}

/// Queries and IPv6, whose checksum covers addresses.
#[test]
fn d02_errors_about_queries_and_over_ipv6_are_translated() {
    let mut firewall = masquerading((50_001, 50_001));
    let id = echo(&mut firewall, 7);
    firewall.tell(&format!(
        "em1: 10.1.0.254 > 10.1.0.1 icmp 11/0 about (10.1.0.1 > 10.1.0.2 icmp 8/0 id {id}) -> out em0 as 10.1.0.254 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.1.0.2 icmp 8/0 id 7)"
    ));
    let mut firewall =
        Firewall::with(vec![pass().incoming(), pass().outgoing().on("em1").nat_to("2001:db8:1::1", (9, 9))]);
    firewall.tell(
        "
        em0: 2001:db8::2.5000 > 2001:db8:1::2.53 udp len 5 -> out em1 as 2001:db8:1::1.9 > 2001:db8:1::2.53 udp len 5
        em1: 2001:db8:1::2.53 > 2001:db8:1::1.9 udp len 6 -> out em0 as 2001:db8:1::2.53 > 2001:db8::2.5000 udp len 6
        em1: 2001:db8:1::2 > 2001:db8:1::1 icmp 1/4 about (2001:db8:1::1.9 > 2001:db8:1::2.53 udp len 5) -> out em0 as 2001:db8:1::2 > 2001:db8::2 icmp 1/4 about (2001:db8::2.5000 > 2001:db8:1::2.53 udp len 5)
        em0: 2001:db8::2.41000 > 2001:db8:1::2.22 tcp S seq 4 -> out em1 as 2001:db8:1::1.9 > 2001:db8:1::2.22 tcp S seq 4
        em1: 2001:db8:1::2.22 > 2001:db8:1::1.9 tcp SA seq 4 ack 5 -> out em0 as 2001:db8:1::2.22 > 2001:db8::2.41000 tcp SA seq 4 ack 5
        ",
    );
    assert!(
        firewall.lines().contains(
            &"all udp 2001:db8:1::1[9] (2001:db8::2[5000]) -> 2001:db8:1::2[53]       MULTIPLE:SINGLE"
                .to_owned()
        ),
        "{:#?}",
        firewall.lines()
    );
}

/// What the firewall itself answers quotes and answers the packet as its sender sent it.
#[test]
fn our_own_answers_are_to_the_packet_as_it_was_sent() {
    let mut firewall = Firewall::with(vec![
        matching()
            .incoming()
            .on("em1")
            .proto(Proto::TCP)
            .to("10.1.0.1")
            .to_port(80)
            .rdr_to("10.0.0.2", Some((8080, 8080))),
        matching().incoming().on("em1").proto(Proto::UDP).to("10.1.0.1").to_port(53).rdr_to("10.2.0.2", None),
        pass().incoming(),
        block_return().incoming().proto(Proto::TCP).to("10.0.0.2").to_port(8080),
        pass().outgoing(),
    ]);
    firewall.tell(
        "
        em1: 10.1.0.2.4321 > 10.1.0.1.80 tcp S seq 5 -> match: 10.1.0.1.80 > 10.1.0.2.4321 tcp RA seq 0 ack 6 win 0 ttl 64
        em1: 10.1.0.2.4321 > 10.1.0.1.53 udp len 9 ttl 1 -> ttl: 10.1.0.1 > 10.1.0.2 icmp 11/0 about (10.1.0.2 > 10.1.0.1 proto 17) ttl 64
        em1: 10.1.0.2.4321 > 10.1.0.1.53 udp len 900 df -> too-big: 10.1.0.1 > 10.1.0.2 icmp 3/4 about (10.1.0.2 > 10.1.0.1 proto 17) ttl 64
        em1: 10.1.0.2.4321 > 10.1.0.1.53 udp len 9 -> out em2 as 10.1.0.2.4321 > 10.2.0.2.53 udp len 9
        ",
    );
}

/// A packet that waits for its next hop has been translated; if it waits in vain, its sender is told of what it sent.
#[test]
fn a_translated_packet_that_waits_in_vain_is_answered_as_it_was_sent() {
    let mut firewall = masquerading((50_001, 50_001));
    let told = firewall.wait_in_vain("em0", "10.0.0.2.5000 > 10.1.0.77.53 udp len 9");
    assert_eq!(
        told.as_deref(),
        Some("10.0.0.1 > 10.0.0.2 icmp 3/1 about (10.0.0.2 > 10.1.0.77 proto 17) ttl 64")
    );
}

#[test]
fn the_host_is_translated_and_redirected_to_like_others() {
    let mut firewall = Firewall::with(vec![
        pass().outgoing().on("em1").proto(Proto::UDP).from("10.1.0.1").nat_to("10.1.0.9", (7, 7)),
        pass()
            .incoming()
            .on("em0")
            .proto(Proto::TCP)
            .to("10.1.0.2")
            .to_port(80)
            .rdr_to("10.0.0.1", Some((3128, 3128))),
    ]);
    firewall.tell(
        "
        em1 host: 10.1.0.1.5000 > 10.1.0.2.53 udp len 9 -> out em1 as 10.1.0.9.7 > 10.1.0.2.53 udp len 9
        em1: 10.1.0.2.53 > 10.1.0.9.7 udp len 9 -> host em1 as 10.1.0.2.53 > 10.1.0.1.5000 udp len 9
        em0: 10.0.0.2.41000 > 10.1.0.2.80 tcp S seq 1 -> host em0 as 10.0.0.2.41000 > 10.0.0.1.3128 tcp S seq 1
        em0 host: 10.0.0.1.3128 > 10.0.0.2.41000 tcp SA seq 1 ack 2 -> out em0 as 10.1.0.2.80 > 10.0.0.2.41000 tcp SA seq 1 ack 2
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.1:3128 (10.1.0.2:80) <- 10.0.0.2:41000       SYN_SENT:ESTABLISHED",
            "all udp 10.1.0.9:7 (10.1.0.1:5000) -> 10.1.0.2:53       MULTIPLE:SINGLE",
        ]
    );
}

/// D5. A client that asks for the public address of a server beside it.
#[test]
fn d05_a_hairpin_is_translated_at_both_ends() {
    let mut firewall = Firewall::with(vec![
        matching()
            .incoming()
            .proto(Proto::TCP)
            .to("10.1.0.1")
            .to_port(80)
            .rdr_to("10.0.0.3", Some((8080, 8080))),
        matching().outgoing().on("em0").from("10.0.0.0/24").nat_to("10.0.0.1", (50_001, 50_001)),
        pass(),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.1.80 tcp S seq 1 -> out em0 as 10.0.0.1.50001 > 10.0.0.3.8080 tcp S seq 1
        em0: 10.0.0.3.8080 > 10.0.0.1.50001 tcp SA seq 5 ack 2 -> out em0 as 10.1.0.1.80 > 10.0.0.2.40000 tcp SA seq 5 ack 2
        em0: 10.0.0.2.40000 > 10.1.0.1.80 tcp A seq 2 ack 6 len 9 -> out em0 as 10.0.0.1.50001 > 10.0.0.3.8080 tcp A seq 2 ack 6 len 9
        em0: 10.0.0.2 > 10.1.0.1 icmp 3/3 about (10.1.0.1.80 > 10.0.0.2.40000 tcp SA seq 5 ack 2) -> out em0 as 10.0.0.1 > 10.0.0.3 icmp 3/3 about (10.0.0.3.8080 > 10.0.0.1.50001 tcp SA seq 5 ack 2)
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.1:50001 (10.0.0.2:40000) -> 10.0.0.3:8080       ESTABLISHED:ESTABLISHED",
            "all tcp 10.0.0.3:8080 (10.1.0.1:80) <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
        ]
    );
}

#[test]
fn a_translation_without_a_state_is_refused() {
    let mut firewall =
        Firewall::with(vec![matching().outgoing().nat_to("10.1.0.1", (50_001, 50_001)), pass().no_state()]);
    firewall.tell("em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> translate");
    // An error about nothing that is known comes from the address all the same.
    firewall.tell("em0: 10.0.0.2 > 10.1.0.2 icmp 3/3 about (10.1.0.2.53 > 10.0.0.2.5000 udp len 10) -> out em1 as 10.1.0.1 > 10.1.0.2 icmp 3/3 about (10.1.0.2.53 > 10.0.0.2.5000 udp len 10)");
    assert_eq!(firewall.dropped(Reason::Translate), 1);
}

/// pfctl's `-k` compares with what packets were in front of the hook.
#[test]
fn translated_states_are_killed_by_what_they_were() {
    let begin = || {
        let mut firewall = masquerading((50_001, 50_001));
        firewall.tell("em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp len 10");
        firewall
    };
    assert_eq!(begin().kill("10.1.0.1"), 0);
    let mut firewall = begin();
    assert_eq!(firewall.kill("10.0.0.2"), 2);
    firewall.tell(
        "
        em1: 10.1.0.2.53 > 10.1.0.1.50001 udp len 9 -> match
        em0: 10.0.0.3.5000 > 10.1.0.2.53 udp len 10 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp len 10
        ",
    );
}

/// Each of pf's two states has its own time; what is left of a connection does not answer for the other half.
#[test]
fn a_connection_that_has_lost_one_state_is_made_anew() {
    let mut firewall = Firewall::with(vec![
        matching().outgoing().on("em1").nat_to("10.1.0.1", (50_001, 50_002)),
        pass().incoming().timeout(Timeout::UdpFirst, 1000),
        pass().outgoing(),
    ]);
    let first = firewall.pass_on("em0", "10.0.0.2.5000 > 10.1.0.2.53 udp");
    firewall.wait(61);
    assert_eq!(firewall.sweep(), 1);
    let second = firewall.pass_on("em0", "10.0.0.2.5000 > 10.1.0.2.53 udp");
    assert_ne!(first, second, "the first state remembers the port that it had");
    assert_eq!(firewall.shard.states(), 2);
    let port = second.split(['.', ' ']).nth(6).expect("a port").to_owned();
    firewall.tell(&format!(
        "em1: 10.1.0.2.53 > 10.1.0.1.{port} udp len 9 -> out em0 as 10.1.0.2.53 > 10.0.0.2.5000 udp len 9"
    ));
}

/// Both directions of a conversation, longer than what is decided anew: each packet is the same as one that was made with the
/// other addresses.
#[test]
fn a_conversation_that_goes_the_short_way_is_translated_like_its_beginning() {
    for (client, remote, public, from, to) in [
        ("10.0.0.2", "10.1.0.2", "10.1.0.1", "em0", "em1"),
        ("10.0.0.2", "10.1.0.2", "10.1.0.200", "em0", "em1"),
        ("2001:db8::2", "2001:db8:1::2", "2001:db8:1::1", "em0", "em1"),
        ("2001:db8::2", "2001:db8:1::2", "2001:db8:1::ffff", "em0", "em1"),
    ] {
        let mut firewall = Firewall::with(vec![
            pass().incoming().any_flags(),
            pass().outgoing().on("em1").nat_to(public, (50_001, 50_001)),
        ]);
        let syn = format!("{client}.40000 > {remote}.80 tcp");
        let (syn_out, back, back_in) = (
            format!("{public}.50001 > {remote}.80 tcp"),
            format!("{remote}.80 > {public}.50001 tcp"),
            format!("{remote}.80 > {client}.40000 tcp"),
        );
        firewall.tell(&format!("{from}: {syn} S seq 1000 -> out {to} as {syn_out} S seq 1000"));
        firewall.tell(&format!(
            "{to}: {back} SA seq 5000 ack 1001 -> out {from} as {back_in} SA seq 5000 ack 1001"
        ));
        for number in 0..6_u32 {
            let (seq, ack) = (1001 + 10 * number, 5001 + 20 * number);
            let up = format!("A seq {seq} ack {ack} len 10");
            let down = format!("A seq {ack} ack {} len 20", seq + 10);
            firewall.tell(&format!("{from}: {syn} {up} -> out {to} as {syn_out} {up}"));
            firewall.tell(&format!("{to}: {back} {down} -> out {from} as {back_in} {down}"));
            firewall.tell(&format!(
                "{from}: {client}.5000 > {remote}.53 udp len {number} -> out {to} as {public}.50001 > {remote}.53 udp len {number}"
            ));
            firewall.tell(&format!(
                "{to}: {remote}.53 > {public}.50001 udp len 3 -> out {from} as {remote}.53 > {client}.5000 udp len 3"
            ));
        }
        // What does not fit is refused there as well.
        assert_eq!(firewall.send(to, &format!("{back} A seq 999999 ack 1061 len 1")), "state-mismatch");
        assert_eq!(firewall.send(from, &format!("{syn} A seq 999999 ack 5121 len 1")), "state-mismatch");
        assert!(firewall.states().iter().all(|state| {
            let packets = (state.source.packets, state.destination.packets);
            packets == (7, 7) || packets == (6, 6)
        }));
    }
}

/// From its second packet on, each direction of an established connection goes the short way, where no neighbour is looked up:
/// it remembers its next hop as long as no other forwarding base is published.
#[test]
fn translated_connections_remember_their_next_hops() {
    for rules in [
        vec![pass().incoming(), pass().outgoing()],
        vec![pass().incoming(), pass().outgoing().on("em1").nat_to("10.1.0.1", (50_001, 50_001))],
    ] {
        let mut firewall = Firewall::with(rules);
        let out = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
        let public = out["out em1: ".len()..].split(' ').next().expect("a source").to_owned();
        firewall.pass_on("em1", &format!("10.1.0.2.80 > {public} tcp SA seq 5000 ack 1001"));
        firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001");
        firewall.fib = Fib::new(1, interfaces(), routes(), []);
        firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 len 5");
        firewall.pass_on("em1", &format!("10.1.0.2.80 > {public} tcp A seq 5001 ack 1006 len 5"));
    }
}

/// A state of the tuple that a packet came with has nothing to say of what the packet was redirected to.
#[test]
fn rules_are_asked_of_a_redirected_packet_where_there_is_a_state_of_what_it_was() {
    let mut firewall = Firewall::with(vec![
        pass().incoming(),
        pass().outgoing().no_state(),
        block().outgoing().on("em0").to("10.0.0.3"),
        matching().incoming().on("em1").to("10.0.0.2").rdr_to("10.0.0.3", None),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.5000 udp len 10 -> match
        ",
    );
}

/// The second hook finds the state of a connection whose key has its ends the other way round.
#[test]
fn each_state_that_a_packet_meets_counts_it_as_its_own_senders() {
    let mut firewall = Firewall::with(vec![
        matching().incoming().to("10.0.0.1").rdr_to("10.1.0.2", None),
        pass().incoming(),
        pass().outgoing().sloppy(),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.5.5000 > 10.0.0.1.53 udp len 10 -> out em1 as 10.0.0.5.5000 > 10.1.0.2.53 udp len 10
        em0: 10.0.0.5.5000 > 10.1.0.2.53 udp len 10 -> out em1
        em0: 10.0.0.5.5000 > 10.1.0.2.53 udp len 10 -> out em1
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all udp 10.0.0.5:5000 -> 10.1.0.2:53       SINGLE:NO_TRAFFIC",
            "all udp 10.1.0.2:53 (10.0.0.1:53) <- 10.0.0.5:5000       NO_TRAFFIC:SINGLE",
            "all udp 10.1.0.2:53 <- 10.0.0.5:5000       NO_TRAFFIC:SINGLE",
        ]
    );
}

/// What rules have led away and back is as it came.
#[test]
fn a_packet_that_is_redirected_to_where_it_was_sent_needs_no_state() {
    let mut firewall = Firewall::with(vec![
        matching().incoming().to("10.1.0.2").rdr_to("10.1.0.3", None),
        matching().incoming().to("10.1.0.3").rdr_to("10.1.0.2", None),
        pass().no_state(),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> out em1
        em0: 10.0.0.2.5000 > 10.1.0.3.53 udp len 10 -> translate
        ",
    );
}
