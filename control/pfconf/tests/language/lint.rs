//! What is said of rules that their writer hardly means, and of what nothing is said.

use crate::machine::{interfaces, read};

/// Every warning, in pfctl's form.
fn said(text: &str) -> String {
    let (config, findings) = read(text);
    assert!(!findings.has_errors(), "{findings}{text}");
    // Tables 1 to 3 have routes.
    config.lint(&interfaces(), &|table| table.0 > 3).to_string().replace("warning: ", "")
}

fn holds(text: &str, warning: &str) {
    let said = said(text);
    assert!(said.contains(warning) && said.lines().count() == 1, "{text}{said}");
}

fn silent(text: &str) {
    assert_eq!(said(text), "", "{text}");
}

#[test]
fn a_rule_behind_a_quick_one_that_matches_all_of_it_is_never_reached() {
    holds(
        "block in quick from 10.0.0.0/8\npass in proto tcp from 10.1.0.0/16 to port 80\n",
        "pf.conf:2: this rule is never reached: line 1 is quick and matches all of it",
    );
    silent("block in quick from 10.0.0.0/8\npass in proto tcp from 11.0.0.0/16 to port 80\n");
    silent("block in from 10.0.0.0/8\npass in proto tcp from 10.1.0.0/16 to port 80\n");
    silent("pass in quick proto tcp to port 80\nblock in proto tcp to port 80\n");
    silent("block in quick proto tcp to port 80 tagged T\nblock in proto tcp to port 80\nmatch tag T\n");
    silent("match in quick proto udp\npass in proto udp\n");
    silent("pass in quick proto icmp\nblock in proto icmp\n");
    silent("block in quick proto tcp probability 50%\nblock in proto tcp to port 80\n");
    silent("block in quick on wan0\nblock in on ! wan0\n");
}

#[test]
fn a_rule_before_one_that_matches_all_of_it_never_decides() {
    holds(
        "pass in proto tcp to port 22\nblock in proto tcp\n",
        "pf.conf:1: this rule never decides: line 2 comes later and matches all of it",
    );
    silent("block\npass\n");
    silent("block in proto tcp\npass in proto tcp to port 22\n");
    silent("pass in quick proto tcp to port 22\nblock in proto tcp\n");
    silent("pass in proto tcp to port 22 tag SSH\nblock in proto tcp\npass tagged SSH\n");
    silent("pass in proto tcp from { 10.0.0.0/8 10.1.0.0/16 } to port 22\n");
}

#[test]
fn rules_that_match_no_packet_are_named() {
    holds("block\npass proto tcp to port 80 >< 81\n", "pf.conf:2: no port is within the range behind `to`");
    holds("pass tagged GREEN\n", "no rule sets the tag GREEN");
    holds("table <none> const { }\nblock from <none>\n", "no address is in the table <none>");
    holds("set skip on lan0\nblock on lan0\n", "no rule is asked on lan0: set skip on lan0");
    silent("pass proto tcp to port 80 >< 82\n");
    silent("match in tag GREEN\nblock in tagged GREEN\npass ! tagged RED\n");
    silent("anchor later\npass tagged GREEN\n");
    silent("table <some> persist { }\nblock from <some>\n");
    silent("table <none> const { }\npass in from ! <none>\n");
    silent("set skip on lo\nblock on wan0\n");
}

#[test]
fn states_of_what_begins_no_connection_are_named() {
    holds("pass in proto tcp flags any\n", "makes states of segments in the middle of connections");
    holds("pass flags A/A\n", "makes states of segments in the middle");
    silent("pass in proto tcp\npass out proto tcp flags S/SAFR\n");
    silent("pass in proto tcp flags any keep state (sloppy)\n");
    silent("pass in proto tcp flags any no state\n");
    silent("pass in proto udp\npass in proto icmp\n");
}

#[test]
fn answers_without_a_state_that_are_blocked_are_named() {
    holds(
        "block\npass in proto tcp to 10.0.0.1 port 80 no state\n",
        "pf.conf:2: answers to what this rule passes without a state are blocked by line 1",
    );
    holds(
        "block\npass in proto tcp to 10.0.0.1 port 80 no state\npass out proto tcp\n",
        "answers to what this rule passes",
    );
    silent(
        "block\npass in proto tcp to 10.0.0.1 port 80 no state\npass out proto tcp from 10.0.0.1 port 80 no state\n",
    );
    silent(
        "block\npass in proto tcp to 10.0.0.1 port 80 no state\npass out proto tcp from 10.0.0.0/8 flags any no state\n",
    );
    silent("block in\npass in proto tcp to 10.0.0.1 port 80 no state\n");
    silent("pass in proto tcp to 10.0.0.1 port 80 no state\n");
    silent("block\npass in proto udp to port 514 no state\n");
    silent("block\nanchor more\npass in proto tcp to port 80 no state\n");
}

#[test]
fn rules_that_contradict_the_call_of_their_anchor_are_named() {
    holds(
        "anchor in on wan0 {\n pass on lan0\n}\n",
        "pf.conf:2: this rule is never reached: the anchor in line 1 is for another interface",
    );
    holds("anchor in on wan0 {\n pass out\n}\n", "line 1 is for another direction");
    holds("anchor proto tcp {\n anchor inet {\n  pass proto udp\n }\n}\n", "line 1 is for another protocol");
    silent("anchor in on wan0 {\n pass in on wan0 proto tcp\n pass on egress\n pass on ! lan0\n}\n");
    silent("anchor on lan {\n pass on lan0\n}\n");
}

#[test]
fn a_routing_table_that_leads_nowhere_or_is_not_asked_is_said() {
    holds(
        "pass in on lan0 rtable 7\n",
        "pf.conf:1: routing table 7 has no routes: what comes in by this rule is dropped",
    );
    holds("match rtable 7\npass\n", "pf.conf:1: routing table 7 has no routes");
    holds("anchor \"a\" in rtable 7\n", "pf.conf:1: routing table 7 has no routes");
    holds("pass out rtable 2\n", "pf.conf:1: rtable does nothing for what leaves, which is routed already");
    holds("block in rtable 2\n", "pf.conf:1: rtable does nothing for what it blocks");
    for good in ["pass in rtable 2\n", "pass rtable 3\n", "match in rtable 0\npass\n", "pass in rtable 254\n"]
    {
        silent(good);
    }
}
