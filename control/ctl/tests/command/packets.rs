//! `tpctl test`: packets, expectations and captures against rules.

use std::path::Path;
use std::process::Command;

use crate::folder::{Folder, Outcome, run};

const RULES: &str = "block return log\n\
                     pass in on wan0 proto tcp to 10.0.0.1 port 443 label \"web\"\n\
                     pass out on lan0\n\
                     pass in on wan0 from 192.0.2.9 no state\n";

fn test(arguments: &[&str]) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_tpctl")).arg("test").args(arguments), "")
}

fn rules(folder: &Folder) -> String {
    folder.write("pf.conf", RULES)
}

#[test]
fn a_packet_is_judged_and_the_rule_named() {
    let folder = Folder::new("test-packet");
    let rules = rules(&folder);
    let judged = test(&["in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:80 S", "--rules", &rules]);
    let shown = format!(
        "in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:80 S: block (match), told rst, logged\n  {rules}:1: @0 block return log all\n"
    );
    assert_eq!((judged.code, judged.out, judged.err.as_str()), (Some(0), shown, ""));
    let udp = test(&["in on wan0 udp [2001:db8::7]:5 > 2001:db8::1[80]", "--rules", &rules]);
    assert!(udp.out.contains("block (match), told icmp 1/4"), "{}", udp.out);
    let passed = test(&["in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:443", "--rules", &rules, "--json"]);
    let outcome: serde_json::Value = serde_json::from_str(&passed.out).expect("JSON");
    let outcome = &outcome[0];
    assert_eq!(outcome["verdict"], "pass");
    assert_eq!(outcome["rules"][0]["label"], "web");
    assert_eq!(outcome["rules"][0]["line"], 2);
    assert_eq!(outcome["made"][0], "all tcp 10.0.0.1:443 <- 192.0.2.7:5       CLOSED:SYN_SENT");
    let stateless = test(&["in on wan0 tcp 192.0.2.9:5 > 10.0.0.1:80 A", "--rules", &rules]);
    assert!(stateless.out.contains("A: pass\n"), "{}", stateless.out);
    assert!(!stateless.out.contains("state all"), "{}", stateless.out);
}

#[test]
fn a_handshake_that_is_completed_for_a_server_is_no_block() {
    let folder = Folder::new("test-synproxy");
    let rules =
        folder.write("pf.conf", "block\npass in on wan0 proto tcp to 10.0.0.1 port 443 synproxy state\n");
    let judged = test(&["in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:443 S", "--rules", &rules]);
    assert!(judged.out.contains("S: pass, told syn-ack\n"), "{}", judged.out);
    assert!(judged.out.contains("PROXY:SRC"), "{}", judged.out);
}

#[test]
fn the_exit_code_says_whether_it_is_as_expected() {
    let folder = Folder::new("test-code");
    let rules = rules(&folder);
    let code = |packet: &str, expected: &str| {
        test(&[packet, "--rules", &rules, "--expect", expected]).code.expect("it ends by itself")
    };
    let web = "in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:443 S";
    assert_eq!(code(web, "pass"), 0);
    assert_eq!(code(web, "block"), 1);
    assert_eq!(code("in on wan0 icmp 192.0.2.7 > 10.0.0.1 type echoreq", "block"), 0);
    for wrong in [
        "tcp 192.0.2.7:5 > 10.0.0.1:443",
        "in on wan0 tcp 192.0.2.7 > 10.0.0.1:443",
        "in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:443 SX",
        "in on wan0 icmp6 192.0.2.7 > 10.0.0.1",
        "in on wan0 udp 192.0.2.7:5 > [2001:db8::1]:443",
    ] {
        assert_eq!(code(wrong, "pass"), 2, "{wrong}");
    }
    assert_eq!(code(web, "maybe"), 2);
    assert_eq!(test(&[web]).code, Some(2), "without rules");
    let bad = folder.write("bad.conf", "pass bogus\n");
    assert_eq!(test(&[web, "--rules", &bad]).code, Some(1), "rules that cannot be loaded");
}

