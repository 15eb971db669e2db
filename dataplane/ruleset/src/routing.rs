//! Where packets go instead of where the main routing table says (pf.conf(5) ROUTING, `rtable`).

use core::fmt;
use core::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use wire::Af;

use crate::{Action, AddressPattern, PoolKind, Rule, StateMode, bounds};

/// A routing table of the host's kernel, by the number that rules and ip-route(8) have for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoutingTable(pub u8);

impl RoutingTable {
    /// The one that packets are routed by of which no rule says anything.
    pub const MAIN: Self = Self(0);

    /// The number of the main table in the kernel (`RT_TABLE_MAIN`).
    const KERNEL_MAIN: u8 = 254;

    /// The same table, by the one number that it has here: the kernel's number of the main table is 0, too.
    #[must_use]
    pub const fn canonical(self) -> Self {
        if self.0 == Self::KERNEL_MAIN { Self::MAIN } else { self }
    }

    /// The table of a number of the kernel, if rules can name it.
    pub fn of_kernel(number: u32) -> Option<Self> {
        u8::try_from(number).ok().map(|number| Self(number).canonical())
    }
}

impl fmt::Display for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which packets a rule routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RoutingKind {
    /// `route-to`: those of its state that go the way of the first one.
    To,
    /// `reply-to`: those that go the other way.
    Reply,
    /// `dup-to`: copies of both.
    Dup,
}

impl RoutingKind {
    /// Its keyword.
    pub const fn word(self) -> &'static str {
        match self {
            Self::To => "route-to",
            Self::Reply => "reply-to",
            Self::Dup => "dup-to",
        }
    }
}

/// One way out: `host@interface`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gateway {
    /// Hosts to choose from; of `dup-to`, [`AddressPattern::Any`] is a port that takes frames as they are.
    pub address: AddressPattern,
    /// The interface that they are on; else they are where the routing table says.
    pub interface: Option<String>,
    /// `weight`: how often each of them has its turn; once, if it is not given.
    #[serde(default)]
    pub weight: Option<NonZeroU16>,
}

/// `route-to`, `reply-to` or `dup-to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Routing {
    /// Which of them.
    pub kind: RoutingKind,
    /// Where to; never empty.
    pub gateways: Vec<Gateway>,
    /// How one is chosen, where there are several.
    pub choice: Option<PoolKind>,
    /// `sticky-address`.
    pub sticky: bool,
}

/// What the dataplane relies on of a rule that routes.
pub(crate) fn validate(rule: &Rule, routing: &Routing) -> Result<(), String> {
    let word = routing.kind.word();
    if matches!(rule.action, Action::Block(_))
        || routing.kind == RoutingKind::Dup && rule.action != Action::Pass
    {
        return Err(format!("{word} only applies to pass rules"));
    }
    if routing.kind != RoutingKind::Dup {
        if rule.direction.is_none() {
            return Err(format!("{word} requires a direction"));
        }
        if rule.action == Action::Pass && rule.state == StateMode::None {
            return Err(format!("{word} requires keep state"));
        }
    }
    let several = match routing.gateways.as_slice() {
        [] => return Err(format!("{word} leads nowhere")),
        [only] => !is_one(&only.address),
        _ => true,
    };
    if several && matches!(routing.choice, None | Some(PoolKind::Bitmask)) {
        return Err(format!("several addresses of {word} need a way to choose one"));
    }
    routing.gateways.iter().try_for_each(|gateway| validate_gateway(rule, routing.kind, gateway))
}

fn validate_gateway(rule: &Rule, kind: RoutingKind, gateway: &Gateway) -> Result<(), String> {
    let (word, name) = (kind.word(), gateway.interface.as_deref());
    if let Some(name) = name.filter(|name| name.is_empty() || name.len() > bounds::INTERFACE_BYTES) {
        let most = bounds::INTERFACE_BYTES;
        return Err(format!("the interface name '{name}' is empty or longer than {most} bytes"));
    }
    match &gateway.address {
        AddressPattern::Any if kind == RoutingKind::Dup && name.is_some() => Ok(()),
        AddressPattern::Net(net) if rule.af == Some(Af::of(&net.addr())) => Ok(()),
        AddressPattern::Net(_) => {
            Err(format!("an address of {word} needs the rule to be of its family (inet or inet6)"))
        }
        AddressPattern::Table(_) | AddressPattern::Interface { .. } => Ok(()),
        _ => Err(format!("{word} leads to hosts, networks, tables or interfaces only")),
    }
}

/// True if no choice is needed.
const fn is_one(pattern: &AddressPattern) -> bool {
    matches!(
        pattern,
        AddressPattern::Any | AddressPattern::Net(_) | AddressPattern::Interface { no_alias: true, .. }
    )
}
