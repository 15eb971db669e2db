use std::sync::Arc;

use ruleset::{Action, Limit, Removal, Rule, Ruleset, StateMode, StateSelector, Timeout};
use wire::{Port, Proto};

use super::*;
use crate::eval::{Occasion, Question, Role, Root, RuleSlot, Tag};
use crate::fib::{Fib, Interface, InterfaceId};
use crate::packet::{Packet, Transport};
use crate::state::adjacency::{Adjacencies, Adjacency};
use crate::state::class::Sketch;
use crate::state::course::delta;
use crate::state::credit::StatePool;
use crate::state::key::Hashing;
use crate::state::lookup::{Found, Wanted};
use crate::state::record::Sixteenths;
use crate::state::select::Selection;
use crate::state::table::{Expiry, NewRecord};
use crate::track::Peer;
use crate::{Tuple, Zone, fib};

const LAN: InterfaceId = InterfaceId(0);
const NOW: Sixteenths = Sixteenths(1600);
const LIMIT: u32 = 100;

/// A table, and what its classes come from.
struct Bed {
    table: Connections,
    hashing: Hashing,
    root: Root,
    fib: Fib,
    slot: Arc<RuleSlot>,
    /// Tuples that records are linked to are another worker's.
    foreign: bool,
}

fn interface() -> Interface {
    Interface {
        name: "lan".into(),
        groups: Vec::new(),
        mac: wire::Mac([2; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        zone: Zone(0),
        up: true,
        role: fib::Role::Routed,
    }
}

fn tuple(af: Af, src: u128, sport: u16, dst: u128, dport: u16) -> Tuple {
    Tuple {
        af,
        proto: Proto::UDP,
        zone: Zone(0),
        src: Address(src),
        dst: Address(dst),
        sport: Port(sport),
        dport: Port(dport),
    }
}

/// As its sender sends it.
fn before() -> Tuple {
    tuple(Af::Inet, 0x0a00_0002, 1000, 0x0a01_0002, 53)
}

/// As it leaves.
fn after() -> Tuple {
    tuple(Af::Inet, 0x0a01_0003, 50_001, 0x0a01_0002, 53)
}

impl Bed {
    fn new() -> Self {
        let rule = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
        let mut ruleset = Ruleset { rules: vec![rule], ..Ruleset::default() };
        ruleset.options.limits.set(Limit::States, LIMIT);
        let fib = Fib::new(1, vec![interface()], [], []);
        let root = Root::compile(&ruleset, fib.interfaces(), None).expect("valid rules");
        let packet = Packet {
            tuple: before(),
            l3: 14,
            l4: 34,
            end: 42,
            ttl: 64,
            tos: 0,
            dont_fragment: false,
            options: false,
            group_frame: false,
            transport: Transport::Udp,
        };
        let question = Question {
            packet: &packet,
            direction: Direction::In,
            interface: LAN,
            tag: Tag::default(),
            received_on: Some(LAN),
            priority: 3,
            shape: None,
            fib: &fib,
            role: Role::Original,
            occasion: Occasion::Imagined,
        };
        let slot = root.decide(&question).slot.clone();
        let table = Connections::new(8, 0, StatePool::new(LIMIT, 1));
        Self { table, hashing: Hashing::new([1, 2], 1), root, fib, slot, foreign: false }
    }

    fn expiry(&self, now: Sixteenths) -> Expiry<'_> {
        Expiry { now, options: &self.root.ruleset().options }
    }

    /// A record of a tuple, with both faces.
    fn connect(&mut self, tuple: &Tuple) -> RecordId {
        let (key, sender) = Key::of(tuple);
        let hash = self.hashing.hash(&key);
        let slot = self.slot.clone();
        let class = |direction| Sketch {
            rule: &slot,
            interface: None,
            direction,
            tag: Tag::default(),
            gateway: None,
            terms: None,
        };
        let new = NewRecord {
            key: Narrow::of(&key),
            wide: &key.address,
            hash,
            sender,
            side: sender,
            class: class(Direction::In),
            other: None,
            peers: (Peer::default(), Peer::default()),
            timeout: Timeout::UdpMultiple,
            now: NOW,
            twin: None,
            alone: true,
        };
        let id = self.table.insert(&new, LIMIT).expect("room");
        self.table.add_face(id, sender.other(), class(Direction::Out), (sender, 100), LIMIT).expect("room");
        id
    }

    /// As source translation links it: replies enter by `after`, and leave by `before`.
    fn link(&mut self, id: RecordId, before: &Tuple, after: &Tuple) -> Result<LinkId, Full> {
        let ((own, sender), (key, translated)) = (Key::of(before), Key::of(after));
        let server = sender.other();
        let new = NewLink {
            key: Narrow::of(&key),
            wide: &key.address,
            hash: self.hashing.hash(&key),
            swapped: sender != translated,
            reach: Reach::NONE.with(Direction::In, server),
            own: Reach::NONE
                .with(Direction::In, sender)
                .with(Direction::Out, sender)
                .with(Direction::Out, server),
            foreign: self.foreign,
            alone: false,
        };
        self.table.link(id, self.hashing.hash(&own), &new)
    }

    /// What a packet meets that enters or leaves.
    fn find(&mut self, tuple: &Tuple, direction: Direction, now: Sixteenths) -> Found {
        let (key, sender) = Key::of(tuple);
        let side = if direction == Direction::In { sender } else { sender.other() };
        let hash = self.hashing.hash(&key);
        let wanted = Wanted { key: &key, hash, side, direction, interface: LAN };
        let expiry = Expiry { now, options: &self.root.ruleset().options };
        self.table.find(&wanted, &expiry, &mut 0)
    }

    fn record(&mut self, tuple: &Tuple, direction: Direction) -> Option<RecordId> {
        match self.find(tuple, direction, NOW) {
            Found::Record(hit) => Some(hit.record),
            Found::Others | Found::Nothing | Found::Elsewhere(_) => None,
        }
    }

    /// Whether the index leads anywhere from a tuple.
    fn is_indexed(&self, tuple: &Tuple) -> bool {
        let hash = self.hashing.hash(&Key::of(tuple).0);
        self.table.index.candidates(hash).next().is_some()
    }

    fn linked(&mut self) -> RecordId {
        let id = self.connect(&before());
        self.link(id, &before(), &after()).expect("room");
        id
    }

    fn assert_gone(&mut self) {
        assert!(!self.is_indexed(&before()) && !self.is_indexed(&after()));
        assert_eq!(self.table.faces(), 0);
        let again = self.connect(&tuple(Af::Inet, 1, 1, 2, 2));
        let used = self.table.links.numbers.used();
        self.link(again, &tuple(Af::Inet, 1, 1, 2, 2), &after()).expect("room");
        assert_eq!(self.table.links.numbers.used(), used, "used again");
    }
}

#[test]
fn each_tuple_leads_to_the_faces_that_it_reaches() {
    let mut bed = Bed::new();
    let id = bed.linked();
    assert_ne!(Key::of(&before()).1, Key::of(&after()).1, "the ends lie the other way round");
    for (tuple, direction, found) in [
        (before(), Direction::In, true),
        (before(), Direction::Out, true),
        (before().reverse(), Direction::Out, true),
        (before().reverse(), Direction::In, false),
        (after().reverse(), Direction::In, true),
        (after().reverse(), Direction::Out, false),
        (after(), Direction::In, false),
        (after(), Direction::Out, false),
    ] {
        assert_eq!(bed.record(&tuple, direction), found.then_some(id), "{direction:?} {tuple:?}");
    }
    let Found::Record(hit) = bed.find(&after().reverse(), Direction::In, NOW) else { panic!("not found") };
    let sender = Key::of(&after().reverse()).1;
    assert_eq!(hit.side(sender), Key::of(&before()).1.other(), "the reply's sender is the receiver");
    assert_eq!(hit.hash, bed.hashing.hash(&Key::of(&before()).0));
    assert_eq!(bed.find(&tuple(Af::Inet, 1, 2, 3, 4), Direction::In, NOW), Found::Nothing);
}

#[test]
fn a_link_holds_what_a_rewriting_needs() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let link = bed.table.first_link(id).expect("a link");
    assert_eq!(bed.table.next_link(link), None);
    assert_eq!(bed.table.link_key(link), Key::of(&after()).0);
    assert!(bed.table.is_swapped(link));
    let octets = |tuple: &Tuple| {
        let addresses = [tuple.src, tuple.dst].map(|address| address.v4().to_be_bytes());
        let ports = [tuple.sport, tuple.dport].map(|port| port.0.to_be_bytes());
        (addresses, ports)
    };
    let (old, new) = (octets(&before()), octets(&after()));
    let sum = |addresses: &[[u8; 4]; 2], ports: &[[u8; 2]; 2]| {
        wire::checksum::Sum::ZERO.plus(addresses.as_flattened()).plus(ports.as_flattened()).checksum()
    };
    let keys = [bed.table.key(id), bed.table.link_key(link)];
    let both = delta(&keys[0], &keys[1]);
    assert_eq!(sum(&old.0, &old.1).adjusted(both), sum(&new.0, &new.1));
    assert_eq!(sum(&new.0, &new.1).adjusted(both.reversed()), sum(&old.0, &old.1));
    let [before, after] = keys.map(|key| Key { port: [Port(0); 2], ..key });
    let addresses = delta(&before, &after);
    assert_eq!(sum(&old.0, &[[0; 2]; 2]).adjusted(addresses), sum(&new.0, &[[0; 2]; 2]));
}

