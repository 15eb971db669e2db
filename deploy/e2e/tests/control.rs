//! The running firewall as its operator meets it: tables changed live, states killed, rules that would lock him out, what a
//! diff says, and what outlives both processes.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, Stream, address};
use e2e::{Daemon, Lab, Links, Output, PATIENCE, bed, wait_until};
use rustix::io::Errno;

/// The client may connect to the server and to the box, as long as <bad> does not hold it.
const RULES: &str = "table <bad> persist\n\
    block return all\n\
    block return in quick on lan0 from <bad>\n\
    pass in on lan0 proto tcp to any port { 7, 22 } label \"web\"\n\
    pass in on lan0 proto udp to any port 7\n\
    pass out on wan0\n";

/// Does it, and returns what was said.
fn done(said: Output) -> Result<String> {
    ensure!(said.ok(), "exit code {:?}:\n{}", said.code, said.text);
    Ok(said.text)
}

/// It is refused, with these words.
fn refused(said: Output, words: &[&str]) -> Result<()> {
    ensure!(said.code == Some(1), "exit code {:?}:\n{}", said.code, said.text);
    for word in words {
        ensure!(said.text.contains(word), "«{word}» is missing:\n{}", said.text);
    }
    Ok(())
}

fn write(lab: &Lab, name: &str, rules: &str) -> Result<String> {
    let path = lab.folder.join(name);
    std::fs::write(&path, format!("{}{rules}", Lab::QUIET))?;
    Ok(path.display().to_string())
}

fn connect(lab: &Lab) -> Result<TcpStream> {
    sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("a new connection")
}

fn is_refused(lab: &Lab, why: &str) -> Result<()> {
    sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.failed_with(why, Errno::CONNREFUSED)
}

fn live(lab: &Lab) -> Result<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_str(&done(lab.ask("status --json")?)?)?;
    Ok(status["live"].clone())
}

#[test]
fn an_operator_changes_what_is_live() {
    bed("control", Links::Tap, "block return all\n", |lab| {
        // What the bed has loaded past turnpike-control is not its own to replace; what is applied now is.
        let control = lab.start_control()?;
        let path = write(lab, "pf.conf", RULES)?;
        done(lab.ask(&format!("apply {path}"))?)?;
        let _echo = Echo::start(&lab.server, 7)?;
        tables_change_at_once(lab)?;
        states_are_killed(lab)?;
        rules_of_an_anchor_count_from_zero(lab, &path)?;
        filtering_is_switched(lab)?;
        a_diff_counts_states(lab)?;
        tables_are_loaded_without_rules(lab, &path)?;
        an_interface_counts_from_zero(lab)?;
        the_operator_is_not_locked_out(lab, &path, &control)?;
        what_was_changed_outlives_both(lab, control)
    });
}

