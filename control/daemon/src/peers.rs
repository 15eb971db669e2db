//! Who may use the control socket: root, the user that the process runs as, and members of the group turnpike.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use tokio::net::unix::UCred;
use tracing::warn;

/// The group whose members may use the socket.
pub const GROUP: &str = "turnpike";

/// Permissions of the socket.
const SOCKET_MODE: u32 = 0o660;

/// A group of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// The users named in it, beside those whose own group it is.
    pub members: Vec<String>,
}

/// Finds a group in the text of /etc/group (group(5)).
pub fn find_group(text: &str, name: &str) -> Option<Group> {
    let mut fields = text.lines().map(|line| line.split(':')).find_map(|mut fields| {
        let found = fields.next() == Some(name);
        found.then_some(fields)
    })?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',').filter(|member| !member.is_empty());
    Some(Group { gid, members: members.map(str::to_owned).collect() })
}

/// Finds a user's name in the text of /etc/passwd (passwd(5)).
pub fn find_user(text: &str, uid: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Whether a user may use the socket; `own` is the user that this process runs as.
pub fn may_connect(uid: u32, gid: u32, own: u32, group: Option<&Group>, passwd: &str) -> bool {
    let member = |group: &Group| {
        let name = find_user(passwd, uid);
        group.gid == gid || name.is_some_and(|name| group.members.iter().any(|member| member == name))
    };
    uid == 0 || uid == own || group.is_some_and(member)
}

/// Whether the process at the other end of a connection may use it. Groups are read anew each time, so that a change needs
/// no restart.
pub fn is_admitted(peer: &UCred, own: u32) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let group = find_group(&read("/etc/group"), GROUP);
    may_connect(peer.uid(), peer.gid(), own, group.as_ref(), &read("/etc/passwd"))
}

/// Gives a socket to the group, and to nobody else.
///
/// # Errors
/// That the permissions cannot be set. Without such a group, or the right to give the socket to it, the socket stays with
/// the user's own group.
pub fn protect_socket(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    match find_group(&fs::read_to_string("/etc/group").unwrap_or_default(), GROUP) {
        Some(group) => {
            if let Err(error) = chown(path, None, Some(group.gid)) {
                warn!("cannot give {} to the group {GROUP}: {error}", path.display());
            }
        }
        None => warn!("there is no group {GROUP}: only root and this user can use {}", path.display()),
    }
    Ok(())
}
