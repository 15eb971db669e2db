//! Each thing that can be wrong is found, by its own name, and a healthy firewall yields nothing.

mod answers;
mod links;

use std::time::Duration;

use api::{
    Clause, DropExample, DropReport, Filtering, HookView, InterfaceDrops, InterfaceStatus, Misfit,
    MisfitView, NeighborView, NextHopView, PacketView, PeerMet, ReasonCount, RouteKind, RouteView,
    SeenPacket, Status, TcpView, WorkerStatus,
};
use ruleset::{
    Action, Direction, FlagsMatch, PeerState, PeerView, Reason, RoutingTable, Rule, Ruleset, SourceLine,
    StateView, TupleEnd,
};
use wire::{Port, Proto};

use super::snapshot::Snapshot;
use super::{Finding, examine};

fn end(text: &str) -> TupleEnd {
    let (address, port) = text.rsplit_once(':').expect("a port");
    TupleEnd { address: address.parse().expect("an address"), port: Port(port.parse().expect("a port")) }
}

fn peer(at: &str, state: PeerState, packets: u64) -> PeerView {
    PeerView {
        end: end(at),
        untranslated: None,
        state,
        seqlo: 1,
        seqhi: 65_536,
        seqdiff: 0,
        wscale: Some(7),
        packets,
        bytes: packets * 100,
    }
}

/// An established connection of TCP.
fn state(direction: Direction, source: &str, destination: &str) -> StateView {
    StateView {
        interface: "all".into(),
        proto: Proto::TCP,
        direction,
        source: peer(source, PeerState::Established, 10),
        destination: peer(destination, PeerState::Established, 9),
        age_s: 10,
        expires_in_s: 86_400,
        rule: Some(1),
        anchor: None,
        sloppy: false,
        source_track: false,
        sticky: false,
        route: None,
        rtable: RoutingTable::MAIN,
        id: 1,
        creator: 0,
    }
}

const CLIENT: &str = "10.1.0.2:40000";
const SERVER: &str = "198.51.100.7:80";

/// A connection that is forwarded: a state at each hook.
fn forwarded() -> Vec<StateView> {
    [Direction::In, Direction::Out].map(|direction| state(direction, CLIENT, SERVER)).into()
}

/// The same, of which only SYNs were seen.
fn unanswered() -> Vec<StateView> {
    let mut states = forwarded();
    for state in &mut states {
        (state.source.state, state.source.packets) = (PeerState::SynSent, 3);
        (state.destination.state, state.destination.packets) = (PeerState::Closed, 0);
        (state.source.wscale, state.destination.wscale) = (None, None);
    }
    states
}

fn interface(name: &str, address: &str) -> InterfaceStatus {
    InterfaceStatus {
        name: name.into(),
        device: format!("net_af_packet0,iface={name}"),
        mtu: 1500,
        up: true,
        addresses: vec![address.into()],
        ..InterfaceStatus::default()
    }
}

fn worker(number: u16, busy_ns: u64) -> WorkerStatus {
    WorkerStatus {
        worker: number,
        cpu: number + 1,
        busy_ns,
        idle_ns: 1_000_000_000 - busy_ns,
        ..WorkerStatus::default()
    }
}

fn status(workers: Vec<WorkerStatus>) -> Status {
    Status {
        version: "0".into(),
        generation: 1,
        uptime_s: 100,
        filtering: Filtering::On,
        states: 2,
        states_limit: 100_000,
        searches: 0,
        inserts: 0,
        removals: 0,
        fragments: api::FragmentStatus::default(),
        sources: api::SourceStatus::default(),
        sources_limit: 10_000,
        limits: Vec::new(),
        overloads: 0,
        log_lost: 0,
        events_lost: 0,
        netlink_overruns: 0,
        interfaces: vec![interface("lan0", "10.1.0.1/24"), interface("wan0", "192.0.2.1/24")],
        workers,
        pools: Vec::new(),
    }
}

fn route(destination: &str, interface: &str, via: Option<&str>) -> RouteView {
    let hop = NextHopView {
        interface: interface.into(),
        via: via.map(|via| via.parse().expect("an address")),
        mac: Some("02:00:00:00:00:02".into()),
        weight: 1,
        mtu: None,
    };
    let (table, kind) = (RoutingTable::MAIN, RouteKind::Forward);
    RouteView { table, destination: destination.into(), kind, next_hops: vec![hop] }
}

fn rules() -> Ruleset {
    let rule = |line: u32, action| Rule {
        action,
        source: SourceLine { file: "pf.conf".into(), line },
        flags: Some(FlagsMatch::SYN_ONLY),
        ..Rule::default()
    };
    let block = Action::Block(ruleset::BlockReply::Drop);
    Ruleset { rules: vec![rule(3, block), rule(4, Action::Pass)], ..Ruleset::default() }
}

