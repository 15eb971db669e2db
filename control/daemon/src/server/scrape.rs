//! What the paths of the metrics' port answer.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use super::App;
use super::answer::{AnswerBody, only, problem, whole};
use crate::metrics;

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request. Bodies are not read.
pub async fn answer(app: &Arc<App>, request: &Request<Incoming>) -> Response<AnswerBody> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return only("GET");
    }
    match request.uri().path() {
        "/metrics" => {
            let reading = app.collector.read().await;
            match metrics::render(&app.watch.get(), reading.as_deref().ok(), app.metrics_rules) {
                Ok(text) => whole(StatusCode::OK, metrics::FORMAT, text),
                Err(error) => problem(500, &format!("the metrics cannot be written: {error}")),
            }
        }
        // Whoever reads this has been answered: the process lives.
        "/healthz" => whole(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => ready(app).await,
        _ => problem(404, "no such path; there are /metrics, /healthz and /readyz"),
    }
}

/// Ready means that the dataplane is there and has rules.
async fn ready(app: &App) -> Response<AnswerBody> {
    let reading = app.collector.read().await;
    let view = app.watch.get();
    let problem = view.problem.as_deref().or(reading.as_ref().err().map(AsRef::as_ref));
    match (problem, view.live.generation()) {
        (Some(why), _) => whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        (None, 0) => whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the dataplane has no rules yet\n"),
        (None, generation) => whole(StatusCode::OK, TEXT, format!("ok: generation {generation}\n")),
    }
}
