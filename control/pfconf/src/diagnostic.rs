//! What is wrong with a ruleset, in pfctl's words and, for people, with the line and what was expected.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::source::{SourceMap, Span};

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The ruleset is refused.
    Error,
    /// Worth knowing; the ruleset is accepted.
    Warning,
}

/// How pfctl begins the line, and whether people need to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `file:line: text`.
    Placed,
    /// `file:line: text`, said by pfctl after another error; nothing new for a reader who sees the place.
    Consequence,
    /// Nothing: pfctl does not report a syntax error right behind another one.
    Quiet,
    /// The bare text.
    Bare,
    /// `pfctl: text`.
    Program,
    /// `pfctl: text`, said by pfctl before an error with a place; nothing new for a reader who sees the place.
    Preface,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, in pfctl's words.
    pub text: String,
    /// The file, by its index.
    pub file: u32,
    /// The line that pfctl names: where reading had come to.
    pub line: u32,
    /// The place.
    pub span: Span,
    /// What was expected there, or empty.
    pub label: String,
    /// What to do about it.
    pub hint: Option<String>,
    pub(crate) form: Form,
    /// Number of the statement: findings of later stages are sorted in by it.
    pub(crate) order: u32,
}

/// A finding as programs read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedFinding<'a> {
    /// How grave it is.
    pub severity: Severity,
    /// The file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: &'a str,
    /// What was expected there, or empty.
    pub expected: &'a str,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
}

/// Findings, with the text that they speak about.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub(crate) sources: SourceMap,
    pub(crate) list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The most findings that are kept.
    pub const MOST: usize = 1000;

    /// Every finding, in the order of the statements.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The files that the spans point into.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// Every finding with its place in words and numbers, for programs.
    pub fn placed(&self) -> impl Iterator<Item = PlacedFinding<'_>> {
        self.list.iter().map(|finding| {
            let file = self.sources.file(finding.span.file);
            let (line, column) = file.line_column(finding.span.start);
            PlacedFinding {
                severity: finding.severity,
                file: &file.name,
                line,
                column,
                message: &finding.text,
                expected: &finding.label,
                hint: finding.hint.as_deref(),
            }
        })
    }

    /// True if the ruleset must be refused.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    pub(crate) fn push(&mut self, finding: Diagnostic) {
        if self.list.len() < Self::MOST {
            self.list.push(finding);
        }
    }

    /// Adds further findings of the same texts.
    pub fn add(&mut self, more: Self) {
        more.list.into_iter().for_each(|finding| self.push(finding));
    }

    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|finding| finding.order);
    }

    /// For people: each finding with file, line and column, the line itself, carets, and what to do.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Always => Renderer::styled(),
            Colour::Never => Renderer::plain(),
        };
        let shown =
            self.list.iter().filter(|finding| !matches!(finding.form, Form::Consequence | Form::Preface));
        shown.map(|finding| self.render_one(&renderer, finding) + "\n").collect()
    }

    fn render_one(&self, renderer: &Renderer, finding: &Diagnostic) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let file = self.sources.file(finding.file);
        let (text, first_line, span) = excerpt(&file.text, finding.span);
        let mark = AnnotationKind::Primary.span(span).label(&finding.label);
        let snippet = Snippet::source(text).path(&file.name).line_start(first_line).annotation(mark);
        let mut group = level.primary_title(&finding.text).element(snippet);
        if let Some(hint) = &finding.hint {
            group = group.element(Level::HELP.message(hint));
        }
        renderer.render(&[group])
    }
}

/// Whether escape sequences for colour are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// To a terminal.
    Always,
    /// To anything else.
    Never,
}

/// The lines that a span touches, the number of the first, and the span within them. Only these lines are handed to
/// the renderer, so that its work does not grow with the file.
fn excerpt(text: &str, span: Span) -> (&str, usize, std::ops::Range<usize>) {
    let floor = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor((span.start as usize).min(text.len()));
    let end = floor((span.end as usize).clamp(start, text.len()));
    let first = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let last = text[end..].find('\n').map_or(text.len(), |at| end + at);
    // The end of a line is marked at its end, not on the line behind it.
    let end = if text[start..end] == *"\n" { start } else { end };
    let number = text[..first].bytes().filter(|byte| *byte == b'\n').count() + 1;
    (&text[first..last], number, start - first..end - first)
}

impl fmt::Display for Diagnostics {
    /// pfctl's own lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.list {
            let warning = if finding.severity == Severity::Warning { "warning: " } else { "" };
            match finding.form {
                Form::Placed | Form::Consequence => {
                    let name = &self.sources.file(finding.file).name;
                    writeln!(f, "{name}:{}: {warning}{}", finding.line, finding.text)?;
                }
                Form::Quiet => {}
                Form::Bare => writeln!(f, "{}", finding.text)?,
                Form::Program | Form::Preface => writeln!(f, "pfctl: {}", finding.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
