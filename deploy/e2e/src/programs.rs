//! Where the built programs and the beds' files are.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Names the folder of the programs that beds run, where it is not that of the beds.
const FOLDER: &str = "TURNPIKE_PROGRAMS";

/// The path of a program of this workspace: in the folder that TURNPIKE_PROGRAMS names, beside the running program, or one
/// folder up (tests run in `deps/`).
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the running program has no path")?;
    let named = std::env::var_os(FOLDER).map(PathBuf::from);
    for folder in named.into_iter().chain(own.ancestors().skip(1).take(2).map(PathBuf::from)) {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("{name} has not been built; run: cargo build --release --workspace")
}

/// An empty folder for a bed's files.
///
/// # Errors
/// It cannot be made.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let path = std::env::temp_dir().join(name);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", path.display()));
        }
        _ => (),
    }
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    // Programs that give root up must be able to remove their sockets.
    std::fs::set_permissions(&path, Permissions::from_mode(0o777))?;
    Ok(path)
}

/// True if a tool is installed; says aloud that `test` is skipped if not.
pub fn installed(tool: &str, test: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()));
    if !found {
        eprintln!("SKIPPED {test}: {tool} is not installed");
    }
    found
}
