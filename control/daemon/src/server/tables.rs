//! What the paths below `/tables` answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::api::Client;
use ::api::control::{TableRequest, TableSummary};
use hyper::Request;
use hyper::body::Incoming;
use ipnet::IpNet;
use pfconf::{AddressTraffic, LoadedTable};
use ruleset::Rule;
use tokio::task::spawn_blocking;

use super::App;
use super::answer::{json, problem};
use super::api::{Answer, PATIENCE, decode, heavy_body, place, reply};
use crate::View;

/// What is known, with what tables hold by now that rules put sources into by themselves.
pub async fn view(app: &App) -> Arc<View> {
    let view = app.watch.get();
    let overloads = |rule: &Rule| rule.state_options.source.overload.is_some();
    if view.rules.as_ref().is_some_and(|rules| rules.rules.iter().any(overloads)) {
        // What is known before has to do where the dataplane is away.
        let _ = app.committer.look().await;
        return app.watch.get();
    }
    view
}

/// Every table, without its addresses.
pub fn list(view: &View) -> Vec<TableSummary> {
    let rules = view.rules.as_deref();
    let summaries = view.tables.iter().map(|(name, table)| TableSummary {
        name: name.clone(),
        persist: table.persists(),
        constant: table.is_constant(),
        counters: table.has_counters(),
        live: rules.is_some_and(|rules| rules.table(name).is_some()),
        addresses: table.len(),
        cleared_unix_s: table.cleared_unix_s(),
    });
    summaries.collect()
}

/// A table with its addresses.
pub async fn one(app: &App, name: String) -> Answer {
    let _place = match place(&app.heavy).await {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    let view = view(app).await;
    let socket = app.dataplane_socket.clone();
    let made = spawn_blocking(move || {
        let Some(table) = view.tables.get(&name) else { return problem(404, "Table does not exist.") };
        let is_live = view.rules.as_ref().is_some_and(|rules| rules.table(&name).is_some());
        if !table.has_counters() || !is_live {
            return json(&**table);
        }
        match traffic(&socket, &name) {
            Ok(traffic) => {
                let mut table = LoadedTable::clone(table);
                table.set_traffic(traffic);
                json(&table)
            }
            Err(error) => problem(503, &error.to_string()),
        }
    });
    made.await.unwrap_or_else(|error| problem(500, &error.to_string()))
}

/// What the dataplane has counted for the addresses of a table.
fn traffic(socket: &Path, name: &str) -> Result<BTreeMap<IpNet, AddressTraffic>, ::api::Error> {
    let counts = Client::connect_within(socket, PATIENCE)?.address_counts(name)?;
    Ok(counts.iter().map(|counts| (counts.net, counts.numbers())).collect())
}

/// Changes a table.
pub async fn change(app: &App, name: &str, request: Request<Incoming>) -> Answer {
    let (_place, body) = match heavy_body(app, request).await {
        Ok(both) => both,
        Err(refusal) => return refusal,
    };
    match decode(body, |request: TableRequest| request).await {
        Ok(request) => reply(app.committer.change_table(name, request).await),
        Err(refusal) => refusal,
    }
}