#[test]
fn several_links_of_a_record_go_with_it() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let third = tuple(Af::Inet, 7, 7, 8, 8);
    let newest = bed.link(id, &before(), &third).expect("room");
    let links = [bed.table.first_link(id), bed.table.next_link(newest)];
    assert_eq!(
        links.map(|link| link.map(|link| bed.table.link_key(link))),
        [third, after()].map(|tuple| Some(Key::of(&tuple).0))
    );
    assert_eq!(bed.record(&third.reverse(), Direction::In), Some(id));
    assert_eq!(bed.record(&after().reverse(), Direction::In), Some(id));
    let hash = bed.hashing.hash(&Key::of(&before()).0);
    assert_eq!(bed.table.remove(id, hash, Removal::Killed), 2);
    assert!(!bed.is_indexed(&third));
    bed.assert_gone();
}

#[test]
fn removing_one_face_keeps_the_links_and_the_last_takes_them() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let hash = bed.hashing.hash(&Key::of(&before()).0);
    let client = Key::of(&before()).1;
    assert_eq!(bed.table.remove_face(id, client, hash, Removal::Killed), 1);
    assert_eq!(bed.record(&after().reverse(), Direction::In), Some(id));
    assert_eq!(bed.table.remove_face(id, client.other(), hash, Removal::Killed), 1);
    bed.assert_gone();
}

