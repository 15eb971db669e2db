//! Packets as text, in the manner of tcpdump(8).
//!
//! ```text
//! 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ack 0 win 8192 len 0 mss 1460 ws 7 sack 5 9
//! 10.0.0.2.5000 > 10.1.0.2.53 udp len 10
//! 10.0.0.2 > 10.1.0.2 icmp 8/0 id 7
//! 10.1.0.2 > 10.0.0.2 icmp 3/1 about (10.0.0.2.5000 > 10.1.0.2.53 udp)
//! 10.0.0.2 > 10.1.0.2 proto 47 len 20
//! ```
//!
//! A segment may have `ts n n`, its timestamp and its echo, more than once, and `mss n` at its end. Everything behind the
//! protocol may be left out; `ttl n`, `ident n`, `tos n`, `options`, `df`, `fragment` and `bad-sum` may stand at the end.

use std::fmt::Write as _;
use std::net::IpAddr;

use wire::checksum::{Pseudo, Sum};
use wire::corpus::{Network, Upper, build, dissect};
use wire::ethernet::{self, Tags};
use wire::ipv4::OptionKind;
use wire::ipv6::Extension;
use wire::tcp::{self, SackBlock, TcpOption, Timestamps, WindowScale};
use wire::{EtherType, Mac, Port, Proto, Seq, TcpFlags, icmp4, icmp6, ipv4, ipv6, udp};

/// Octets behind the IP header that an error quotes here.
const QUOTED: usize = 8;

#[derive(Clone, Debug)]
pub enum Body {
    Tcp(tcp::Repr, usize),
    Udp(u16, u16, usize),
    Icmp { kind: u8, code: u8, ident: u16 },
    Error { kind: u8, code: u8, about: Box<Packet> },
    Other(Proto, usize),
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub tos: u8,
    options: bool,
    ident: u16,
    dont_fragment: bool,
    fragment: bool,
    bad_sum: bool,
    body: Body,
}

/// The words of a packet, consumed from the front.
struct Words<'a>(std::iter::Peekable<std::str::SplitWhitespace<'a>>, &'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        self.0.next().unwrap_or_else(|| panic!("unfinished: {}", self.1))
    }

    fn number<T: std::str::FromStr>(&mut self) -> T {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("not a number: {word}: {}", self.1))
    }

    /// The number behind `name`, if that is the next word.
    fn named<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.0.next_if_eq(&name)?;
        Some(self.number())
    }
}

impl Packet {
    pub fn parse(text: &str) -> Self {
        let (head, about) = match text.split_once(" about (") {
            Some((head, rest)) => {
                let (quoted, tail) = rest.rsplit_once(')').expect("a closing bracket");
                (format!("{head}{tail}"), Some(Box::new(Self::parse(quoted))))
            }
            None => (text.to_owned(), None),
        };
        let mut words = Words(head.split_whitespace().peekable(), text);
        let from = words.next();
        assert_eq!(words.next(), ">", "{text}");
        let to = words.next();
        let protocol = words.next();
        let ported = matches!(protocol, "tcp" | "udp");
        let ((src, sport), (dst, dport)) = (end(from, ported), end(to, ported));
        let body = match (protocol, about) {
            ("tcp", None) => segment(&mut words, sport, dport),
            ("udp", None) => Body::Udp(sport, dport, words.named("len").unwrap_or(0)),
            ("icmp", about) => message(&mut words, about),
            ("proto", None) => Body::Other(Proto(words.number()), words.named("len").unwrap_or(0)),
            _ => panic!("not a packet: {text}"),
        };
        let mut packet = Self {
            src,
            dst,
            ttl: 64,
            tos: 0,
            options: false,
            ident: 0,
            dont_fragment: false,
            fragment: false,
            bad_sum: false,
            body,
        };
        while let Some(word) = words.0.next() {
            match word {
                "ttl" => packet.ttl = words.number(),
                "tos" => packet.tos = words.number(),
                "ident" => packet.ident = words.number(),
                "options" => packet.options = true,
                "df" => packet.dont_fragment = true,
                "fragment" => packet.fragment = true,
                "bad-sum" => packet.bad_sum = true,
                _ => panic!("what is {word}? {text}"),
            }
        }
        packet
    }

    pub fn with_ttl(&self, ttl: u8) -> Self {
        Self { ttl, ..self.clone() }
    }

