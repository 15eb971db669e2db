//! Limits on sources (pf.conf(5) `source-track`): who may have how many states and connections, and what becomes of who wants
//! more.

use crate::firewall::Firewall;
use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::team::Team;
use engine::{Flushes, NodeCounts, Root, Shard, ShardConfig, StatePool, WorkerId};
use ruleset::{
    AddressMatch, AddressPattern, Flush, Limit, LimitHit, NodeKind, Overload, PacketRate, Reason, Rule,
    Ruleset, SourceSelector, SourceTracking, SourceView, Table, TableEdit, TableEntry, Timeout, Tracking,
};
use wire::Proto;

/// A firewall whose source nodes can be seen.
struct Watched {
    firewall: Firewall,
    pool: StatePool,
}

impl Watched {
    fn with(rules: Ruleset) -> Self {
        let pool = StatePool::new(1000, 1);
        let config =
            ShardConfig { worker: WorkerId(0), workers: 1, max_states: 1000, interfaces: 3, key: [11, 12] };
        let mut firewall = Firewall::bare();
        firewall.shard = Shard::sharing(config, pool.clone());
        firewall.load(rules);
        Self { firewall, pool }
    }

    fn tell(&mut self, story: &str) -> &mut Self {
        self.firewall.tell(story);
        self
    }

    fn nodes(&self) -> Vec<SourceView> {
        let nodes = self.pool.sources(self.firewall.root.as_ref(), self.firewall.now);
        let mut views: Vec<SourceView> = nodes.into_iter().map(|(_, view)| view).collect();
        views.sort_by_key(|view| (view.kind, view.source));
        views
    }

    fn lines(&self) -> Vec<String> {
        self.nodes().iter().map(ToString::to_string).collect()
    }

    fn hits(&self, limit: LimitHit) -> u64 {
        self.firewall.shard.counters().limits()[limit as usize]
    }

    /// What the shell does about sources that have exceeded limits: their tables hold them, their states go.
    fn settle(&mut self) -> u64 {
        let root = self.firewall.root.take().expect("rules");
        let found = root.overloaded();
        let edits: Vec<TableEdit> = found
            .iter()
            .map(|one| TableEdit {
                name: one.table.clone(),
                add: vec![TableEntry::new(false, one.source.into())],
                ..TableEdit::default()
            })
            .collect();
        self.firewall.root = Some(root.with_tables(&edits).expect("tables"));
        let removed = self.firewall.shard.flush(&mut 0, usize::MAX, &Flushes::of(&found));
        found.iter().for_each(engine::Overloaded::settle);
        removed
    }

    /// A whole handshake of a client with the server behind `em1`; true if it is completed.
    fn connect(&mut self, client: u8, port: u16) -> bool {
        let (client, server) = (format!("10.0.0.{client}.{port}"), "10.1.0.2.80");
        let steps = [
            ("em0", format!("{client} > {server} tcp S seq 1000")),
            ("em1", format!("{server} > {client} tcp SA seq 5000 ack 1001")),
            ("em0", format!("{client} > {server} tcp A seq 1001 ack 5001")),
        ];
        steps.iter().all(|(interface, text)| self.firewall.send(interface, text).starts_with("out em"))
    }
}

fn tracking(rule: Rule, source: SourceTracking) -> Rule {
    rule.change(|rule| rule.state_options.source = source)
}

fn by_rule() -> SourceTracking {
    SourceTracking { track: Some(Tracking::Rule), ..SourceTracking::default() }
}

/// `pass in on em0 proto tcp`, with these limits, and what passes on.
fn inward(source: SourceTracking) -> Vec<Rule> {
    vec![block(), tracking(pass().incoming().on("em0"), source), pass().outgoing()]
}

fn limited(source: SourceTracking) -> Watched {
    Watched::with(ruleset(inward(source)))
}

