//! Rule sets for measuring: of the kind that grows in a company over years, where each rule is about a few networks and
//! one service, and the packets that are measured match none but the first and one in the middle, so that looking from
//! neither end is a short cut.

/// So many rules: the first blocks, the one in the middle passes everything.
pub fn rules(count: usize) -> String {
    let mut rules: Vec<String> = (0..count.saturating_sub(2)).map(rule).collect();
    rules.insert(rules.len() / 2, "pass".into());
    // What has no state shall not pass.
    rules.insert(0, "block".into());
    rules.join("\n") + "\n"
}

/// What translates the packets of a company, by the name of what it is.
const TRANSLATIONS: [(&str, &str); 4] = [
    // It has one address: who goes out is translated, ports and all.
    ("nat", "match out on em1 inet nat-to (em1)"),
    ("pool", "match out on em1 inet nat-to 203.0.113.0/30 round-robin"),
    ("static", "match out on em1 inet nat-to 203.0.0.0/8 bitmask static-port"),
    ("rdr", "match in on em0 inet proto tcp to port 443 rdr-to 192.168.0.10"),
];

/// The same, and before them the rule that translates so; `None` if nothing is called that.
pub fn translating(how: &str, count: usize) -> Option<String> {
    let (_, rule) = TRANSLATIONS.iter().find(|(name, _)| *name == how)?;
    Some(format!("{rule}\n{}", rules(count)))
}

fn rule(number: usize) -> String {
    let (high, low) = (number / 250 % 250, number % 250);
    match number % 5 {
        0 => format!("pass in on em0 inet proto tcp from 172.20.{low}.0/24 to 192.168.0.0/16 port 443"),
        1 => format!(
            "pass in on em0 inet proto tcp from 10.0.0.0/8 to 192.168.{high}.{low} port {}",
            8000 + low
        ),
        2 => format!("block in on em0 inet proto udp from 10.{low}.0.0/16 to 198.51.{high}.0/24"),
        3 => format!("pass out on em1 inet proto tcp from 172.21.{high}.{low} to 192.168.0.0/16 port 443"),
        _ => format!("block in on em1 inet proto tcp from 203.0.{high}.0/24 to 10.{low}.0.0/16 port 22"),
    }
}
