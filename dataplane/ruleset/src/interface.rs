//! Which interfaces a rule applies to (pf.conf(5) `on`).

use serde::{Deserialize, Serialize};

/// What `on` names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InterfacePattern {
    /// `on any`: every interface that is not a loopback.
    Any,
    /// An interface or a group, by name. It need not exist yet.
    Name(String),
}

/// `on [!] interface`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InterfaceMatch {
    /// `!`: matches what the pattern does not.
    pub negated: bool,
    /// What is named.
    pub pattern: InterfacePattern,
}