fn neighbor(address: &str) -> NeighborView {
    let (interface, mac) = ("wan0".into(), "02:00:00:00:00:02".into());
    NeighborView { interface, address: address.parse().expect("an address"), mac }
}

/// A firewall that forwards what it should.
fn healthy() -> Snapshot {
    let host =
        RouteView { kind: RouteKind::Host, next_hops: Vec::new(), ..route("10.1.0.1/32", "lan0", None) };
    Snapshot {
        rules: Some(rules()),
        before: status(
            vec![worker(0, 0), worker(1, 0)]
                .into_iter()
                .map(|worker| WorkerStatus { idle_ns: 0, ..worker })
                .collect(),
        ),
        status: status(vec![worker(0, 200_000_000), worker(1, 100_000_000)]),
        apart: Duration::from_secs(1),
        drops: DropReport::default(),
        states: forwarded(),
        routes: vec![
            route("10.1.0.0/24", "lan0", None),
            route("192.0.2.0/24", "wan0", None),
            route("198.51.100.0/24", "wan0", Some("192.0.2.254")),
            host,
        ],
        neighbors: vec![neighbor("192.0.2.254")],
    }
}

fn packet(source: &str, destination: &str, flags: &str) -> PacketView {
    let tcp = TcpView { flags: flags.into(), seq: 1, ack: 1, window: 100, length: 0 };
    PacketView {
        proto: "tcp".into(),
        source: end(source),
        destination: end(destination),
        tcp: Some(tcp),
        icmp: None,
        fragment: false,
        ttl: 64,
        length: 60,
    }
}

fn dropped(reason: Reason, seconds: u64, packet: PacketView) -> DropExample {
    DropExample {
        seconds,
        nanoseconds: 0,
        worker: 0,
        reason,
        interface: "wan0".into(),
        arrival: Some("wan0".into()),
        from_host: false,
        to_host: false,
        hook: Some(HookView { direction: Direction::In, interface: "wan0".into() }),
        rule: Some(0),
        packet: SeenPacket::Packet(packet),
        misfit: None,
        between: 0,
    }
}

/// What is found in a healthy firewall after a change.
fn found(change: impl FnOnce(&mut Snapshot)) -> Vec<Finding> {
    let mut snapshot = healthy();
    change(&mut snapshot);
    let findings = examine(&snapshot);
    assert!(findings.iter().all(|finding| !finding.cure.is_empty()), "{findings:#?}");
    findings
}

/// The only thing that is found.
fn only(check: &str, change: impl FnOnce(&mut Snapshot)) -> Finding {
    let mut findings = found(change);
    assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), [check], "{findings:#?}");
    findings.remove(0)
}

fn evidence(finding: &Finding) -> String {
    finding.evidence.join("\n")
}

#[test]
fn a_healthy_firewall_yields_nothing() {
    assert_eq!(found(|_| ()), []);
    // Nor does what belongs to every day: a few drops, a slow answer, one-way datagrams, a busy single worker.
    let everyday = found(|snapshot| {
        snapshot.drops.examples = vec![
            dropped(Reason::Match, 1, packet("203.0.113.9:4444", "192.0.2.1:23", "S")),
            dropped(Reason::Match, 2, packet("203.0.113.9:80", "192.0.2.1:5555", "SA")),
            dropped(Reason::TooBig, 3, packet(CLIENT, SERVER, "PA")),
            dropped(Reason::NoRoute, 4, packet(CLIENT, "203.0.113.1:80", "S")),
        ];
        let mut syn = unanswered().remove(1);
        syn.source.packets = 1;
        let mut syslog = state(Direction::Out, "10.1.0.2:514", "198.51.100.8:514");
        (syslog.proto, syslog.destination.packets) = (Proto::UDP, 0);
        let mut unscaled = state(Direction::In, "10.1.0.3:1", SERVER);
        (unscaled.source.wscale, unscaled.destination.wscale) = (None, None);
        snapshot.states.extend([syn, syslog, unscaled]);
        snapshot.states.dedup_by_key(|state| (state.source.end, state.direction));
    });
    assert_eq!(everyday, []);
}

