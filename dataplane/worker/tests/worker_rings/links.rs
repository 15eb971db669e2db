//! Links: the VLANs of a port, frames in pieces, and checksums.

use std::net::IpAddr;

use dpdk::{ChecksumStatus, Mbuf};
use engine::{Created, InterfaceId, Tick};
use ruleset::{
    Action, BlockReply, Direction, IcmpReply, InterfaceMatch, InterfacePattern, Options, Reason, Reassemble,
    Rule, Ruleset, SetPrio, StateMode,
};
use wire::checksum::{Pseudo, verify_tcp};
use wire::{Mac, Proto, corpus, ipv4};
use worker::hold::PATIENCE;
use worker::netlink::service::Ask;

use crate::bed::{
    Bed, CLIENT, CLIENT_MAC, KNOWN, LAN, LAN_HOST, LAN_MAC, LAN_WIRE, Plan, SERVER, SERVER_MAC, WAN,
    WAN_HOST, WAN_MAC, WAN_WIRE, arp, udp,
};

const TEN: InterfaceId = InterfaceId(2);
const TWENTY: InterfaceId = InterfaceId(3);
const TEN_HOST: usize = 4;
/// A station of each VLAN.
const IN_TEN: [u8; 4] = [10, 2, 10, 2];
const IN_TWENTY: [u8; 4] = [10, 2, 20, 2];
const TEN_MAC: Mac = Mac([2, 0, 0, 0, 10, 2]);
const TWENTY_MAC: Mac = Mac([2, 0, 0, 0, 20, 2]);

/// lan0 with the VLANs 10 and 20.
fn vlans() -> Plan {
    let neighbors = [KNOWN, &[(TEN, IN_TEN, TEN_MAC), (TWENTY, IN_TWENTY, TWENTY_MAC)]].concat();
    Plan { vlans: vec![10, 20], neighbors, ..Plan::default() }
}

/// The frame with a tag of these identifiers (TPID) and control information (TCI), the first one outermost.
fn tagged(tags: &[(u16, u16)], frame: &[u8]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat());
    let mut all = frame[..12].to_vec();
    all.extend(tags);
    all.extend(&frame[12..]);
    all
}

fn of_vlan(vlan: u16, frame: &[u8]) -> Vec<u8> {
    tagged(&[(0x8100, vlan)], frame)
}

/// From VLAN 10 to VLAN 20.
fn across(payload: usize) -> Vec<u8> {
    udp((TEN_MAC, LAN_MAC), IN_TEN, IN_TWENTY, payload)
}

/// The datagram of a frame, if it left by the tag of this VLAN with these addresses.
fn left_by(vlan: u16, to: Mac, frame: &[u8]) -> &[u8] {
    assert_eq!((&frame[..6], &frame[6..12]), (&to.0[..], &LAN_MAC.0[..]));
    let [0x81, 0, high, low, rest @ ..] = &frame[12..] else { panic!("no tag: {frame:02x?}") };
    assert_eq!(u16::from_be_bytes([*high, *low]), vlan);
    &rest[2..]
}

#[test]
fn a_frame_of_a_vlan_belongs_to_its_interface_and_leaves_by_another_with_that_ones_tag() {
    let mut bed = Bed::of(&vlans());
    bed.pass();
    bed.put(LAN_WIRE, &of_vlan(10, &across(100)));
    bed.poll();
    let [frame] = &bed.get(LAN_WIRE)[..] else { panic!("one frame") };
    let datagram = left_by(20, TWENTY_MAC, frame);
    assert_eq!(datagram[8], 63, "TTL");
    assert_eq!(datagram[20..], across(100)[34..]);
    // Back, and out of the port without tags.
    bed.put(LAN_WIRE, &of_vlan(20, &udp((TWENTY_MAC, LAN_MAC), IN_TWENTY, IN_TEN, 60)));
    bed.put(LAN_WIRE, &of_vlan(20, &udp((TWENTY_MAC, LAN_MAC), IN_TWENTY, CLIENT, 60)));
    bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, IN_TEN, 60));
    bed.poll();
    let frames = bed.get(LAN_WIRE);
    assert_eq!(frames.len(), 2);
    for frame in &frames {
        left_by(10, TEN_MAC, frame);
    }
    let [untagged] = &bed.get(WAN_WIRE)[..] else { panic!("one frame") };
    assert_eq!(untagged[12..14], [8, 0]);
    let sheet = bed.end();
    let counted = |at: usize| {
        let counts = &sheet.interfaces[at];
        (counts.rx_packets, counts.rx_bytes, counts.tx_packets, counts.tx_bytes)
    };
    assert_eq!([counted(0), counted(1)], [(1, 102, 1, 102), (0, 0, 0, 0)]);
    assert_eq!([counted(2), counted(3)], [(1, 142, 2, 204), (2, 204, 1, 142)]);
}

