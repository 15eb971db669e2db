//! Frames: what is written is read, and nothing else is.

use std::io::Cursor;

use api::codec::{self, Limit, ReadError};
use api::{Candidate, Hello, Request, RequestBody, Response, ResponseBody};
use proptest::prelude::*;
use ruleset::{Rule, Ruleset};

fn framed(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::write(&mut bytes, request, Limit::REQUEST).unwrap();
    bytes
}

fn requests() -> Vec<Request> {
    let ruleset = Ruleset { rules: vec![Rule::default(); 3], ..Ruleset::default() };
    let bodies = [
        RequestBody::Commit(Box::new(Candidate { ruleset, contents: Vec::new() })),
        RequestBody::Status,
        RequestBody::Drops,
        RequestBody::States,
        RequestBody::Rules,
        RequestBody::Usage,
        RequestBody::Logs,
    ];
    bodies.into_iter().enumerate().map(|(id, body)| Request { id: id as u32, body }).collect()
}

#[test]
fn every_request_survives_the_wire() {
    for request in requests() {
        let bytes = framed(&request);
        let read: Request = codec::read(&mut Cursor::new(&bytes), Limit::REQUEST).unwrap();
        assert_eq!(read, request);
    }
}

#[test]
fn every_truncation_is_refused() {
    for request in requests() {
        let bytes = framed(&request);
        for end in 0..bytes.len() {
            let read = codec::read::<Request>(&mut Cursor::new(&bytes[..end]), Limit::REQUEST);
            match read {
                Err(ReadError::Closed) => assert_eq!(end, 0),
                Err(ReadError::Io(_)) => assert!(end > 0),
                other => panic!("{end} of {} bytes were read as {other:?}", bytes.len()),
            }
        }
    }
}

#[test]
fn bytes_behind_the_message_are_refused() {
    let mut bytes = framed(&Request { id: 1, body: RequestBody::Status });
    bytes.push(0);
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let read = codec::read::<Request>(&mut Cursor::new(&bytes), Limit::REQUEST);
    assert!(matches!(read, Err(ReadError::Malformed(_))), "{read:?}");
}

/// A reader that fails the test when it is read from.
struct Untouched;

impl std::io::Read for Untouched {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("read before the length was judged");
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_read() {
    let limit = Limit(10);
    let read = codec::read_body::<Request>(&mut Untouched, 11, limit);
    assert!(matches!(read, Err(ReadError::TooLong { length: 11, limit: Limit(10) })), "{read:?}");
    let read = codec::read_body::<Request>(&mut Untouched, u32::MAX, Limit::REQUEST);
    assert!(matches!(read, Err(ReadError::TooLong { length: u32::MAX, .. })), "{read:?}");
}

#[test]
fn a_frame_over_the_limit_is_not_written() {
    let mut bytes = Vec::new();
    let response = Response { id: 1, body: ResponseBody::Refused("x".repeat(100)) };
    assert!(codec::write(&mut bytes, &response, Limit(50)).is_err());
    assert!(bytes.is_empty());
    codec::write(&mut bytes, &response, Limit(200)).unwrap();
    assert!(bytes.len() > 100);
}

#[test]
fn the_hello_fits_its_limit_and_has_its_form_for_ever() {
    let mut bytes = Vec::new();
    codec::write(&mut bytes, &Hello { magic: *b"TPDP", version: 0x1234 }, Limit::HELLO).unwrap();
    // Four bytes of length, four of magic, a varint.
    assert_eq!(bytes, [6, 0, 0, 0, b'T', b'P', b'D', b'P', 0xb4, 0x24]);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec::read::<Request>(&mut Cursor::new(&bytes), Limit::SMALL);
        let mut frame = (bytes.len() as u32).to_le_bytes().to_vec();
        frame.extend(&bytes);
        let _ = codec::read::<Request>(&mut Cursor::new(&frame), Limit::SMALL);
        let _ = codec::read::<Response>(&mut Cursor::new(&frame), Limit::SMALL);
    }
}
