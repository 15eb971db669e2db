//! A pcap file that is whole at any time, and does not grow for ever.
//!
//! Overview: records are appended in one piece, so that whoever reads the file finds whole ones. Life cycle: an existing
//! file is gone on with; a last record that is not whole, as a crash leaves it, is cut off. What is not such a file is put
//! aside as if it were full. A full file becomes `PATH.1`, that one `PATH.2`, and so on. Bounds: [`Bounds`].

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::pflog::{self, FILE_HEADER_BYTES, HEADER_BYTES, LogEntry, RECORD_HEADER_BYTES, SNAP_BYTES};

/// Its owner writes it, its group reads it.
const MODE: u32 = 0o640;

/// How much of the disk the log may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest file, in bytes.
    pub file_bytes: u64,
    /// Full files that are kept besides.
    pub kept: u32,
}

/// The file, open for appending.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    bounds: Bounds,
    file: File,
    /// How long it is, a whole number of records.
    length: u64,
}

impl LogFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "this is no regular file"));
        }
        let mut log = Self { path: path.to_owned(), bounds, file, length: 0 };
        match whole_bytes(&log.file)? {
            Some(length) => log.cut(length)?,
            None => log.begin_anew()?,
        }
        if log.length == 0 {
            log.write(&pflog::file_header())?;
        }
        Ok(log)
    }

    /// Appends entries, those of one file in one piece.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in entries {
            let record = pflog::record(entry);
            let length = self.length + (bytes.len() + record.len()) as u64;
            if length > self.bounds.file_bytes && self.length + bytes.len() as u64 > FILE_HEADER_BYTES as u64
            {
                self.write(&bytes)?;
                bytes.clear();
                self.begin_anew()?;
                self.write(&pflog::file_header())?;
            }
            bytes.extend(record);
        }
        self.write(&bytes)
    }

    /// False if the file was renamed, removed or changed by somebody else.
    pub fn is_in_place(&self) -> bool {
        let ours = self.file.metadata().map(|own| (own.dev(), own.ino(), self.length));
        let there = fs::metadata(&self.path).map(|found| (found.dev(), found.ino(), found.len()));
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(bytes);
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            // What went out of it would be half a record.
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.file.metadata()?.len() != length {
            self.file.set_len(length)?;
        }
        self.length = length;
        Ok(())
    }

    /// Puts the file aside, with those before it, and makes an empty one.
    fn begin_anew(&mut self) -> io::Result<()> {
        for number in (0..=self.bounds.kept).rev() {
            let from = self.numbered(number);
            let moved = if number == self.bounds.kept {
                fs::remove_file(from)
            } else {
                fs::rename(from, self.numbered(number + 1))
            };
            moved.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
        self.file =
            OpenOptions::new().read(true).append(true).create_new(true).mode(MODE).open(&self.path)?;
        self.length = 0;
        Ok(())
    }

    /// The path of the file that was full so many files ago.
    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// The length of the file up to its last whole record; 0 for one that ends before its header does, `None` if it is not a
/// log of ours.
fn whole_bytes(file: &File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    reader.seek(SeekFrom::Start(0))?;
    let mut header = Vec::new();
    reader.by_ref().take(FILE_HEADER_BYTES as u64).read_to_end(&mut header)?;
    if !pflog::file_header().starts_with(&header) {
        return Ok(None);
    }
    if header.len() < FILE_HEADER_BYTES {
        return Ok(Some(0));
    }
    let mut whole = FILE_HEADER_BYTES as u64;
    loop {
        let mut record = [0; RECORD_HEADER_BYTES];
        match reader.read_exact(&mut record) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Some(whole)),
            read => read?,
        }
        let captured = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        if !(HEADER_BYTES as u32..=SNAP_BYTES).contains(&captured) {
            return Ok(None);
        }
        let next = whole + RECORD_HEADER_BYTES as u64 + u64::from(captured);
        if next > length {
            return Ok(Some(whole));
        }
        reader.seek_relative(i64::from(captured))?;
        whole = next;
    }
}
