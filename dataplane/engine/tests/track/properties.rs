//! What holds for every pair of ends and every segment.

use engine::track::{Mode, Peer, QuotedOutside, Segment, TcpOutcome, icmp_error, open_tcp, tcp};
use proptest::prelude::*;
use ruleset::{PeerState, Timeout};
use wire::{Seq, TcpFlags};

/// pf's `MAXACKWINDOW`.
const SLACK: i64 = 67_035;

fn state() -> impl Strategy<Value = PeerState> {
    prop::sample::select(vec![
        PeerState::SynSent,
        PeerState::Established,
        PeerState::Closing,
        PeerState::FinWait2,
        PeerState::TimeWait,
    ])
}

fn scale() -> impl Strategy<Value = Option<u8>> {
    prop::option::of(0u8..=14)
}

/// A number that is rarely random: mostly it lies at one of `bounds`, or one or two from it.
fn near(bounds: Vec<i64>) -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => (prop::sample::select(bounds), -2i64..=2).prop_map(|(bound, off)| bound + off),
        1 => -200_000i64..200_000,
    ]
}

/// Two ends that are seen and a segment between them, in plain numbers: places count from the sender's `seqlo`,
/// acknowledgments from the receiver's. No distance comes near 2³¹.
#[derive(Clone, Debug)]
struct Plain {
    states: (PeerState, PeerState),
    scales: (Option<u8>, Option<u8>),
    max_win: (u16, u16),
    /// How far each end may send.
    room: (i64, i64),
    flags: TcpFlags,
    start: i64,
    len: u32,
    ack: i64,
    window: u16,
    /// Where the two sequences begin, and how they are modulated.
    bases: (u32, u32),
    seqdiff: (u32, u32),
}

prop_compose! {
    fn plain()(
        states in (state(), state()),
        scales in (scale(), scale()),
        max_win in any::<(u16, u16)>(),
        room in (-70_000i64..200_000, -70_000i64..200_000),
        flags in 0u8..64,
        len in prop_oneof![Just(0u32), Just(1), 0u32..3_000],
        window in any::<u16>(),
        bases in any::<(u32, u32)>(),
        seqdiff in prop_oneof![Just((0, 0)), any::<(u32, u32)>()],
    )(
        start in near(vec![
            0,
            room.0 - i64::from(len),
            room.0 + SLACK - i64::from(len),
            -SLACK,
            -(i64::from(max_win.1) << scales.1.unwrap_or(0)),
            -i64::from(max_win.1),
        ]),
        ack in near(vec![0, SLACK, -SLACK, -(SLACK << scales.0.unwrap_or(0))]),
        states in Just(states), scales in Just(scales), max_win in Just(max_win), room in Just(room),
        flags in Just(TcpFlags(flags)), len in Just(len), window in Just(window), bases in Just(bases),
        seqdiff in Just(seqdiff),
    ) -> Plain {
        Plain { states, scales, max_win, room, flags, start, len, ack, window, bases, seqdiff }
    }
}

/// `base` and a plain distance, modulo 2³².
fn at(base: u32, distance: i64) -> Seq {
    Seq((i64::from(base) + distance).rem_euclid(1 << 32) as u32)
}

impl Plain {
    fn ends(&self) -> (Peer, Peer) {
        let end = |state, base, room, max_win, wscale, seqdiff| Peer {
            state,
            seen: true,
            seqlo: at(base, 0),
            seqhi: at(base, room),
            max_win,
            wscale,
            seqdiff,
        };
        (
            end(self.states.0, self.bases.0, self.room.0, self.max_win.0, self.scales.0, self.seqdiff.0),
            end(self.states.1, self.bases.1, self.room.1, self.max_win.1, self.scales.1, self.seqdiff.1),
        )
    }

    fn segment(&self) -> Segment {
        Segment {
            flags: self.flags,
            seq: at(self.bases.0, self.start),
            ack: at(self.bases.1.wrapping_add(self.seqdiff.1), self.ack),
            window: self.window,
            len: self.len,
            ..Segment::default()
        }
    }

    fn has(&self, flag: TcpFlags) -> bool {
        self.flags.contains(flag)
    }

    fn shifts(&self) -> (u32, u32) {
        match self.scales {
            (Some(from), Some(to)) if !self.has(TcpFlags::SYN) => (from.into(), to.into()),
            _ => (0, 0),
        }
    }

