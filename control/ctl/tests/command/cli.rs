//! `tpctl check`, and `pfctl` where it only reads.

use std::process::Command;

use crate::folder::{Folder, run};

#[test]
fn pfctl_prints_what_it_read() {
    let folder = Folder::new("prints");
    let rules = "x = \"em0\"\nset block-policy return\nblock on $x\n";
    let shown = "x = \"em0\"\nset block-policy return\nblock return on em0 all\n";
    let verbose = folder.call(&["pfctl", "-o", "none", "-nv", "-f", "-"], rules);
    assert_eq!((verbose.code, verbose.out.as_str(), verbose.err.as_str()), (Some(0), shown, ""));
    let quiet = folder.call(&["pfctl", "-nf", "-"], rules);
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (Some(0), "", ""));
    let numbered = folder.call(&["pfctl", "-nvvf", "-"], rules);
    assert_eq!(numbered.out, shown.replace("block", "@0 block").replace("set @0 block", "set block"));
    let path = folder.write("pf.conf", rules);
    let file = folder.call(&["pfctl", "-nvf", &path, "-D", "x=em7"], "");
    assert_eq!((file.code, file.out), (Some(0), shown.replace("on em0", "on em7")));
}

#[test]
fn a_dialect_is_what_a_file_uses_or_what_is_asked_for() {
    let folder = Folder::new("dialect");
    let both = "pass in proto tcp to port 22\n";
    let native = "pass in proto tcp from any to any port = 22 flags S/SA\n";
    let freebsd = "pass in proto tcp from any to any port = ssh flags S/SA keep state\n";
    for (arguments, shown) in [
        (&["pfctl", "-nvf", "-"][..], native),
        (&["pfctl", "--dialect", "openbsd", "-nvf", "-"], native),
        (&["pfctl", "--dialect", "freebsd", "-nvf", "-"], freebsd),
    ] {
        assert_eq!(folder.call(arguments, both).out, shown, "{arguments:?}");
    }
    let early = "nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1\n";
    let detected = folder.call(&["pfctl", "-nvf", "-"], &format!("{early}{both}"));
    assert_eq!((detected.code, detected.out), (Some(0), format!("{early}{freebsd}")));
    let chosen = folder.call(&["pfctl", "--dialect", "openbsd", "-nvf", "-"], early);
    assert_eq!((chosen.code, chosen.err.as_str()), (Some(1), "stdin:1: syntax error\n"));
    let checked = folder.call(&["check", "-"], early);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    let checked = folder.call(&["check", "--dialect", "freebsd", "-"], both);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    assert_eq!(folder.call(&["check", "--dialect", "netbsd", "-"], both).code, Some(2));
}

#[test]
fn a_ruleset_is_converted_and_what_is_lost_is_named() {
    let folder = Folder::new("convert");
    let text = "nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1\npass out all ridentifier 5\n";
    let whole =
        folder.call(&["convert", "--to", "openbsd", "-"], text.replace(" ridentifier 5", "").as_str());
    let shown = "set reassemble no\nmatch out on em0 inet from 10.0.0.0/8 to any nat-to 192.0.2.1\npass out all flags S/SA\n";
    assert_eq!((whole.code, whole.out.as_str(), whole.err.as_str()), (Some(0), shown, ""));
    let lost = folder.call(&["convert", "--to", "openbsd", "-"], text);
    assert_eq!(lost.code, Some(1));
    assert!(
        lost.err.contains("ridentifier cannot be expressed") && lost.err.contains("stdin:2:14"),
        "{}",
        lost.err
    );
    let back = folder.call(&["convert", "--to", "freebsd", "-"], "pass out route-to 192.0.2.1@em0\n");
    let shown = "set reassemble yes\npass out route-to (em0 192.0.2.1) inet all flags S/SA keep state\n";
    assert_eq!((back.code, back.out.as_str()), (Some(0), shown));
    let wrong = folder.call(&["convert", "--to", "freebsd", "-"], "pass bogus\n");
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""));
}

