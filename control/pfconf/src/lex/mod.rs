//! Text to tokens: comments, continuation lines, quoted text, and macros, which are replaced by their text here.
//!
//! A token that comes from a macro's text has the place where the macro is used. As in pf, a macro's text is not
//! searched for further macros, so expansion ends.

mod input;
mod keyword;

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Form, Severity};
use crate::dialect::Dialect;
use crate::host::Host;
use crate::source::Span;
use input::Input;

/// The longest word or quoted text, in bytes.
const WORD_BYTES: usize = 8094;
/// How many files may be included.
const INCLUDES: usize = 1000;
/// How deep `include` may nest.
const INCLUDE_DEPTH: usize = 16;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The end of a line, also at the end of each file.
    Newline,
    /// The end of everything.
    End,
    /// An integer.
    Number(i64),
    /// A word that is no keyword, or quoted text.
    Text(String),
    /// A keyword.
    Keyword(&'static str),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// What no statement can contain.
    Invalid,
    /// What was wrong in itself; it has been reported.
    Reported,
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: Kind,
    pub span: Span,
    /// The line on which it was read, pfctl's notion of where an error is.
    pub line: u32,
}

pub(crate) struct Lexer<'a> {
    pub dialect: Dialect,
    host: &'a dyn Host,
    pub findings: Diagnostics,
    inputs: Vec<Input>,
    macros: HashMap<String, MacroText>,
    included: usize,
    peeked: Option<Token>,
    last: Token,
    /// Statements begun so far.
    pub order: u32,
}

struct MacroText {
    text: String,
    /// Given on the command line: definitions in the file do not replace it.
    fixed: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(
        dialect: Dialect,
        host: &'a dyn Host,
        name: &str,
        text: &str,
        definitions: &[(String, String)],
        mut findings: Diagnostics,
    ) -> Self {
        let file = findings.sources.add(name, text.to_owned());
        let macros = definitions
            .iter()
            .map(|(name, text)| (name.clone(), MacroText { text: text.clone(), fixed: true }))
            .collect();
        Self {
            dialect,
            host,
            inputs: vec![Input::file(file, text)],
            findings,
            macros,
            included: 0,
            peeked: None,
            last: Token { kind: Kind::Newline, span: Span { file, ..Span::default() }, line: 1 },
            order: 0,
        }
    }

    /// The next token, left in place.
    pub fn peek(&mut self) -> &Token {
        if self.peeked.is_none() {
            let token = self.read();
            self.peeked = Some(token);
        }
        self.peeked.as_ref().expect("just filled")
    }

    /// Takes the next token.
    pub fn next(&mut self) -> Token {
        self.peek();
        let token = self.peeked.take().expect("just filled");
        self.last = token.clone();
        token
    }

    /// The token that was taken last.
    pub fn last(&self) -> &Token {
        &self.last
    }

    /// Defines a macro, unless the command line has.
    pub fn define(&mut self, name: &str, text: &str) {
        if self.macros.get(name).is_some_and(|known| known.fixed) {
            return;
        }
        self.macros.insert(name.to_owned(), MacroText { text: text.to_owned(), fixed: false });
    }

