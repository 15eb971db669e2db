//! What was dropped and why: counts since a moment, rates, and examples. Parts of messages: as for those, whoever changes a
//! type here raises [`VERSION`](crate::VERSION).

use core::fmt;

use ruleset::{Direction, PeerState, Reason, TupleEnd};
use serde::{Deserialize, Serialize};

/// What was dropped on one interface: the one that the packet arrived on, or, where only sending failed (`tx-full`,
/// `host-full`, `port-down`, `too-big` and `no-neighbor` counted after routing), the one that it should have left by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceDrops {
    /// The interface.
    pub interface: String,
    /// Every reason with its count, zero included, in counter order.
    pub reasons: Vec<ReasonCount>,
}

/// How many packets were dropped for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason.
    pub reason: Reason,
    /// Packets.
    pub packets: u64,
}

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// What a report of drops is to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropQuery {
    /// Only what was dropped in so many seconds; else since the start.
    pub since_s: Option<u64>,
    /// Only what was dropped for this reason.
    pub reason: Option<Reason>,
}

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropReport {
    /// The time that the counts cover, in seconds. History is kept in steps, so that it may be more than was asked for, and
    /// less if there is none.
    pub covered_s: u64,
    /// Counts, by interface and reason, in counter order.
    pub interfaces: Vec<InterfaceDrops>,
    /// The time that `recent` covers, in milliseconds: what rates are of.
    pub recent_ms: u64,
    /// Counts of the last seconds.
    pub recent: Vec<InterfaceDrops>,
    /// The ruleset that `rules` and the examples' rules are numbers in; 0 without one.
    pub generation: u64,
    /// What its `block` rules dropped, those that dropped something.
    pub rules: Vec<RuleDrops>,
    /// The last packets that were dropped, a sample of each reason, the newest last.
    pub examples: Vec<DropExample>,
}

/// What a rule dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDrops {
    /// Its place in the list of the ruleset's rules.
    pub rule: u32,
    /// Packets, in the time of the report or since the ruleset was committed, whichever is less.
    pub packets: u64,
    /// Packets of the last seconds.
    pub recent: u64,
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropExample {
    /// When: whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: u64,
    /// The rest of that time, in nanoseconds.
    pub nanoseconds: u32,
    /// The worker.
    pub worker: u16,
    /// Why.
    pub reason: Reason,
    /// The interface whose counter has it.
    pub interface: String,
    /// The interface where it arrived; `None` if it was lost as it left, when that is not known any more.
    pub arrival: Option<String>,
    /// The host sent it; else it came by the wire, or it is not known.
    pub from_host: bool,
    /// It was lost on its way to the host.
    pub to_host: bool,
    /// The hook that refused it, if one did.
    pub hook: Option<HookView>,
    /// The rule that refused it, that found nothing to translate it to, or that made the state which it did not fit, by its place
    /// in the list of the ruleset's rules; `None` if there is none, or if it was another ruleset's.
    pub rule: Option<u32>,
    /// The packet.
    pub packet: SeenPacket,
    /// What it did not fit.
    pub misfit: Option<MisfitView>,
    /// Drops of the same reason at the same worker since the example before, which left none.
    pub between: u64,
}

/// A hook of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookView {
    /// In or out.
    pub direction: Direction,
    /// The interface.
    pub interface: String,
}

impl fmt::Display for HookView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", direction_word(self.direction), self.interface)
    }
}

/// As much as is known of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenPacket {
    /// What its headers say, as it arrived.
    Packet(PacketView),
    /// It could not be read, or is not IP.
    Frame {
        /// Bytes of the frame.
        length: u32,
        /// The first of them, from the Ethernet header on.
        bytes: Vec<u8>,
    },
}

