//! What stands in headers (reliability C5, C8, C9): fragments that hide ports, options, extension headers, and parameters that
//! nobody needs to read.

use crate::firewall::fragment::{cut4, cut6, every, frame4, piece6};
use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, block_return, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Fate, Fib};
use ruleset::{Reason, Ruleset};
use wire::ipv4::{self, OptionKind};
use wire::ipv6::Extension;
use wire::{Fragment, Proto, icmp6, ipv6};

const L3: usize = 14;

fn frame(text: &str) -> Vec<u8> {
    Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1))
}

fn sent(firewall: &mut Firewall, frame: &[u8]) -> Fate {
    firewall.decide(arrival("em0"), &mut frame.to_vec())
}

/// Web traffic only.
fn web() -> Ruleset {
    ruleset(vec![block(), pass().any_flags().proto(Proto::TCP).to_port(80)])
}

fn without_reassembly(mut rules: Ruleset) -> Firewall {
    rules.options.reassemble.enabled = false;
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    firewall
}

#[test]
fn c05_no_fragment_passes_whose_datagram_does_not() {
    let order =
        |cut: &[Vec<u8>]| [[0, 1, 2], [2, 1, 0], [1, 0, 2]].map(|order| order.map(|at| cut[at].clone()));
    for (port, passes) in [(22, false), (80, true)] {
        let four = frame(&format!("10.0.0.2.1 > 10.1.0.2.{port} tcp PA seq 1 ack 1 len 980"));
        let six = frame(&format!("2001:db8::2.1 > 2001:db8:1::2.{port} tcp PA seq 1 ack 1 len 980"));
        for fragments in
            order(&cut4(&four, 7, &[400, 800])).into_iter().chain(order(&cut6(&six, 7, &[400, 800])))
        {
            let mut firewall = Firewall::bare();
            firewall.load(web());
            assert!(fragments.iter().all(|fragment| sent(&mut firewall, fragment) == Fate::Kept));
            let left = firewall.pieces();
            assert_eq!(!left.is_empty(), passes, "port {port}");
            assert!(left.iter().all(|(fate, _)| *fate == Fate::Transmit(EM1)));
            assert_eq!(firewall.dropped(Reason::Match), u64::from(!passes), "as one packet");
        }
    }
}

/// RFC 3128: what says which port it is for is the datagram as it leaves, and not a header that a later fragment covers.
#[test]
fn c05_a_fragment_that_covers_the_header_is_judged_by_what_leaves() {
    let [allowed, hidden] =
        [80, 22].map(|port| frame(&format!("10.0.0.2.1 > 10.1.0.2.{port} tcp S seq 1 len 180")));
    let plain = cut4(&allowed, 7, &[96]);
    // The header of the other datagram, and what begins behind its ports.
    let whole = cut4(&hidden, 7, &[24, 96]);
    let within = cut4(&hidden, 7, &[8, 96]);
    for fragments in [
        [&whole[0], &plain[0], &plain[1]],
        [&plain[0], &whole[0], &plain[1]],
        [&plain[1], &whole[0], &plain[0]],
        [&within[0], &plain[0], &plain[1]],
        [&within[1], &plain[0], &plain[1]],
        [&plain[0], &within[1], &plain[1]],
    ] {
        let mut firewall = Firewall::bare();
        firewall.load(web());
        for fragment in fragments {
            let _ = sent(&mut firewall, fragment);
        }
        for (fate, left) in firewall.pieces() {
            assert_eq!(fate, Fate::Transmit(EM1));
            assert_eq!(left[L3 + 22..L3 + 24], 80_u16.to_be_bytes(), "whoever gets it reads what was judged");
        }
    }
}