#[test]
fn pfctl_refuses_in_its_own_words() {
    let folder = Folder::new("refuses");
    let outcome =
        folder.call(&["pfctl", "-nvf", "-"], "set limit states 5\npass\npass bogus\npass to port 1\n");
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.err,
        "stdin:3: syntax error\nstdin:4: port only applies to tcp/udp\nstdin:4: skipping rule due to errors\n\
         stdin:4: rule expands to no valid combination\n"
    );
    assert_eq!(outcome.out, "set limit states 5\n", "no rule is shown");
}

#[test]
fn pfctl_says_which_file_is_missing() {
    let folder = Folder::new("missing");
    let outcome = folder.call(&["pfctl", "-nf", "/nonexistent/pf.conf"], "");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome
            .err
            .starts_with("pfctl: /nonexistent/pf.conf: cannot open the main config file!: No such file")
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = Folder::new("usage");
    for arguments in [
        &["pfctl", "-Q"][..],
        &["pfctl", "-o", "bogus", "-nf", "-"],
        &["pfctl", "-nf", "-", "-D", "novalue"],
        &["check"],
        &["bogus"],
        &[],
    ] {
        let outcome = run(Command::new(env!("CARGO_BIN_EXE_tpctl")).args(arguments), "pass\n");
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.err);
        assert_eq!(outcome.out, "");
    }
    assert_eq!(folder.call(&["check", "-"], "pass\n").code, Some(0));
}

#[test]
fn under_the_name_of_pfctl_it_answers_as_pfctl() {
    let folder = Folder::new("name");
    let pfctl = folder.0.join("pfctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tpctl"), &pfctl).expect("a link");
    let outcome = run(Command::new(&pfctl).args(folder.with_interfaces(&["-nvf", "-"])), "pass\n");
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), "pass all flags S/SA\n"));
}

#[test]
fn check_says_what_is_good() {
    let folder = Folder::new("good");
    let path = folder.write("pf.conf", "table <t> { em0 }\npass in on em0\nblock from <t>\n");
    let outcome = folder.call(&["check", &path], "");
    assert_eq!((outcome.code, outcome.out), (Some(0), format!("{path}: 2 rules, 1 tables: good\n")));
    assert_eq!(outcome.err, "");
}

#[test]
fn check_shows_the_place_and_a_hint() {
    let folder = Folder::new("place");
    let outcome = folder.call(&["check", "-"], "pass in on em0 proto tpc\n");
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""));
    for part in ["error: unknown protocol tpc", "--> stdin:1:22", "^^^"] {
        assert!(outcome.err.contains(part), "{part} is missing in\n{}", outcome.err);
    }
    assert!(!outcome.err.contains('\u{1b}'), "no colour but on a terminal");
}

#[test]
fn check_refuses_what_the_dataplane_does_not_know() {
    let folder = Folder::new("unknown");
    let rules = "pass out on em0 set delay 10\n";
    let outcome = folder.call(&["check", "-"], rules);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("set delay is not supported yet: "), "{}", outcome.err);
    // pfctl -n only parses.
    assert_eq!(folder.call(&["pfctl", "-nf", "-"], rules).code, Some(0));
}

#[test]
fn check_answers_in_json() {
    let folder = Folder::new("json");
    let outcome = folder.call(&["check", "--json", "-"], "pass\npass in on\n");
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(1), ""));
    let answer: serde_json::Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(answer["valid"], false);
    let finding = &answer["findings"][0];
    assert_eq!((finding["file"].as_str(), finding["line"].as_u64()), (Some("stdin"), Some(2)));
    assert_eq!((finding["column"].as_u64(), finding["severity"].as_str()), (Some(11), Some("error")));
    let outcome = folder.call(&["check", "--json", "-"], "pass\n");
    let answer: serde_json::Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!((&answer["valid"], &answer["rules"]), (&true.into(), &1.into()));
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn a_bad_description_of_interfaces_is_named() {
    let folder = Folder::new("interfaces");
    folder.write("interfaces.json", "{}");
    let outcome = folder.call(&["check", "-"], "pass\n");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("interfaces.json: not of the form of ip -j addr"), "{}", outcome.err);
}