/// Before there are rules nothing passes, and without any of the operator's own he alone reaches the box.
#[test]
fn f08_a_box_without_rules_admits_management_only() {
    bed("boot", Links::Tap, "", |lab| {
        let listener = lab.firewall.inside(|| TcpListener::bind("0.0.0.0:22"))??;
        let _echo = Echo::start(&lab.server, 7)?;
        let (server, gateway) = (address(Lab::SERVER, 7), address(Lab::GATEWAY, 22));
        let second = Duration::from_secs(1);
        for place in [server, gateway] {
            sockets::connect(&lab.client, place, second)?.timed_out("before any ruleset")?;
        }
        refused(lab.tpctl("pfctl -d")?, &["no ruleset is live"])?;
        std::fs::write(lab.folder.join("pf.conf"), "pass all\nnonsense\n")?;
        let control = lab.start_control()?;
        // A reload while it is still starting: pf.conf is refused, and nothing of it holds.
        control.signal("HUP")?;
        wait_until("the refusal", PATIENCE, || {
            control.said().contains("is refused, the rules stay as they are")
        })?;
        ensure!(live(lab)?["policy"] == "built-in", "{}", live(lab)?);
        sockets::connect(&lab.client, server, second)?.timed_out("nothing is forwarded")?;
        drop(sockets::connect(&lab.client, gateway, PATIENCE)?.succeeded("management")?);
        drop(listener);
        lab.client.run(&format!("ping -c 1 -W 5 {}", Lab::GATEWAY))?;
        lab.client.run(&format!("ping -6 -c 1 -W 5 {}", Lab::GATEWAY6))?;
        // The same in the other order: the dataplane comes back to a control that has nothing better.
        lab.kill_dataplane()?;
        lab.restart_dataplane()?;
        wait_until("the built-in policy", PATIENCE, || {
            lab.show("status").is_ok_and(|status| status["generation"] == 1)
        })?;
        wait_until("the built-in policy to be told of", PATIENCE, || {
            live(lab).is_ok_and(|live| live["policy"] == "built-in")
        })?;
        sockets::connect(&lab.client, server, second)?.timed_out("nothing is forwarded")?;
        done(lab.ask(&format!("apply {}", write(lab, "good.conf", RULES)?))?)?;
        connect(lab).map(|_| ())
    });
}

fn tables_change_at_once(lab: &Lab) -> Result<()> {
    let mut old = connect(lab)?;
    sockets::converse(&mut old)?;
    let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(2))?;
    wait_until("datagrams to come back", PATIENCE, || stream.answered() > 0)?;
    let said = done(lab.ask("table bad add 10.1.0.2 10.66.0.0/16")?)?;
    ensure!(said == "2/2 addresses added.\n", "{said}");
    is_refused(lab, "a new connection from an address in the table")?;
    sockets::converse(&mut old)?;
    ensure!(done(lab.ask("table bad show")?)? == "   10.1.0.2\n   10.66.0.0/16\n");
    let tested = lab.ask("pfctl -t bad -T test 10.66.1.1 10.67.1.1")?;
    ensure!(tested.code == Some(2) && tested.text == "1/2 addresses match.\n", "{tested:?}");
    let listed = done(lab.ask("pfctl -vvsT")?)?;
    ensure!(listed.starts_with("-pa-r--\tbad\n\tAddresses:   2\n"), "{listed}");
    // A million addresses: nothing is lost meanwhile, and it takes no minutes.
    let addresses: String =
        (0..many()).map(|n| format!("11.{}.{}.{}\n", n >> 16, n >> 8 & 255, n & 255)).collect();
    std::fs::write(lab.folder.join("many"), addresses)?;
    let begin = Instant::now();
    refused(
        lab.ask(&format!("table bad replace -f {}/many", lab.folder.display()))?,
        &["at most 200000 are possible; raise `set limit table-entries`"],
    )?;
    let raised = write(lab, "raised.conf", &format!("set limit table-entries 2000000\n{RULES}"))?;
    done(lab.ask(&format!("apply {raised}"))?)?;
    is_refused(lab, "the table keeps what it holds over a reload")?;
    let said = done(lab.ask(&format!("table bad replace -f {}/many", lab.folder.display()))?)?;
    println!("{said} after {:.1?}", begin.elapsed());
    ensure!(said.contains(&format!("{} addresses added.", many())), "{said}");
    connect(lab)?;
    let begin = Instant::now();
    done(lab.ask("table bad add 10.1.0.2")?)?;
    println!("one more after {:.1?}", begin.elapsed());
    is_refused(lab, "one of a million")?;
    let (sent, answered) = stream.stop()?;
    ensure!(sent > 10 && sent == answered, "{answered} of {sent} datagrams came back");
    done(lab.ask("table bad flush")?)?;
    done(lab.ask(&format!("apply {}/pf.conf", lab.folder.display()))?)?;
    connect(lab).map(|_| ())
}

fn many() -> u32 {
    if std::env::var_os("TURNPIKE_LONG").is_some() { 1_000_000 } else { 250_000 }
}

