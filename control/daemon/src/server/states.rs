//! The listing of states: made as it is read, so that a million of them take no memory.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ::api::Client;
use ::api::control::StateFilter;
use bytes::Bytes;
use ipnet::IpNet;
use ruleset::StateView;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::answer::Piece;

/// Bytes that are gathered before they are sent.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces on their way to a client.
pub const PIECES: usize = 4;

/// How long a client may leave a piece waiting: the dataplane waits with it.
const SLOW: Duration = Duration::from_secs(10);

/// How long the dataplane may take for a part of the listing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A filter whose words are understood.
pub struct Filter {
    words: StateFilter,
    net: Option<IpNet>,
}

impl Filter {
    /// Reads a query.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let words = StateFilter::from_query(query)?;
        let net = words.host.as_deref().map(|host| {
            let parsed = host.parse::<IpNet>().or_else(|_| host.parse::<IpAddr>().map(IpNet::from));
            parsed.map_err(|_| format!("`host` is {host:?}; it must be an address or a network"))
        });
        Ok(Self { words, net: net.transpose()? })
    }

    fn fits(&self, state: &StateView) -> bool {
        let peers = [&state.source, &state.destination];
        let ends = || peers.iter().flat_map(|peer| [Some(peer.end), peer.untranslated]).flatten();
        self.words.interface.as_ref().is_none_or(|name| *name == state.interface)
            && self.words.proto.is_none_or(|proto| proto == state.proto.0)
            && self.words.port.is_none_or(|port| ends().any(|end| end.port.0 == port))
            && self.net.is_none_or(|net| ends().any(|end| net.contains(&end.address)))
    }
}

/// Writes the listing, on a thread that may wait. It ends early, and the answer with it, if the client or the dataplane
/// goes away or stands still.
pub fn list(socket: &Path, filter: &Filter, pieces: mpsc::Sender<Piece>, runtime: &Handle) {
    let mut listing = Listing { buffer: Vec::new(), count: 0, pieces, runtime, gone: false };
    let done = Client::connect_within(socket, PATIENCE).and_then(|client| {
        client.states_while(|state| {
            let more = !listing.gone && filter.words.limit.is_none_or(|limit| listing.count < limit);
            if more && filter.fits(&state) {
                listing.add(&state);
            }
            more
        })
    });
    match done {
        Ok(()) => listing.end(),
        Err(error) => warn!("a listing of states was cut short: {error}"),
    }
}

struct Listing<'a> {
    buffer: Vec<u8>,
    count: u64,
    pieces: mpsc::Sender<Piece>,
    runtime: &'a Handle,
    gone: bool,
}

impl Listing<'_> {
    fn add(&mut self, state: &StateView) {
        self.buffer.extend_from_slice(if self.count == 0 { b"[\n" } else { b",\n" });
        if let Err(error) = serde_json::to_writer(&mut self.buffer, state) {
            warn!("a state has no JSON form: {error}");
            self.gone = true;
        }
        self.count += 1;
        if self.buffer.len() >= PIECE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let piece = Piece::More(Bytes::from(std::mem::take(&mut self.buffer)));
        self.send(piece);
    }

    fn send(&mut self, piece: Piece) {
        let began = Instant::now();
        let sent = self.runtime.block_on(async { tokio::time::timeout(SLOW, self.pieces.send(piece)).await });
        if !matches!(sent, Ok(Ok(()))) {
            debug!("a reader of states is gone or stood still for {} s", began.elapsed().as_secs());
            self.gone = true;
        }
    }

    fn end(mut self) {
        if self.gone {
            return;
        }
        self.buffer.extend_from_slice(if self.count == 0 { b"[]\n" } else { b"\n]\n" });
        self.flush();
        self.send(Piece::End);
    }
}