#[test]
fn a_sweep_takes_links_and_so_does_who_meets_an_expired_face_by_one() {
    let late = Sixteenths(NOW.0 + 16 * 86_400);
    let mut bed = Bed::new();
    bed.linked();
    let hashing = bed.hashing.clone();
    let root = bed.root.clone();
    let expiry = Expiry { now: late, options: &root.ruleset().options };
    assert_eq!(bed.table.sweep(8, &expiry, &hashing, &mut Adjacencies::new()), 2);
    bed.assert_gone();

    let mut bed = Bed::new();
    bed.linked();
    assert_eq!(bed.find(&after().reverse(), Direction::In, late), Found::Others, "the other face is not met");
    assert_eq!(bed.table.faces(), 1);
    assert_ne!(bed.find(&before(), Direction::In, NOW), Found::Nothing);
    assert_eq!(bed.find(&before(), Direction::In, late), Found::Nothing);
    bed.assert_gone();
}

#[test]
fn who_is_killed_leaves_no_link_and_lists_show_each_face_once() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let mut shown = 0;
    bed.table.views(id.0, &bed.root, &bed.fib, &bed.expiry(NOW), &mut |_| shown += 1);
    assert_eq!((shown, bed.table.records()), (2, 1));
    let selection = Selection::new(&StateSelector::default(), &bed.fib);
    assert_eq!(bed.table.kill(id.0, &selection, &bed.hashing), 2);
    bed.assert_gone();
}

#[test]
fn a_link_to_an_earlier_use_of_a_record_is_not_followed() {
    let mut bed = Bed::new();
    let id = bed.linked();
    bed.table.cold[id.0 as usize].generation += 1;
    assert_eq!(bed.record(&after().reverse(), Direction::In), None);
    assert_eq!(bed.record(&before(), Direction::In), Some(id));
}

