//! Timestamps against a model that counts without wrapping: whatever two ends say, the same is refused, and what is added to
//! one end's timestamps is taken from its echoes.

use engine::track::{Restamped, STAMP_UNITS, Said, Segment, StampMoment, Stamps, stamps};
use proptest::prelude::*;
use ruleset::PeerState;
use wire::TcpFlags;
use wire::tcp::Timestamps;

/// What the model knows of an end: times of its own clock since it began, which nothing wraps.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    begun: bool,
    stamps: bool,
    latest: i64,
    earliest: i64,
    echoed: Option<i64>,
    heard_at: i64,
    data: Option<bool>,
}

/// A segment in the model's words: which end sends it, when, and what it says.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: usize,
    /// Sixteenths of a second since the one before.
    wait: i64,
    /// Ticks from its end's latest.
    value: i64,
    /// Of the other's latest, how many ticks before; `None` echoes nothing.
    echo: Option<i64>,
    stamped: bool,
    len: u32,
    reset: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..2_usize,
        0..200_i64,
        prop_oneof![0..50_i64, -60..60_i64, 30_000..60_000_i64],
        prop_oneof![4 => (0..40_i64).prop_map(Some), 1 => (-20..400_i64).prop_map(Some), 1 => Just(None)],
        prop::bool::weighted(0.9),
        prop_oneof![Just(0_u32), Just(100)],
        prop::bool::weighted(0.03),
    );
    let step = step.prop_map(|(from, wait, value, echo, stamped, len, reset)| Step {
        from,
        wait,
        value,
        echo,
        stamped,
        len,
        reset,
    });
    prop::collection::vec(step, 1..60)
}

/// The model's verdict, and what it keeps of a segment that passes.
fn judge(ends: &mut [End; 2], step: &Step, value: i64, echo: Option<i64>, now: i64) -> bool {
    let (from, to) = (ends[step.from], ends[1 - step.from]);
    let both = from.echoed.is_some() && to.echoed.is_some();
    if both && !step.reset {
        if step.stamped {
            // In 16ths of a tick: 1100 a second, and 30 seconds of leeway.
            let farthest = (now - from.heard_at + 1) * 1100 + 30 * 16 * 1100;
            let old = to.echoed.is_some_and(|echoed| value < echoed);
            let unheard = echo.is_some_and(|echo| echo > to.latest || echo < to.earliest);
            if old || unheard || (value - from.latest) * 16 > farthest {
                return false;
            }
        } else if step.len > 0 && from.data == Some(true) {
            return false;
        }
    }
    let end = &mut ends[step.from];
    if step.len > 0 && end.stamps {
        end.data.get_or_insert(step.stamped);
    }
    if step.stamped && end.stamps && !step.reset {
        let first = end.echoed.is_none();
        (end.heard_at, end.latest) = (now, if first { value } else { end.latest.max(value) });
        end.earliest = if first { end.earliest.min(value) } else { end.earliest };
        if let Some(echo) = echo {
            end.echoed = Some(end.echoed.map_or(echo, |echoed| echoed.max(echo)));
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_same_is_refused_and_echoes_come_back(
        steps in steps(), clocks in any::<[u32; 2]>(), random in any::<[u32; 2]>(), start in any::<u32>(),
    ) {
        let mut ends = [End::default(); 2];
        let mut known = [Stamps::default(); 2];
        let mut now = 0_i64;
        for (number, step) in steps.iter().enumerate() {
            let (own, other) = (step.from, 1 - step.from);
            now += step.wait;
            let syn = !ends[own].begun;
            if syn {
                ends[own] = End { begun: true, stamps: step.stamped, heard_at: now, ..End::default() };
            }
            let value = if syn { 0 } else { ends[own].latest + step.value };
            // Nobody echoes an end that has said nothing.
            let echo = step.echo.filter(|_| ends[other].stamps).map(|back| ends[other].latest - back);
            let at = |end: usize, ticks: i64| clocks[end].wrapping_add(ticks as u32);
            let told = echo.map_or(0, |echo| at(other, echo).wrapping_add(known[other].added));
            // An echo of 0 is none, by chance.
            prop_assume!(echo.is_none() || told != 0);
            let said = Said {
                stamps: step.stamped.then(|| Timestamps { value: at(own, value), echo: told }),
                ttl: 64,
            };
            let flags = [(syn, TcpFlags::SYN), (step.reset && !syn, TcpFlags::RST), (true, TcpFlags::ACK)];
            let flags = flags.into_iter().filter(|(set, _)| *set).fold(TcpFlags(0), |all, (_, flag)| all.union(flag));
            let segment = Segment { flags, len: step.len, ..Segment::default() };
            let moment = StampMoment {
                now: start.wrapping_add(now as u32),
                age: now as u32 / STAMP_UNITS,
                leeway: 30,
                level: PeerState::Established,
            };
            let step = Step { reset: step.reset && !syn, ..*step };
            let passes = judge(&mut ends, &step, value, echo, now);
            let judged = stamps(&known[own], &known[other], &segment, &said, &moment, random[own]);
            prop_assert_eq!(judged.is_ok(), passes, "segment {}: {:?} of {:?}", number, step, ends);
            let Ok(Restamped { from, to, said: became }) = judged else { continue };
            (known[own], known[other]) = (from, to);
            let expected = said.stamps.map(|Timestamps { value, .. }| Timestamps {
                value: if ends[own].stamps { value.wrapping_add(random[own]) } else { value },
                echo: echo.map_or(0, |echo| at(other, echo)),
            });
            prop_assert_eq!(became.stamps, expected);
        }
    }
}
