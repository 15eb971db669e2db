//! Users of the system.

use std::fs;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{Gid, Uid};

use crate::{Capabilities, Error};

/// A user, with the groups that a process of its has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl Account {
    /// The user whom no file belongs to.
    pub fn nobody() -> Self {
        Self { name: "nobody".into(), uid: 65534, gid: 65534, groups: Vec::new() }
    }

    /// Finds a user of the system.
    pub fn load(name: &str) -> Option<Self> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::find(name, &read("/etc/passwd"), &read("/etc/group"))
    }

    /// Finds a user in the text of passwd(5), and its groups in that of group(5).
    pub fn find(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let user: Vec<&str> =
            passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|user| user[0] == name)?;
        let (uid, gid) = (user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?);
        let groups = group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let has = fields.get(3)?.split(',').any(|member| member == name);
            fields.get(2)?.parse().ok().filter(|id| has && *id != gid)
        });
        Some(Self { name: name.into(), uid, gid, groups: groups.collect() })
    }

    /// Whether this process is root's.
    pub fn is_root() -> bool {
        Self::own_uid() == 0
    }

    /// The number of the user that this process is.
    pub fn own_uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Keeps other processes of the same user from looking into this one, and the system from writing its memory to a
    /// file when it dies: there are packets and secrets in it.
    ///
    /// # Errors
    /// The system's.
    pub fn close_to_others() -> Result<(), Error> {
        let hidden = rustix::process::DumpableBehavior::NotDumpable;
        rustix::process::set_dumpable_behavior(hidden)
            .map_err(|error| Error::System { what: "hide this process's memory", error: error.into() })
    }

    /// Makes this process, which root started and which has one thread, this user's. It keeps its capabilities, and may
    /// lock as much memory as it likes: devices reach it.
    ///
    /// # Errors
    /// There are other threads, or the system refused.
    pub fn assume(&self) -> Result<(), Error> {
        let failed = |what| move |error: rustix::io::Errno| Error::System { what, error: error.into() };
        match fs::read_dir("/proc/self/task").map(Iterator::count) {
            Ok(1) => {}
            Ok(threads) => return Err(Error::Threads(threads)),
            Err(error) => return Err(Error::System { what: "read /proc/self/task", error }),
        }
        let unlimited = Rlimit { current: None, maximum: None };
        // A container may forbid it; then its own limit holds.
        let _ = rustix::process::setrlimit(Resource::Memlock, unlimited);
        let held = Capabilities::of_this_thread()?;
        Capabilities::close_bounding_set()?;
        let groups: Vec<Gid> = self.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::thread::set_keep_capabilities(true).map_err(failed("keep capabilities"))?;
        rustix::thread::set_thread_groups(&groups).map_err(failed("set the groups of this process"))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("set the group of this process"))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("set the user of this process"))?;
        rustix::thread::set_keep_capabilities(false).map_err(failed("keep capabilities"))?;
        held.keep()
    }
}
