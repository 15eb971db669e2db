//! The network around the firewall as it is in life: routing daemons, links that flap, devices and neighbours that come
//! and go.
#![allow(clippy::disallowed_methods, reason = "traffic that goes on meanwhile needs a thread")]

mod daemons;
mod links;
mod neighbors;

use anyhow::{Context, Result};
use e2e::{Lab, PATIENCE, wait_until};
use serde_json::Value;

/// The large figures are asked for.
fn long() -> bool {
    std::env::var_os("TURNPIKE_LONG").is_some()
}

/// What `tpctl show status` says of an interface.
fn interface(lab: &Lab, name: &str) -> Result<Value> {
    let status = lab.show("status")?;
    let found = status["interfaces"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
    found.cloned().with_context(|| format!("no interface {name} in {status}"))
}

/// Waits until an interface's link is in this state.
fn wait_for_link(lab: &Lab, name: &str, state: &str) -> Result<Value> {
    let mut seen = Value::Null;
    wait_until(&format!("{name} to be {state}"), PATIENCE, || {
        seen = interface(lab, name).unwrap_or_default();
        let up = seen["up"].as_bool() == Some(state == "up");
        seen["link"]["state"] == state && up
    })
    .with_context(|| format!("last seen: {seen}"))?;
    Ok(seen)
}
