//! Forwarded traffic between real stacks: what passes arrives whole, what is refused hears of it, and every packet that
//! is not forwarded is counted under its reason, on both kinds of links.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, SILENCE, address};
use e2e::transfer::iperf3;
use e2e::{Lab, Links, PATIENCE, bed, installed, transfer};
use rustix::io::Errno;

/// What the stations of a dual-stack bed are called, by family.
const SERVERS: [&str; 2] = [Lab::SERVER, Lab::SERVER6];

const OPEN: &str = "block drop all\n\
    pass in on lan0 to { 10.2.0.2, fd00:2::2 }\n\
    pass out on wan0 to { 10.2.0.2, fd00:2::2 }\n";

#[test]
fn files_cross_tap_links_whole_in_both_directions() {
    bed("files-tap", Links::Tap, OPEN, transfers);
}

#[test]
fn files_cross_af_packet_links_whole_in_both_directions() {
    bed("files-afp", Links::AfPacket, OPEN, transfers);
}

fn transfers(lab: &mut Lab) -> Result<()> {
    let before = lab.drops()?;
    transfer::both_ways(lab, SERVERS, 8)?;
    lab.expect_drops(&before, &[])
}

#[test]
fn iperf_fills_tap_links_without_a_packet_out_of_its_state() {
    bed("iperf-tap", Links::Tap, OPEN, throughput);
}

#[test]
fn iperf_fills_af_packet_links_without_a_packet_out_of_its_state() {
    bed("iperf-afp", Links::AfPacket, OPEN, throughput);
}

fn throughput(lab: &mut Lab) -> Result<()> {
    if !installed("iperf3", "throughput") {
        return Ok(());
    }
    let before = lab.drops()?;
    for (direction, flag) in [("up", ""), ("down", " -R")] {
        let bytes = iperf3(lab, Lab::SERVER, &format!("-t 3{flag}"))?;
        println!("{direction}: {:.0} Mb/s", bytes * 8.0 / 3e6);
        ensure!(bytes > 1e6, "only {bytes} bytes in three seconds");
    }
    // A link may be too slow for what a sender tries. Nothing else may be wrong with packets of one connection.
    let dropped = lab.drops()?.since(&before);
    let full = dropped.of_reason("tx-full");
    ensure!(dropped.total() == full, "dropped: {dropped}");
    Ok(())
}

#[test]
fn states_are_shown_as_pf_shows_them_over_tap_links() {
    bed("states-tap", Links::Tap, OPEN, states);
}

#[test]
fn states_are_shown_as_pf_shows_them_over_af_packet_links() {
    bed("states-afp", Links::AfPacket, OPEN, states);
}

/// pf's two lines for one forwarded connection: `in` with the destination first, `out` with the source first, the states
/// of the peers in the same order.
fn pair(proto: &str, server: &str, client: &str, there: &str, here: &str) -> [String; 2] {
    [
        format!("all {proto} {server} <- {client} {there}:{here}"),
        format!("all {proto} {client} -> {server} {here}:{there}"),
    ]
}

fn states(lab: &mut Lab) -> Result<()> {
    lab.expect_states(&[])?;
    let _echo = Echo::start(&lab.server, 7)?;
    let mut expected = Vec::new();

    let mut tcp = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
    let client = format!("{}:{}", Lab::CLIENT, tcp.local_addr()?.port());
    let server = format!("{}:7", Lab::SERVER);
    lab.expect_states(&pair("tcp", &server, &client, "ESTABLISHED", "ESTABLISHED"))?;
    sockets::converse(&mut tcp)?;
    lab.expect_states(&pair("tcp", &server, &client, "ESTABLISHED", "ESTABLISHED"))?;
    drop(tcp);
    expected.extend(pair("tcp", &server, &client, "FIN_WAIT_2", "FIN_WAIT_2"));
    lab.expect_states(&expected)?;

    let udp = Datagrams::open(&lab.client, address(Lab::SERVER6, 7), PATIENCE)?;
    let client = format!("{}[{}]", Lab::CLIENT6, udp.port()?);
    let server = format!("{}[7]", Lab::SERVER6);
    udp.ask()?;
    let once = pair("udp", &server, &client, "SINGLE", "MULTIPLE");
    lab.expect_states(&[expected.clone(), once.to_vec()].concat())?;
    udp.ask()?;
    expected.extend(pair("udp", &server, &client, "MULTIPLE", "MULTIPLE"));
    lab.expect_states(&expected)?;

    lab.client.run(&format!("ping -n -c 1 -W 10 -e 4660 {}", Lab::SERVER))?;
    let (client, server) = (format!("{}:4660", Lab::CLIENT), format!("{}:8", Lab::SERVER));
    expected.extend(pair("icmp", &server, &client, "0", "0"));
    lab.client.run(&format!("ping -n -c 1 -W 10 -e 4661 {}", Lab::SERVER6))?;
    let (client, server) = (format!("{}[4661]", Lab::CLIENT6), format!("{}[128]", Lab::SERVER6));
    expected.extend(pair("ipv6-icmp", &server, &client, "0", "0"));
    lab.expect_states(&expected)
}

