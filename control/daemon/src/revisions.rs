//! Revisions on disk: every ruleset that was made live, as it was written.
//!
//! Overview: a revision is one file, `00000042.json`: a line with the format's version and a digest, then JSON. Writing is
//! `prepare` (a whole file beside, synced to the disk), then `publish` (a rename, synced): between the two the rules are
//! committed, so that a crash at any moment leaves the file of either ruleset, whole.
//!
//! Life cycle: made at an apply, amended when confirmed or reverted, removed when more than the kept number are newer.
//! Ownership: the committer. Bounds: the kept number, never fewer than the last good one.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::control::{Revision, Sources, Standing};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::digest;

/// First word and version of a revision's file.
const FORMAT: &str = "turnpike-revision 1";

/// How the name of a revision's file ends.
const PUBLISHED: &str = "json";

/// How the name of a file that is not published ends.
const UNPUBLISHED: &str = "new";

/// How the name of a file that is about to replace another ends.
const AMENDED: &str = "amended";

/// Everything that is kept of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Number, times, origin, standing.
    pub revision: Revision,
    /// Digest of the compiled ruleset: recognises it in the dataplane.
    pub digest: String,
    /// The revision that was live before it, if one was.
    pub previous: Option<u64>,
    /// As it was written.
    pub sources: Sources,
}

/// A record without its sources.
#[derive(Clone, Debug)]
pub struct Head {
    /// Number, times, origin, standing.
    pub revision: Revision,
    /// Digest of the compiled ruleset.
    pub digest: String,
    /// The revision that was live before it.
    pub previous: Option<u64>,
}

impl From<&Record> for Head {
    fn from(record: &Record) -> Self {
        Self { revision: record.revision.clone(), digest: record.digest.clone(), previous: record.previous }
    }
}

/// Why a revision cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not kept.
    #[error("there is no revision {0}; `tpctl revisions` lists those that are kept")]
    Unknown(u64),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is damaged.
    #[error("{} is damaged ({what}); an older revision is taken in its place", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
}

/// The folder of revisions.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    kept: usize,
    heads: BTreeMap<u64, Head>,
    /// Prepared, and not known to be live or not.
    unpublished: Option<Head>,
    next: u64,
}

impl Store {
    /// Opens the folder, making it if need be, and reads what is there. Damaged files are left alone, and said aloud.
    ///
    /// # Errors
    /// That the folder cannot be made, read or written.
    pub fn open(folder: &Path, kept: usize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let mut store =
            Self { folder: folder.to_owned(), kept, heads: BTreeMap::new(), unpublished: None, next: 1 };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(number) = stem.and_then(|stem| stem.parse::<u64>().ok()) {
                found.push((number, path));
            }
        }
        found.sort();
        for (number, path) in found {
            store.next = store.next.max(number + 1);
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            match (ending, read_record(&path)) {
                (PUBLISHED, Ok(record)) => drop(store.heads.insert(number, Head::from(&record))),
                (PUBLISHED, Err(damage)) => error!("{damage}"),
                (UNPUBLISHED, Ok(record)) => store.unpublished = Some(Head::from(&record)),
                // A crash while it was being written: it was never committed, or its change never answered.
                (UNPUBLISHED | AMENDED, _) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        Ok(store)
    }

    /// The number of the next revision.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Every revision, the newest last.
    pub fn list(&self) -> Vec<Revision> {
        self.heads.values().map(|head| head.revision.clone()).collect()
    }

    /// Every revision's head, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Head> {
        self.heads.values().rev()
    }

    /// A revision's head.
    pub fn head(&self, number: u64) -> Option<&Head> {
        self.heads.get(&number)
    }

    /// What was prepared before a crash or a broken connection, and may be live or not.
    pub fn unpublished(&self) -> Option<&Head> {
        self.unpublished.as_ref()
    }

