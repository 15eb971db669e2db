//! What the paths of the control socket answer.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::api::control::{
    Apply, Changed, Clear, ControlStatus, Forgotten, Killed, Origin, PREFIX, RevisionText, Rollback,
    RuleListing, SetLevel, Sources, Switch, drops_of, unescape,
};
use ::api::{Candidate, Client, lockout};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response};
use pfconf::print_rule;
use ruleset::{RoutingTable, Ruleset, SourceSelector, StateSelector};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Duration, timeout};
use tracing::warn;

use super::answer::{AnswerBody, JSON, failure, json, only, pieces, problem};
use super::states::{Filter, PIECES, list};
use super::tables as answers;
use super::{App, BODY_BYTES};
use crate::View;
use crate::collector::Reading;
use crate::committer::Failure;
use crate::compile::{check, compile, with_anchors};
use crate::difference::{difference, impact};
use crate::tables::{self, Lists};

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// How long the dataplane may take for an answer, or for a part of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long the dataplane may take for what it is asked to do.
const ORDER_PATIENCE: Duration = Duration::from_secs(60);

/// How long a request waits for a place among the heavy ones.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Answer = Response<AnswerBody>;

/// Answers a request.
pub async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Answer {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = route(app, request).await;
    if changes {
        // Whoever changed something and looks sees it.
        app.collector.forget().await;
    }
    answer
}

async fn route(app: &Arc<App>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let Some(path) = path.strip_prefix(PREFIX) else {
        return problem(404, &format!("no such path; those of this version begin with {PREFIX}/"));
    };
    let getting = matches!(*request.method(), Method::GET | Method::HEAD);
    let posting = request.method() == Method::POST;
    match path {
        "/status"
        | "/states"
        | "/sources"
        | "/drops"
        | "/rules"
        | "/usage"
        | "/revisions"
        | "/routes"
        | "/neighbors"
        | "/info"
        | "/tables"
        | "/drops/report"
        | "/mappings"
        | "/mappings/endpoints"
            if !getting =>
        {
            only("GET")
        }
        "/check" | "/apply" | "/confirm" | "/rollback" | "/diff" if !posting => only("POST"),
        "/states/kill" | "/sources/kill" | "/filtering" | "/log-level" | "/clear" if !posting => only("POST"),
        "/status" => json(&status(app).await),
        "/states" => states(app, request.uri().query().unwrap_or_default()),
        "/sources" => {
            let traffic = request.uri().query() == Some("traffic");
            listed(app, move |client| client.sources(traffic)).await
        }
        "/drops" => read(app, |reading| json(&reading.drops)).await,
        "/drops/report" => match drops_of(request.uri().query().unwrap_or_default()) {
            Ok(query) => listed(app, move |client| client.drop_report(query)).await,
            Err(what) => problem(400, &what),
        },
        "/usage" => read(app, |reading| json(&reading.usage)).await,
        "/mappings" => read(app, |reading| json(&reading.mappings)).await,
        "/mappings/endpoints" => listed(app, Client::endpoint_mappings).await,
        "/rules" => rules(app).await,
        "/routes" => listed(app, Client::routes).await,
        "/neighbors" => listed(app, Client::neighbors).await,
        "/revisions" => json(&*app.watch.get().revisions),
        "/check" | "/apply" | "/rollback" | "/diff" => with_body(app, path, request).await,
        "/confirm" => reply(app.committer.confirm().await),
        "/info" => order(app, None, |client, ()| client.info()).await,
        "/tables" => json(&answers::list(answers::view(app).await.as_ref())),
        "/states/kill" | "/sources/kill" | "/filtering" | "/log-level" | "/clear" => {
            ordered(app, path, request).await
        }
        _ => below(app, path, request, getting).await,
    }
}

/// Paths that end with a number or a name.
async fn below(app: &App, path: &str, request: Request<Incoming>, getting: bool) -> Answer {
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some(("revisions", number)) => match number.parse() {
            Ok(number) if getting => revision(app, number).await,
            Ok(_) => only("GET"),
            Err(_) => problem(404, "no such path"),
        },
        Some(("routes", place)) => match address_and_table(place) {
            Some((address, table)) if getting => {
                listed(app, move |client| client.route_to(address, table)).await
            }
            Some(_) => only("GET"),
            None => problem(404, "no such path"),
        },
        Some(("tables", name)) => {
            let Some(name) = unescape(name) else { return problem(400, "a broken escape in the name") };
            match *request.method() {
                Method::GET | Method::HEAD => answers::one(app, name).await,
                Method::POST => answers::change(app, &name, request).await,
                _ => only("GET, POST"),
            }
        }
        _ => problem(404, "no such path"),
    }
}