fn overloading(source: SourceTracking, flush: Flush) -> Ruleset {
    let overload = Some(Overload { table: "bad".into(), flush });
    let mut rules = inward(SourceTracking { overload, ..source });
    let bad = AddressMatch { negated: false, pattern: AddressPattern::Table("bad".into()) };
    rules.push(block().quick().change(|rule| rule.from.address = bad));
    let table = Table { name: "bad".into(), persist: true, ..Table::default() };
    Ruleset { tables: vec![table], ..ruleset(rules) }
}

#[test]
fn e05_a_source_has_as_many_states_as_it_may_and_not_one_more() {
    let mut watched = limited(SourceTracking { max_states: 2, ..by_rule() });
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.2.1001 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.2.1002 > 10.1.0.2.53 udp   -> src-limit
        em0: 10.0.0.3.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp   -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1001 udp   -> out em0
        ",
    );
    assert_eq!(
        watched.lines(),
        [
            "10.0.0.2 ( states 2, connections 0, rate 0.0/0s )",
            "10.0.0.3 ( states 1, connections 0, rate 0.0/0s )"
        ]
    );
    assert_eq!(watched.hits(LimitHit::SrcStates), 1);
    // One goes: there is room for one more at once.
    assert_eq!(watched.firewall.kill("10.0.0.3"), 2);
    assert_eq!(watched.nodes().len(), 1, "without states there is no node");
    watched.tell("wait 61").firewall.sweep();
    assert_eq!(watched.lines(), [] as [&str; 0]);
    watched.tell(
        "
        em0: 10.0.0.2.1002 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.2.1003 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.2.1004 > 10.1.0.2.53 udp   -> src-limit
        ",
    );
    let counts = watched.pool.source_counts();
    assert_eq!(counts, NodeCounts { current: 1, inserts: 3, removals: 2, ..counts });
}

#[test]
fn e05_a_rule_has_as_many_sources_as_it_may() {
    let mut watched = limited(SourceTracking { max_nodes: 2, ..by_rule() });
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.3.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.4.1000 > 10.1.0.2.53 udp   -> src-limit
        em0: 10.0.0.2.1001 > 10.1.0.2.53 udp   -> out em1
        ",
    );
    assert_eq!((watched.nodes().len(), watched.hits(LimitHit::SrcNodes)), (2, 1));
    watched.firewall.kill("10.0.0.3");
    watched.tell("em0: 10.0.0.4.1000 > 10.1.0.2.53 udp   -> out em1");
    watched.tell("em0: 10.0.0.3.1000 > 10.1.0.2.53 udp   -> src-limit");
}

#[test]
fn e05_the_table_of_sources_is_limited_itself() {
    let mut rules = ruleset(inward(by_rule()));
    rules.options.limits.set(Limit::SrcNodes, 2);
    let mut watched = Watched::with(rules);
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.3.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.4.1000 > 10.1.0.2.53 udp   -> src-limit
        ",
    );
    assert_eq!(watched.hits(LimitHit::SrcNodes), 0, "as in pf, that is not counted as a rule's");
}

#[test]
fn states_of_all_rules_that_track_globally_count_together() {
    let global = |max_states| SourceTracking {
        track: Some(Tracking::Global),
        max_states,
        ..SourceTracking::default()
    };
    let mut watched = Watched::with(ruleset(vec![
        block(),
        pass().outgoing(),
        tracking(pass().incoming().to_udp(53), global(3)),
        tracking(pass().incoming().to_udp(123), global(2)),
    ]));
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp    -> out em1
        em0: 10.0.0.2.1000 > 10.1.0.2.123 udp   -> out em1
        em0: 10.0.0.2.1001 > 10.1.0.2.123 udp   -> src-limit
        em0: 10.0.0.2.1001 > 10.1.0.2.53 udp    -> out em1
        em0: 10.0.0.2.1002 > 10.1.0.2.53 udp    -> src-limit
        ",
    );
    let nodes = watched.nodes();
    assert_eq!((nodes.len(), nodes[0].states, nodes[0].rule), (1, 3, None));
}

