//! Traces of packets over the socket.

use std::time::{Duration, Instant};

use api::{Meeting, TraceAsks, TraceEnds, TraceFate, TraceQuery, TraceTerm, TraceView};
use ruleset::Reason;

use crate::Bench;
use crate::log::block_log;

fn query(asks: TraceAsks, count: u32, seconds: u32) -> TraceQuery {
    TraceQuery { terms: vec![TraceTerm { not: false, ends: TraceEnds::Any, asks }], count, seconds }
}

impl Bench {
    /// Traces while bursts arrive; `begun` is called once it has begun.
    fn trace(&self, query: &TraceQuery, mut begun: impl FnMut()) -> Vec<TraceView> {
        let mut traces = Vec::new();
        let mut first = true;
        let each = |more: &[TraceView]| {
            if std::mem::take(&mut first) {
                begun();
            }
            traces.extend_from_slice(more);
            true
        };
        self.client().trace(query, each).unwrap();
        traces
    }
}

#[test]
fn packets_that_fit_are_told_until_there_are_as_many_as_were_asked_for() {
    let bench = Bench::new("trace");
    let generation = bench.client().commit(&block_log()).unwrap();
    let traces = bench.trace(&query(TraceAsks::Port(53), 3, 30), || bench.receive(1));
    assert_eq!(traces.len(), 3);
    let trace = &traces[0];
    assert_eq!((trace.generation, trace.worker, trace.arrival.as_str()), (generation, 0, "wan0"));
    assert_eq!(trace.packet.to_string(), "udp 10.0.0.1:12345 > 10.0.0.2:53, ttl 64, 28 bytes");
    assert_eq!((trace.dropped, &trace.fate), (Some(Reason::Match), &TraceFate::Nowhere));
    let Meeting::Rules { visits, decided, passes, .. } = &trace.hooks[0].met else { panic!("{trace:?}") };
    assert_eq!((visits.as_slice(), *decided, *passes), ([(0, true)].as_slice(), Some(0), false));
    // The next one begins anew, and nothing of the one before is left.
    assert_eq!(
        bench.trace(&query(TraceAsks::Port(54), 3, 1), || bench.receive(1)),
        [],
        "it ends by its time"
    );
}

#[test]
fn one_traces_at_a_time_and_only_what_there_is() {
    let bench = Bench::new("trace-refused");
    let mut refused = String::new();
    bench.trace(&query(TraceAsks::Inet, 1, 1), || {
        refused = bench.client().trace(&query(TraceAsks::Inet, 1, 1), |_| true).unwrap_err().to_string();
    });
    assert!(refused.contains("somebody traces already"), "{refused}");
    let absent = query(TraceAsks::Interface("wan7".into()), 1, 1);
    let refused = bench.client().trace(&absent, |_| true).unwrap_err().to_string();
    assert!(refused.contains("no interface wan7"), "{refused}");
    // Whoever hangs up makes room.
    bench.client().trace(&query(TraceAsks::Inet, 1, 60), |_| false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.client().trace(&query(TraceAsks::Inet, 1, 1), |_| false).is_err() {
        assert!(Instant::now() < deadline, "no room came back");
    }
}
