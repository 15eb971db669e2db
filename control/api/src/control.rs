//! The client of turnpike-control: HTTP and JSON over its Unix socket.
//!
//! Overview: [`Control`] has a method for each path of the API; what they take and give is in `message`. Life cycle: each
//! call connects anew. Bounds: an answer within [`ANSWER_TIMEOUT`], and at most [`ANSWER_BYTES`] unless it is streamed.

mod filter;
mod http;
mod message;

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ruleset::{RoutingTable, SourceSelector, SourceView, StateSelector, StateView};
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

pub use filter::{StateFilter, drops_of, escape, unescape};
pub use message::{
    AddressFate, Anchored, Applied, Apply, BlockedState, Checked, ControlStatus, Dialect, Difference,
    Finding, Live, Operator, OptionChange, Origin, Part, Pending, Problem, Revision, RevisionText, RuleAt,
    RuleChange, RuleListing, Session, Severity, Sources, Standing, StateImpact, TableAction, TableChange,
    TableFate, TableOutcome, TableRequest, TableSummary,
};

use crate::{
    Counts, DropQuery, DropReport, EndpointMapping, Filtering, Info, InterfaceDrops, LiveUsage, LogLevel,
    MappingCount, NeighborView, RouteTo, RouteView,
};
use http::Answer;

/// Where turnpike-control listens unless it is told otherwise.
pub const SOCKET: &str = "/run/turnpike/control.sock";

/// What every path begins with: the version of the API.
pub const PREFIX: &str = "/v1";

/// How long an answer may take, a commit of the largest ruleset included.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest answer, in bytes, that is not streamed.
pub const ANSWER_BYTES: u64 = 512 << 20;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be reached.
    #[error("cannot reach turnpike-control at {}: {error}; {}", path.display(), advice(error))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The request was refused, and nothing changed.
    #[error("{}", problem.error)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        problem: Box<Problem>,
    },
    /// The connection failed or ended early.
    #[error("talking to turnpike-control: {0}")]
    Talk(#[from] io::Error),
    /// The answer is not what this version of the API gives.
    #[error(
        "talking to turnpike-control: an unexpected answer ({0}); install both programs from one release"
    )]
    Unexpected(serde_json::Error),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "start turnpike-control, or give the path of its socket"
        }
        io::ErrorKind::PermissionDenied => "run as root, or as a member of the group turnpike",
        _ => "see the log of turnpike-control",
    }
}

type Result<T> = std::result::Result<T, ControlError>;