#[test]
fn both_parts_of_a_connection_that_fell_apart_have_its_links() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let (hash, client) = (bed.hashing.hash(&Key::of(&before()).0), Key::of(&before()).1);
    assert_eq!(bed.table.part(id, client, hash), 0);
    let twin = bed.table.twin(id).expect("a twin");
    assert_eq!(bed.record(&before(), Direction::In), Some(id));
    assert_eq!(bed.record(&after().reverse(), Direction::In), Some(twin), "with the server's face");
    for (id, side) in [(id, client), (twin, client.other())] {
        assert_eq!(bed.table.remove_face(id, side, hash, Removal::Killed), 1);
    }
    bed.assert_gone();
}

#[test]
fn what_has_another_home_is_known_to_be_here_until_all_of_it_has_gone() {
    let mut bed = Bed { foreign: true, ..Bed::new() };
    assert!(!bed.table.has_strangers());
    let id = bed.linked();
    assert_eq!(bed.table.strangers, 1);
    bed.table.set_placed(id);
    let (hash, client) = (bed.hashing.hash(&Key::of(&before()).0), Key::of(&before()).1);
    assert_eq!(bed.table.part(id, client, hash), 0);
    assert_eq!(bed.table.strangers, 4, "records and links");
    let twin = bed.table.twin(id).expect("a twin");
    assert_eq!(bed.table.remove_face(id, client, hash, Removal::Killed), 1);
    assert_eq!(bed.table.strangers, 2);
    assert_eq!(bed.table.remove_face(twin, client.other(), hash, Removal::Killed), 1);
    assert!(!bed.table.has_strangers());
}

#[test]
fn ipv6_tuples_are_told_apart_by_their_whole_addresses() {
    let mut bed = Bed::new();
    let wide = |low: u128| tuple(Af::Inet6, 0x2001_0db8 << 96 | low, 1000, 0x2001_0db8 << 96 | 1 << 70, 53);
    let (own, translated) = (wide(2), wide(3));
    // Folded alike: the same words in other places.
    let alike = Tuple { src: Address(translated.src.0 ^ (1 << 32 | 1)), ..translated };
    let id = bed.connect(&own);
    let link = bed.link(id, &own, &translated).expect("room");
    assert_eq!(Narrow::of(&Key::of(&alike).0), Narrow::of(&Key::of(&translated).0));
    assert!(bed.table.links.is_of(link, &Key::of(&translated).0));
    assert!(!bed.table.links.is_of(link, &Key::of(&alike).0));
    assert_eq!(bed.record(&translated.reverse(), Direction::In), Some(id));
    assert_eq!(bed.table.link_key(link), Key::of(&translated).0);
}

#[test]
fn without_a_place_nothing_is_changed() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let more = |n: u16| tuple(Af::Inet, 7, n, 8, 8);
    let made = (0..100).take_while(|n| bed.link(id, &before(), &more(*n)).is_ok()).count();
    assert_eq!(made, 8, "as many as there may be records, and the first, which has its record's number");
    let first = bed.table.first_link(id);
    assert_eq!(bed.link(id, &before(), &more(500)), Err(Full::Shard));
    assert_eq!(bed.table.first_link(id), first);
    assert!(!bed.is_indexed(&more(500)));
    let hash = bed.hashing.hash(&Key::of(&before()).0);
    assert_eq!(bed.table.remove(id, hash, Removal::Killed), 2);
    bed.assert_gone();
}

#[test]
fn next_hops_are_remembered_with_the_link_until_somebody_else_has_the_tuple() {
    let mut bed = Bed::new();
    let id = bed.linked();
    let mut adjacencies = Adjacencies::new();
    adjacencies.observe(1, 1);
    let hop = adjacencies.number(Adjacency::bridged(LAN, LAN, 1500), 1);
    bed.table.next_hops_mut(id)[1] = hop;
    assert_eq!(bed.table.next_hops(id), &[AdjacencyId::NONE, hop]);
    bed.table.refresh(id, Timeout::UdpSingle, NOW);
    bed.table.forget_stale(id, &adjacencies);
    assert_eq!(bed.table.next_hops(id), &[AdjacencyId::NONE, hop]);
    assert_eq!(
        bed.record(&after().reverse(), Direction::In),
        Some(id),
        "the number of the link is untouched"
    );
    let other = bed.connect(&tuple(Af::Inet, 1, 1, 2, 2));
    bed.link(other, &tuple(Af::Inet, 1, 1, 2, 2), &after()).expect("room");
    assert_eq!(bed.table.next_hops(id), &[AdjacencyId::NONE; 2]);
}