    /// Start, end of data, end.
    fn span(&self) -> (i64, i64, i64) {
        let data_end = self.start + i64::from(self.len) + i64::from(self.has(TcpFlags::SYN));
        let end = data_end + i64::from(self.has(TcpFlags::FIN));
        if end == self.start { (0, 0, 0) } else { (self.start, data_end, end) }
    }

    /// The acknowledgment, if it is to be believed.
    fn judged_ack(&self) -> Option<i64> {
        let empty = self.has(TcpFlags::RST) && self.segment().ack == Seq(0);
        (self.has(TcpFlags::ACK) && !empty).then_some(self.ack)
    }

    /// The marks of the clauses that do not hold, in plain arithmetic.
    fn failed(&self) -> String {
        let (start, data_end, _) = self.span();
        let (from_shift, to_shift) = self.shifts();
        let back = i64::from(self.max_win.1) << to_shift;
        let ack = self.judged_ack();
        let exact_reset = (-1..=1).contains(&self.start)
            || (-back <= self.start && self.start <= 1 && self.has(TcpFlags::ACK) && ack == Some(0));
        [
            ('1', data_end <= self.room.0),
            ('2', start >= -back),
            ('3', ack.is_none_or(|ack| ack <= SLACK)),
            ('4', ack.is_none_or(|ack| ack >= -(SLACK << from_shift))),
            ('R', !self.has(TcpFlags::RST) || exact_reset),
            ('5', data_end <= self.room.0 + SLACK),
            ('6', start >= -SLACK),
        ]
        .into_iter()
        .filter(|(_, holds)| !holds)
        .map(|(mark, _)| mark)
        .collect()
    }

    /// What the sender has sent and the receiver may send behind the segment, from where each of them was.
    fn progress(&self) -> (i64, i64) {
        let window = i64::from(self.window) << self.shifts().0;
        let ack = self.judged_ack().unwrap_or(0);
        let room = if ack + window >= self.room.1 { ack + window.max(1) } else { self.room.1 };
        (self.span().2.max(0), room)
    }
}

/// Both peers and a segment, anywhere in the sequence space.
fn anywhere() -> impl Strategy<Value = (Peer, Peer, Segment)> {
    let peer = || {
        (state(), any::<bool>(), any::<u32>(), 0u32..200_000, any::<u16>(), scale(), any::<u32>()).prop_map(
            |(state, seen, seqlo, room, max_win, wscale, seqdiff)| {
                let (_, unseen, _) = open_tcp(&Segment::default());
                if seen {
                    let (seqlo, seqhi) = (Seq(seqlo), Seq(seqlo).plus(room));
                    Peer { state, seen, seqlo, seqhi, max_win, wscale, seqdiff }
                } else {
                    let state = if seqlo & 1 == 0 { PeerState::Closed } else { PeerState::SynSent };
                    Peer { state, seqdiff, ..unseen }
                }
            },
        )
    };
    let places = || prop_oneof![3 => (-80_000i64..280_000).prop_map(|near| near as u32), 1 => any::<u32>()];
    let segment = (0u8..64, places(), places(), any::<u16>(), 0u32..3_000, any::<Option<u8>>());
    (peer(), peer(), segment).prop_map(|(from, to, (flags, seq, ack, window, len, wscale))| {
        let ack = to.seqlo.plus(to.seqdiff).plus(ack);
        (
            from,
            to,
            Segment {
                flags: TcpFlags(flags),
                seq: from.seqlo.plus(seq),
                ack,
                window,
                len,
                wscale,
                strays: false,
            },
        )
    })
}

