//! A packet in one line, as `tpctl test` takes it: `in on wan0 tcp 192.0.2.7:1025 > 10.0.0.1:443 S`.
//!
//! First the hooks that it passes: `in on wan0`, `out on lan0`, or `in on wan0 out on lan0` for one that is forwarded. Then
//! the protocol, by name or number, sender and receiver, with ports where the protocol has them: `192.0.2.7:1025`,
//! `[2001:db8::1]:80` or `2001:db8::1[80]`. At last what else it is like, in any order: letters of TCP flags, and the words
//! of [`Packet`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use wire::{Af, Proto, TcpFlags};

/// A packet, and where it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The line that it was read from.
    text: String,
    /// The interface that it comes in by.
    pub enters: Option<String>,
    /// The interface that it goes out by.
    pub leaves: Option<String>,
    pub proto: Proto,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// 0 where the protocol has none.
    pub sport: u16,
    pub dport: u16,
    /// TCP; a SYN if no letters are given.
    pub flags: TcpFlags,
    /// TCP: `seq n`, else what comes next in its direction.
    pub seq: Option<u32>,
    /// TCP: `ack n`, else what comes next in the other direction.
    pub ack: Option<u32>,
    /// ICMP: `type t`, by name or number; an echo request if it is not given.
    pub kind: u8,
    /// ICMP: `code n`.
    pub code: u8,
    /// ICMP: `id n`.
    pub ident: u16,
    /// `ttl n`: time to live, or hop limit.
    pub ttl: u8,
    /// `tos n`: type of service, or traffic class.
    pub tos: u8,
    /// `len n`: octets of payload.
    pub len: u16,
    /// `options`: an IPv4 option, or an IPv6 header with destination options.
    pub options: bool,
    /// `fragment`: a fragment that is not the first.
    pub fragment: bool,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Packet {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        read(text).with_context(|| format!("the packet `{text}`"))
    }
}

/// The words of a packet, one after the other.
struct Words<'a>(std::iter::Peekable<std::str::SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    fn next(&mut self, wanted: &str) -> anyhow::Result<&'a str> {
        self.0.next().ok_or_else(|| anyhow!("expected {wanted} at its end"))
    }

    /// `in on wan0`, if that comes next.
    fn hook(&mut self, direction: &str) -> anyhow::Result<Option<String>> {
        if self.0.next_if_eq(&direction).is_none() {
            return Ok(None);
        }
        let on = self.next("`on`")?;
        ensure!(on == "on", "expected `on` behind `{direction}`, found `{on}`");
        Ok(Some(self.next("an interface")?.to_owned()))
    }

    fn number<T: FromStr>(&mut self, of: &str) -> anyhow::Result<T> {
        let word = self.next(&format!("a number behind `{of}`"))?;
        word.parse().map_err(|_| anyhow!("`{of} {word}`: not a number that fits"))
    }
}

fn read(text: &str) -> anyhow::Result<Packet> {
    let mut words = Words(text.split_whitespace().peekable());
    let (enters, leaves) = (words.hook("in")?, words.hook("out")?);
    ensure!(enters.is_some() || leaves.is_some(), "expected `in on` or `out on` and an interface");
    let word = words.next("a protocol")?;
    let number = pfconf::protocol_number(word);
    let proto = Proto(number.ok_or_else(|| anyhow!("`{word}` is not a protocol"))?);
    let ported = matches!(proto, Proto::TCP | Proto::UDP | Proto::SCTP);
    let (src, sport) = end(words.next("the sender")?, ported)?;
    let arrow = words.next("`>`")?;
    ensure!(arrow == ">", "expected `>` behind the sender, found `{arrow}`");
    let (dst, dport) = end(words.next("the receiver")?, ported)?;
    let af = Af::of(&src);
    ensure!(af == Af::of(&dst), "sender and receiver are of different families");
    let icmp = if af == Af::Inet { Proto::ICMP } else { Proto::ICMP6 };
    ensure!(proto == icmp || !matches!(proto, Proto::ICMP | Proto::ICMP6), "{word} is not of their family");
    let packet = Packet {
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        enters,
        leaves,
        proto,
        src,
        dst,
        sport,
        dport,
        flags: TcpFlags::default(),
        seq: None,
        ack: None,
        kind: if af == Af::Inet { 8 } else { 128 },
        code: 0,
        ident: 1,
        ttl: 64,
        tos: 0,
        len: 0,
        options: false,
        fragment: false,
    };
    packet.with_details(&mut words)
}

impl Packet {
    fn with_details(mut self, words: &mut Words<'_>) -> anyhow::Result<Self> {
        let (tcp, icmp) = (self.proto == Proto::TCP, matches!(self.proto, Proto::ICMP | Proto::ICMP6));
        while let Some(word) = words.0.next() {
            match word {
                "seq" if tcp => self.seq = Some(words.number(word)?),
                "ack" if tcp => self.ack = Some(words.number(word)?),
                "type" if icmp => {
                    let name = words.next("a type")?;
                    let known = pfconf::icmp_type(name, Af::of(&self.src));
                    self.kind = known.ok_or_else(|| anyhow!("`{name}` is not a type of ICMP"))?;
                }
                "code" if icmp => self.code = words.number(word)?,
                "id" if icmp => self.ident = words.number(word)?,
                "ttl" => self.ttl = words.number(word)?,
                "tos" => {
                    let name = words.next("a type of service")?;
                    let known = pfconf::type_of_service(name);
                    self.tos = known.ok_or_else(|| anyhow!("`{name}` is not a type of service"))?;
                }
                "len" => self.len = words.number(word)?,
                "options" => self.options = true,
                "fragment" => self.fragment = true,
                letters if tcp && self.flags == TcpFlags::default() => self.flags = flags(letters)?,
                _ => bail!("`{word}` says nothing of such a packet"),
            }
        }
        if tcp && self.flags == TcpFlags::default() {
            self.flags = TcpFlags::SYN;
        }
        Ok(self)
    }
}

fn flags(letters: &str) -> anyhow::Result<TcpFlags> {
    letters.chars().try_fold(TcpFlags::default(), |flags, letter| {
        let bit = TcpFlags::LETTERS.iter().position(|known| *known == letter);
        let bit = bit.ok_or_else(|| anyhow!("`{letters}` says nothing of a TCP segment"))?;
        Ok(flags.union(TcpFlags(1 << bit)))
    })
}

/// An address, with a port where the protocol has them.
fn end(word: &str, ported: bool) -> anyhow::Result<(IpAddr, u16)> {
    if !ported {
        let address = word.parse().map_err(|_| anyhow!("`{word}` is not an address"))?;
        return Ok((address, 0));
    }
    if let Ok(socket) = word.parse::<SocketAddr>() {
        return Ok((socket.ip(), socket.port()));
    }
    // As pf writes IPv6: 2001:db8::1[80].
    let bracketed = word.strip_suffix(']').and_then(|word| word.split_once('['));
    let parsed = bracketed.and_then(|(address, port)| Some((address.parse().ok()?, port.parse().ok()?)));
    parsed.ok_or_else(|| {
        anyhow!("`{word}` is not an address with a port, as in 192.0.2.1:80 or [2001:db8::1]:80")
    })
}