fn states_are_killed(lab: &Lab) -> Result<()> {
    done(lab.ask("pfctl -F states")?)?;
    let mut first = connect(lab)?;
    sockets::converse(&mut first)?;
    ensure!(done(lab.ask("pfctl -k 10.9.9.9")?)? == "killed 0 states from 1 sources and 0 destinations\n");
    sockets::converse(&mut first)?;
    let said = done(lab.ask("pfctl -k 10.1.0.0/24 -k 10.2.0.2")?)?;
    ensure!(said == "killed 2 states from 1 sources and 1 destinations\n", "{said}");
    sockets::is_dead(&mut first).context("it has no state any more")?;
    let mut second = connect(lab)?;
    sockets::converse(&mut second)?;
    ensure!(done(lab.ask("pfctl -k label -k web")?)? == "killed 1 states\n");
    let said = done(lab.ask("pfctl -F states")?)?;
    ensure!(said == "1 states cleared\n", "{said}");
    let json = done(lab.ask("states kill --all --json")?)?;
    ensure!(serde_json::from_str::<serde_json::Value>(&json)?["killed"] == 0, "{json}");
    lab.expect_states(&[])?;
    done(lab.ask("pfctl -F info")?)?;
    let info = done(lab.ask("pfctl -si")?)?;
    ensure!(info.contains("  removals                               0            0.0/s"), "{info}");
    ensure!(info.contains("  half-open tcp                          0               \n"), "{info}");
    let rules = done(lab.ask("pfctl -vsr")?)?;
    ensure!(rules.contains("  [ Inserted: uid ") && rules.contains(" State Creations: 3     ]"), "{rules}");
    done(lab.ask("pfctl -z")?)?;
    let rules = done(lab.ask("pfctl -vsr")?)?;
    ensure!(rules.contains("[ Evaluations: 0         Packets: 0 "), "{rules}");
    ensure!(rules.contains(" State Creations: 0     ]"), "{rules}");
    Ok(())
}

/// Waits until stations have nothing left to send again in connections that have lost their states: each time rules are asked.
fn nothing_is_repeated(lab: &Lab) -> Result<()> {
    let unanswered = |line: &str| line.split_whitespace().nth(2) != Some("0");
    wait_until("what was cut off to be given up", PATIENCE, || {
        [&lab.client, &lab.server]
            .iter()
            .all(|station| station.run("ss -Htn").is_ok_and(|sockets| !sockets.lines().any(unanswered)))
    })
}

/// As with pfctl: the main ruleset and its anchors each count for themselves.
fn rules_of_an_anchor_count_from_zero(lab: &Lab, path: &str) -> Result<()> {
    nothing_is_repeated(lab)?;
    let web = "anchor \"web\" {\n pass in quick on lan0 proto tcp to any port 7\n}\n";
    done(lab.ask(&format!("apply {}", write(lab, "anchored.conf", &format!("{RULES}{web}"))?))?)?;
    let evaluations = |words: &str| -> Result<u64> {
        let rules = done(lab.ask(&format!("pfctl {words} -vsr"))?)?;
        // What stations say by themselves, at any moment, meets the rules of Lab::QUIET alone.
        let own = rules.lines().zip(rules.lines().skip(1)).filter(|(rule, _)| !rule.contains("icmp6"));
        let counts = own.filter_map(|(_, counts)| counts.split_once("Evaluations: ")?.1.split(' ').next());
        Ok(counts.filter_map(|count| count.parse::<u64>().ok()).sum())
    };
    let both = || anyhow::Ok([evaluations("")? > 0, evaluations("-a web")? > 0]);
    sockets::converse(&mut connect(lab)?)?;
    ensure!(both()? == [true, true], "rules are evaluated");
    done(lab.ask("pfctl -a web -z")?)?;
    ensure!(both()? == [true, false], "only the anchor's rules count from zero");
    sockets::converse(&mut connect(lab)?)?;
    done(lab.ask("pfctl -z")?)?;
    ensure!(both()? == [false, true], "only the main ruleset's rules count from zero");
    done(lab.ask("pfctl -a * -z")?)?;
    ensure!(both()? == [false, false], "all do");
    refused(lab.ask("pfctl -a absent -z")?, &["Anchor does not exist"])?;
    done(lab.ask("pfctl -F states")?)?;
    done(lab.ask(&format!("apply {path}"))?).map(|_| ())
}