const REFUSING: &str = "block drop all\n\
    pass in on lan0\n\
    pass out on wan0 proto { tcp udp } to port 7\n\
    block return-rst in on lan0 proto tcp to port 81\n\
    block return-icmp in on lan0 inet proto udp to port 82\n\
    block return-icmp6 in on lan0 inet6 proto udp to port 82\n\
    block return out on wan0 proto { tcp udp } to port 83\n\
    block drop in on lan0 proto { tcp udp } to port 84\n";

#[test]
fn refusals_are_answered_and_counted_over_tap_links() {
    bed("refusals-tap", Links::Tap, REFUSING, refusals);
}

#[test]
fn refusals_are_answered_and_counted_over_af_packet_links() {
    bed("refusals-afp", Links::AfPacket, REFUSING, refusals);
}

fn refusals(lab: &mut Lab) -> Result<()> {
    let count = |lab: &Lab, kind: &str| -> Result<u64> {
        let status = lab.show("status")?;
        let created = status["workers"][0]["created"].as_array().context("status has no created packets")?;
        let of_kind = created.iter().find(|count| count["kind"] == kind);
        of_kind.and_then(|count| count["packets"].as_u64()).with_context(|| format!("no {kind} in {status}"))
    };
    for server in SERVERS {
        let before = lab.drops()?;
        let (rst, icmp) = (count(lab, "rst")?, count(lab, "icmp")?);
        for port in [81, 83] {
            let attempt = sockets::connect(&lab.client, address(server, port), PATIENCE)?;
            attempt.failed_with(&format!("TCP to {server} port {port}"), Errno::CONNREFUSED)?;
        }
        for port in [82, 83] {
            let attempt = sockets::ask(&lab.client, address(server, port), PATIENCE)?;
            attempt.failed_with(&format!("UDP to {server} port {port}"), Errno::CONNREFUSED)?;
        }
        lab.expect_drops(&before, &[("lan0", "match", 4)])?;
        ensure!(count(lab, "rst")? == rst + 2, "two RSTs were to be made");
        ensure!(count(lab, "icmp")? == icmp + 2, "two ICMP errors were to be made");

        let before = lab.drops()?;
        sockets::ask(&lab.client, address(server, 84), SILENCE)?.timed_out("UDP, silently")?;
        lab.expect_drops(&before, &[("lan0", "match", 1)])?;
        let silent = sockets::connect(&lab.client, address(server, 84), Duration::from_millis(2500))?;
        silent.timed_out("TCP, silently")?;
        let dropped = lab.drops()?.since(&before);
        ensure!(dropped.total() > 1 && dropped.total() == dropped.of_reason("match"), "dropped: {dropped}");
    }
    // What is blocked on its way out entered before, and pf keeps the state of that; what is blocked on its way in leaves
    // nothing.
    let states = lab.states()?;
    let entered = |state: &String| {
        let to_83 = state.contains(":83 <- ") || state.contains("[83] <- ");
        to_83 && (state.ends_with("CLOSED:SYN_SENT") || state.ends_with("NO_TRAFFIC:SINGLE"))
    };
    ensure!(states.len() == 4 && states.iter().all(entered), "the states of what was refused: {states:#?}");
    from_outside(lab)
}

/// Nothing that the server begins passes, and the client need not even notice.
fn from_outside(lab: &Lab) -> Result<()> {
    let _echo = Echo::start(&lab.client, 7)?;
    let before = lab.drops()?;
    let states = lab.states()?;
    for client in [Lab::CLIENT, Lab::CLIENT6] {
        sockets::ask(&lab.server, address(client, 7), SILENCE)?.timed_out("UDP from outside")?;
    }
    lab.expect_drops(&before, &[("wan0", "match", 2)])?;
    lab.expect_states(&states)
}
