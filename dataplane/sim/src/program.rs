//! Programs for hosts: streams that are checked octet by octet, datagrams and pings that insist on an answer.

use std::net::IpAddr;

use engine::Tick;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Duration;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpEndpoint};

use crate::host::{Application, Host};
use crate::rng::Rng;

/// How long a datagram's answer is waited for before it is sent again, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// How long an end is idle before it asks whether the other is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// One end of a TCP connection that sends one text and expects another.
#[derive(Debug)]
pub struct Stream {
    socket: SocketHandle,
    send: Vec<u8>,
    sent: usize,
    expect: Vec<u8>,
    received: usize,
    closes: Closes,
    failure: Option<String>,
}

/// When an end closes. Never both at once: the stack does not repeat a FIN that is lost then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closes {
    /// When it has sent everything, whatever is still to come.
    First,
    /// When the other end has closed.
    Second,
}

/// What a stream carries: octets that nobody can mistake for others.
pub fn text(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| (rng.next() as u8).max(1)).collect()
}

/// How large the buffers of an end are, in octets; more than 65,535 to receive makes it offer window scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// To receive.
    pub receive: usize,
    /// To send.
    pub send: usize,
}

fn socket(host: &Host, buffers: Buffers) -> tcp::Socket<'static> {
    let buffer = |size| tcp::SocketBuffer::new(vec![0; size]);
    let mut socket = tcp::Socket::new(buffer(buffers.receive), buffer(buffers.send));
    // The stack forgets to repeat what was lost around a zero window, or a FIN; the answers to these make it remember.
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_tsval_generator(host.clock());
    socket
}

impl Stream {
    const fn new(socket: SocketHandle, send: Vec<u8>, expect: Vec<u8>, closes: Closes) -> Self {
        Self { socket, send, sent: 0, expect, received: 0, closes, failure: None }
    }

    /// Starts an end that waits for the connection, on `port`.
    ///
    /// # Panics
    /// If the stack refuses.
    pub fn listen(host: &mut Host, port: u16, buffers: Buffers, send: Vec<u8>, expect: Vec<u8>) {
        let mut socket = socket(host, buffers);
        socket.listen(port).expect("a port to listen on");
        let handle = host.open(socket);
        host.start(Self::new(handle, send, expect, Closes::Second));
    }

    /// Starts an end that opens the connection, from `port` to `remote`.
    pub fn connect(
        host: &mut Host,
        port: u16,
        remote: (IpAddr, u16),
        buffers: Buffers,
        send: Vec<u8>,
        expect: Vec<u8>,
    ) {
        let socket = socket(host, buffers);
        let handle = host.open(socket);
        host.start(Dialler {
            stream: Self::new(handle, send, expect, Closes::First),
            port,
            remote,
            dialled: false,
        });
    }

    fn exchange(&mut self, sockets: &mut SocketSet<'static>) {
        let socket = sockets.get_mut::<tcp::Socket>(self.socket);
        while socket.can_send() && self.sent < self.send.len() {
            self.sent += socket.send_slice(&self.send[self.sent..]).expect("a socket that can send");
        }
        while socket.can_recv() {
            let rest = &self.expect[self.received..];
            let (count, same) = socket
                .recv(|octets| (octets.len(), (octets.len(), rest.starts_with(octets))))
                .expect("a socket that can receive");
            self.received += count;
            if !same {
                self.failure = Some(format!("octets before {} are not those that were sent", self.received));
                socket.abort();
                return;
            }
        }
        let may_close = self.closes == Closes::First || !socket.may_recv();
        if self.sent == self.send.len() && may_close && socket.may_send() {
            socket.close();
        }
    }

    fn is_complete(&self, sockets: &SocketSet<'static>) -> bool {
        let state = sockets.get::<tcp::Socket>(self.socket).state();
        self.sent == self.send.len()
            && self.received == self.expect.len()
            && matches!(state, tcp::State::Closed | tcp::State::TimeWait)
    }
}

impl Application for Stream {
    fn run(&mut self, sockets: &mut SocketSet<'static>, _context: &mut Interface, _now: Tick) {
        self.exchange(sockets);
    }

