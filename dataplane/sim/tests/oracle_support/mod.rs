//! What the oracle's stories share: a machine with two networks, rules, packets, and TCP stories as text.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::net::{IpAddr, Ipv4Addr};

use ruleset::{Action, BlockReply, Direction, FlagsMatch, Reason, Rule, Ruleset, StateMode};
use sim::oracle::{
    Deviations, From, Icmp, Interface, InterfaceId, InterfaceKind, IpOptions, Onward, Oracle, Packet, Part,
    Quoted, QuotedPart, QuotedTransport, Reply, SECOND, State, Tcp, Transport, Verdict, World,
};
use wire::{Port, Proto, Seq, TcpFlags};

/// The client's network.
pub const INSIDE: InterfaceId = InterfaceId(0);
/// The server's network.
pub const OUTSIDE: InterfaceId = InterfaceId(1);
/// A second way to the server's network.
pub const DETOUR: InterfaceId = InterfaceId(2);

pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
/// The firewall on the client's network.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// A router behind the server's network, which nobody talks to.
pub const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 254));

pub const CLIENT_PORT: Port = Port(40_000);
pub const SERVER_PORT: Port = Port(80);

pub fn v6(last: u16) -> IpAddr {
    IpAddr::V6([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())
}

pub fn world() -> World {
    let interface = |name: &str, groups: &[&str], kind, nets: &[&str]| Interface {
        name: name.into(),
        groups: groups.iter().map(|&group| group.into()).collect(),
        kind,
        addresses: nets.iter().map(|net| net.parse().expect("a network")).collect(),
    };
    let net = |text: &str| text.parse().expect("a network");
    World {
        pairs: Vec::new(),
        interfaces: vec![
            interface(
                "em0",
                &["lan"],
                InterfaceKind::Port,
                &["10.0.0.1/24", "10.0.0.9/24", "2001:db8::1/64"],
            ),
            interface("em1", &["egress"], InterfaceKind::Port, &["10.1.0.1/24"]),
            interface("em2", &["egress"], InterfaceKind::Port, &["10.2.0.1/24"]),
            interface("lo0", &[], InterfaceKind::Loopback, &["127.0.0.1/8"]),
        ],
        routes: vec![
            (net("10.0.0.0/24"), INSIDE),
            (net("10.1.0.0/24"), OUTSIDE),
            (net("10.2.0.0/24"), DETOUR),
            (net("2001:db8::/64"), INSIDE),
            (net("2001:db8:1::/64"), OUTSIDE),
        ],
    }
}

/// `pass keep state`, with pf's default flags.
pub fn pass() -> Rule {
    Rule { state: StateMode::Keep, flags: Some(FlagsMatch::SYN_ONLY), ..Rule::default() }
}

pub fn pass_out() -> Rule {
    Rule { direction: Some(Direction::Out), ..pass() }
}

/// `pass flags any keep state`.
pub fn pass_any_flags() -> Rule {
    Rule { flags: None, ..pass() }
}

pub fn sloppy() -> Rule {
    let mut rule = pass_any_flags();
    rule.state_options.sloppy = true;
    rule
}

pub fn block(reply: BlockReply) -> Rule {
    Rule { action: Action::Block(reply), ..Rule::default() }
}

pub fn rules(rules: Vec<Rule>) -> Ruleset {
    let ruleset = Ruleset { rules, ..Ruleset::default() };
    ruleset.validate().expect("the test's rules are valid");
    ruleset
}

pub fn oracle(ruleset: Ruleset, deviations: Deviations) -> Oracle {
    Oracle::new(ruleset, world(), deviations, 1).expect("the test's rules are modelled")
}

pub fn pf(list: Vec<Rule>) -> Oracle {
    oracle(rules(list), Deviations::NONE)
}

pub fn packet(source: IpAddr, destination: IpAddr, transport: Transport) -> Packet {
    let header = if source.is_ipv4() { 20 } else { 40 };
    let length = header
        + match &transport {
            Transport::Tcp(tcp) => 20 + tcp.payload,
            _ => 8,
        };
    let (options, part) = (IpOptions::Absent, Part::Whole);
    Packet { source, destination, ttl: 64, tos: 0, length, options, part, transport }
}

/// A segment from the client; [`back`] turns it round.
pub fn tcp(flags: TcpFlags, seq: u32, ack: u32) -> Tcp {
    Tcp {
        source_port: CLIENT_PORT,
        destination_port: SERVER_PORT,
        flags,
        seq: Seq(seq),
        ack: Seq(ack),
        window: 1000,
        ..Tcp::default()
    }
}

pub fn syn() -> Packet {
    packet(CLIENT, SERVER, Transport::Tcp(tcp(TcpFlags::SYN, 1000, 0)))
}

pub fn udp(source: IpAddr, source_port: u16, destination: IpAddr, destination_port: u16) -> Packet {
    let (source_port, destination_port) = (Port(source_port), Port(destination_port));
    packet(source, destination, Transport::Udp { source_port, destination_port })
}

pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, id: u16) -> Packet {
    let icmp = Icmp { kind, id, ..Icmp::default() };
    let transport = if source.is_ipv4() { Transport::Icmp(icmp) } else { Transport::Icmp6(icmp) };
    packet(source, destination, transport)
}

