//! Rules that ask for the operating system of a SYN's sender.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{EM0, Firewall, mac};
use engine::{Arrival, Fate, Source};
use ruleset::{Fingerprint, NumberMatch, Rule, Ruleset, SynOption, SynShape, WindowMatch};
use wire::checksum::Pseudo;
use wire::corpus::build;
use wire::ethernet::{self, Tags};
use wire::tcp::{self, OptionsBuf, TcpOption, Timestamps, WindowScale};
use wire::{EtherType, Port, Proto, TcpFlags, ipv4, ipv6};

use SynOption::{NoOperation, SackPermitted, SegmentSize, Timestamp};

/// `S44:64:1:60:M*,S,T,N,W*`, as Linux has it.
fn linux() -> SynShape {
    SynShape {
        window: WindowMatch::Segments(44),
        ttl: 64,
        dont_fragment: true,
        size: NumberMatch::Any,
        options: vec![SegmentSize, SackPermitted, Timestamp, NoOperation, SynOption::WindowScale],
        timestamp_zero: false,
        segment_size: NumberMatch::Any,
        window_scale: NumberMatch::Any,
    }
}

fn named(shape: SynShape, name: &str, version: &str) -> Fingerprint {
    Fingerprint { shape, name: [name.into(), version.into(), String::new()] }
}

fn knowing(rules: Vec<Rule>, fingerprints: Vec<Fingerprint>) -> Firewall {
    let mut firewall = Firewall::bare();
    firewall.load(Ruleset { fingerprints, ..ruleset(rules) });
    firewall
}

fn os(rule: Rule, name: &str) -> Rule {
    rule.proto(Proto::TCP).change(|rule| rule.os = Some(name.into()))
}

type Change = fn(&mut Syn);

/// A SYN, which differs from a Linux one as it is changed.
struct Syn {
    header: tcp::Repr,
    ttl: u8,
    dont_fragment: bool,
    stamp: u32,
    size: u16,
    trailing: usize,
}

fn syn() -> Syn {
    let header = tcp::Repr {
        src_port: Port(40_000),
        dst_port: Port(80),
        flags: TcpFlags::SYN,
        window: 64_240,
        ..tcp::Repr::default()
    };
    Syn { header, ttl: 60, dont_fragment: true, stamp: 7, size: 1460, trailing: 0 }
}

impl Syn {
    fn options(&self) -> OptionsBuf {
        let mut options = OptionsBuf::default();
        let mut push = |option: &TcpOption<'_>| options.push(option).expect("it fits");
        push(&TcpOption::Mss(self.size));
        push(&TcpOption::SackPermitted);
        push(&TcpOption::Timestamps(Timestamps { value: self.stamp, echo: 0 }));
        options.push_nop().expect("it fits");
        options.push(&TcpOption::WindowScale(WindowScale(7))).expect("it fits");
        (0..self.trailing).for_each(|_| options.push_nop().expect("it fits"));
        options
    }

    fn frame(&self, inet6: bool) -> Vec<u8> {
        let header = tcp::Repr { options: self.options(), ..self.header };
        let link = |ether_type| {
            let header = ethernet::Repr { dst: mac(EM0, 1), src: mac(EM0, 2), tags: Tags::None, ether_type };
            let mut out = vec![0; header.len()];
            header.emit(&mut out).expect("the room is there");
            out
        };
        if inet6 {
            let (src, dst): (Ipv6Addr, Ipv6Addr) =
                ("2001:db8::2".parse().expect("an address"), "2001:db8:1::2".parse().expect("an address"));
            let pseudo = Pseudo::of(src.into(), dst.into()).expect("one family");
            let segment = build::tcp(&pseudo, &header, &[]);
            let head =
                ipv6::Repr { hop_limit: self.ttl, ..ipv6::Repr::new(src, dst, Proto::TCP, segment.len()) };
            let mut out = vec![0; ipv6::HEADER_LEN];
            head.emit(&mut out).expect("the room is there");
            return [link(EtherType::IPV6), out, segment].concat();
        }
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 1, 0, 2));
        let pseudo = Pseudo::of(src.into(), dst.into()).expect("one family");
        let segment = build::tcp(&pseudo, &header, &[]);
        let mut head = ipv4::Repr::new(src, dst, Proto::TCP, segment.len());
        (head.ttl, head.dont_fragment) = (self.ttl, self.dont_fragment);
        [link(EtherType::IPV4), build::ipv4(&head, &segment)].concat()
    }

    fn passes(&self, firewall: &mut Firewall) -> bool {
        self.enters(firewall, false)
    }

    fn enters(&self, firewall: &mut Firewall, inet6: bool) -> bool {
        let wire = Arrival { interface: EM0, source: Source::Wire };
        matches!(firewall.decide(wire, &mut self.frame(inet6)), Fate::Transmit(_))
    }
}

