//! Broken rules, broken configuration, broken clients and broken frames: each is refused with a clear word, and changes
//! nothing, while traffic goes on.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::codec::{self, Limit};
use api::{Hello, Request, RequestBody};
use e2e::sockets::{Echo, Stream, address};
use e2e::transfer::Download;
use e2e::{Lab, Links, Namespace, PATIENCE, WebServer, bed, frames, installed, program, scratch, wait_until};

const OPEN: &str = "block drop all\npass in on lan0\npass out on wan0\npass out on lan0\n";

/// Rulesets that must be refused, with where and a word of why.
const BROKEN: &[(&str, &str, &str)] = &[
    ("pass in on lan0 fro any\n", ":1:17", "fro"),
    ("pass\npass in proto tcp to port $web\n", ":2:", "web"),
    ("pass\n\npass from { 10.0.0.1\n", ":", "error"),
    ("pass from 10.0.0.999\n", ":1:11", "10.0.0.999"),
    ("pass to port 80\n", ":1:", "port"),
    ("pass proto tcp to port 80000\n", ":1:", "80000"),
    ("block return-rst proto udp\n", ":1:", "return-rst"),
    ("table <t> { 10.0.0.1\npass\n", ":", "error"),
    ("pass from <absent>\nset limit states\n", ":", "error"),
    ("pass \"unfinished\n", ":1:", "error"),
    ("\u{1}\u{2}\u{fffd}\n", ":1:", "error"),
];

#[test]
fn a_broken_ruleset_is_refused_with_its_place_and_changes_nothing() {
    bed("bad-rules", Links::AfPacket, OPEN, |lab| {
        let www = lab.folder.join("www");
        std::fs::create_dir(&www)?;
        let _web = WebServer::start(&lab.server, &www)?;
        let mut download = Download::start(lab, &www, 24, 6)?;
        let live = (lab.tpctl("show rules")?.text, generation(lab)?);
        let path = lab.folder.join("broken.conf");
        for (text, place, word) in BROKEN {
            std::fs::write(&path, text)?;
            let said = lab.tpctl(&format!("apply {}", path.display()))?;
            let named = said.text.contains(&format!("broken.conf{place}")) && said.text.contains(word);
            ensure!(
                said.code == Some(1) && named,
                "{text:?}: exit code {:?}, wanted 1 with {place} and {word}:\n{}",
                said.code,
                said.text
            );
            let now = (lab.tpctl("show rules")?.text, generation(lab)?);
            ensure!(now == live, "{text:?} changed the live ruleset: {now:?}");
        }
        // Right, but more than this dataplane has memory for: the refusal is its own.
        std::fs::write(&path, "set limit states 1000000000\npass\n")?;
        let said = lab.tpctl(&format!("apply {}", path.display()))?;
        ensure!(said.code == Some(1) && said.text.contains("max_connections"), "{}", said.text);
        ensure!((lab.tpctl("show rules")?.text, generation(lab)?) == live, "a refused ruleset is live");
        ensure!(download.is_running(), "the download ended too early to show anything");
        download.finish()
    });
}

fn generation(lab: &Lab) -> Result<u64> {
    lab.show("status")?["generation"].as_u64().context("status has no generation")
}

const GOOD_PORT: &str = "[[port]]\nname = \"lan0\"\ndevice = \"net_tap0,iface=eth-lan\"\n";

/// Configurations that must be refused, with a word of why.
fn broken_configurations() -> Vec<(String, &'static str)> {
    let with = |dataplane: &str| format!("[dataplane]\nhugepages = \"off\"\n{dataplane}\n{GOOD_PORT}");
    vec![
        (String::new(), "port"),
        ("[dataplane\n".into(), ":1:"),
        (with("memory_mb = 256"), "memory_mib"),
        (with("memory_mib = 1"), "64 to 1048576"),
        (with("memory_mib = \"much\""), ":3:"),
        (with("lcores = [9999]"), "9999"),
        (with("idle = \"sometimes\""), "adaptive"),
        (with("[[ports]]"), "port"),
        (with(GOOD_PORT), "lan0"),
        (GOOD_PORT.replace("lan0", "an interface"), "name"),
        (GOOD_PORT.replace("net_tap0,iface=eth-lan", "net_no_such_driver0"), "net_no_such_driver0"),
        (GOOD_PORT.replace("net_tap0,iface=eth-lan", "net_af_packet0,iface=absent0"), "absent0"),
        (GOOD_PORT.replace("net_tap0,iface=eth-lan", "9999:99:99.9"), "9999:99:99.9"),
        (format!("[dataplane]\nhugepages = \"require\"\nmemory_mib = 1048576\n{GOOD_PORT}"), "hugepages"),
    ]
}