/// An ICMP error of `kind` from `source` about a packet that `to` sent to `about`.
pub fn icmp_error(source: IpAddr, to: IpAddr, about: IpAddr, kind: u8, transport: QuotedTransport) -> Packet {
    let mut error = icmp(source, to, kind, 0);
    let quoted = Quoted { source: to, destination: about, part: QuotedPart::First, transport };
    if let Transport::Icmp(icmp) | Transport::Icmp6(icmp) = &mut error.transport {
        icmp.quoted = Some(quoted);
    }
    error
}

/// Forwards from the client's network to the server's.
pub fn outbound(oracle: &mut Oracle, packet: &Packet, now: u64) -> Verdict {
    oracle.forward(packet, From::Interface(INSIDE), Onward::Interface(OUTSIDE), now)
}

/// Forwards from the server's network to the client's.
pub fn inbound(oracle: &mut Oracle, packet: &Packet, now: u64) -> Verdict {
    oracle.forward(packet, From::Interface(OUTSIDE), Onward::Interface(INSIDE), now)
}

pub fn dropped(reason: Reason) -> Verdict {
    Verdict::drop(reason)
}

pub const fn seconds(count: u64) -> u64 {
    count * SECOND
}

/// A TCP connection told line by line.
///
/// `+30s` lets time pass. A segment is `c` or `s` (who sends), flags in pf's letters (`-` for none), seq, ack, then any
/// of `w=window ws=shift len=payload ttl=n opts`, then `->`, the verdict (`pass` or the reason, with `+rst=seq,ack`,
/// `+challenge=seq,ack` behind it if a reply is sent), and the states of all of pf's states, oldest first, source's and
/// destination's, once if all are equal; `none` if there are none. A refusal must leave every state as it was, unless
/// the line ends in `!`: then it must not.
pub struct Story {
    pub oracle: Oracle,
    pub now: u64,
}

impl Story {
    pub fn new(list: Vec<Rule>) -> Self {
        Self::with(list, Deviations::NONE)
    }

    pub fn with(list: Vec<Rule>, deviations: Deviations) -> Self {
        Self { oracle: oracle(rules(list), deviations), now: 0 }
    }