#[test]
fn each_hook_counts_for_its_own_rule() {
    let mut watched = Watched::with(ruleset(vec![
        block(),
        tracking(pass().incoming(), SourceTracking { max_states: 5, ..by_rule() }),
        tracking(pass().outgoing(), SourceTracking { max_states: 1, ..by_rule() }),
    ]));
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp    -> out em1
        em0: 10.0.0.2.1001 > 10.1.0.2.53 udp    -> src-limit
        ",
    );
    // As in pf, what the first hook has made stays.
    let states: Vec<u32> = watched.nodes().iter().map(|node| node.states).collect();
    assert_eq!(states.iter().sum::<u32>(), 3);
    assert!(states.contains(&2) && states.contains(&1));
}

#[test]
fn e05_connections_count_once_their_handshake_is_completed() {
    let mut watched = limited(SourceTracking { max_conn: 2, ..by_rule() });
    watched.tell("em0: 10.0.0.2.9 > 10.1.0.2.80 tcp S seq 1 -> out em1");
    assert!(watched.connect(2, 1000) && watched.connect(2, 1001));
    assert_eq!(watched.lines(), ["10.0.0.2 ( states 3, connections 2, rate 0.0/0s )"]);
    // The SYN passes, the segment that completes the handshake does not, and its state is gone.
    watched.tell(
        "
        em0: 10.0.0.2.1002 > 10.1.0.2.80 tcp S seq 1000            -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.1002 tcp SA seq 5000 ack 1001  -> out em0
        em0: 10.0.0.2.1002 > 10.1.0.2.80 tcp A seq 1001 ack 5001   -> src-limit
        em0: 10.0.0.2.1002 > 10.1.0.2.80 tcp A seq 1001 ack 5001   -> match
        em0: 10.0.0.2.1000 > 10.1.0.2.80 tcp A seq 1001 ack 5001   -> out em1
        ",
    );
    assert_eq!(watched.lines(), ["10.0.0.2 ( states 3, connections 2, rate 0.0/0s )"]);
    assert_eq!((watched.hits(LimitHit::SrcConn), watched.hits(LimitHit::OverloadTable)), (1, 0));
    assert_eq!(watched.firewall.dropped(Reason::SrcLimit), 1);
    // A connection that ends makes room once its state goes.
    watched.firewall.kill("10.0.0.2");
    assert!(watched.connect(2, 1003));
    assert_eq!(watched.lines(), ["10.0.0.2 ( states 1, connections 1, rate 0.0/0s )"]);
}

#[test]
fn a_segment_that_dies_behind_the_hook_counts_its_connection_once() {
    let mut watched = limited(SourceTracking { max_conn: 2, ..by_rule() });
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.80 tcp S seq 1000               -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.1000 tcp SA seq 5000 ack 1001     -> out em0
        em0: 10.0.0.2.1000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 options -> ip-option
        em0: 10.0.0.2.1000 > 10.1.0.2.80 tcp A seq 1001 ack 5001      -> out em1
        ",
    );
    assert_eq!(watched.nodes()[0].connections, 1);
}

#[test]
fn e05_connections_come_no_faster_than_they_may() {
    let rate = PacketRate { packets: 3, seconds: 10 };
    let options = SourceTracking { max_conn_rate: Some(rate), ..by_rule() };
    let mut rules = inward(options);
    rules[1] = rules[1].clone().timeout(Timeout::SrcTrack, 10);
    let mut watched = Watched::with(ruleset(rules));
    assert!((0..3).all(|n| watched.connect(2, 1000 + n)));
    assert!(!watched.connect(2, 1003) && watched.connect(3, 1000));
    assert_eq!(watched.nodes()[0].rate_tenths, 40, "as in pf, what was too fast counts as well");
    assert_eq!(watched.hits(LimitHit::SrcConnRate), 1);
    watched.tell("wait 5");
    assert_eq!(watched.lines()[0], "10.0.0.2 ( states 3, connections 3, rate 2.0/10s )");
    assert!(watched.connect(2, 1004));
    assert!(!watched.connect(2, 1005));
    // The node outlives its states for the time of the rate, so that the rate holds over them.
    watched.firewall.kill("10.0.0.2");
    assert_eq!(watched.nodes()[0].states, 0);
    assert!(!watched.connect(2, 1006));
    watched.tell("wait 10");
    assert!(watched.connect(2, 1007));
}

