//! What the paths of the metrics' port answer.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use serde::Serialize;

use super::App;
use super::answer::{AnswerBody, json_with, only, problem, whole};
use crate::collector::Reading;
use crate::{View, metrics};

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request. Bodies are not read.
pub async fn answer(app: &Arc<App>, request: &Request<Incoming>) -> Response<AnswerBody> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return only("GET");
    }
    match request.uri().path() {
        "/metrics" => {
            let reading = app.collector.read().await;
            let view = app.watch.get();
            match metrics::render(&view, reading.as_deref().ok(), &app.writers, app.metrics_rules) {
                Ok(text) => whole(StatusCode::OK, metrics::FORMAT, text),
                Err(error) => problem(500, &format!("the metrics cannot be written: {error}")),
            }
        }
        // Whoever reads this has been answered: the process lives.
        "/healthz" => whole(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => ready(app, request).await,
        _ => problem(404, "no such path; there are /metrics, /healthz and /readyz"),
    }
}

/// Something that must be so before traffic is sent here, and how it is.
#[derive(Debug, Serialize)]
struct Condition {
    name: &'static str,
    ok: bool,
    reason: String,
}

/// What `/readyz` answers as JSON.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    conditions: Vec<Condition>,
}

/// Ready means that the dataplane is there, has rules, and that its workers come back.
async fn ready(app: &App, request: &Request<Incoming>) -> Response<AnswerBody> {
    let reading = app.collector.read().await;
    let conditions = conditions(&app.watch.get(), reading.as_deref());
    let ready = conditions.iter().all(|condition| condition.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/json")) {
        return json_with(status, &Readiness { ready, conditions });
    }
    let line = |Condition { name, ok, reason }: &Condition| {
        format!("{}: {name}: {reason}\n", if *ok { "ok" } else { "not ready" })
    };
    whole(status, TEXT, conditions.iter().map(line).collect::<String>())
}

fn conditions(view: &View, reading: Result<&Reading, &Arc<str>>) -> Vec<Condition> {
    let problem = view.problem.as_deref().or(reading.err().map(AsRef::as_ref));
    let dataplane = Condition {
        name: "dataplane",
        ok: problem.is_none(),
        reason: problem.map_or_else(|| "it answers".into(), str::to_owned),
    };
    let generation = view.live.generation();
    let rules = Condition {
        name: "rules",
        ok: generation > 0,
        reason: match generation {
            0 => "the dataplane has no rules yet".into(),
            generation => format!("generation {generation} is live"),
        },
    };
    vec![dataplane, rules, workers(reading.ok())]
}

fn workers(reading: Option<&Reading>) -> Condition {
    let workers = reading.map_or(&[][..], |reading| &reading.status.workers);
    let stalled: Vec<String> =
        workers.iter().filter(|worker| worker.stalled).map(|worker| worker.worker.to_string()).collect();
    let ok = !workers.is_empty() && stalled.is_empty();
    let reason = match (ok, reading.is_some()) {
        (true, _) => format!("{} advance", workers.len()),
        (false, true) => format!("of {}, these do not come back: {}", workers.len(), stalled.join(", ")),
        (false, false) => "nothing is known of them".into(),
    };
    Condition { name: "workers", ok, reason }
}