    pub fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let ether_type = if self.src.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let header = ethernet::Repr { dst: to, src: from, tags: Tags::None, ether_type };
        let mut frame = room(header.len(), &self.datagram());
        header.emit(&mut frame).expect("the room is there");
        frame
    }

    fn datagram(&self) -> Vec<u8> {
        let (proto, payload) = self.payload();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = ipv4::Repr::new(src, dst, proto, payload.len());
                (header.ttl, header.tos, header.more_fragments) = (self.ttl, self.tos, self.fragment);
                (header.dont_fragment, header.ident) = (self.dont_fragment, self.ident);
                if self.options {
                    header.options.push(OptionKind::RECORD_ROUTE, &[4, 0, 0, 0, 0]).expect("it fits");
                }
                build::ipv4(&header, &payload)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let extension = Extension::DstOpts(&[1, 4, 0, 0, 0, 0]);
                let (next, chain) = if self.options {
                    let mut chain = room(extension.len(), &payload);
                    extension.emit(proto, &mut chain).expect("an extension header");
                    (extension.proto(), chain)
                } else {
                    (proto, payload)
                };
                let header = ipv6::Repr {
                    hop_limit: self.ttl,
                    traffic_class: self.tos,
                    ..ipv6::Repr::new(src, dst, next, chain.len())
                };
                let mut out = room(ipv6::HEADER_LEN, &chain);
                header.emit(&mut out).expect("a header");
                out
            }
            _ => panic!("two families: {self:?}"),
        }
    }

    fn payload(&self) -> (Proto, Vec<u8>) {
        let pseudo = Pseudo::of(self.src, self.dst).expect("one family");
        let (proto, mut out) = match &self.body {
            Body::Tcp(header, len) => (Proto::TCP, build::tcp(&pseudo, header, &vec![0; *len])),
            Body::Udp(sport, dport, len) => {
                let mut out = vec![0; udp::HEADER_LEN + len];
                let header =
                    udp::Repr { src_port: Port(*sport), dst_port: Port(*dport), cover: udp::Cover::Checksum };
                header.emit(&pseudo, &mut out).expect("a header");
                (Proto::UDP, out)
            }
            Body::Icmp { kind, code, ident } => {
                let [a, b] = ident.to_be_bytes();
                self.icmp(*kind, *code, [a, b, 0, 1], &[])
            }
            Body::Error { kind, code, about } => self.icmp(*kind, *code, [0; 4], &about.quote()),
            Body::Other(proto, len) => (*proto, vec![0; *len]),
        };
        if self.bad_sum {
            *out.last_mut().expect("a payload") ^= 0x55;
        }
        (proto, out)
    }

    fn icmp(&self, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> (Proto, Vec<u8>) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) else {
            let header = icmp4::Repr { kind: icmp4::Type(kind), code, rest };
            return (Proto::ICMP, build::icmp4(&header, body));
        };
        let mut out = room(icmp6::HEADER_LEN, body);
        let header = icmp6::Repr { kind: icmp6::Type(kind), code, rest };
        header.emit(src, dst, &mut out).expect("the room is there");
        (Proto::ICMP6, out)
    }

    fn quote(&self) -> Vec<u8> {
        let mut datagram = self.datagram();
        datagram.truncate(datagram.len() - self.payload().1.len() + QUOTED);
        datagram
    }
}

/// Makes both checksums of an IPv4 frame with TCP right again, wherever its TCP header is said to begin.
pub fn seal(frame: &mut [u8]) {
    const L3: usize = ethernet::HEADER_LEN;
    let l4 = L3 + usize::from(frame[L3] & 0xf) * 4;
    frame[L3 + 10..L3 + 12].fill(0);
    let header = Sum::ZERO.plus(&frame[L3..l4]).checksum();
    frame[L3 + 10..L3 + 12].copy_from_slice(&header.0);
    let address = |at: usize| std::net::Ipv4Addr::from(*frame[at..].first_chunk::<4>().expect("an address"));
    let pseudo = Pseudo::V4(address(L3 + 12), address(L3 + 16));
    frame[l4 + 16..l4 + 18].fill(0);
    let transport = pseudo.sum(Proto::TCP, frame.len() - l4).plus(&frame[l4..]).checksum();
    frame[l4 + 16..l4 + 18].copy_from_slice(&transport.0);
}

fn room(header: usize, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; header];
    out.extend_from_slice(payload);
    out
}

/// `address.port`, or an address alone.
fn end(text: &str, ported: bool) -> (IpAddr, u16) {
    let (address, port) = if ported {
        let (address, port) = text.rsplit_once('.').unwrap_or_else(|| panic!("no port: {text}"));
        (address, port.parse().unwrap_or_else(|_| panic!("not a port: {text}")))
    } else {
        (text, 0)
    };
    (address.parse().unwrap_or_else(|_| panic!("not an address: {text}")), port)
}