/// A packet's headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketView {
    /// The protocol, by name where it has one.
    pub proto: String,
    /// The sender.
    pub source: TupleEnd,
    /// The receiver.
    pub destination: TupleEnd,
    /// TCP.
    pub tcp: Option<TcpView>,
    /// ICMP: type and code.
    pub icmp: Option<(u8, u8)>,
    /// A fragment.
    pub fragment: bool,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes of the IP datagram.
    pub length: u32,
}

/// A TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpView {
    /// pf's letters for the flags.
    pub flags: String,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// The window field, not scaled.
    pub window: u16,
    /// Octets of payload.
    pub length: u32,
}

impl fmt::Display for PacketView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} > {}", self.proto, self.source, self.destination)?;
        if let Some(TcpView { flags, seq, ack, length, .. }) = &self.tcp {
            write!(f, " {flags} seq {seq} ack {ack} len {length}")?;
        }
        if let Some((kind, code)) = self.icmp {
            write!(f, " type {kind} code {code}")?;
        }
        if self.fragment {
            f.write_str(" fragment")?;
        }
        write!(f, ", ttl {}, {} bytes", self.ttl, self.length)
    }
}

impl fmt::Display for SeenPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, bytes) = match self {
            Self::Packet(packet) => return packet.fmt(f),
            Self::Frame { length, bytes } => (length, bytes),
        };
        if let Some(header) = bytes.get(..ETHERNET) {
            let mac = |octets: &[u8]| {
                octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
            };
            let kind = u16::from_be_bytes([header[12], header[13]]);
            write!(f, "{} > {}, ethertype 0x{kind:04x}, ", mac(&header[6..12]), mac(&header[..6]))?;
        }
        write!(f, "{length} bytes:")?;
        bytes.iter().skip(ETHERNET).try_for_each(|octet| write!(f, " {octet:02x}"))
    }
}

/// A state, and what a packet has against it. Of each pair, what belongs to the sender of the packet that made the state is
/// first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisfitView {
    /// The hook of the packet that made the state.
    pub direction: Direction,
    /// True if the packet goes the same way as that one.
    pub forward: bool,
    /// Both ends, on the wire.
    pub wire: [TupleEnd; 2],
    /// Both ends, inside the firewall.
    pub stack: [TupleEnd; 2],
    /// What was known of both ends.
    pub peers: [PeerMet; 2],
    /// Packets seen from each.
    pub packets: [u64; 2],
    /// What does not fit.
    pub kind: Misfit,
}

/// An end of a TCP connection, as it was when a packet did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMet {
    /// How far it had come.
    pub state: PeerState,
    /// The next sequence number expected.
    pub seqlo: u32,
    /// The highest that the other end's window allows.
    pub seqhi: u32,
    /// The largest window that it announced, unscaled.
    pub max_win: u16,
    /// The shift of its windows, if it announced one.
    pub wscale: Option<u8>,
    /// What is added to its numbers on the other side.
    pub seqdiff: u32,
}

/// What a packet has against its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Misfit {
    /// A segment outside of the window.
    Window {
        /// The clauses that do not hold, as pf prints them: `1         | 5  `.
        failed: String,
        /// What they mean, with numbers.
        clauses: Vec<Clause>,
        /// Where the segment begins, as it was judged.
        seq: u32,
        /// How far behind what was seen of the receiver it acknowledges; negative if ahead, `i32::MIN` if nothing was seen.
        ackskew: i32,
    },
    /// An ICMP error about a segment that is not under way.
    Quoted {
        /// Why it is none.
        why: String,
    },
    /// An ICMP query where a reply was due, or the reverse.
    Query,
    /// A timestamp that its sender cannot have sent.
    Timestamp {
        /// What is wrong with it, with how much.
        why: String,
        /// By how many ticks of the clock that it is of; `None` where that is no question of time.
        by: Option<u32>,
    },
}