/// `set reassemble no`: a fragment has no ports, not even the first one, so that no rule with ports takes it.
#[test]
fn c05_a_fragment_by_itself_has_no_ports() {
    let cut = cut4(&frame("10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1 len 980"), 7, &[400, 800]);
    let cut6 = cut6(&frame("2001:db8::2.1 > 2001:db8:1::2.80 tcp S seq 1 len 980"), 7, &[400, 800]);
    let mut firewall = without_reassembly(web());
    for fragment in cut.iter().chain(&cut6) {
        assert_eq!(sent(&mut firewall, fragment), Fate::Drop(Reason::Match));
    }
    let any = ruleset(vec![block(), pass().any_flags().proto(Proto::TCP)]);
    let mut firewall = without_reassembly(any);
    assert_eq!(sent(&mut firewall, &cut[1]), Fate::Transmit(EM1));
    assert_eq!(firewall.shard.states(), 0, "it is nobody's connection");
    // RFC 3128: what begins within the header of TCP never passes by itself.
    let within = cut4(&frame("10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1 len 980"), 7, &[8, 800]);
    assert_eq!(sent(&mut firewall, &within[1]), Fate::Drop(Reason::Fragment));
}

/// A frame with these options in its IPv4 header.
fn with_options(octets: &[u8]) -> Vec<u8> {
    let plain = frame("10.0.0.2.1 > 10.1.0.2.53 udp len 20");
    let packet = ipv4::Packet::parse(&plain[L3..]).expect("an IPv4 packet");
    let options = ipv4::OptionsBuf::of(ipv4::Options::new(octets));
    let header = ipv4::Repr { options, ..ipv4::Repr::of(&packet) };
    frame4(&plain[..L3], &header, packet.payload())
}

#[test]
fn c08_ipv4_options_pass_where_a_rule_allows_them_and_source_routes_never() {
    let [loose, strict] =
        [OptionKind::LOOSE_SOURCE_ROUTE, OptionKind::STRICT_SOURCE_ROUTE].map(|kind| kind.0);
    let harmless: [&[u8]; 4] = [&[7, 7, 4, 0, 0, 0, 0, 0], &[148, 4, 0, 0], &[0, 0, 0, 0], &[1, 1, 1, 1]];
    let routed = [loose, strict].map(|kind| [kind, 7, 4, 10, 1, 0, 2, 0]);
    let malformed: [&[u8]; 4] = [&[7, 0, 0, 0], &[7, 1, 0, 0], &[148, 5, 0, 0], &[1, 1, 1, 7]];
    for allowed in [false, true] {
        let rule = pass().any_flags();
        let mut firewall = Firewall::with(vec![if allowed { rule.allow_opts() } else { rule }]);
        for octets in harmless {
            let expected = if allowed { Fate::Transmit(EM1) } else { Fate::Drop(Reason::IpOption) };
            assert_eq!(sent(&mut firewall, &with_options(octets)), expected, "{octets:?}");
        }
        for octets in routed.iter().map(<[u8; 8]>::as_slice).chain(malformed) {
            let fate = sent(&mut firewall, &with_options(octets));
            assert_eq!(fate, Fate::Drop(Reason::IpOption), "{octets:?}");
        }
    }
}

/// RFC 3376 §4: a report carries a router alert, which is no reason to drop it; its group is of the link.
#[test]
fn c08_a_report_of_listeners_needs_no_allow_opts() {
    let mut firewall = Firewall::with(vec![pass().any_flags()]);
    let report = |proto, kind: OptionKind| {
        let packet = frame("10.0.0.2.1 > 10.1.0.2.53 udp len 20");
        let mut header = ipv4::Repr::of(&ipv4::Packet::parse(&packet[L3..]).expect("an IPv4 packet"));
        (header.proto, header.ttl, header.payload_len) = (proto, 1, 8);
        header.dst = "224.0.0.22".parse().expect("an address");
        header.options.push(kind, &[0, 0]).expect("it fits");
        let mut link = packet[..L3].to_vec();
        link[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 0x16]);
        frame4(&link, &header, &[0x22, 0, 0, 0, 0, 0, 0, 0])
    };
    assert_eq!(sent(&mut firewall, &report(Proto::IGMP, OptionKind::ROUTER_ALERT)), Fate::Host(EM0));
    let others = [report(Proto::IGMP, OptionKind::SECURITY), report(Proto(253), OptionKind::ROUTER_ALERT)];
    assert!(others.iter().all(|frame| sent(&mut firewall, frame) == Fate::Drop(Reason::IpOption)));
}

