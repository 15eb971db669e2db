//! Metrics and the packet log as their readers meet them: a real Prometheus, a real tcpdump, and clients that misbehave.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, Stream, address};
use e2e::{Control, Daemon, Lab, Links, Metrics, PATIENCE, Prometheus, bed, frames, program, wait_until};
use rustix::io::Errno;

const PAGE: &str = include_str!("../../packaging/man/turnpike-metrics.7");

const RULES: &str = "table <friends> { 10.2.0.2 198.51.100.0/24 }\n\
    block return all label \"refused\"\n\
    pass in on lan0 proto udp to <friends> port 7 label \"asked\"\n\
    pass out on wan0 proto udp label \"left\"\n";

/// What rules block of the client's.
const BLOCKED: &str = "turnpike_drops_total{reason=\"match\",interface=\"lan0\"}";

/// Applies rules behind [`Lab::QUIET`] through control.
fn apply(lab: &Lab, control: &Control, rules: &str) -> Result<()> {
    let path = lab.folder.join("pf.conf");
    std::fs::write(&path, format!("{}{rules}", Lab::QUIET))?;
    let said = control.tpctl(lab, &format!("apply {}", path.display()))?;
    ensure!(said.ok(), "tpctl apply failed ({:?}):\n{}", said.code, said.text);
    Ok(())
}

#[test]
fn prometheus_reads_every_family_and_finds_what_the_end_points_counted() {
    bed("metrics", Links::Tap, "", |lab| {
        let control = Control::start(lab)?;
        apply(lab, &control, RULES)?;
        let prometheus = Prometheus::start(lab)?;
        let _echo = Echo::start(&lab.server, 7)?;
        let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(2))?;
        // Before these rules others were live, which block what the stations say when their links come up.
        let before = control.metrics(lab)?.value(BLOCKED)?;
        for port in [81, 82, 83] {
            sockets::connect(&lab.client, address(Lab::SERVER, port), PATIENCE)?
                .failed_with(&format!("port {port}"), Errno::CONNREFUSED)?;
        }
        wait_until("two hundred answers", PATIENCE, || stream.answered() >= 200)?;
        every_family(lab, &control, &prometheus)?;
        let (sent, answered) = stream.stop()?;
        // The first may wait for a neighbour in vain, where the kernels are too busy to ask for it.
        let unresolved = lab.drops()?.of_reason("no-neighbor");
        ensure!(sent == answered + unresolved, "{answered} of {sent} datagrams came back");
        agree(lab, &prometheus, sent, answered, before + 3.0)?;
        failures_and_units(lab, &control, &prometheus)?;
        over_restarts(lab, control, &prometheus)
    });
}

/// What the manual lists is exported, and can be asked for while traffic runs.
fn every_family(lab: &Lab, control: &Control, prometheus: &Prometheus) -> Result<()> {
    let mut listed: BTreeSet<&str> =
        PAGE.lines().filter_map(|line| line.strip_prefix(".It Va ")?.split(' ').next()).collect();
    ensure!(listed.len() > 40, "the manual lists {listed:?}");
    // A TAP has no speed; nothing is translated here, and there is no collector of flows.
    for without in [
        "turnpike_link_speed_bytes_per_second",
        "turnpike_nat_ports_in_use",
        "turnpike_ipfix_records_total",
        "turnpike_ipfix_failed_records_total",
        "turnpike_ipfix_missed_events_total",
    ] {
        ensure!(listed.remove(without), "the manual does not list {without}");
    }
    let text = control.metrics(lab)?.to_string();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut exported = BTreeSet::new();
    for (name, kind) in types {
        exported.insert(name);
        let queried = match kind {
            "histogram" => format!("histogram_quantile(0.99, rate({name}_bucket[30s])) >= 0"),
            "counter" => format!("rate({name}[30s]) >= 0"),
            _ => name.to_owned(),
        };
        let mut yields = Ok(Vec::new());
        wait_until(&queried, PATIENCE, || {
            yields = prometheus.query(lab, &queried);
            yields.as_ref().is_ok_and(|values| !values.is_empty())
        })
        .with_context(|| format!("{yields:?}"))?;
    }
    ensure!(exported == listed, "exported: {exported:#?}\nlisted: {listed:#?}");
    check_metrics(lab, &text)
}

