//! Rulesets in the manner of ClassBench (Taylor and Turner, 2005): of three styles, of any size, from a seed.
//!
//! Overview: addresses come out of a few blocks that are divided again and again, so that prefixes nest as they do where
//! networks grow; styles differ in how often fields are left open, in the lengths of prefixes and in the kinds of ports.
//! The first rule blocks and the one in the middle passes what no other rule is about: the packets that are measured meet
//! neither end by a short cut.

use std::fmt::Write;

use crate::flows::Random;

/// What rules are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Of an access list: long prefixes on both sides, one service each.
    AccessList,
    /// Of a firewall: one side is often open, and ports are ranges.
    Firewall,
    /// Of a chain of an end host's filter: a mixture, with many protocols.
    Chain,
}

impl Style {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::AccessList, Self::Firewall, Self::Chain];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessList => "acl",
            Self::Firewall => "fw",
            Self::Chain => "ipc",
        }
    }

    /// Of a hundred rules, how many leave one side open, and how many have a prefix of 32 bits where it is not.
    const fn openness(self) -> (u64, u64) {
        match self {
            Self::AccessList => (5, 45),
            Self::Firewall => (55, 60),
            Self::Chain => (25, 50),
        }
    }
}

/// Numbers below which chance decides.
struct Dice(Random);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0.next() % sides
    }

    fn chance(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }
}

/// So many rules of a style, as pf.conf.
pub fn rules(style: Style, count: usize, seed: u64) -> String {
    let mut dice = Dice(Random::seeded(seed));
    let blocks: Vec<u32> = (0..8).map(|_| dice.below(1 << 16) as u32).collect();
    let mut text = String::from("block\n");
    let others = count.saturating_sub(2);
    for number in 0..others {
        if number == others / 2 {
            text.push_str("pass\n");
        }
        rule(style, &blocks, &mut dice, &mut text);
    }
    text
}

fn rule(style: Style, blocks: &[u32], dice: &mut Dice, text: &mut String) {
    let action = if dice.chance(70) { "pass" } else { "block" };
    let (direction, on) = if dice.chance(80) { ("in", "em0") } else { ("out", "em1") };
    let (open, host) = style.openness();
    let source = if dice.chance(open) { "any".to_owned() } else { source(blocks, host, dice) };
    // One side at least tells these packets from those that are measured.
    let destination = match dice.chance(open) && source != "any" {
        true => "any".to_owned(),
        false => destination(host, dice),
    };
    let proto = match (style, dice.below(10)) {
        (Style::Chain, 0) => "icmp",
        (Style::Chain, 1) => "gre",
        (_, 0..=2) => "udp",
        _ => "tcp",
    };
    let port = if matches!(proto, "tcp" | "udp") { port(style, dice) } else { String::new() };
    let _ = writeln!(
        text,
        "{action} {direction} on {on} inet proto {proto} from {source} to {destination}{port}"
    );
}

/// In 172.20.0.0/14, where no measured packet comes from: a few networks hold most of the prefixes.
fn source(blocks: &[u32], host: u64, dice: &mut Dice) -> String {
    let block = blocks[dice.below(dice_skew(blocks.len() as u64)) as usize % blocks.len()];
    let address = 0xac14_0000 | (block & 0x3) << 16 | (dice.below(1 << 16) as u32 & (block | 0x3fff));
    prefix(address, host, dice)
}

const fn dice_skew(count: u64) -> u64 {
    count / 2 + 1
}

/// In 198.18.0.0/15, where no measured packet goes to.
fn destination(host: u64, dice: &mut Dice) -> String {
    prefix(0xc612_0000 | dice.below(1 << 17) as u32, host, dice)
}

fn prefix(address: u32, host: u64, dice: &mut Dice) -> String {
    let length =
        if dice.chance(host) { 32 } else { [20, 22, 24, 24, 24, 26, 28, 30][dice.below(8) as usize] };
    let [a, b, c, d] = (address & u32::MAX << (32 - length)).to_be_bytes();
    format!("{a}.{b}.{c}.{d}/{length}")
}

fn port(style: Style, dice: &mut Dice) -> String {
    const SERVICES: [u16; 12] = [22, 25, 53, 80, 110, 123, 143, 443, 993, 3306, 5432, 8080];
    match (style, dice.below(10)) {
        (Style::Firewall, 0..=3) => {
            let first = 1024 + dice.below(60_000);
            format!(" port {first}:{}", first + dice.below(2000))
        }
        (Style::Firewall, 4) => " port > 1023".to_owned(),
        (Style::Firewall | Style::Chain, 5..=6) => String::new(),
        (_, 0..=7) => format!(" port {}", SERVICES[dice.below(SERVICES.len() as u64) as usize]),
        _ => format!(" port {}", 1 + dice.below(65_534)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rulesets_are_as_large_as_asked_and_the_same_for_a_seed() {
        for style in Style::ALL {
            let text = rules(style, 1000, 7);
            assert_eq!(text.lines().count(), 1000);
            assert_eq!(text, rules(style, 1000, 7));
            assert_ne!(text, rules(style, 1000, 8));
            let ruleset = crate::network::ruleset(&text, 1000).expect("rules");
            assert_eq!(ruleset.rules.len(), 1000, "none is lost");
        }
    }

    #[test]
    fn styles_differ_in_what_they_leave_open() {
        let open = |style| rules(style, 2000, 1).matches(" any").count();
        assert!(open(Style::AccessList) * 3 < open(Style::Chain));
        assert!(open(Style::Chain) * 3 < open(Style::Firewall) * 2);
    }
}
