//! The demonstration of `deploy/run`: real traffic through a running dataplane, allowed, refused and dropped.
//!
//! Every step is checked; the program fails if one does not go as it says.
#![forbid(unsafe_code)]
// The demonstration shows how long things take.
#![allow(clippy::disallowed_methods)]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use e2e::{Lab, Links, WebServer, run};

const BED: &str = "demo";
const FILE_MIB: usize = 32;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => show(false),
        Some("--keep") => show(true),
        Some("--clean") => {
            Lab::clean(BED);
            println!("Nothing is left of the demonstration.");
            Ok(())
        }
        Some(other) => Err(anyhow::anyhow!("'{other}' is neither --keep nor --clean")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn heading(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}

fn show(keep: bool) -> Result<()> {
    heading("A client, a firewall and a server, in namespaces of their own");
    let mut lab = Lab::start(BED, Links::Tap)?;
    println!("{}", lab.tpctl("show status")?.text.trim_end());

    heading("Before any rules: nothing is forwarded");
    let answer = lab.client.try_run(&format!("ping -n -c 1 -W 1 {}", Lab::SERVER))?;
    ensure!(!answer.ok(), "a packet was forwarded without rules:\n{}", answer.text);
    println!("ping {}: no answer, as it must be", Lab::SERVER);

    heading("deploy/samples/demo.conf is committed");
    println!("{}", lab.apply(include_str!("../../../samples/demo.conf"))?.trim_end());

    let files = lab.folder.join("www");
    std::fs::create_dir(&files)?;
    let mut web = WebServer::start(&lab.server, &files)?;
    allowed(&lab, &files)?;
    refused(&lab)?;

    heading("The states: pf's two for each connection");
    println!("{}", lab.tpctl("show states")?.text.trim_end());
    heading("Why packets were dropped");
    println!("{}", lab.tpctl("drops")?.text.trim_end());

    if keep {
        return leave_running(&mut lab, &mut web);
    }
    heading("SIGTERM: every packet and every buffer is accounted for");
    println!("{}", lab.stop()?.lines().last().unwrap_or_default());
    println!("\nDone; nothing is left behind. To try things by hand: deploy/run --keep");
    Ok(())
}

fn allowed(lab: &Lab, files: &std::path::Path) -> Result<()> {
    heading("Allowed: ping, and a file from nginx by curl");
    let ping = lab.client.run(&format!("ping -n -c 3 -i 0.2 -W 2 {}", Lab::SERVER))?;
    println!("{}", ping.trim_end());

    let (sent, received) = (files.join("file"), lab.folder.join("received"));
    run(&format!("dd if=/dev/urandom of={} bs=1M count={FILE_MIB} status=none", sent.display()))?;
    for server in [Lab::SERVER.to_owned(), format!("[{}]", Lab::SERVER6)] {
        let started = Instant::now();
        let url = format!("http://{server}/file");
        lab.client.run(&format!("curl -sSf --max-time 60 -o {} {url}", received.display()))?;
        let seconds = started.elapsed().as_secs_f64();
        let sums = [&sent, &received].map(|path| run(&format!("sha256sum {}", path.display())));
        let [sum, other] =
            sums.map(|said| said.map(|line| line.split(' ').next().unwrap_or_default().to_owned()));
        let (sum, other) = (sum?, other?);
        ensure!(sum == other, "the file changed on its way: {sum} became {other}");
        let rate = FILE_MIB as f64 * 8.0 * 1.048_576 / seconds;
        println!("curl {url}: {FILE_MIB} MiB, {rate:.0} Mb/s, sha256 {}… on both ends", &sum[..16]);
    }
    Ok(())
}

fn refused(lab: &Lab) -> Result<()> {
    heading("Refused: TCP port 81 by RST, UDP port 5353 by ICMP, TCP port 82 by silence");
    let timed = |line: &str| -> Result<(bool, String, f64)> {
        let started = Instant::now();
        let said = lab.client.try_run(line)?;
        Ok((said.ok(), said.text.trim().to_owned(), started.elapsed().as_secs_f64()))
    };
    let cases = [
        (format!("curl -sSv --max-time 3 http://{}:81/", Lab::SERVER), "Connection refused", 1.0),
        (format!("dig +tries=1 +timeout=3 -p 5353 @{} example.", Lab::SERVER), "connection refused", 1.0),
        (format!("curl -sS --max-time 2 http://{}:82/", Lab::SERVER), "timed out", 5.0),
    ];
    for (line, expected, limit) in cases {
        let (ok, said, seconds) = timed(&line)?;
        let answer = said
            .lines()
            .find(|text| text.contains(expected))
            .map(|text| text.trim_start_matches(['*', ';', ' ']));
        let Some(answer) = answer.filter(|_| !ok && seconds <= limit) else {
            bail!(
                "`{line}` was to be answered «{expected}» within {limit} s, but after {seconds:.2} s: {said}"
            );
        };
        println!("{line}\n    {seconds:.2} s: {answer}");
    }
    Ok(())
}

fn leave_running(lab: &mut Lab, web: &mut WebServer) -> Result<()> {
    lab.keep();
    web.keep();
    heading("Everything stays up");
    let [client, firewall, _] = Lab::namespaces(BED);
    let tpctl = e2e::program("tpctl")?;
    let socket = lab.socket();
    println!("  ip netns exec {client} curl -sI http://{}/file", Lab::SERVER);
    println!(
        "  ip netns exec {firewall} {} --dataplane-socket {} show states -v",
        tpctl.display(),
        socket.display()
    );
    println!("  {} --dataplane-socket {} apply FILE", tpctl.display(), socket.display());
    println!("  deploy/run --clean      ends it");
    Ok(())
}
