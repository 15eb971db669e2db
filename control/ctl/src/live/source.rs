//! Whom to ask: turnpike-control, which keeps revisions, or the dataplane itself, which only knows what is live.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use api::control::{Changed, ControlStatus, Operator, SOCKET as CONTROL, StateFilter};
use api::{
    Client, Control, Counts, DropQuery, DropReport, EndpointMapping, Filtering, Info, InterfaceDrops,
    LiveUsage, LogLevel, MappingCount, NeighborView, RouteTo, RouteView, Status, lockout,
};
use clap::Args;
use pfconf::print_rule;
use ruleset::{RoutingTable, SourceSelector, SourceView, StateSelector, StateView};
use serde::Serialize;

use super::rules::LiveRuleset;

/// Where the firewall answers.
#[derive(Args)]
pub struct Sockets {
    /// turnpike-control's socket
    #[arg(long, global = true, value_name = "PATH", default_value = CONTROL)]
    socket: PathBuf,
    /// The dataplane's socket; if given, it is asked itself, and what is loaded becomes no revision
    #[arg(long, global = true, value_name = "PATH")]
    dataplane_socket: Option<PathBuf>,
}

impl Sockets {
    /// The dataplane's socket, given or not.
    pub fn dataplane(&self) -> &Path {
        self.dataplane_socket.as_deref().unwrap_or(Path::new(super::SOCKET))
    }

    /// True if the dataplane is to be asked itself.
    pub fn is_direct(&self) -> bool {
        self.dataplane_socket.is_some()
    }

    /// A client of turnpike-control.
    pub fn control(&self) -> Control {
        Control::new(&self.socket)
    }

    /// Whom to ask.
    pub fn source(&self) -> Result<Source> {
        match &self.dataplane_socket {
            Some(socket) => Ok(Source::Dataplane(Box::new(super::connect(socket)?))),
            None => Ok(Source::Control(self.control())),
        }
    }
}

/// Who answers.
pub enum Source {
    /// turnpike-control.
    Control(Control),
    /// The dataplane.
    Dataplane(Box<Client>),
}

/// How the firewall is, as far as who answers knows.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// turnpike-control, with what it knows of the dataplane.
    Control(Box<ControlStatus>),
    /// The dataplane.
    Dataplane(Box<Status>),
}

impl Source {
    /// How it is.
    pub fn status(&mut self) -> Result<Answer> {
        Ok(match self {
            Self::Control(control) => Answer::Control(Box::new(control.status()?)),
            Self::Dataplane(client) => Answer::Dataplane(Box::new(client.status()?)),
        })
    }

    /// The live ruleset, if there is one.
    pub fn ruleset(&mut self) -> Result<Option<LiveRuleset>> {
        let live = match self {
            Self::Control(control) => {
                control.rules()?.map(|listing| (listing.live.generation(), listing.ruleset))
            }
            Self::Dataplane(client) => client.rules()?.map(|live| (live.generation, live.ruleset)),
        };
        Ok(live.map(|(generation, ruleset)| LiveRuleset { generation, ruleset }))
    }

    /// What each rule of the live ruleset has done, if there is one.
    pub fn usage(&mut self) -> Result<Option<LiveUsage>> {
        Ok(match self {
            Self::Control(control) => control.usage()?,
            Self::Dataplane(client) => client.usage()?,
        })
    }

    /// How many connections are translated to each address.
    pub fn mappings(&mut self) -> Result<Vec<MappingCount>> {
        Ok(match self {
            Self::Control(control) => control.mappings()?,
            Self::Dataplane(client) => client.mappings()?,
        })
    }

    /// Every endpoint inside that has one endpoint outside.
    pub fn endpoint_mappings(&mut self) -> Result<Vec<EndpointMapping>> {
        Ok(match self {
            Self::Control(control) => control.endpoint_mappings()?,
            Self::Dataplane(client) => client.endpoint_mappings()?,
        })
    }

    /// Whether it knows how to give a part of the states only.
    pub const fn filters(&self) -> bool {
        matches!(self, Self::Control(_))
    }