fn segment(words: &mut Words<'_>, sport: u16, dport: u16) -> Body {
    let flags = words.next();
    let mut header = tcp::Repr {
        src_port: Port(sport),
        dst_port: Port(dport),
        flags: parse_flags(flags),
        seq: Seq(words.named("seq").unwrap_or(0)),
        ack: Seq(words.named("ack").unwrap_or(0)),
        window: words.named("win").unwrap_or(8192),
        ..tcp::Repr::default()
    };
    let len = words.named("len").unwrap_or(0);
    if let Some(mss) = words.named("mss") {
        header.options.push(&TcpOption::Mss(mss)).expect("it fits");
    }
    if let Some(shift) = words.named("ws") {
        header.options.push(&TcpOption::WindowScale(WindowScale(shift))).expect("it fits");
    }
    if let Some(left) = words.named("sack") {
        let block = SackBlock { left: Seq(left), right: Seq(words.number()) };
        header.options.push_nop().expect("it fits");
        header.options.push_sack(&[block]).expect("it fits");
    }
    while let Some(value) = words.named("ts") {
        let stamps = Timestamps { value, echo: words.number() };
        header.options.push(&TcpOption::Timestamps(stamps)).expect("it fits");
    }
    if let Some(size) = words.named("mss") {
        header.options.push(&TcpOption::Mss(size)).expect("it fits");
    }
    Body::Tcp(header, len)
}

fn message(words: &mut Words<'_>, about: Option<Box<Packet>>) -> Body {
    let (kind, code) = words.next().split_once('/').expect("type/code");
    let (kind, code) = (kind.parse().expect("a type"), code.parse().expect("a code"));
    match about {
        Some(about) => Body::Error { kind, code, about },
        None => Body::Icmp { kind, code, ident: words.named("id").unwrap_or(0) },
    }
}

fn parse_flags(letters: &str) -> TcpFlags {
    let bit = |letter| TcpFlags::LETTERS.iter().position(|known| *known == letter);
    letters.chars().filter(|letter| *letter != '-').fold(TcpFlags::default(), |flags, letter| {
        flags.union(TcpFlags(1 << bit(letter).unwrap_or_else(|| panic!("not a flag: {letter}"))))
    })
}

/// A packet that the firewall made, every checksum verified: `10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 0 ack 1001 win 0 ttl
/// 64`, `10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.1.0.2 proto 6) ttl 64`.
pub fn render(frame: &[u8]) -> String {
    let dissected = dissect(frame).expect("a sound packet");
    let (src, dst, ttl, upper): (IpAddr, IpAddr, u8, Upper<'_>) = match dissected.network {
        Network::Ipv4(packet, _, upper) => {
            let header = packet.header();
            (header.src().into(), header.dst().into(), header.ttl(), upper)
        }
        Network::Ipv6(packet, _, upper) => {
            let header = packet.header();
            (header.src().into(), header.dst().into(), header.hop_limit(), upper)
        }
        other => panic!("not IP: {other:?}"),
    };
    let mut text = String::new();
    match upper {
        Upper::Tcp(segment) => {
            let h = segment.header();
            write!(text, "{src}.{} > {dst}.{} tcp {}", h.src_port().0, h.dst_port().0, h.flags())
                .and_then(|()| write!(text, " seq {} ack {} win {}", h.seq(), h.ack(), h.window()))
                .and_then(|()| segment.options().mss().map_or(Ok(()), |mss| write!(text, " mss {mss}")))
                .and_then(|()| {
                    let stamps = segment.options().timestamps();
                    stamps.map_or(Ok(()), |stamps| write!(text, " ts {} {}", stamps.value, stamps.echo))
                })
        }
        Upper::Icmp4(message, Some(quote)) => {
            let h = message.header();
            write!(text, "{src} > {dst} icmp {}/{}", h.kind().0, h.code())
                .and_then(|()| write!(text, " about ({} > {} proto {})", quote.src, quote.dst, quote.proto.0))
        }
        Upper::Icmp6(message, Some(quote)) => {
            let h = message.header();
            write!(text, "{src} > {dst} icmp {}/{}", h.kind().0, h.code())
                .and_then(|()| write!(text, " about ({} > {} proto {})", quote.src, quote.dst, quote.proto.0))
        }
        Upper::Udp(datagram) => {
            let h = datagram.header();
            write!(text, "{src}.{} > {dst}.{} udp", h.src_port().0, h.dst_port().0)
        }
        Upper::Icmp4(message, None) => {
            let h = message.header();
            write!(text, "{src} > {dst} icmp {}/{} id {}", h.kind().0, h.code(), h.ident())
        }
        Upper::Icmp6(message, None) => {
            let h = message.header();
            write!(text, "{src} > {dst} icmp {}/{} id {}", h.kind().0, h.code(), h.ident())
        }
        other => panic!("nothing that is shown here: {other:?}"),
    }
    .expect("a String takes everything");
    write!(text, " ttl {ttl}").expect("a String takes everything");
    text
}

/// The number that stands behind a word of a packet's text.
pub fn number_behind(word: &str, text: &str) -> u32 {
    let rest = text.split_once(&format!(" {word} ")).unwrap_or_else(|| panic!("no {word}: {text}")).1;
    rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{word}: {text}"))
}
