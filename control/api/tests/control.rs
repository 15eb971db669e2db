//! The client of control against servers that behave and servers that do not.
#![allow(clippy::disallowed_methods, reason = "a server needs a thread of its own")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use api::control::{Apply, StateFilter};
use api::{Control, ControlError};
use proptest::prelude::*;

/// Answers one connection with these bytes, and gives back what was asked.
struct Server {
    path: PathBuf,
    thread: JoinHandle<String>,
}

impl Server {
    fn new(name: &str, answer: &'static str) -> Self {
        let path = std::env::temp_dir().join(format!("api-control-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 65_536];
            let count = stream.read(&mut request).unwrap();
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        Self { path, thread }
    }

    fn control(&self) -> Control {
        Control::new(&self.path)
    }

    fn asked(self) -> String {
        let _ = std::fs::remove_file(&self.path);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_whole_answer_is_read_by_its_length() {
    let server = Server::new("length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]ignored");
    assert_eq!(server.control().revisions().unwrap(), []);
    let asked = server.asked();
    assert!(asked.starts_with("GET /v1/revisions HTTP/1.1\r\nHost: turnpike\r\n"), "{asked}");
}

#[test]
fn chunks_are_joined() {
    let answer =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n2;note=x\r\n\n]\r\n0\r\n\r\n";
    let server = Server::new("chunks", answer);
    assert_eq!(server.control().states(&StateFilter::default(), |_| panic!("there is none")).unwrap(), 0);
    server.asked();
}

#[test]
fn a_refusal_carries_its_reason() {
    let answer = "HTTP/1.1 409 Conflict\r\ncontent-length: 29\r\n\r\n{\"error\":\"revision 2 awaits\"}\n";
    let server = Server::new("refusal", answer);
    let refused = server.control().apply(&Apply::default()).unwrap_err();
    assert_eq!(refused.to_string(), "revision 2 awaits");
    assert!(matches!(refused, ControlError::Refused { status: 409, .. }));
    let asked = server.asked();
    assert!(asked.contains("Content-Length: ") && asked.ends_with('}'), "{asked}");
}

#[test]
fn a_part_is_not_taken_for_the_whole() {
    let answers = [
        ("by length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]"),
        ("by chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n"),
        ("in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n[]"),
        ("in the head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("nothing", ""),
    ];
    for (number, (what, answer)) in answers.into_iter().enumerate() {
        let server = Server::new(&format!("part{number}"), answer);
        let error = server.control().revisions().unwrap_err();
        assert!(matches!(error, ControlError::Talk(_)), "{what}: {error}");
        server.asked();
    }
}

#[test]
fn strangers_are_recognised() {
    for (number, answer) in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]
        .into_iter()
        .enumerate()
    {
        let server = Server::new(&format!("stranger{number}"), answer);
        let error = server.control().status().unwrap_err();
        assert!(!matches!(error, ControlError::Refused { .. }), "{error}");
        server.asked();
    }
    let error = Control::new("/nonexistent/control.sock".as_ref()).status().unwrap_err();
    assert!(error.to_string().contains("start turnpike-control"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_survives_its_query(
        interface in proptest::option::of(".{0,20}"),
        host in proptest::option::of("[0-9a-f.:/]{1,20}"),
        proto in any::<Option<u8>>(),
        port in any::<Option<u16>>(),
        limit in any::<Option<u64>>(),
    ) {
        let filter = StateFilter { interface, proto, host, port, limit };
        let query = filter.to_query();
        prop_assert!(query.is_ascii());
        prop_assert_eq!(StateFilter::from_query(query.strip_prefix('?').unwrap_or_default()), Ok(filter));
    }

    #[test]
    fn no_query_is_too_odd(query in ".{0,60}") {
        let _ = StateFilter::from_query(&query);
    }
}