#[test]
fn answers_that_never_come_are_missed_where_they_would_have_to_come() {
    let finding = only("no-answers", |snapshot| snapshot.states = unanswered());
    assert!(finding.what.contains("198.51.100.7:80 does not answer 10.1.0.2:40000"), "{finding:?}");
    assert!(evidence(&finding).contains("3:0 pkts"), "{finding:?}");
    assert!(
        evidence(&finding).contains("leave by wan0, over 192.0.2.254; answers would have to come in there")
    );
    assert_eq!(finding.rule.map(|rule| (rule.file, rule.line)), Some(("pf.conf".into(), 4)));
    // Several connections to one end are one finding.
    let many = only("no-answers", |snapshot| {
        let mut more = unanswered();
        more.iter_mut().for_each(|state| state.source.end.port = Port(40_001));
        snapshot.states = [unanswered(), more].concat();
    });
    assert!(evidence(&many).contains("and 1 more connections like it"), "{many:?}");
}

#[test]
fn a_silent_program_of_the_host_is_told_from_a_silent_network() {
    let finding = only("no-answers", |snapshot| {
        snapshot.states = unanswered();
        snapshot.states.truncate(1);
        snapshot.states[0].destination.end = end("10.1.0.1:8080");
    });
    assert!(evidence(&finding).contains("the firewall's own host"), "{finding:?}");
}

#[test]
fn answers_that_come_elsewhere_to_a_bound_state_are_found() {
    let finding = only("if-bound", |snapshot| {
        snapshot.states = unanswered();
        snapshot.states[1].interface = "wan1".into();
        snapshot.drops.examples = vec![dropped(Reason::Match, 1, packet(SERVER, CLIENT, "SA"))];
    });
    assert!(finding.cure.contains("answers come by wan0 and the state is bound to wan1"), "{finding:?}");
    // And where it has seen some of them.
    let later = only("if-bound", |snapshot| {
        (snapshot.states[0].interface, snapshot.states[1].interface) = ("lan0".into(), "wan1".into());
        snapshot.drops.examples = vec![dropped(Reason::Match, 1, packet(SERVER, CLIENT, "A"))];
    });
    assert!(later.what.contains("comes by wan0, and its state is bound to wan1"), "{later:?}");
    assert!(later.cure.contains("if-bound") && later.cure.contains("route the packets by wan1"), "{later:?}");
}

#[test]
fn answers_that_are_dropped_are_told_with_the_drop() {
    let finding = only("answers-dropped", |snapshot| {
        snapshot.states = unanswered();
        snapshot.drops.examples = vec![dropped(Reason::StateMismatch, 1, packet(SERVER, CLIENT, "SA"))];
    });
    assert!(evidence(&finding).contains("dropped on wan0: tcp 198.51.100.7:80 > 10.1.0.2:40000 SA"));
}

#[test]
fn a_connection_whose_both_ends_come_in_is_found() {
    let finding = only("direction", |snapshot| {
        snapshot.states = vec![state(Direction::In, CLIENT, SERVER), state(Direction::In, SERVER, CLIENT)];
    });
    assert!(finding.what.contains("seen going in"), "{finding:?}");
    assert_eq!(finding.evidence.iter().filter(|line| line.starts_with("state ")).count(), 2);
    let each = only("several-states", |snapshot| {
        snapshot.states = vec![state(Direction::In, CLIENT, SERVER), state(Direction::Out, SERVER, CLIENT)];
    });
    assert!(each.what.contains("a state for each direction"), "{each:?}");
}

#[test]
fn a_connection_with_a_state_on_each_of_two_interfaces_is_found() {
    let finding = only("if-bound", |snapshot| {
        let mut more = state(Direction::Out, CLIENT, SERVER);
        more.interface = "wan1".into();
        snapshot.states[1].interface = "wan0".into();
        snapshot.states.push(more);
    });
    assert!(finding.cure.contains("wan0, wan1"), "{finding:?}");
}

#[test]
fn a_state_from_the_middle_of_a_connection_is_found_where_its_rule_lets_it() {
    let unscaled = |snapshot: &mut Snapshot| {
        for state in &mut snapshot.states {
            (state.source.wscale, state.destination.wscale) = (None, None);
        }
    };
    assert_eq!(found(unscaled), [], "its rule asks for a SYN: the ends do not scale");
    let finding = only("no-window-scaling", |snapshot| {
        unscaled(snapshot);
        snapshot.rules.as_mut().expect("rules").rules[1].flags = None;
    });
    assert!(finding.cure.contains("flags any"), "{finding:?}");
    assert_eq!(finding.rule.map(|rule| rule.number), Some(1));
}

/// The client, translated to this address.
fn translated(to: &str) -> Vec<StateView> {
    let mut states = unanswered();
    let source = &mut states[1].source;
    (source.untranslated, source.end) = (Some(source.end), end(to));
    states
}

