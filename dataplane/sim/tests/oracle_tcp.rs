//! TCP tracking: what is accepted, what is refused, and what either leaves behind.

mod oracle_support;

use oracle_support::{HANDSHAKE, Story, pass, pass_any_flags, sloppy};
use sim::oracle::Deviations;
use wire::Seq;

fn connected() -> Story {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    story
}

#[test]
fn a_connection_from_handshake_to_close() {
    connected().tell(
        "
        c PA 1001 5001 len=100 -> pass ESTABLISHED:ESTABLISHED
        s A  5001 1101         -> pass ESTABLISHED:ESTABLISHED
        s PA 5001 1101 len=500 -> pass ESTABLISHED:ESTABLISHED
        c FA 1101 5501         -> pass CLOSING:ESTABLISHED
        s A  5501 1102         -> pass FIN_WAIT_2:ESTABLISHED
        s FA 5501 1102         -> pass FIN_WAIT_2:CLOSING
        c A  1102 5502         -> pass FIN_WAIT_2:FIN_WAIT_2
        ",
    );
}

#[test]
fn creation_records_what_the_syn_says() {
    let mut story = Story::new(vec![pass()]);
    story.tell("c S 1000 0 w=65535 ws=7 -> pass SYN_SENT:CLOSED");
    let state = story.first();
    assert_eq!((state.source.seqlo, state.source.seqhi), (Seq(1000), Seq(1002)));
    assert_eq!(state.source.wscale, Some(7));
    assert_eq!(state.source.max_win, 512, "65535 in units of 128, rounded up");
    assert_eq!((state.destination.seqlo, state.destination.seqhi), (Seq(0), Seq(1)));
    assert_eq!(state.destination.max_win, 1);
    assert_eq!(story.oracle.states().len(), 2, "one where it entered, one where it left");
}

#[test]
fn a_segment_without_state_and_syn_meets_no_rule_with_flags_s_sa() {
    let block = oracle_support::block(ruleset::BlockReply::Drop);
    let mut story = Story::new(vec![block, pass()]);
    story.tell(
        "
        c A  1001 5001     -> match none
        s SA 5000 1001     -> match none
        c FA 1001 5001     -> match none
        c S  1000 0        -> pass SYN_SENT:CLOSED
        ",
    );
}

#[test]
fn payload_must_lie_in_the_window_that_the_receiver_gave() {
    // The server gave 1000 from 1001 on: condition (1).
    connected().tell("c PA 1001 5001 len=1000 -> pass ESTABLISHED:ESTABLISHED");
    connected().tell("c PA 1001 5001 len=1001 -> state-mismatch ESTABLISHED:ESTABLISHED");
    // A FIN may sit one past the window.
    connected().tell("c FPA 1001 5001 len=1000 -> pass CLOSING:ESTABLISHED");
    // Condition (2): one window back from what was sent, not further. Until the client sends data, that is its SYN.
    connected().tell("c PA 0 5001 len=10 -> pass ESTABLISHED:ESTABLISHED");
    connected().tell("c PA 4294967295 5001 len=10 -> state-mismatch ESTABLISHED:ESTABLISHED");
}

#[test]
fn acknowledgments_must_be_near_what_was_sent() {
    // The server has sent up to 5001. Condition (3): 67035 ahead.
    connected().tell("c A 1001 72036 -> pass ESTABLISHED:ESTABLISHED");
    connected().tell("c A 1001 72037 -> state-mismatch ESTABLISHED:ESTABLISHED");
    // Condition (4): 67035 behind.
    connected().tell("c A 1001 4294905262 -> pass ESTABLISHED:ESTABLISHED");
    connected().tell("c A 1001 4294905261 -> state-mismatch ESTABLISHED:ESTABLISHED");
}

#[test]
fn a_segment_without_payload_may_stand_anywhere() {
    connected().tell(
        "
        c A 900000 5001 -> pass ESTABLISHED:ESTABLISHED
        s A 900000 1001 -> pass ESTABLISHED:ESTABLISHED
        ",
    );
    let mut story = connected();
    story.tell("c A 900000 5001 -> pass ESTABLISHED:ESTABLISHED");
    assert_eq!(story.first().source.seqlo, Seq(1000), "and moves nothing");
}