/// promtool's opinion.
fn check_metrics(lab: &Lab, text: &str) -> Result<()> {
    let mut promtool = lab.firewall.command("promtool");
    let mut promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    promtool.stdin.take().context("no input of promtool")?.write_all(text.as_bytes())?;
    let done = promtool.wait_with_output()?;
    ensure!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// The end points' counts and the sums that must hold, in PromQL.
fn agree(lab: &Lab, prometheus: &Prometheus, sent: u64, answered: u64, blocked: f64) -> Result<()> {
    let both = (sent + answered) as f64;
    for (expression, wanted) in [
        ("turnpike_rule_packets_total{rule=\"asked\",action=\"pass\"}", both),
        ("turnpike_rule_packets_total{rule=\"left\",action=\"pass\"}", both),
        (
            "turnpike_rule_bytes_total{rule=\"asked\"} / turnpike_rule_packets_total{rule=\"asked\"}",
            28.0 + Stream::PAYLOAD_BYTES as f64,
        ),
        ("turnpike_rule_states{rule=\"asked\"}", 1.0),
        ("turnpike_states", 2.0),
        ("turnpike_state_inserts_total", 2.0),
        (BLOCKED, blocked),
        ("turnpike_created_packets_total{kind=\"rst\"}", 3.0),
        ("turnpike_created_packets_total{kind=\"icmp\"}", 0.0),
        ("turnpike_rule_packets_total{rule=\"refused\",action=\"block\"}", 3.0),
        ("turnpike_table_addresses{table=\"friends\"}", 2.0),
        ("sum(turnpike_interface_up)", 2.0),
        ("sum(turnpike_device_rx_errors_total) + sum(turnpike_device_tx_errors_total)", 0.0),
        ("turnpike_rule_series_truncated", 0.0),
        // Every packet was received in a burst, and has a fate.
        (
            "sum(turnpike_rx_burst_size_sum) - sum(turnpike_rx_packets_total) - sum(turnpike_host_in_packets_total)",
            0.0,
        ),
        (
            "sum(turnpike_rx_packets_total) + sum(turnpike_host_in_packets_total) \
             + sum(turnpike_created_packets_total) - sum(turnpike_tx_packets_total) \
             - sum(turnpike_punted_packets_total) - sum(turnpike_held_packets) - sum(turnpike_drops_total)",
            0.0,
        ),
    ] {
        prometheus.expect(lab, expression, wanted)?;
    }
    for (expression, least) in [
        ("turnpike_rx_packets_total{interface=\"lan0\"}", sent as f64),
        ("turnpike_tx_packets_total{interface=\"lan0\"}", answered as f64),
        ("turnpike_latency_seconds_count", 1.0),
        ("turnpike_latency_seconds_sum", f64::MIN_POSITIVE),
        ("turnpike_worker_busy_seconds_total", f64::MIN_POSITIVE),
        ("turnpike_worker_idle_seconds_total", f64::MIN_POSITIVE),
        ("turnpike_mbufs_in_use", 1.0),
        ("turnpike_mbufs_size - turnpike_mbufs_in_use", 1.0),
        ("turnpike_states_limit", 2.0),
        ("time() - turnpike_ruleset_last_apply_timestamp_seconds", 0.0),
    ] {
        let value = prometheus.value(lab, expression)?;
        ensure!(value >= least, "{expression} is {value}, and {least} at least was expected");
    }
    Ok(())
}

fn failures_and_units(lab: &Lab, control: &Control, prometheus: &Prometheus) -> Result<()> {
    prometheus.expect(lab, "turnpike_ruleset_apply_failures_total", 0.0)?;
    ensure!(apply(lab, control, "pass out in\n").is_err(), "nonsense was applied");
    prometheus.expect(lab, "turnpike_ruleset_apply_failures_total", 1.0)?;
    let ready = lab.firewall.run(&format!("curl -sSf --max-time 20 http://{}/readyz", Control::METRICS))?;
    ensure!(ready.contains("ok: dataplane") && ready.contains("ok: workers: 1 advance"), "{ready}");
    Ok(())
}

/// The dataplane's counters go on over a crash of control, and begin anew with the dataplane, which `increase` allows for.
fn over_restarts(lab: &mut Lab, control: Control, prometheus: &Prometheus) -> Result<()> {
    let before = control.metrics(lab)?;
    control.kill()?;
    prometheus.expect(lab, "up", 0.0)?;
    let control = Control::start(lab)?;
    let after = control.metrics(lab)?;
    let own = ["turnpike_ruleset_apply_failures_total", "turnpike_pflog_written_packets_total"];
    for (series, value) in before.counters().filter(|(series, _)| !own.contains(series)) {
        let now = after.value(series)?;
        ensure!(now >= value, "{series} went back from {value} to {now}");
    }
    prometheus.expect(lab, "up", 1.0)?;
    let received = "turnpike_rx_packets_total{interface=\"lan0\"}";
    prometheus.expect(lab, &format!("resets({received}[10m])"), 0.0)?;
    let seen = prometheus.value(lab, &format!("max_over_time({received}[10m])"))?;

    lab.kill_dataplane()?;
    prometheus.expect(lab, "turnpike_dataplane_up", 0.0)?;
    let unready =
        lab.firewall.try_run(&format!("curl -sS --max-time 20 http://{}/readyz", Control::METRICS))?;
    ensure!(unready.text.contains("not ready: dataplane"), "{}", unready.text);
    lab.restart_dataplane()?;
    prometheus.expect(lab, "turnpike_dataplane_up", 1.0)?;
    let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(5))?;
    prometheus.expect(lab, &format!("resets({received}[10m])"), 1.0)?;
    let now = prometheus.value(lab, received)?;
    let increase = prometheus.value(lab, &format!("increase({received}[10m])"))?;
    ensure!(now < seen && increase >= 0.0, "{received}: {seen}, then {now}; increase {increase}");
    stream.abandon();
    Ok(())
}

