//! Frames: a length, then postcard.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame that a reader accepts, in bytes behind the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub u32);

impl Limit {
    /// A [`Hello`](crate::Hello).
    pub const HELLO: Self = Self(16);
    /// A request that carries no ruleset.
    pub const SMALL: Self = Self(64 * 1024);
    /// Any request: a ruleset of the most rules that `ruleset::bounds` allows, with room to spare.
    pub const REQUEST: Self = Self(256 * 1024 * 1024);
    /// Any response: the live ruleset is the longest.
    pub const RESPONSE: Self = Self(Self::REQUEST.0 + 4096);
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The other side closed the connection between two frames.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed, or was closed within a frame.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The frame is longer than the limit. What follows on the connection is not a frame any more.
    #[error("a message of {length} bytes, but at most {} are accepted", limit.0)]
    TooLong {
        /// Its stated length.
        length: u32,
        /// The limit.
        limit: Limit,
    },
    /// The bytes are not such a message.
    #[error("not a message of this protocol: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Reads the length of the next frame, so that the reader can decide whether it accepts that much.
///
/// # Errors
/// [`ReadError::Closed`] if the other side has closed and no byte of a frame was read.
pub fn read_length(stream: &mut impl Read) -> Result<u32, ReadError> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match stream.read(&mut length[have..]) {
            Ok(0) if have == 0 => return Err(ReadError::Closed),
            Ok(0) => return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(u32::from_le_bytes(length))
}

/// Reads the rest of a frame. Memory is taken as bytes arrive, never ahead of them.
///
/// # Errors
/// [`ReadError::TooLong`] before anything is read or allocated; [`ReadError::Malformed`] also if bytes are left over.
pub fn read_body<T: DeserializeOwned>(
    stream: &mut impl Read,
    length: u32,
    limit: Limit,
) -> Result<T, ReadError> {
    if length > limit.0 {
        return Err(ReadError::TooLong { length, limit });
    }
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body)?;
    if body.len() < length as usize {
        return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    match postcard::take_from_bytes(&body)? {
        (message, []) => Ok(message),
        (_, _) => Err(ReadError::Malformed(postcard::Error::DeserializeBadEncoding)),
    }
}

/// Reads a frame.
///
/// # Errors
/// As [`read_length`] and [`read_body`].
pub fn read<T: DeserializeOwned>(stream: &mut impl Read, limit: Limit) -> Result<T, ReadError> {
    let length = read_length(stream)?;
    read_body(stream, length, limit)
}

/// Writes a frame, in one call if the stream takes it.
///
/// # Errors
/// `InvalidInput` if the message is longer than `limit`, of which nothing is written; else those of the stream.
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T, limit: Limit) -> io::Result<()> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(|error| invalid(error.to_string()))?;
    let length =
        u32::try_from(frame.len() - 4).ok().filter(|length| *length <= limit.0).ok_or_else(|| {
            invalid(format!("a message of {} bytes, but at most {} are accepted", frame.len() - 4, limit.0))
        })?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&frame)?;
    stream.flush()
}
