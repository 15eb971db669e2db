//! The messages, and their version.
//!
//! Postcard names neither fields nor variants: whoever changes a type here raises [`VERSION`]. [`Hello`] alone keeps
//! its form for ever, so that two versions can tell each other apart.

use std::net::IpAddr;

use ruleset::{
    Flow, LogLevel, RoutingTable, Ruleset, Ruling, SourceSelector, SourceView, StateSelector, StateView,
    TableContents, TableEdit, TableEntry,
};
use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::drops::{DropQuery, DropReport, InterfaceDrops, ReasonCount};
use crate::events::{EventBatch, EventQuery};
use crate::kept::{FragmentStatus, LimitCount, SourceStatus};
use crate::pflog::LogEntry;
use crate::route::{NeighborView, RouteTo, RouteView};
use crate::trace::{TraceQuery, TraceView};
use crate::usage::{AddressCounts, EndpointMapping, Hooks, LiveUsage, MappingCount, Traffic};

/// The version of every message but [`Hello`]. Client and dataplane must agree.
pub const VERSION: u16 = 31;

/// Says that this is our protocol and not somebody else's.
pub const MAGIC: [u8; 4] = *b"TPDP";

/// The first frame of each side, the client's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`] of the sender.
    pub version: u16,
}

impl Hello {
    /// What this build says.
    pub const OURS: Self = Self { magic: MAGIC, version: VERSION };
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with each response to it. Not 0.
    pub id: u32,
    /// The request itself.
    pub body: RequestBody,
}

/// The requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// Make this the live ruleset, wholly or not at all. Answered by [`ResponseBody::Committed`].
    Commit(Box<Candidate>),
    /// How the dataplane is. Answered by [`ResponseBody::Status`].
    Status,
    /// What was dropped. Answered by [`ResponseBody::Drops`].
    Drops,
    /// What was dropped since a moment, with rates and examples. Answered by [`ResponseBody::DropReport`].
    DropReport(DropQuery),
    /// Every state. Answered by any number of [`ResponseBody::States`], then [`ResponseBody::Done`].
    States,
    /// The live ruleset. Answered by [`ResponseBody::Rules`].
    Rules,
    /// What each rule of the live ruleset has done. Answered by [`ResponseBody::Usage`].
    Usage,
    /// How many connections are translated to each address. Answered by [`ResponseBody::Mappings`].
    Mappings,
    /// The endpoints inside that have one endpoint outside, whoever they speak to. Answered by any number of
    /// [`ResponseBody::EndpointMappings`], then [`ResponseBody::Done`].
    EndpointMappings,
    /// The packets that `log` rules record from now on. Answered by [`ResponseBody::Logs`] until the client closes the
    /// connection or sends anything.
    Logs,
    /// What becomes of packets that fit, from now on. Answered by any number of [`ResponseBody::Traced`], then
    /// [`ResponseBody::Done`]; it ends before if the client closes the connection or sends anything.
    Trace(TraceQuery),
    /// What happens to states that fit, from now on. Answered by [`ResponseBody::Events`] until the client closes the
    /// connection or sends anything.
    Events(EventQuery),
    /// Every route that packets are forwarded by. Answered by any number of [`ResponseBody::Routes`], then
    /// [`ResponseBody::Done`].
    Routes,
    /// The route of a table to an address. Answered by [`ResponseBody::RouteTo`].
    RouteTo {
        /// The address.
        address: IpAddr,
        /// The table.
        table: RoutingTable,
    },
    /// Every neighbour. Answered by any number of [`ResponseBody::Neighbors`], then [`ResponseBody::Done`].
    Neighbors,
    /// Change tables of the live ruleset, all or none; its number stays. Answered by [`ResponseBody::Done`].
    Tables(Vec<TableEdit>),
    /// What a table of the live ruleset holds. Answered by any number of [`ResponseBody::Entries`], then
    /// [`ResponseBody::Done`].
    Entries(String),
    /// What is counted for each entry of a table of the live ruleset that has `counters`. Answered by any number of
    /// [`ResponseBody::AddressCounts`], then [`ResponseBody::Done`].
    AddressCounts(String),
    /// Remove the states that fit. Answered by [`ResponseBody::Killed`].
    Kill(Box<StateSelector>),
    /// Every source node, with packets and bytes of its states if `traffic` says so. Answered by any number of
    /// [`ResponseBody::Sources`], then [`ResponseBody::Done`].
    Sources {
        /// Whether every state is asked for what it has seen.
        traffic: bool,
    },
    /// Forget the source nodes that fit. Answered by [`ResponseBody::Killed`].
    ForgetSources(SourceSelector),
    /// Ask the rules, or let everything pass without asking them. Answered by [`ResponseBody::Switched`].
    Switch(Filtering),
    /// Log what is as grave as this, and graver (syslog(3)). Answered by [`ResponseBody::Done`].
    LogLevel(LogLevel),
    /// Count from zero. Answered by [`ResponseBody::Done`].
    Clear(Counts),
    /// What is counted since it was set to zero. Answered by [`ResponseBody::Info`].
    Info,
    /// What the live rules and a candidate say to these packets. Answered by [`ResponseBody::Judged`].
    Judge(Box<Candidate>, Vec<Flow>),
    /// What the live rules say to these packets, and in place of a candidate the same rules once they are asked. Answered by
    /// [`ResponseBody::Judged`].
    JudgeEnabled(Vec<Flow>),
    /// Which states a candidate would not make again. Answered by [`ResponseBody::Reviewed`].
    Review(Box<Candidate>),
}

