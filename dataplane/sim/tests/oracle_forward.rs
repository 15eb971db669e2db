//! The way through the firewall: two hooks, the router between them, and the deviations from pf.

mod oracle_support;

use oracle_support::{
    CLIENT, DETOUR, GATEWAY, HANDSHAKE, INSIDE, OUTSIDE, SERVER, Story, block, dropped, flags, inbound,
    oracle, outbound, packet, pass, pass_any_flags, pass_out, pf, rules, seconds, sloppy, syn, tcp, udp,
};
use ruleset::{BlockReply, Direction, Reason, Rule, Timeout};
use sim::oracle::{Deviations, From, Onward, Oracle, Packet, State, StateId, Transport, Verdict};
use wire::Seq;

const ONCE: Deviations = Deviations { commit_once: true, ..Deviations::NONE };

fn segment(letters: &str, seq: u32, ack: u32, payload: u32) -> Packet {
    let tcp = sim::oracle::Tcp { payload, ..tcp(flags(letters), seq, ack) };
    packet(CLIENT, SERVER, Transport::Tcp(tcp))
}

/// The states, oldest first.
fn states(oracle: &Oracle) -> Vec<&State> {
    let mut states: Vec<&State> = oracle.states().iter().collect();
    states.sort_by_key(|state| state.id);
    states
}

#[test]
fn a_forwarded_connection_has_two_states_and_each_hook_finds_its_own() {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    let text = story.oracle.print_states(seconds(70));
    let expected = "\
all tcp 10.1.0.2:80 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED
   [5001 + 1000]  [1000 + 1001]
   age 00:01:10, expires in 23:58:50, 2:1 pkts, 80:40 bytes, rule 0
   id: 0000000000000001 creatorid: 00000000
all tcp 10.0.0.2:40000 -> 10.1.0.2:80       ESTABLISHED:ESTABLISHED
   [1000 + 1001]  [5001 + 1000]
   age 00:01:10, expires in 23:58:50, 2:1 pkts, 80:40 bytes, rule 0
   id: 0000000000000002 creatorid: 00000000
";
    assert_eq!(text, expected);
    let [inner, outer] = states(&story.oracle)[..] else { panic!("two states") };
    assert_eq!((inner.direction, outer.direction), (Direction::In, Direction::Out));
    assert_eq!((inner.wire.near, inner.wire.far), (outer.wire.far, outer.wire.near));
}

#[test]
fn a_packet_blocked_on_the_way_out_leaves_the_state_of_the_way_in() {
    for deviations in [Deviations::NONE, Deviations::ALL] {
        let out = Rule { direction: Some(Direction::Out), ..block(BlockReply::Drop) };
        let mut oracle = oracle(rules(vec![pass(), out]), deviations);
        assert_eq!(outbound(&mut oracle, &syn(), 0), dropped(Reason::Match));
        assert_eq!(states(&oracle).len(), 1);
        assert_eq!(states(&oracle)[0].packets, [1, 0]);
    }
}

#[test]
fn packets_for_the_firewall_and_from_it_meet_one_hook() {
    let mut oracle = pf(vec![pass_any_flags()]);
    let query = udp(CLIENT, 5353, GATEWAY, 53);
    assert_eq!(oracle.onward(&query), Onward::Host);
    assert_eq!(oracle.forward(&query, From::Interface(INSIDE), Onward::Host, 0), Verdict::Pass);
    assert_eq!(states(&oracle).len(), 1);
    let answer = udp(GATEWAY, 53, CLIENT, 5353);
    assert_eq!(oracle.onward(&answer), Onward::Interface(INSIDE));
    assert_eq!(oracle.forward(&answer, From::Host, Onward::Interface(INSIDE), 0), Verdict::Pass);
    assert_eq!(states(&oracle).len(), 1);
    assert_eq!(states(&oracle)[0].packets, [1, 1]);
    // Neither spends the time to live.
    let last = Packet { ttl: 1, ..answer };
    assert_eq!(oracle.forward(&last, From::Host, Onward::Interface(INSIDE), 0), Verdict::Pass);
    let last = Packet { ttl: 1, ..query };
    assert_eq!(oracle.forward(&last, From::Interface(INSIDE), Onward::Host, 0), Verdict::Pass);
}

#[test]
fn the_router_drops_between_the_hooks() {
    let mut oracle = pf(vec![pass()]);
    let far = packet(CLIENT, "192.0.2.1".parse().unwrap(), Transport::Tcp(tcp(flags("S"), 1, 0)));
    assert_eq!(oracle.onward(&far), Onward::Nowhere);
    let arrival = From::Interface(INSIDE);
    assert_eq!(oracle.forward(&far, arrival, Onward::Nowhere, 0), dropped(Reason::NoRoute));
    let last = Packet { ttl: 1, ..syn() };
    assert_eq!(oracle.forward(&last, arrival, Onward::Interface(OUTSIDE), 0), dropped(Reason::Ttl));
    assert_eq!(states(&oracle).len(), 2, "the first hook had made its state in both cases");
    let enough = Packet { ttl: 2, ..syn() };
    assert_eq!(outbound(&mut oracle, &enough, 0), Verdict::Pass);
}

