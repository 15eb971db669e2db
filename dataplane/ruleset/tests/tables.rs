//! The tables of names that everything else is generated from, and the comparisons of ports and flags.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ruleset::{FlagsMatch, Limit, Limits, Lpm, PortMatch, Reason, Timeout, Timeouts};
use wire::{Af, Port, TcpFlags};

fn unique<'a>(names: impl IntoIterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(!name.is_empty() && seen.insert(name), "{name:?} is there twice, or empty");
    }
}

#[test]
fn names_are_unique() {
    unique(Timeout::ALL.map(Timeout::name));
    unique(Limit::ALL.map(Limit::name));
    unique(Reason::ALL.map(Reason::name));
}

#[test]
fn every_entry_is_explained() {
    let docs = Timeout::ALL.map(Timeout::doc).into_iter().chain(Limit::ALL.map(Limit::doc));
    for doc in docs.chain(Reason::ALL.map(Reason::doc)) {
        assert!(doc.len() > 1 && doc.ends_with('.'), "{doc:?}");
    }
}

#[test]
fn names_are_read_back() {
    for timeout in Timeout::ALL {
        assert_eq!(timeout.name().parse(), Ok(timeout));
        assert_eq!(timeout.to_string(), timeout.name());
    }
    for limit in Limit::ALL {
        assert_eq!(limit.name().parse(), Ok(limit));
        assert_eq!(limit.to_string(), limit.name());
    }
    assert!("tcp".parse::<Timeout>().is_err() && "".parse::<Limit>().is_err());
}

