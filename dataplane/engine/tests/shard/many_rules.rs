//! As many rules as nobody writes by hand (reliability E6).

use crate::firewall::Firewall;
use crate::firewall::rules::{Written, block, pass, ruleset};

/// Each for a host and a port of its own: all are taken, each is asked, and the last ones as well as the first.
#[test]
fn e06_a_hundred_thousand_rules_are_loaded_and_each_is_asked() {
    const RULES: u32 = 100_000;
    let target =
        |number: u32| (format!("10.1.{}.{}", number >> 8 & 0xff, number & 0xff), 1 + (number >> 16) as u16);
    let mut rules = vec![block()];
    rules.extend((0..RULES).map(|number| {
        let (address, port) = target(number);
        pass().to(&address).to_udp(port)
    }));
    let mut firewall = Firewall::bare();
    let rules = ruleset(rules);
    assert_eq!(rules.validate(), Ok(()));
    firewall.load(rules);
    let asked = |firewall: &mut Firewall, number: u32| {
        let (address, port) = target(number);
        firewall.send("em0", &format!("10.0.0.2.5 > {address}.{port} udp len 9"))
    };
    // The address of a host that is a known neighbour, under each of its ports, and one beyond.
    let known = (0..3).map(|high| high << 16 | 2);
    for number in known.filter(|number| *number < RULES) {
        assert_eq!(asked(&mut firewall, number), "out em1", "rule {number}");
        let state = firewall.states().pop().expect("a state");
        assert_eq!(state.rule, Some(number + 1));
    }
    assert_eq!(asked(&mut firewall, 2 << 16 | 2), "match", "no rule is for that");
    assert_eq!(firewall.send("em0", "10.0.0.2.5 > 10.1.0.2.1 tcp S"), "match");
}
