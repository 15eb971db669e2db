//! The blocking client.

use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ruleset::{
    Flow, RoutingTable, Ruleset, SourceSelector, SourceView, StateSelector, StateView, TableContents,
    TableEdit, TableEntry,
};

use crate::codec::{self, Limit, ReadError};
use crate::message::{Hello, MAGIC, VERSION};
use crate::pflog::LogEntry;
use crate::{
    AddressCounts, Candidate, Counts, DropQuery, DropReport, EndpointMapping, EventBatch, EventQuery,
    Filtering, Info, InterfaceDrops, Judged, LiveRules, LiveUsage, LogLevel, MappingCount, NeighborView,
    Request, RequestBody, Response, ResponseBody, Reviewed, RouteTo, RouteView, Status, TraceQuery,
    TraceView,
};

/// How long an answer may take: compiling the largest ruleset included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be reached.
    #[error("cannot reach the dataplane at {}: {error}; {}", path.display(), advice(error))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The dataplane speaks another version.
    #[error(
        "the dataplane speaks version {theirs} of the protocol and this program version {}; install both from one \
         release",
        VERSION
    )]
    Version {
        /// Its version.
        theirs: u16,
    },
    /// Whatever listens there is not the dataplane.
    #[error("what listens at {} is not the turnpike dataplane", .0.display())]
    Stranger(PathBuf),
    /// The dataplane refused the request; nothing changed.
    #[error("{0}")]
    Refused(String),
    /// The connection failed or carried something unexpected.
    #[error("talking to the dataplane: {0}")]
    Read(#[from] ReadError),
    /// The request could not be sent.
    #[error("talking to the dataplane: cannot send the request: {0}")]
    Write(io::Error),
    /// An answer to something else than what was asked.
    #[error("talking to the dataplane: an answer to another request; connect again")]
    OutOfStep,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "start turnpike-dataplane, or give the path of its socket"
        }
        io::ErrorKind::PermissionDenied => "run as root, or as a member of the group turnpike",
        _ => "see the log of turnpike-dataplane",
    }
}

/// A connection to the dataplane.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    next_id: u32,
}

impl Client {
    /// Connects, and agrees on the version.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Version`], [`Error::Stranger`], [`Error::Refused`].
    pub fn connect(path: &Path) -> Result<Self, Error> {
        Self::connect_within(path, ANSWER_TIMEOUT)
    }