    fn has_finished(&self, sockets: &SocketSet<'static>) -> bool {
        self.is_complete(sockets)
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn describe(&self, sockets: &SocketSet<'static>) -> String {
        let socket = sockets.get::<tcp::Socket>(self.socket);
        format!(
            "stream: {}, {} of {} octets sent ({} not acknowledged), {} of {} received",
            socket.state(),
            self.sent,
            self.send.len(),
            socket.send_queue(),
            self.received,
            self.expect.len()
        )
    }
}

/// The end that opens.
#[derive(Debug)]
struct Dialler {
    stream: Stream,
    port: u16,
    remote: (IpAddr, u16),
    dialled: bool,
}

impl Application for Dialler {
    fn run(&mut self, sockets: &mut SocketSet<'static>, context: &mut Interface, _now: Tick) {
        if !self.dialled {
            let remote = IpEndpoint::new(self.remote.0.into(), self.remote.1);
            let socket = sockets.get_mut::<tcp::Socket>(self.stream.socket);
            socket.connect(context.context(), remote, self.port).expect("a socket that can connect");
            self.dialled = true;
        }
        let socket = sockets.get::<tcp::Socket>(self.stream.socket);
        let opening = matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived);
        if !opening {
            self.stream.exchange(sockets);
        }
        let closed = sockets.get::<tcp::Socket>(self.stream.socket).state() == tcp::State::Closed;
        if closed && !self.stream.is_complete(sockets) && self.stream.failure.is_none() {
            self.stream.failure = Some(format!(
                "the connection was cut after {} of {} octets sent and {} of {} received",
                self.stream.sent,
                self.stream.send.len(),
                self.stream.received,
                self.stream.expect.len()
            ));
        }
    }

    fn has_finished(&self, sockets: &SocketSet<'static>) -> bool {
        self.dialled && self.stream.is_complete(sockets)
    }

    fn failure(&self) -> Option<String> {
        self.stream.failure.clone()
    }

    fn describe(&self, sockets: &SocketSet<'static>) -> String {
        self.stream.describe(sockets)
    }
}

/// Requests one by one, each sent again until it is answered.
#[derive(Debug)]
struct Rounds {
    left: u16,
    sent: Option<Tick>,
}

impl Rounds {
    /// True if the request of this round is to be sent now.
    fn due(&mut self, now: Tick) -> bool {
        let due = self.left > 0 && self.sent.is_none_or(|sent| now - sent >= Tick(PATIENCE));
        if due {
            self.sent = Some(now);
        }
        due
    }

    fn answered(&mut self) {
        self.left -= 1;
        self.sent = None;
    }

    fn wakes(&self) -> Option<Tick> {
        let sent = self.sent.unwrap_or_default();
        (self.left > 0).then_some(sent + Tick(PATIENCE))
    }
}

/// Answers every datagram with itself.
#[derive(Debug)]
pub struct Echo(SocketHandle);

fn datagrams() -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 16 * 1024]);
    udp::Socket::new(buffer(), buffer())
}

impl Echo {
    /// Starts one on `port`.
    ///
    /// # Panics
    /// If the stack refuses.
    pub fn start(host: &mut Host, port: u16) {
        let mut socket = datagrams();
        socket.bind(port).expect("a port to bind");
        let handle = host.open(socket);
        host.start(Self(handle));
    }
}

impl Application for Echo {
    fn run(&mut self, sockets: &mut SocketSet<'static>, _context: &mut Interface, _now: Tick) {
        let socket = sockets.get_mut::<udp::Socket>(self.0);
        while socket.can_recv() && socket.can_send() {
            let (octets, from) = socket.recv().expect("a datagram is there");
            let octets = octets.to_vec();
            socket.send_slice(&octets, from.endpoint).expect("room for a datagram");
        }
    }

    fn has_finished(&self, _sockets: &SocketSet<'static>) -> bool {
        true
    }

    fn describe(&self, _sockets: &SocketSet<'static>) -> String {
        "echo".into()
    }
}

/// Asks an [`Echo`].
#[derive(Debug)]
pub struct Caller {
    socket: SocketHandle,
    remote: IpEndpoint,
    rounds: Rounds,
}