/// A frame with these extension headers in front of this payload.
fn extended(extensions: &[Extension<'_>], proto: Proto, payload: &[u8], hop_limit: u8) -> Vec<u8> {
    let mut frame = frame("2001:db8::2 > 2001:db8:1::2 proto 253 len 0");
    let mut chain = Vec::new();
    for (at, extension) in extensions.iter().enumerate() {
        let next = extensions.get(at + 1).map_or(proto, Extension::proto);
        let start = chain.len();
        chain.resize(start + extension.len(), 0);
        extension.emit(next, &mut chain[start..]).expect("an extension header");
    }
    chain.extend(payload);
    frame[L3 + 6] = extensions.first().map_or(proto, Extension::proto).0;
    frame[L3 + 7] = hop_limit;
    frame[L3 + 4..L3 + 6].copy_from_slice(&(chain.len() as u16).to_be_bytes());
    frame.truncate(L3 + ipv6::HEADER_LEN);
    frame.extend(chain);
    frame
}

#[test]
fn c08_ipv6_extension_headers_pass_in_their_order_and_in_moderation() {
    let hop = Extension::HopByHop(&[1, 4, 0, 0, 0, 0]);
    let options = Extension::DstOpts(&[1, 4, 0, 0, 0, 0]);
    let routing = |kind| Extension::Routing { kind, segments_left: 1, data: &[0; 20] };
    let many = vec![options; ipv6::EXTENSIONS_MAX + 1];
    let mut firewall = Firewall::with(vec![pass().any_flags().allow_opts()]);
    for (passes, chain) in [
        (true, &[][..]),
        (true, &[hop, options]),
        (true, &[options; 8]),
        (true, &[routing(2)]),
        (false, &[options, hop]),
        (false, &[hop, hop]),
        (false, &[routing(0)]),
        (false, &many),
    ] {
        let expected = if passes { Fate::Transmit(EM1) } else { Fate::Drop(Reason::IpOption) };
        // A protocol that nobody knows is one that a rule may name.
        let frame = extended(chain, Proto(253), &[0; 8], 64);
        assert_eq!(sent(&mut firewall, &frame), expected, "{chain:?}");
    }
    let mut strict = Firewall::with(vec![pass().any_flags()]);
    assert_eq!(sent(&mut strict, &extended(&[hop], Proto(253), &[0; 8], 64)), Fate::Drop(Reason::IpOption));
    assert_eq!(sent(&mut strict, &extended(&[], Proto(253), &[0; 8], 64)), Fate::Transmit(EM1));
}

/// RFC 4861 §6.1, 7.1, 8.1: what has passed a router is no neighbour's.
#[test]
fn c08_neighbour_discovery_from_afar_is_dropped() {
    let mut firewall = Firewall::with(vec![pass().any_flags()]);
    for kind in 133..=137_u8 {
        for hop_limit in [0, 1, 64, 254] {
            let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0x20; 32]].concat();
            let frame = extended(&[], Proto::ICMP6, &message, hop_limit);
            assert_eq!(sent(&mut firewall, &frame), Fate::Drop(Reason::Normalize), "{kind} with {hop_limit}");
        }
    }
    // To the firewall from a neighbour, it is heard.
    let mut asks = frame("2001:db8::2 > 2001:db8::1 icmp 135/0 id 0");
    asks[L3 + 7] = 255;
    assert_eq!(sent(&mut firewall, &asks), Fate::Host(EM0));
    let limits = icmp6::ND_HOP_LIMIT;
    asks[L3 + 7] = limits - 1;
    assert_eq!(sent(&mut firewall, &asks), Fate::Drop(Reason::Normalize));
}

