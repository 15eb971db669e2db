//! Stories that grow out of each other: what shows a new side of the packet path is kept, and goes on otherwise. Conversations
//! of real stacks and frames of every kind are changed, cut, repeated, overtaken and answered, under rulesets of all features
//! that change meanwhile, in bursts, by one worker to four. Nothing may panic; every frame has one fate, and every counter
//! agrees; what was sound leaves so; answers are bounded; and when all has expired, nothing is left, and nothing is lost.
//!
//! `TURNPIKE_LONG` has it go on for an hour, `TURNPIKE_FUZZ_S` for so many seconds.

#![expect(clippy::disallowed_methods, reason = "it goes on for a time")]

mod answer;
mod frame;
mod material;
mod rules;
mod story;

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use material::Material;
use sim::rng::Rng;
use story::{Sides, Story};

/// Stories in the short run, and those that are told before any grows.
const FEW: usize = 5000;
const FIRST: usize = 100;
/// The most stories that are kept.
const KEPT: usize = 20_000;

fn seconds() -> Option<u64> {
    let given = std::env::var("TURNPIKE_FUZZ_S").ok().and_then(|text| text.parse().ok());
    given.or_else(|| std::env::var_os("TURNPIKE_LONG").map(|_| 3600))
}

/// What the last panic said, and where.
static LAST: Mutex<String> = Mutex::new(String::new());

/// What a story shows, or why it must not be.
fn play(story: &Story) -> Result<Sides, String> {
    let played = panic::catch_unwind(AssertUnwindSafe(|| story.play()));
    played.map_err(|_| LAST.lock().map(|last| last.clone()).unwrap_or_default())
}

/// Remembers panics instead of printing them.
fn note(panic: &PanicHookInfo<'_>) {
    if let Ok(mut last) = LAST.lock() {
        *last = panic.to_string();
    }
}

/// The shortest story, as far as leaving things out can tell, that still must not be.
fn shortest(story: &Story) -> Story {
    let mut kept = story.clone();
    let attempts = |kept: &Story| -> Vec<Story> {
        let mut fewer = Vec::new();
        if kept.workers > 1 || kept.burst > 1 {
            fewer.push(Story { workers: 1, ..kept.clone() });
            fewer.push(Story { burst: 1, ..kept.clone() });
        }
        for at in (0..kept.events.len()).rev() {
            let mut events = kept.events.clone();
            events.remove(at);
            fewer.push(Story { events, ..kept.clone() });
        }
        for at in 0..kept.rules.len() {
            let mut rules = kept.rules.clone();
            rules.remove(at);
            if rules::compile(&rules).is_some() {
                fewer.push(Story { rules, ..kept.clone() });
            }
        }
        fewer
    };
    let is_smaller = |one: &Story, than: &Story| {
        let size = |story: &Story| {
            story.events.len() + story.rules.len() + usize::from(story.workers) + usize::from(story.burst)
        };
        size(one) < size(than)
    };
    while let Some(fewer) =
        attempts(&kept).into_iter().find(|fewer| is_smaller(fewer, &kept) && play(fewer).is_err())
    {
        kept = fewer;
    }
    kept
}

/// The failure as it is printed: the shortest story that makes it.
fn explain(story: &Story) -> String {
    let short = shortest(story);
    let why = play(&short).err().or_else(|| play(story).err()).unwrap_or_default();
    let line = |event| format!("  {event:02x?}\n").replace(", ", " ");
    let events: String = short.events.iter().map(line).collect();
    format!(
        "{why}\nseed {} workers {} burst {}\nrules:\n{}events:\n{events}",
        short.seed,
        short.workers,
        short.burst,
        rules::text(&short.rules)
    )
}

#[test]
fn stories_that_grow_out_of_each_other_leave_nothing_behind() {
    let seed = seconds().map_or(7, |_| std::process::id().into());
    let (mut rng, mut material) = (Rng::new(seed), Material::new(seed));
    let (mut stories, mut known): (Vec<Story>, HashSet<u64>) = (Vec::new(), HashSet::new());
    let (began, mut told) = (Instant::now(), 0);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(note));
    let failed = loop {
        let goes_on = match seconds() {
            None => told < FEW,
            Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
        };
        if !goes_on {
            break None;
        }
        let story = if told < FIRST { material.first(&mut rng) } else { material.grown(&stories, &mut rng) };
        told += 1;
        match play(&story) {
            Ok(sides) => {
                let new = sides.into_iter().filter(|side| known.insert(*side)).count();
                if (new > 0 || told <= FIRST) && stories.len() < KEPT {
                    stories.push(story);
                }
            }
            Err(_) => break Some(explain(&story)),
        }
    };
    panic::set_hook(usual);
    println!("{told} stories, {} sides, {} kept, {:?}", known.len(), stories.len(), began.elapsed());
    if let Some(why) = failed {
        panic!("{why}");
    }
    assert!(known.len() > 500, "{} sides of the packet path", known.len());
}
