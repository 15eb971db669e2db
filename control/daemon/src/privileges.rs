//! As whom the process runs, and what it may do: it needs no privilege, and keeps none.
//!
//! Overview: root's process makes the folders that are missing, and becomes the package's user. Whoever started it, it
//! gives up all capabilities, and limits its system calls to files, sockets and threads; any other call, as executing a
//! program, ends it with SIGSYS. Life cycle: at the start, before there are threads.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::Context;
use confine::{Account, Capabilities, Filter, list};

use crate::settings::Settings;

/// The user that the package makes for it.
pub const PACKAGE_USER: &str = "turnpike";

/// The system calls of the process.
///
/// # Errors
/// If this machine's kind is unknown.
pub fn filter() -> Result<Filter, confine::Error> {
    Filter::new(&[
        list::STREAMS,
        list::WAITING,
        list::WAITING_OLDER,
        list::THREADS,
        list::MEMORY,
        list::ENQUIRIES,
        list::READING,
        list::READING_OLDER,
        list::WRITING,
        list::WRITING_OLDER,
        list::REMOVING,
        list::REMOVING_OLDER,
        list::LOADING,
        list::SOCKETS,
        list::NETLINK,
        list::DEVICES,
    ])
}

/// Gives up everything that is not needed.
///
/// # Errors
/// The system refuses.
pub fn give_up(settings: &Settings) -> anyhow::Result<()> {
    if Account::is_root() {
        let account = Account::load(PACKAGE_USER).unwrap_or_else(Account::nobody);
        let own = [Some(settings.state_dir.as_path()), settings.socket.parent(), settings.pflog.parent()];
        for folder in own.into_iter().flatten() {
            make_folder(folder, &account).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        account.assume().context("cannot give root up; start it as another user, as its unit does")?;
        tracing::info!("no longer root, but {} ({})", account.name, account.uid);
    }
    Capabilities::NONE.keep()?;
    Account::close_to_others()?;
    Ok(filter()?.apply_to_process()?)
}

/// Makes a folder for a user. One that is there belongs to whom it does.
fn make_folder(folder: &Path, account: &Account) -> std::io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    chown(folder, Some(account.uid), Some(account.gid))
}
