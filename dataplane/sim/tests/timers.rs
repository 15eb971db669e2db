//! How long a translated connection is kept that nobody says anything in (D10): by default as long as pf keeps it, under
//! `set optimization rfc-nat` at least as long as RFC 4787, 5382 and 5508 ask.

use engine::{Arrival, Fate, InterfaceId, Source, Tick};
use pfconf::Interfaces;
use ruleset::Reason;
use sim::firewall::Firewall;
use sim::rng::Rng;
use sim::sketch::{Body, Segment, Sketch};
use sim::topology::{self, address, mac};
use wire::{Af, Seq, TcpFlags};

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);
const RULES: &str = "block\n\
    match out on em1 inet nat-to 10.1.0.1\n\
    pass in on em0\n\
    pass out\n";
/// The client's port, or identifier, and the server's port.
const PORTS: (u16, u16) = (4000, 80);

/// Where in a frame the source port is, and where the identifier of a query.
const PORT_AT: usize = 14 + 20;
const IDENT_AT: usize = PORT_AT + 4;

#[derive(Clone, Copy)]
enum Kind {
    /// Flags, sequence number, acknowledgment number.
    Tcp(TcpFlags, u32, u32),
    Udp,
    Echo,
}

/// Whether the client sends it, and what.
type Step = (bool, Kind);

const SYN: Step = (true, Kind::Tcp(TcpFlags::SYN, 1, 0));
const SYN_ACK: Step = (false, Kind::Tcp(TcpFlags::SYN.union(TcpFlags::ACK), 9, 2));
const ACK: Step = (true, Kind::Tcp(TcpFlags::ACK, 2, 10));
const FIN: Step = (true, Kind::Tcp(TcpFlags::FIN.union(TcpFlags::ACK), 2, 10));
const ACK_OF_FIN: Step = (false, Kind::Tcp(TcpFlags::ACK, 10, 3));
const OTHER_FIN: Step = (false, Kind::Tcp(TcpFlags::FIN.union(TcpFlags::ACK), 10, 3));
const LAST_ACK: Step = (true, Kind::Tcp(TcpFlags::ACK, 3, 11));
const RST: Step = (true, Kind::Tcp(TcpFlags::RST, 2, 0));
const ACK_BACK: Step = (false, Kind::Tcp(TcpFlags::ACK, 10, 2));
const UDP: Step = (true, Kind::Udp);
const UDP_BACK: Step = (false, Kind::Udp);
const ECHO: Step = (true, Kind::Echo);
const ECHO_BACK: Step = (false, Kind::Echo);

/// A firewall between one client and one server.
struct Flow {
    firewall: Firewall,
    now: Tick,
    /// What stands for the client's port, or identifier, outside.
    outside: u16,
}

impl Flow {
    fn new(profile: &str) -> Self {
        let rules = pfconf::compile(&format!("{profile}{RULES}"), &Interfaces::default());
        let rules = rules.unwrap_or_else(|findings| panic!("{findings}"));
        let mut firewall = Firewall::new(topology::fib(), 1, 64, Rng::new(1));
        firewall.load(&rules).expect("rules that the engine takes");
        Self { firewall, now: Tick::from_secs(1), outside: 0 }
    }

    fn send(&mut self, (there, kind): Step) -> Fate {
        let (client, server) = ((INSIDE, 2, PORTS.0), (OUTSIDE, 2, PORTS.1));
        let (from, to) = if there { (client, server) } else { (server, (OUTSIDE, 1, self.outside)) };
        let (sport, dport) = (from.2, to.2);
        let body = match kind {
            Kind::Tcp(flags, seq, ack) => {
                let (seq, ack) = (Seq(seq), Seq(ack));
                Body::Tcp(Segment { sport, dport, flags, seq, ack, window: 1000, ..Segment::default() })
            }
            Kind::Udp => Body::Udp { sport, dport, len: 4 },
            Kind::Echo if there => Body::Icmp { kind: 8, code: 0, ident: sport },
            Kind::Echo => Body::Icmp { kind: 0, code: 0, ident: dport },
        };
        let of = |(side, station, _)| address(Af::Inet, side, station);
        let mut frame = Sketch::new(of(from), of(to), body).frame(mac(from.0, 2), mac(from.0, 1));
        let arrival = Arrival { interface: from.0, source: Source::Wire };
        let fate = self.firewall.receive(self.now, arrival, &mut frame);
        if there {
            let at = if matches!(kind, Kind::Echo) { IDENT_AT } else { PORT_AT };
            self.outside = u16::from_be_bytes([frame[at], frame[at + 1]]);
        }
        fate
    }
}