#[test]
fn f12_readers_that_misbehave_and_listings_disturb_no_packet() {
    bed("f12-readers", Links::Tap, "", |lab| {
        let control = Control::start(lab)?;
        // A state for each port that the client sends from, and many rules to list.
        let many: String =
            (0..2000).map(|n| format!("pass in on lan0 proto tcp to port {}\n", 1000 + n)).collect();
        apply(lab, &control, &format!("pass all\n{many}"))?;
        let listening = lab.firewall.run("ss -Hltn")?;
        let ports: Vec<&str> = listening.lines().filter(|line| line.contains(":9190")).collect();
        ensure!(ports.len() == 1 && ports[0].contains("127.0.0.1:9190"), "{listening}");
        let outside = address(Lab::GATEWAY, 9190);
        sockets::connect(&lab.client, outside, PATIENCE)?
            .failed_with("metrics for the client", Errno::CONNREFUSED)?;

        let _echo = Echo::start(&lab.server, 7)?;
        let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(2))?;
        wait_until("datagrams to come back", PATIENCE, || stream.answered() > 1500)?;
        let alone = longest(&stream)?;
        let memory = resident_kib(control.pid())?;
        let among_readers = least_disturbed(&stream, || misbehave(lab))?;
        let grown = resident_kib(control.pid())?.saturating_sub(memory);
        ensure!(grown < 256 << 10, "control grew by {grown} KiB");
        ensure!(
            control.metrics(lab)?.value("turnpike_dataplane_up")? == 1.0,
            "control is not there any more"
        );

        let states = make_states(lab)?;
        let beside_lists = least_disturbed(&stream, || list(lab, states))?;
        let (sent, answered) = stream.stop()?;
        println!("{sent} datagrams while {states} states were listed; control grew by {grown} KiB");
        let told = format!(
            "the longest round trip took {alone:.1?} before, {among_readers:.1?} among readers, {beside_lists:.1?} beside lists"
        );
        println!("{told}");
        // The machine has few CPUs, which the readers use as well: what a stalled worker would cost is far more.
        ensure!(among_readers.max(beside_lists) < alone + Duration::from_secs(1), "{told}");
        ensure!(sent > 100 && sent == answered, "{answered} of {sent} datagrams came back");
        ensure!(control.metrics(lab)?.value("turnpike_worker_polls_total{worker=\"0\"}")? > 0.0, "no polls");
        Ok(())
    });
}

/// The longest round trip since this was last asked.
fn longest(stream: &Stream) -> Result<Duration> {
    stream.take_delays().pop().context("no datagram came back")
}

