//! A scratch ruleset in a folder: one file, written as a whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use api::Filtering;
use pfconf::Loaded;
use serde::{Deserialize, Serialize};

/// The file in the folder.
const FILE: &str = "ruleset.json";

/// A scratch ruleset.
pub struct Offline {
    folder: PathBuf,
    kept: Kept,
}

/// What is kept between two calls.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    loaded: Loaded,
    enabled: bool,
    /// Since when, in seconds since 1970.
    since_unix_s: u64,
    level: String,
}

impl Offline {
    /// Reads what is in the folder; an empty one has no rules.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{}: not a scratch ruleset of this version; remove it", path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
                Kept { level: "err".into(), ..Kept::default() }
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self { folder: folder.to_owned(), kept })
    }

    /// What is loaded.
    pub fn loaded(&self) -> &Loaded {
        &self.kept.loaded
    }

    /// Whether filtering is switched on, and since when, in seconds since 1970.
    pub fn filtering(&self) -> (Filtering, u64) {
        let filtering = if self.kept.enabled { Filtering::On } else { Filtering::Off };
        (filtering, self.kept.since_unix_s)
    }

    /// The level of messages.
    pub fn level(&self) -> &str {
        &self.kept.level
    }

    /// Switches filtering on or off; false if it was so.
    pub fn switch(&mut self, filtering: Filtering, unix_s: u64) -> anyhow::Result<bool> {
        let on = filtering == Filtering::On;
        if self.kept.enabled == on {
            return Ok(false);
        }
        (self.kept.enabled, self.kept.since_unix_s) = (on, unix_s);
        self.save()?;
        Ok(true)
    }

    /// Sets the level of messages.
    pub fn set_level(&mut self, level: &str) -> anyhow::Result<()> {
        level.clone_into(&mut self.kept.level);
        self.save()
    }

    /// Changes what is loaded, and keeps it.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Loaded) -> T) -> anyhow::Result<T> {
        let done = change(&mut self.kept.loaded);
        self.save()?;
        Ok(done)
    }

    fn save(&self) -> anyhow::Result<()> {
        let path = self.folder.join(FILE);
        let new = self.folder.join(format!("{FILE}.new"));
        let text = serde_json::to_vec_pretty(&self.kept)?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| path.display().to_string())
    }
}
