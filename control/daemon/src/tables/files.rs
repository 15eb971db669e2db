//! Tables on disk: a file for each, to which changes are appended.
//!
//! Overview: the first line names the format and what the table is; each further line is a change: `+ network time`,
//! `- network`, or `0` for all of them. A change that is cut off by a crash has no line end, and did not happen.
//!
//! Life cycle: written as a whole (beside, then renamed) when a ruleset is loaded or most lines have been overtaken;
//! appended to and synced at each change. Ownership: the committer. Bounds: as many lines as twice the table's entries,
//! and [`SURPLUS`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pfconf::{LoadedTable, Member, TableVerb};
use ruleset::TableEdit;
use tracing::{error, warn};

use super::TableSet;

/// First words of a table's file.
const FORMAT: &str = "turnpike-table 1";

/// How the name of a table's file ends.
const ENDING: &str = "table";

/// Lines beyond twice the entries after which a file is written anew.
const SURPLUS: usize = 10_000;

/// The folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// Lines of each file.
    lines: BTreeMap<String, usize>,
}

impl Files {
    /// Opens the folder, making it if need be, and reads what is there. Damaged files are left alone, and said aloud.
    ///
    /// # Errors
    /// That the folder cannot be made or read.
    pub fn open(folder: &Path) -> io::Result<(Self, TableSet)> {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let (mut lines, mut tables) = (BTreeMap::new(), TableSet::new());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let Some(name) = api::control::unescape(stem) else { continue };
            match fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| read(&text)) {
                Ok((table, count)) => {
                    lines.insert(name.clone(), count);
                    tables.insert(name, Arc::new(table));
                }
                Err(why) => error!("{}: {why}; the table begins with what the ruleset says", path.display()),
            }
        }
        Ok((Self { folder: folder.to_owned(), lines }, tables))
    }

    /// Writes a table as a whole.
    ///
    /// # Errors
    /// Those of the disk; the file is as it was.
    pub fn write(&mut self, name: &str, table: &LoadedTable) -> io::Result<()> {
        let path = self.path(name);
        let beside = path.with_extension("new");
        let mut text = head(table);
        for row in table.rows() {
            text += &addition(&row.member, row.cleared_unix_s);
        }
        let written = create(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &path))
            .and_then(|()| self.sync_folder());
        if let Err(error) = written {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        self.lines.insert(name.to_owned(), table.len());
        Ok(())
    }

    /// Appends a change, after which the table is as it is given.
    ///
    /// # Errors
    /// Those of the disk; what is read back is the table before.
    pub fn append(&mut self, name: &str, table: &LoadedTable, edit: &TableEdit) -> io::Result<()> {
        let lines = self.lines.get(name).copied().filter(|_| self.path(name).exists());
        let added = usize::from(edit.clear) + edit.add.len() + edit.remove.len();
        // What is neither added nor removed is a time: only a whole file tells those of all entries.
        let Some(lines) = lines.filter(|lines| added > 0 && lines + added <= 2 * table.len() + SURPLUS)
        else {
            return self.write(name, table);
        };
        let mut text = String::new();
        if edit.clear {
            text.push_str("0\n");
        }
        for net in &edit.remove {
            let _ = writeln!(text, "- {net}");
        }
        let now = super::now_unix_s();
        for entry in &edit.add {
            text += &addition(&(*entry).into(), now);
        }
        let path = self.path(name);
        let mut file = OpenOptions::new().append(true).open(&path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            if let Err(cut) = file.set_len(before) {
                warn!("{}: {cut}", path.display());
            }
            return Err(error);
        }
        self.lines.insert(name.to_owned(), lines + added);
        Ok(())
    }

    /// Removes a table's file.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        self.lines.remove(name);
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync_folder(),
        }
    }

    /// A name may have any character but those that end it.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.{ENDING}", api::control::escape(name).replace('.', "%2E")))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)
}

fn head(table: &LoadedTable) -> String {
    let words = [
        (table.persists(), " persist"),
        (table.is_constant(), " const"),
        (table.has_counters(), " counters"),
    ];
    let words: String = words.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect();
    format!("{FORMAT} {}{words}\n", table.cleared_unix_s())
}

/// A table out of its file, and how many lines it has.
fn read(text: &str) -> Result<(LoadedTable, usize), String> {
    // A last line without an end was cut off.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut lines = whole.lines();
    let first = lines.next().and_then(|line| line.strip_prefix(FORMAT)).ok_or("not a table's file")?;
    let mut words = first.split_whitespace();
    let cleared = words.next().and_then(|time| time.parse().ok()).ok_or("no time in the first line")?;
    let words: Vec<&str> = words.collect();
    let has = |word: &str| words.contains(&word);
    let mut table = LoadedTable::of(&ruleset::Table {
        persist: has("persist"),
        constant: has("const"),
        counters: has("counters"),
        ..ruleset::Table::default()
    });
    table.zero(cleared);
    let mut count = 0;
    for (number, line) in lines.enumerate() {
        let fault = || format!("line {}: {line:?} is no change of a table", number + 2);
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("0"), None, None) => drop(table.flush()),
            (Some("+"), Some(net), Some(time)) => {
                let weight = words.next().map(|weight| weight.parse().map_err(|_| fault())).transpose()?;
                let member = Member { weight, ..member(net).ok_or_else(fault)? };
                let time = time.parse().map_err(|_| fault())?;
                // In place of one of the same network, which may have been the other way.
                table.delete(&[Member { negated: !member.negated, ..member }]);
                table.apply(&TableVerb::Add(vec![member]), time);
            }
            (Some("-"), Some(net), None) => {
                let member = member(net).ok_or_else(fault)?;
                table.delete(&[member, Member { negated: true, ..member }]);
            }
            _ => return Err(fault()),
        }
        count += 1;
    }
    Ok((table, count))
}

/// The line of an entry that was added at a time.
fn addition(member: &Member, unix_s: u64) -> String {
    let weight = member.weight.map_or_else(String::new, |weight| format!(" {weight}"));
    format!("+ {member} {unix_s}{weight}\n")
}

/// `!10.0.0.0/8`, or an address alone.
fn member(text: &str) -> Option<Member> {
    let bare = text.strip_prefix('!').unwrap_or(text);
    let net = bare.parse().or_else(|_| bare.parse::<std::net::IpAddr>().map(Into::into)).ok()?;
    Some(Member { negated: bare.len() < text.len(), net, weight: None })
}