    /// As [`Client::connect`], with the time that each answer may take, the first one included.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_within(path: &Path, patience: Duration) -> Result<Self, Error> {
        let fault = |error| Error::Connect { path: path.to_owned(), error };
        let mut stream = UnixStream::connect(path).map_err(fault)?;
        stream.set_read_timeout(Some(patience)).map_err(fault)?;
        stream.set_write_timeout(Some(patience)).map_err(fault)?;
        match codec::write(&mut stream, &Hello::OURS, Limit::HELLO) {
            // Whoever has hung up already may have said something first.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(fault)?,
        }
        match codec::read::<Hello>(&mut stream, Limit::HELLO) {
            Ok(Hello { magic: MAGIC, version: VERSION }) => Ok(Self { stream, next_id: 1 }),
            Ok(Hello { magic: MAGIC, version }) => Err(Error::Version { theirs: version }),
            Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::ConnectionReset => Err(fault(error)),
            // One who may not speak is hung up on, be it before what it says is read.
            Err(ReadError::Closed | ReadError::Io(_)) => Err(Error::Refused(
                "the dataplane closed the connection: it has too many clients, or this user may not use it"
                    .into(),
            )),
            Ok(_) | Err(_) => Err(Error::Stranger(path.to_owned())),
        }
    }

    /// Changes how long each answer may take. A client whose answer did not come in time has to
    /// connect again.
    ///
    /// # Errors
    /// [`Error::Write`] if `patience` is zero.
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), Error> {
        self.stream.set_read_timeout(Some(patience)).map_err(Error::Write)?;
        self.stream.set_write_timeout(Some(patience)).map_err(Error::Write)
    }

    /// Makes `ruleset` the live one, and waits until every worker has it.
    ///
    /// # Errors
    /// [`Error::Refused`]: the live ruleset is still the one before.
    pub fn commit(&mut self, ruleset: &Ruleset) -> Result<u64, Error> {
        self.commit_with(ruleset, Vec::new())
    }

    /// As [`Client::commit`], with what tables hold in place of their lists.
    ///
    /// # Errors
    /// As [`Client::commit`].
    pub fn commit_with(&mut self, ruleset: &Ruleset, contents: Vec<TableContents>) -> Result<u64, Error> {
        let candidate = Candidate { ruleset: ruleset.clone(), contents };
        match self.ask(RequestBody::Commit(Box::new(candidate)))? {
            ResponseBody::Committed { generation } => Ok(generation),
            _ => Err(Error::OutOfStep),
        }
    }

    /// How the dataplane is.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn status(&mut self) -> Result<Status, Error> {
        match self.ask(RequestBody::Status)? {
            ResponseBody::Status(status) => Ok(*status),
            _ => Err(Error::OutOfStep),
        }
    }

    /// What was dropped, by interface and reason.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn drops(&mut self) -> Result<Vec<InterfaceDrops>, Error> {
        match self.ask(RequestBody::Drops)? {
            ResponseBody::Drops(drops) => Ok(drops),
            _ => Err(Error::OutOfStep),
        }
    }

    /// What was dropped, with rates and examples.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn drop_report(&mut self, query: DropQuery) -> Result<DropReport, Error> {
        match self.ask(RequestBody::DropReport(query))? {
            ResponseBody::DropReport(report) => Ok(*report),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Calls `each` with every state, and returns how many there were. They are taken while traffic runs: a state made or
    /// removed meanwhile may or may not be among them.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn states(&mut self, mut each: impl FnMut(StateView)) -> Result<u64, Error> {
        let mut count = 0;
        self.each_state(|state| {
            count += 1;
            each(state);
            true
        })?;
        Ok(count)
    }

    /// As [`Client::states`], until `each` says that it wants no more. The connection ends with the listing.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn states_while(mut self, each: impl FnMut(StateView) -> bool) -> Result<(), Error> {
        self.each_state(each)
    }

    fn each_state(&mut self, mut each: impl FnMut(StateView) -> bool) -> Result<(), Error> {
        let id = self.send(RequestBody::States)?;
        loop {
            match self.receive(id)? {
                ResponseBody::States(states) => {
                    if !states.into_iter().all(&mut each) {
                        return Ok(());
                    }
                }
                ResponseBody::Done => return Ok(()),
                _ => return Err(Error::OutOfStep),
            }
        }
    }

    /// The live ruleset, if one was committed.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn rules(&mut self) -> Result<Option<LiveRules>, Error> {
        match self.ask(RequestBody::Rules)? {
            ResponseBody::Rules(rules) => Ok(rules.map(|rules| *rules)),
            _ => Err(Error::OutOfStep),
        }
    }

    /// What each rule of the live ruleset has done since it was committed, if one was.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn usage(&mut self) -> Result<Option<LiveUsage>, Error> {
        match self.ask(RequestBody::Usage)? {
            ResponseBody::Usage(usage) => Ok(usage),
            _ => Err(Error::OutOfStep),
        }
    }

    /// How many connections are translated to each address, with each protocol, in their order.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn mappings(&mut self) -> Result<Vec<MappingCount>, Error> {
        match self.ask(RequestBody::Mappings)? {
            ResponseBody::Mappings(mappings) => Ok(mappings),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Every endpoint inside that has one endpoint outside, whoever it speaks to, in no order.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn endpoint_mappings(&mut self) -> Result<Vec<EndpointMapping>, Error> {
        self.gather(RequestBody::EndpointMappings, |body| match body {
            ResponseBody::EndpointMappings(mappings) => Some(mappings),
            _ => None,
        })
    }

    /// Every route that packets are forwarded by, in the order of the prefixes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn routes(&mut self) -> Result<Vec<RouteView>, Error> {
        self.gather(RequestBody::Routes, |body| match body {
            ResponseBody::Routes(routes) => Some(routes),
            _ => None,
        })
    }

    /// Every neighbour whose Ethernet address is known.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn neighbors(&mut self) -> Result<Vec<NeighborView>, Error> {
        self.gather(RequestBody::Neighbors, |body| match body {
            ResponseBody::Neighbors(neighbors) => Some(neighbors),
            _ => None,
        })
    }

    /// The route of a table to an address.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn route_to(&mut self, address: IpAddr, table: RoutingTable) -> Result<RouteTo, Error> {
        match self.ask(RequestBody::RouteTo { address, table })? {
            ResponseBody::RouteTo(route) => Ok(*route),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Everything of a listing that comes in slices.
    fn gather<T>(
        &mut self,
        body: RequestBody,
        slice: impl Fn(ResponseBody) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, Error> {
        let id = self.send(body)?;
        let mut all = Vec::new();
        loop {
            match self.receive(id)? {
                ResponseBody::Done => return Ok(all),
                body => all.extend(slice(body).ok_or(Error::OutOfStep)?),
            }
        }
    }

    /// Calls `each` with the packets that `log` rules record from now on, some at a time, until it returns false. It is
    /// called without any at the beginning, and every few seconds that nothing was logged. The connection ends with it.
    ///
    /// # Errors
    /// Those of the connection; [`Error::Refused`] if the log has too many readers.
    pub fn logs(mut self, mut each: impl FnMut(&[LogEntry]) -> bool) -> Result<(), Error> {
        let id = self.send(RequestBody::Logs)?;
        loop {
            match self.receive(id)? {
                ResponseBody::Logs(entries) if each(&entries) => {}
                ResponseBody::Logs(_) => return Ok(()),
                _ => return Err(Error::OutOfStep),
            }
        }
    }

    /// Calls `each` with traces of packets that fit, some at a time, until it returns false, there are as many as were asked
    /// for, or time is over. It is called without any at the beginning, and every few seconds that nothing came.
    ///
    /// # Errors
    /// Those of the connection; [`Error::Refused`] if somebody traces already, or there is no such interface.
    pub fn trace(
        mut self,
        query: &TraceQuery,
        mut each: impl FnMut(&[TraceView]) -> bool,
    ) -> Result<(), Error> {
        let id = self.send(RequestBody::Trace(query.clone()))?;
        loop {
            match self.receive(id)? {
                ResponseBody::Traced(traces) if each(&traces) => {}
                ResponseBody::Traced(_) | ResponseBody::Done => return Ok(()),
                _ => return Err(Error::OutOfStep),
            }
        }
    }

    /// Calls `each` with what happens to states that fit from now on, until it returns false. It is called with nothing at the
    /// beginning, and every few seconds that nothing happened. The connection ends with it.
    ///
    /// # Errors
    /// Those of the connection; [`Error::Refused`] if too many listen already, or there is no such interface.
    pub fn events(
        mut self,
        query: &EventQuery,
        mut each: impl FnMut(&EventBatch) -> bool,
    ) -> Result<(), Error> {
        let id = self.send(RequestBody::Events(query.clone()))?;
        loop {
            match self.receive(id)? {
                ResponseBody::Events(batch) if each(&batch) => {}
                ResponseBody::Events(_) => return Ok(()),
                _ => return Err(Error::OutOfStep),
            }
        }
    }

    /// Changes tables of the live ruleset, all or none, and waits until every worker has them.
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing changed.
    pub fn edit_tables(&mut self, edits: Vec<TableEdit>) -> Result<(), Error> {
        self.order(RequestBody::Tables(edits))
    }

    /// Calls `each` with every entry of a table of the live ruleset, in no particular order.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such table.
    pub fn entries(&mut self, table: &str, mut each: impl FnMut(TableEntry)) -> Result<(), Error> {
        let id = self.send(RequestBody::Entries(table.to_owned()))?;
        loop {
            match self.receive(id)? {
                ResponseBody::Entries(entries) => entries.into_iter().for_each(&mut each),
                ResponseBody::Done => return Ok(()),
                _ => return Err(Error::OutOfStep),
            }
        }
    }

    /// What is counted for every entry of a table of the live ruleset, in no particular order; nothing for a table without
    /// `counters`.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such table.
    pub fn address_counts(&mut self, table: &str) -> Result<Vec<AddressCounts>, Error> {
        let id = self.send(RequestBody::AddressCounts(table.to_owned()))?;
        let mut all = Vec::new();
        loop {
            match self.receive(id)? {
                ResponseBody::AddressCounts(mut counts) => all.append(&mut counts),
                ResponseBody::Done => return Ok(all),
                _ => return Err(Error::OutOfStep),
            }
        }
    }

    /// Removes the states that fit, and returns how many there were.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn kill(&mut self, selector: &StateSelector) -> Result<u64, Error> {
        match self.ask(RequestBody::Kill(Box::new(selector.clone())))? {
            ResponseBody::Killed(count) => Ok(count),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Every source node, in order; with packets and bytes if `traffic` says so.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn sources(&mut self, traffic: bool) -> Result<Vec<SourceView>, Error> {
        self.gather(RequestBody::Sources { traffic }, |body| match body {
            ResponseBody::Sources(sources) => Some(sources),
            _ => None,
        })
    }

    /// Has source nodes be forgotten that fit, and returns how many there were.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn forget_sources(&mut self, selector: &SourceSelector) -> Result<u64, Error> {
        match self.ask(RequestBody::ForgetSources(selector.clone()))? {
            ResponseBody::Killed(count) => Ok(count),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Switches filtering on or off; false if it was so.
    ///
    /// # Errors
    /// [`Error::Refused`] if no rules are live.
    pub fn switch(&mut self, filtering: Filtering) -> Result<bool, Error> {
        match self.ask(RequestBody::Switch(filtering))? {
            ResponseBody::Switched { changed } => Ok(changed),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Logs what is as grave as `level`, and graver.
    ///
    /// # Errors
    /// [`Error::Refused`] if the log cannot be changed.
    pub fn set_log_level(&mut self, level: LogLevel) -> Result<(), Error> {
        self.order(RequestBody::LogLevel(level))
    }

    /// Counts from zero.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn clear(&mut self, counts: Counts) -> Result<(), Error> {
        self.order(RequestBody::Clear(counts))
    }

    /// What is counted since it was set to zero.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn info(&mut self) -> Result<Info, Error> {
        match self.ask(RequestBody::Info)? {
            ResponseBody::Info(info) => Ok(*info),
            _ => Err(Error::OutOfStep),
        }
    }

    /// What the live rules and a candidate say to packets.
    ///
    /// # Errors
    /// [`Error::Refused`] if the candidate would be refused.
    pub fn judge(&mut self, candidate: Candidate, flows: Vec<Flow>) -> Result<Vec<Judged>, Error> {
        match self.ask(RequestBody::Judge(Box::new(candidate), flows))? {
            ResponseBody::Judged(judged) => Ok(judged),
            _ => Err(Error::OutOfStep),
        }
    }

    /// What the live rules say to packets, and what they will once filtering is on.
    ///
    /// # Errors
    /// [`Error::Refused`] if no rules are live.
    pub fn judge_enabled(&mut self, flows: Vec<Flow>) -> Result<Vec<Judged>, Error> {
        match self.ask(RequestBody::JudgeEnabled(flows))? {
            ResponseBody::Judged(judged) => Ok(judged),
            _ => Err(Error::OutOfStep),
        }
    }

    /// Which live states a candidate would not make again.
    ///
    /// # Errors
    /// [`Error::Refused`] if the candidate would be refused.
    pub fn review(&mut self, candidate: Candidate) -> Result<Reviewed, Error> {
        match self.ask(RequestBody::Review(Box::new(candidate)))? {
            ResponseBody::Reviewed(reviewed) => Ok(*reviewed),
            _ => Err(Error::OutOfStep),
        }
    }

    fn order(&mut self, body: RequestBody) -> Result<(), Error> {
        match self.ask(body)? {
            ResponseBody::Done => Ok(()),
            _ => Err(Error::OutOfStep),
        }
    }

    fn ask(&mut self, body: RequestBody) -> Result<ResponseBody, Error> {
        let id = self.send(body)?;
        self.receive(id)
    }

    fn send(&mut self, body: RequestBody) -> Result<u32, Error> {
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(1);
        codec::write(&mut self.stream, &Request { id, body }, Limit::REQUEST).map_err(Error::Write)?;
        Ok(id)
    }

    fn receive(&mut self, id: u32) -> Result<ResponseBody, Error> {
        match codec::read(&mut self.stream, Limit::RESPONSE)? {
            Response { id: answered, body: ResponseBody::Refused(why) }
                if answered == id || answered == Response::CONNECTION =>
            {
                Err(Error::Refused(why))
            }
            Response { id: answered, .. } if answered != id => Err(Error::OutOfStep),
            Response { body, .. } => Ok(body),
        }
    }
}
