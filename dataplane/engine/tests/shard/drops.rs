//! Examples of dropped packets: what they tell, and how many there are.

use crate::firewall::rules::{Written, block, matching, pass};
use crate::firewall::{EM0, EM1, Firewall};
use engine::track::measure;
use engine::{DropPlace, DropRecord, Misfit, RuleAt, Seen, Source, Transport};
use ruleset::{Direction, PeerState, Reason};
use wire::{Port, Proto};

fn drops(firewall: &mut Firewall) -> Vec<DropRecord> {
    std::iter::from_fn(|| firewall.shard.take_drop()).collect()
}

/// The only example.
fn only(firewall: &mut Firewall) -> DropRecord {
    let all = drops(firewall);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

fn ports(record: &DropRecord) -> (Port, Port) {
    match record.seen {
        Seen::Packet(packet) => (packet.tuple.sport, packet.tuple.dport),
        Seen::Frame(_) => panic!("{record:?}"),
    }
}

fn connected() -> Firewall {
    let mut firewall = Firewall::with(vec![block(), pass().proto(Proto::TCP).to_port(80)]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001  -> out em1
        ",
    );
    assert!(drops(&mut firewall).is_empty(), "what passes leaves no example");
    firewall
}

#[test]
fn a_blocked_packet_is_told_with_its_rule_and_hook() {
    let mut firewall = Firewall::with(vec![pass(), block().outgoing()]);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> match");
    let record = only(&mut firewall);
    assert_eq!((record.reason, record.between), (Reason::Match, 0));
    assert_eq!((record.place, record.counted_on), (DropPlace::Arrived(crate::firewall::arrival("em0")), EM0));
    assert_eq!(record.hook, Some((Direction::Out, EM1)));
    let epoch = firewall.root.as_ref().map(engine::Root::epoch);
    assert_eq!(record.rule, epoch.map(|epoch| RuleAt { epoch, number: 1 }));
    assert_eq!(ports(&record), (Port(40000), Port(80)));
    assert!(record.misfit.is_none());
}

#[test]
fn what_no_hook_has_refused_blames_none() {
    let mut firewall = connected();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.81 tcp S seq 1000 -> match
        em0: 10.0.0.2.40000 > 10.8.0.2.80 tcp S seq 1000 -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/0 about (10.0.0.2 > 10.8.0.2 proto 6) ttl 64
        ",
    );
    let [blocked, unrouted] = drops(&mut firewall)[..] else { panic!("two drops") };
    assert_eq!(blocked.hook, Some((Direction::In, EM0)));
    assert_eq!((unrouted.reason, unrouted.hook, unrouted.rule), (Reason::NoRoute, None, None));
}

#[test]
fn what_there_is_nothing_to_translate_to_is_told_with_the_rule_that_translates() {
    let ports = (50_000, 50_000);
    let by_match = vec![block(), matching().outgoing().nat_to("10.1.0.1", ports), pass()];
    let by_pass = vec![block(), pass().incoming(), pass().outgoing().nat_to("10.1.0.1", ports)];
    for (rules, number) in [(by_match, 1), (by_pass, 2)] {
        let mut firewall = Firewall::with(rules);
        firewall.tell(
            "
            em0: 10.0.0.2.1000 > 10.1.0.2.80 udp -> out em1 as 10.1.0.1.50000 > 10.1.0.2.80 udp
            em0: 10.0.0.2.1001 > 10.1.0.2.80 udp -> translate
            em0: 10.0.0.2.1002 > 10.8.0.2.80 udp -> no-route: 10.0.0.1 > 10.0.0.2 icmp 3/0 about (10.0.0.2 > 10.8.0.2 proto 17) ttl 64
            ",
        );
        let [refused, unrouted] = drops(&mut firewall)[..] else { panic!("two drops") };
        assert_eq!((refused.reason, refused.hook), (Reason::Translate, Some((Direction::Out, EM1))));
        assert_eq!(refused.rule.map(|rule| rule.number), Some(number));
        assert_eq!((unrouted.reason, unrouted.rule), (Reason::NoRoute, None), "it is another packet's");
    }
}

#[test]
fn a_segment_outside_its_window_is_told_with_the_state_and_by_how_much() {
    let mut firewall = connected();
    firewall.tell("em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 900000 ack 1001 len 10 -> state-mismatch");
    let record = only(&mut firewall);
    assert_eq!((record.hook, record.rule.map(|rule| rule.number)), (Some((Direction::In, EM1)), Some(1)));
    let Some((met, Misfit::Window(segment))) = record.misfit else { panic!("{record:?}") };
    assert_eq!((met.direction, met.forward), (Direction::Out, false));
    assert_eq!(met.behind.map(|(_, port)| port), [Port(40000), Port(80)]);
    assert_eq!(met.packets, [2, 1]);
    assert_eq!(met.peers.map(|peer| peer.state), [PeerState::Established; 2]);
    let [client, server] = met.peers;
    let measure = measure(&server, &client, &segment);
    assert_eq!(measure.check.to_string(), "1         | 5  ");
    assert_eq!(measure.excess[0], 900_010 - server.seqhi.0);
    assert_eq!(measure.excess[5], 900_010 - server.seqhi.0 - 67_035);
    assert_eq!(measure.excess[1..5], [0; 4]);
    assert_eq!(measure.ackskew, -1);
}