    pub fn tell(&mut self, text: &str) -> &mut Self {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix('+').and_then(|rest| rest.strip_suffix('s')) {
                Some(count) => self.now += seconds(count.parse().expect("seconds")),
                None => self.segment(line),
            }
        }
        self
    }

    fn segment(&mut self, line: &str) {
        let (sent, expected) = line.split_once("->").expect("a line has an arrow");
        let (packet, from_client) = parse(sent);
        let before: Vec<State> = self.oracle.states().to_vec();
        let verdict = if from_client {
            outbound(&mut self.oracle, &packet, self.now)
        } else {
            inbound(&mut self.oracle, &packet, self.now)
        };
        let (expected, changes) = match expected.trim().strip_suffix('!') {
            Some(rest) => (rest.trim(), true),
            None => (expected.trim(), false),
        };
        let words: Vec<&str> = expected.split_whitespace().collect();
        let got = format!("{} {}", told(verdict), self.peers());
        assert_eq!(got, words.join(" "), "after {line}\n{}", self.oracle.print_states(self.now));
        if verdict != Verdict::Pass {
            let same = self.oracle.states() == before;
            assert_eq!(!same, changes, "what a refusal changes: {line}");
        }
    }

    /// Both peers of every state, oldest first, once if all agree.
    pub fn peers(&self) -> String {
        let mut states: Vec<&State> = self.oracle.states().iter().collect();
        states.sort_by_key(|state| state.id);
        let name =
            |state: &&State| format!("{}:{}", state.source.state.name(), state.destination.state.name());
        let mut names: Vec<String> = states.iter().map(name).collect();
        names.dedup();
        if names.is_empty() { "none".into() } else { names.join(" ") }
    }

    /// The state that the client's packet made where it entered.
    pub fn first(&self) -> &State {
        self.oracle.states().iter().min_by_key(|state| state.id).expect("a state")
    }
}

fn told(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".into(),
        Verdict::Drop { reason, reply: None } => reason.name().into(),
        Verdict::Drop { reason, reply: Some(Reply::Rst { seq, ack, .. }) } => {
            format!("{} +rst={seq},{ack}", reason.name())
        }
        Verdict::Drop { reason, reply: Some(Reply::ChallengeAck { seq, ack }) } => {
            format!("{} +challenge={seq},{ack}", reason.name())
        }
        Verdict::Drop { reason, reply: Some(Reply::Icmp { kind, code }) } => {
            format!("{} +icmp={kind},{code}", reason.name())
        }
    }
}

fn parse(text: &str) -> (Packet, bool) {
    let mut words = text.split_whitespace();
    let mut next = || words.next().expect("who, flags, seq, ack");
    let (who, letters, seq, ack) = (next(), next(), next(), next());
    let number = |word: &str| word.parse().expect("a number");
    let mut segment = tcp(flags(letters), number(seq), number(ack));
    let (mut ttl, mut options) = (64, IpOptions::Absent);
    for word in words {
        match word.split_once('=') {
            Some(("w", value)) => segment.window = value.parse().expect("a window"),
            Some(("ws", value)) => segment.wscale = Some(value.parse().expect("a shift")),
            Some(("len", value)) => segment.payload = number(value),
            Some(("ttl", value)) => ttl = value.parse().expect("a time to live"),
            _ if word == "opts" => options = IpOptions::Present,
            _ => panic!("what is {word}?"),
        }
    }
    let from_client = who == "c";
    let packet = if from_client { packet(CLIENT, SERVER, Transport::Tcp(segment)) } else { back(segment) };
    (Packet { ttl, options, ..packet }, from_client)
}

/// The segment as the server sends it.
pub fn back(segment: Tcp) -> Packet {
    let (source_port, destination_port) = (segment.destination_port, segment.source_port);
    packet(SERVER, CLIENT, Transport::Tcp(Tcp { source_port, destination_port, ..segment }))
}

pub fn flags(letters: &str) -> TcpFlags {
    let bit = |letter| match TcpFlags::LETTERS.iter().position(|&known| known == letter) {
        Some(place) => 1 << place,
        None if letter == '-' => 0,
        None => panic!("no flag is called {letter}"),
    };
    TcpFlags(letters.chars().map(bit).fold(0, |all, one| all | one))
}

/// A handshake without window scaling: client 1000, server 5000, windows of 1000.
pub const HANDSHAKE: &str = "
    c S  1000 0       -> pass SYN_SENT:CLOSED
    s SA 5000 1001    -> pass ESTABLISHED:SYN_SENT
    c A  1001 5001    -> pass ESTABLISHED:ESTABLISHED
";

pub const fn proto(number: u8) -> Transport {
    Transport::Other(Proto(number))
}
