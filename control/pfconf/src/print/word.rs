//! Names and texts, so that what is printed is read again as the same.

use crate::dialect::Dialect;
use crate::lex;

/// Text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        // Behind a backslash a blank is read without it, so that it needs one of its own.
        if c == '"' || (matches!(c, ' ' | '\t') && out.ends_with('\\')) {
            out.push('\\');
        }
        out.push(c);
    }
    out + "\""
}

/// A name, in quotes only where it would not be read as one word.
pub(crate) fn word(name: &str, dialect: Dialect) -> String {
    let number = name.bytes().all(|byte| byte.is_ascii_digit());
    if number { quoted(name) } else { word_or_number(name, dialect) }
}

/// The name of a table in angle brackets, where digits alone are a name.
pub(crate) fn table(name: &str, dialect: Dialect) -> String {
    format!("<{}>", word_or_number(name, dialect))
}

fn word_or_number(name: &str, dialect: Dialect) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let plain = |byte: u8| lex::in_word(byte) && byte != b'\\';
    match starts && name.bytes().all(plain) && !lex::is_keyword(name, dialect) {
        true => name.to_owned(),
        false => quoted(name),
    }
}
