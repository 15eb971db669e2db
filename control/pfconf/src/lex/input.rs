//! One text being read: a file, or a macro's text in the place of its use.

use crate::source::Span;

pub(super) struct Input {
    text: Vec<u8>,
    at: usize,
    /// The line being read, from 1.
    pub line: u32,
    origin: Origin,
}

enum Origin {
    File(u32),
    Macro(Span),
}

impl Input {
    pub fn file(file: u32, text: &str) -> Self {
        let mut text = text.as_bytes().to_vec();
        // Every file ends its last line, so that a statement never runs from one file into another.
        text.push(b'\n');
        Self { text, at: 0, line: 1, origin: Origin::File(file) }
    }

    pub fn expansion(place: Span, line: u32, text: &str) -> Self {
        Self { text: text.as_bytes().to_vec(), at: 0, line, origin: Origin::Macro(place) }
    }

    pub fn is_macro(&self) -> bool {
        matches!(self.origin, Origin::Macro(_))
    }

    /// Where reading is, as an empty span; in a macro's text, the place where it is used.
    pub fn place(&self) -> Span {
        match self.origin {
            Origin::File(file) => {
                // The newline that ends the last line may not be in the file.
                let at = self.at.min(self.text.len() - 1) as u32;
                Span { file, start: at, end: at }
            }
            Origin::Macro(place) => place,
        }
    }

    pub fn look_raw(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub fn advance_raw(&mut self) {
        if self.look_raw() == Some(b'\n') && !self.is_macro() {
            self.line += 1;
        }
        self.at += 1;
    }

    /// The next byte outside quotes: a backslash joins lines, and is dropped before anything else.
    pub fn look(&mut self) -> Option<u8> {
        while self.look_raw() == Some(b'\\') {
            self.at += 1;
            if self.look_raw() != Some(b'\n') {
                break;
            }
            self.advance_raw();
        }
        self.look_raw()
    }

    /// The byte that is `distance` behind the next one, as it is written.
    pub fn ahead(&self, distance: usize) -> Option<u8> {
        self.text.get(self.at + distance).copied()
    }

    pub fn advance(&mut self) {
        self.look();
        self.advance_raw();
    }
}
