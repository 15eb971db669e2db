//! The client against servers that behave and servers that do not.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use api::codec::{self, Limit};
use api::{Client, Error, Hello, Request, RequestBody, Response, ResponseBody};
use ruleset::Ruleset;

/// A server for one connection; joined at the end of the test, so that its panics count.
struct Server {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    #[allow(clippy::disallowed_methods, reason = "a server needs a thread of its own")]
    fn new(name: &str, serve: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let path = std::env::temp_dir().join(format!("api-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || serve(listener.accept().unwrap().0));
        Self { path, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

fn shake_hands(stream: &mut UnixStream) {
    assert_eq!(codec::read::<Hello>(stream, Limit::HELLO).unwrap(), Hello::OURS);
    codec::write(stream, &Hello::OURS, Limit::HELLO).unwrap();
}

fn next(stream: &mut UnixStream) -> Request {
    codec::read(stream, Limit::REQUEST).unwrap()
}

fn answer(stream: &mut UnixStream, id: u32, body: ResponseBody) {
    codec::write(stream, &Response { id, body }, Limit::RESPONSE).unwrap();
}

#[test]
fn a_commit_is_answered_by_its_generation_or_by_a_reason() {
    let server = Server::new("commit", |mut stream| {
        shake_hands(&mut stream);
        let request = next(&mut stream);
        assert_eq!(request.body, RequestBody::Commit(Box::default()));
        answer(&mut stream, request.id, ResponseBody::Committed { generation: 7 });
        let id = next(&mut stream).id;
        answer(&mut stream, id, ResponseBody::Refused("rule @0: no".into()));
    });
    let mut client = Client::connect(&server.path).unwrap();
    assert_eq!(client.commit(&Ruleset::default()).unwrap(), 7);
    let refused = client.commit(&Ruleset::default()).unwrap_err();
    assert_eq!(refused.to_string(), "rule @0: no");
}

#[test]
fn states_come_in_pieces_until_done() {
    let server = Server::new("states", |mut stream| {
        shake_hands(&mut stream);
        let id = next(&mut stream).id;
        answer(&mut stream, id, ResponseBody::States(Vec::new()));
        answer(&mut stream, id, ResponseBody::States(Vec::new()));
        answer(&mut stream, id, ResponseBody::Done);
    });
    let mut client = Client::connect(&server.path).unwrap();
    assert_eq!(client.states(|_| panic!("there is none")).unwrap(), 0);
}

#[test]
fn logs_come_until_the_client_wants_no_more() {
    let server = Server::new("logs", |mut stream| {
        shake_hands(&mut stream);
        let Request { id, body } = next(&mut stream);
        assert_eq!(body, RequestBody::Logs);
        for _ in 0..3 {
            answer(&mut stream, id, ResponseBody::Logs(Vec::new()));
        }
        let hung_up = codec::read::<Request>(&mut stream, Limit::REQUEST);
        assert!(matches!(hung_up, Err(codec::ReadError::Closed)), "{hung_up:?}");
    });
    let mut calls = 0;
    let client = Client::connect(&server.path).unwrap();
    client
        .logs(|entries| {
            assert!(entries.is_empty());
            calls += 1;
            calls < 3
        })
        .unwrap();
    assert_eq!(calls, 3);
}

#[test]
fn another_version_is_named() {
    let server = Server::new("version", |mut stream| {
        let _: Hello = codec::read(&mut stream, Limit::HELLO).unwrap();
        codec::write(&mut stream, &Hello { version: 99, ..Hello::OURS }, Limit::HELLO).unwrap();
    });
    let error = Client::connect(&server.path).unwrap_err();
    assert!(matches!(error, Error::Version { theirs: 99 }), "{error}");
}

#[test]
fn a_stranger_is_recognised() {
    let server = Server::new("stranger", |mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = Client::connect(&server.path).unwrap_err();
    assert!(matches!(error, Error::Stranger(_)), "{error}");
}

#[test]
fn being_hung_up_on_is_explained() {
    let server = Server::new("hang-up", |mut stream| {
        let _: Hello = codec::read(&mut stream, Limit::HELLO).unwrap();
    });
    let error = Client::connect(&server.path).unwrap_err();
    assert!(error.to_string().contains("too many clients"), "{error}");
}

/// Whoever is quicker: what is said is written to one who has hung up, or lies there unread when that happens.
#[test]
fn being_hung_up_on_at_once_is_explained_as_well() {
    for _ in 0..50 {
        let server = Server::new("at-once", drop);
        let error = Client::connect(&server.path).unwrap_err();
        assert!(error.to_string().contains("too many clients"), "{error}");
    }
}

#[test]
fn an_answer_to_something_else_is_refused() {
    let server = Server::new("step", |mut stream| {
        shake_hands(&mut stream);
        let id = next(&mut stream).id;
        answer(&mut stream, id + 1, ResponseBody::Done);
        let id = next(&mut stream).id;
        answer(&mut stream, id, ResponseBody::Done);
    });
    let mut client = Client::connect(&server.path).unwrap();
    assert!(matches!(client.status(), Err(Error::OutOfStep)));
    assert!(matches!(client.drops(), Err(Error::OutOfStep)));
}

#[test]
fn an_absent_dataplane_is_explained() {
    let error = Client::connect("/nonexistent/dataplane.sock".as_ref()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("/nonexistent/dataplane.sock") && text.contains("start turnpike-dataplane"),
        "{text}"
    );
}