#[test]
fn nodes_outlive_their_last_state_by_their_time() {
    let mut rules = ruleset(inward(by_rule()));
    rules.options.timeouts.set(Timeout::SrcTrack, 30);
    let mut watched = Watched::with(rules);
    watched.tell("em0: 10.0.0.2.1000 > 10.1.0.2.53 udp -> out em1").firewall.kill("10.0.0.2");
    watched.tell("wait 10");
    let shown = format!("{:#}", watched.nodes()[0]);
    assert_eq!(
        shown,
        "10.0.0.2 ( states 0, connections 0, rate 0.0/0s )\n   age 00:00:10, expires in 00:00:20, 1 pkts, 28 bytes, rule 1"
    );
    watched.tell("wait 19");
    assert_eq!(watched.nodes().len(), 1);
    watched.tell("wait 1");
    assert_eq!(watched.nodes().len(), 0);
    assert_eq!(watched.pool.source_counts().current, 1, "its place is taken until somebody looks");
    for _ in 0..1000 {
        let view = engine::View {
            now: watched.firewall.now,
            root: watched.firewall.root.as_ref(),
            fib: &watched.firewall.fib,
        };
        watched.firewall.shard.expire_sources(&view);
        watched.firewall.now = watched.firewall.now + engine::Tick::from_millis(10);
    }
    assert_eq!(watched.pool.source_counts().current, 0);
}

#[test]
fn e05_who_exceeds_a_limit_is_in_the_table_for_the_very_next_packet() {
    let mut watched = Watched::with(overloading(SourceTracking { max_conn: 1, ..by_rule() }, Flush::No));
    assert!(watched.connect(2, 1000) && !watched.connect(2, 1001));
    watched.tell(
        "
        em0: 10.0.0.2.1002 > 10.1.0.2.80 tcp S seq 1             -> match
        em0: 10.0.0.3.1002 > 10.1.0.2.80 tcp S seq 1             -> out em1
        em0: 10.0.0.2.1000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1
        ",
    );
    assert_eq!(watched.hits(LimitHit::OverloadTable), 1);
    assert_eq!(watched.hits(LimitHit::OverloadFlush), 0);
    let entries = |root: &Root| root.entries("bad").expect("a table").count();
    assert_eq!(entries(watched.firewall.root.as_ref().unwrap()), 0);
    // Whatever the table is made of: nothing changes for packets.
    assert_eq!(watched.settle(), 0);
    assert_eq!(entries(watched.firewall.root.as_ref().unwrap()), 1);
    assert!(watched.firewall.root.as_ref().unwrap().overloaded().is_empty());
    watched.tell("em0: 10.0.0.2.1003 > 10.1.0.2.80 tcp S seq 1 -> match");
    // Who is taken out of it may come again.
    let remove = vec!["10.0.0.2/32".parse().unwrap()];
    let edit = TableEdit { name: "bad".into(), remove, ..TableEdit::default() };
    let root = watched.firewall.root.take().unwrap().with_tables(&[edit]).unwrap();
    watched.firewall.root = Some(root);
    watched.tell("em0: 10.0.0.2.1003 > 10.1.0.2.80 tcp S seq 1 -> out em1");
}

#[test]
fn e05_flush_removes_the_states_of_the_rule_and_flush_global_all_of_the_source() {
    for (flush, left) in [(Flush::No, 5), (Flush::Rule, 4), (Flush::Global, 0)] {
        let rules = overloading(SourceTracking { max_conn: 1, ..by_rule() }, flush);
        let mut watched = Watched::with(rules);
        watched.connect(2, 1000);
        watched.connect(3, 1000);
        watched.connect(2, 1001);
        // The state that exceeded the limit is gone by itself, at the hook that found it.
        let of = |watched: &Watched, source: &str| {
            let lines = watched.firewall.states();
            lines.iter().filter(|state| state.source.end.address.to_string() == source).count()
        };
        assert_eq!(of(&watched, "10.0.0.2"), 3);
        let removed = watched.settle();
        let expected = match flush {
            Flush::No => 3,
            Flush::Rule => 2,
            Flush::Global => 0,
        };
        assert_eq!(of(&watched, "10.0.0.2"), expected, "{flush:?}: {removed} of {left}");
        assert_eq!(of(&watched, "10.0.0.3"), 2, "{flush:?}: others keep theirs");
    }
}

