//! The operator's own connections to this box: what rules must not cut off.
//!
//! Overview: sshd tells of its connection in the environment; where that is lost (sudo, a wrapper), the processes above this
//! one are asked for the sockets that they hold. A socket is a session if it is connected, somebody listens at its port,
//! and it does not come from the box itself. Bounds: [`ANCESTORS`] processes.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use api::control::{Operator, Session};
use api::sessions::Socket;

/// Processes above this one that are looked at.
const ANCESTORS: usize = 64;

/// What must not be cut off, unless `force` says that it may.
pub fn operator(force: bool) -> Operator {
    let sockets = Socket::all();
    let variable = |name| std::env::var(name).unwrap_or_default();
    let mut sessions = BTreeSet::new();
    sessions.extend(of_connection(&variable("SSH_CONNECTION")));
    sessions.extend(of_client(&variable("SSH_CLIENT"), &sockets));
    let held = held_above();
    sessions.extend(api::sessions::sessions(&sockets, |socket| held.contains(&socket.inode)));
    sessions.retain(|session| !session.client.ip().is_loopback());
    Operator { sessions: sessions.into_iter().collect(), force }
}

/// `SSH_CONNECTION`: client, its port, server, its port.
fn of_connection(text: &str) -> Option<Session> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [client, client_port, server, server_port] = words[..] else { return None };
    let address = |ip: &str, port: &str| {
        // A link-local address names its interface behind a percent sign.
        let ip: IpAddr = ip.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
    };
    Some(Session { client: address(client, client_port)?, server: address(server, server_port)? })
}

/// `SSH_CLIENT`: client, its port, the server's port; the connection tells the server.
fn of_client(text: &str, sockets: &[Socket]) -> Option<Session> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [client, client_port, server_port] = words[..] else { return None };
    let client = SocketAddr::new(client.parse::<IpAddr>().ok()?.to_canonical(), client_port.parse().ok()?);
    let port: u16 = server_port.parse().ok()?;
    let is_it = |socket: &&Socket| socket.connected && socket.remote == client && socket.local.port() == port;
    sockets.iter().find(is_it).map(Socket::session)
}

/// Numbers of the sockets that the processes above this one hold, as far as this user may know.
fn held_above() -> BTreeSet<u64> {
    let mut held = BTreeSet::new();
    let mut process = parent("self");
    for _ in 0..ANCESTORS {
        // The first process holds sockets for others.
        let Some(id) = process.filter(|id| *id > 1) else { break };
        let links = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        held.extend(targets.filter_map(|target| inode(target.to_str()?)));
        process = parent(&id.to_string());
    }
    held
}

fn parent(process: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   1: 0101010A:0016 0201010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 200 1 0
";

    fn session(client: &str, server: &str) -> Session {
        Session { client: client.parse().expect("an end"), server: server.parse().expect("an end") }
    }

    #[test]
    fn sshd_tells_of_its_connection() {
        let sockets = Socket::read(TCP);
        let told = session("10.1.1.2:50000", "10.1.1.1:22");
        assert_eq!(of_connection("10.1.1.2 50000 10.1.1.1 22"), Some(told));
        assert_eq!(of_client("10.1.1.2 50000 22", &sockets), Some(told));
        assert_eq!(of_client("10.1.1.9 50000 22", &sockets), None);
        assert_eq!(
            of_connection("fe80::2%lan0 1 fe80::1%lan0 22"),
            Some(session("[fe80::2]:1", "[fe80::1]:22"))
        );
        for broken in ["", "10.1.1.2", "10.1.1.2 x 10.1.1.1 22", "a b c d"] {
            assert_eq!(of_connection(broken), None, "{broken:?}");
        }
    }
}
