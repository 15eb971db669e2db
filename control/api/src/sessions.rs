//! The TCP connections of this host, as proc_net_tcp(5) lists them: which of them reach into the box.
//!
//! Bounds: what the kernel lists; without the lists there are none.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::control::Session;

/// A TCP socket of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The connection is established.
    pub connected: bool,
    /// It waits for connections.
    pub listens: bool,
    /// What links of /proc/PID/fd name it by.
    pub inode: u64,
}

impl Socket {
    /// Every one in this network namespace.
    pub fn all() -> Vec<Self> {
        let lists = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        lists.into_iter().flat_map(|path| Self::read(&fs::read_to_string(path).unwrap_or_default())).collect()
    }

    /// What a list of the kernel's holds.
    pub fn read(text: &str) -> Vec<Self> {
        let one = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let state = words.get(3)?;
            Some(Self {
                local: address(words.get(1)?)?,
                remote: address(words.get(2)?)?,
                connected: *state == "01",
                listens: *state == "0A",
                inode: words.get(9)?.parse().ok()?,
            })
        };
        text.lines().skip(1).filter_map(one).collect()
    }

    /// The connection, where the other end is the client.
    pub fn session(&self) -> Session {
        Session { client: self.remote, server: self.local }
    }
}

/// The connections among `sockets` that clients elsewhere have made to what listens here, as far as `ours` wants them.
pub fn sessions(sockets: &[Socket], ours: impl Fn(&Socket) -> bool) -> Vec<Session> {
    let listened: BTreeSet<u16> =
        sockets.iter().filter(|socket| socket.listens).map(|socket| socket.local.port()).collect();
    sockets
        .iter()
        .filter(|socket| socket.connected && listened.contains(&socket.local.port()))
        .filter(|socket| !socket.remote.ip().is_loopback() && ours(socket))
        .map(Socket::session)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0
   1: 0101010A:0016 0201010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 200 1 0
   2: 0101010A:D431 0201010A:0050 01 00000000:00000000 00:00000000 00000000     0        0 300 1 0
   3: 0100007F:0016 0100007F:C360 01 00000000:00000000 00:00000000 00000000     0        0 400 1 0
   4: 0101010A:0016 0201010A:C352 06 00000000:00000000 00:00000000 00000000     0        0 500 1 0
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
        let sockets: Vec<Socket> = Socket::read(TCP).into_iter().chain(Socket::read(TCP6)).collect();
        assert_eq!(sockets.len(), 7);
        // Neither what the box has connected to by itself, nor what it talks to itself, nor what is over.
        let all = [session("10.1.1.2:50000", "10.1.1.1:22"), session("10.1.1.3:50001", "10.1.1.1:22")];
        assert_eq!(sessions(&sockets, |_| true), all);
        assert_eq!(sessions(&sockets, |socket| socket.inode == 201), all[1..]);
        assert_eq!(sessions(&sockets, |socket| socket.local.port() == 80), []);
        assert_eq!(sessions(&Socket::read("nonsense\nx y z\n"), |_| true), []);
    }
}
