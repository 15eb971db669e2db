//! Options of a ruleset that the server itself obeys.

use ruleset::{Action, LogLevel, Rule, Ruleset};
use worker::verbosity;

use crate::Bench;
use crate::log::block_log;

/// Evaluations and packets of each rule.
fn counted(bench: &Bench) -> Vec<(u64, u64)> {
    let usage = bench.client().usage().unwrap().unwrap();
    usage.rules.iter().map(|rule| (rule.evaluations, rule.in_all().packets)).collect()
}

/// FreeBSD's `set keepcounters`.
#[test]
fn rules_that_a_load_leaves_as_they_are_count_on_if_the_ruleset_says_so() {
    let bench = Bench::new("keep");
    let mut ruleset = block_log();
    ruleset.rules[0].identity = 7;
    ruleset.options.keep_counters = true;
    let mut client = bench.client();
    client.commit(&ruleset).unwrap();
    bench.receive(2);
    let first = counted(&bench);
    assert!(first[0].0 > 0 && first[0].1 > 0, "{first:?}");
    let new = Rule { action: Action::Match, identity: 8, ..Rule::default() };
    ruleset.rules.insert(0, new);
    client.commit(&ruleset).unwrap();
    assert_eq!(counted(&bench), [(0, 0), first[0]]);
    bench.receive(2);
    let more = first[0].0;
    assert_eq!(counted(&bench), [(more, 0), (2 * more, 2 * first[0].1)], "as many packets as before");
    client.clear(api::Counts::Rules(vec![String::new()])).unwrap();
    assert_eq!(counted(&bench), [(0, 0); 2]);
    bench.receive(2);
    client.commit(&ruleset).unwrap();
    assert_eq!(counted(&bench), [(more, 0), first[0]], "and from zero again");
    ruleset.options.keep_counters = false;
    client.commit(&ruleset).unwrap();
    assert_eq!(counted(&bench), [(0, 0); 2]);
}

#[test]
fn a_ruleset_sets_the_level_of_the_log_and_the_mark_of_the_host() {
    verbosity::install("err", |_| true);
    let bench = Bench::new("debug");
    let mut client = bench.client();
    let of = |identity: u64| {
        let mut ruleset = block_log();
        ruleset.rules[0].identity = identity;
        ruleset
    };
    client.commit(&of(1)).unwrap();
    let plain = client.info().unwrap();
    assert_eq!((plain.level.as_str(), plain.host_id), ("err", 0));
    let mut set: Ruleset = of(1);
    (set.options.debug, set.options.host_id) = (Some(LogLevel::Notice), 0xc0a8_0101);
    client.commit(&set).unwrap();
    let info = client.info().unwrap();
    assert_eq!((info.level.as_str(), info.host_id), ("notice", 0xc0a8_0101));
    assert_eq!((info.checksum.len(), &info.checksum), (32, &plain.checksum), "the same rules");
    client.commit(&of(2)).unwrap();
    let info = client.info().unwrap();
    assert_eq!(info.level, "notice", "nothing was said of it");
    assert_ne!(info.checksum, plain.checksum);
}