/// A ruleset that is not live, or not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The rules.
    pub ruleset: Ruleset,
    /// What its tables hold, in place of their lists. A table with neither keeps what it holds.
    pub contents: Vec<TableContents>,
}

/// Whether the rules are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filtering {
    /// They are.
    #[default]
    On,
    /// Everything passes, without states.
    Off,
}

/// What can be counted from zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// What each rule of these anchors has done, by their paths; that of the main ruleset is empty.
    Rules(Vec<String>),
    /// What [`Info`] tells of all interfaces together.
    Info,
    /// What it tells of this one.
    Interface(String),
}

/// What the dataplane answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The request's number, or [`Response::CONNECTION`].
    pub id: u32,
    /// The answer itself.
    pub body: ResponseBody,
}

impl Response {
    /// In place of a request's number, for a refusal of what was not a request; the connection ends with it.
    pub const CONNECTION: u32 = 0;
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseBody {
    /// The request was refused and nothing changed; why, and what to do about it.
    Refused(String),
    /// The ruleset is live.
    Committed {
        /// Its number: one more than that of the ruleset before.
        generation: u64,
    },
    /// How the dataplane is.
    Status(Box<Status>),
    /// What was dropped, by interface.
    Drops(Vec<InterfaceDrops>),
    /// What was dropped, in detail.
    DropReport(Box<DropReport>),
    /// Some of the states.
    States(Vec<StateView>),
    /// There are no more of them.
    Done,
    /// The live ruleset, if one was committed.
    Rules(Option<Box<LiveRules>>),
    /// What each rule has done, if a ruleset was committed.
    Usage(Option<LiveUsage>),
    /// How many connections are translated to each address, with each protocol, in their order.
    Mappings(Vec<MappingCount>),
    /// Some of the endpoints that have one outside.
    EndpointMappings(Vec<EndpointMapping>),
    /// Logged packets. Without any: the first says that logging has begun, later ones that the dataplane is there.
    Logs(Vec<LogEntry>),
    /// Traced packets. Without any: the first says that tracing has begun, later ones that the dataplane is there.
    Traced(Vec<TraceView>),
    /// Events of states. Without any: the first says that listening has begun, later ones that the dataplane is there.
    Events(EventBatch),
    /// Some of the routes.
    Routes(Vec<RouteView>),
    /// The route to an address.
    RouteTo(Box<RouteTo>),
    /// Some of the neighbours.
    Neighbors(Vec<NeighborView>),
    /// Some of a table's entries.
    Entries(Vec<TableEntry>),
    /// What is counted for some of a table's entries.
    AddressCounts(Vec<AddressCounts>),
    /// Some of the source nodes.
    Sources(Vec<SourceView>),
    /// So many states were removed, or source nodes.
    Killed(u64),
    /// Filtering is as it was asked for.
    Switched {
        /// It was not so before.
        changed: bool,
    },
    /// What is counted since it was set to zero.
    Info(Box<Info>),
    /// What the rules say, in the order of the packets.
    Judged(Vec<Judged>),
    /// Which states would not be made again.
    Reviewed(Box<Reviewed>),
}

/// What `pfctl -si` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Whether the rules are asked.
    pub filtering: Filtering,
    /// Since when, in seconds.
    pub since_s: u64,
    /// Since the counts were set to zero, in seconds.
    pub counted_s: u64,
    /// The gravity of what is logged.
    pub level: String,
    /// `set hostid`.
    pub host_id: u32,
    /// What tells the rules from others: 128 bits in hexadecimal.
    pub checksum: String,
    /// States now.
    pub states: u64,
    /// Of those, TCP's whose first SYN is not acknowledged.
    pub half_open: u64,
    /// Lookups of states.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States removed.
    pub removals: u64,
    /// Datagrams in fragments.
    pub fragments: FragmentStatus,
    /// Floods of SYNs.
    pub floods: crate::FloodStatus,
    /// Source nodes.
    pub sources: SourceStatus,
    /// How often limits were met, in pfctl's order.
    pub limits: Vec<LimitCount>,
    /// Packets dropped, by reason, in counter order.
    pub drops: Vec<ReasonCount>,
    /// The interface or group of `set loginterface`.
    pub logged: Option<Logged>,
    /// Every interface.
    pub interfaces: Vec<InterfaceInfo>,
}