#[test]
fn a_broken_configuration_is_refused_and_leaves_nothing() {
    let folder = scratch("turnpike-bad-config").expect("an empty folder");
    let firewall = Namespace::create("turnpike-bad-config").expect("a namespace");
    let outcome = refuse_each(&firewall, &folder);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

fn refuse_each(firewall: &Namespace, folder: &std::path::Path) -> Result<()> {
    let (config, socket) = (folder.join("turnpike.toml"), folder.join("dataplane.sock"));
    let links = || firewall.run("ip -br link");
    let before = links()?;
    let start = || -> Result<e2e::Output> {
        let said = firewall.try_run(&format!(
            "timeout 20 {} --config {} --socket {}",
            program("turnpike-dataplane")?.display(),
            config.display(),
            socket.display()
        ))?;
        Ok(said)
    };
    let said = start()?;
    ensure!(said.code == Some(1) && said.text.contains("create it"), "without a file: {}", said.text);
    for (text, word) in broken_configurations() {
        std::fs::write(&config, &text)?;
        let said = start()?;
        ensure!(
            said.code == Some(1) && said.text.contains(word),
            "exit code {:?}, wanted 1 with «{word}»:\n{text}\n{}",
            said.code,
            said.text
        );
        ensure!(links()? == before, "interfaces were left behind by\n{text}:\n{}", links()?);
        ensure!(!socket.exists(), "a socket was left behind by\n{text}");
        ensure!(!socket.with_extension("counters").exists(), "counters were left behind by\n{text}");
    }
    Ok(())
}

#[test]
fn broken_clients_do_not_disturb_traffic_nor_each_other() {
    bed("bad-clients", Links::AfPacket, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(5))?;
        for (what, bytes) in nonsense()? {
            let mut client = UnixStream::connect(lab.socket())?;
            client.set_read_timeout(Some(PATIENCE))?;
            // It may hang up before it has read everything.
            client.write_all(&bytes).ok();
            client.shutdown(std::net::Shutdown::Write)?;
            let mut answer = Vec::new();
            let ended = client.read_to_end(&mut answer);
            let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
            if ended.as_ref().is_err_and(|error| !reset(error)) {
                bail!("{what}: the dataplane does not hang up: {ended:?}");
            }
            ensure!(lab.tpctl("show status")?.ok(), "after {what} nobody is served any more");
        }
        crowd(lab)?;
        slow_readers(lab)?;
        let (sent, answered) = stream.stop()?;
        ensure!(sent > 20 && sent == answered, "{answered} of {sent} datagrams came back");
        ensure!(lab.tpctl("show rules")?.text.contains("pass in on lan0"), "the rules changed");
        Ok(())
    });
}

fn hello() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    codec::write(&mut bytes, &Hello::OURS, Limit::HELLO)?;
    Ok(bytes)
}

fn request(body: RequestBody) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    codec::write(&mut bytes, &Request { id: 1, body }, Limit::SMALL)?;
    Ok(bytes)
}

/// Everything that is not the protocol, in one way each.
fn nonsense() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (hello, status) = (hello()?, request(RequestBody::Status)?);
    let after = |bytes: &[u8]| [&hello[..], bytes].concat();
    Ok(vec![
        ("silence", Vec::new()),
        ("garbage", (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("half a length", vec![4, 0]),
        ("half a hello", hello[..hello.len() - 1].to_vec()),
        ("an endless hello", u32::MAX.to_le_bytes().to_vec()),
        ("a hello in place of a request", after(&hello)),
        ("half a request", after(&status[..status.len() - 1])),
        ("an endless request", after(&u32::MAX.to_le_bytes())),
        ("an empty request", after(&0_u32.to_le_bytes())),
        ("a request of zeros", after(&[&64_u32.to_le_bytes()[..], &[0; 64]].concat())),
        ("a request with bytes behind", after(&[&64_u32.to_le_bytes()[..], &status[4..], &[0; 62]].concat())),
    ])
}

/// A hundred at once: some are served, the others hung up on, and when they are gone everybody is served again.
fn crowd(lab: &Lab) -> Result<()> {
    let clients: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(lab.socket())).collect::<std::io::Result<_>>()?;
    let words = [hello()?, request(RequestBody::Status)?].concat();
    let mut served = 0;
    for mut client in &clients {
        client.set_read_timeout(Some(PATIENCE))?;
        // Those that are turned away cannot be written to.
        if client.write_all(&words).is_ok() && client.read(&mut [0; 64]).is_ok_and(|count| count > 0) {
            served += 1;
        }
    }
    ensure!(served > 0, "nobody in the crowd was served");
    drop(clients);
    wait_until("the socket to serve again", PATIENCE, || lab.tpctl("show status").is_ok_and(|said| said.ok()))
}