/// A clause of pf's window test that a segment misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    /// pf's mark: 1 to 6, or R for the position of a reset.
    pub mark: char,
    /// By how many octets.
    pub by: u32,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mark, by } = self;
        match mark {
            '1' => write!(f, "ends {by} octets beyond the window that its receiver has opened"),
            '2' => write!(f, "begins {by} octets before the oldest that may be sent again"),
            // 2³¹ less the slack: the receiver has not been seen at all.
            '3' if *by > i32::MAX as u32 - 100_000 => {
                f.write_str("acknowledges an end of which nothing was seen")
            }
            '3' => write!(f, "acknowledges {by} octets more than were seen of its receiver, and 67035 spare"),
            '4' => write!(f, "acknowledges what is {by} octets older than it may be"),
            'R' => write!(f, "is a reset {by} octets off the number that is expected"),
            '5' => write!(f, "ends {by} octets beyond the window and 67035 spare"),
            _ => write!(f, "begins {by} octets before the oldest and 67035 spare"),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query => f.write_str("a query where a reply was due, or the reverse"),
            Self::Quoted { why } => write!(f, "it quotes a segment that {why}"),
            Self::Timestamp { why, .. } => f.write_str(why),
            Self::Window { clauses, .. } => {
                // The last two are the first two with more to spare.
                let strict = clauses.iter().filter(|clause| !matches!(clause.mark, '5' | '6'));
                for (number, clause) in strict.enumerate() {
                    write!(f, "{}({}) {clause}", if number > 0 { "; " } else { "" }, clause.mark)?;
                }
                Ok(())
            }
        }
    }
}

impl DropExample {
    /// Where it was: the interface where it arrived, or the one that it was to leave by if that is all that is known.
    pub fn place(&self) -> &str {
        self.arrival.as_deref().unwrap_or(&self.interface)
    }

    /// What OpenBSD's pf logs of a segment that does not fit its state, without the end of the line; `None` of other drops.
    pub fn bad_state(&self) -> Option<String> {
        let (Some(misfit), SeenPacket::Packet(packet)) = (&self.misfit, &self.packet) else { return None };
        let (Misfit::Window { failed, seq, ackskew, .. }, Some(tcp)) = (&misfit.kind, &packet.tcp) else {
            return None;
        };
        let state = state_of(misfit, self.rule);
        let TcpView { flags, seq: given, ack, length, .. } = tcp;
        let [forward, reverse] = misfit.packets;
        let hook = self.hook.as_ref().map_or("in", |hook| direction_word(hook.direction));
        let way = if misfit.forward { "fwd" } else { "rev" };
        Some(format!(
            "pf: BAD state: {state} {flags} seq={seq} ({given}) ack={ack} len={length} ackskew={ackskew} \
             pkts={forward}:{reverse} dir={hook},{way}  State failure on: {failed}"
        ))
    }
}

/// A state in the words of pf's log (`pf_print_state`).
fn state_of(misfit: &MisfitView, rule: Option<u32>) -> String {
    let MisfitView { direction, wire, stack, peers, .. } = misfit;
    // pf keeps the far end first.
    let ends = |[first, second]: &[TupleEnd; 2]| match direction {
        Direction::In => format!("{first} {second}"),
        Direction::Out => format!("{second} {first}"),
    };
    let stack = if stack == wire { "-".to_owned() } else { ends(stack) };
    let scaled = peers.iter().all(|peer| peer.wscale.is_some());
    let peer = |peer: &PeerMet| {
        let PeerMet { seqlo, seqhi, max_win, seqdiff, wscale, .. } = peer;
        let scale = wscale.filter(|_| scaled).map_or_else(String::new, |shift| format!(" wscale={shift}"));
        format!("[lo={seqlo} high={seqhi} win={max_win} modulator={seqdiff}{scale}]")
    };
    let [source, destination] = peers;
    let rule = rule.map_or_else(String::new, |rule| format!(" @{rule}"));
    format!(
        "TCP {} wire: (0) {} stack: (0) {stack} {} {} {}:{}{rule}",
        direction_word(*direction),
        ends(wire),
        peer(source),
        peer(destination),
        source.state as u8,
        destination.state as u8,
    )
}

const fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}
