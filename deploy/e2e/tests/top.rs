//! `tpctl top` beside real traffic: the connection, the rule, the worker and the drops that it is of.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::time::Duration;

use anyhow::{anyhow, ensure};
use e2e::{Lab, Links, bed};

const RULES: &str = "block drop all\npass on { lan0 wan0 } inet proto icmp from 10.1.0.2\n";

#[test]
fn what_is_busiest_is_shown_while_it_is() {
    bed("top", Links::Tap, RULES, |lab| {
        let lab: &Lab = lab;
        std::thread::scope(|scope| {
            // For longer than both pictures take.
            let pings = [
                scope.spawn(|| lab.client.try_run(&format!("ping -n -q -c 100 -i 0.1 {}", Lab::SERVER))),
                scope.spawn(|| lab.server.try_run("ping -n -q -c 50 -i 0.2 -W 1 10.1.0.2")),
            ];
            std::thread::sleep(Duration::from_secs(1));
            let said = lab.tpctl("top --once --json --by packets")?;
            ensure!(said.ok(), "{}", said.text);
            let top: serde_json::Value = serde_json::from_str(said.text.trim())?;
            eprintln!("{top:#}");
            let busiest = &top["busiest"][0];
            ensure!(busiest["state"]["proto"] == 1, "{busiest}");
            ensure!(busiest["packets_per_s"].as_f64() > Some(5.0), "{busiest}");
            ensure!(top["busiest"].as_array().map(Vec::len) == Some(2), "one connection");
            let rule = &top["rules"][0];
            ensure!(rule["rule"]["number"].as_u64() > Some(0), "{rule}");
            ensure!(rule["packets_per_s"].as_f64() > Some(5.0), "{rule}");
            ensure!(top["drops"][0]["reason"] == "match", "{}", top["drops"]);
            ensure!(top["workers"][0]["packets_per_s"].as_f64() > Some(5.0), "{}", top["workers"]);
            // As text, for any terminal: two pictures, and nothing that only some understand.
            let said = lab.tpctl("top --count 2 --interval 1s")?;
            ensure!(said.ok() && !said.text.contains('\x1b'), "{}", said.text);
            for (what, count) in [("busiest states", 2), (" all icmp ", 4), ("worker 0 (cpu ", 2)] {
                ensure!(said.text.matches(what).count() == count, "{count} times {what}:\n{}", said.text);
            }
            for ping in pings {
                ping.join().map_err(|_| anyhow!("ping panicked"))??;
            }
            Ok(())
        })
    });
}
