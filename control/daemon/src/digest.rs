//! Digests: whether two rulesets are the same, and whether a file is whole. Not against forgers: who can write the files
//! can write the digest.

use std::hash::Hasher;
use std::io::{self, Write};

use ruleset::Ruleset;
use siphasher::sip::SipHasher24;

use crate::tables::plain;

struct Feed(SipHasher24);

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The digest of a ruleset, by its JSON form: the same for the ruleset that was sent and the one that comes back, also where
/// tables were made in its anchors since.
pub fn of_ruleset(ruleset: &Ruleset) -> String {
    let mut feed = Feed(SipHasher24::new());
    serde_json::to_writer(&mut feed, &plain(ruleset)).expect("a ruleset has a JSON form");
    format!("{:016x}", feed.0.finish())
}

/// The digest of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    format!("{:016x}", hasher.finish())
}