/// The longest round trip beside some work, when that disturbs least: what it disturbs itself it does each time, and the machine
/// only now and then.
fn least_disturbed(stream: &Stream, work: impl Fn() -> Result<()>) -> Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..3 {
        stream.take_delays();
        work()?;
        let answered = stream.answered();
        wait_until("another datagram to come back", PATIENCE, || stream.answered() > answered)?;
        least = least.min(longest(stream)?);
    }
    Ok(least)
}

/// The peak of a process's resident memory.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A thousand scrapes at once, readers that take nothing, and a request of ten megabytes.
fn misbehave(lab: &Lab) -> Result<()> {
    let to: SocketAddr = Control::METRICS.parse()?;
    lab.firewall.inside(move || -> Result<()> {
        let ask = |stream: &mut TcpStream| stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        // These never read their answers.
        let mut idle: Vec<TcpStream> =
            (0..100).map(|_| TcpStream::connect(to)).collect::<std::io::Result<_>>()?;
        idle.iter_mut().try_for_each(ask)?;
        let mut flood = TcpStream::connect(to)?;
        flood.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")?;
        let megabyte = vec![b'x'; 1 << 20];
        let taken = (0..10).take_while(|_| flood.write_all(&megabyte).is_ok()).count();
        ensure!(taken < 10, "ten megabytes of head were taken");
        let mut scrapers: Vec<TcpStream> =
            (0..1000).map(|_| TcpStream::connect(to)).collect::<std::io::Result<_>>()?;
        scrapers.iter_mut().try_for_each(ask)?;
        for (number, stream) in scrapers.iter_mut().enumerate() {
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).with_context(|| format!("scrape {number}"))?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "scrape {number}: {answer}");
        }
        Ok(())
    })?
}

/// Has the client open many flows, and returns how many states there are then.
fn make_states(lab: &Lab) -> Result<u64> {
    let flows: u32 = if std::env::var_os("TURNPIKE_LONG").is_some() { 60_000 } else { 15_000 };
    let (own, gateway) = (lab.client.mac("eth-lan")?, lab.firewall.mac("lan0")?);
    let frame = |flow: u32| -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2];
        let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        let port = (2000 + flow as u16).to_be_bytes();
        let udp = [port[0], port[1], 0, 9, 0, 8, 0, 0];
        [&gateway[..], &own, &[8, 0], &ip, &udp].concat()
    };
    let flows: Vec<Vec<u8>> = (0..flows).map(frame).collect();
    for part in flows.chunks(1000) {
        frames::send(lab, &lab.client, "eth-lan", part.iter().map(Vec::as_slice))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let wanted = flows.len() as u64;
    let mut states = 0;
    wait_until("the states", PATIENCE, || {
        states = lab.show("status").ok().and_then(|status| status["states"].as_u64()).unwrap_or(0);
        states >= wanted
    })
    .with_context(|| format!("{states} states"))?;
    Ok(states)
}

/// Lists every state and every rule.
fn list(lab: &Lab, states: u64) -> Result<()> {
    let listed = lab.tpctl("states")?;
    let lines = listed.text.lines().count() as u64;
    // Some are answered with ICMP errors and go on; none goes before its time-out of a minute.
    ensure!(listed.ok() && lines >= states / 2, "{lines} of {states} states were listed");
    let rules = lab.tpctl("pfctl -vvsr")?;
    ensure!(rules.ok() && rules.text.matches("Evaluations").count() > 2000, "{}", rules.text.len());
    Ok(())
}

const LOGGING: &str = "block drop in log quick on lan0 proto udp to port 9\n\
    pass in log on lan0 proto udp to port 7\n\
    pass out log on wan0 proto udp to port 7\n";