fn filtering_is_switched(lab: &Lab) -> Result<()> {
    done(lab.ask("table bad add 10.1.0.2")?)?;
    is_refused(lab, "before filtering is off")?;
    refused(lab.ask("pfctl -e")?, &["pfctl: pf already enabled"])?;
    ensure!(done(lab.ask("pfctl -d")?)? == "pf disabled\n");
    let mut open = connect(lab)?;
    sockets::converse(&mut open)?;
    lab.expect_states(&[])?;
    let status = done(lab.ask("status")?)?;
    ensure!(status.contains("filtering OFF"), "{status}");
    ensure!(done(lab.ask("pfctl -si")?)?.starts_with("Status: Disabled for 0 days 00:00:"));
    ensure!(lab.dataplane.said().contains("filtering is OFF"), "it is not said aloud");
    ensure!(done(lab.ask("pfctl -e")?)? == "pf enabled\n");
    is_refused(lab, "when filtering is on again")?;
    sockets::is_dead(&mut open).context("what began without a state has none")?;
    ensure!(done(lab.ask("pfctl -x debug")?)? == "debug level set to 'debug'\n");
    ensure!(done(lab.ask("pfctl -si")?)?.contains("Debug: debug"));
    done(lab.ask("pfctl -x info")?)?;
    done(lab.ask("table bad delete 10.1.0.2")?).map(|_| ())
}