#[test]
fn e05_a_state_of_a_rule_that_is_gone_overloads_its_source_all_the_same() {
    let mut watched = Watched::with(overloading(SourceTracking { max_conn: 1, ..by_rule() }, Flush::Global));
    assert!(watched.connect(2, 1000));
    watched.tell(
        "
        em0: 10.0.0.2.1001 > 10.1.0.2.80 tcp S seq 1000           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.1001 tcp SA seq 5000 ack 1001 -> out em0
        ",
    );
    let table = Table { name: "bad".into(), persist: true, ..Table::default() };
    watched.firewall.load(Ruleset { tables: vec![table], ..ruleset(vec![pass()]) });
    watched.tell("em0: 10.0.0.2.1001 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> src-limit");
    assert_eq!(watched.firewall.root.as_ref().unwrap().overloaded().len(), 1);
    watched.settle();
    assert!(watched.firewall.states().is_empty(), "{}", watched.firewall.dump());
}

#[test]
fn a_reload_leaves_sources_what_they_have_and_what_they_may() {
    let rules = overloading(SourceTracking { max_conn: 2, max_states: 3, ..by_rule() }, Flush::No);
    let mut watched = Watched::with(rules.clone());
    assert!(watched.connect(2, 1000) && watched.connect(2, 1001) && !watched.connect(2, 1002));
    // In the middle of everything: what was found is not forgotten.
    watched.firewall.load(rules);
    assert_eq!(watched.firewall.root.as_ref().unwrap().overloaded().len(), 1);
    watched.tell("em0: 10.0.0.2.1003 > 10.1.0.2.80 tcp S seq 1 -> match");
    let nodes = watched.nodes();
    assert_eq!((nodes.len(), nodes[0].states, nodes[0].connections, nodes[0].rule), (1, 2, 2, Some(1)));
    // Another rule begins anew.
    watched.firewall.load(ruleset(vec![pass().change(|rule| rule.identity = 77)]));
    assert_eq!(watched.nodes()[0].rule, None);
    watched.tell("em0: 10.0.0.2.1003 > 10.1.0.2.80 tcp S seq 1 -> out em1");
}

#[test]
fn nodes_that_are_killed_count_no_more_and_their_states_live_on() {
    let mut watched = limited(SourceTracking { max_states: 1, max_nodes: 2, ..by_rule() });
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.3.1000 > 10.1.0.2.53 udp   -> out em1
        ",
    );
    let selector =
        SourceSelector { source: Some("10.0.0.2/32".parse().unwrap()), ..SourceSelector::default() };
    assert_eq!(watched.pool.forget_sources(&selector, watched.firewall.now), 1);
    assert_eq!(watched.pool.forget_sources(&selector, watched.firewall.now), 0);
    let target = SourceSelector { target: Some("0.0.0.0/0".parse().unwrap()), ..SourceSelector::default() };
    assert_eq!(watched.pool.forget_sources(&target, watched.firewall.now), 0, "none leads anywhere");
    assert_eq!(watched.firewall.shard.states(), 4);
    watched.tell("em0: 10.0.0.2.1001 > 10.1.0.2.53 udp -> out em1");
    watched.tell("em0: 10.0.0.4.1001 > 10.1.0.2.53 udp -> src-limit");
    assert_eq!(watched.nodes()[0].states, 1);
    watched.firewall.kill("10.0.0.2");
    assert_eq!(watched.lines(), ["10.0.0.3 ( states 1, connections 0, rate 0.0/0s )"]);
    assert_eq!(watched.pool.forget_sources(&SourceSelector::default(), watched.firewall.now), 1);
    watched.firewall.kill("10.0.0.3");
    assert_eq!(watched.pool.source_counts().current, 0);
}