/// `ADDRESS`, which is looked for in the main table, or `ADDRESS/TABLE`.
fn address_and_table(place: &str) -> Option<(IpAddr, RoutingTable)> {
    let (address, table) = place.split_once('/').unwrap_or((place, "0"));
    Some((address.parse().ok()?, RoutingTable(table.parse().ok()?)))
}

/// What the dataplane does by itself, and is only asked for here.
async fn ordered(app: &App, path: &str, request: Request<Incoming>) -> Answer {
    let body = match read_body(request.into_body()).await {
        Ok(body) => Some(body),
        Err(refusal) => return refusal,
    };
    match path {
        "/states/kill" => {
            order(app, body, |client, selector: StateSelector| {
                client.kill(&selector).map(|states| Killed { states })
            })
            .await
        }
        "/sources/kill" => {
            order(app, body, |client, selector: SourceSelector| {
                client.forget_sources(&selector).map(|nodes| Forgotten { nodes })
            })
            .await
        }
        "/filtering" => {
            order(app, body, |client, Switch { filtering, operator }| {
                lockout::switch(client, filtering, &operator, print_rule)
            })
            .await
        }
        "/log-level" => {
            order(app, body, |client, SetLevel { level }| {
                client.set_log_level(level).map(|()| Changed { changed: true, warning: None })
            })
            .await
        }
        _ => {
            order(app, body, |client, Clear { counts }| {
                client.clear(counts).map(|()| Changed { changed: true, warning: None })
            })
            .await
        }
    }
}

/// Has the dataplane do something, where it may take long without keeping others waiting. Without a body, `null` is what
/// is asked for.
async fn order<T, R, F>(app: &App, body: Option<Bytes>, ask: F) -> Answer
where
    T: DeserializeOwned,
    R: Serialize,
    F: FnOnce(&mut Client, T) -> Result<R, ::api::Error> + Send + 'static,
    R: Send + 'static,
{
    let socket = app.dataplane_socket.clone();
    let done = decode(body.unwrap_or_else(|| Bytes::from_static(b"null")), move |asked: T| {
        Client::connect_within(&socket, ORDER_PATIENCE).and_then(|mut client| ask(&mut client, asked))
    });
    match done.await {
        Ok(Ok(done)) => json(&done),
        Ok(Err(::api::Error::Refused(why))) => problem(422, &why),
        Ok(Err(error)) => problem(503, &error.to_string()),
        Err(refusal) => refusal,
    }
}

pub(super) fn reply<T: Serialize>(done: Result<T, Failure>) -> Answer {
    match done {
        Ok(value) => json(&value),
        Err(error) => failure(&error),
    }
}

async fn read(app: &App, show: impl FnOnce(&Reading) -> Answer) -> Answer {
    match app.collector.read().await {
        Ok(reading) => show(&reading),
        Err(why) => problem(503, &why),
    }
}

/// What the dataplane answers now, on a connection of its own.
async fn listed<T: Serialize + Send + 'static>(
    app: &App,
    ask: impl FnOnce(&mut Client) -> Result<T, ::api::Error> + Send + 'static,
) -> Answer {
    let _place = match place(&app.heavy).await {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    let socket = app.dataplane_socket.clone();
    let asked = spawn_blocking(move || {
        let listed = Client::connect_within(&socket, PATIENCE).and_then(|mut client| ask(&mut client));
        listed.map_or_else(|error| problem(503, &error.to_string()), |listed| json(&listed))
    });
    asked.await.unwrap_or_else(|error| problem(500, &error.to_string()))
}

async fn status(app: &App) -> ControlStatus {
    let reading = app.collector.read().await;
    let view = app.watch.get();
    let now = Instant::now();
    ControlStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: (now - app.started).as_secs(),
        live: view.live,
        pending: view.pending(now),
        last_apply_unix_s: view.last_apply_unix_s,
        apply_failures: view.apply_failures,
        problem: view.problem.clone().or_else(|| reading.as_ref().err().map(|why| why.to_string())),
        dataplane: reading.ok().map(|reading| reading.status.clone()),
    }
}

async fn revision(app: &App, number: u64) -> Answer {
    let loaded = app.committer.load(number).await;
    reply(loaded.map(|record| RevisionText { revision: record.revision, sources: record.sources }))
}

fn states(app: &Arc<App>, query: &str) -> Answer {
    let filter = match Filter::from_query(query) {
        Ok(filter) => filter,
        Err(what) => return problem(400, &what),
    };
    if let Some(why) = &app.watch.get().problem {
        return problem(503, why);
    }
    let Ok(place) = Arc::clone(&app.listings).try_acquire_owned() else {
        return problem(503, "too many listings of states at once; try again in a moment");
    };
    let (sender, receiver) = mpsc::channel(PIECES);
    let (app, runtime) = (Arc::clone(app), Handle::current());
    spawn_blocking(move || {
        list(&app.dataplane_socket, &filter, sender, &runtime);
        drop(place);
    });
    pieces(JSON, receiver)
}

