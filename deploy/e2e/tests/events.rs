//! Events of states beside real traffic: `tpctl events` tells one connection from its making to its end, through translation,
//! and nothing else; a collector of flows reads the same of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, address};
use e2e::{Control, Daemon, Lab, Links, PATIENCE, bed, installed, wait_until};
use serde_json::Value;

const OFFICE: &str = "block drop all\n\
    match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
    pass in on lan0\n\
    pass out on wan0\n";

/// What `tpctl events` says while something is done, in lines, behind those of so many states that live before.
fn told<T>(
    lab: &Lab,
    words: &str,
    living: usize,
    what: impl FnOnce() -> Result<T>,
) -> Result<(Vec<String>, T)> {
    let mut listener = lab.start_tpctl(&format!("events --since 5m {words}"))?;
    // It listens before it tells of them.
    wait_until("the living states", PATIENCE, || listener.said().lines().count() >= living)?;
    let done = what()?;
    let status = listener.wait(PATIENCE)?;
    let said = listener.said();
    eprintln!("{said}");
    ensure!(status.success(), "{said}");
    Ok((said.lines().skip(living).map(str::to_owned).collect(), done))
}

#[test]
fn a_connection_is_told_from_its_making_to_its_end() {
    bed("events", Links::Tap, OFFICE, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let lab: &Lab = lab;
        let mut first =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("the first one")?;
        sockets::converse(&mut first)?;
        let (lines, _tcp) = told(lab, "--count 8 host 10.1.0.2 and tcp port 7", 2, || {
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
        let (lines, killed) = told(lab, "--count 8 tcp port 7", 4, || lab.tpctl("states kill --port 7"))?;
        ensure!(killed.text.contains("killed 4 states"), "{}", killed.text);
        let ended = |line: &String| line.contains(" removed (killed) all tcp ") && line.contains(" pkts, ");
        ensure!(lines.len() == 4 && lines.iter().all(ended), "{lines:?}");
        let said = lab.tpctl("events on wan7")?;
        ensure!(said.code == Some(1) && said.text.contains("no interface wan7"), "{}", said.text);
        Ok(())
    });
}

/// nfcapd in the firewall's namespace, which closes a file of flows every two seconds.
struct Nfcapd {
    _daemon: Daemon,
    folder: PathBuf,
}

impl Nfcapd {
    const PORT: u16 = 4739;

    fn start(lab: &Lab) -> Result<Self> {
        let folder = lab.folder.join("flows");
        std::fs::create_dir(&folder)?;
        let mut command = lab.firewall.command("nfcapd");
        command.args(["-b", "127.0.0.1", "-p", &Self::PORT.to_string(), "-t", "2", "-w"]).arg(&folder);
        let daemon = Daemon::start(&mut command, &lab.folder.join("nfcapd.log"))?;
        let bound = format!("127.0.0.1:{}", Self::PORT);
        wait_until("nfcapd to listen", PATIENCE, || {
            lab.firewall.run("ss -Hlun").is_ok_and(|sockets| sockets.contains(&bound))
        })?;
        Ok(Self { _daemon: daemon, folder })
    }

    /// What nfdump finds in its files.
    fn flows(&self, lab: &Lab, filter: &str) -> Result<Vec<Value>> {
        let files = std::fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path()));
        let mut files = files.collect::<Result<Vec<_>>>()?;
        // Files that are not closed yet have names of another form; names tell the order.
        files.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nfcapd.2"))
        });
        files.sort();
        let mut flows = Vec::new();
        for file in files {
            let mut command = lab.firewall.command("nfdump");
            let read = command.arg("-r").arg(&file).args(["-o", "json", filter]).output()?;
            // Without flows it says so in words.
            flows.extend(serde_json::from_slice::<Vec<Value>>(&read.stdout).unwrap_or_default());
        }
        Ok(flows)
    }
}

