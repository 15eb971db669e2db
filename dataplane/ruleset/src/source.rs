//! Limits on what one source may have (pf.conf(5) STATEFUL TRACKING OPTIONS), and the nodes by which they are kept.

use core::fmt;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::view::Clock;
use crate::{PacketRate, Rule, StateMode};

/// `source-track`: whose states count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tracking {
    /// `rule`: those of one rule.
    Rule,
    /// `global`: those of all rules that say so.
    Global,
}

/// `flush`: which states go of a source that has exceeded a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flush {
    /// The one that exceeded it.
    #[default]
    No,
    /// `flush`: those that the rule made.
    Rule,
    /// `flush global`: all.
    Global,
}

/// `overload`: what becomes of a source that has exceeded `max-src-conn` or `max-src-conn-rate`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Overload {
    /// The table that it is put into.
    pub table: String,
    /// Which of its states go.
    pub flush: Flush,
}

/// `source-track` and the options that need it; limits of 0 are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceTracking {
    /// Whether and how sources are tracked.
    pub track: Option<Tracking>,
    /// `max-src-states`: states of one source.
    pub max_states: u32,
    /// `max-src-nodes`: sources that have states of the rule.
    pub max_nodes: u32,
    /// `max-src-conn`: connections of one source whose handshake was completed.
    pub max_conn: u32,
    /// `max-src-conn-rate`: how many such connections in how many seconds.
    pub max_conn_rate: Option<PacketRate>,
    /// `overload`.
    pub overload: Option<Overload>,
}

/// What the dataplane relies on of a rule that tracks sources.
pub(crate) fn validate(rule: &Rule) -> Result<(), &'static str> {
    let SourceTracking { track, max_states, max_nodes, max_conn, max_conn_rate, overload } =
        &rule.state_options.source;
    let of_connections = *max_conn > 0 || max_conn_rate.is_some();
    if track.is_none() && (*max_states > 0 || *max_nodes > 0 || of_connections) {
        return Err("limits on sources require source-track");
    }
    if *track == Some(Tracking::Global) && (*max_nodes > 0 || of_connections) {
        return Err("max-src-nodes, max-src-conn and max-src-conn-rate require source-track rule");
    }
    if max_conn_rate.is_some_and(|rate| rate.packets == 0 || rate.seconds == 0) {
        return Err("max-src-conn-rate requires numbers above 0");
    }
    if overload.is_some() && !of_connections {
        return Err("overload requires max-src-conn or max-src-conn-rate");
    }
    if track.is_some() && rule.state == StateMode::None {
        return Err("source-track requires keep state");
    }
    Ok(())
}

/// What a source is remembered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// The limits of `source-track`.
    Filter,
    /// Its address behind `nat-to … sticky-address`.
    Nat,
    /// Its server behind `rdr-to … sticky-address`.
    Rdr,
    /// Its gateway behind `route-to … sticky-address`.
    Route,
}

impl NodeKind {
    /// What leads it to the other address.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Filter => None,
            Self::Nat => Some("nat-to"),
            Self::Rdr => Some("rdr-to"),
            Self::Route => Some("route-to"),
        }
    }
}

/// A source node, as pfctl shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// The source.
    pub source: IpAddr,
    /// What it is remembered for.
    pub kind: NodeKind,
    /// Where it is led to, if that is why.
    pub target: Option<IpAddr>,
    /// States that it has.
    pub states: u32,
    /// Connections of them whose handshake was completed.
    pub connections: u32,
    /// Such connections of late, in tenths.
    pub rate_tenths: u32,
    /// The time of the rate, in seconds; 0 without `max-src-conn-rate`.
    pub rate_s: u32,
    /// Since it was made, in seconds.
    pub age_s: u32,
    /// Until it goes, in seconds, if it has no states.
    pub expires_in_s: u32,
    /// Packets of its states, if that was asked for.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The rule, as pfctl numbers it; `None` of `source-track global`, and if it is not there any more.
    pub rule: Option<u32>,
}

impl fmt::Display for SourceView {
    /// The line of `-sS`; `{:#}` is the form of `-vsS`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let (Some(word), Some(target)) = (self.kind.word(), self.target) {
            write!(f, " {word} {target}")?;
        }
        let Self { states, connections, rate_tenths, rate_s, .. } = self;
        let (whole, tenths) = (rate_tenths / 10, rate_tenths % 10);
        write!(f, " ( states {states}, connections {connections}, rate {whole}.{tenths}/{rate_s}s )")?;
        if !f.alternate() {
            return Ok(());
        }
        write!(f, "\n   age {}", Clock(self.age_s))?;
        if self.states == 0 {
            write!(f, ", expires in {}", Clock(self.expires_in_s))?;
        }
        write!(f, ", {} pkts, {} bytes", self.packets, self.bytes)?;
        match self.rule {
            Some(rule) => write!(f, ", rule {rule}"),
            None => Ok(()),
        }
    }
}

macro_rules! limit_hits {
    ($( $variant:ident $name:literal $metric:literal $doc:literal )*) => {
        /// What pfctl counts as having met a limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum LimitHit {
            $( #[doc = $doc] $variant, )*
        }

        impl LimitHit {
            /// Every one, in pfctl's order.
            pub const ALL: [Self; LIMIT_HITS] = [ $( Self::$variant, )* ];

            /// pfctl's words for it.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// Its word in metrics.
            pub const fn metric(self) -> &'static str {
                match self { $( Self::$variant => $metric, )* }
            }
        }

        /// How many there are.
        pub const LIMIT_HITS: usize = [ $( $name, )* ].len();
    };
}

limit_hits! {
    States "max states per rule" "max" "A rule had as many states as it may (`max`)."
    SrcStates "max-src-states" "max-src-states" "A source had as many states as it may."
    SrcNodes "max-src-nodes" "max-src-nodes" "A rule had as many sources as it may."
    SrcConn "max-src-conn" "max-src-conn" "A source had as many connections as it may."
    SrcConnRate "max-src-conn-rate" "max-src-conn-rate" "A source opened connections faster than it may."
    OverloadTable "overload table insertion" "overload-table" "A source was put into a table."
    OverloadFlush "overload flush states" "overload-flush" "States of such a source were to be removed."
}

/// Which source nodes are meant, where some are to be forgotten (pfctl(8) `-K`): those that fit everything given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSelector {
    /// Of a source in this network.
    pub source: Option<IpNet>,
    /// Led to an address in this one.
    pub target: Option<IpNet>,
}