#[test]
fn logged_packets_of_both_families_are_in_the_file_and_in_the_live_stream() {
    bed("pflog", Links::Tap, "", |lab| {
        let control = Control::start(lab)?;
        apply(lab, &control, LOGGING)?;
        let mut live = lab.firewall.command("sh");
        live.arg("-c").arg(format!(
            "{} --dataplane-socket {} pflog -w - | tcpdump -n -e -t -l -U -r -",
            program("tpctl")?.display(),
            lab.socket().display()
        ));
        let live = Daemon::start(&mut live, &lab.folder.join("live"))?;
        let _echo = Echo::start(&lab.server, 7)?;
        let number = rule_number(lab, "to any port = 9")?;
        let first = rule_number(lab, "in log on lan0")?;
        let wanted = |server: &str, client: &str| -> Vec<[String; 3]> {
            let ports = |port: &str| format!("{server}.{port}: ");
            [
                (format!("rule {number}/0(match): block in on lan0: {client}."), ports("9")),
                (format!("rule {first}/0(match): pass in on lan0: {client}."), ports("7")),
                (format!("rule {}/0(match): pass out on wan0: {client}.", first + 1), ports("7")),
            ]
            .map(|(head, tail)| [head, "> ".into(), tail])
            .into()
        };
        let wanted: Vec<_> = [wanted(Lab::SERVER, Lab::CLIENT), wanted(Lab::SERVER6, Lab::CLIENT6)].concat();
        let found = |text: &str, words: &[String; 3]| {
            text.lines().any(|line| words.iter().all(|word| line.contains(word.as_str())))
        };
        let file = lab.folder.join("control/pflog");
        let mut missing = Vec::new();
        wait_until("every kind of packet in the file and in the stream", PATIENCE, || {
            // Again and again, as the stream may have begun late.
            for server in [Lab::SERVER, Lab::SERVER6] {
                for port in [9, 7] {
                    sockets::ask(&lab.client, address(server, port), Duration::from_millis(100)).ok();
                }
            }
            let (kept, streamed) = (read(&file), live.said());
            missing =
                wanted.iter().filter(|words| !(found(&kept, words) && found(&streamed, words))).collect();
            missing.is_empty()
        })
        .with_context(|| {
            format!("missing: {missing:#?}\nfile:\n{}\nstream:\n{}", read(&file), live.said())
        })?;
        flood(lab, &control, &file)
    });
}

/// The number of the rule whose text has these words.
fn rule_number(lab: &Lab, words: &str) -> Result<u32> {
    let said = lab.tpctl("pfctl -vvsr")?;
    let line = said.text.lines().find(|line| line.starts_with('@') && line.contains(words));
    let line = line.with_context(|| format!("no rule {words:?} in:\n{}", said.text))?;
    let number = line[1..].split_whitespace().next().context("a rule without a number")?;
    Ok(number.parse()?)
}

/// The packet log, as tcpdump reads it at this moment; it must never find half a record.
fn read(file: &Path) -> String {
    let done = std::process::Command::new("tcpdump").args(["-n", "-e", "-t", "-r"]).arg(file).output();
    done.map_or_else(
        |error| error.to_string(),
        |done| {
            let complaint = String::from_utf8_lossy(&done.stderr);
            assert!(!complaint.contains("truncated"), "{complaint}");
            String::from_utf8_lossy(&done.stdout).into_owned()
        },
    )
}

const FLOOD: &str = "import socket, sys, time\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    end = time.monotonic() + 2\n\
    while time.monotonic() < end: s.sendto(b'x', (sys.argv[1], 9))\n";

/// What is logged faster than it is written is lost and counted.
fn flood(lab: &Lab, control: &Control, file: &Path) -> Result<()> {
    let accounted = |metrics: &Metrics| {
        let value = |series: &str| metrics.value(series).unwrap_or(0.0);
        value("turnpike_pflog_written_packets_total") + value("turnpike_log_lost_packets_total")
    };
    let before = control.metrics(lab)?;
    let blocked_before = before.value(BLOCKED)?;
    let script = lab.folder.join("flood.py");
    std::fs::write(&script, FLOOD)?;
    lab.client.run(&format!("python3 {} {}", script.display(), Lab::SERVER))?;
    let mut sums = (0.0, 0.0);
    wait_until("every packet of the flood to be written or counted as lost", PATIENCE, || {
        let Ok(metrics) = control.metrics(lab) else { return false };
        let blocked = metrics.value(BLOCKED).unwrap_or(0.0) - blocked_before;
        sums = (blocked, accounted(&metrics) - accounted(&before));
        sums.0 > 1000.0 && sums.1 >= sums.0
    })
    .with_context(|| format!("{sums:?}"))?;
    let mut found = (0.0, 0.0);
    wait_until("as many packets in the file as were written", PATIENCE, || {
        let written =
            control.metrics(lab).and_then(|metrics| metrics.value("turnpike_pflog_written_packets_total"));
        found = (read(file).lines().count() as f64, written.unwrap_or(0.0));
        found.0 == found.1
    })
    .with_context(|| format!("{found:?}"))
}