/// Both states of a connection through translation arrive at a collector with the packets and bytes of each direction that
/// `tpctl events` tells, and so does the session of translation.
#[test]
fn a_collector_of_flows_reads_what_is_told() {
    if !installed("nfcapd", "a_collector_of_flows_reads_what_is_told") {
        return;
    }
    bed("flows", Links::Tap, OFFICE, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let lab: &Lab = lab;
        let nfcapd = Nfcapd::start(lab)?;
        let mut file = OpenOptions::new().append(true).open(lab.folder.join("turnpike.toml"))?;
        writeln!(file, "\n[ipfix]\ncollector = \"127.0.0.1:{}\"", Nfcapd::PORT)?;
        let control = Control::start(lab)?;
        let own = format!("{}{OFFICE}", Lab::QUIET);
        std::fs::write(lab.folder.join("pf.conf"), own)?;
        let said = control.tpctl(lab, &format!("apply {}", lab.folder.join("pf.conf").display()))?;
        ensure!(said.ok(), "{}", said.text);
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        let mut flows = Vec::new();
        // What has happened until then has been told: who listens from now on hears nothing of it.
        wait_until("the session's beginning at the collector", 2 * PATIENCE, || {
            flows = nfcapd.flows(lab, "proto tcp and dst port 7").unwrap_or_default();
            !flows.is_empty()
        })?;
        let (lines, _) = told(lab, "--json --count 4 tcp port 7", 2, || lab.tpctl("states kill --port 7"))?;
        wait_until("four records at the collector", 2 * PATIENCE, || {
            flows = nfcapd.flows(lab, "proto tcp and dst port 7").unwrap_or_default();
            flows.len() >= 4
        })
        .with_context(|| {
            format!("{flows:#?}\n{}", control.metrics(lab).map_or_else(|e| e.to_string(), |m| m.to_string()))
        })?;
        agree(&lines, &flows, &tcp.local_addr()?.port().into())?;
        let metrics = control.metrics(lab)?;
        ensure!(metrics.value("turnpike_ipfix_records_total")? >= 4.0, "{metrics}");
        ensure!(metrics.value("turnpike_ipfix_failed_records_total")? == 0.0, "{metrics}");
        Ok(())
    });
}

/// What `tpctl events` says of the end of two states, and the records of a collector, are of one mind.
fn agree(events: &[String], flows: &[Value], client_port: &Value) -> Result<()> {
    let sessions: Vec<&Value> = flows.iter().filter(|flow| flow["nat_event_id"].is_string()).collect();
    let kinds: Vec<&Value> = sessions.iter().map(|flow| &flow["nat_event"]).collect();
    ensure!(kinds == ["NAT44 session create", "NAT44 session delete"], "{flows:#?}");
    for (direction, way) in ["In", "Out"].into_iter().enumerate() {
        let of_flow = |flow: &&Value| flow["direction"] == direction && flow["nat_event_id"].is_null();
        let flow = flows.iter().find(of_flow).with_context(|| format!("no flow {way}: {flows:#?}"))?;
        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_default();
        let event = events.iter().map(read).find(|event| event["state"]["direction"] == way);
        let state = event.with_context(|| format!("no event {way}: {events:#?}"))?["state"].clone();
        for (end, own) in
            [("source", ["in_packets", "in_bytes"]), ("destination", ["out_packets", "out_bytes"])]
        {
            let of_state = ["packets", "bytes"].map(|name| &state[end][name]);
            ensure!(own.map(|name| &flow[name]) == of_state, "{end}: {flow:#} {state:#}");
            ensure!(of_state[0].as_u64() > Some(2), "{end}: {state:#}");
        }
        ensure!(flow["src4_addr"] == Lab::CLIENT && flow["dst4_addr"] == Lab::SERVER, "{flow:#}");
        ensure!(flow["src_port"] == *client_port, "{flow:#}");
        let seen = if way == "Out" { Value::from(Lab::OUTSIDE) } else { Value::Null };
        ensure!(flow["src4_xlt_ip"] == seen, "{flow:#}");
    }
    let names = ["src4_addr", "src_port", "src4_xlt_ip", "src_xlt_port", "dst4_addr", "dst_port"];
    ensure!(names.iter().all(|name| sessions[0][*name] == sessions[1][*name]), "{sessions:#?}");
    Ok(())
}
