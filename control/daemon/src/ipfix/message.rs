//! IPFIX messages (RFC 7011 §3): a header, and sets of templates or of data records.
//!
//! Bounds: a message is at most [`MESSAGE_BYTES`], which no link of IPv6 cuts.

use super::template::{OPTIONS, TEMPLATES, Template};

/// The most that a datagram holds: 1280 octets without the headers of IPv6 and UDP.
pub const MESSAGE_BYTES: usize = 1232;

const VERSION: u16 = 10;
const HEADER_BYTES: usize = 16;
const SET_HEADER_BYTES: usize = 4;
/// Sets of templates, and of templates of options.
const TEMPLATE_SET: u16 = 2;
const OPTIONS_SET: u16 = 3;

/// Gathers records into messages.
#[derive(Debug)]
pub struct Writer {
    domain: u32,
    /// Data records in messages so far, modulo 2³².
    sequence: u32,
    bytes: Vec<u8>,
    /// Data records in this message.
    records: u32,
    /// Where the set that is open begins, and of which template it is.
    set: Option<(usize, u16)>,
}

/// A message that is ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Data records in it.
    pub records: u32,
}

impl Writer {
    /// Messages of an observation domain.
    pub fn new(domain: u32) -> Self {
        let bytes = vec![0; HEADER_BYTES];
        Self { domain, sequence: 0, bytes, records: 0, set: None }
    }

    /// A message with every template, in the place of whatever is gathered, which has to be fetched before.
    pub fn templates(&mut self, unix_s: u32) -> Message {
        debug_assert_eq!(self.records, 0, "what is gathered is fetched first");
        self.open(TEMPLATE_SET);
        for Template { id, fields } in TEMPLATES {
            self.put(&id.to_be_bytes());
            self.put(&(fields.len() as u16).to_be_bytes());
            fields.iter().for_each(|field| self.put(field.specifier().as_slice()));
        }
        self.close();
        self.open(OPTIONS_SET);
        let Template { id, fields } = OPTIONS;
        self.put(&id.to_be_bytes());
        self.put(&(fields.len() as u16).to_be_bytes());
        // The first field is what the others are about.
        self.put(&1_u16.to_be_bytes());
        fields.iter().for_each(|field| self.put(field.specifier().as_slice()));
        self.finish(unix_s)
    }

    /// Adds a record of a template; the message before it, if there is no room for both.
    pub fn record(&mut self, template: u16, record: &[u8], unix_s: u32) -> Option<Message> {
        let is_open = self.set.is_some_and(|(_, open)| open == template);
        let needed = record.len() + if is_open { 0 } else { SET_HEADER_BYTES };
        let full = self.bytes.len() + needed > MESSAGE_BYTES;
        let message = if full { self.take(unix_s) } else { None };
        if self.set.is_none_or(|(_, open)| open != template) {
            self.close();
            self.open(template);
        }
        self.put(record);
        self.records += 1;
        message
    }

    /// What is gathered, if there is anything.
    pub fn take(&mut self, unix_s: u32) -> Option<Message> {
        (self.records > 0).then(|| self.finish(unix_s))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn open(&mut self, id: u16) {
        self.set = Some((self.bytes.len(), id));
        self.put(&id.to_be_bytes());
        self.put(&[0; 2]);
    }

    fn close(&mut self) {
        if let Some((begin, _)) = self.set.take() {
            let length = (self.bytes.len() - begin) as u16;
            self.bytes[begin + 2..begin + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn finish(&mut self, unix_s: u32) -> Message {
        self.close();
        let length = self.bytes.len() as u16;
        let words = [unix_s, self.sequence, self.domain];
        self.bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        for (place, word) in self.bytes[4..HEADER_BYTES].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let records = std::mem::take(&mut self.records);
        self.sequence = self.sequence.wrapping_add(records);
        let bytes = std::mem::replace(&mut self.bytes, vec![0; HEADER_BYTES]);
        Message { bytes, records }
    }
}