    /// Continues with another file, then with the rest of this one.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn include(&mut self, path: &str) -> Result<(), String> {
        if self.inputs.len() > INCLUDE_DEPTH {
            return Err(format!("include nests deeper than {INCLUDE_DEPTH} files"));
        }
        self.included += 1;
        if self.included > INCLUDES {
            return Err(format!("a ruleset includes at most {INCLUDES} files"));
        }
        let text = self.host.read(path).map_err(|error| error.to_string())?;
        let file = self.findings.sources.add(path, text.clone());
        self.inputs.push(Input::file(file, &text));
        Ok(())
    }

    /// Records a finding at the line that reading has come to.
    pub fn report(&mut self, form: Form, span: Span, text: String, label: String, hint: Option<String>) {
        let line = self.peeked.as_ref().map_or(self.last.line, |token| token.line);
        self.report_on(line, form, span, text, label, hint);
    }

    fn report_on(
        &mut self,
        line: u32,
        form: Form,
        span: Span,
        text: String,
        label: String,
        hint: Option<String>,
    ) {
        self.findings.push(Diagnostic {
            severity: Severity::Error,
            text,
            file: span.file,
            line,
            span,
            label,
            hint,
            form,
            order: self.order,
        });
    }

    fn read(&mut self) -> Token {
        loop {
            self.skip_blanks();
            let line = self.input().line;
            let start = self.input().place();
            let Some(byte) = self.byte() else {
                return self.token(Kind::End, start, line);
            };
            let kind = match byte {
                b'\n' => Kind::Newline,
                b'$' if !self.input().is_macro() => match self.expand(start) {
                    Some(kind) => kind,
                    None => continue,
                },
                b'"' | b'\'' => self.quoted(byte, start),
                b'0'..=b'9' => self.number(byte, start),
                b'-' => self.minus(),
                b'!' => self.pair(&[(b'=', "!=")], "!"),
                b'<' => self.pair(&[(b'>', "<>"), (b'=', "<=")], "<"),
                b'>' => self.pair(&[(b'<', "><"), (b'=', ">=")], ">"),
                // `@interface` without an address before it is ours: pf's words do not begin with it.
                b'@' | b':' | b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                    self.word(String::from(byte as char), start)
                }
                _ => symbol(byte),
            };
            return self.token(kind, start, line);
        }
    }

    fn token(&mut self, kind: Kind, start: Span, line: u32) -> Token {
        let end = self.input().place();
        let span = if end.file == start.file { Span { end: end.end.max(start.end), ..start } } else { start };
        Token { kind, span, line }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.look(), Some(b' ' | b'\t' | b'\r')) {
            self.byte();
        }
        if self.look() == Some(b'#') {
            while !matches!(self.look(), Some(b'\n') | None) {
                self.byte();
            }
        }
    }

    fn input(&mut self) -> &mut Input {
        self.inputs.last_mut().expect("the first file is never left")
    }

    /// The next byte; continuation lines are joined, and each file ends with a newline.
    fn byte(&mut self) -> Option<u8> {
        let byte = self.look()?;
        self.input().advance();
        Some(byte)
    }

    fn look(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = self.input().look() {
                return Some(byte);
            }
            if self.inputs.len() == 1 {
                return None;
            }
            self.inputs.pop();
        }
    }

    fn pair(&mut self, longer: &[(u8, &'static str)], single: &'static str) -> Kind {
        for (second, symbol) in longer {
            if self.input().look() == Some(*second) {
                self.input().advance();
                return Kind::Symbol(symbol);
            }
        }
        Kind::Symbol(single)
    }

    /// `$name`: `None` if its text is to be read next.
    fn expand(&mut self, start: Span) -> Option<Kind> {
        let mut name = String::new();
        while let Some(byte) = self.input().look() {
            if !(byte.is_ascii_alphanumeric() || byte == b'_') || name.len() >= WORD_BYTES {
                break;
            }
            name.push(byte as char);
            self.input().advance();
        }
        let place = Span { end: self.input().place().start, ..start };
        let Some(text) = self.macros.get(&name).map(|known| known.text.clone()) else {
            let hint = format!("define it above: {name} = \"…\", or with -D {name}=…");
            let line = self.input().line;
            let text = format!("macro '{name}' not defined");
            self.report_on(line, Form::Placed, place, text, String::new(), Some(hint));
            return Some(self.rest_of_line());
        };
        let line = self.input().line;
        self.inputs.push(Input::expansion(place, line, &text));
        None
    }

    /// Gives up the line: nothing in it can be trusted.
    fn rest_of_line(&mut self) -> Kind {
        while let Some(byte) = self.byte() {
            if byte == b'\n' {
                break;
            }
        }
        Kind::Reported
    }

    fn quoted(&mut self, quote: u8, start: Span) -> Kind {
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.input().look_raw() else {
                let line = self.input().line;
                let hint = "close the quote that begins here".to_owned();
                let what = "reached end of file while parsing quoted string".to_owned();
                self.report_on(line, Form::Placed, start, what, String::new(), Some(hint));
                return Kind::Reported;
            };
            self.input().advance_raw();
            match byte {
                b'\n' => continue,
                b'\\' => match self.input().look_raw() {
                    Some(next) if next == quote || next == b' ' || next == b'\t' => {
                        self.input().advance_raw();
                        text.push(next);
                    }
                    Some(b'\n') => self.input().advance_raw(),
                    _ => text.push(byte),
                },
                _ if byte == quote => break,
                _ => text.push(byte),
            }
            if text.len() > WORD_BYTES {
                return self.too_long(start);
            }
        }
        Kind::Text(String::from_utf8_lossy(&text).into_owned())
    }

    fn too_long(&mut self, start: Span) -> Kind {
        let line = self.input().line;
        let label = format!("longer than {WORD_BYTES} bytes");
        self.report_on(line, Form::Placed, start, "string too long".into(), label, None);
        self.rest_of_line()
    }

    /// An integer, if what follows may end one; else a word that begins with a digit.
    fn number(&mut self, first: u8, start: Span) -> Kind {
        let mut text = String::from(first as char);
        while let Some(byte) = self.look().filter(u8::is_ascii_digit) {
            text.push(byte as char);
            self.byte();
        }
        if !self.look().is_none_or(ends_number) {
            return self.word(text, start);
        }
        match text.parse() {
            Ok(number) => Kind::Number(number),
            Err(_) => {
                let line = self.input().line;
                let what = format!("\"{text}\" invalid number: too large");
                self.report_on(line, Form::Placed, start, what, String::new(), None);
                self.rest_of_line()
            }
        }
    }

    /// `->`, a negative integer, or `-`.
    fn minus(&mut self) -> Kind {
        let digits =
            (0..18).take_while(|at| self.input().ahead(*at).is_some_and(|b| b.is_ascii_digit())).count();
        if digits == 0 || !self.input().ahead(digits).is_none_or(ends_number) {
            return self.pair(&[(b'>', "->")], "-");
        }
        let number = (0..digits).fold(0, |number, _| {
            let digit = self.byte().map_or(0, |byte| i64::from(byte - b'0'));
            number * 10 + digit
        });
        Kind::Number(-number)
    }

    fn word(&mut self, mut text: String, start: Span) -> Kind {
        while let Some(byte) = self.look().filter(|byte| in_word(*byte)) {
            if text.len() >= WORD_BYTES {
                return self.too_long(start);
            }
            text.push(byte as char);
            self.byte();
        }
        match keyword::find(&text, self.dialect) {
            Some(word) => Kind::Keyword(word),
            None => Kind::Text(text),
        }
    }
}

fn ends_number(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"),/}=".contains(&byte)
}

/// True if a byte may stand within a word.
pub(crate) fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || (byte.is_ascii_punctuation() && !b"(){}<>!=/#,".contains(&byte))
}

fn symbol(byte: u8) -> Kind {
    const SYMBOLS: &[&str] = &["(", ")", "{", "}", "=", "/", ",", "*", "%", "&", "+"];
    match SYMBOLS.iter().find(|symbol| symbol.as_bytes()[0] == byte) {
        Some(symbol) => Kind::Symbol(symbol),
        None => Kind::Invalid,
    }
}

/// Every keyword.
pub(crate) fn keywords(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    keyword::all(dialect)
}

/// True if a dialect keeps this word for itself.
pub(crate) fn is_keyword(word: &str, dialect: Dialect) -> bool {
    keyword::find(word, dialect).is_some()
}