/// An INIT with so many parameters (RFC 9260 §3.2.1), each as these octets.
fn association(parameters: usize, parameter: &[u8]) -> Vec<u8> {
    let mut sctp = vec![0x10, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0];
    let length = 20 + parameters * parameter.len();
    sctp.extend([1, 0]);
    sctp.extend((length as u16).to_be_bytes());
    sctp.extend([0, 0, 0, 5, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 9]);
    sctp.extend(std::iter::repeat_n(parameter, parameters).flatten());
    let mut frame = frame(&format!("10.0.0.2 > 10.1.0.2 proto 132 len {}", sctp.len()));
    let at = frame.len() - sctp.len();
    frame.splice(at.., sctp);
    frame
}

/// CVE-2026-7164: nothing here reads parameters, whatever they are and however deep they say to be nested. An association is one
/// connection, and the addresses in its parameters make no further states.
#[test]
fn c09_parameters_of_sctp_are_not_walked() {
    let large_frames = |rules: Ruleset| {
        let mut firewall = Firewall::bare();
        let mut interfaces = firewall.fib.interfaces().to_vec();
        interfaces.iter_mut().for_each(|interface| interface.mtu = u16::MAX);
        firewall.fib = Fib::new(2, interfaces, crate::firewall::routes(), crate::firewall::neighbors());
        firewall.load(rules);
        firewall
    };
    let empty = [0, 5, 0, 0];
    let endless = [0xc0, 1, 0xff, 0xff];
    let address = [0, 5, 0, 8, 10, 1, 0, 77];
    let mut passing = large_frames(ruleset(vec![block(), pass().any_flags()]));
    let mut returning = large_frames(ruleset(vec![block_return()]));
    for parameter in [&empty[..], &endless, &address] {
        let count = 40_000 / parameter.len();
        let frame = association(count, parameter);
        assert_eq!(sent(&mut passing, &frame), Fate::Transmit(EM1));
        assert_eq!(passing.shard.states(), 2, "one association");
        // Its checksum is no matter of who passes it, but of who answers.
        assert!(matches!(sent(&mut returning, &frame), Fate::Drop(_)));
    }
    for _ in 0..10_000 {
        assert_eq!(sent(&mut passing, &association(8, &endless)), Fate::Transmit(EM1));
    }
    assert_eq!(passing.shard.states(), 2);
}

/// RFC 6946: an atomic fragment is a whole packet, whose fragments it does not wait for nor disturb.
#[test]
fn c02_an_atomic_fragment_is_decided_by_itself() {
    let mut firewall = Firewall::with(vec![block(), pass().any_flags().to_udp(53)]);
    let plain = frame("2001:db8::2.1 > 2001:db8:1::2.53 udp len 192");
    let cut = cut6(&plain, 7, &every(96, 200));
    assert_eq!(sent(&mut firewall, &cut[0]), Fate::Kept);
    let head = &plain[..L3 + ipv6::HEADER_LEN];
    let atomic = piece6(head, Fragment { ident: 7, offset: 0, more: false }, &plain[L3 + ipv6::HEADER_LEN..]);
    assert_eq!(sent(&mut firewall, &atomic), Fate::Transmit(EM1));
    assert_eq!(firewall.shard.fragments(), 1, "the others wait on");
    for fragment in &cut[1..] {
        assert_eq!(sent(&mut firewall, fragment), Fate::Kept);
    }
    assert_eq!(firewall.pieces().len(), cut.len());
    let other = frame("2001:db8::2.1 > 2001:db8:1::2.54 udp len 8");
    let blocked = piece6(
        &other[..L3 + ipv6::HEADER_LEN],
        Fragment { ident: 8, offset: 0, more: false },
        &other[L3 + ipv6::HEADER_LEN..],
    );
    assert_eq!(sent(&mut firewall, &blocked), Fate::Drop(Reason::Match), "its ports are looked at");
}