#[test]
fn rules_tell_a_vlan_from_its_port_and_from_another() {
    let on = |name: &str, direction| Rule {
        action: Action::Pass,
        direction: Some(direction),
        interface: Some(InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name.into()) }),
        state: StateMode::Keep,
        ..Rule::default()
    };
    let block = Rule { action: Action::Block(BlockReply::Drop), ..Rule::default() };
    let mut bed = Bed::of(&vlans());
    bed.commit_all(vec![block, on("lan0.10", Direction::In), on("lan0.20", Direction::Out)]);
    bed.put(LAN_WIRE, &of_vlan(10, &across(20)));
    // Neither in on the other VLAN, nor on the port, nor out by it.
    bed.put(LAN_WIRE, &of_vlan(20, &udp((TWENTY_MAC, LAN_MAC), IN_TWENTY, SERVER, 20)));
    bed.put(LAN_WIRE, &udp((SERVER_MAC, LAN_MAC), SERVER, IN_TWENTY, 20));
    bed.put(LAN_WIRE, &of_vlan(10, &udp((TEN_MAC, LAN_MAC), IN_TEN, SERVER, 20)));
    bed.poll();
    let [frame] = &bed.get(LAN_WIRE)[..] else { panic!("one frame") };
    left_by(20, TWENTY_MAC, frame);
    let blocked = |interface| bed.dropped(interface, Reason::Match);
    assert_eq!([blocked(LAN), blocked(TEN), blocked(TWENTY)], [1, 1, 1]);
    bed.end();
}

/// C10: what a tag may say, and what becomes of it.
#[test]
fn c10_tags_are_judged_and_never_misread() {
    let mut bed = Bed::of(&vlans());
    bed.pass();
    let plain = udp((SERVER_MAC, LAN_MAC), SERVER, CLIENT, 20);
    let vlan = |bed: &Bed| [InterfaceId(0), LAN, TEN].map(|at| bed.dropped(at, Reason::Vlan));
    // A priority without a VLAN is the port's own traffic.
    for tci in [0, 0x2000, 0xe000, 0x1000] {
        bed.put(LAN_WIRE, &tagged(&[(0x8100, tci)], &plain));
        bed.poll();
        let [frame] = &bed.get(WAN_WIRE)[..] else { panic!("tag {tci:04x}") };
        assert_eq!((frame.len(), &frame[12..14]), (plain.len(), &[8, 0][..]));
    }
    // A VLAN keeps its frames whatever their priority.
    bed.put(LAN_WIRE, &tagged(&[(0x8100, 0xa00a)], &across(20)));
    bed.poll();
    left_by(0xa014, TWENTY_MAC, &bed.get(LAN_WIRE)[0]);
    assert_eq!(vlan(&bed), [0, 0, 0]);

    let unknown = [&[(0x8100, 30)][..], &[(0x8100, 4095)], &[(0x88a8, 10)], &[(0x88a8, 10), (0x8100, 20)]];
    for tags in unknown {
        bed.put(LAN_WIRE, &tagged(tags, &plain));
    }
    let nested = [(0x8100, 10), (0x8100, 20)];
    bed.put(LAN_WIRE, &tagged(&nested, &across(20)));
    bed.put(LAN_WIRE, &tagged(&[(0x8100, 10), (0x88a8, 20)], &across(20)));
    bed.put(WAN_WIRE, &of_vlan(10, &udp((CLIENT_MAC, WAN_MAC), CLIENT, WAN, 20)));
    bed.put(WAN_HOST, &of_vlan(10, &arp()));
    bed.poll();
    assert_eq!(vlan(&bed), [2, 4, 2]);

    // Neither IP nor a tag, a third tag, and frames that end inside their tags.
    let other =
        |ether_type: u16| [&LAN_MAC.0[..], &SERVER_MAC.0, &ether_type.to_be_bytes(), &[0; 46]].concat();
    bed.put(LAN_WIRE, &other(0xaaaa));
    bed.put(LAN_WIRE, &of_vlan(10, &other(0xaaaa)));
    bed.put(LAN_WIRE, &tagged(&[(0x8100, 0)], &other(0xaaaa)));
    for length in 12..18 {
        bed.put(LAN_WIRE, &of_vlan(10, &across(20))[..length]);
    }
    bed.poll();
    let dropped = |interface, reason| bed.dropped(interface, reason);
    assert_eq!([dropped(LAN, Reason::EtherType), dropped(TEN, Reason::EtherType)], [2, 1]);
    assert_eq!([dropped(LAN, Reason::Short), dropped(TEN, Reason::Short)], [4, 2]);
    assert!(bed.get(LAN_WIRE).is_empty() && bed.get(WAN_WIRE).is_empty());
    assert!(bed.get(LAN_HOST).is_empty() && bed.get(TEN_HOST).is_empty());
    bed.end();
}

