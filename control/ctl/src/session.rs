//! The operator's own connections to this box: what rules must not cut off.
//!
//! Overview: sshd tells of its connection in the environment; where that is lost (sudo, a wrapper), the processes above this
//! one are asked for the sockets that they hold. A socket is a session if it is connected, somebody listens at its port,
//! and it does not come from the box itself. Bounds: [`ANCESTORS`] processes.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use api::control::{Operator, Session};

/// Processes above this one that are looked at.
const ANCESTORS: usize = 64;

/// What must not be cut off, unless `force` says that it may.
pub fn operator(force: bool) -> Operator {
    let sockets: Vec<Socket> = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .flat_map(|path| read_sockets(&fs::read_to_string(path).unwrap_or_default()))
        .collect();
    let variable = |name| std::env::var(name).unwrap_or_default();
    let mut sessions = BTreeSet::new();
    sessions.extend(of_connection(&variable("SSH_CONNECTION")));
    sessions.extend(of_client(&variable("SSH_CLIENT"), &sockets));
    sessions.extend(of_processes(&held_above(), &sockets));
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

/// The sessions among the sockets of these numbers.
fn of_processes(inodes: &BTreeSet<u64>, sockets: &[Socket]) -> Vec<Session> {
    let listened: BTreeSet<u16> =
        sockets.iter().filter(|socket| socket.listens).map(|socket| socket.local.port()).collect();
    sockets
        .iter()
        .filter(|socket| socket.connected && inodes.contains(&socket.inode))
        .filter(|socket| listened.contains(&socket.local.port()))
        .map(Socket::session)
        .collect()
}

/// A line of proc_net_tcp(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    connected: bool,
    listens: bool,
    inode: u64,
}

impl Socket {
    fn session(&self) -> Session {
        Session { client: self.remote, server: self.local }
    }
}

fn read_sockets(text: &str) -> Vec<Socket> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = words.get(3)?;
        Some(Socket {
            local: address(words.get(1)?)?,
            remote: address(words.get(2)?)?,
            connected: *state == "01",
            listens: *state == "0A",
            inode: words.get(9)?.parse().ok()?,
        })
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// `0100007F:0016`: words of four octets, each as this processor stores it.
fn address(text: &str) -> Option<SocketAddr> {
    let (digits, port) = text.split_once(':')?;
    let words: Option<Vec<u32>> = digits
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .collect();
    let octets: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip: IpAddr = match octets.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
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
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0
   1: 0101010A:0016 0201010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 200 1 0
   2: 0101010A:D431 0201010A:0050 01 00000000:00000000 00:00000000 00000000     0        0 300 1 0
";
    const TCP6: &str =
        "  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 0000000000000000FFFF00000101010A:0016 0000000000000000FFFF00000301010A:C351 01 0:0 00:0 0 0 0 201 1 0
   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 101 1 0
";

    fn session(client: &str, server: &str) -> Session {
        Session { client: client.parse().expect("an end"), server: server.parse().expect("an end") }
    }

    #[test]
    fn sessions_are_connected_sockets_that_somebody_listens_for() {
        let sockets: Vec<Socket> = read_sockets(TCP).into_iter().chain(read_sockets(TCP6)).collect();
        assert_eq!(sockets.len(), 5);
        let held = BTreeSet::from([100, 200, 201, 300, 999]);
        // What the box has connected to by itself is none.
        assert_eq!(
            of_processes(&held, &sockets),
            [session("10.1.1.2:50000", "10.1.1.1:22"), session("10.1.1.3:50001", "10.1.1.1:22")]
        );
        assert_eq!(of_processes(&BTreeSet::from([300]), &sockets), []);
    }

    #[test]
    fn sshd_tells_of_its_connection() {
        let sockets = read_sockets(TCP);
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