    /// Reads a revision.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&self, number: u64) -> Result<Record, LoadError> {
        if !self.heads.contains_key(&number) {
            return Err(LoadError::Unknown(number));
        }
        read_record(&self.path(number, PUBLISHED))
    }

    /// Writes a new revision beside the others, so that publishing it cannot fail for want of room.
    ///
    /// # Errors
    /// Those of the disk; nothing is left behind.
    pub fn prepare(&mut self, record: &Record) -> io::Result<()> {
        self.discard();
        let path = self.path(record.revision.number, UNPUBLISHED);
        if let Err(error) = write_record(&path, record).and_then(|()| self.sync_folder()) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.next = self.next.max(record.revision.number + 1);
        self.unpublished = Some(Head::from(record));
        Ok(())
    }

    /// Makes what was prepared a revision, and removes revisions that are too old.
    ///
    /// # Errors
    /// Those of the disk: it is not a revision.
    pub fn publish(&mut self) -> io::Result<()> {
        let Some(head) = self.unpublished.clone() else { return Ok(()) };
        let number = head.revision.number;
        fs::rename(self.path(number, UNPUBLISHED), self.path(number, PUBLISHED))?;
        if let Err(error) = self.sync_folder() {
            warn!("revision {number} is stored, but may not outlive a power failure: {error}");
        }
        self.unpublished = None;
        self.heads.insert(number, head);
        self.prune();
        Ok(())
    }

    /// Removes what was prepared.
    pub fn discard(&mut self) {
        let Some(head) = self.unpublished.take() else { return };
        let path = self.path(head.revision.number, UNPUBLISHED);
        if let Err(error) = fs::remove_file(&path) {
            warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// Changes what became of a revision.
    ///
    /// # Errors
    /// [`LoadError`], or those of writing; the file is as it was.
    pub fn amend(&mut self, number: u64, standing: Standing) -> Result<(), LoadError> {
        let mut record = self.load(number)?;
        record.revision.standing = standing;
        let path = self.path(number, PUBLISHED);
        let beside = self.path(number, AMENDED);
        let written = write_record(&beside, &record)
            .and_then(|()| fs::rename(&beside, &path))
            .and_then(|()| self.sync_folder());
        if let Err(error) = written {
            let _ = fs::remove_file(&beside);
            return Err(LoadError::Io { path, error });
        }
        self.heads.insert(number, Head::from(&record));
        Ok(())
    }

    fn path(&self, number: u64, extension: &str) -> PathBuf {
        self.folder.join(format!("{number:08}.{extension}"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the oldest beyond the kept number, but never the last good one, which the next boot needs.
    fn prune(&mut self) {
        let good = self.newest_first().find(|head| head.revision.standing == Standing::Confirmed);
        let good = good.map(|head| head.revision.number);
        let surplus = self.heads.len().saturating_sub(self.kept);
        let old: Vec<u64> =
            self.heads.keys().copied().take(surplus).filter(|number| Some(*number) != good).collect();
        for number in old {
            match fs::remove_file(self.path(number, PUBLISHED)) {
                Ok(()) => info!("revision {number} is older than the {} that are kept: removed", self.kept),
                Err(error) => warn!("cannot remove revision {number}: {error}"),
            }
            self.heads.remove(&number);
        }
    }
}

fn write_record(path: &Path, record: &Record) -> io::Result<()> {
    let body = serde_json::to_vec(record)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)?;
    writeln!(file, "{FORMAT} {}", digest::of_bytes(&body))?;
    file.write_all(&body)?;
    file.sync_all()
}

fn read_record(path: &Path) -> Result<Record, LoadError> {
    let damaged = |what: &str| LoadError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let bytes = fs::read(path).map_err(|error| LoadError::Io { path: path.to_owned(), error })?;
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no first line"))?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let sum = head.strip_prefix(FORMAT.as_bytes()).ok_or_else(|| damaged("not a revision's file"))?;
    if sum.trim_ascii() != digest::of_bytes(body).as_bytes() {
        return Err(damaged("its digest does not fit"));
    }
    serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))
}