#[test]
fn a_state_says_that_it_counts_for_a_source() {
    let mut watched = limited(by_rule());
    watched.tell("em0: 10.0.0.2.1000 > 10.1.0.2.53 udp -> out em1");
    let tracked: Vec<bool> = watched.firewall.states().iter().map(|state| state.source_track).collect();
    assert_eq!(tracked, [true, false]);
    assert!(watched.firewall.dump().contains(", rule 1, source-track\n"));
    let mut seen = Vec::new();
    watched.firewall.shard.traffic_of_sources(&mut 0, usize::MAX, &mut |_, packets, bytes| {
        seen.push((packets, bytes));
    });
    assert_eq!(seen, [(1, 28)]);
}

#[test]
fn a_packet_that_makes_no_state_counts_for_nobody() {
    let source = SourceTracking { max_states: 9, ..by_rule() };
    let mut watched = Watched::with(ruleset(vec![
        tracking(pass().change(|rule| rule.state_options.max = 1), source),
        pass().outgoing(),
    ]));
    watched.tell(
        "
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp   -> out em1
        em0: 10.0.0.2.1001 > 10.1.0.2.53 udp   -> state-limit
        ",
    );
    assert_eq!(watched.nodes()[0].states, 1);
    assert_eq!(watched.hits(LimitHit::States), 1);
    assert_eq!(watched.nodes()[0].kind, NodeKind::Filter);
    watched.firewall.kill("10.0.0.2");
    assert_eq!(watched.nodes().len(), 0);
}

#[test]
fn a_second_family_has_nodes_of_its_own() {
    let mut watched = limited(SourceTracking { max_states: 1, ..by_rule() });
    watched.tell(
        "
        em0: 2001:db8::2.1000 > 2001:db8:1::2.53 udp   -> out em1
        em0: 2001:db8::2.1001 > 2001:db8:1::2.53 udp   -> src-limit
        em0: 10.0.0.2.1000 > 10.1.0.2.53 udp           -> out em1
        ",
    );
    assert_eq!(watched.nodes().len(), 2);
    assert_eq!(watched.firewall.states()[0].proto, Proto::UDP);
}

/// What one worker lets in, several do between them, whoever receives what.
#[test]
fn limits_are_the_same_for_one_two_and_four_workers() {
    const CLIENTS: u64 = 4;
    let source = SourceTracking { max_states: 5, max_nodes: 3, ..by_rule() };
    let rules = vec![block(), tracking(pass().incoming().on("em0"), source), pass().outgoing()];
    let told = |workers: u16| {
        let pool = StatePool::new(4096, workers);
        let mut team = Team::of(workers, 4096, &rules);
        for (number, firewall) in (0..).zip(&mut team.0) {
            let (worker, interfaces, key) = (WorkerId(number), 3, [11, 12]);
            let config = ShardConfig { worker, workers, max_states: 4096, interfaces, key };
            firewall.shard = Shard::sharing(config, pool.clone());
        }
        let (mut random, mut told) = (7_u64, Vec::new());
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        for port in 1000..3000 {
            let (client, at, kills) = (2 + below(CLIENTS), below(4) as u16 % workers, below(12) == 0);
            let text = format!("10.0.0.{client}.{port} > 10.1.0.2.53 udp");
            told.push(team.forward(at, "em0", &text).is_some());
            if kills {
                let victim = format!("10.0.0.{}", 2 + below(CLIENTS));
                team.0.iter_mut().for_each(|one| _ = one.kill(&victim));
                team.release();
            }
            let states = pool.sources(None, team.0[0].now);
            assert!(states.len() <= 3 && states.iter().all(|(_, node)| node.states <= 5));
        }
        (told, pool.source_counts())
    };
    let one = told(1);
    assert!(one.0.iter().filter(|passed| **passed).count() > 300);
    assert!(one.0.iter().filter(|passed| !**passed).count() > 300);
    for workers in [2, 4] {
        assert_eq!(told(workers), one, "{workers} workers");
    }
}
