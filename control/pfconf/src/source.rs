//! The files that a ruleset was read from, and places in them.

/// A stretch of one file's text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index of the file in its [`SourceMap`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From the beginning of `self` to the end of `last`; only `last` if they are in different files.
    #[must_use]
    pub fn to(self, last: Self) -> Self {
        if self.file == last.file && self.start <= last.end { Self { end: last.end, ..self } } else { last }
    }
}

/// One file's name and text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name as it was given; `stdin` for standard input.
    pub name: String,
    /// Everything in it.
    pub text: String,
    line_starts: Vec<u32>,
}

impl SourceFile {
    fn new(name: &str, text: String) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(breaks.map(|(at, _)| at as u32 + 1)).collect();
        Self { name: name.to_owned(), text, line_starts }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn line_column(&self, at: u32) -> (u32, u32) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts[line - 1] as usize;
        let end = (at as usize).clamp(start, self.text.len());
        let column = self.text.as_bytes()[start..end].iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
        (line as u32, column as u32 + 1)
    }
}

/// Every file of a ruleset: the one that was asked for, then those that it includes.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// The most bytes that one file may have.
    pub const FILE_BYTES: usize = 64 << 20;

    pub(crate) fn add(&mut self, name: &str, text: String) -> u32 {
        self.files.push(SourceFile::new(name, text));
        self.files.len() as u32 - 1
    }

    /// A file by its index.
    pub fn file(&self, index: u32) -> &SourceFile {
        &self.files[index as usize]
    }

    /// The line, from 1, on which a span begins.
    pub fn line(&self, span: Span) -> u32 {
        self.file(span.file).line_column(span.start).0
    }
}
