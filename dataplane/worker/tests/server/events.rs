//! Events of states over the socket.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use api::codec::{self, Limit as Length};
use api::{
    EventBatch, EventKind, EventQuery, EventView, Request, RequestBody, Response, ResponseBody, TraceAsks,
    TraceEnds, TraceTerm,
};
use ruleset::{
    Action, AddressMatch, AddressPattern, Direction, Endpoint, Pool, PortBlock, Removal, Rule, Ruleset,
    StateMode, StateSelector,
};
use wire::{Af, Port};
use worker::control::readers::READERS_MAX;

use crate::Bench;

/// Every packet makes a state.
fn keep() -> Ruleset {
    Ruleset { rules: vec![Rule { state: StateMode::Keep, ..Rule::default() }], ..Ruleset::default() }
}

fn port(port: u16) -> EventQuery {
    EventQuery { terms: vec![TraceTerm { not: false, ends: TraceEnds::Any, asks: TraceAsks::Port(port) }] }
}

impl Bench {
    /// A connection that listens; it has begun.
    fn listener(&self, query: &EventQuery) -> UnixStream {
        let mut stream = self.raw();
        let request = Request { id: 7, body: RequestBody::Events(query.clone()) };
        codec::write(&mut stream, &request, Length::REQUEST).unwrap();
        assert_eq!(next_batch(&mut stream), EventBatch::default());
        stream
    }
}

fn next_batch(stream: &mut UnixStream) -> EventBatch {
    match codec::read(stream, Length::RESPONSE).unwrap() {
        Response { id: 7, body: ResponseBody::Events(batch) } => batch,
        other => panic!("{other:?}"),
    }
}

fn next_events(stream: &mut UnixStream, count: usize) -> Vec<EventView> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = next_batch(stream);
        assert_eq!(batch.lost, 0);
        events.extend(batch.events);
    }
    events
}

#[test]
fn whoever_listens_is_told_what_fits_from_its_making_to_its_end() {
    let bench = Bench::new("events");
    bench.client().commit(&keep()).unwrap();
    let mut all = bench.listener(&EventQuery::default());
    let mut others = bench.listener(&port(54));
    bench.receive(1);
    let made = next_events(&mut all, 1);
    let EventView { event, reason, worker, state, seconds, .. } = &made[0];
    assert_eq!((*event, *reason, *worker), (EventKind::Created, None, 0));
    assert_eq!(state.to_string(), "all udp 10.0.0.2:53 <- 10.0.0.1:12345       NO_TRAFFIC:SINGLE");
    assert_eq!((state.rule, *seconds > 0), (Some(0), true));
    let id = Some(state.id);
    assert_eq!(bench.client().kill(&StateSelector { id, ..StateSelector::default() }).unwrap(), 1);
    let ended = next_events(&mut all, 1);
    assert_eq!((ended[0].event, ended[0].reason), (EventKind::Removed, Some(Removal::Killed)));
    assert_eq!(ended[0].state.source.packets, 1, "the others of the burst went no further than their state");
    // Nothing of it is the other's, who hears only that the dataplane is there.
    others.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(next_batch(&mut others), EventBatch::default());
}

#[test]
fn one_listener_too_many_is_told_and_room_comes_back() {
    let bench = Bench::new("events-many");
    let listeners: Vec<_> = (0..READERS_MAX).map(|_| bench.listener(&EventQuery::default())).collect();
    let none = |_: &EventBatch| panic!("it may not begin");
    let refused = bench.client().events(&EventQuery::default(), none).unwrap_err().to_string();
    assert!(refused.contains("4 listen to states already"), "{refused}");
    drop(listeners);
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.client().events(&EventQuery::default(), |_| false).is_err() {
        assert!(Instant::now() < deadline, "no room came back");
    }
    let absent = EventQuery {
        terms: vec![TraceTerm {
            not: false,
            ends: TraceEnds::Any,
            asks: TraceAsks::Interface("wan7".into()),
        }],
    };
    let refused = bench.client().events(&absent, none).unwrap_err().to_string();
    assert!(refused.contains("no interface wan7"), "{refused}");
}

/// A source with one port, and a second flow towards the same remote end.
#[test]
fn a_block_that_is_used_up_is_told_of_and_listed() {
    let net = |text: &str| AddressPattern::Net(text.parse().unwrap());
    let nat = Pool {
        address: net("192.0.2.1/32"),
        kind: None,
        sticky: false,
        ports: Some((Port(2000), Port(2003))),
        static_port: false,
        port_block: Some(1),
        port_set: None,
        endpoint_independent: false,
    };
    let source = AddressMatch { negated: false, pattern: net("10.0.0.0/30") };
    let translating = Rule {
        action: Action::Match,
        direction: Some(Direction::In),
        af: Some(Af::Inet),
        from: Endpoint { address: source, ..Endpoint::default() },
        nat: Some(nat),
        ..Rule::default()
    };
    let bench = Bench::new("events-blocks");
    let mut client = bench.client();
    let rules = vec![translating, Rule { state: StateMode::Keep, ..Rule::default() }];
    client.commit(&Ruleset { rules, ..Ruleset::default() }).unwrap();
    let mut all = bench.listener(&EventQuery::default());
    let mut others = bench.listener(&port(53));
    bench.receive(2);
    let block = PortBlock {
        subscriber: "10.0.0.1".parse().unwrap(),
        address: "192.0.2.1".parse().unwrap(),
        first: Port(2001),
        last: Port(2001),
    };
    let (mut events, mut shortages) = (Vec::new(), Vec::new());
    while events.is_empty() || shortages.is_empty() {
        let batch = next_batch(&mut all);
        events.extend(batch.events);
        shortages.extend(batch.shortages);
    }
    assert_eq!((events.len(), events[0].block), (1, Some(block)));
    let told = &shortages[0];
    assert_eq!((told.block, told.address, told.proto), (Some(block), block.address, 17));
    assert!(told.seconds > 1_700_000_000 && told.packets > 0, "{told:?}");
    // Who asks for some states hears of these alone.
    assert_eq!(next_events(&mut others, 1)[0].block, Some(block));
    let [count] = &client.mappings().unwrap()[..] else { panic!("one block has connections") };
    assert_eq!((count.block, count.connections, count.address), (Some(block), 1, block.address));
    assert!(count.refused >= told.packets, "{count:?}");
}

/// It holds up nobody, and hears how much it missed: no event is neither told nor lost.
#[test]
fn a_slow_listener_loses_events_aloud() {
    const ROUNDS: u64 = 20;
    const FLOWS: u32 = 1000;
    let bench = Bench::new("events-slow");
    let mut client = bench.client();
    client.commit(&keep()).unwrap();
    let mut slow = bench.listener(&EventQuery::default());
    for _ in 0..ROUNDS {
        bench.receive(FLOWS);
        assert_eq!(client.kill(&StateSelector::default()).unwrap(), u64::from(FLOWS));
    }
    let happened = 2 * ROUNDS * u64::from(FLOWS);
    assert!(client.status().unwrap().events_lost > 0);
    let (mut read, mut lost) = (0, 0);
    while read + lost < happened {
        let batch = next_batch(&mut slow);
        read += batch.events.len() as u64;
        lost += batch.lost;
    }
    assert_eq!(read + lost, happened);
    assert_eq!(client.status().unwrap().events_lost, lost);
}