#[test]
fn nat_to_an_address_that_nobody_finds_here_is_found() {
    let finding = only("one-way-nat", |snapshot| snapshot.states = translated("192.0.2.99:50001"));
    assert!(finding.cure.contains("ip addr add 192.0.2.99/32 dev wan0"), "{finding:?}");
    let own = only("one-way-nat", |snapshot| snapshot.states = translated("192.0.2.1:50001"));
    assert!(own.cure.contains("tcpdump -ni wan0"), "{own:?}");
}

#[test]
fn redirection_within_one_network_is_found() {
    let finding = only("one-way-nat", |snapshot| {
        let mut states = unanswered();
        for state in &mut states {
            state.destination.end = end("10.1.0.80:80");
        }
        states[0].destination.untranslated = Some(end("192.0.2.1:80"));
        snapshot.states = states;
    });
    assert!(finding.cure.contains("nat-to (lan0)"), "{finding:?}");
}

fn outside(clause: char, scaled: bool) -> DropExample {
    let peer = PeerMet {
        state: PeerState::Established,
        seqlo: 1,
        seqhi: 65_536,
        max_win: 512,
        wscale: scaled.then_some(7),
        seqdiff: 0,
    };
    let ends = [end(CLIENT), end(SERVER)];
    let kind = Misfit::Window {
        failed: String::new(),
        clauses: vec![Clause { mark: clause, by: 1000 }],
        seq: 1,
        ackskew: 0,
    };
    let misfit = MisfitView {
        direction: Direction::In,
        forward: false,
        wire: ends,
        stack: ends,
        peers: [peer; 2],
        packets: [10, 9],
        kind,
    };
    DropExample { misfit: Some(misfit), ..dropped(Reason::StateMismatch, 1, packet(SERVER, CLIENT, "PA")) }
}

#[test]
fn a_sender_that_does_not_keep_to_windows_is_found() {
    let finding = only("window", |snapshot| snapshot.drops.examples = vec![outside('1', true); 2]);
    assert!(evidence(&finding).contains("(1) ends 1000 octets beyond the window"), "{finding:?}");
    assert!(finding.cure.contains("sloppy"), "{finding:?}");
    let unscaled = only("window", |snapshot| snapshot.drops.examples = vec![outside('1', false); 2]);
    assert!(unscaled.cure.contains("flags S/SA"), "{unscaled:?}");
    assert_eq!(
        found(|snapshot| snapshot.drops.examples = vec![outside('1', true)]),
        [],
        "one is an accident"
    );
    assert_eq!(
        found(|snapshot| snapshot.drops.examples = vec![outside('R', true); 9]),
        [],
        "resets are anybody's"
    );
}

#[test]
fn timestamps_that_nobody_can_have_sent_are_found() {
    let bad = || {
        let DropExample { misfit, .. } = outside('1', true);
        let why = "its timestamp is 7 ticks older than what its receiver has echoed already".to_owned();
        let misfit = misfit.map(|met| MisfitView { kind: Misfit::Timestamp { why, by: Some(7) }, ..met });
        DropExample { misfit, ..dropped(Reason::BadTimestamp, 1, packet(SERVER, CLIENT, "PA")) }
    };
    let finding = only("timestamp", |snapshot| snapshot.drops.examples = vec![bad(), bad()]);
    assert!(evidence(&finding).contains("7 ticks older"), "{finding:?}");
    assert!(finding.cure.contains("reassemble tcp") && finding.rule.is_some(), "{finding:?}");
    assert_eq!(found(|snapshot| snapshot.drops.examples = vec![bad()]), [], "one is an accident");
}

#[test]
fn answers_to_requests_that_went_elsewhere_are_found() {
    let answer = || dropped(Reason::Match, 1, packet("198.51.100.9:80", "10.1.0.9:5000", "SA"));
    let finding = only("asymmetric-path", |snapshot| snapshot.drops.examples = vec![answer(), answer()]);
    assert!(finding.what.contains("whose SYN did not come by here"), "{finding:?}");
    assert_eq!(finding.rule.map(|rule| rule.line), Some(3));
}

fn counted(reason: Reason, packets: u64) -> Vec<InterfaceDrops> {
    vec![InterfaceDrops { interface: "lan0".into(), reasons: vec![ReasonCount { reason, packets }] }]
}