fn only(name: &str) -> Firewall {
    let rules = vec![block().incoming(), os(pass().no_state().incoming(), name)];
    knowing(rules, vec![named(linux(), "Linux", "5")])
}

#[test]
fn a_syn_is_its_systems_if_all_of_it_fits() {
    for (name, expected) in [("Linux", true), ("Linux 5", true), ("unknown", false)] {
        assert_eq!(syn().passes(&mut only(name)), expected, "{name}");
        assert_eq!(syn().enters(&mut only(name), true), expected, "{name} of IPv6");
    }
    let changed: [(&str, Change); 9] = [
        ("ttl above", |syn| syn.ttl = 65),
        ("too many hops", |syn| syn.ttl = 23),
        ("may be fragmented", |syn| syn.dont_fragment = false),
        ("another window", |syn| syn.header.window = 64_241),
        ("segments of another size", |syn| syn.size = 1300),
        ("a timestamp of zero", |syn| syn.stamp = 0),
        ("padding behind", |syn| syn.trailing = 1),
        ("an answer", |syn| syn.header.flags = TcpFlags::SYN.union(TcpFlags::ACK)),
        ("no segment size", |syn| syn.size = 0),
    ];
    for (what, change) in changed {
        let mut other = syn();
        change(&mut other);
        let known = matches!(what, "segments of another size");
        // Where a router has lowered the size, the window is still so many of the usual one.
        assert_eq!(other.passes(&mut only("Linux")), known, "{what}");
        assert_eq!(other.passes(&mut only("unknown")), !known, "{what}");
    }
    assert!(Syn { ttl: 24, ..syn() }.passes(&mut only("Linux")));
}

#[test]
fn the_first_shape_that_fits_decides_and_may_be_several_systems() {
    let wider = SynShape { window: WindowMatch::Number(NumberMatch::Any), ..linux() };
    let fingerprints =
        vec![named(linux(), "Linux", "5"), named(wider, "Wide", ""), named(linux(), "Android", "9")];
    let passing = |name: &str, syn: &Syn| {
        let rules = vec![block().incoming(), os(pass().no_state().incoming(), name)];
        syn.passes(&mut knowing(rules, fingerprints.clone()))
    };
    assert!(passing("Linux", &syn()) && passing("Android 9", &syn()) && !passing("Wide", &syn()));
    let mut other = syn();
    other.header.window = 1;
    assert!(passing("Wide", &other) && !passing("Linux", &other));
}

#[test]
fn numbers_are_equal_multiples_or_anything() {
    let shaped = |change: &dyn Fn(&mut SynShape)| {
        let mut shape = linux();
        change(&mut shape);
        let rules = vec![block().incoming(), os(pass().no_state().incoming(), "X")];
        syn().passes(&mut knowing(rules, vec![named(shape, "X", "")]))
    };
    let window = |number| shaped(&|shape| shape.window = WindowMatch::Number(number));
    assert!(window(NumberMatch::Equal(64_240)) && !window(NumberMatch::Equal(64_241)));
    assert!(window(NumberMatch::Multiple(1460)) && !window(NumberMatch::Multiple(1461)));
    assert!(!window(NumberMatch::Multiple(0)));
    assert!(shaped(&|shape| shape.size = NumberMatch::Equal(60)));
    assert!(!shaped(&|shape| shape.size = NumberMatch::Equal(61)));
    assert!(!shaped(&|shape| shape.window_scale = NumberMatch::Equal(6)));
    assert!(!shaped(&|shape| shape.segment_size = NumberMatch::Multiple(7)));
    assert!(!shaped(&|shape| shape.window = WindowMatch::Packets(44)));
    let mut packets = syn();
    packets.header.window = 30_000;
    let shape = SynShape { window: WindowMatch::Packets(20), ..linux() };
    let rules = vec![block().incoming(), os(pass().no_state().incoming(), "X")];
    assert!(packets.passes(&mut knowing(rules, vec![named(shape, "X", "")])));
}

#[test]
fn names_that_nobody_knows_are_refused() {
    let fib = crate::firewall::fib();
    let compile = |rule: Rule| {
        let rules = Ruleset { fingerprints: vec![named(linux(), "Linux", "5")], ..ruleset(vec![rule]) };
        engine::Root::compile(&rules, fib.interfaces(), None).map(|_| ()).map_err(|invalid| invalid.what)
    };
    assert_eq!(compile(os(pass(), "Linux 5")), Ok(()));
    assert_eq!(compile(os(pass(), "unknown")), Ok(()));
    assert!(compile(os(pass(), "Linux 6")).is_err_and(|what| what.contains("no fingerprint")));
    let udp = os(pass(), "Linux").proto(Proto::UDP);
    assert!(compile(udp).is_err_and(|what| what.contains("only applies to tcp")));
}