#[test]
fn clauses_are_missed_by_as_many_octets_as_they_say() {
    let stories = [
        // An octet further, and each would be in order: 2 by one octet behind the oldest, 3 and 4 by one past the slack.
        ("PA seq 4294960103 ack 5001 len 9", 1, 1),
        ("A seq 1001 ack 72037", 2, 1),
        ("A seq 1001 ack 4294905261", 3, 1),
        ("R seq 1002 ack 5002", 4, 2),
    ];
    for (text, clause, by) in stories {
        let mut firewall = connected();
        firewall.tell(&format!("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp {text} -> state-mismatch"));
        let Some((met, Misfit::Window(segment))) = only(&mut firewall).misfit else { panic!("{text}") };
        let [client, server] = met.peers;
        let measure = measure(&client, &server, &segment);
        assert_eq!(measure.excess[clause], by, "{text}: {measure:?}");
        let failed = measure.excess.iter().zip("1234R56".chars()).filter(|(by, _)| **by > 0);
        assert!(failed.map(|(_, mark)| mark).eq(measure.check.failed()), "{text}: {measure:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told_by_its_first_bytes() {
    let mut firewall = connected();
    let mut frame = vec![0x5a; 200];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    let _ = firewall.decide(crate::firewall::arrival("em0"), &mut frame.clone());
    let record = only(&mut firewall);
    let Seen::Frame(head) = record.seen else { panic!("{record:?}") };
    assert_eq!((head.length, head.bytes()), (200, &frame[..64]));
}

/// What is lost behind its verdict is read once more, as it is then.
#[test]
fn what_is_lost_behind_its_verdict_is_told_with_where_it_was() {
    let mut firewall = connected();
    let now = firewall.now;
    let text = "10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10";
    let frame = crate::firewall::packet::Packet::parse(text)
        .frame(crate::firewall::mac(EM1, 2), crate::firewall::mac(EM1, 1));
    firewall.shard.losses(now).leaving((EM1, Source::Wire), Reason::TxFull, &frame);
    firewall.shard.losses(now).leaving((EM0, Source::Host), Reason::HostFull, &frame[..20]);
    let arrival = crate::firewall::arrival("em0");
    firewall.shard.losses(now).arrived(arrival, EM1, Reason::NoNeighbor, &frame);
    let [sent, punted, held] = drops(&mut firewall)[..] else { panic!("three drops") };
    let place = |record: &DropRecord| (record.place, record.counted_on, record.reason);
    assert_eq!(place(&sent), (DropPlace::Leaving(Source::Wire), EM1, Reason::TxFull));
    assert_eq!(ports(&sent), (Port(40000), Port(80)));
    assert_eq!(place(&punted), (DropPlace::Leaving(Source::Host), EM0, Reason::HostFull));
    let Seen::Frame(head) = punted.seen else { panic!("{punted:?}") };
    assert_eq!((head.length, head.bytes()), (20, &frame[..20]));
    assert_eq!(place(&held), (DropPlace::Arrived(arrival), EM1, Reason::NoNeighbor));
    assert!(drops(&mut firewall).is_empty());
    assert_eq!([Reason::TxFull, Reason::HostFull, Reason::NoNeighbor].map(|it| firewall.dropped(it)), [1; 3]);
    // Nobody is blamed for what a hook had against the packet before.
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.81 tcp S seq 1000 -> match");
    firewall.shard.losses(now).leaving((EM1, Source::Wire), Reason::TxFull, &frame);
    let [_, sent] = drops(&mut firewall)[..] else { panic!("two drops") };
    assert_eq!((sent.hook, sent.rule), (None, None));
}

#[test]
fn fragments_that_wait_in_vain_are_told_of() {
    let mut firewall = connected();
    let whole = crate::firewall::packet::Packet::parse("10.0.0.2.40000 > 10.1.0.2.80 udp len 1000");
    let mut cut = crate::firewall::fragment::cut4(
        &whole.frame(crate::firewall::mac(EM0, 2), crate::firewall::mac(EM0, 1)),
        7,
        &[80],
    );
    let _ = firewall.decide(crate::firewall::arrival("em0"), &mut cut[0]);
    assert!(drops(&mut firewall).is_empty(), "it waits");
    firewall.wait(61).expire_fragments();
    let record = only(&mut firewall);
    assert_eq!(
        (record.reason, record.place),
        (Reason::Fragment, DropPlace::Arrived(crate::firewall::arrival("em0")))
    );
    let Seen::Packet(packet) = record.seen else { panic!("{record:?}") };
    assert_eq!((packet.transport, packet.length()), (Transport::Fragment, 100));
}

#[test]
fn a_flood_of_drops_leaves_a_sample_and_counts_the_rest() {
    let mut firewall = connected();
    let flood = |firewall: &mut Firewall| {
        for _ in 0..100 {
            firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.81 tcp S seq 1000 -> match");
        }
    };
    flood(&mut firewall);
    // Another reason has a sample of its own.
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 900000 -> state-mismatch");
    let first = drops(&mut firewall);
    assert_eq!(first.len(), 5, "{first:?}");
    assert_eq!(first.last().map(|record| record.reason), Some(Reason::StateMismatch));
    firewall.wait(1);
    flood(&mut firewall);
    let second = drops(&mut firewall);
    assert_eq!(second.len(), 4);
    assert_eq!(second[0].between, 96);
    assert!(second[1..].iter().all(|record| record.between == 0));
}