#[test]
fn limits_that_are_reached_are_found() {
    let cases = [
        (Reason::Memory, "state-limit"),
        (Reason::ShardFull, "state-limit"),
        (Reason::StateLimit, "rule-limit"),
        (Reason::SrcLimit, "source-limit"),
    ];
    for (reason, check) in cases {
        let finding = only(check, |snapshot| {
            snapshot.drops.interfaces = counted(reason, 7);
            snapshot.drops.examples = vec![dropped(reason, 1, packet(CLIENT, SERVER, "S"))];
        });
        assert!(evidence(&finding).contains("7 packets were dropped"), "{finding:?}");
        assert!(finding.rule.is_some(), "{finding:?}");
    }
    only("state-limit", |snapshot| snapshot.status.states = 90_000);
    assert_eq!(found(|snapshot| snapshot.status.states = 89_999), []);
}

#[test]
fn a_path_that_is_too_narrow_is_found_where_its_sender_goes_on() {
    let large =
        |second| dropped(Reason::TooBig, second, PacketView { length: 1500, ..packet(CLIENT, SERVER, "A") });
    let finding = only("mtu", |snapshot| snapshot.drops.examples = (1..=3).map(large).collect());
    assert!(evidence(&finding).contains("1500 bytes"), "{finding:?}");
    assert_eq!(found(|snapshot| snapshot.drops.examples = vec![large(1); 3]), [], "a window of one moment");
    let blocked = only("mtu", |snapshot| {
        let message =
            PacketView { proto: "icmp".into(), tcp: None, icmp: Some((3, 4)), ..packet(SERVER, CLIENT, "") };
        snapshot.drops.examples = vec![dropped(Reason::Match, 1, message)];
    });
    assert!(blocked.cure.contains("needfrag"), "{blocked:?}");
}

#[test]
fn a_next_hop_that_does_not_answer_is_found() {
    let waits = || dropped(Reason::NoNeighbor, 1, packet(CLIENT, "192.0.2.77:80", "S"));
    let finding = only("neighbor", |snapshot| snapshot.drops.examples = vec![waits(), waits()]);
    assert!(finding.what.contains("192.0.2.77 on wan0 does not answer ARP"), "{finding:?}");
    let gone = only("neighbor", |snapshot| {
        snapshot.neighbors.clear();
        snapshot.drops.examples = vec![dropped(Reason::NoNeighbor, 1, packet(CLIENT, SERVER, "S"))];
    });
    assert!(gone.what.contains("192.0.2.254"), "the router is asked for, not what lies behind it: {gone:?}");
    let answered = found(|snapshot| {
        snapshot.neighbors.push(neighbor("192.0.2.77"));
        snapshot.drops.examples = vec![waits()];
    });
    assert_eq!(answered, []);
}

#[test]
fn destinations_without_a_route_are_found() {
    let finding = only("no-route", |snapshot| {
        snapshot.drops.examples = vec![dropped(Reason::NoRoute, 1, packet(CLIENT, "203.0.113.1:80", "S")); 2];
    });
    assert!(finding.cure.contains("ip route add 203.0.113.1"), "{finding:?}");
}

#[test]
fn checksums_that_nobody_completes_are_found() {
    let finding = only("offload", |snapshot| snapshot.status.interfaces[0].partial_checksums = 5);
    assert!(finding.what.contains("lan0") && finding.cure.contains("ethtool -K"), "{finding:?}");
}

#[test]
fn answers_that_were_withheld_just_now_are_found() {
    let finding = only("answers-withheld", |snapshot| snapshot.status.workers[0].withheld = 40);
    assert!(finding.what.starts_with("40 refusals"), "{finding:?}");
    let long_ago = |snapshot: &mut Snapshot| {
        snapshot.status.workers[0].withheld = 40;
        snapshot.before.workers[0].withheld = 40;
    };
    assert_eq!(found(long_ago), []);
}

#[test]
fn workers_with_too_much_to_do_are_found() {
    let of = |busy: [u64; 2]| {
        move |snapshot: &mut Snapshot| {
            snapshot.status.workers = vec![worker(0, busy[0] * 10_000_000), worker(1, busy[1] * 10_000_000)];
        }
    };
    only("worker-skew", of([90, 10]));
    assert_eq!(found(of([90, 60])), []);
    assert_eq!(found(of([40, 5])), [], "there is time left");
    assert_eq!(found(of([97, 96])).len(), 2);
    only("worker-stalled", |snapshot| snapshot.status.workers[0].stalled = true);
    let missed = only("rx-missed", |snapshot| snapshot.status.interfaces[1].hardware.rx_missed = 12);
    assert!(evidence(&missed).contains("12 in the last 1000 ms"), "{missed:?}");
}

#[test]
fn a_firewall_that_does_not_filter_is_found() {
    only("filtering-off", |snapshot| snapshot.status.filtering = Filtering::Off);
    only("no-rules", |snapshot| (snapshot.status.generation, snapshot.rules) = (0, None));
}
