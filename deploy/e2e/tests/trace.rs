//! `tpctl trace` beside real traffic: one connection is told stage by stage, through translation, and nothing else is.

use std::net::TcpStream;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::sockets::{self, Echo, address};
use e2e::{Lab, Links, PATIENCE, bed, wait_until};

const OFFICE: &str = "block drop all\n\
    match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
    pass in on lan0\n\
    pass out on wan0\n";

#[test]
fn a_connection_is_told_stage_by_stage_beside_others() {
    bed("trace", Links::Tap, OFFICE, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let lab: &Lab = lab;
        let connect = || -> Result<TcpStream> {
            let attempt = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?;
            let mut tcp = attempt.succeeded("connect")?;
            sockets::converse(&mut tcp)?;
            Ok(tcp)
        };
        let said = std::thread::scope(|scope| {
            let tracing = scope.spawn(|| lab.tpctl("trace --count 3 --for 60s tcp port 7"));
            wait_until("three packets", PATIENCE, || connect().is_ok() && tracing.is_finished())?;
            tracing.join().map_err(|_| anyhow!("the trace panicked"))?
        })?;
        ensure!(said.ok() && said.text.matches("worker 0, ").count() == 3, "{}", said.text);

        let tracing = lab.start_tpctl("trace --count 1000 --for 60s host 10.1.0.2 and tcp port 7")?;
        // That of another connection shows that it has begun.
        wait_until("the first packet", PATIENCE, || connect().is_ok() && !tracing.said().is_empty())?;
        lab.client.run(&format!("ping -n -c 2 -i 0.2 {}", Lab::SERVER))?;
        let begin = format!("by lan0: tcp 10.1.0.2:{} > 10.2.0.2:7 ", connect()?.local_addr()?.port());
        wait_until("its packets", PATIENCE, || tracing.said().matches(&begin).count() >= 3)?;
        let said = tracing.said();
        eprintln!("{said}");
        ensure!(!said.contains("icmp "), "{said}");
        let stages = [
            &begin,
            "in on lan0: has no state; rules that may match:",
            "decides  ",
            "passes, and makes a state",
            "out on wan0: has no state",
            "matches  ",
            "decides  ",
            "passes, and makes a state",
            "translated to 10.2.0.1:",
            "sent by wan0",
            "has a state, of ",
        ];
        let mut rest = said.as_str();
        for stage in stages {
            let at = rest.find(stage).with_context(|| format!("{stage} is missing or late in:\n{said}"))?;
            rest = &rest[at..];
        }
        Ok(())
    });
}

#[test]
fn a_trace_ends_by_its_time_and_a_wrong_one_is_refused() {
    bed("trace-end", Links::Tap, OFFICE, |lab| {
        let said = lab.tpctl("trace --for 1s udp port 5")?;
        ensure!(said.ok() && said.text.is_empty(), "{}", said.text);
        for (words, why) in [("trace on wan7", "no interface wan7"), ("trace port 7 or port 8", "no `or`")] {
            let said = lab.tpctl(words)?;
            ensure!(said.code == Some(1) && said.text.contains(why), "{words}: {}", said.text);
        }
        Ok(())
    });
}
