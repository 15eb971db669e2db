//! `tpctl convert`: a ruleset in the other dialect, or as JSON and back, on standard output; what it cannot say, on standard
//! error.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pfconf::Dialect;
use ruleset::Ruleset;

use crate::check::{compile, definition, explain};
use crate::machine::{self, Machine};

#[derive(Args)]
pub struct Arguments {
    /// The ruleset, as text or as JSON; - for standard input
    file: String,
    /// The form to write: openbsd, freebsd, json
    #[arg(long, value_name = "FORM", value_parser = form)]
    to: Form,
    /// Read it in this dialect; else what it uses decides
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<Dialect>,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A text in a dialect.
    Text(Dialect),
    /// The dataplane's ruleset.
    Json,
}

fn form(word: &str) -> Result<Form, String> {
    match word {
        "json" => Ok(Form::Json),
        word => word.parse().map(Form::Text).map_err(|_| "expected openbsd, freebsd or json".into()),
    }
}

/// Succeeds only if everything could be expressed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(&arguments.file).with_context(|| arguments.file.clone())?;
    // No rule begins so.
    if text.trim_start().starts_with('{') {
        let ruleset: Ruleset = serde_json::from_str(&text).with_context(|| name.to_owned())?;
        ruleset.validate().with_context(|| name.to_owned())?;
        return write(&ruleset, arguments.to);
    }
    let Form::Text(to) = arguments.to else {
        let (ruleset, findings) = compile(&machine, arguments.dialect, name, &text, &arguments.definitions);
        explain(&findings);
        return ruleset.map_or(Ok(ExitCode::FAILURE), |ruleset| write(&ruleset, Form::Json));
    };
    let (config, findings) = machine::parse(&machine, arguments.dialect, name, &text, &arguments.definitions);
    explain(&findings);
    if findings.has_errors() {
        return Ok(ExitCode::FAILURE);
    }
    let (converted, lost) = config.convert(to);
    std::io::stdout().write_all(converted.as_bytes()).context("standard output")?;
    explain(&lost);
    Ok(if lost.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes a ruleset of the dataplane's form.
fn write(ruleset: &Ruleset, form: Form) -> anyhow::Result<ExitCode> {
    let text = match form {
        Form::Json => serde_json::to_string_pretty(ruleset)? + "\n",
        Form::Text(Dialect::OpenBsd) => pfconf::print_ruleset(ruleset).map_err(anyhow::Error::msg)?,
        Form::Text(Dialect::FreeBsd) => {
            anyhow::bail!("of JSON only OpenBSD's form is written: convert that again")
        }
    };
    std::io::stdout().write_all(text.as_bytes()).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}
