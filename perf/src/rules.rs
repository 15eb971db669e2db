//! Rule sets for measuring: of the kind that grows in a company over years, where each rule is about a few networks and
//! one service, and the packets that are measured match none but the last.

use std::fmt::Write as _;

/// So many rules, the last of which passes everything.
pub fn rules(count: usize) -> String {
    // What has no state shall not pass.
    let mut text = String::from("block\n");
    for number in 0..count.saturating_sub(2) {
        let (high, low) = (number / 250 % 250, number % 250);
        // Writing to a string does not fail.
        let _ = match number % 5 {
            0 => writeln!(
                text,
                "pass in on em0 inet proto tcp from 172.20.{low}.0/24 to 192.168.0.0/16 port 443"
            ),
            1 => writeln!(
                text,
                "pass in on em0 inet proto tcp from 10.0.0.0/8 to 192.168.{high}.{low} port {}",
                8000 + low
            ),
            2 => writeln!(text, "block in on em0 inet proto udp from 10.{low}.0.0/16 to 198.51.{high}.0/24"),
            3 => writeln!(
                text,
                "pass out on em1 inet proto tcp from 172.21.{high}.{low} to 192.168.0.0/16 port 443"
            ),
            _ => writeln!(
                text,
                "block in on em1 inet proto tcp from 203.0.{high}.0/24 to 10.{low}.0.0/16 port 22"
            ),
        };
    }
    text.push_str("pass\n");
    text
}
