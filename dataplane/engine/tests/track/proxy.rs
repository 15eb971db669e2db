//! The handshakes that are completed for a server, segment by segment.

use engine::track::{self, Peer, ProxyOutcome, ProxySide, Segment, await_client, open_tcp, proxy};
use proptest::prelude::*;
use ruleset::PeerState;
use wire::{Seq, TcpFlags};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const FIN: TcpFlags = TcpFlags::FIN;

fn segment(flags: TcpFlags, seq: u32, ack: u32) -> Segment {
    Segment { flags, seq: Seq(seq), ack: Seq(ack), window: 500, ..Segment::default() }
}

/// A client that has said SYN with number 1000 and was told 9000, and a server that knows nothing.
fn asked() -> (Peer, Peer) {
    let (client, server, _) = open_tcp(&Segment { wscale: Some(7), ..segment(SYN, 1000, 0) });
    (await_client(client, Seq(9000)), server)
}

/// The same, behind the client's ACK: the server was told 7000.
fn waiting() -> (Peer, Peer) {
    let (client, server) = asked();
    match proxy(&client, &server, &segment(ACK, 1001, 9001), ProxySide::Client, Seq(7000)) {
        ProxyOutcome::Ask { client, server, syn } => {
            assert_eq!(syn, Segment { flags: SYN, seq: Seq(7000), ..Segment::default() });
            (client, server)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_completes_its_handshake_has_the_server_asked() {
    let (client, server) = waiting();
    assert_eq!((client.state, client.max_win, client.wscale), (PeerState::ProxyDst, 500, None));
    assert_eq!((server.state, server.seqhi), (PeerState::Closed, Seq(7000)));
}

#[test]
fn nothing_but_the_exact_answer_completes_the_clients_handshake() {
    let (client, server) = asked();
    for wrong in [
        segment(ACK, 1001, 9000),
        segment(ACK, 1001, 9002),
        segment(ACK, 999, 9001),
        segment(ACK, 1002, 9001),
        segment(ACK.union(FIN), 1001, 9001),
        segment(RST, 1000, 0),
        segment(RST.union(ACK), 1002, 9001),
        segment(SYN, 1001, 0),
        segment(SYN.union(ACK), 1000, 9001),
    ] {
        let outcome = proxy(&client, &server, &wrong, ProxySide::Client, Seq(7000));
        assert_eq!(outcome, ProxyOutcome::Drop, "{wrong:?}");
    }
    let by_server = proxy(&client, &server, &segment(SYN.union(ACK), 1, 7001), ProxySide::Server, Seq(0));
    assert_eq!(by_server, ProxyOutcome::Drop, "nobody has asked it");
}

#[test]
fn a_repeated_syn_is_answered_as_the_first_one() {
    let (client, server) = asked();
    let outcome = proxy(&client, &server, &segment(SYN, 1000, 0), ProxySide::Client, Seq(1));
    assert_eq!(outcome, ProxyOutcome::Repeat { seq: Seq(9000), ack: Seq(1001) });
}

/// A19. What the client says while it waits has the server asked again, with the same number: its own SYN may be lost.
#[test]
fn a19_a_lost_syn_to_the_server_is_repeated() {
    let (client, server) = waiting();
    // Its ACK once more; the probe of a closed window, which begins one octet earlier; data.
    for seq in [1001, 1000] {
        match proxy(&client, &server, &segment(ACK, seq, 9001), ProxySide::Client, Seq(123)) {
            ProxyOutcome::Ask { syn, .. } => assert_eq!(syn.seq, Seq(7000)),
            other => panic!("{other:?}"),
        }
    }
    let outcome = proxy(&client, &server, &segment(ACK, 1002, 9001), ProxySide::Client, Seq(123));
    assert_eq!(outcome, ProxyOutcome::Drop);
}

#[test]
fn the_servers_answer_joins_both_ends() {
    let (client, server) = waiting();
    let answer = segment(SYN.union(ACK), 4000, 7001);
    let ProxyOutcome::Join { client, server, to_client, to_server } =
        proxy(&client, &server, &answer, ProxySide::Server, Seq(0))
    else {
        panic!("not joined");
    };
    assert_eq!(to_client, segment(ACK, 9001, 1001));
    assert_eq!(to_server, segment(ACK, 7001, 4001));
    assert_eq!((client.state, server.state), (PeerState::Established, PeerState::Established));
    assert_eq!(client.seqdiff, 7000 - 1000);
    assert_eq!(server.seqdiff, 9000 - 4000);
    // And they can go on, each in its own numbers.
    let data = Segment { len: 100, ..segment(ACK, 1001, 9001) };
    assert!(matches!(
        track::tcp(&client, &server, &data, track::Mode::Strict),
        track::TcpOutcome::Pass { .. }
    ));
    let data = Segment { len: 100, ..segment(ACK, 4001, 7001) };
    assert!(matches!(
        track::tcp(&server, &client, &data, track::Mode::Strict),
        track::TcpOutcome::Pass { .. }
    ));
}

#[test]
fn nothing_but_the_exact_answer_joins_them() {
    let (client, server) = waiting();
    for wrong in [
        segment(SYN.union(ACK), 4000, 7000),
        segment(SYN.union(ACK), 4000, 7002),
        segment(ACK, 4000, 7001),
        segment(SYN, 4000, 7001),
        segment(RST, 7001, 0),
        segment(RST.union(ACK), 0, 7000),
    ] {
        assert_eq!(
            proxy(&client, &server, &wrong, ProxySide::Server, Seq(0)),
            ProxyOutcome::Drop,
            "{wrong:?}"
        );
    }
}

#[test]
fn resets_end_the_connection_and_the_client_hears_of_the_servers() {
    let (client, server) = waiting();
    let refused = proxy(&client, &server, &segment(RST.union(ACK), 0, 7001), ProxySide::Server, Seq(0));
    let ProxyOutcome::End { client: ended, to_client: Some(reset), .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(ended.state, PeerState::TimeWait);
    assert_eq!(reset, Segment { flags: RST, seq: Seq(9001), ..Segment::default() });
    for (client, server) in [asked(), waiting()] {
        let outcome = proxy(&client, &server, &segment(RST, 1001, 0), ProxySide::Client, Seq(0));
        let ProxyOutcome::End { client, server, to_client: None } = outcome else { panic!("{outcome:?}") };
        assert_eq!((client.state, server.state), (PeerState::TimeWait, PeerState::TimeWait));
    }
}

proptest! {
    /// Whatever the three initial numbers are, also 0, 1 and those at the end.
    #[test]
    fn every_initial_number_will_do(
        client_isn in prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()],
        told in prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()],
        asked in prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()],
        server_isn in prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()],
    ) {
        let next = |seq: u32| seq.wrapping_add(1);
        let (client, server, _) = open_tcp(&segment(SYN, client_isn, 0));
        let client = await_client(client, Seq(told));
        let ack = segment(ACK, next(client_isn), next(told));
        let ProxyOutcome::Ask { client, server, syn } = proxy(&client, &server, &ack, ProxySide::Client, Seq(asked))
        else { panic!("not asked") };
        let again = proxy(&client, &server, &ack, ProxySide::Client, Seq(asked ^ 0x55));
        prop_assert_eq!(again, ProxyOutcome::Ask { client, server, syn }, "the number is kept");
        let answer = segment(SYN.union(ACK), server_isn, next(syn.seq.0));
        let ProxyOutcome::Join { client, server, .. } = proxy(&client, &server, &answer, ProxySide::Server, Seq(0))
        else { panic!("not joined") };
        prop_assert_eq!(client_isn.wrapping_add(client.seqdiff), syn.seq.0);
        prop_assert_eq!(server_isn.wrapping_add(server.seqdiff), told);
    }
}