#[test]
fn the_host_takes_part_in_a_vlan_by_the_interface_of_that() {
    let mut bed = Bed::of(&vlans());
    bed.pass();
    let to_host = udp((TEN_MAC, LAN_MAC), IN_TEN, [10, 2, 10, 1], 20);
    bed.put(LAN_WIRE, &of_vlan(10, &arp()));
    bed.put(LAN_WIRE, &of_vlan(10, &to_host));
    let answer = udp((LAN_MAC, TEN_MAC), [10, 2, 10, 1], IN_TEN, 20);
    bed.put(TEN_HOST, &answer);
    bed.poll();
    assert_eq!(bed.get(TEN_HOST), [arp(), to_host]);
    assert!(bed.get(LAN_HOST).is_empty());
    assert_eq!(bed.get(LAN_WIRE), [of_vlan(10, &answer)]);
    let sheet = bed.end();
    assert_eq!((sheet.interfaces[2].punted_packets, sheet.interfaces[2].host_in_packets), (2, 1));
}

#[test]
fn what_waits_for_a_neighbour_in_a_vlan_leaves_with_its_tag() {
    let mut bed = Bed::of(&Plan { neighbors: vec![], ..vlans() });
    bed.pass();
    bed.put(LAN_WIRE, &of_vlan(10, &across(20)));
    bed.poll();
    assert_eq!(bed.office.asks.try_recv(), Ok(Ask { interface: TWENTY, address: IpAddr::from(IN_TWENTY) }));
    assert!(bed.office.fibs.offer(vlans().fib(2)));
    bed.poll();
    let [frame] = &bed.get(LAN_WIRE)[..] else { panic!("one frame") };
    left_by(20, TWENTY_MAC, frame);
    bed.put(LAN_WIRE, &of_vlan(20, &udp((TWENTY_MAC, LAN_MAC), IN_TWENTY, [10, 2, 10, 99], 20)));
    bed.poll();
    bed.now = bed.now + PATIENCE + Tick::from_secs(1);
    bed.poll();
    assert_eq!(bed.dropped(TEN, Reason::NoNeighbor), 1);
    bed.end();
}

#[test]
fn an_answer_to_a_refused_packet_goes_back_into_its_vlan() {
    let mut bed = Bed::of(&vlans());
    let refusal = BlockReply::Return(IcmpReply { code: 3, code6: 4 });
    bed.commit(Rule { action: Action::Block(refusal), ..Rule::default() });
    bed.put(LAN_WIRE, &of_vlan(10, &across(20)));
    bed.poll();
    let [frame] = &bed.get(LAN_WIRE)[..] else { panic!("one frame") };
    let datagram = left_by(10, TEN_MAC, frame);
    assert_eq!((datagram[9], datagram[20], datagram[21]), (1, 3, 3), "ICMP, port unreachable");
    assert_eq!(bed.dropped(TEN, Reason::Match), 1);
    let sheet = bed.end();
    assert_eq!((sheet.created[Created::Icmp as usize], sheet.interfaces[2].tx_packets), (1, 1));
}