/// The end with its numbers moved, if it has any.
fn moved(peer: &Peer, by: u32) -> Peer {
    if peer.seen { Peer { seqlo: peer.seqlo.plus(by), seqhi: peer.seqhi.plus(by), ..*peer } } else { *peer }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The clauses, the verdict and the new numbers are those of plain arithmetic, wherever the sequences begin.
    #[test]
    fn the_window_test_is_the_one_of_plain_numbers(case in plain()) {
        let (from, to) = case.ends();
        let failed = case.failed();
        let strict = !failed.contains(['1', '2', '3', '4', 'R']);
        let half_known = from.state >= PeerState::FinWait2 || to.state >= PeerState::FinWait2;
        let loose = half_known && !failed.contains(['5', '6']);
        match tcp(&from, &to, &case.segment(), Mode::Strict) {
            TcpOutcome::Pass { from: from_after, to: to_after, refresh, .. } => {
                prop_assert!(strict || loose, "passed in spite of {failed}");
                prop_assert_eq!(refresh.is_some(), strict);
                let (sent, room) = case.progress();
                prop_assert_eq!(from_after.seqlo, at(case.bases.0, sent));
                prop_assert_eq!(to_after.seqhi, at(case.bases.1, room));
            }
            TcpOutcome::Mismatch { check, from: forgotten, reset } => {
                prop_assert!(!strict && !loose, "refused without reason");
                prop_assert_eq!(check.failed().collect::<String>(), failed);
                let handshake = from.state == PeerState::SynSent && to.state == PeerState::SynSent;
                prop_assert_eq!(forgotten.is_some(), handshake);
                prop_assert_eq!(reset.is_some(), handshake && !case.has(TcpFlags::RST));
            }
            TcpOutcome::Reuse => prop_assert!(from.state.min(to.state) >= PeerState::FinWait2),
            TcpOutcome::Challenge { seq, ack } => {
                prop_assert!(from.state.min(to.state) >= PeerState::Established);
                prop_assert_eq!((seq, ack), (to.seqlo.plus(to.seqdiff), from.seqlo));
            }
        }
    }

    /// Nothing depends on where the sequences begin.
    #[test]
    fn shifting_both_sequences_changes_nothing((from, to, segment) in anywhere(), a: u32, b: u32) {
        let shifted = Segment { seq: segment.seq.plus(a), ack: segment.ack.plus(b), ..segment };
        // An acknowledgment of 0 is told from others by its value.
        prop_assume!(segment.ack != Seq(0) && shifted.ack != Seq(0));
        for mode in [Mode::Strict, Mode::Sloppy] {
            let plain = match tcp(&from, &to, &segment, mode) {
                // Sloppily, an end that is not seen stays so.
                TcpOutcome::Pass { from, to, refresh, established } =>
                    TcpOutcome::Pass { from: moved(&from, a), to: moved(&to, b), refresh, established },
                TcpOutcome::Mismatch { check, from, reset } =>
                    TcpOutcome::Mismatch { check, from, reset: reset.map(|seq| seq.plus(b)) },
                TcpOutcome::Challenge { .. } => TcpOutcome::Challenge {
                    seq: moved(&to, b).seqlo.plus(to.seqdiff),
                    ack: moved(&from, a).seqlo,
                },
                TcpOutcome::Reuse => TcpOutcome::Reuse,
            };
            prop_assert_eq!(tcp(&moved(&from, a), &moved(&to, b), &shifted, mode), plain);
        }
    }

    /// A refused segment changes nothing; only during the handshake its sender is forgotten, and nothing else.
    #[test]
    fn a_refused_segment_leaves_at_most_a_forgotten_sender((from, to, segment) in anywhere()) {
        if let TcpOutcome::Mismatch { check, from: forgotten, reset } = tcp(&from, &to, &segment, Mode::Strict) {
            prop_assert!(!check.strict());
            match forgotten {
                None => prop_assert_eq!(reset, None),
                Some(forgotten) => {
                    prop_assert!(from.state <= PeerState::SynSent && to.state == PeerState::SynSent);
                    let (_, unseen, _) = open_tcp(&segment);
                    let Peer { wscale, seqdiff, .. } = from;
                    prop_assert_eq!(forgotten, Peer { state: PeerState::SynSent, wscale, seqdiff, ..unseen });
                    let answered = (!segment.has(TcpFlags::RST)).then_some(segment.ack);
                    prop_assert_eq!(reset, answered);
                }
            }
        }
    }

    /// An accepted segment moves nothing back, and nothing that is not its own to move.
    #[test]
    fn nothing_goes_back((from, to, segment) in anywhere()) {
        for mode in [Mode::Strict, Mode::Sloppy] {
            let outcome = tcp(&from, &to, &segment, mode);
            let TcpOutcome::Pass { from: sender, to: receiver, refresh, established } = outcome else { continue };
            prop_assert!(sender.state >= from.state && receiver.state >= to.state);
            prop_assert!(receiver.seqhi.since(to.seqhi) >= 0);
            prop_assert_eq!((receiver.seen, receiver.seqlo, receiver.seqdiff), (to.seen, to.seqlo, to.seqdiff));
            prop_assert_eq!(sender.seqdiff, from.seqdiff);
            prop_assert!(sender.max_win >= from.max_win && receiver.max_win >= to.max_win);
            if from.seen {
                prop_assert!(sender.seqlo.since(from.seqlo) >= 0);
                prop_assert_eq!((sender.seen, sender.seqhi, sender.wscale), (true, from.seqhi, from.wscale));
                prop_assert_eq!((receiver.max_win, receiver.wscale), (to.max_win, to.wscale));
            }
            prop_assert!(!established || refresh.is_some());
            prop_assert!(sender.wscale.is_none_or(|shift| shift <= 14));
            if mode == Mode::Sloppy {
                prop_assert_eq!((sender.seqlo, sender.seqhi, sender.seen), (from.seqlo, from.seqhi, from.seen));
                prop_assert_eq!(receiver.seqhi, to.seqhi);
            }
        }
    }

    /// The first segment of an end makes it one that is seen, with room to send, and settles scaling for both ends.
    #[test]
    fn the_first_segment_of_an_end((from, to, segment) in anywhere()) {
        let from = Peer { seen: false, wscale: None, ..from };
        let outcome = tcp(&from, &to, &segment, Mode::Strict);
        let TcpOutcome::Pass { from: sender, to: receiver, .. } = outcome else { return Ok(()) };
        let (syn, fin) = (segment.has(TcpFlags::SYN), segment.has(TcpFlags::FIN));
        let end = segment.seq.plus(segment.len).plus(u32::from(syn) + u32::from(fin));
        prop_assert!(sender.seen && sender.state >= PeerState::SynSent);
        prop_assert_eq!(sender.seqlo, end);
        prop_assert!(sender.seqhi.since(end) >= 1);
        if syn {
            prop_assert_eq!(sender.wscale.is_some(), receiver.wscale.is_some());
            prop_assert_eq!(sender.wscale.is_some(), to.wscale.is_some() && segment.wscale.is_some());
        } else {
            prop_assert_eq!((sender.wscale, receiver.wscale), (None, to.wscale));
        }
    }

    /// The time-out follows from the two states (pf.conf(5) `set timeout`), and is left alone if the segment fits loosely.
    #[test]
    fn the_timeout_is_that_of_the_states((from, to, segment) in anywhere()) {
        use PeerState::{Closing, Established, FinWait2};
        for mode in [Mode::Strict, Mode::Sloppy] {
            let outcome = tcp(&from, &to, &segment, mode);
            let TcpOutcome::Pass { from: a, to: b, refresh: Some(timeout), .. } = outcome else { continue };
            let both = |state| a.state >= state && b.state >= state;
            let either = |state| a.state >= state || b.state >= state;
            let expected = match timeout {
                Timeout::TcpOpening => !both(Established),
                Timeout::TcpEstablished => both(Established) && !either(Closing),
                Timeout::TcpClosing => both(Established) && either(Closing) && !both(Closing),
                Timeout::TcpFinwait => both(Closing) && !both(FinWait2),
                Timeout::TcpClosed => both(FinWait2),
                _ => false,
            };
            prop_assert!(expected, "{timeout} for {:?} and {:?}", a.state, b.state);
        }
    }

    /// The quoted segment of an ICMP error: RFC 5927 §4.1, in plain numbers.
    #[test]
    fn a_quoted_segment_must_be_in_flight(case in plain()) {
        let (from, to) = case.ends();
        let scaled = if from.wscale.is_some() { to.wscale.unwrap_or(0) } else { 0 };
        let oldest = -(i64::from(to.max_win) << scaled);
        let expected = match case.start {
            start if start > case.room.0 => Err(QuotedOutside::Ahead),
            start if start < oldest => Err(QuotedOutside::Behind),
            _ => Ok(()),
        };
        let quoted = case.segment().seq.plus(from.seqdiff);
        prop_assert_eq!(icmp_error(&from, &to, quoted, Mode::Strict), expected);
        prop_assert_eq!(icmp_error(&from, &to, quoted, Mode::Sloppy), Ok(()));
        let unseen = Peer { seen: false, ..from };
        prop_assert_eq!(icmp_error(&unseen, &to, quoted, Mode::Strict), Err(QuotedOutside::Unknown));
    }
}