#[test]
fn what_came_before_makes_states_for_what_comes() {
    let folder = Folder::new("test-after");
    let rules = rules(&folder);
    let syn = "in on wan0 out on lan0 tcp 192.0.2.7:5 > 10.0.0.1:443 S";
    let answer = "in on lan0 out on wan0 tcp 10.0.0.1:443 > 192.0.2.7:5 SA";
    let alone = test(&[answer, "--rules", &rules, "--expect", "block"]);
    assert_eq!(alone.code, Some(0), "{}", alone.out);
    let behind = test(&[answer, "--after", syn, "--rules", &rules, "--expect", "pass"]);
    assert_eq!(behind.code, Some(0), "{}", behind.out);
    assert!(behind.out.contains("pass, by its state"), "{}", behind.out);
    let data = "in on wan0 out on lan0 tcp 192.0.2.7:5 > 10.0.0.1:443 PA len 100";
    let ack = "in on wan0 out on lan0 tcp 192.0.2.7:5 > 10.0.0.1:443 A";
    let known = test(&[data, "--after", syn, "--after", answer, "--after", ack, "--rules", &rules]);
    assert!(known.out.contains("pass, by its state"), "{}", known.out);
    let forged = format!("{data} seq 77");
    let forged = test(&[&forged, "--after", syn, "--after", answer, "--after", ack, "--rules", &rules]);
    assert!(forged.out.contains("block (state-mismatch)"), "{}", forged.out);
}

#[test]
fn a_file_of_expectations_is_held_to_every_one() {
    let folder = Folder::new("test-cases");
    rules(&folder);
    let good = "rules = \"pf.conf\"\n\
         [[case]]\nname = \"web\"\npacket = \"in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:443 S\"\n\
         expect = \"pass\"\nstate = true\nlabel = \"web\"\nlog = false\n\
         [[case]]\nname = \"the rest\"\npacket = \"in on wan0 udp 192.0.2.7:5 > 10.0.0.1:443\"\n\
         expect = \"block\"\nreply = \"icmp 3/3\"\nreason = \"match\"\nrule = \"block return log all\"\nlog = true\n";
    let file = folder.write("cases.toml", good);
    let held = test(&["--cases", &file]);
    assert_eq!(held.code, Some(0), "{}{}", held.out, held.err);
    assert!(held.out.ends_with("2 packets, 0 not as expected\n"), "{}", held.out);
    for (was, is, missed) in [
        ("\"pass\"", "\"block\"", "expected the verdict block, but it is pass"),
        ("icmp 3/3", "rst", "expected the reply rst, but it is icmp 3/3"),
        ("state = true", "state = false", "expected a state to be not made, but it is made"),
        ("\"match\"", "\"no-route\"", "expected the reason no-route, but it is match"),
        ("log all", "all", "expected the rule `block return all`, but it is `block return log all`"),
        ("label = \"web\"", "label = \"ssh\"", "expected the label `ssh`, but it is `web`"),
        ("log = true", "log = false", "expected it to be not logged, but it is logged"),
    ] {
        let file = folder.write("wrong.toml", &good.replacen(was, is, 1));
        let wrong = test(&["--cases", &file]);
        assert_eq!(wrong.code, Some(1), "{is}");
        assert!(wrong.out.contains(missed), "{is}: {}", wrong.out);
    }
    let file = folder.write("unknown.toml", &good.replace("reply", "replay"));
    assert_eq!(test(&["--cases", &file]).code, Some(2), "a key that nobody knows");
}

