//! The short way through an established connection is the long way, wherever it says anything.

use engine::track::{self, Advance, End, Mode, Peer, Plain, Segment, TcpOutcome};
use proptest::prelude::*;
use ruleset::{PeerState, Timeout};
use wire::{Seq, TcpFlags};

fn peer() -> impl Strategy<Value = (u32, i64, u16, Option<u8>)> {
    (any::<u32>(), -100_000_i64..200_000_000, any::<u16>(), proptest::option::of(0_u8..=14))
}

fn make((seqlo, ahead, max_win, wscale): (u32, i64, u16, Option<u8>)) -> Peer {
    Peer {
        state: PeerState::Established,
        seen: true,
        seqlo: Seq(seqlo),
        seqhi: Seq(seqlo).plus(ahead as u32),
        max_win,
        wscale,
        seqdiff: 0,
    }
}

fn end(own: &Peer, other: &Peer) -> End {
    let shift = own.wscale.filter(|_| other.wscale.is_some()).unwrap_or(0);
    End { seqlo: own.seqlo, seqhi: own.seqhi, max_win: own.max_win, shift }
}

/// Distances near every edge of the window test, and far from all.
fn distance() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3_i64..=3,
        -70_000_i64..=70_000,
        Just(67_035),
        Just(67_036),
        Just(-67_035),
        Just(-67_036),
        -1_100_000_000_i64..=1_100_000_000,
        Just(1 << 31),
        Just((1 << 31) - 1),
    ]
}

fn both(from: &Peer, to: &Peer, plain: &Plain, push: bool) -> (Option<Advance>, TcpOutcome) {
    let flags = if push { TcpFlags::ACK.union(TcpFlags::PSH) } else { TcpFlags::ACK };
    let Plain { seq, ack, window, len } = *plain;
    let segment = Segment { flags, seq, ack, window, len, wscale: None, strays: false };
    let short = track::established(&end(from, to), &end(to, from), plain);
    (short, track::tcp(from, to, &segment, Mode::Strict))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn both_ways_agree(
        from in peer(), to in peer(), base in 0_u8..3, off in distance(), acked in distance(),
        window in any::<u16>(), len in prop_oneof![Just(0_u32), 1_u32..=1460, 1_u32..=65_535], push in any::<bool>(),
    ) {
        let (from, to) = (make(from), make(to));
        let base = match base {
            0 => from.seqlo,
            1 => from.seqhi.minus(len),
            _ => from.seqlo.minus(u32::from(to.max_win) << end(&to, &from).shift),
        };
        let plain = Plain { seq: base.plus(off as u32), ack: to.seqlo.plus(acked as u32), window, len };
        let (short, long) = both(&from, &to, &plain, push);
        match long {
            TcpOutcome::Pass { from: from_after, to: to_after, refresh: Some(timeout), established } => {
                let Advance { seqlo, max_win, seqhi } = short.expect("what fits strictly goes the short way");
                prop_assert_eq!(from_after, Peer { seqlo, max_win, ..from });
                prop_assert_eq!(to_after, Peer { seqhi, ..to });
                prop_assert_eq!(timeout, Timeout::TcpEstablished);
                prop_assert!(!established);
            }
            refused => prop_assert_eq!(short, None, "{:?}", refused),
        }
    }
}

#[test]
fn it_says_something_about_ordinary_traffic() {
    let from = make((1000, 65_535, 65_535, None));
    let to = make((5000, 65_535, 65_535, None));
    let plain = Plain { seq: Seq(1000), ack: Seq(5000), window: 30_000, len: 100 };
    let (short, _) = both(&from, &to, &plain, false);
    let expected = Advance { seqlo: Seq(1100), max_win: 65_535, seqhi: Seq(5000 + 65_535) };
    assert_eq!(short, Some(expected));
}
