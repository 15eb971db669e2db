//! Rulesets line by line, of which any may stand beside any: everything that the packet path can be asked to do.

use pfconf::Interfaces;
use ruleset::Ruleset;
use sim::rng::Rng;

/// Lines that begin a ruleset; `N` is a small number.
pub const OPTIONS: &[&str] = &[
    "set state-policy if-bound",
    "set syncookies always",
    "set syncookies adaptive (start 10%, end 5%)",
    "set reassemble no",
    "set reassemble yes no-df",
    "set block-policy return",
    "set skip on em2",
    "set skip on span0",
    "set optimization aggressive",
    "set optimization rfc-nat",
    "set timeout { tcp.first N, tcp.opening N, udp.first N, icmp.first N, other.first N }",
    "set timeout { tcp.established N, tcp.closing N, udp.multiple N, tcp.closed 0, tcp.finwait N }",
    "set timeout { src.track N, frag N, interval N }",
    "set timeout { adaptive.start N, adaptive.end 20 }",
    "set limit { states 3N, src-nodes N }",
    "set limit frags N",
    "set limit states 1",
    "table <some> { 10.0.0.2, 10.1.0.0/24, !10.1.0.3, 2001:db8:1::/64 }",
    "table <bad> persist",
];

/// Lines that follow.
pub const RULES: &[&str] = &[
    // What changes packets.
    "match scrub (reassemble tcp)",
    "match in on em0 scrub (reassemble tcp, random-id)",
    "match scrub (no-df, random-id, min-ttl 32, max-mss 900)",
    "match out on em1 scrub (max-mss 100)",
    "match set prio (1, 5)",
    "match inet set tos 0x10",
    "match in on em0 tag RED",
    // Translation.
    "match out on em1 nat-to (em1)",
    "match out on em1 inet nat-to 10.1.0.77 port 2000:200N",
    "match out on em1 inet from 10.0.0.0/16 nat-to 10.1.0.64/30 random",
    "match out on em1 inet from 10.0.0.0/16 nat-to 10.1.0.64/30 source-hash",
    "match out on em1 inet nat-to { 10.1.0.70, 10.1.0.71 } round-robin sticky-address",
    "match out on em1 inet nat-to { 10.1.0.70, 10.1.0.71 } least-states",
    "match out on em1 inet from 10.0.0.0/28 nat-to 10.1.0.80/29 port-block 504",
    "match out on em1 inet from 10.0.0.0/30 nat-to 10.1.0.90 port 10000:10063 port-block 16",
    "match out on em1 inet nat-to 10.1.0.77 static-port",
    "match out on em2 inet6 nat-to 2001:db8:2::77",
    "match in on em1 inet proto { tcp udp } to (em1) port 80 rdr-to 10.0.0.2 port 1000",
    "match in inet proto tcp to 10.1.0.50 rdr-to { 10.0.0.2, 10.0.0.3 } round-robin sticky-address",
    "match in inet proto { tcp udp } to port 22 rdr-to 10.2.0.0/24 bitmask",
    "match in inet6 proto udp to port 80 rdr-to 2001:db8:2::2 port 1000",
    "match on em1 inet from 10.0.0.2 to any binat-to 10.1.0.50",
    "pass in on em0 inet6 to 64:ff9b::/96 af-to inet from (em1)",
    "pass in on em0 inet6 to 64:ff9b::/96 af-to inet from 10.1.0.77 port 2000:200N",
    "pass in inet6 proto tcp to 64:ff9b::/96 af-to inet from { 10.1.0.70 10.1.0.71 } modulate state",
    "pass in inet to 10.1.0.46 af-to inet6 from 2001:db8:2::1 to 2001:db8:2::2",
    "pass in inet from 10.0.0.0/16 to 10.1.0.0/24 af-to inet6 from 2001:db8:2::1 to 2001:db8:2:0:64::/96",
    // States.
    "pass",
    "pass flags any",
    "pass in on em0",
    "pass out",
    "pass no state",
    "pass in proto udp no state",
    "pass proto tcp modulate state",
    "pass in on em0 proto tcp modulate state",
    "pass in proto tcp synproxy state",
    "pass in proto tcp to port 80 synproxy state (if-bound)",
    "pass keep state (sloppy)",
    "pass in proto tcp flags any keep state (sloppy, tcp.established N)",
    "pass keep state (if-bound)",
    "pass allow-opts",
    "pass keep state (max N)",
    "pass keep state (adaptive.start 1, adaptive.end N)",
    "pass max-pkt-rate N/2",
    "pass in proto tcp once",
    "pass probability 50%",
    // Sources.
    "pass in keep state (max-src-states N)",
    "pass in keep state (max-src-nodes N)",
    "pass in keep state (source-track global, max-src-states N)",
    "pass proto tcp keep state (max-src-conn N, overload <bad> flush global)",
    "pass proto tcp keep state (max-src-conn-rate N/10, overload <bad> flush)",
    "pass in proto tcp synproxy state (max-src-conn 1, overload <bad>)",
    "block in quick from <bad>",
    // Ways.
    "pass in on em0 inet route-to 10.2.0.2@em2",
    "pass out on em1 inet route-to 10.2.0.9@em2",
    "pass in on em0 inet route-to { 10.2.0.2@em2, 10.1.0.254@em1 } least-states sticky-address",
    "pass in on em0 inet6 route-to 2001:db8:2::2@em2",
    "pass in on em1 inet reply-to 10.1.0.254@em1",
    "pass in inet proto udp route-to 10.1.0.77@em1",
    "pass dup-to @span0",
    "pass in proto tcp dup-to @span1",
    "pass out on span0 dup-to @span1",
    "pass out on em1 inet dup-to 10.2.0.9@em2",
    "pass out on em2 inet dup-to { 10.1.0.9@em1, 10.0.0.9@em0 } random",
    "pass in inet6 dup-to 2001:db8:2::99@em2",
    "block out on span1",
    // Refusals.
    "block",
    "block return",
    "block return-rst(ttl 3) in proto tcp to port 80",
    "block in proto udp to port 22",
    "block return-icmp(3, 1) out on em2",
    "block in quick from urpf-failed",
    "block in quick from no-route",
    "block in quick on em1 from <some>",
    "pass in quick inet proto icmp icmp-type echoreq",
    "pass quick inet6 proto icmp6",
    "pass tagged RED",
    "pass in log (all)",
    "block drop in proto tcp flags FUP/FUP",
    "anchor a in on em0 {\npass in proto tcp modulate state\nblock return in proto udp to port 80\n}",
    "anchor b out on em2 {\nmatch out nat-to (em2)\npass out\n}",
];