#[test]
fn the_route_that_rules_choose_is_told() {
    let folder = Folder::new("test-route");
    let rules = folder.write(
        "pf.conf",
        "block\npass out\npass in on lan0 inet route-to 192.0.2.254@wan1\n\
         pass in on wan1 inet proto tcp to port 443 reply-to 192.0.2.254@wan1\n",
    );
    let out = test(&["in on lan0 out on wan0 udp 10.0.0.1:5 > 198.51.100.7:53", "--rules", &rules]);
    assert!(out.out.contains(": pass, routed to 192.0.2.254@wan1\n"), "{}{}", out.out, out.err);
    assert!(out.out.contains("  state all udp 198.51.100.7:53 {192.0.2.254} <- 10.0.0.1:5 "), "{}", out.out);
    let request = "in on wan1 out on lan0 tcp 198.51.100.7:5 > 10.0.0.1:443 S";
    let asked = test(&[request, "--rules", &rules]);
    assert!(asked.out.contains(": pass\n"), "the question goes the usual way: {}", asked.out);
    let file = folder.write(
        "cases.toml",
        &format!(
            "rules = \"pf.conf\"\n[[case]]\nname = \"back\"\nafter = [\"{request}\"]\n\
             packet = \"in on lan0 out on wan0 tcp 10.0.0.1:443 > 198.51.100.7:5 SA\"\n\
             route = \"192.0.2.254@wan1\"\n\
             [[case]]\nname = \"there\"\npacket = \"{request}\"\nroute = \"none\"\n"
        ),
    );
    let held = test(&["--cases", &file]);
    assert_eq!(held.code, Some(0), "{}{}", held.out, held.err);
    let wrong = std::fs::read_to_string(&file).expect("written").replace("\"none\"", "\"192.0.2.1@wan1\"");
    let wrong = test(&["--cases", &folder.write("wrong.toml", &wrong)]);
    assert!(wrong.out.contains("expected the route 192.0.2.1@wan1, but it is none"), "{}", wrong.out);
}

#[test]
fn a_capture_is_replayed() {
    let folder = Folder::new("test-pcap");
    let rules = rules(&folder);
    // A pcap file of raw IP with one datagram: UDP from 192.0.2.9:1 to 10.0.0.1:2.
    let mut datagram = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 9, 10, 0, 0, 1];
    let sum: u32 = datagram.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !(((sum >> 16) + (sum & 0xffff)) as u16);
    datagram[10..12].copy_from_slice(&checksum.to_be_bytes());
    datagram.extend([0, 1, 0, 2, 0, 8, 0, 0]);
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101, 1_700_000_000, 5, 28, 28] {
        file.extend(word.to_le_bytes());
    }
    file.extend(&datagram);
    let path = folder.0.join("in.pcap");
    std::fs::write(&path, &file).expect("writable");
    let replay = |path: &Path, expected: &str| {
        let path = path.to_str().expect("plain characters");
        test(&["--pcap", path, "--on", "wan0", "--rules", &rules, "--expect", expected])
    };
    let held = replay(&path, "pass");
    assert_eq!(held.code, Some(0), "{}{}", held.out, held.err);
    assert!(held.out.starts_with("packet 1: pass\n"), "{}", held.out);
    assert_eq!(replay(&path, "block").code, Some(1));
    std::fs::write(&path, &file[..60]).expect("writable");
    let cut = replay(&path, "pass");
    assert_eq!((cut.code, cut.err.contains("packet 1 is cut")), (Some(2), true), "{}", cut.err);
}

#[test]
fn anchors_are_asked_of_what_matches_their_calls() {
    let folder = Folder::new("test-anchors");
    let rules = "block return\n\
         anchor \"web\" in on wan0 proto tcp {\n pass proto tcp to port 443\n anchor \"deny\" quick from 192.0.2.66 {\n  block\n }\n pass proto tcp to port 80\n}\n\
         anchor \"udp\" in quick proto udp {\n pass proto udp to port 53\n}\n\
         pass in proto udp to port 123\n\
         block in proto udp from 192.0.2.5\n\
         anchor in on lan0 tag FROM {\n match\n}\n\
         pass in on lan0 tagged FROM\n";
    let file = folder.write("anchors.conf", rules);
    for (packet, expected, rule) in [
        ("in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:443", "pass", "@0 pass proto tcp from any to any port = 443"),
        ("in on wan0 tcp 192.0.2.7:5 > 10.0.0.1:80", "pass", "@2 pass"),
        ("in on wan0 tcp 192.0.2.66:5 > 10.0.0.1:80", "block", "web/deny@0 block drop all"),
        ("in on dmz0 tcp 192.0.2.7:5 > 10.0.0.1:443", "block", "@0 block return all"),
        // `quick` on an anchor: behind it nothing is asked if a rule in it matched last.
        ("in on wan0 udp 192.0.2.5:5 > 10.0.0.1:53", "pass", "@0 pass proto udp"),
        ("in on wan0 udp 192.0.2.5:5 > 10.0.0.1:123", "block", "@4 block"),
        ("in on wan0 udp 192.0.2.7:5 > 10.0.0.1:123", "pass", "@3 pass in proto udp"),
        // `tag` on an anchor sticks as it is entered.
        ("in on lan0 icmp 10.0.0.5 > 10.0.0.1", "pass", "@6 pass in on lan0"),
        ("in on dmz0 icmp 10.0.0.5 > 10.0.0.1", "block", "@0 block return"),
    ] {
        let judged = test(&[packet, "--rules", &file, "--expect", expected]);
        assert_eq!(judged.code, Some(0), "{packet}: {}{}", judged.out, judged.err);
        assert!(judged.out.contains(rule), "{packet}: {}", judged.out);
    }
}