impl Caller {
    /// Starts one that asks so many times, from `port`.
    ///
    /// # Panics
    /// If the stack refuses.
    pub fn start(host: &mut Host, port: u16, remote: (IpAddr, u16), rounds: u16) {
        let mut socket = datagrams();
        socket.bind(port).expect("a port to bind");
        let socket = host.open(socket);
        let remote = IpEndpoint::new(remote.0.into(), remote.1);
        host.start(Self { socket, remote, rounds: Rounds { left: rounds, sent: None } });
    }
}

impl Application for Caller {
    fn describe(&self, _sockets: &SocketSet<'static>) -> String {
        format!("caller: {} rounds left", self.rounds.left)
    }

    fn run(&mut self, sockets: &mut SocketSet<'static>, _context: &mut Interface, now: Tick) {
        let socket = sockets.get_mut::<udp::Socket>(self.socket);
        while let Ok((octets, _)) = socket.recv() {
            // Late answers to what was asked twice are no answers any more.
            if octets == self.rounds.left.to_be_bytes() && self.rounds.left > 0 {
                self.rounds.answered();
            }
        }
        if self.rounds.due(now) {
            let asked = self.rounds.left.to_be_bytes();
            socket.send_slice(&asked, self.remote).expect("room for a datagram");
        }
    }

    fn wakes(&self) -> Option<Tick> {
        self.rounds.wakes()
    }

    fn has_finished(&self, _sockets: &SocketSet<'static>) -> bool {
        self.rounds.left == 0
    }
}

/// Pings.
#[derive(Debug)]
pub struct Ping {
    socket: SocketHandle,
    own: IpAddress,
    remote: IpAddress,
    ident: u16,
    rounds: Rounds,
}

impl Ping {
    /// Starts one that asks so many times, with this identifier.
    ///
    /// # Panics
    /// If the stack refuses.
    pub fn start(host: &mut Host, ident: u16, remote: IpAddr, rounds: u16) {
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(ident)).expect("an identifier to bind");
        let socket = host.open(socket);
        let own = host.address(wire::Af::of(&remote)).into();
        host.start(Self {
            socket,
            own,
            remote: remote.into(),
            ident,
            rounds: Rounds { left: rounds, sent: None },
        });
    }

    fn ask(&self, socket: &mut icmp::Socket<'static>) {
        let (ident, seq_no, data) = (self.ident, self.rounds.left, &b"turnpike"[..]);
        let checksums = ChecksumCapabilities::default();
        match (self.own, self.remote) {
            (IpAddress::Ipv6(own), IpAddress::Ipv6(remote)) => {
                let request = Icmpv6Repr::EchoRequest { ident, seq_no, data };
                let out = socket.send(request.buffer_len(), self.remote).expect("room for a request");
                request.emit(&own, &remote, &mut Icmpv6Packet::new_unchecked(out), &checksums);
            }
            _ => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no, data };
                let out = socket.send(request.buffer_len(), self.remote).expect("room for a request");
                request.emit(&mut Icmpv4Packet::new_unchecked(out), &checksums);
            }
        }
    }
}

impl Application for Ping {
    fn describe(&self, _sockets: &SocketSet<'static>) -> String {
        format!("ping: {} rounds left", self.rounds.left)
    }

    fn run(&mut self, sockets: &mut SocketSet<'static>, _context: &mut Interface, now: Tick) {
        let socket = sockets.get_mut::<icmp::Socket>(self.socket);
        while let Ok((message, from)) = socket.recv() {
            // Type, code, checksum, identifier, sequence number: of an echo reply in either family.
            let is_reply = matches!(message.first(), Some(0 | 129));
            let answers = message.get(6..8) == Some(&self.rounds.left.to_be_bytes()[..]);
            if is_reply && answers && from == self.remote && self.rounds.left > 0 {
                self.rounds.answered();
            }
        }
        if self.rounds.due(now) {
            self.ask(socket);
        }
    }

    fn wakes(&self) -> Option<Tick> {
        self.rounds.wakes()
    }

    fn has_finished(&self, _sockets: &SocketSet<'static>) -> bool {
        self.rounds.left == 0
    }
}
