//! How drops are told.

use api::{Clause, DropExample, HookView, Misfit, MisfitView, PacketView, PeerMet, SeenPacket, TcpView};
use ruleset::{Direction, PeerState, Reason, TupleEnd};

fn end(text: &str) -> TupleEnd {
    let (address, port) = text.rsplit_once(' ').unwrap();
    let port = serde_json::from_str(port).unwrap();
    TupleEnd { address: address.parse().unwrap(), port }
}

fn peer(seqlo: u32) -> PeerMet {
    PeerMet {
        state: PeerState::Established,
        seqlo,
        seqhi: seqlo + 65_536,
        max_win: 512,
        wscale: Some(7),
        seqdiff: 0,
    }
}

fn example() -> DropExample {
    let (client, server) = (end("10.0.0.2 40000"), end("10.1.0.2 80"));
    let tcp = TcpView { flags: "PA".into(), seq: 900_000, ack: 1001, window: 512, length: 10 };
    let clauses = vec![Clause { mark: '1', by: 829_473 }, Clause { mark: '5', by: 762_438 }];
    DropExample {
        seconds: 1_700_000_000,
        nanoseconds: 0,
        worker: 0,
        reason: Reason::StateMismatch,
        interface: "wan0".into(),
        arrival: Some("wan0".into()),
        from_host: false,
        to_host: false,
        hook: Some(HookView { direction: Direction::In, interface: "wan0".into() }),
        rule: Some(3),
        packet: SeenPacket::Packet(PacketView {
            proto: "tcp".into(),
            source: server,
            destination: client,
            tcp: Some(tcp),
            icmp: None,
            fragment: false,
            ttl: 63,
            length: 50,
        }),
        misfit: Some(MisfitView {
            direction: Direction::Out,
            forward: false,
            wire: [client, server],
            stack: [client, server],
            peers: [peer(1001), peer(5001)],
            packets: [2, 1],
            kind: Misfit::Window { failed: "1         | 5  ".into(), clauses, seq: 900_000, ackskew: 0 },
        }),
        between: 0,
    }
}

/// The fields are those of pf_print_state and pf_tcp_track_full of OpenBSD 7.8.
#[test]
fn a_mismatch_is_logged_as_pf_logs_it() {
    assert_eq!(
        example().bad_state().unwrap(),
        "pf: BAD state: TCP out wire: (0) 10.1.0.2:80 10.0.0.2:40000 stack: (0) - \
         [lo=1001 high=66537 win=512 modulator=0 wscale=7] [lo=5001 high=70537 win=512 modulator=0 wscale=7] \
         4:4 @3 PA seq=900000 (900000) ack=1001 len=10 ackskew=0 pkts=2:1 dir=in,rev  \
         State failure on: 1         | 5  "
    );
    let mut other = example();
    other.misfit.as_mut().unwrap().kind = Misfit::Query;
    assert_eq!(other.bad_state(), None);
}

#[test]
fn scales_are_told_only_where_both_ends_have_one_and_a_translated_state_tells_both_tuples() {
    let mut example = example();
    let misfit = example.misfit.as_mut().unwrap();
    misfit.peers[0].wscale = None;
    misfit.wire[0] = end("192.0.2.1 50001");
    let line = example.bad_state().unwrap();
    assert!(!line.contains("wscale"), "{line}");
    let tuples = "wire: (0) 10.1.0.2:80 192.0.2.1:50001 stack: (0) 10.1.0.2:80 10.0.0.2:40000";
    assert!(line.contains(tuples), "{line}");
}

#[test]
fn examples_are_told_in_words() {
    let example = example();
    assert_eq!(
        example.packet.to_string(),
        "tcp 10.1.0.2:80 > 10.0.0.2:40000 PA seq 900000 ack 1001 len 10, ttl 63, 50 bytes"
    );
    assert_eq!(
        example.misfit.unwrap().kind.to_string(),
        "(1) ends 829473 octets beyond the window that its receiver has opened"
    );
    let why = "its timestamp is 7 ticks older than what its receiver has echoed already";
    assert_eq!(Misfit::Timestamp { why: why.into(), by: Some(7) }.to_string(), why);
    let unseen = Clause { mark: '3', by: i32::MAX as u32 + 1 - 67_035 };
    assert_eq!(unseen.to_string(), "acknowledges an end of which nothing was seen");
    let bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xcc, 2, 7];
    assert_eq!(
        SeenPacket::Frame { length: 60, bytes }.to_string(),
        "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype 0x88cc, 60 bytes: 02 07"
    );
    assert_eq!(SeenPacket::Frame { length: 3, bytes: vec![1, 2, 3] }.to_string(), "3 bytes:");
}
