//! Filters of states.

use api::{EventKind, EventQuery, EventView, TraceAsks, TraceEnds, TraceTerm};
use ruleset::{Removal, StateView};
use serde_json::json;

/// 10.0.0.2:40000 leaves wan0 as 192.0.2.1:50000.
fn translated() -> StateView {
    let end = |address, port| json!({"address": address, "port": port});
    let peer = |end, untranslated, packets| {
        json!({
            "end": end, "untranslated": untranslated, "state": "Established", "seqlo": 0, "seqhi": 0, "seqdiff": 0,
            "wscale": null, "packets": packets, "bytes": 100 * packets,
        })
    };
    let state = json!({
        "interface": "wan0", "proto": 6, "direction": "Out", "route": null,
        "source": peer(end("192.0.2.1", 50_000), Some(end("10.0.0.2", 40_000)), 3),
        "destination": peer(end("198.51.100.7", 443), None, 2),
        "age_s": 61, "expires_in_s": 0, "rule": 1, "sloppy": false, "id": 1,
    });
    serde_json::from_value(state).expect("a state")
}

#[test]
fn all_conditions_must_hold_of_either_of_a_states_tuples() {
    let (any, src, dst) = (TraceEnds::Any, TraceEnds::Source, TraceEnds::Destination);
    let net = |text: &str, prefix| TraceAsks::Net(text.parse().unwrap(), prefix);
    let on = |name: &str| TraceAsks::Interface(name.into());
    let cases = [
        (any, net("10.0.0.2", 32), true),
        (any, net("192.0.2.0", 24), true),
        (dst, net("192.0.2.0", 24), false),
        (any, net("10.0.0.3", 32), false),
        (any, net("2001:db8::", 32), false),
        (src, TraceAsks::Port(40_000), true),
        (src, TraceAsks::Port(50_000), true),
        (src, TraceAsks::Port(443), false),
        (dst, TraceAsks::Port(443), true),
        (any, TraceAsks::Proto(6), true),
        (any, TraceAsks::Proto(17), false),
        (any, TraceAsks::Inet, true),
        (any, TraceAsks::Inet6, false),
        (any, on("wan0"), true),
        (any, on("all"), false),
    ];
    let state = translated();
    assert!(EventQuery::default().fits(&state));
    for (ends, asks, expected) in cases {
        let term = |not| TraceTerm { not, ends, asks: asks.clone() };
        assert_eq!(EventQuery { terms: vec![term(false)] }.fits(&state), expected, "{:?}", term(false));
        assert_eq!(EventQuery { terms: vec![term(true)] }.fits(&state), !expected, "{:?}", term(true));
        let udp = TraceTerm { not: false, ends: any, asks: TraceAsks::Proto(17) };
        assert!(!EventQuery { terms: vec![term(false), udp] }.fits(&state));
    }
}

#[test]
fn an_event_is_a_line() {
    let mut event = EventView {
        seconds: 0,
        nanoseconds: 0,
        worker: 0,
        event: EventKind::Created,
        reason: None,
        age_ms: 61_250,
        idle_ms: 0,
        state: translated(),
        block: None,
    };
    let line = "all tcp 192.0.2.1:50000 (10.0.0.2:40000) -> 198.51.100.7:443       ESTABLISHED:ESTABLISHED"
        .replace("all", "wan0");
    assert_eq!(event.to_string(), format!("created {line}"));
    (event.event, event.reason) = (EventKind::Removed, Some(Removal::Closed));
    assert_eq!(event.to_string(), format!("removed (closed) {line}, age 61 s, 3:2 pkts, 300:200 bytes"));
    assert!(format!("{event:#}").contains("3:2 pkts, 300:200 bytes, rule 1"));
    // As programs read it.
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!((&json["event"], &json["reason"]), (&"removed".into(), &"closed".into()));
    assert_eq!(json["state"]["source"]["packets"], 3);
}