/// What `pfctl -si` shows of the interface of `set loginterface`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Its name, or that of a group.
    pub name: String,
    /// What its hooks did, or those of all interfaces of the group.
    pub hooks: Hooks,
}

/// What an interface carried, with bytes of Ethernet frames, and what `pfctl -vvsI` shows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceInfo {
    /// Its name.
    pub name: String,
    /// Since the counts were set to zero, in seconds.
    pub counted_s: u64,
    /// From the wire.
    pub received: Traffic,
    /// Onto the wire.
    pub sent: Traffic,
    /// From the host.
    pub host_in: Traffic,
    /// To the host.
    pub punted: Traffic,
    /// Packets dropped, for any reason.
    pub dropped: u64,
    /// What its hooks did.
    pub hooks: Hooks,
    /// Its link.
    pub link: LinkStatus,
}

/// What two rulesets say to a packet; `None` where it never meets their rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The live one, if there is one.
    pub live: Option<Ruling>,
    /// The candidate.
    pub candidate: Option<Ruling>,
}

/// What would become of the live states' first packets under a candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// States that were looked at.
    pub examined: u64,
    /// Of these, states whose first packet would be blocked.
    pub blocked: u64,
    /// False if time was over before all states were looked at.
    pub complete: bool,
    /// A few of those that would be blocked, and what blocks them.
    pub examples: Vec<(StateView, Ruling)>,
}

/// The live ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRules {
    /// Its number.
    pub generation: u64,
    /// Its rules, as they were committed.
    pub ruleset: Ruleset,
}

/// How the dataplane is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The live ruleset's number; 0 before the first commit, when nothing is forwarded.
    pub generation: u64,
    /// Since the start, in seconds.
    pub uptime_s: u64,
    /// Whether the rules are asked.
    pub filtering: Filtering,
    /// States now, counted as pf counts them: two for a forwarded connection.
    pub states: u64,
    /// The most states: the ruleset's limit, or what memory was taken for if no ruleset is live.
    pub states_limit: u64,
    /// Lookups of states.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States removed.
    pub removals: u64,
    /// Datagrams in fragments.
    pub fragments: FragmentStatus,
    /// Source nodes.
    pub sources: SourceStatus,
    /// The most source nodes.
    pub sources_limit: u64,
    /// How often limits were met, in pfctl's order.
    pub limits: Vec<LimitCount>,
    /// Sources that were put into tables because they had exceeded a limit, since the start.
    pub overloads: u64,
    /// Packets that `log` rules recorded in vain: the worker's records were full, or a reader of the log was too slow.
    pub log_lost: u64,
    /// Events of states that were lost: a worker's records were full, or one who listened was too slow.
    pub events_lost: u64,
    /// Times that the kernel had to drop netlink messages, each followed by a full resynchronisation.
    pub netlink_overruns: u64,
    /// Every interface.
    pub interfaces: Vec<InterfaceStatus>,
    /// Every worker.
    pub workers: Vec<WorkerStatus>,
    /// Every pool of packet buffers.
    pub pools: Vec<PoolStatus>,
}

/// What an interface is there for. Only a routed one has addresses and a host side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterfacePlace {
    /// Packets are routed by it.
    #[default]
    Routed,
    /// It is a transparent pair with this one.
    BridgedTo(String),
    /// It takes copies of frames.
    Span,
}

