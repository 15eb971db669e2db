//! Why packets were dropped, over the socket.

use std::thread;
use std::time::{Duration, Instant};

use api::{DropQuery, DropReport, HookView, SeenPacket};
use engine::BURST;
use ruleset::{Direction, Reason};

use crate::Bench;
use crate::log::block_log;

impl Bench {
    /// The report, once it has as many examples.
    fn report(&self, query: DropQuery, examples: usize) -> DropReport {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let report = self.client().drop_report(query).unwrap();
            if report.examples.len() >= examples {
                return report;
            }
            assert!(Instant::now() < deadline, "{report:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn drops_are_told_by_reason_rule_and_example() {
    let bench = Bench::new("drops");
    let generation = bench.client().commit(&block_log()).unwrap();
    bench.receive(1);
    let report = bench.report(DropQuery::default(), 4);
    assert_eq!(report.generation, generation);
    let [rule] = report.rules[..] else { panic!("{:?}", report.rules) };
    assert_eq!((rule.rule, rule.packets), (0, BURST as u64));
    let wan = &report.interfaces[0];
    assert_eq!((wan.interface.as_str(), wan.reasons[Reason::NoRules as usize].packets), ("wan0", 5));
    // All of a burst are of one moment.
    assert_eq!(report.examples.len(), 4);
    let example = &report.examples[0];
    assert_eq!((example.reason, example.rule, example.from_host), (Reason::Match, Some(0), false));
    assert_eq!(example.hook, Some(HookView { direction: Direction::In, interface: "wan0".into() }));
    let SeenPacket::Packet(packet) = &example.packet else { panic!("{example:?}") };
    assert_eq!(packet.to_string(), "udp 10.0.0.1:12345 > 10.0.0.2:53, ttl 64, 28 bytes");
}

#[test]
fn a_report_is_of_one_reason_and_of_a_time_if_that_is_asked_for() {
    let bench = Bench::new("drops-query");
    bench.client().commit(&block_log()).unwrap();
    bench.receive(1);
    let of = |reason, since_s| DropQuery { reason: Some(reason), since_s };
    let matched = bench.report(of(Reason::Match, None), 4);
    assert_eq!(matched.interfaces[0].reasons.len(), 1);
    assert_eq!(matched.rules.len(), 1);
    let other = bench.report(of(Reason::NoRules, None), 0);
    assert_eq!((other.examples.len(), other.rules.len()), (0, 0));
    assert_eq!(other.interfaces[0].reasons[0].packets, 5);
    // The first copy of the counters has them already: they are past.
    let late = bench.report(of(Reason::NoRules, Some(1)), 0);
    assert_eq!(late.interfaces[0].reasons[0].packets, 0);
}

#[test]
fn examples_of_another_ruleset_name_no_rule() {
    let bench = Bench::new("drops-reload");
    bench.client().commit(&block_log()).unwrap();
    bench.receive(1);
    bench.report(DropQuery::default(), 4);
    bench.client().commit(&block_log()).unwrap();
    let report = bench.report(DropQuery::default(), 4);
    assert!(report.examples.iter().all(|example| example.rule.is_none()), "{report:?}");
    assert_eq!(report.rules, []);
}