#[test]
fn pf_commits_hook_by_hook_and_the_product_once() {
    let dies = Packet { ttl: 1, ..segment("PA", 1001, 5001, 100) };
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    assert_eq!(outbound(&mut story.oracle, &dies, 1), dropped(Reason::Ttl));
    let [inner, outer] = states(&story.oracle)[..] else { panic!("two states") };
    assert_eq!((inner.source.seqlo, inner.packets, inner.last_seen), (Seq(1101), [3, 1], 1));
    assert_eq!((outer.source.seqlo, outer.packets, outer.last_seen), (Seq(1000), [2, 1], 0));

    let mut story = Story::with(vec![pass()], ONCE);
    story.tell(HANDSHAKE);
    let before = story.oracle.states().to_vec();
    assert_eq!(outbound(&mut story.oracle, &dies, 1), dropped(Reason::Ttl));
    assert_eq!(
        story.oracle.forward(&segment("PA", 1001, 5001, 100), From::Interface(INSIDE), Onward::Nowhere, 1),
        dropped(Reason::NoRoute)
    );
    assert_eq!(story.oracle.states(), before);
    // A RST with a short life is the attack: it must not close what the server never hears of.
    story.tell(
        "
        c R 1000 0 ttl=1  -> ttl ESTABLISHED:ESTABLISHED
        c R 1000 0        -> pass TIME_WAIT:TIME_WAIT
        ",
    );
}

#[test]
fn options_of_the_second_state_end_a_packet_before_it_is_committed() {
    let allowing = Rule { allow_opts: true, direction: Some(Direction::In), ..pass() };
    let list = || vec![allowing.clone(), pass_out()];
    let optional = "c PA 1001 5001 len=10 opts -> ip-option ESTABLISHED:ESTABLISHED";
    // pf has tracked and counted it at the first hook, and tracked it at the second.
    Story::new(list()).tell(HANDSHAKE).tell(&format!("{optional} !"));
    let mut story = Story::with(list(), ONCE);
    story.tell(HANDSHAKE).tell(optional);
    // And of the first state.
    let mut story = Story::with(vec![pass()], ONCE);
    story.tell(HANDSHAKE).tell(optional);
}

#[test]
fn a_pair_agrees_with_two_separate_states_on_whatever_goes_through() {
    let talk = "
        c PA 1001 5001 len=100 -> pass ESTABLISHED:ESTABLISHED
        s PA 5001 1101 len=500 -> pass ESTABLISHED:ESTABLISHED
        c PA 900000 1 len=9    -> state-mismatch ESTABLISHED:ESTABLISHED
        c FA 1101 5501         -> pass CLOSING:ESTABLISHED
        s FA 5501 1102         -> pass FIN_WAIT_2:CLOSING
        c A  1102 5502         -> pass FIN_WAIT_2:FIN_WAIT_2
        c S  9000 0            -> pass SYN_SENT:CLOSED
    ";
    let mut apart = Story::new(vec![pass()]);
    apart.tell(HANDSHAKE).tell(talk);
    let mut paired = Story::with(vec![pass()], ONCE);
    paired.tell(HANDSHAKE).tell(talk);
    assert_eq!(apart.oracle.states(), paired.oracle.states());
}

#[test]
fn a_refused_first_answer_leaves_no_number_behind() {
    let mut story = Story::with(vec![pass()], ONCE);
    story.tell(
        "
        c S  1000 0       -> pass SYN_SENT:CLOSED
        s SA 5000 900001  -> state-mismatch +rst=900001,0 SYN_SENT:SYN_SENT !
        s SA 6000 1001    -> pass ESTABLISHED:SYN_SENT
        c A  1001 6001    -> pass ESTABLISHED:ESTABLISHED
        ",
    );
    // Where the sender's numbers were known, both states forget them.
    let mut story = Story::with(vec![pass()], ONCE);
    story.tell(
        "
        c S  1000 0       -> pass SYN_SENT:CLOSED
        s S  5000 0       -> pass SYN_SENT:SYN_SENT
        c SA 1000 900001  -> state-mismatch +rst=900001,0 SYN_SENT:SYN_SENT !
        ",
    );
    for state in story.oracle.states() {
        assert_eq!((state.source.seqlo, state.source.seqhi, state.source.max_win), (Seq(0), Seq(1), 1));
    }
}

