//! What `set` decides for the whole ruleset (pf.conf(5) OPTIONS).

use serde::{Deserialize, Serialize};

use crate::{Limits, LogLevel, Timeouts};

/// `set block-policy`: what `block` without a form does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockPolicy {
    /// Say nothing.
    #[default]
    Drop,
    /// Answer with RST or ICMP.
    Return,
}

/// `set state-policy`: whether a state is bound to the interface that it was made on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StatePolicy {
    /// States match packets on any interface.
    #[default]
    Floating,
    /// States match packets on their own interface only.
    IfBound,
}

/// `set reassemble`: what becomes of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reassemble {
    /// Datagrams are put together before rules are asked; else each fragment meets the rules by itself.
    pub enabled: bool,
    /// `no-df`: fragments that say "do not fragment" are taken too.
    pub no_df: bool,
}

impl Default for Reassemble {
    fn default() -> Self {
        Self { enabled: true, no_df: false }
    }
}

/// `set syncookies`: whether SYNs are answered without a state, so that a flood of them takes no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Syncookies {
    /// Never.
    #[default]
    Never,
    /// All that enter.
    Always,
    /// While many states are half-open.
    Adaptive {
        /// From more than so many percent of the limit on states on.
        start: u8,
        /// Until there are no more than so many.
        end: u8,
    },
}

impl Syncookies {
    /// `adaptive` without percentages.
    pub const ADAPTIVE: Self = Self::Adaptive { start: 25, end: 12 };
}

/// The options of a ruleset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `set skip on`: interfaces and groups that are not filtered.
    pub skip: Vec<String>,
    /// `set block-policy`.
    pub block_policy: BlockPolicy,
    /// `set state-policy`.
    pub state_policy: StatePolicy,
    /// `set loginterface`: the interface or group whose packets are shown with the state table's counters.
    pub log_interface: Option<String>,
    /// `set reassemble`.
    pub reassemble: Reassemble,
    /// `set syncookies`.
    #[serde(default)]
    pub syncookies: Syncookies,
    /// FreeBSD's `set fail-policy`: what is done with packets that a rule passes and that find no room.
    #[serde(default)]
    pub fail_policy: BlockPolicy,
    /// FreeBSD's `set keepcounters`: rules that a load leaves as they are go on counting.
    #[serde(default)]
    pub keep_counters: bool,
    /// `set debug`: the gravity of what is logged from the load on.
    #[serde(default)]
    pub debug: Option<LogLevel>,
    /// `set hostid`: what states are marked with; 0 if nothing is set.
    #[serde(default)]
    pub host_id: u32,
    /// `set optimization rfc-nat`: `nat-to` maps and filters by the endpoint inside alone (RFC 4787, 5382).
    #[serde(default)]
    pub endpoint_independent: bool,
    /// `set timeout`.
    pub timeouts: Timeouts,
    /// `set limit`.
    pub limits: Limits,
}
