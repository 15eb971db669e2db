//! Who may use a socket of turnpike's: root, the user that its process runs as, and members of the group `turnpike`.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::net::sockopt;

use crate::usage::Process;

/// The group whose members may.
pub const GROUP: &str = "turnpike";

/// Permissions of a socket.
const SOCKET_MODE: u32 = 0o660;

/// A group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    id: u32,
    members: Vec<u32>,
}

/// Who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    own: u32,
    group: Option<Group>,
}

impl Access {
    /// As the system's files say now, and for the user that this process runs as.
    pub fn load() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::new(rustix::process::geteuid().as_raw(), &read("/etc/group"), &read("/etc/passwd"))
    }

    /// As these files say (group(5), passwd(5)), for a process that runs as `own`.
    pub fn new(own: u32, group: &str, passwd: &str) -> Self {
        Self { own, group: find_group(group, passwd) }
    }

    /// Whether a process of this user and primary group may.
    pub fn admits(&self, user: u32, group: u32) -> bool {
        let in_group = |known: &Group| known.id == group || known.members.contains(&user);
        user == 0 || user == self.own || self.group.as_ref().is_some_and(in_group)
    }

    /// Whether the process at the other end of a connection may, and which it is.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn admits_peer(&self, connection: &impl AsFd) -> io::Result<(bool, Process)> {
        let peer = sockopt::socket_peercred(connection)?;
        let (uid, group) = (peer.uid.as_raw(), peer.gid.as_raw());
        let process = Process { uid, pid: peer.pid.as_raw_nonzero().get().unsigned_abs() };
        Ok((self.admits(uid, group), process))
    }

    /// Gives a socket's file to the group, for it and its owner alone. Without such a group it is the owner's group's.
    ///
    /// # Errors
    /// Those of the file.
    pub fn protect(&self, socket: &Path) -> io::Result<()> {
        if let Some(group) = &self.group {
            chown(socket, None, Some(group.id))?;
        }
        fs::set_permissions(socket, fs::Permissions::from_mode(SOCKET_MODE))
    }
}

/// Finds the group and its members.
fn find_group(group: &str, passwd: &str) -> Option<Group> {
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let found = group.lines().map(fields).find(|fields| fields.first().is_some_and(|name| name == GROUP))?;
    let id = found.get(2)?.parse().ok()?;
    let names: Vec<&str> = found.get(3).map_or("", String::as_str).split(',').collect();
    let members = passwd
        .lines()
        .map(fields)
        .filter(|fields| fields.first().is_some_and(|name| names.contains(&name.as_str())))
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect();
    Some(Group { id, members })
}
