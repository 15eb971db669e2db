//! Who listens on the host: the sockets of TCP and UDP that take what comes from anywhere (sock_diag(7)).
//!
//! Overview: nobody is told of sockets, so the kernel is asked for them again and again. It picks them out by their state, so
//! that connections cost nothing. Life cycle: opened with the [service](super::service), asked by its thread.
//! Bounds: [`LISTENERS_MAX`].

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::fib::Listener;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NlasIterator};
use netlink_sys::Socket;
use netlink_sys::constants::NETLINK_SOCK_DIAG;
use wire::{Port, Proto};

use super::socket::{MESSAGE_BYTES, connected, head, receive};

/// The most that are kept of a protocol.
pub const LISTENERS_MAX: usize = 4096;

/// `nlmsghdr` of netlink(7), in bytes.
const HEADER_LEN: usize = 16;

/// `inet_diag_req_v2`, in bytes.
const REQUEST_LEN: usize = 56;

/// `inet_diag_msg`, in bytes.
const SOCKET_LEN: usize = 72;

/// The message type SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;

/// The attribute INET_DIAG_SKV6ONLY: whether a socket of IPv6 takes no IPv4.
const V6_ONLY: u16 = 11;

/// The state of sockets that wait for whoever comes: TCP_LISTEN, and TCP_CLOSE, in which those of UDP are that have no peer.
const WAITING: [(Proto, u32); 2] = [(Proto::TCP, 10), (Proto::UDP, 7)];

/// The socket that asks for them.
pub struct Listeners {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    /// There were more than are kept, which was said.
    overflowed: bool,
}

impl Listeners {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn open() -> io::Result<Self> {
        let socket = connected(NETLINK_SOCK_DIAG)?;
        Ok(Self { socket, buffer: Vec::with_capacity(MESSAGE_BYTES), sequence: 0, overflowed: false })
    }

    /// Those that listen now, in order, each once; of a protocol that has more than [`LISTENERS_MAX`], so many.
    ///
    /// # Errors
    /// Those of the socket and of the kernel, which may know nothing of it.
    pub fn ask(&mut self) -> io::Result<Vec<Listener>> {
        let mut found = Vec::new();
        for (proto, state) in WAITING {
            let mut of_proto = BTreeSet::new();
            for family in [libc::AF_INET, libc::AF_INET6] {
                self.dump(family as u8, (proto, state), &mut |listener| {
                    if of_proto.len() < LISTENERS_MAX {
                        of_proto.insert(listener);
                    }
                })?;
            }
            if of_proto.len() == LISTENERS_MAX && !self.overflowed {
                tracing::warn!(?proto, most = LISTENERS_MAX, "more sockets listen than are kept clear of");
                self.overflowed = true;
            }
            found.extend(of_proto);
        }
        Ok(found)
    }

    fn dump(
        &mut self,
        family: u8,
        (proto, state): (Proto, u32),
        take: &mut dyn FnMut(Listener),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(family, proto, state, self.sequence), 0)?;
        loop {
            receive(&self.socket, &mut self.buffer)?;
            if each(&self.buffer, self.sequence, &mut |socket| listeners(proto, socket, take))? {
                return Ok(());
            }
        }
    }
}

/// The request for all sockets of a family, a protocol and a state.
fn request(family: u8, proto: Proto, state: u32, sequence: u32) -> Vec<u8> {
    let length = HEADER_LEN + REQUEST_LEN;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&(length as u32).to_ne_bytes());
    bytes.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, proto.0, 0, 0]);
    bytes.extend_from_slice(&(1_u32 << state).to_ne_bytes());
    bytes.resize(length, 0);
    bytes
}

/// Gives each socket of a datagram to `take`; true if it was the last datagram of the answer.
fn each(mut bytes: &[u8], sequence: u32, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    while let Some((length, kind)) = head(bytes) {
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER_LEN) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message that does not fit its datagram",
            ));
        };
        let (header, rest) = message.split_at(HEADER_LEN);
        if header[8..12] == sequence.to_ne_bytes() {
            match kind {
                BY_FAMILY => take(rest),
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let code = rest.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                _ => {}
            }
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(false)
}

/// What a socket listens at: that of IPv6 which is bound to no address may take IPv4 as well. Nobody but the host itself
/// reaches one at a loopback address.
fn listeners(proto: Proto, socket: &[u8], take: &mut dyn FnMut(Listener)) {
    let Some((fields, attributes)) = socket.split_at_checked(SOCKET_LEN) else { return };
    let port = Port(u16::from_be_bytes([fields[4], fields[5]]));
    let mut octets = [0; 16];
    octets.copy_from_slice(&fields[8..24]);
    let address = match i32::from(fields[0]) {
        libc::AF_INET => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        _ => Ipv6Addr::from(octets).to_canonical(),
    };
    if address.is_loopback() {
        return;
    }
    take(Listener { proto, address, port });
    if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !is_v6_only(attributes) {
        take(Listener { proto, address: Ipv4Addr::UNSPECIFIED.into(), port });
    }
}