/// What a server's packet comes to, so many seconds behind an exchange.
fn later(profile: &str, exchange: &[Step], answer: Step, seconds: u64) -> Fate {
    let mut flow = Flow::new(profile);
    for step in exchange {
        assert!(matches!(flow.send(*step), Fate::Transmit(_)), "what is exchanged passes");
    }
    flow.now = flow.now + Tick::from_secs(seconds);
    flow.send(answer)
}

#[test]
fn d10_profiles_keep_quiet_connections_as_long_as_they_promise() {
    /// What is exchanged, what the server says then, for how many seconds it is let in by default and under rfc-nat, and for
    /// how many it must be there.
    type Row<'a> = (&'a str, &'a [Step], Step, [u64; 2], u64);
    const TRANSITORY: u64 = 240;
    let table: [Row<'_>; 11] = [
        ("tcp.first", &[SYN], SYN_ACK, [120, 240], TRANSITORY),
        ("tcp.opening", &[SYN, SYN_ACK], SYN_ACK, [30, 240], TRANSITORY),
        ("tcp.established", &[SYN, SYN_ACK, ACK], ACK_BACK, [86_400, 7440], 7440),
        ("tcp.closing", &[SYN, SYN_ACK, ACK, FIN], ACK_OF_FIN, [900, 240], TRANSITORY),
        ("tcp.finwait", &[SYN, SYN_ACK, ACK, FIN, OTHER_FIN], OTHER_FIN, [45, 240], TRANSITORY),
        (
            "tcp.closed, both ends",
            &[SYN, SYN_ACK, ACK, FIN, ACK_OF_FIN, OTHER_FIN, LAST_ACK],
            OTHER_FIN,
            [90, 240],
            TRANSITORY,
        ),
        ("tcp.closed, a reset", &[SYN, SYN_ACK, ACK, RST], ACK_BACK, [90, 240], TRANSITORY),
        ("udp.first", &[UDP], UDP_BACK, [60, 300], 120),
        ("udp.single", &[UDP, UDP], UDP_BACK, [30, 300], 120),
        ("udp.multiple", &[UDP, UDP_BACK, UDP, UDP_BACK], UDP_BACK, [60, 300], 120),
        ("icmp.first", &[ECHO], ECHO_BACK, [20, 60], 60),
    ];
    for (name, exchange, answer, kept, asked) in table {
        assert!(kept[1] >= asked, "{name}");
        for (profile, seconds) in ["", "set optimization rfc-nat\n"].into_iter().zip(kept) {
            let told = |wait| later(profile, exchange, answer, wait);
            assert_eq!(told(seconds - 1), Fate::Transmit(INSIDE), "{name}, {profile}");
            assert_eq!(told(seconds + 1), Fate::Drop(Reason::Match), "{name}, {profile}");
        }
    }
}

/// Each packet begins the time anew; what is refused does not.
#[test]
fn d10_what_is_said_keeps_a_connection() {
    for (profile, seconds) in [("", 60), ("set optimization rfc-nat\n", 300)] {
        let mut flow = Flow::new(profile);
        for step in [UDP, UDP_BACK, UDP] {
            assert!(matches!(flow.send(step), Fate::Transmit(_)));
        }
        for _ in 0..5 {
            flow.now = flow.now + Tick::from_secs(seconds - 1);
            assert_eq!(flow.send(UDP_BACK), Fate::Transmit(INSIDE), "{profile}");
        }
        flow.now = flow.now + Tick::from_secs(seconds + 1);
        assert_eq!(flow.send(UDP_BACK), Fate::Drop(Reason::Match), "{profile}");
    }
}
