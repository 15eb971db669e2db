//! `tpctl events` beside real traffic: one connection is told from its making to its end, through translation, and nothing
//! else is.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use e2e::sockets::{self, Echo, address};
use e2e::{Lab, Links, bed};

const PATIENCE: Duration = Duration::from_secs(10);

const OFFICE: &str = "block drop all\n\
    match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
    pass in on lan0\n\
    pass out on wan0\n";

/// What `tpctl events` says while something is done, in lines.
fn told<T>(lab: &Lab, words: &str, what: impl FnOnce() -> Result<T>) -> Result<(Vec<String>, T)> {
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| lab.tpctl(words));
        // It has begun by then; what comes before is not waited for.
        std::thread::sleep(Duration::from_secs(1));
        let done = what()?;
        let said = listening.join().map_err(|_| anyhow!("the listener panicked"))??;
        eprintln!("{}", said.text);
        ensure!(said.ok(), "{}", said.text);
        Ok((said.text.lines().map(str::to_owned).collect(), done))
    })
}

#[test]
fn a_connection_is_told_from_its_making_to_its_end() {
    bed("events", Links::Tap, OFFICE, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let lab: &Lab = lab;
        let (lines, _tcp) = told(lab, "events --count 6 host 10.1.0.2 and tcp port 7", || {
            lab.client.run(&format!("ping -n -c 2 -i 0.2 {}", Lab::SERVER))?;
            let mut tcp =
                sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
            sockets::converse(&mut tcp)?;
            Ok(tcp)
        })?;
        ensure!(lines.iter().all(|line| line.contains(" all tcp ")), "{lines:?}");
        let begins = ["created all tcp 10.2.0.2:7 <- 10.1.0.2:", "created all tcp 10.2.0.1:"];
        for (line, begin) in lines.iter().zip(begins) {
            ensure!(line.contains(begin), "{begin}: {lines:?}");
        }
        ensure!(lines[1].contains(" (10.1.0.2:") && lines[1].ends_with("SYN_SENT:CLOSED"), "{lines:?}");
        let last = &lines[lines.len() - 1];
        ensure!(last.contains(" updated ") && last.ends_with("ESTABLISHED:ESTABLISHED"), "{lines:?}");
        // Whoever comes late begins with what lives.
        let said = lab.tpctl("events --json --since 5m --count 2 tcp port 7")?;
        for line in said.text.lines() {
            let event: serde_json::Value = serde_json::from_str(line)?;
            ensure!(event["event"] == "created", "{line}");
            ensure!(event["state"]["source"]["state"] == "Established", "{line}");
        }
        ensure!(said.ok() && said.text.lines().count() == 2, "{}", said.text);
        let (lines, killed) = told(lab, "events --count 2 tcp port 7", || lab.tpctl("states kill --port 7"))?;
        ensure!(killed.text.contains("killed 2 states"), "{}", killed.text);
        let ended = |line: &String| line.contains(" removed (killed) all tcp ") && line.contains(" pkts, ");
        ensure!(lines.len() == 2 && lines.iter().all(ended), "{lines:?}");
        let said = lab.tpctl("events on wan7")?;
        ensure!(said.code == Some(1) && said.text.contains("no interface wan7"), "{}", said.text);
        Ok(())
    });
}
