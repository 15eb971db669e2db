//! Answers: JSON, text, or a stream of pieces.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::api::control::Problem;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::committer::Failure;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// JSON, as `tpctl --json` prints it.
pub const JSON: &str = "application/json";

/// An answer of one piece.
pub fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A value, as JSON.
pub fn json(value: &impl Serialize) -> Response<AnswerBody> {
    json_with(StatusCode::OK, value)
}

/// A value, as JSON, with another status than 200.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Response<AnswerBody> {
    match serde_json::to_vec_pretty(value) {
        Ok(mut text) => {
            text.push(b'\n');
            whole(status, JSON, text)
        }
        Err(error) => problem(500, &format!("the answer has no JSON form: {error}")),
    }
}

/// A refusal.
pub fn problem(status: u16, error: &str) -> Response<AnswerBody> {
    refusal(status, &Problem { error: error.to_owned(), ..Problem::default() })
}

/// A method that the path does not have.
pub fn only(method: &'static str) -> Response<AnswerBody> {
    let mut answer = problem(405, &format!("this path takes {method} only"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}

/// A change that was not made.
pub fn failure(failure: &Failure) -> Response<AnswerBody> {
    match failure {
        Failure::Refused(problem) => refusal(422, problem),
        Failure::Unknown(what) => problem(404, what),
        Failure::Conflict(what) => problem(409, what),
        Failure::Unavailable(what) => problem(503, what),
        Failure::Disk(what) => problem(500, what),
    }
}

fn refusal(status: u16, problem: &Problem) -> Response<AnswerBody> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A problem consists of strings and numbers: it has a JSON form.
    let text = serde_json::to_vec(problem).unwrap_or_default();
    let mut answer = whole(status, JSON, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// An answer in pieces, made while they are sent. An error, or a sender that is dropped before it said that the end was
/// reached, breaks the connection, so that nobody takes a part for the whole.
pub fn pieces(kind: &'static str, pieces: mpsc::Receiver<Piece>) -> Response<AnswerBody> {
    let mut answer = Response::new(Pieces { pieces, ended: false }.boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A part of an answer.
#[derive(Debug)]
pub enum Piece {
    /// More of it.
    More(Bytes),
    /// There is no more.
    End,
}

struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Piece::More(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}
