//! Two ways outside, in both families: connections keep to the one that they were given, answers leave where the question came in,
//! and a gateway that does not answer gets nothing new.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, SILENCE, Stream, address};
use e2e::{Lab, Links, PATIENCE, Shape, bed, wait_until};

const PORT: u16 = 7777;
const QUESTION: &[u8] = b"by which way?";
/// A gateway is found dead, or alive again, within this time on a busy machine.
const FOUND: Duration = Duration::from_secs(60);

/// The addresses of a family.
struct Family {
    name: &'static str,
    /// What `ip` wants to hear of it, and its folder of sysctl(8).
    option: &'static str,
    sysctl: &'static str,
    /// Behind both gateways; nobody has a route to it but for the rules.
    far: &'static str,
    /// The one that stands for every address.
    any: &'static str,
    client: &'static str,
    /// Of the server, on either way, and those of the firewall there.
    gateways: [&'static str; 2],
    own: [&'static str; 2],
    /// Bits of a network and of a host.
    bits: [u8; 2],
}

const IPV4: Family = Family {
    name: "inet",
    option: "-4",
    sysctl: "ipv4",
    far: "192.0.2.1",
    any: "0.0.0.0",
    client: Lab::CLIENT,
    gateways: [Lab::SERVER, "10.4.0.2"],
    own: [Lab::OUTSIDE, "10.4.0.1"],
    bits: [24, 32],
};

const IPV6: Family = Family {
    name: "inet6",
    option: "-6",
    sysctl: "ipv6",
    far: "2001:db8::1",
    any: "::",
    client: Lab::CLIENT6,
    gateways: [Lab::SERVER6, "fd00:4::2"],
    own: [Lab::OUTSIDE6, "fd00:4::1"],
    bits: [64, 128],
};

fn two_ways() -> Shape {
    Shape { uplink: true, ..Links::Tap.into() }
}

impl Family {
    fn rules(&self) -> String {
        let Self { name, gateways: [first, second], .. } = self;
        format!(
            "block\n\
             pass out\n\
             match out on wan1 {name} nat-to (wan1:0)\n\
             pass in on lan0 {name} route-to {{ {first}@wan0, {second}@wan1 }} round-robin\n\
             pass in on wan1 {name} reply-to {second}@wan1\n"
        )
    }

    fn bed(&self, name: &str, body: impl FnOnce(&mut Lab) -> Result<()>) {
        bed(&format!("{name}-{}", self.name), two_ways(), &self.rules(), |lab| {
            self.prepare(lab)?;
            body(lab)
        });
    }

    /// The far address, and a kernel that looks after its neighbours more often than once in half a minute.
    fn prepare(&self, lab: &Lab) -> Result<()> {
        let Self { option, sysctl, far, own: [first, _], bits: [_, host], .. } = self;
        // One of IPv6 would be a source a moment later otherwise.
        lab.server.run(&format!("ip {option} addr add {far}/{host} dev lo nodad"))?;
        // What listens on every address answers from the one that the way back says.
        lab.server.run(&format!("ip {option} route replace default via {first} src {far}"))?;
        self.lead_back(lab)?;
        for (name, value) in
            [("base_reachable_time_ms", 1000), ("delay_first_probe_time", 1), ("retrans_time_ms", 200)]
        {
            lab.firewall.run(&format!("sysctl -qw net.{sysctl}.neigh.wan1.{name}={value}"))?;
        }
        Ok(())
    }

    /// The way back by the second way.
    fn lead_back(&self, lab: &Lab) -> Result<()> {
        let Self { option, far, own: [_, second], bits: [_, host], .. } = self;
        let route = format!("ip {option} route replace {second}/{host} dev eth-up src {far}");
        lab.server.run(&route).map(|_| ())
    }

    /// How many states have each gateway.
    fn states(&self, lab: &Lab) -> Result<[usize; 2]> {
        let lines = lab.states()?;
        let of = |gateway: &str| lines.iter().filter(|line| line.contains(&format!("{{{gateway}}}"))).count();
        Ok(self.gateways.map(of))
    }

    fn open(&self, lab: &Lab, patience: Duration) -> Result<UdpSocket> {
        let (any, far) = (address(self.any, 0), address(self.far, PORT));
        let flow =
            lab.client.inside(|| UdpSocket::bind(any).and_then(|flow| flow.connect(far).map(|()| flow)));
        let flow = flow??;
        flow.set_read_timeout(Some(patience))?;
        Ok(flow)
    }

    /// The way that a flow takes, all the time: only what leaves by the second one is translated.
    fn way(&self, flow: &UdpSocket, questions: u32) -> Result<usize> {
        let mut ways = BTreeSet::new();
        for _ in 0..questions {
            flow.send(QUESTION)?;
            let mut answer = [0; 64];
            let length = flow.recv(&mut answer).context("a question without an answer")?;
            let seen = std::str::from_utf8(&answer[QUESTION.len()..length])?;
            let senders = [self.client, self.own[1]];
            ways.insert(senders.iter().position(|sender| *sender == seen).with_context(|| seen.to_owned())?);
        }
        ensure!(ways.len() == 1, "it took both ways");
        ways.pop_first().context("no question")
    }
}

/// Answers each datagram with what it says and the address that it came from, until it is dropped.
struct Mirror {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Mirror {
    fn start(lab: &Lab) -> Result<Self> {
        let socket = lab.server.inside(|| UdpSocket::bind(("::", PORT)))??;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = lab.server.beside(move || {
            let mut question = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                let seen = from.ip().to_canonical().to_string();
                // A gateway that is dead has no way back.
                let _ = socket.send_to(&[&question[..length], seen.as_bytes()].concat(), from);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn flows_keep_their_gateway_and_leave_a_dead_one_alone() {
    flows_keep_their_gateway(&IPV4);
}

#[test]
fn flows_of_ipv6_keep_their_gateway_and_leave_a_dead_one_alone() {
    flows_keep_their_gateway(&IPV6);
}

fn flows_keep_their_gateway(of: &Family) {
    of.bed("uplinks", |lab| {
        let Family { option, gateways: [_, second], bits: [net, _], .. } = of;
        let _mirror = Mirror::start(lab)?;
        let flows: Vec<UdpSocket> = (0..8).map(|_| of.open(lab, PATIENCE)).collect::<Result<_>>()?;
        let before = lab.received()?;
        let ways: Vec<usize> = flows.iter().map(|flow| of.way(flow, 20)).collect::<Result<_>>()?;
        let after = lab.received()?;
        ensure!(ways.iter().sum::<usize>() == 4, "in turn: {ways:?}");
        ensure!((0..2).all(|way| after[way] >= before[way] + 80), "{before:?} {after:?}");
        for (flow, taken) in flows.iter().zip(&ways) {
            ensure!(of.way(flow, 20)? == *taken, "a flow has changed its way");
        }
        ensure!(of.states(lab)? == [4, 4], "{:?}", lab.states()?);
        let steady = steady_flow(lab, of)?;

        // It answers neither ARP, nor solicitations, nor anything that is sent to the Ethernet address that it had.
        lab.server.run(&format!("ip {option} addr del {second}/{net} dev eth-up"))?;
        lab.server.run("ip link set eth-up address 02:00:00:00:04:02")?;
        wait_until("the dead gateway to be left", FOUND, || {
            (0..4).all(|_| of.open(lab, SILENCE).and_then(|flow| of.way(&flow, 1)).is_ok_and(|way| way == 0))
        })?;
        let before = of.states(lab)?[1];
        for _ in 0..10 {
            ensure!(of.way(&of.open(lab, PATIENCE)?, 4)? == 0, "a new flow goes to the dead gateway");
        }
        ensure!(of.states(lab)?[1] <= before, "{:?}", lab.states()?);
        let (sent, answered) = steady.stop()?;
        ensure!(sent == answered && sent > 10, "the living one has lost {} of {sent}", sent - answered);

        lab.server.run(&format!("ip {option} addr add {second}/{net} dev eth-up"))?;
        of.lead_back(lab)?;
        wait_until("the gateway to be used again", FOUND, || {
            of.open(lab, SILENCE).and_then(|flow| of.way(&flow, 4)).is_ok_and(|way| way == 1)
        })
    });
}

/// A flow by the first way, a datagram each twentieth of a second.
fn steady_flow(lab: &Lab, of: &Family) -> Result<Stream> {
    for _ in 0..4 {
        let before = of.states(lab)?[0];
        let stream = Stream::start(&lab.client, address(of.far, PORT), Duration::from_millis(50))?;
        wait_until("the flow to be answered", PATIENCE, || stream.answered() > 0)?;
        if of.states(lab)?[0] > before {
            return Ok(stream);
        }
        stream.stop()?;
    }
    anyhow::bail!("no flow has taken the first way")
}

#[test]
fn answers_leave_where_the_question_came_in() {
    answers_leave_where_it_came_in(&IPV4);
}

#[test]
fn answers_of_ipv6_leave_where_the_question_came_in() {
    answers_leave_where_it_came_in(&IPV6);
}

fn answers_leave_where_it_came_in(of: &Family) {
    of.bed("replies", |lab| {
        let Family { option, far, client, gateways: [first, _], own: [_, second], bits: [_, host], .. } = of;
        let _inside = Echo::start(&lab.client, PORT)?;
        let _own = Echo::start(&lab.firewall, PORT)?;
        // The server asks by the second way; the firewall's kernel knows the first one back.
        lab.firewall.run(&format!("ip {option} route add {far} via {first} src {second}"))?;
        let there = format!("ip {option} route add {client}/{host} via {second} dev eth-up src {far}");
        lab.server.run(&there)?;
        for target in [client, second] {
            let before = lab.received()?;
            for _ in 0..10 {
                sockets::ask(&lab.server, address(target, PORT), PATIENCE)?.succeeded(target)?;
            }
            let after = lab.received()?;
            let came = [after[0] - before[0], after[1] - before[1]];
            // Neighbours may have something to say besides.
            ensure!(came[1] >= 10 && came[0] < 10, "{target}: answers came by both ways: {came:?}");
            let mut stream =
                sockets::connect(&lab.server, address(target, PORT), PATIENCE)?.succeeded(target)?;
            sockets::converse(&mut stream)?;
        }
        // The other way round nothing is passed in, so that an answer there would have had no state.
        ensure!(of.states(lab)?[1] > 0, "{:?}", lab.states()?);
        Ok(())
    });
}
