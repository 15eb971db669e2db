//! The file of fingerprints that a ruleset's rules ask for.

use super::{Expander, table};
use crate::config::{Anchor, Entry};
use crate::fingerprint::{self, FINGERPRINTS};

/// OpenBSD's file.
const PF_OS: &str = "/etc/pf.os";

impl Expander<'_> {
    /// Reads the file that `set fingerprints` names; else, where a rule asks for an operating system, the usual one.
    pub(super) fn load_fingerprints(&mut self) {
        let loaded = self.config.loaded.iter().flat_map(|(_, entries)| entries);
        let asks = self.config.entries.iter().chain(loaded).any(asks);
        let named = self.fingerprints.take();
        if named.is_none() && !asks {
            return;
        }
        let (path, span) = named.clone().unwrap_or_else(|| (FINGERPRINTS.to_owned(), self.place.span));
        let text = match self.host.read(&path) {
            Ok(text) => text,
            // Where OpenBSD has its file, which a ruleset that comes from there may name.
            Err(_) if named.is_none() || path == PF_OS => fingerprint::BUILT_IN.to_owned(),
            Err(error) => {
                let text = format!("cannot load \"{path}\": {}", table::plain(&error));
                return self.complain(span, text, None);
            }
        };
        match fingerprint::read(&text) {
            Ok(known) if asks => self.config.fingerprints = known,
            Ok(_) => {}
            Err(fault) => {
                self.complain(span, format!("{path}:{}: {}", fault.line, fault.what), None);
            }
        }
    }
}

fn asks(entry: &Entry) -> bool {
    match entry {
        Entry::Rule(full) => full.rule.os.is_some(),
        Entry::Anchor(Anchor { gate, body, .. }) => {
            gate.rule.os.is_some() || body.as_deref().unwrap_or_default().iter().any(asks)
        }
    }
}