#[test]
fn senders_are_looked_for_behind_the_interface_and_its_parts_are_known() {
    let folder = Folder::new("test-parts");
    let interfaces = folder.write(
        "two.json",
        r#"[{"ifname":"wan0","addr_info":[{"local":"203.0.113.2","prefixlen":24},{"local":"203.0.113.3","prefixlen":24}]},
            {"ifname":"lan0","addr_info":[{"local":"10.0.0.1","prefixlen":8}]}]"#,
    );
    let rules = "pass no state\nblock in from urpf-failed\nblock in proto udp to (wan0:0) port 1\n\
                 block in proto udp to (wan0:broadcast) port 2\nblock in proto udp to (lan0:network) port 3\n\
                 block in proto udp to (lan0)/16 port 4\n";
    let file = folder.write("parts.conf", rules);
    for (packet, expected) in [
        ("in on wan0 udp 198.51.100.7:5 > 203.0.113.2:9", "pass"),
        ("in on wan0 udp 203.0.113.9:5 > 203.0.113.2:9", "pass"),
        ("in on wan0 udp 10.1.1.1:5 > 203.0.113.2:9", "block"),
        ("in on lan0 udp 203.0.113.9:5 > 203.0.113.2:9", "block"),
        ("in on lan0 udp 10.1.1.1:5 > 203.0.113.2:1", "block"),
        ("in on lan0 udp 10.1.1.1:5 > 203.0.113.3:1", "pass"),
        ("in on wan0 udp 203.0.113.9:5 > 203.0.113.255:2", "block"),
        ("in on wan0 udp 203.0.113.9:5 > 203.0.113.254:2", "pass"),
        ("in on wan0 udp 203.0.113.9:5 > 10.200.0.1:3", "block"),
        ("in on wan0 udp 203.0.113.9:5 > 11.0.0.1:3", "pass"),
        ("in on wan0 udp 203.0.113.9:5 > 10.0.9.9:4", "block"),
        ("in on wan0 udp 203.0.113.9:5 > 10.1.0.1:4", "pass"),
    ] {
        let judged = test(&[packet, "--rules", &file, "--interfaces", &interfaces, "--expect", expected]);
        assert_eq!(judged.code, Some(0), "{packet}: {}{}", judged.out, judged.err);
    }
}

#[test]
fn a_fragment_alone_is_neither_passed_nor_blocked() {
    let folder = Folder::new("test-fragment");
    let fragment = "in on wan0 udp 192.0.2.7:5 > 10.0.0.1:80 fragment";
    let judged = |text: &str| {
        let rules = folder.write("pf.conf", text);
        test(&[fragment, "--rules", &rules, "--expect", "wait"])
    };
    let waits = judged("pass\n");
    assert_eq!(waits.code, Some(0), "{}", waits.out);
    assert!(waits.out.contains("fragment: wait\n"), "{}", waits.out);
    let passes = judged("set reassemble no\npass no state\n");
    assert_eq!(passes.code, Some(1));
    assert!(passes.out.contains("fragment: pass\n"), "{}", passes.out);
}