/// A place among the heavy requests, or the refusal.
pub(super) async fn place(heavy: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Answer> {
    match timeout(PLACE_PATIENCE, Arc::clone(heavy).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(problem(503, "too much is asked for at once; try again in a moment")),
    }
}

async fn rules(app: &App) -> Answer {
    let _place = match place(&app.heavy).await {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    let view = app.watch.get();
    if let Some(why) = &view.problem {
        return problem(503, why);
    }
    let made = spawn_blocking(move || {
        let listing = view.rules.as_ref().map(|rules| RuleListing {
            live: view.live,
            text: rules.rules.iter().map(print_rule).collect(),
            ruleset: Ruleset::clone(rules),
        });
        json(&listing)
    });
    made.await.unwrap_or_else(|error| problem(500, &error.to_string()))
}

/// A place among the heavy requests, and the body of one.
pub(super) async fn heavy_body(
    app: &App,
    request: Request<Incoming>,
) -> Result<(OwnedSemaphorePermit, Bytes), Answer> {
    let place = place(&app.heavy).await?;
    Ok((place, read_body(request.into_body()).await?))
}

async fn with_body(app: &App, path: &str, request: Request<Incoming>) -> Answer {
    let (_place, body) = match heavy_body(app, request).await {
        Ok(both) => both,
        Err(refusal) => return refusal,
    };
    let view = app.watch.get();
    let done = match path {
        "/check" => decode(body, move |sources: Sources| json(&check(&sources, &view.interfaces))).await,
        "/diff" => {
            let socket = app.dataplane_socket.clone();
            let kept = match view.live.revision() {
                Some(number) => app.committer.load(number).await.map(|record| record.sources),
                None => Ok(Sources::default()),
            };
            match kept {
                Ok(kept) => decode(body, move |sources: Sources| diff(&view, &socket, sources, &kept)).await,
                Err(refusal) => Ok(failure(&refusal)),
            }
        }
        "/apply" => match decode(body, |apply: Apply| apply).await {
            Ok(apply) => Ok(reply(app.committer.apply(apply, Origin::Apply).await)),
            Err(refusal) => Err(refusal),
        },
        _ => match decode(body, |rollback: Rollback| rollback).await {
            Ok(Rollback { revision, operator }) => {
                Ok(reply(app.committer.rollback(revision, operator).await))
            }
            Err(refusal) => Err(refusal),
        },
    };
    done.unwrap_or_else(|refusal| refusal)
}

fn diff(view: &View, socket: &Path, sources: Sources, kept: &Sources) -> Answer {
    if let Some(why) = &view.problem {
        return problem(503, why);
    }
    let sources = with_anchors(sources, kept, &view.interfaces);
    let compiled = match compile(&sources, &view.interfaces) {
        Ok(mut compiled) => {
            tables::bind(&mut compiled.ruleset, &view.tables);
            compiled
        }
        Err(problem) => return failure(&Failure::Refused(Box::new(problem))),
    };
    let none = Ruleset::default();
    let live = view.rules.as_deref().unwrap_or(&none);
    let next = tables::under(&view.tables, &compiled.ruleset, Lists::Loaded);
    let contents = tables::contents(&compiled.ruleset, &next, Some((live, &view.tables)));
    let candidate = Candidate { ruleset: compiled.ruleset, contents };
    let mut difference = difference(live, &candidate.ruleset, &view.tables);
    let rules = candidate.ruleset.clone();
    let reviewed =
        Client::connect_within(socket, ORDER_PATIENCE).and_then(|mut client| client.review(candidate));
    match reviewed {
        Ok(reviewed) => difference.states = Some(impact(reviewed, &rules)),
        Err(::api::Error::Refused(why)) => return problem(422, &why),
        Err(error) => warn!("the states could not be looked at: {error}"),
    }
    json(&difference)
}

async fn read_body(body: Incoming) -> Result<Bytes, Answer> {
    let too_long = || problem(413, &format!("a body of more than {BODY_BYTES} bytes"));
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(too_long());
    }
    match timeout(BODY_PATIENCE, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(problem(400, &format!("the body could not be read: {error}"))),
        Err(_) => Err(problem(408, &format!("the body took longer than {} s", BODY_PATIENCE.as_secs()))),
    }
}

/// Decodes a body and does `work` with it, where it may take long without keeping others waiting.
pub(super) async fn decode<T, R>(body: Bytes, work: impl FnOnce(T) -> R + Send + 'static) -> Result<R, Answer>
where
    T: DeserializeOwned,
    R: Send + 'static,
{
    let done = spawn_blocking(move || serde_json::from_slice(&body).map(work));
    match done.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(problem(400, &format!("the body is not what this path takes: {error}"))),
        Err(stopped) => Err(problem(500, &stopped.to_string())),
    }
}