#[test]
fn interleaved_frames_of_vlans_keep_their_order() {
    let mut bed = Bed::of(&vlans());
    bed.pass();
    for round in 0..40 {
        bed.put(LAN_WIRE, &of_vlan(10, &across(round)));
        bed.put(LAN_WIRE, &udp((SERVER_MAC, LAN_MAC), SERVER, CLIENT, round));
        bed.put(LAN_WIRE, &of_vlan(20, &udp((TWENTY_MAC, LAN_MAC), IN_TWENTY, IN_TEN, round)));
    }
    bed.poll();
    bed.poll();
    let lengths: Vec<usize> = bed.get(WAN_WIRE).iter().map(|frame| frame.len() - 42).collect();
    assert_eq!(lengths, (0..40).collect::<Vec<_>>());
    let frames = bed.get(LAN_WIRE);
    for vlan in [10, 20] {
        let its = frames.iter().filter(|frame| frame[15] == vlan).map(|frame| frame.len() - 46);
        assert_eq!(its.collect::<Vec<_>>(), (0..40).collect::<Vec<_>>(), "VLAN {vlan}");
    }
    bed.end();
}

/// A frame in a buffer that has no room in front of it.
fn put_without_headroom(bed: &mut Bed, side: usize, frame: &[u8]) {
    let mut mbuf = bed.pool.alloc().expect("the pool has enough");
    let headroom = mbuf.headroom();
    assert!(headroom >= frame.len(), "the frame fits into the headroom");
    mbuf.prepend(headroom).unwrap()[..frame.len()].copy_from_slice(frame);
    mbuf.truncate(frame.len()).unwrap();
    bed.put_mbuf(side, mbuf);
}

#[test]
fn g12_a_tag_without_headroom_is_a_counted_drop() {
    let mut bed = Bed::of(&vlans());
    bed.pass();
    let request = udp((CLIENT_MAC, WAN_MAC), CLIENT, IN_TEN, 20);
    put_without_headroom(&mut bed, WAN_WIRE, &request);
    bed.put(WAN_WIRE, &request);
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1, "the other packet of the burst passes");
    assert_eq!(bed.dropped(TEN, Reason::NoBuffer), 1);
    // Out of the port itself, or with the room that its own tag left, nothing is missing.
    put_without_headroom(&mut bed, WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, 20));
    put_without_headroom(
        &mut bed,
        LAN_WIRE,
        &of_vlan(20, &udp((TWENTY_MAC, LAN_MAC), IN_TWENTY, IN_TEN, 20)),
    );
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 2);
    let sheet = bed.end();
    assert_eq!((sheet.interfaces[2].tx_packets, sheet.drops[2].iter().sum::<u64>()), (2, 1));
}

#[test]
fn g03_what_a_full_queue_does_not_take_is_counted_where_it_was_to_leave() {
    let mut bed = Bed::of(&Plan { tx_ring: 16, ..vlans() });
    bed.pass();
    for _ in 0..30 {
        bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, IN_TEN, 20));
    }
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 16);
    assert_eq!([bed.dropped(TEN, Reason::TxFull), bed.dropped(LAN, Reason::TxFull)], [14, 0]);
    let sheet = bed.end();
    assert_eq!((sheet.interfaces[2].tx_packets, sheet.interfaces[2].tx_bytes), (16, 16 * 62));
}

/// The frame in buffers that end at these places.
fn in_pieces(bed: &Bed, frame: &[u8], ends: &[usize]) -> Mbuf {
    let mut pieces = Vec::new();
    let mut begin = 0;
    for end in ends.iter().copied().chain([frame.len()]) {
        let mut piece = bed.pool.alloc().expect("the pool has enough");
        piece.extend_from_slice(&frame[begin..end]).unwrap();
        pieces.push(piece);
        begin = end;
    }
    let mut pieces = pieces.into_iter();
    let mut whole = pieces.next().expect("at least one");
    pieces.for_each(|piece| whole.chain(piece).expect("few are chained"));
    whole
}

/// Every drop, and everything that left, after a frame came in.
fn verdict(bed: &mut Bed, side: usize, mbuf: Mbuf) -> (Vec<Vec<Vec<u8>>>, Vec<u64>) {
    let drops = |bed: &Bed| -> Vec<u64> { bed.sheet().drops.iter().flatten().copied().collect() };
    let before = drops(bed);
    bed.put_mbuf(side, mbuf);
    bed.poll();
    let out = [WAN_WIRE, WAN_HOST, LAN_WIRE, LAN_HOST, TEN_HOST].map(|side| bed.get(side)).to_vec();
    let added = drops(bed).iter().zip(&before).map(|(now, before)| now - before).collect();
    (out, added)
}

