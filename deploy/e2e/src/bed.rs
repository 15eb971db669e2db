//! How a test runs in a bed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use anyhow::Result;

use crate::{Lab, Links, Ports, Shape};

/// As [`bed`], with a transparent pair.
///
/// # Panics
/// As [`bed`].
pub fn bridged_bed(name: &str, links: Links, rules: &str, body: impl FnOnce(&mut Lab) -> Result<()>) {
    bed(name, Shape { ports: Ports::Bridged, ..links.into() }, rules, body);
}

/// Builds a bed with a live ruleset, runs `body` in it, ends the dataplane and checks that it accounted for everything.
/// The ruleset is `rules` behind [`Lab::QUIET`]; without any nothing is committed.
///
/// # Panics
/// With what failed, after showing how the firewall was at that moment.
pub fn bed(name: &str, shape: impl Into<Shape>, rules: &str, body: impl FnOnce(&mut Lab) -> Result<()>) {
    let mut lab = Lab::start(name, shape).unwrap_or_else(|error| panic!("bed {name}: {error:#}"));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if !rules.is_empty() {
            lab.rules(rules)?;
        }
        body(&mut lab)
    }));
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("{}", lab.report());
    }
    match outcome {
        Err(panic) => resume_unwind(panic),
        Ok(Err(error)) => panic!("bed {name}: {error:#}"),
        Ok(Ok(())) => lab.end().unwrap_or_else(|error| panic!("bed {name}: {error:#}")),
    }
}