fn a_diff_counts_states(lab: &Lab) -> Result<()> {
    let mut old = connect(lab)?;
    sockets::converse(&mut old)?;
    let path = write(lab, "other.conf", &RULES.replace("{ 7, 22 }", "22"))?;
    let said = done(lab.ask(&format!("diff {path}"))?)?;
    ensure!(said.contains("-@10 pass in on lan0 proto tcp from any to any port = 7"), "{said}");
    ensure!(said.contains("# 1 of all 2 live states would be blocked if they began now"), "{said}");
    ensure!(said.contains(" on lan0 by @8 block return all"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&done(lab.ask(&format!("diff --json {path}"))?)?)?;
    ensure!(json["states"]["blocked"] == 1 && json["states"]["complete"] == true, "{json:#}");
    sockets::converse(&mut old)
}

/// Rules, options and connections stay as they are, also as rules go and tables stay.
fn tables_are_loaded_without_rules(lab: &Lab, path: &str) -> Result<()> {
    let optional = write(lab, "options.conf", &format!("set timeout tcp.established 4321\n{RULES}"))?;
    done(lab.ask(&format!("apply {optional}"))?)?;
    let mut old = connect(lab)?;
    sockets::converse(&mut old)?;
    let (rules, timeouts) = (done(lab.ask("pfctl -sr")?)?, done(lab.ask("pfctl -st")?)?);
    ensure!(timeouts.contains("4321s"), "{timeouts}");
    let file = write(
        lab,
        "tables.conf",
        "table <bad> persist { 10.1.0.2 }\ntable <spare> persist { 192.0.2.1 }\npass\n",
    )?;
    done(lab.ask(&format!("pfctl -T load -f {file}"))?)?;
    is_refused(lab, "a new connection from an address that the file gave the table")?;
    sockets::converse(&mut old)?;
    ensure!(done(lab.ask("pfctl -sr")?)? == rules && done(lab.ask("pfctl -st")?)? == timeouts);
    ensure!(done(lab.ask("pfctl -t spare -T show")?)? == "   192.0.2.1\n");
    done(lab.ask("table bad flush")?)?;
    done(lab.ask("pfctl -F rules --force")?)?;
    ensure!(done(lab.ask("pfctl -st")?)? == timeouts, "options go with the rules");
    done(lab.ask(&format!("apply {path}"))?).map(|_| ())
}

fn an_interface_counts_from_zero(lab: &Lab) -> Result<()> {
    drop(connect(lab)?);
    // What is on its way, and the host's own multicast, must not be counted again at once.
    let block = |listed: &str, name: &str| -> Option<String> {
        let from = listed.split_once(&format!("{name}\n"))?.1;
        Some(from.lines().take_while(|line| line.starts_with('\t')).collect::<Vec<_>>().join("\n"))
    };
    let packets = |listed: &str, name: &str| -> Option<u64> {
        let line = block(listed, name)?.lines().find(|line| line.contains("In4/Pass:"))?.to_owned();
        line.split_whitespace().skip_while(|word| *word != "Packets:").nth(1)?.parse().ok()
    };
    let before = done(lab.ask("pfctl -vvsI")?)?;
    ensure!(packets(&before, "lan0").is_some_and(|count| count > 3), "{before}");
    ensure!(block(&before, "lan0").is_some_and(|lines| lines.contains("Rules: 4 ")), "{before}");
    let said = done(lab.ask("pfctl -F info -i lan0")?)?;
    ensure!(said == "pf: statistics cleared for interface lan0\n", "{said}");
    let after = done(lab.ask("pfctl -vvsI")?)?;
    ensure!(packets(&after, "lan0") < packets(&before, "lan0"), "{after}");
    ensure!(packets(&after, "wan0") >= packets(&before, "wan0"), "the other one counts on:\n{after}");
    let carried = done(lab.ask("show interfaces")?)?;
    ensure!(carried.starts_with("lan0 up") && carried.contains("\tReceived: "), "{carried}");
    refused(lab.ask("pfctl -F info -i dmz0")?, &["no interface dmz0"])
}

/// A session as sshd has it: its socket is held by a process above the one that changes the rules.
fn the_operator_is_not_locked_out(lab: &Lab, path: &str, control: &Daemon) -> Result<()> {
    let listener = lab.firewall.inside(|| TcpListener::bind("0.0.0.0:22"))??;
    let gateway: SocketAddr = address(Lab::GATEWAY, 22);
    let client = sockets::connect(&lab.client, gateway, PATIENCE)?.succeeded("the operator's session")?;
    let (session, _) = listener.accept().context("nobody came")?;
    let before = live(lab)?;
    let closed = write(lab, "closed.conf", "block return all\npass out\n")?;
    let words = [
        "this would cut your own connection 10.1.0.2:",
        "-> 10.1.0.1:22 on lan0: rule @8 block return all",
        "--force",
    ];
    refused(lab.ask(&format!("apply {closed}"))?, &words)?;
    refused(lab.ask(&format!("pfctl -f {closed}"))?, &words)?;
    // Past turnpike-control, and by a signal, which comes from nobody.
    refused(lab.tpctl(&format!("apply {closed}"))?, &words)?;
    refused(lab.tpctl(&format!("pfctl -f {closed}"))?, &words)?;
    std::fs::copy(&closed, lab.folder.join("pf.conf"))?;
    control.signal("HUP")?;
    wait_until("the reload to be refused", PATIENCE, || {
        let said = control.said();
        said.contains("-> 10.1.0.1:22 on lan0: rule @8 block return all")
            && said.contains("load it by tpctl apply")
    })?;
    ensure!(live(lab)? == before, "what was refused changed something");
    drop(sockets::connect(&lab.client, gateway, PATIENCE)?.succeeded("a session after the reload")?);
    write(lab, "pf.conf", RULES)?;
    control.signal("HUP")?;
    wait_until("a reload that cuts nobody off", PATIENCE, || {
        live(lab).is_ok_and(|live| live["revision"] != before["revision"])
    })?;
    let before = live(lab)?;
    let stateless = write(lab, "stateless.conf", "block return all\npass in on lan0 no state\n")?;
    refused(lab.ask(&format!("apply {stateless}"))?, &["this would cut your own connection"])?;
    ensure!(live(lab)? == before, "what was refused changed something");
    drop(sockets::connect(&lab.client, gateway, PATIENCE)?.succeeded("another session")?);
    // What has to be confirmed is warned of, and returns by itself.
    let said = done(lab.ask(&format!("apply --confirm 2s {closed}"))?)?;
    ensure!(said.contains("warning: this would cut your own connection"), "{said}");
    wait_until("the rules before to return", PATIENCE, || {
        live(lab).is_ok_and(|live| live["revision"] == before["revision"])
    })?;
    let said = done(lab.ask(&format!("apply --force {closed}"))?)?;
    ensure!(said.contains("warning: this would cut"), "{said}");
    done(lab.ask(&format!("apply {path}"))?)?;
    let said = done(lab.tpctl(&format!("apply --force {closed}"))?)?;
    ensure!(said.contains("warning: this would cut"), "{said}");
    done(lab.ask(&format!("apply {path}"))?)?;
    drop((client, session));
    let later = done(lab.ask(&format!("apply {closed}"))?)?;
    ensure!(!later.contains("cut your own"), "nobody is left to be cut off: {later}");
    let closing = live(lab)?;
    std::fs::copy(&closed, lab.folder.join("pf.conf"))?;
    control.signal("HUP")?;
    wait_until("a reload while nobody manages the box", PATIENCE, || {
        live(lab).is_ok_and(|live| live["revision"] != closing["revision"])
    })?;
    write(lab, "pf.conf", RULES)?;
    done(lab.ask(&format!("apply {path}"))?).map(|_| ())
}

fn what_was_changed_outlives_both(lab: &mut Lab, mut control: Daemon) -> Result<()> {
    done(lab.ask("table bad add 10.1.0.2")?)?;
    control.signal("KILL")?;
    control.wait(PATIENCE)?;
    is_refused(lab, "with turnpike-control dead")?;
    let control = lab.start_control()?;
    ensure!(done(lab.ask("table bad show")?)? == "   10.1.0.2\n");
    // pf.conf is gone, or wrong: what is live stays, and what a boot would load is the last good revision.
    let before = live(lab)?;
    write(lab, "pf.conf", "pass in on on\n")?;
    control.signal("HUP")?;
    wait_until("the refusal", PATIENCE, || {
        control.said().contains("is refused, the rules stay as they are")
    })?;
    std::fs::remove_file(lab.folder.join("pf.conf"))?;
    control.signal("HUP")?;
    wait_until("the complaint", PATIENCE, || control.said().contains("cannot read"))?;
    ensure!(live(lab)? == before, "a bad pf.conf changed something");
    lab.kill_dataplane()?;
    lab.restart_dataplane()?;
    // What turnpike-control says may be of a moment ago, and then lags behind: the new dataplane itself tells first.
    wait_until("the last good revision", PATIENCE, || {
        lab.show("status").is_ok_and(|status| status["generation"] == 1)
    })
    .with_context(|| control.said())?;
    wait_until("the last good revision to be told of", PATIENCE, || {
        live(lab).is_ok_and(|live| live["revision"] == before["revision"])
    })
    .with_context(|| control.said())?;
    is_refused(lab, "after the dataplane was started anew")?;
    ensure!(done(lab.tpctl("table bad show")?)? == "   10.1.0.2\n", "the dataplane's own table");
    done(lab.ask("table bad delete 10.1.0.2")?)?;
    wait_until("the way to be open again", PATIENCE, || connect(lab).is_ok())
}