/// A TCP segment in IPv4 or IPv6 with its own options, an ICMP error that quotes, and a tagged datagram: each in two and
/// three pieces, cut at every octet of the headers.
#[test]
fn g06_headers_in_pieces_have_the_verdict_of_whole_ones() {
    let mut bed = Bed::of(&vlans());
    let rule = Rule { action: Action::Pass, state: StateMode::None, allow_opts: true, ..Rule::default() };
    // A fragment that is held would make another of the next.
    let options =
        Options { reassemble: Reassemble { enabled: false, ..Reassemble::default() }, ..Options::default() };
    bed.commit_ruleset(&Ruleset { rules: vec![rule], options, ..Ruleset::default() });
    let corpus = corpus::packets().into_iter().map(|(_, mut frame)| {
        frame[..6].copy_from_slice(&LAN_MAC.0);
        frame
    });
    let own = [of_vlan(10, &across(30)), udp((SERVER_MAC, LAN_MAC), SERVER, CLIENT, 30)];
    let mut cut = 0;
    for frame in corpus.chain(own) {
        let whole = in_pieces(&bed, &frame, &[]);
        let expected = verdict(&mut bed, LAN_WIRE, whole);
        // Behind 14 octets of Ethernet, 8 of tags, 60 of IP and 60 of TCP there is no header.
        let last = frame.len().min(142);
        for first in 1..last {
            let more = [&[first][..], &[first, (first + last) / 2], &[first, last - 1]];
            for ends in more
                .iter()
                .filter(|ends| ends.is_sorted_by(|a, b| a < b) && ends[ends.len() - 1] < frame.len())
            {
                let pieces = in_pieces(&bed, &frame, ends);
                assert_eq!(verdict(&mut bed, LAN_WIRE, pieces), expected, "cut at {ends:?}: {frame:02x?}");
                cut += 1;
            }
        }
    }
    assert!(cut > 1000, "{cut} ways");
    bed.end();
}

#[test]
fn g06_a_jumbo_frame_in_pieces_leaves_whole() {
    let mut bed = Bed::of(&Plan { mtu: [9000; 2], ..vlans() });
    bed.pass();
    let frame = of_vlan(10, &across(9000 - 28));
    for ends in [&[][..], &[2048, 4096, 6144, 8192], &[1, 9000], &[13, 17], &[64]] {
        let pieces = in_pieces(&bed, &frame, ends);
        bed.put_mbuf(LAN_WIRE, pieces);
        bed.poll();
        let [out] = &bed.get(LAN_WIRE)[..] else { panic!("one frame of {ends:?}") };
        let datagram = left_by(20, TWENTY_MAC, out);
        assert_eq!((out.len(), &datagram[20..]), (9018, &frame[38..]), "{ends:?}");
    }
    assert_eq!(bed.end().drops.iter().flatten().sum::<u64>(), 0);
}

/// A SYN from the client to the server, with a right checksum or a wrong one.
fn syn(right: bool) -> Vec<u8> {
    const TCP: usize = 34;
    let mut frame = udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, 12);
    frame[23] = 6;
    frame[24..26].fill(0);
    frame[TCP..].copy_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 16, 0, 0, 0, 0, 0]);
    ipv4::fill_checksum(&mut frame, 14).unwrap();
    let pseudo = Pseudo::V4(CLIENT.into(), SERVER.into());
    let sum = pseudo.sum(Proto::TCP, 20).plus(&frame[TCP..]).checksum();
    frame[TCP + 16..TCP + 18].copy_from_slice(&sum.0);
    if !right {
        frame[TCP + 16] ^= 0x55;
    }
    frame
}

const SAID: [ChecksumStatus; 4] =
    [ChecksumStatus::Unknown, ChecksumStatus::Good, ChecksumStatus::Bad, ChecksumStatus::NotNeeded];

fn put_with(bed: &mut Bed, frame: &[u8], say: impl FnOnce(&mut Mbuf)) {
    let mut mbuf = in_pieces(bed, frame, &[]);
    say(&mut mbuf);
    bed.put_mbuf(WAN_WIRE, mbuf);
    bed.poll();
}

/// What the card says of the IPv4 header's checksum decides; where it says nothing, the sum itself does.
#[test]
fn g07_checksums_of_ip_by_the_cards_word() {
    let mut bed = Bed::passing(KNOWN);
    for said in SAID {
        for right in [true, false] {
            let mut frame = udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, 20);
            frame[24] ^= if right { 0 } else { 0x55 };
            let before = bed.dropped(InterfaceId(0), Reason::ProtoCksum);
            put_with(&mut bed, &frame, |mbuf| mbuf.set_ip_checksum(said));
            let passes = match said {
                ChecksumStatus::Good => true,
                ChecksumStatus::Bad => false,
                ChecksumStatus::Unknown | ChecksumStatus::NotNeeded => right,
            };
            let dropped = bed.dropped(InterfaceId(0), Reason::ProtoCksum) - before;
            assert_eq!(
                (bed.get(LAN_WIRE).len() as u64, dropped),
                (passes.into(), (!passes).into()),
                "{said:?} {right}"
            );
        }
    }
    bed.end();
}