    /// Hands every state that fits to `each`.
    pub fn states(&mut self, filter: &StateFilter, mut each: impl FnMut(&StateView)) -> Result<()> {
        match self {
            Self::Control(control) => {
                control.states(filter, |state| each(&state))?;
            }
            Self::Dataplane(client) => {
                ensure!(
                    *filter == StateFilter::default(),
                    "only turnpike-control filters states: leave --dataplane-socket out"
                );
                client.states(|state| each(&state))?;
            }
        }
        Ok(())
    }

    /// Every route.
    pub fn routes(&mut self) -> Result<Vec<RouteView>> {
        Ok(match self {
            Self::Control(control) => control.routes()?,
            Self::Dataplane(client) => client.routes()?,
        })
    }

    /// The route of a table to an address.
    pub fn route_to(&mut self, address: IpAddr, table: RoutingTable) -> Result<RouteTo> {
        Ok(match self {
            Self::Control(control) => control.route_to(address, table)?,
            Self::Dataplane(client) => client.route_to(address, table)?,
        })
    }

    /// Every neighbour.
    pub fn neighbors(&mut self) -> Result<Vec<NeighborView>> {
        Ok(match self {
            Self::Control(control) => control.neighbors()?,
            Self::Dataplane(client) => client.neighbors()?,
        })
    }

    /// Removes the states that fit, and returns how many there were.
    pub fn kill(&mut self, selector: &StateSelector) -> Result<u64> {
        Ok(match self {
            Self::Control(control) => control.kill(selector)?,
            Self::Dataplane(client) => client.kill(selector)?,
        })
    }

    /// Every source node, with traffic if that is wanted.
    pub fn sources(&mut self, traffic: bool) -> Result<Vec<SourceView>> {
        Ok(match self {
            Self::Control(control) => control.source_nodes(traffic)?,
            Self::Dataplane(client) => client.sources(traffic)?,
        })
    }

    /// Has source nodes be forgotten that fit, and returns how many there were.
    pub fn forget_sources(&mut self, selector: &SourceSelector) -> Result<u64> {
        Ok(match self {
            Self::Control(control) => control.forget_source_nodes(selector)?,
            Self::Dataplane(client) => client.forget_sources(selector)?,
        })
    }

    /// Switches filtering on or off, unless that cuts the operator off.
    pub fn switch(&mut self, filtering: Filtering, operator: &Operator) -> Result<Changed> {
        Ok(match self {
            Self::Control(control) => control.switch(filtering, operator)?,
            Self::Dataplane(client) => lockout::switch(client, filtering, operator, print_rule)?,
        })
    }

    /// Has the dataplane log what is as grave as `level`, and graver.
    pub fn set_log_level(&mut self, level: LogLevel) -> Result<()> {
        match self {
            Self::Control(control) => control.set_log_level(level)?,
            Self::Dataplane(client) => client.set_log_level(level)?,
        }
        Ok(())
    }

    /// Has the dataplane count from zero.
    pub fn clear(&mut self, counts: Counts) -> Result<()> {
        match self {
            Self::Control(control) => control.clear(counts)?,
            Self::Dataplane(client) => client.clear(counts)?,
        }
        Ok(())
    }

    /// What is counted since it was set to zero.
    pub fn info(&mut self) -> Result<Info> {
        Ok(match self {
            Self::Control(control) => control.info()?,
            Self::Dataplane(client) => client.info()?,
        })
    }

    /// What was dropped, by interface and reason.
    pub fn drops(&mut self) -> Result<Vec<InterfaceDrops>> {
        Ok(match self {
            Self::Control(control) => control.drops()?,
            Self::Dataplane(client) => client.drops()?,
        })
    }

    /// What was dropped and why, with rates and examples.
    pub fn drop_report(&mut self, query: &DropQuery) -> Result<DropReport> {
        Ok(match self {
            Self::Control(control) => control.drop_report(query)?,
            Self::Dataplane(client) => client.drop_report(*query)?,
        })
    }
}