#[test]
fn keep_alive_and_zero_window_probe_pass() {
    connected().tell(
        "
        c A 1000 5001 len=1     -> pass ESTABLISHED:ESTABLISHED
        s A 5001 1001 w=0       -> pass ESTABLISHED:ESTABLISHED
        c A 1001 5001 len=1     -> pass ESTABLISHED:ESTABLISHED
        s A 5000 1001           -> pass ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn a_reset_must_hit_the_next_number_or_acknowledge_exactly() {
    // The client has sent up to 1101.
    let sent = || {
        let mut story = connected();
        story.tell("c PA 1001 5001 len=100 -> pass ESTABLISHED:ESTABLISHED");
        story
    };
    for seq in [1100, 1101, 1102] {
        sent().tell(&format!("c R {seq} 0 -> pass TIME_WAIT:TIME_WAIT"));
    }
    for seq in [0, 101, 600, 1099, 1103, 1500, 900_000] {
        sent().tell(&format!("c R {seq} 0 -> state-mismatch ESTABLISHED:ESTABLISHED"));
    }
    // In the window, with the acknowledgment that is expected: from 1101 - 1000 to 1102.
    sent().tell("c RA 101 5001 -> pass TIME_WAIT:TIME_WAIT");
    sent().tell("c RA 600 5001 -> pass TIME_WAIT:TIME_WAIT");
    sent().tell("c RA 100 5001 -> state-mismatch ESTABLISHED:ESTABLISHED");
    sent().tell("c RA 1103 5001 -> state-mismatch ESTABLISHED:ESTABLISHED");
    sent().tell("c RA 600 5000 -> state-mismatch ESTABLISHED:ESTABLISHED");
    sent().tell("c RA 600 5002 -> state-mismatch ESTABLISHED:ESTABLISHED");
}

#[test]
fn a_reset_that_acknowledges_nothing_does_not_acknowledge_exactly() {
    // pf takes an acknowledgment of 0 in RST|ACK for "none", which must not make a forgery look perfect.
    connected().tell(
        "
        c RA 501 0  -> state-mismatch ESTABLISHED:ESTABLISHED
        c S  900 0  -> challenge +challenge=5001,1000 ESTABLISHED:ESTABLISHED
        c RA 1001 0 -> pass TIME_WAIT:TIME_WAIT
        ",
    );
}

#[test]
fn a_refused_reset_does_not_stop_the_data_behind_it() {
    connected().tell(
        "
        s R  0 0               -> state-mismatch ESTABLISHED:ESTABLISHED
        s R  900000 0          -> state-mismatch ESTABLISHED:ESTABLISHED
        s RA 5500 1001 len=0   -> state-mismatch ESTABLISHED:ESTABLISHED
        s PA 5001 1001 len=500 -> pass ESTABLISHED:ESTABLISHED
        s R  5501 0            -> pass TIME_WAIT:TIME_WAIT
        ",
    );
}

#[test]
fn a_syn_on_a_connection_is_challenged_in_the_peers_name() {
    connected().tell(
        "
        c S 1000000 0 -> challenge +challenge=5001,1000 ESTABLISHED:ESTABLISHED
        s S 7000000 0 -> challenge +challenge=1000,5001 ESTABLISHED:ESTABLISHED
        c R 1001 0    -> pass TIME_WAIT:TIME_WAIT
        ",
    );
    // A SYN|ACK is no SYN: it is tracked.
    connected().tell("s SA 5000 1001 -> pass ESTABLISHED:ESTABLISHED");
    connected().tell("s SA 900000 1001 -> state-mismatch ESTABLISHED:ESTABLISHED");
}

#[test]
fn a_syn_on_a_finished_connection_starts_a_new_one() {
    let mut story = connected();
    story.tell("c R 1001 0 -> pass TIME_WAIT:TIME_WAIT");
    let old: Vec<_> = story.oracle.states().iter().map(|state| state.id).collect();
    story.tell(
        "
        s A  5001 1001  -> pass TIME_WAIT:TIME_WAIT
        c S  777000 0   -> pass SYN_SENT:CLOSED
        ",
    );
    assert_eq!(story.oracle.states().len(), 2, "each hook replaced its own state");
    assert!(story.oracle.states().iter().all(|state| !old.contains(&state.id)));
    story.tell(
        "
        s SA 888000 777001 -> pass ESTABLISHED:SYN_SENT
        c A  777001 888001 -> pass ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn a_syn_on_a_finished_connection_asks_the_rules_again() {
    let mut story = connected();
    story.tell("c R 1001 0 -> pass TIME_WAIT:TIME_WAIT");
    story.oracle.load(oracle_support::rules(vec![oracle_support::block(ruleset::BlockReply::Drop)])).unwrap();
    // The state at the hook is gone all the same, the one at the other hook is not.
    story.tell("c S 777000 0 -> match TIME_WAIT:TIME_WAIT !");
    assert_eq!(story.oracle.states().len(), 1);
}

#[test]
fn a_half_closed_connection_is_neither_reused_nor_challenged() {
    // Server in FIN_WAIT_2, client still established: not both finished, so "both established" holds.
    connected().tell(
        "
        s FA 5001 1001 -> pass ESTABLISHED:CLOSING
        c A  1001 5002 -> pass ESTABLISHED:FIN_WAIT_2
        c S  777000 0  -> challenge +challenge=5002,1000 ESTABLISHED:FIN_WAIT_2
        ",
    );
}

#[test]
fn a_retransmitted_syn_passes_until_the_answer_is_acknowledged() {
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0    -> pass SYN_SENT:CLOSED
        c S  1000 0    -> pass SYN_SENT:CLOSED
        s SA 5000 1001 -> pass ESTABLISHED:SYN_SENT
        c S  1000 0    -> pass ESTABLISHED:SYN_SENT
        s SA 5000 1001 -> pass ESTABLISHED:SYN_SENT
        c A  1001 5001 -> pass ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn simultaneous_open() {
    Story::new(vec![pass()]).tell(
        "
        c S  1000 0    -> pass SYN_SENT:CLOSED
        s S  5000 0    -> pass SYN_SENT:SYN_SENT
        c SA 1000 5001 -> pass SYN_SENT:ESTABLISHED
        s SA 5000 1001 -> pass ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn a_wrong_answer_to_a_syn_is_reset_and_forgotten() {
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0        -> pass SYN_SENT:CLOSED
        s SA 5000 900001   -> state-mismatch +rst=900001,0 SYN_SENT:CLOSED SYN_SENT:SYN_SENT !
        ",
    );
    let out = story.oracle.states().iter().max_by_key(|state| state.id).unwrap();
    assert_eq!((out.destination.seqlo, out.destination.seqhi), (Seq(0), Seq(1)));
    assert_eq!(out.destination.max_win, 1);
    // The right answer still establishes.
    story.tell(
        "
        s SA 6000 1001 -> pass ESTABLISHED:SYN_SENT
        c A  1001 6001 -> pass ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn a_wrong_reset_in_the_handshake_is_not_answered() {
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0      -> pass SYN_SENT:CLOSED
        s RA 0 900001    -> state-mismatch SYN_SENT:CLOSED SYN_SENT:SYN_SENT !
        s RA 0 1001      -> pass TIME_WAIT:TIME_WAIT
        ",
    );
}

#[test]
fn window_scaling_holds_only_if_both_ends_offer_it() {
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0    w=65535 ws=2 -> pass SYN_SENT:CLOSED
        s SA 5000 1001 w=64 ws=4    -> pass ESTABLISHED:SYN_SENT
        c A  1001 5001 w=250        -> pass ESTABLISHED:ESTABLISHED
        ",
    );
    let (source, destination) = (story.first().source, story.first().destination);
    assert_eq!((source.wscale, destination.wscale), (Some(2), Some(4)));
    assert_eq!(source.max_win, 16384, "the SYN's window in units of 4");
    assert_eq!(destination.max_win, 4, "the SYN|ACK's window in units of 16");
    // The client gave 250 * 4 from 5001 on, and 65535 + 3 before that.
    assert_eq!(destination.seqhi, Seq(5001 + 65536));
    story.tell(
        "
        s A  5001 1001 w=64      -> pass ESTABLISHED:ESTABLISHED
        c PA 1001 5001 len=1024  -> pass ESTABLISHED:ESTABLISHED
        c PA 2025 5001 len=1     -> state-mismatch ESTABLISHED:ESTABLISHED
        ",
    );
}

/// A handshake with shifts 2 and 4.
const SCALED: &str = "
    c S  1000 0    w=65535 ws=2 -> pass SYN_SENT:CLOSED
    s SA 5000 1001 w=64 ws=4    -> pass ESTABLISHED:SYN_SENT
    c A  1001 5001 w=250        -> pass ESTABLISHED:ESTABLISHED
";

#[test]
fn old_acknowledgments_reach_back_further_with_a_scale() {
    // 67035 << 2, from 5001 on.
    let mut story = Story::new(vec![pass()]);
    story.tell(SCALED).tell("c A 1001 4294704157 -> pass ESTABLISHED:ESTABLISHED");
    let mut story = Story::new(vec![pass()]);
    story.tell(SCALED).tell("c A 1001 4294704156 -> state-mismatch ESTABLISHED:ESTABLISHED");
}

#[test]
fn the_window_of_a_repeated_syn_ack_is_unscaled_too() {
    let mut story = Story::new(vec![pass()]);
    story.tell(SCALED).tell("s SA 5000 1001 w=60000 ws=4 -> pass ESTABLISHED:ESTABLISHED");
    assert_eq!(story.first().source.seqhi, Seq(1001 + 60000));
}

#[test]
fn a_closed_window_still_allows_one_octet() {
    let mut story = connected();
    story.tell("c A 1001 6001 w=0 -> pass ESTABLISHED:ESTABLISHED");
    assert_eq!(story.first().destination.seqhi, Seq(6002));
}

#[test]
fn an_initial_number_of_the_upper_half_opens_a_window_as_well() {
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  4000000000 0                  -> pass SYN_SENT:CLOSED
        s SA 3000000000 4000000001         -> pass ESTABLISHED:SYN_SENT
        ",
    );
    assert_eq!(story.first().destination.seqhi, Seq(3_000_001_001));
    story.tell(
        "
        c A  4000000001 3000000001         -> pass ESTABLISHED:ESTABLISHED
        s PA 3000000001 4000000001 len=900 -> pass ESTABLISHED:ESTABLISHED
        s PA 3000000901 4000000001 len=101 -> state-mismatch ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn acknowledgments_of_a_peer_that_was_not_seen_are_believed() {
    let mut story = Story::new(vec![pass_any_flags()]);
    story
        .tell("c A 1001 5001 len=10 -> pass SYN_SENT:CLOSED")
        .tell("c A 1011 77777777 -> pass SYN_SENT:CLOSED");
    assert_eq!(story.first().class, ruleset::Timeout::TcpOpening, "a strict match refreshes");
}

#[test]
fn window_scaling_that_the_server_declines_is_taken_back() {
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0    w=8000 ws=3 -> pass SYN_SENT:CLOSED
        s SA 5000 1001 w=1000      -> pass ESTABLISHED:SYN_SENT
        ",
    );
    let first = story.first();
    assert_eq!((first.source.wscale, first.destination.wscale), (None, None));
    assert_eq!(first.source.max_win, 8000);
    // Offered only by the server: never known.
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0    w=8000      -> pass SYN_SENT:CLOSED
        s SA 5000 1001 w=1000 ws=7 -> pass ESTABLISHED:SYN_SENT
        ",
    );
    assert_eq!(story.first().destination.wscale, None);
}

#[test]
fn a_shift_above_14_counts_as_14() {
    let mut story = Story::new(vec![pass()]);
    story.tell("c S 1000 0 w=65535 ws=200 -> pass SYN_SENT:CLOSED");
    assert_eq!(story.first().source.wscale, Some(14));
}

#[test]
fn sequence_numbers_wrap() {
    Story::new(vec![pass()]).tell(
        "
        c S  4294967295 0          -> pass SYN_SENT:CLOSED
        s SA 4294967290 0          -> pass ESTABLISHED:SYN_SENT
        c A  0 4294967291          -> pass ESTABLISHED:ESTABLISHED
        s PA 4294967291 0 len=10   -> pass ESTABLISHED:ESTABLISHED
        c PA 0 5 len=900           -> pass ESTABLISHED:ESTABLISHED
        s A  5 900                 -> pass ESTABLISHED:ESTABLISHED
        c PA 900 5 len=1001        -> state-mismatch ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn a_connection_picked_up_in_the_middle_is_loose_until_the_peer_answers() {
    let mut story = Story::new(vec![pass_any_flags()]);
    story.tell("c A 1001 5001 len=10 -> pass SYN_SENT:CLOSED");
    assert_eq!(story.first().source.seqhi, Seq(1012));
    story.tell(
        "
        c A 1011 5001 len=60000 -> pass SYN_SENT:CLOSED
        c A 300000 5001 len=10  -> state-mismatch SYN_SENT:CLOSED
        s A 5001 61011          -> pass ESTABLISHED:SYN_SENT
        c A 61011 5001          -> pass ESTABLISHED:ESTABLISHED
        ",
    );
    assert_eq!(story.first().source.wscale, None, "the shifts stay unknown");
}

#[test]
fn after_the_close_segments_are_loose_and_refresh_nothing() {
    let mut story = connected();
    story.tell("c R 1001 0 -> pass TIME_WAIT:TIME_WAIT\n+10s");
    let seen = story.first().last_seen;
    // Beyond the window but within 67035 of it.
    story.tell("s PA 6500 1001 len=100 -> pass TIME_WAIT:TIME_WAIT");
    assert_eq!(story.first().last_seen, seen);
    story.tell("s PA 900000 1001 len=100 -> state-mismatch TIME_WAIT:TIME_WAIT");
}

#[test]
fn a_loose_reset_ends_a_half_known_connection() {
    Story::new(vec![pass_any_flags()]).tell(
        "
        c A 1001 5001 len=10 -> pass SYN_SENT:CLOSED
        c R 60000 0          -> pass TIME_WAIT:TIME_WAIT
        ",
    );
}

#[test]
fn sloppy_refuses_nothing_and_knows_half_connections() {
    // Both directions, with numbers that no window would take.
    Story::new(vec![sloppy()]).tell(
        "
        c S  1000 0       -> pass SYN_SENT:CLOSED
        s SA 77 99        -> pass ESTABLISHED:SYN_SENT
        c A  123456 9     -> pass ESTABLISHED:ESTABLISHED
        s FA 9 9          -> pass ESTABLISHED:CLOSING
        c FA 9 9          -> pass CLOSING:FIN_WAIT_2
        s A  1 1          -> pass FIN_WAIT_2:FIN_WAIT_2
        ",
    );
    // One direction only: the second segment establishes, a FIN closes both.
    Story::new(vec![sloppy()]).tell(
        "
        c S  1000 0 -> pass SYN_SENT:CLOSED
        c A  1001 1 -> pass ESTABLISHED:ESTABLISHED
        c FA 1001 1 -> pass CLOSING:CLOSING
        c A  1002 2 -> pass CLOSING:FIN_WAIT_2
        c R  1002 0 -> pass TIME_WAIT:TIME_WAIT
        c S  5 0    -> pass SYN_SENT:CLOSED
        ",
    );
    // A SYN on an established one is challenged even so.
    Story::new(vec![sloppy()]).tell(
        "
        c S  1000 0 -> pass SYN_SENT:CLOSED
        c A  1001 1 -> pass ESTABLISHED:ESTABLISHED
        c S  5 0    -> challenge +challenge=0,1000 ESTABLISHED:ESTABLISHED
        ",
    );
}

#[test]
fn flags_that_do_not_go_together_are_refused_before_any_rule() {
    for letters in ["-", "SR", "SRA", "F", "P", "U", "FPU", "RF", "RP", "SP", "SU", "E"] {
        Story::new(vec![pass_any_flags()]).tell(&format!("c {letters} 1000 0 -> normalize none"));
    }
    for letters in ["A", "R", "RA", "S", "SA", "FA", "PA", "FPUA", "SEW", "SAE"] {
        Story::new(vec![pass_any_flags()]).tell(&format!("c {letters} 1000 0 -> pass SYN_SENT:CLOSED"));
    }
    connected().tell("s FPU 5001 1001 -> normalize ESTABLISHED:ESTABLISHED");
}

#[test]
fn fin_is_taken_out_of_a_syn() {
    let mut story = Story::new(vec![pass()]);
    story.tell("c SF 1000 0 -> pass SYN_SENT:CLOSED");
    assert_eq!(story.first().source.seqhi, Seq(1002), "as of a SYN alone");
}

#[test]
fn number_zero_is_unseen_to_pf_but_not_with_a_bit_of_its_own() {
    let wrapped = "
        c S  4294967290 0                -> pass SYN_SENT:CLOSED
        s SA 5000 4294967291             -> pass ESTABLISHED:SYN_SENT
        c PA 4294967291 5001 len=5       -> pass ESTABLISHED:ESTABLISHED
    ";
    // seqlo is 0 now: pf learns the client anew and takes any number.
    Story::new(vec![pass()]).tell(wrapped).tell("c PA 500000 5001 len=1 -> pass ESTABLISHED:ESTABLISHED");
    let deviations = Deviations { seen_bit: true, ..Deviations::NONE };
    Story::with(vec![pass()], deviations)
        .tell(wrapped)
        .tell("c PA 500000 5001 len=1 -> state-mismatch ESTABLISHED:ESTABLISHED");
}

#[test]
fn behind_a_fin_past_the_window_pf_refuses_what_the_product_passes() {
    let fin = "c FA 1001 5001 len=1000 w=0 -> pass CLOSING:ESTABLISHED";
    connected().tell(fin).tell("c A 2002 5001 -> state-mismatch CLOSING:ESTABLISHED");
    let deviations = Deviations { fin_past_window: true, ..Deviations::NONE };
    Story::with(vec![pass()], deviations).tell(HANDSHAKE).tell(fin).tell(
        "
        c A  2002 5001       -> pass CLOSING:ESTABLISHED
        c PA 2002 5001 len=1 -> state-mismatch CLOSING:ESTABLISHED
        ",
    );
}