fn is_v6_only(attributes: &[u8]) -> bool {
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let only = attributes.find(|attribute| attribute.kind() == V6_ONLY);
    only.is_some_and(|only| only.value().first().is_some_and(|only| *only != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, rest: &[u8]) -> Vec<u8> {
        let length = (HEADER_LEN + rest.len()) as u32;
        let head =
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 2], &sequence.to_ne_bytes(), &[0; 4]];
        [head.concat(), rest.to_vec()].concat()
    }

    fn socket(family: i32, address: &[u8], port: u16, v6_only: Option<u8>) -> Vec<u8> {
        let mut bytes = vec![0; SOCKET_LEN];
        bytes[0] = family as u8;
        bytes[4..6].copy_from_slice(&port.to_be_bytes());
        bytes[8..8 + address.len()].copy_from_slice(address);
        for (kind, value) in [(8_u16, 3), (V6_ONLY, v6_only.unwrap_or(0))] {
            bytes.extend_from_slice(&5_u16.to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&[value, 0, 0, 0]);
        }
        bytes
    }

    fn found(socket: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        listeners(Proto::TCP, socket, &mut |of| found.push(format!("{} {}", of.address, of.port.0)));
        found
    }

    #[test]
    fn a_socket_listens_at_what_it_is_bound_to() {
        let mapped = [[0; 10].as_slice(), &[255, 255, 192, 0, 2, 1]].concat();
        assert_eq!(found(&socket(libc::AF_INET, &[0; 4], 22, None)), ["0.0.0.0 22"]);
        assert_eq!(found(&socket(libc::AF_INET, &[192, 0, 2, 1], 80, None)), ["192.0.2.1 80"]);
        assert_eq!(found(&socket(libc::AF_INET6, &[0; 16], 22, Some(0))), [":: 22", "0.0.0.0 22"]);
        assert_eq!(found(&socket(libc::AF_INET6, &[0; 16], 22, Some(1))), [":: 22"]);
        assert_eq!(found(&socket(libc::AF_INET6, &mapped, 22, Some(0))), ["192.0.2.1 22"]);
        assert!(found(&socket(libc::AF_INET, &[127, 0, 0, 53], 53, None)).is_empty());
        // A kernel that does not say it: both, and what is cut off is nothing.
        assert_eq!(found(&socket(libc::AF_INET6, &[0; 16], 22, None)[..SOCKET_LEN]), [":: 22", "0.0.0.0 22"]);
        assert!(found(&[10; SOCKET_LEN - 1]).is_empty());
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_to_no_other() {
        let own = socket(libc::AF_INET, &[0; 4], 22, None);
        let both = [message(BY_FAMILY, 6, &own), message(BY_FAMILY, 7, &own), message(BY_FAMILY, 7, &own)];
        let mut count = 0;
        assert!(!each(&both.concat(), 7, &mut |_| count += 1).unwrap());
        assert_eq!(count, 2);
        assert!(!each(&message(NLMSG_DONE, 6, &[0; 4]), 7, &mut |_| ()).unwrap());
        assert!(each(&message(NLMSG_DONE, 7, &[0; 4]), 7, &mut |_| ()).unwrap());
        let missing = (-libc::ENOENT).to_ne_bytes();
        let error = each(&message(NLMSG_ERROR, 7, &missing), 7, &mut |_| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert!(each(&message(NLMSG_DONE, 7, &[])[..12], 7, &mut |_| ()).is_err());
        assert!(each(&[3, 0, 0, 0, 3, 0, 0, 0], 7, &mut |_| ()).is_err());
    }

    /// The kernel of this machine, and sockets of this process.
    #[test]
    fn the_kernel_tells_of_a_socket_while_it_listens() {
        use std::net::{TcpListener, UdpSocket};
        let (tcp, udp) = (TcpListener::bind("0.0.0.0:0").unwrap(), UdpSocket::bind("[::]:0"));
        let connected = UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut asked = match Listeners::open().and_then(|mut open| open.ask().map(|_| open)) {
            Ok(open) => open,
            // A container without it: nothing to be seen.
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let any = IpAddr::from([0; 4]);
        let of = |proto, port: u16| Listener { proto, address: any, port: Port(port) };
        let waiting = of(Proto::TCP, tcp.local_addr().unwrap().port());
        let unconnected = of(Proto::UDP, connected.local_addr().unwrap().port());
        let all = asked.ask().unwrap();
        assert!(all.is_sorted() && all.contains(&waiting) && all.contains(&unconnected), "{all:?}");
        if let Ok(udp) = &udp {
            assert!(all.contains(&of(Proto::UDP, udp.local_addr().unwrap().port())), "{all:?}");
        }
        connected.connect("127.0.0.1:9").unwrap();
        drop(tcp);
        let rest = asked.ask().unwrap();
        assert!(!rest.contains(&waiting) && !rest.contains(&unconnected), "{rest:?}");
    }
}
