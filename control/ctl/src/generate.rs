//! `tpctl generate`: manual pages and completions, for packages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

#[derive(Args)]
pub struct Arguments {
    /// What to write
    what: What,
    /// Where to; made if it is absent
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Manual pages of section 1: one for tpctl, one for each verb
    Man,
    /// Completions for bash, fish and zsh
    Completions,
}

/// Writes what `command` says of itself.
pub fn run(arguments: &Arguments, mut command: Command) -> anyhow::Result<ExitCode> {
    let folder = &arguments.folder;
    let failed = || format!("cannot write to {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    match arguments.what {
        What::Man => clap_mangen::generate_to(command, folder).with_context(failed)?,
        What::Completions => {
            let name = command.get_name().to_owned();
            for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
                clap_complete::generate_to(shell, &mut command, &name, folder).with_context(failed)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