/// An interface and what it carried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// The operator's name for it.
    pub name: String,
    /// The DPDK device behind it.
    pub device: String,
    /// Its Ethernet address, colon separated.
    pub mac: String,
    /// Largest IP datagram, in bytes.
    pub mtu: u16,
    /// True if frames can be sent on it.
    pub up: bool,
    /// Its device's link.
    pub link: LinkStatus,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<String>,
    /// What it is there for.
    pub place: InterfacePlace,
    /// Frames received from the wire.
    pub rx_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub rx_bytes: u64,
    /// Frames put on the wire.
    pub tx_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub tx_bytes: u64,
    /// Frames that the host sent on it.
    pub host_in_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub host_in_bytes: u64,
    /// Frames handed to the host.
    pub punted_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub punted_bytes: u64,
    /// Packets whose checksum nobody had completed, among those that made states or were refused: whoever sent them leaves that
    /// to a network card that is none (ethtool(8) `tx off`).
    pub partial_checksums: u64,
    /// Frames received, from the wire or from the host, by another worker than the one that owns their flow.
    pub handed_off_packets: u64,
    /// What its device says.
    pub hardware: DeviceStatus,
}

/// What only the device behind an interface knows. Its counters never go back, whatever the driver does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// True if it has a link.
    pub link_up: bool,
    /// The link's speed in Mbit/s; 0 if it is not known.
    pub link_mbps: u32,
    /// Frames that it had to drop because its receive queues were full.
    pub rx_missed: u64,
    /// Frames that it received damaged.
    pub rx_errors: u64,
    /// Frames that it could not receive because there was no buffer.
    pub rx_no_buffer: u64,
    /// Frames that it failed to send.
    pub tx_errors: u64,
}

/// The link of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// `up`, `down`, `recovering` while the driver mends an error, `leaving` while queues are given back, `absent`; empty if
    /// it is not watched.
    pub state: String,
    /// Why it is not up.
    pub cause: Option<String>,
    /// Its speed in Mb/s, if it is up and the driver knows.
    pub speed_mbps: Option<u32>,
    /// How often its state has changed.
    pub changes: u64,
    /// How packets are spread over the workers, where there are several.
    pub spread: Option<String>,
}

/// What became of every packet of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conservation {
    /// Received from the wire.
    pub rx: u64,
    /// Received from the host.
    pub host_in: u64,
    /// Made here: RSTs, ICMP errors, copies, and fragments beside the first of a packet.
    pub created: u64,
    /// Handed over by other workers.
    pub handoff_in: u64,
    /// Put on the wire.
    pub tx: u64,
    /// Handed to the host.
    pub punted: u64,
    /// Waiting now: for a neighbour, or for the rest of a datagram.
    pub held: u64,
    /// Put together with others: fragments, but for one of each datagram.
    pub joined: u64,
    /// Dropped, for any reason.
    pub drops: u64,
    /// Handed to other workers.
    pub handoff_out: u64,
}

impl Conservation {
    /// Packets that came into being here.
    pub const fn sources(&self) -> u64 {
        self.rx + self.host_in + self.created + self.handoff_in
    }

    /// Packets whose fate is known.
    pub const fn sinks(&self) -> u64 {
        self.tx + self.punted + self.held + self.joined + self.drops + self.handoff_out
    }

    /// True if no packet was lost or counted twice: `rx + host_in + created + handoff_in = tx + punted + held +
    /// joined + drops + handoff_out`.
    pub const fn holds(&self) -> bool {
        self.sources() == self.sinks()
    }
}

/// A worker and what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u16,
    /// The CPU that it is pinned to.
    pub cpu: u16,
    /// Time in polls that found work, in nanoseconds.
    pub busy_ns: u64,
    /// Time in polls that found none, and asleep, in nanoseconds.
    pub idle_ns: u64,
    /// Polls.
    pub polls: u64,
    /// Times that it did not come back from a poll in time.
    pub stalls: u64,
    /// True while it does not.
    pub stalled: bool,
    /// Packets made here, every kind with its count.
    pub created: Vec<CreatedCount>,
    /// Its packets.
    pub conservation: Conservation,
    /// RSTs and ICMP errors that were due, but not sent: whoever they were for had got as many as a station gets.
    pub withheld: u64,
    /// Flows that were to be its own, and were placed with other workers because it had too much to do, or no port left to
    /// translate them to.
    pub placed: u64,
    /// Flows and translated tuples of its own that are with other workers now.
    pub aliases: u64,
    /// Packets received at once, by [`BURST_BOUNDS`](crate::BURST_BOUNDS).
    pub bursts: Distribution,
    /// A sample of the time from the reception of a burst to its end, by
    /// [`LATENCY_BOUNDS_NS`](crate::LATENCY_BOUNDS_NS).
    pub latency_ns: Distribution,
}

/// How many packets of a kind were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedCount {
    /// The kind: `rst`, `icmp`, `copy` or `fragment`.
    pub kind: String,
    /// Packets.
    pub packets: u64,
}

/// A pool of packet buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Buffers in all.
    pub size: u32,
    /// Buffers held by packets, rings and devices.
    pub in_use: u32,
}
