//! The transition matrix: every pair of states, every kind of segment, every place in the window, as one table.
//!
//! A changed arrow is a changed line of `snapshots/track__matrix__*.snap`.

use std::fmt::Write as _;

use engine::track::{Datagram, Mode, Peer, Segment, TcpOutcome, open_tcp, sanity, tcp};
use ruleset::{PeerState, Timeout};
use wire::{Seq, TcpFlags};

use crate::flags::parse_flags;

/// Ends as the table names them. `s` is an end that has said SYN and is forgotten, or whose numbers were never looked at.
const ENDS: [(char, PeerState, bool); 7] = [
    ('C', PeerState::Closed, false),
    ('s', PeerState::SynSent, false),
    ('S', PeerState::SynSent, true),
    ('E', PeerState::Established, true),
    ('L', PeerState::Closing, true),
    ('F', PeerState::FinWait2, true),
    ('T', PeerState::TimeWait, true),
];

/// Kinds of segments: flags, octets of data.
const KINDS: [(&str, u32); 8] =
    [("S", 0), ("SA", 0), ("A", 0), ("PA", 100), ("FA", 0), ("FPA", 100), ("R", 0), ("RA", 0)];

/// Where the sender stands, what it may send, and what was seen of the receiver.
const SENT: Seq = Seq(100_000);
const MAY_SEND: Seq = Seq(101_000);
const WINDOW: u16 = 1_000;
const RECEIVED: Seq = Seq(900_000);
/// pf's `MAXACKWINDOW`.
const SLACK: u32 = 67_035;

/// Places of a segment: name, sequence number, acknowledgment.
const PLACES: [(&str, Seq, Seq); 9] = [
    ("exact", SENT, RECEIVED),
    ("in window", SENT.plus(500), RECEIVED),
    ("sent again", SENT.minus(500), RECEIVED),
    ("below", SENT.minus(1_000 + 101), RECEIVED),
    ("beyond", MAY_SEND.plus(1), RECEIVED),
    ("far beyond", MAY_SEND.plus(SLACK + 1), RECEIVED),
    ("ack ahead", SENT, RECEIVED.plus(SLACK + 1)),
    ("ack behind", SENT, RECEIVED.minus(SLACK + 1)),
    ("ack 0", SENT, Seq(0)),
];

fn end(state: PeerState, seen: bool, seqlo: Seq, seqhi: Seq) -> Peer {
    if seen {
        Peer { state, seen, seqlo, seqhi, max_win: WINDOW, wscale: None, seqdiff: 0 }
    } else {
        let (_, unseen, _) = open_tcp(&Segment::default());
        Peer { state, ..unseen }
    }
}

fn letter(peer: &Peer) -> char {
    let known = ENDS.iter().find(|(_, state, seen)| *state == peer.state && *seen == peer.seen);
    // A sloppy connection comes as far as any other without its ends being seen.
    known.or_else(|| ENDS.iter().find(|(_, state, _)| *state == peer.state)).expect("a state of TCP").0
}

fn cell(outcome: &TcpOutcome) -> String {
    match outcome {
        TcpOutcome::Pass { from, to, refresh, established } => {
            let timer = refresh.map_or("~", |timeout| timeout.name().trim_start_matches("tcp."));
            format!("{}{} {timer}{}", letter(from), letter(to), if *established { "*" } else { "" })
        }
        TcpOutcome::Mismatch { check, from, reset } => {
            let verdict = match (from, reset) {
                (None, _) => "-",
                (Some(_), Some(_)) => "-reset",
                (Some(_), None) => "-forget",
            };
            format!("{verdict} {}", check.failed().collect::<String>())
        }
        TcpOutcome::Reuse => "-reuse".to_owned(),
        TcpOutcome::Challenge { .. } => "-challenge".to_owned(),
    }
}