#[test]
fn a_pair_falls_apart_when_one_of_it_goes_or_goes_alone() {
    let paired = |oracle: &Oracle| oracle.states().iter().filter(|state| state.partner.is_some()).count();
    // One is killed: its hook asks the rules, the other goes on by itself.
    let mut story = Story::with(vec![pass_any_flags()], ONCE);
    story.tell(HANDSHAKE);
    assert_eq!(paired(&story.oracle), 2);
    assert!(story.oracle.remove(StateId(2)).is_some());
    assert_eq!(paired(&story.oracle), 0);
    story.tell("c PA 1001 5001 len=10 -> pass ESTABLISHED:ESTABLISHED SYN_SENT:CLOSED");
    assert_eq!(paired(&story.oracle), 0, "they were not made in one pass");

    // One expires before the other.
    let mut short = pass();
    short.direction = Some(Direction::In);
    short.state_options.timeouts = vec![(Timeout::TcpFirst, 5)];
    let mut oracle = oracle(rules(vec![short, pass_out()]), ONCE);
    assert_eq!(outbound(&mut oracle, &syn(), 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &syn(), seconds(6)), Verdict::Pass);
    assert_eq!(states(&oracle).iter().map(|state| state.id.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(paired(&oracle), 0);

    // The route changes: an if-bound second state is not met.
    let mut bound = pass_any_flags();
    bound.state_options.policy = Some(ruleset::StatePolicy::IfBound);
    let mut story = Story::with(vec![bound], ONCE);
    story.tell(HANDSHAKE);
    let data = segment("PA", 1001, 5001, 10);
    let detour = Onward::Interface(DETOUR);
    assert_eq!(story.oracle.forward(&data, From::Interface(INSIDE), detour, 0), Verdict::Pass);
    assert_eq!(states(&story.oracle).len(), 3);
    assert_eq!(paired(&story.oracle), 0);
}

#[test]
fn states_tracked_differently_are_no_pair() {
    let mut loose_in = sloppy();
    loose_in.direction = Some(Direction::In);
    let mut story = Story::with(vec![loose_in, pass_out()], ONCE);
    story.tell("c S 1000 0 -> pass SYN_SENT:CLOSED");
    assert!(story.oracle.states().iter().all(|state| state.partner.is_none()));
    // The strict one refuses what the sloppy one would take; neither keeps anything of it.
    story.tell(
        "
        s SA 5000 1001         -> pass ESTABLISHED:SYN_SENT
        c A  1001 5001         -> pass ESTABLISHED:ESTABLISHED
        c PA 900000 5001 len=1 -> state-mismatch ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn equal_keys_on_one_interface_and_direction_refuse_a_new_state() {
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 53), 0), Verdict::Pass);
    let old = states(&oracle)[0].clone();
    assert_eq!(oracle.insert(old.clone(), 0), Err(Reason::StateInsert));
    assert_eq!(oracle.states().len(), 2);
    let elsewhere = State { interface: Some(OUTSIDE), ..old.clone() };
    assert!(oracle.insert(elsewhere, 0).is_ok());
    let turned = State { direction: Direction::Out, ..old.clone() };
    assert!(oracle.insert(turned, 0).is_ok());
    // An expired one is in nobody's way.
    assert!(oracle.insert(old, seconds(60)).is_ok());
}

#[test]
fn a_finished_connection_gives_way_to_an_equal_key() {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    let equal = State { created: 7, ..states(&story.oracle)[0].clone() };
    assert_eq!(story.oracle.insert(equal.clone(), 0), Err(Reason::StateInsert));
    story.tell("c R 1000 0 -> pass TIME_WAIT:TIME_WAIT");
    let new = story.oracle.insert(equal, 0).unwrap();
    assert_eq!(states(&story.oracle).len(), 2);
    assert_eq!(story.oracle.state(new).map(|state| state.created), Some(7));
}

#[test]
fn equal_keys_behind_a_translation_refuse_only_in_pf() {
    for (deviations, expected) in [
        (Deviations::NONE, Err(Reason::StateInsert)),
        (Deviations { hidden_keys_may_collide: true, ..Deviations::NONE }, Ok(StateId(3))),
    ] {
        let mut oracle = oracle(rules(vec![pass_any_flags()]), deviations);
        assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 53), 0), Verdict::Pass);
        let mut translated = states(&oracle)[0].clone();
        translated.wire.near.port = wire::Port(9);
        assert_eq!(oracle.insert(translated, 0), expected);
    }
}

#[test]
fn replies_follow_the_state_whatever_the_rules_have_become() {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    story.oracle.load(rules(vec![block(BlockReply::Drop)])).unwrap();
    story.tell(
        "
        s PA 5001 1001 len=10 -> pass ESTABLISHED:ESTABLISHED
        c A  1001 5011        -> pass ESTABLISHED:ESTABLISHED
        ",
    );
    assert_eq!(inbound(&mut story.oracle, &udp(SERVER, 53, CLIENT, 5353), 0), dropped(Reason::Match));
}