/// Transport checksums are the receiver's to judge: whatever they are, a packet that may pass does, as it came.
#[test]
fn g07_checksums_of_tcp_pass_as_they_are() {
    let mut bed = Bed::passing(KNOWN);
    for said in SAID {
        for right in [true, false] {
            put_with(&mut bed, &syn(right), |mbuf| mbuf.set_l4_checksum(said));
            let [out] = &bed.get(LAN_WIRE)[..] else { panic!("{said:?} {right}") };
            assert_eq!(out[34..], syn(right)[34..], "{said:?} {right}");
        }
    }
    bed.end();
}

/// Only what its sender sent is answered: the card's word, or the sum where it says nothing. What a veth pair hands over with
/// checksum offload on has the sum of its pseudo header there, which nobody vouches for.
#[test]
fn g07_a_refusal_is_answered_only_if_the_checksum_is_right() {
    let mut bed = Bed::new(KNOWN);
    bed.commit(Rule { action: Action::Block(BlockReply::Rst { ttl: 0 }), ..Rule::default() });
    let mut check = |frame: &[u8], said: ChecksumStatus, answered: bool| {
        let reasons = [Reason::Match, Reason::ProtoCksum];
        let before = reasons.map(|reason| bed.dropped(InterfaceId(0), reason));
        put_with(&mut bed, frame, |mbuf| mbuf.set_l4_checksum(said));
        let after = reasons.map(|reason| bed.dropped(InterfaceId(0), reason));
        let added = [after[0] - before[0], after[1] - before[1]];
        assert_eq!(added, [u64::from(answered), u64::from(!answered)], "{said:?}: {frame:02x?}");
        let answers = bed.get(WAN_WIRE);
        assert_eq!(answers.len(), usize::from(answered), "{said:?}: {frame:02x?}");
        for rst in answers {
            assert_eq!(verify_tcp(&Pseudo::V4(SERVER.into(), CLIENT.into()), &rst[34..54]), Ok(()));
        }
    };
    for said in SAID {
        for right in [true, false] {
            let answered = match said {
                ChecksumStatus::Good => true,
                ChecksumStatus::Bad => false,
                ChecksumStatus::Unknown | ChecksumStatus::NotNeeded => right,
            };
            check(&syn(right), said, answered);
        }
    }
    let mut partial = syn(true);
    let sum = Pseudo::V4(CLIENT.into(), SERVER.into()).sum(Proto::TCP, 20).checksum();
    partial[50..52].copy_from_slice(&sum.0.map(|octet| !octet));
    check(&partial, ChecksumStatus::Unknown, false);
    check(&partial, ChecksumStatus::NotNeeded, false);
    bed.end();
}

#[test]
fn the_priority_of_a_tag_goes_along_unless_a_rule_sets_another() {
    let of = |priority: u16, frame: &[u8]| of_vlan(priority << 13 | 10, frame);
    let send = |bed: &mut Bed, frame: &[u8], expected: u16| {
        bed.put(LAN_WIRE, frame);
        bed.poll();
        let [frame] = &bed.get(LAN_WIRE)[..] else { panic!("one frame") };
        left_by(expected << 13 | 20, TWENTY_MAC, frame);
    };
    let mut bed = Bed::of(&vlans());
    bed.pass();
    send(&mut bed, &of(5, &across(20)), 5);
    send(&mut bed, &of(0, &across(20)), 0);
    send(&mut bed, &udp((CLIENT_MAC, LAN_MAC), CLIENT, IN_TWENTY, 20), 0);
    bed.end();
    let rule = Rule { set_prio: Some(SetPrio { bulk: 6, urgent: 7 }), ..Rule::default() };
    let mut bed = Bed::of(&vlans());
    bed.commit_all(vec![rule]);
    send(&mut bed, &of(5, &across(20)), 6);
    // More than a link takes, in pieces: 1500 bytes are the most.
    bed.put(LAN_WIRE, &of(5, &across(1472)));
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1);
    bed.end();
}