#[test]
fn tcp_transitions() {
    let mut table = String::from("from to flags |");
    for (place, ..) in PLACES {
        write!(table, " {place:<14} |").expect("a string");
    }
    table.push_str(" sloppy\n");
    for (from_letter, from_state, from_seen) in ENDS {
        for (to_letter, to_state, to_seen) in ENDS {
            for (flags, len) in KINDS {
                let from = end(from_state, from_seen, SENT, MAY_SEND);
                let to = end(to_state, to_seen, RECEIVED, RECEIVED.plus(u32::from(WINDOW)));
                let segments = PLACES.map(|(_, seq, ack)| Segment {
                    flags: parse_flags(flags),
                    seq,
                    ack,
                    window: WINDOW,
                    len,
                    ..Segment::default()
                });
                write!(table, "{from_letter}    {to_letter}  {flags:<5} |").expect("a string");
                for segment in &segments {
                    write!(table, " {:<14} |", cell(&tcp(&from, &to, segment, Mode::Strict)))
                        .expect("a string");
                }
                let sloppy = segments.map(|segment| cell(&tcp(&from, &to, &segment, Mode::Sloppy)));
                assert!(
                    sloppy.iter().all(|cell| *cell == sloppy[0]),
                    "sloppy tracking looked at a number: {sloppy:?}"
                );
                writeln!(table, " {}", sloppy[0]).expect("a string");
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn datagram_transitions() {
    const STATES: [PeerState; 3] = [PeerState::NoTraffic, PeerState::Single, PeerState::Multiple];
    let mut table = String::new();
    for kind in [Datagram::Udp, Datagram::Icmp, Datagram::Other] {
        let show = |(from, to, timeout): (PeerState, PeerState, Timeout)| {
            format!("{:<10}  {:<10}  {timeout}", from.name(), to.name())
        };
        writeln!(table, "{kind:?}\n  {:<24}{}", "opens", show(kind.open())).expect("a string");
        for from in STATES {
            for to in STATES {
                let before = format!("{:<10}  {:<10}", from.name(), to.name());
                writeln!(table, "  {before}  {}", show(kind.follow(from, to))).expect("a string");
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// Every combination of flags: the statement of pf.conf(5) and RFC 9293, written out flag by flag.
#[test]
fn flags_that_no_honest_sender_combines() {
    let has = |flags: u8, flag: TcpFlags| flags & flag.0 != 0;
    for flags in 0..=u8::MAX {
        let syn = has(flags, TcpFlags::SYN);
        let ack = has(flags, TcpFlags::ACK);
        let rst = has(flags, TcpFlags::RST);
        let fin = has(flags, TcpFlags::FIN);
        let text = has(flags, TcpFlags::PSH) || has(flags, TcpFlags::URG);
        let illegal = (syn && rst)
            || (!syn && !ack && !rst)
            || (!ack && text)
            // A FIN beside a SYN is not refused but taken away.
            || (!ack && fin && !syn);
        match sanity(TcpFlags(flags)) {
            Err(_) => assert!(illegal, "{} was refused", TcpFlags(flags)),
            Ok(kept) => {
                assert!(!illegal, "{} was not refused", TcpFlags(flags));
                let taken = if syn { TcpFlags::FIN.0 } else { 0 };
                assert_eq!(kept, TcpFlags(flags & !taken), "of {}", TcpFlags(flags));
            }
        }
    }
}

/// The ones with names, so that the test above is not alone with its own opinion.
#[test]
fn flags_by_name() {
    for illegal in ["", "SR", "SFR", "F", "P", "U", "FPU", "FSPU", "FSPRAU", "FPR", "SP", "SU"] {
        assert!(sanity(parse_flags(illegal)).is_err(), "{illegal:?} passed");
    }
    for legal in
        ["S", "SA", "A", "R", "RA", "FA", "FPA", "PA", "PAU", "FRA", "SEW", "SAE", "SAEW", "RE", "AW"]
    {
        assert_eq!(sanity(parse_flags(legal)), Ok(parse_flags(legal)), "{legal}");
    }
    assert_eq!(sanity(parse_flags("SF")), Ok(parse_flags("S")));
    assert_eq!(sanity(parse_flags("SFA")), Ok(parse_flags("SA")));
}