/// Clients that ask without end and never read: they fill their own pipe, and nobody waits for them.
fn slow_readers(lab: &Lab) -> Result<()> {
    let (hello, states) = (hello()?, request(RequestBody::Rules)?);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = UnixStream::connect(lab.socket())?;
        client.write_all(&hello)?;
        client.set_write_timeout(Some(Duration::from_millis(100)))?;
        let mut asked = 0;
        while client.write_all(&states).is_ok() && asked < 100_000 {
            asked += 1;
        }
        clients.push(client);
    }
    for _ in 0..10 {
        ensure!(lab.tpctl("show status")?.ok(), "slow readers keep others from being served");
    }
    Ok(())
}

#[test]
fn broken_frames_are_dropped_and_counted_over_tap_links() {
    bed("bad-frames-tap", Links::Tap, OPEN, broken_frames);
}

#[test]
fn broken_frames_are_dropped_and_counted_over_af_packet_links() {
    bed("bad-frames-afp", Links::AfPacket, OPEN, broken_frames);
}

/// Every frame of the corpus, every truncation of each, and those that are wrong in some other way; all addressed to the
/// firewall, whole and in order. Traffic goes on beside and after them.
fn broken_frames(lab: &mut Lab) -> Result<()> {
    if !installed("python3", "broken frames") {
        return Ok(());
    }
    let _echo = Echo::start(&lab.server, 7)?;
    let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(10))?;
    wait_until("datagrams to be answered", PATIENCE, || stream.answered() > 10)?;
    let frames = corpus(&lab.firewall.mac("lan0")?);
    let before = received(lab)?;
    let sent = frames::send(lab, &lab.client, "eth-lan", frames.iter().map(Vec::as_slice))?;
    ensure!(sent as usize == frames.len(), "only {sent} of {} frames could be sent", frames.len());
    wait_until("every frame to arrive", PATIENCE, || received(lab).is_ok_and(|now| now >= before + sent))?;

    let (asked, answered) = stream.stop()?;
    ensure!(asked == answered, "{answered} of {asked} datagrams came back beside broken frames");
    let kept = &lab.show("status")?["workers"][0]["conservation"];
    let sum = |names: &[&str]| -> u64 { names.iter().filter_map(|name| kept[*name].as_u64()).sum() };
    let (sources, sinks) = (
        sum(&["rx", "host_in", "created", "handoff_in"]),
        sum(&["tx", "punted", "held", "joined", "drops", "handoff_out"]),
    );
    ensure!(sources == sinks, "packets are not accounted for: {kept}");
    let dropped = lab.drops()?;
    let mut told = String::new();
    for reason in ["short", "normalize", "proto-cksum", "fragment", "ip-option", "icmp-mismatch"] {
        let count = dropped.of_reason(reason);
        write!(told, " {reason} {count}")?;
        ensure!(count > 0, "{sent} broken frames, none of them {reason}: {dropped}");
    }
    println!("{sent} frames:{told}");
    Ok(())
}

fn received(lab: &Lab) -> Result<u64> {
    lab.show("status")?["interfaces"][0]["rx_packets"].as_u64().context("an interface without counts")
}

/// Lengths of frames that the kernel takes: an Ethernet header, and at most the MTU behind it.
const SENDABLE: std::ops::RangeInclusive<usize> = 14..=1514;

fn corpus(mac: &[u8]) -> Vec<Vec<u8>> {
    let whole = wire::corpus::packets().into_iter().map(|(_, frame)| frame);
    let wrong = wire::corpus::malformed().into_iter().map(|(_, frame, _)| frame);
    let mut frames = Vec::new();
    for mut frame in whole.chain(wrong) {
        for (octet, own) in frame.iter_mut().zip(mac) {
            *octet = *own;
        }
        frames.extend(
            SENDABLE.take_while(|length| *length <= frame.len()).map(|length| frame[..length].to_vec()),
        );
    }
    frames
}

/// A frame longer than the port's buffers comes in pieces, or cut: it must not be taken for a whole one.
#[test]
fn frames_longer_than_the_mtu_are_not_taken_for_whole_ones() {
    bed("jumbo", Links::AfPacket, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        lab.client.run("ip link set eth-lan mtu 9000")?;
        lab.firewall.run("ip link set p-lan0 mtu 9000")?;
        let before = lab.drops()?;
        let answered =
            lab.client.try_run(&format!("ping -n -c 3 -i 0.2 -W 1 -s 4000 -M do {}", Lab::SERVER))?;
        ensure!(answered.text.contains("100% packet loss"), "a cut packet was answered:\n{}", answered.text);
        lab.expect_drops(&before, &[("lan0", "short", 3)])?;
        lab.client.run(&format!("ping -n -c 1 -W 2 {}", Lab::SERVER)).map(|_| ())
    });
}