/// A record that remembers where packets of both sides go, and carries how it is translated.
fn carrying(bed: &mut Bed, adjacencies: &mut Adjacencies) -> RecordId {
    let id = bed.linked();
    adjacencies.observe(1, 1);
    bed.table.forget_courses();
    let hops = [1400, 1500].map(|mtu| adjacencies.number(Adjacency::bridged(LAN, LAN, mtu), 1));
    bed.table.next_hops_mut(id)[0] = hops[0];
    bed.table.carry(id, adjacencies);
    assert!(!carries(bed, id), "only one side has a next hop");
    *bed.table.next_hops_mut(id) = hops;
    bed.table.carry(id, adjacencies);
    assert!(carries(bed, id));
    id
}

fn carries(bed: &Bed, id: RecordId) -> bool {
    bed.table.hot[id.0 as usize].carries()
}

#[test]
fn what_a_record_carries_hides_neither_its_faces_nor_its_link_nor_its_next_hops() {
    let (mut bed, mut adjacencies) = (Bed::new(), Adjacencies::new());
    let id = bed.linked();
    let (pair, first) = (bed.table.pair(id), bed.table.first_link(id));
    let hash = bed.hashing.hash(&Key::of(&before()).0);
    assert_eq!(bed.table.remove(id, hash, Removal::Killed), 2);
    let id = carrying(&mut bed, &mut adjacencies);
    let hops = *bed.table.next_hops(id);
    assert_eq!((bed.table.pair(id), bed.table.first_link(id)), (pair, first));
    for packet in [before(), after().reverse()] {
        assert_eq!(bed.record(&packet, Direction::In), Some(id));
    }
    bed.table.forget_stale(id, &adjacencies);
    assert!(carries(&bed, id), "nothing is stale");
    bed.table.lay_down(id);
    assert!(!carries(&bed, id));
    assert_eq!((bed.table.pair(id), bed.table.first_link(id)), (pair, first));
    assert_eq!(*bed.table.next_hops(id), hops);
}

#[test]
fn what_is_carried_is_laid_down_before_anything_of_it_changes() {
    let changes: [fn(&mut Bed, RecordId, &mut Adjacencies); 4] = [
        |bed, id, adjacencies| {
            adjacencies.observe(2, 1);
            bed.table.forget_courses();
            bed.table.forget_stale(id, adjacencies);
            assert_eq!(bed.table.next_hops(id), &[AdjacencyId::NONE; 2]);
        },
        |bed, id, _| {
            bed.link(id, &before(), &tuple(Af::Inet, 7, 1, 8, 8)).expect("room");
        },
        |bed, _, _| {
            let other = bed.connect(&tuple(Af::Inet, 1, 1, 2, 2));
            bed.link(other, &tuple(Af::Inet, 1, 1, 2, 2), &after()).expect("room");
        },
        |bed, id, _| {
            let hash = bed.hashing.hash(&Key::of(&before()).0);
            assert_eq!(bed.table.part(id, Side::Low, hash), 0);
        },
    ];
    for change in changes {
        let (mut bed, mut adjacencies) = (Bed::new(), Adjacencies::new());
        let id = carrying(&mut bed, &mut adjacencies);
        change(&mut bed, id, &mut adjacencies);
        assert!(!carries(&bed, id));
        assert!(bed.table.first_link(id).is_some(), "it is translated as before");
        bed.table.carry(id, &adjacencies);
        assert!(!carries(&bed, id), "nothing is known of where its packets go, or it has two links");
    }
    let (mut bed, mut adjacencies) = (Bed::new(), Adjacencies::new());
    let id = carrying(&mut bed, &mut adjacencies);
    let hash = bed.hashing.hash(&Key::of(&before()).0);
    assert_eq!(bed.table.remove(id, hash, Removal::Killed), 2);
    bed.assert_gone();
}

#[test]
fn both_ends_given_others_at_once_are_not_carried() {
    let (mut bed, mut adjacencies) = (Bed::new(), Adjacencies::new());
    let id = bed.connect(&before());
    bed.link(id, &before(), &tuple(Af::Inet, 7, 7, 8, 8)).expect("room");
    adjacencies.observe(1, 1);
    bed.table.forget_courses();
    let hop = adjacencies.number(Adjacency::bridged(LAN, LAN, 1500), 1);
    *bed.table.next_hops_mut(id) = [hop; 2];
    bed.table.carry(id, &adjacencies);
    assert!(!carries(&bed, id));
}