pub fn compile(lines: &[String]) -> Option<Ruleset> {
    pfconf::compile(&text(lines), &Interfaces::default()).ok()
}

/// The ruleset of these lines, options first, with what they may rely on.
pub fn text(lines: &[String]) -> String {
    let is_option = |line: &&String| line.starts_with("set") || line.starts_with("table");
    let options = lines.iter().filter(is_option);
    let rules = lines.iter().filter(|line| !is_option(line));
    let mut all: Vec<&str> = options.chain(rules).map(String::as_str).collect();
    for table in ["some", "bad"] {
        if !all.iter().any(|line| line.starts_with(&format!("table <{table}>"))) {
            all.insert(0, if table == "some" { "table <some> {}" } else { "table <bad> persist" });
        }
    }
    all.join("\n") + "\n"
}

/// Another line.
pub fn line(rng: &mut Rng) -> String {
    let lines = if rng.chance(1, 4) { OPTIONS } else { RULES };
    let number = *rng.pick(&["1", "2", "3", "5", "9"]);
    rng.pick(lines).replace('N', number)
}

/// Some lines that make a ruleset.
pub fn lines(rng: &mut Rng) -> Vec<String> {
    let mut lines = match rng.below(4) {
        0 => vec!["block return".to_owned(), "pass flags any".to_owned()],
        1 => vec!["block".to_owned(), "pass in on em0".to_owned(), "pass out".to_owned()],
        _ => vec!["pass".to_owned()],
    };
    for _ in 0..rng.between(1, 7) {
        add(&mut lines, rng);
    }
    lines
}

/// One line more, in any place, if that makes a ruleset.
pub fn add(lines: &mut Vec<String>, rng: &mut Rng) {
    let at = rng.below(lines.len() as u64 + 1) as usize;
    lines.insert(at, line(rng));
    if compile(lines).is_none() {
        lines.remove(at);
    }
}

#[test]
fn each_line_makes_a_ruleset() {
    for line in OPTIONS.iter().chain(RULES) {
        let text = text(&[line.replace('N', "5")]);
        let compiled = pfconf::compile(&text, &Interfaces::default());
        assert!(compiled.is_ok(), "{line}: {}", compiled.expect_err("findings"));
    }
}
