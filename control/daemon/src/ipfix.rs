//! Exports states as flows, by IPFIX over UDP (RFC 7011), both directions of each in one record (RFC 5103), and sessions of
//! translation as they begin and end (RFC 8158).
//!
//! Overview: one thread listens to the dataplane's states. A state that has gone is a flow of the interface's hook where it was
//! made: flowDirection tells the two of a forwarded connection apart. Templates are sent at the beginning and again and again,
//! with the number of events that were lost on the way here.
//! Life cycle: from the start of the process; it comes back by itself when the dataplane was away. Ownership: the thread alone
//! has the socket; everyone else reads [`Counts`]. Bounds: the messages of a batch of events in memory. It never holds the dataplane up, nor waits for
//! the collector: what the system does not take at once is lost, counted, and missing in the sequence.

mod message;
mod record;
mod template;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::{EventBatch, EventQuery};
use serde::Deserialize;
use tracing::warn;

use crate::listener;
use message::{Message, Writer};
use record::Recorder;

/// `[ipfix]` of turnpike.toml.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where flows are sent; nowhere without one.
    pub collector: Option<SocketAddr>,
    /// Which exporter of the collector's this is.
    pub observation_domain: u32,
    /// How often templates are sent again, in seconds.
    pub template_refresh_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { collector: None, observation_domain: 1, template_refresh_s: 60 }
    }
}

/// What was exported so far.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    missed: AtomicU64,
}

impl Counts {
    /// Records that were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Records that could not be sent.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Events of states that were lost before they came here.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// Starts the thread, which listens to the dataplane at `dataplane` and sends to `collector`.
///
/// # Errors
/// That there is no socket, or no thread.
pub fn start(dataplane: PathBuf, collector: SocketAddr, settings: &Settings) -> io::Result<Arc<Counts>> {
    let counts = Arc::new(Counts::default());
    let mut exporter = Exporter::new(collector, settings, Arc::clone(&counts))?;
    listener::start("ipfix", move || {
        listener::connect(&dataplane)?.events(&EventQuery::default(), |batch| {
            exporter.take(batch);
            true
        })
    })?;
    Ok(counts)
}

/// The thread's own.
struct Exporter {
    socket: UdpSocket,
    collector: SocketAddr,
    writer: Writer,
    recorder: Recorder,
    refresh: Duration,
    /// When templates were sent last.
    told: Option<Instant>,
    /// The last attempt failed: that is told once.
    troubled: bool,
    counts: Arc<Counts>,
}

impl Exporter {
    fn new(collector: SocketAddr, settings: &Settings, counts: Arc<Counts>) -> io::Result<Self> {
        let any: IpAddr = match collector {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            collector,
            writer: Writer::new(settings.observation_domain),
            recorder: Recorder::default(),
            refresh: Duration::from_secs(settings.template_refresh_s),
            told: None,
            troubled: false,
            counts,
        })
    }

    /// Sends what some events are worth.
    fn take(&mut self, batch: &EventBatch) {
        self.counts.missed.fetch_add(batch.lost, Ordering::Relaxed);
        let (now, unix_s) = now();
        if self.told.is_none_or(|told| now - told >= self.refresh) {
            self.told = Some(now);
            let templates = self.writer.templates(unix_s);
            self.send(&templates);
            self.tell_missed(unix_s);
        }
        let (mut messages, writer) = (Vec::new(), &mut self.writer);
        let mut put = |template, record: &[u8]| messages.extend(writer.record(template, record, unix_s));
        batch.events.iter().for_each(|event| self.recorder.event(event, &mut put));
        batch.shortages.iter().for_each(|shortage| record::shortage(shortage, &mut put));
        messages.extend(self.writer.take(unix_s));
        messages.iter().for_each(|message| self.send(message));
    }

    /// How many flows there may be of which nothing is told: one for each event that was lost, at most.
    fn tell_missed(&mut self, unix_s: u32) {
        let process = std::process::id().to_be_bytes();
        let record = [&process[..], &self.counts.missed().to_be_bytes()].concat();
        let before = self.writer.record(template::UNSENT, &record, unix_s);
        debug_assert_eq!(before, None, "nothing was gathered");
        if let Some(message) = self.writer.take(unix_s) {
            self.send(&message);
        }
    }

    fn send(&mut self, message: &Message) {
        match self.socket.send_to(&message.bytes, self.collector) {
            Ok(_) => {
                self.counts.sent.fetch_add(message.records.into(), Ordering::Relaxed);
                self.troubled = false;
            }
            Err(error) => {
                self.counts.failed.fetch_add(message.records.into(), Ordering::Relaxed);
                if !std::mem::replace(&mut self.troubled, true) {
                    warn!("flows are not sent to {}: {error}; see [ipfix] collector", self.collector);
                }
            }
        }
    }
}

fn now() -> (Instant, u32) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), unix.as_secs() as u32)
}
