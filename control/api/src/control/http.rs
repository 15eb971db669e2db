//! One HTTP/1.1 exchange over a stream (RFC 9112): enough of it for a server that closes after its answer.

use std::io::{self, BufRead, BufReader, Read, Write};

/// The longest line of an answer's head or of a chunk's head, in bytes.
const LINE_BYTES: u64 = 8192;

/// The most header fields of an answer.
const FIELDS: usize = 100;

/// An answer: its status, and its body to be read.
pub struct Answer<S> {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Body<BufReader<S>>,
}

/// Sends a request and reads the head of the answer.
///
/// # Errors
/// Those of the stream; `InvalidData` if the answer is not HTTP/1.1.
pub fn exchange<S: Read + Write>(
    mut stream: S,
    method: &str,
    target: &str,
    body: Option<&[u8]>,
) -> io::Result<Answer<S>> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: turnpike\r\nConnection: close\r\n");
    if let Some(body) = body {
        request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    let sent = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.write_all(body.unwrap_or_default()))
        .and_then(|()| stream.flush());
    let mut reader = BufReader::new(stream);
    // A server that refuses a body answers before it has read all of it: the answer says more than the failed write.
    match (read_head(&mut reader), sent) {
        (Ok((status, framing)), _) => Ok(Answer { status, body: Body { reader, framing } }),
        (Err(_), Err(sending)) => Err(sending),
        (Err(reading), Ok(())) => Err(reading),
    }
}

/// How much of the body is left (RFC 9112 §6.3).
enum Framing {
    Length(u64),
    /// Bytes left of this chunk, its line end not included.
    Chunk(u64),
    /// Before the head of a chunk.
    ChunkHead,
    UntilClose,
}

/// An answer's body. It ends with an error if the connection ended before it did.
pub struct Body<R> {
    reader: R,
    framing: Framing,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an answer of HTTP/1.1: {what}"))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.trim_end().to_owned()),
        None if line.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(bad("a line is too long or cut off")),
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Framing)> {
    let line = read_line(reader)?;
    let mut words = line.split(' ');
    let status = match (words.next(), words.next().map(str::parse)) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(Ok(status))) => status,
        _ => return Err(bad("no status line")),
    };
    let mut framing = Framing::UntilClose;
    for _ in 0..FIELDS {
        let line = read_line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return if line.is_empty() {
                Ok((status, framing))
            } else {
                Err(bad("a header without a colon"))
            };
        };
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.trim().parse().map_err(|_| bad("its length is not a number"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::ChunkHead;
        }
    }
    Err(bad("too many headers"))
}

impl<R: BufRead> Body<R> {
    /// Reads a chunk's head; what is left of the body begins there.
    fn next_chunk(&mut self) -> io::Result<()> {
        let line = read_line(&mut self.reader)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        self.framing = match u64::from_str_radix(digits, 16).map_err(|_| bad("no length of a chunk"))? {
            0 => Framing::Length(0),
            length => Framing::Chunk(length),
        };
        Ok(())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if matches!(self.framing, Framing::ChunkHead) {
            self.next_chunk()?;
        }
        let (Framing::Length(left) | Framing::Chunk(left)) = &mut self.framing else {
            return self.reader.read(buffer);
        };
        if *left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        if matches!(self.framing, Framing::Chunk(0)) {
            read_line(&mut self.reader)?;
            self.framing = Framing::ChunkHead;
        }
        Ok(count)
    }
}