#[test]
fn entries_are_numbered_in_order() {
    assert!(Timeout::ALL.iter().enumerate().all(|(at, timeout)| *timeout as usize == at));
    assert!(Limit::ALL.iter().enumerate().all(|(at, limit)| *limit as usize == at));
    assert!(Reason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
}

#[test]
fn the_first_reasons_are_those_of_pf() {
    let names: Vec<&str> = Reason::ALL[..17].iter().map(|reason| reason.name()).collect();
    assert_eq!(
        names,
        [
            "match",
            "bad-offset",
            "fragment",
            "short",
            "normalize",
            "memory",
            "bad-timestamp",
            "congestion",
            "ip-option",
            "proto-cksum",
            "state-mismatch",
            "state-insert",
            "state-limit",
            "src-limit",
            "synproxy",
            "translate",
            "no-route"
        ]
    );
}

#[test]
fn setting_one_value_changes_no_other() {
    for changed in Timeout::ALL {
        let mut values = Timeouts::default();
        values.set(changed, 4_000_000_000);
        for timeout in Timeout::ALL {
            let wanted = if timeout == changed { 4_000_000_000 } else { timeout.default_value() };
            assert_eq!(values.get(timeout), wanted);
        }
    }
    for changed in Limit::ALL {
        let mut values = Limits::default();
        values.set(changed, 7);
        for limit in Limit::ALL {
            assert_eq!(values.get(limit), if limit == changed { 7 } else { limit.default_value() });
        }
    }
}

#[test]
fn only_the_adaptive_thresholds_count_states() {
    let counting: Vec<&str> =
        Timeout::ALL.into_iter().filter(|timeout| timeout.counts_states()).map(Timeout::name).collect();
    assert_eq!(counting, ["adaptive.start", "adaptive.end"]);
}

#[test]
fn flags_are_compared_within_their_mask() {
    let syn = FlagsMatch::SYN_ONLY;
    let accepted = [TcpFlags::SYN, TcpFlags::SYN.union(TcpFlags::PSH), TcpFlags(0xc2)];
    let refused = [TcpFlags(0), TcpFlags::ACK, TcpFlags::SYN.union(TcpFlags::ACK), TcpFlags::FIN];
    assert!(accepted.into_iter().all(|flags| syn.accepts(flags)));
    assert!(!refused.into_iter().any(|flags| syn.accepts(flags)));
    let none = FlagsMatch { set: TcpFlags(0), mask: TcpFlags(0xff) };
    assert!(none.accepts(TcpFlags(0)) && !none.accepts(TcpFlags::URG));
}

#[test]
fn ports_at_the_edges() {
    let (two, five) = (Port(2), Port(5));
    let accepted = |ports: PortMatch| (0..8).filter(|port| ports.accepts(Port(*port))).collect::<Vec<u16>>();
    assert_eq!(accepted(PortMatch::Any), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(accepted(PortMatch::Equal(two)), [2]);
    assert_eq!(accepted(PortMatch::NotEqual(two)), [0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(accepted(PortMatch::Less(two)), [0, 1]);
    assert_eq!(accepted(PortMatch::LessOrEqual(two)), [0, 1, 2]);
    assert_eq!(accepted(PortMatch::Greater(five)), [6, 7]);
    assert_eq!(accepted(PortMatch::GreaterOrEqual(five)), [5, 6, 7]);
    assert_eq!(accepted(PortMatch::Range(two, five)), [2, 3, 4, 5]);
    assert_eq!(accepted(PortMatch::Inside(two, five)), [3, 4]);
    assert_eq!(accepted(PortMatch::Outside(two, five)), [0, 1, 6, 7]);
    assert_eq!(accepted(PortMatch::Range(five, two)), Vec::<u16>::new(), "an empty range accepts nothing");
    assert_eq!(accepted(PortMatch::Inside(two, two)), Vec::<u16>::new());
}

proptest! {
    /// Each comparison is the opposite of another one.
    #[test]
    fn comparisons_complement_each_other(port: u16, a: u16, b: u16) {
        let (port, a, b) = (Port(port), Port(a), Port(b));
        prop_assert_ne!(PortMatch::Equal(a).accepts(port), PortMatch::NotEqual(a).accepts(port));
        prop_assert_ne!(PortMatch::Less(a).accepts(port), PortMatch::GreaterOrEqual(a).accepts(port));
        prop_assert_ne!(PortMatch::Greater(a).accepts(port), PortMatch::LessOrEqual(a).accepts(port));
        prop_assert_ne!(PortMatch::Range(a, b).accepts(port), PortMatch::Outside(a, b).accepts(port));
        let strictly = PortMatch::Range(a, b).accepts(port) && port != a && port != b;
        prop_assert_eq!(PortMatch::Inside(a, b).accepts(port), strictly);
    }
}

/// Prefixes of few bits, so that they cover and follow each other often.
fn prefixes() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    proptest::collection::vec((any::<u8>(), 0_u8..=8, any::<bool>()), 0..60)
}

proptest! {
    /// Adding and removing in any order, a trie says what a list of prefixes says.
    #[test]
    fn a_trie_is_what_was_put_in_and_not_taken_out(changes in prefixes(), tidies in 0_usize..60) {
        let mut trie = Lpm::new(Af::Inet);
        let mut list: std::collections::BTreeMap<(u8, u8), usize> = Default::default();
        for (number, (bits, length, add)) in changes.into_iter().enumerate() {
            let bits = if length == 0 { 0 } else { bits & (0xff_u8 << (8 - length)) };
            let address = u128::from(bits) << 24;
            let (told, known) = match add {
                true => (trie.insert(address, length, number), list.insert((bits, length), number)),
                false => (trie.remove(address, length), list.remove(&(bits, length))),
            };
            prop_assert_eq!(told, known);
            if number == tidies {
                trie.tidy();
            }
        }
        prop_assert_eq!(trie.len(), list.len());
        let mut held: Vec<_> = trie.iter().map(|(address, length, value)| (address, length, *value)).collect();
        held.sort_unstable();
        let wanted: Vec<_> =
            list.iter().map(|((bits, length), value)| (u128::from(*bits) << 24, *length, *value)).collect();
        prop_assert_eq!(held, wanted);
        for address in 0..=u8::MAX {
            let longest = (0..=8_u8).rev().find_map(|length| {
                let bits = if length == 0 { 0 } else { address & (0xff_u8 << (8 - length)) };
                list.get(&(bits, length))
            });
            prop_assert_eq!(trie.lookup(u128::from(address) << 24 | 7), longest);
        }
    }
}

#[test]
fn a_trie_that_lost_its_prefixes_gives_their_memory_back() {
    let mut trie = Lpm::new(Af::Inet6);
    for address in 0..10_000_u128 {
        trie.insert(address << 64, 128, ());
    }
    for address in 0..9_990_u128 {
        assert_eq!(trie.remove(address << 64, 128), Some(()));
    }
    trie.tidy();
    assert_eq!((trie.len(), trie.iter().count()), (10, 10));
    assert!((0..9_990_u128).all(|address| trie.lookup(address << 64).is_none()));
    assert!((9_990..10_000_u128).all(|address| trie.get(address << 64, 128).is_some()));
}