/// A client of turnpike-control.
#[derive(Clone, Debug)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// A client of the process that listens at `socket`. Nothing is connected yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// How control and the dataplane are. Answered whether or not the dataplane is there.
    ///
    /// # Errors
    /// As all methods: [`ControlError`].
    pub fn status(&self) -> Result<ControlStatus> {
        self.get("/status")
    }

    /// Calls `each` with every state that fits `filter`, and returns how many there were. They are taken while traffic
    /// runs: a state made or removed meanwhile may or may not be among them.
    ///
    /// # Errors
    /// [`ControlError::Talk`] or [`ControlError::Unexpected`] also if the list ends early, after some states were given.
    pub fn states(&self, filter: &StateFilter, each: impl FnMut(StateView)) -> Result<u64> {
        let answer = self.ask("GET", &format!("/states{}", filter.to_query()), None)?;
        let mut json = serde_json::Deserializer::from_reader(io::BufReader::new(answer.body));
        let count = json.deserialize_seq(Each(each)).map_err(unexpected)?;
        json.end().map_err(unexpected)?;
        Ok(count)
    }

    /// What was dropped, by interface and reason.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn drops(&self) -> Result<Vec<InterfaceDrops>> {
        self.get("/drops")
    }

    /// What was dropped, with rates and examples.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn drop_report(&self, query: &DropQuery) -> Result<DropReport> {
        self.get(&format!("/drops/report{}", filter::of_drops(query)))
    }

    /// The live rules, if there are any.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn rules(&self) -> Result<Option<RuleListing>> {
        self.get("/rules")
    }

    /// What each rule of the live ruleset has done since it was committed, if there is one.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn usage(&self) -> Result<Option<LiveUsage>> {
        self.get("/usage")
    }

    /// How many connections are translated to each address, with each protocol, in their order.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn mappings(&self) -> Result<Vec<MappingCount>> {
        self.get("/mappings")
    }

    /// Every endpoint inside that has one endpoint outside, whoever it speaks to, in no order.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn endpoint_mappings(&self) -> Result<Vec<EndpointMapping>> {
        self.get("/mappings/endpoints")
    }

    /// Every route that packets are forwarded by, in the order of tables and prefixes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn routes(&self) -> Result<Vec<RouteView>> {
        self.get("/routes")
    }

    /// The route of a table to an address.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn route_to(&self, address: IpAddr, table: RoutingTable) -> Result<RouteTo> {
        self.get(&format!("/routes/{address}/{table}"))
    }

    /// Every neighbour whose Ethernet address is known.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn neighbors(&self) -> Result<Vec<NeighborView>> {
        self.get("/neighbors")
    }

    /// Compiles a ruleset without making it live. An invalid one is an answer, not an error.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn check(&self, sources: &Sources) -> Result<Checked> {
        self.post("/check", sources)
    }

    /// Makes a ruleset the live one.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the findings: nothing changed.
    pub fn apply(&self, request: &Apply) -> Result<Applied> {
        self.post("/apply", request)
    }

    /// Confirms the revision that awaits it.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if none does.
    pub fn confirm(&self) -> Result<Revision> {
        self.post("/confirm", &())
    }

    /// Makes the rules of an older revision live again, as a new revision.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if there is no such revision or it cannot be loaded: nothing changed.
    pub fn rollback(&self, number: u64, operator: Operator) -> Result<Applied> {
        self.post("/rollback", &Rollback { revision: number, operator })
    }

    /// Every revision that is kept, the newest last.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn revisions(&self) -> Result<Vec<Revision>> {
        self.get("/revisions")
    }

    /// One revision with its text.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if it is not kept.
    pub fn revision(&self, number: u64) -> Result<RevisionText> {
        self.get(&format!("/revisions/{number}"))
    }

    /// What would change if `candidate` became live.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the findings if it does not compile.
    pub fn diff(&self, candidate: &Sources) -> Result<Difference> {
        self.post("/diff", candidate)
    }

    /// Every table, the live ruleset's and others that persist.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn tables(&self) -> Result<Vec<TableSummary>> {
        self.get("/tables")
    }

    /// A table with its addresses.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if there is no such table.
    pub fn table<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.get(&format!("/tables/{}", filter::escape(name)))
    }

    /// Changes a table, live and on disk.
    ///
    /// # Errors
    /// [`ControlError::Refused`]: nothing changed.
    pub fn change_table(&self, name: &str, request: &TableRequest) -> Result<TableOutcome> {
        self.post(&format!("/tables/{}", filter::escape(name)), request)
    }

    /// Removes the states that fit, and returns how many there were.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn kill(&self, selector: &StateSelector) -> Result<u64> {
        self.post("/states/kill", selector).map(|Killed { states }| states)
    }

    /// Every source node, in order; with packets and bytes if `traffic` says so.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn source_nodes(&self, traffic: bool) -> Result<Vec<SourceView>> {
        self.get(if traffic { "/sources?traffic" } else { "/sources" })
    }

    /// Has source nodes be forgotten that fit, and returns how many there were.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn forget_source_nodes(&self, selector: &SourceSelector) -> Result<u64> {
        self.post("/sources/kill", selector).map(|Forgotten { nodes }| nodes)
    }

    /// Switches filtering on or off.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if no rules are live, or if they would cut the operator off.
    pub fn switch(&self, filtering: Filtering, operator: &Operator) -> Result<Changed> {
        self.post("/filtering", &Switch { filtering, operator: operator.clone() })
    }

    /// Has the dataplane log what is as grave as `level`, and graver.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if its log cannot be changed.
    pub fn set_log_level(&self, level: LogLevel) -> Result<()> {
        self.post("/log-level", &SetLevel { level }).map(|Changed { .. }| ())
    }

    /// Has the dataplane count from zero.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn clear(&self, counts: Counts) -> Result<()> {
        self.post("/clear", &Clear { counts }).map(|Changed { .. }| ())
    }

    /// What is counted since it was set to zero.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn info(&self) -> Result<Info> {
        self.get("/info")
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read_json(self.ask("GET", path, None)?)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(ControlError::Unexpected)?;
        read_json(self.ask("POST", path, Some(&body))?)
    }

    /// The head of an answer that is a success.
    fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Answer<UnixStream>> {
        let fault = |error| ControlError::Connect { path: self.socket.clone(), error };
        let stream = UnixStream::connect(&self.socket).map_err(fault)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(fault)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(fault)?;
        let answer = http::exchange(stream, method, &format!("{PREFIX}{path}"), body)?;
        match answer.status {
            200..=299 => Ok(answer),
            status => {
                let problem = Box::new(read_json(answer)?);
                Err(ControlError::Refused { status, problem })
            }
        }
    }
}

/// The body of a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The revision to go back to.
    pub revision: u64,
    /// What must not be cut off by it.
    #[serde(default)]
    pub operator: Operator,
}

/// The body of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Whether the rules are asked.
    pub filtering: Filtering,
    /// What must not be cut off by it.
    #[serde(default)]
    pub operator: Operator,
}

/// The body of a change of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLevel {
    /// What is logged: this, and what is graver.
    pub level: LogLevel,
}

/// The body of a request to count from zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clear {
    /// What.
    pub counts: Counts,
}

/// States that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// How many.
    pub states: u64,
}

/// Source nodes that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many.
    pub nodes: u64,
}

/// Whether something is not as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// It is not.
    pub changed: bool,
    /// What it cuts off, if it was forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

fn read_json<T: DeserializeOwned>(answer: Answer<UnixStream>) -> Result<T> {
    let mut body = Vec::new();
    answer.body.take(ANSWER_BYTES).read_to_end(&mut body)?;
    serde_json::from_slice(&body).map_err(ControlError::Unexpected)
}

fn unexpected(error: serde_json::Error) -> ControlError {
    match error.is_io() {
        true => ControlError::Talk(error.into()),
        false => ControlError::Unexpected(error),
    }
}

/// Hands on the elements of an array one by one, and counts them.
struct Each<F>(F);

impl<'de, F: FnMut(StateView)> Visitor<'de> for Each<F> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of states")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut states: A) -> std::result::Result<u64, A::Error> {
        let mut count = 0;
        while let Some(state) = states.next_element()? {
            (self.0)(state);
            count += 1;
        }
        Ok(count)
    }
}
