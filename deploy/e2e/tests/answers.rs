//! What is blocked is turned into its answer (reliability B1): every kind of segment, from a station behind the firewall, from
//! the firewall itself, blocked where it comes in, where it leaves, and under translation; and what a client makes of it.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, address};
use e2e::{Capture, Lab, Links, Namespace, PATIENCE, bed, frames, installed};
use rustix::io::Errno;
use wire::checksum::Pseudo;
use wire::corpus::{Network, Upper, build, dissect};
use wire::ethernet::{self, Tags};
use wire::{EtherType, Mac, Port, Proto, Seq, TcpFlags, ipv4, ipv6, tcp};

/// Port 81 is blocked where it comes in, 82 where it leaves; 8082 is redirected there, and what goes to 84 has another source
/// when it is blocked.
const RULES: &str = "block drop all\n\
    pass in on lan0 proto tcp to port { 82 84 } flags any no state\n\
    pass in on lan0 inet proto tcp to 10.1.0.1 port 8082 flags any rdr-to 10.2.0.2 port 82\n\
    pass in on lan0 inet6 proto tcp to fd00:1::1 port 8082 flags any rdr-to fd00:2::2 port 82\n\
    match out on wan0 inet proto tcp to port 84 nat-to 10.2.0.1\n\
    match out on wan0 inet6 proto tcp to port 84 nat-to fd00:2::1\n\
    block return-rst in on lan0 proto tcp to port 81\n\
    block return-rst out on wan0 proto tcp to port 82\n\
    block return-rst out on wan0 inet proto tcp from 10.2.0.1 to port 84\n\
    block return-rst out on wan0 inet6 proto tcp from fd00:2::1 to port 84\n";

/// A segment, but for its ports.
#[derive(Clone, Copy)]
struct Trigger {
    flags: TcpFlags,
    data: usize,
}

const fn both(one: TcpFlags, other: TcpFlags) -> TcpFlags {
    TcpFlags(one.0 | other.0)
}

const TRIGGERS: [Trigger; 7] = [
    Trigger { flags: TcpFlags::SYN, data: 0 },
    Trigger { flags: TcpFlags::ACK, data: 0 },
    Trigger { flags: TcpFlags::SYN, data: 100 },
    Trigger { flags: both(TcpFlags::FIN, TcpFlags::ACK), data: 0 },
    Trigger { flags: both(TcpFlags::PSH, TcpFlags::ACK), data: 1 },
    Trigger { flags: both(TcpFlags::PSH, TcpFlags::ACK), data: 1000 },
    Trigger { flags: both(TcpFlags::SYN, TcpFlags::ACK), data: 0 },
];
const SEQ: u32 = 0xffff_fff0;
const ACK: u32 = 0x0102_0304;
/// Of the first trigger; the others have those behind it.
const FIRST_PORT: u16 = 4000;

impl Trigger {
    /// RFC 9293 §3.10.7.1: flags, sequence number and acknowledgment of the reset.
    fn reset(&self) -> (TcpFlags, Seq, Seq) {
        if self.flags.contains(TcpFlags::ACK) {
            return (TcpFlags::RST, Seq(ACK), Seq(0));
        }
        let taken = self.data as u32 + u32::from(self.flags.contains(TcpFlags::SYN));
        (both(TcpFlags::RST, TcpFlags::ACK), Seq(0), Seq(SEQ.wrapping_add(taken)))
    }

    fn frame(&self, [from, to]: [Mac; 2], src: (IpAddr, u16), dst: (IpAddr, u16)) -> Vec<u8> {
        let header = tcp::Repr {
            flags: self.flags,
            seq: Seq(SEQ),
            ack: Seq(if self.flags.contains(TcpFlags::ACK) { ACK } else { 0 }),
            src_port: Port(src.1),
            dst_port: Port(dst.1),
            window: 8192,
            reserved: 0,
            urgent: 0,
            options: tcp::OptionsBuf::EMPTY,
        };
        let data = vec![0x55; self.data];
        let (ether_type, packet) = match (src.0, dst.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let segment = build::tcp(&Pseudo::V4(src, dst), &header, &data);
                let ip = ipv4::Repr::new(src, dst, Proto::TCP, 0);
                (EtherType::IPV4, build::ipv4(&ip, &segment))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let segment = build::tcp(&Pseudo::V6(src, dst), &header, &data);
                let mut packet = vec![0; ipv6::HEADER_LEN];
                packet.extend_from_slice(&segment);
                let ip = ipv6::Repr::new(src, dst, Proto::TCP, segment.len());
                ip.emit(&mut packet).expect("an IPv6 header that can be sent");
                (EtherType::IPV6, packet)
            }
            _ => unreachable!("both ends are of one family"),
        };
        let link = ethernet::Repr { dst: to, src: from, tags: Tags::None, ether_type };
        let mut frame = vec![0; ethernet::HEADER_LEN];
        frame.extend_from_slice(&packet);
        link.emit(&mut frame).expect("room for an Ethernet header");
        frame
    }
}

/// A reset: sources come first.
struct Reset {
    /// With their ports.
    ends: [(IpAddr, u16); 2],
    /// Control bits, sequence number, acknowledgment.
    numbers: (TcpFlags, Seq, Seq),
    macs: [Mac; 2],
}

/// The reset in a frame, if it is one; every checksum must be right.
fn reset_of(frame: &[u8]) -> Result<Option<Reset>> {
    let whole = dissect(frame).map_err(|error| anyhow::anyhow!("a broken frame: {error:?}"))?;
    let (src, dst, segment) = match whole.network {
        Network::Ipv4(ip, _, Upper::Tcp(segment)) => {
            (IpAddr::V4(ip.header().src()), IpAddr::V4(ip.header().dst()), segment)
        }
        Network::Ipv6(ip, _, Upper::Tcp(segment)) => {
            (IpAddr::V6(ip.header().src()), IpAddr::V6(ip.header().dst()), segment)
        }
        _ => return Ok(None),
    };
    let header = tcp::Repr::of(&segment);
    if !header.flags.contains(TcpFlags::RST) {
        return Ok(None);
    }
    ensure!(header.window == 0 && segment.payload().is_empty(), "a reset has neither window nor data");
    let ends = [(src, header.src_port.0), (dst, header.dst_port.0)];
    let link = whole.frame.header();
    let numbers = (header.flags, header.seq, header.ack);
    Ok(Some(Reset { ends, numbers, macs: [link.src(), link.dst()] }))
}

/// Who sends: from which interface of which namespace, with which Ethernet addresses, its own first.
struct Station<'a> {
    namespace: &'a Namespace,
    interface: &'a str,
    macs: [Mac; 2],
}

impl Station<'_> {
    /// Sends every trigger from `from` to each of `ports`, and checks that each came back as its reset, once.
    fn is_answered(&self, lab: &Lab, from: IpAddr, to: &[(IpAddr, u16)]) -> Result<()> {
        let capture = Capture::start(lab, self.namespace, self.interface, &["tcp"])?;
        let (mut sent, mut expected) = (Vec::new(), BTreeMap::new());
        for (to, trigger) in to.iter().flat_map(|to| TRIGGERS.iter().map(move |trigger| (*to, trigger))) {
            let source = (from, FIRST_PORT + sent.len() as u16);
            sent.push(trigger.frame(self.macs, source, to));
            expected.insert([to, source], trigger.reset());
        }
        let count = frames::send(lab, self.namespace, self.interface, sent.iter().map(Vec::as_slice))?;
        ensure!(count as usize == sent.len(), "{count} frames were sent of {}", sent.len());
        capture.expect(2 * sent.len())?;
        let [own, other] = self.macs;
        for frame in capture.in_order()? {
            let Some(Reset { ends, numbers, macs }) = reset_of(&frame)? else { continue };
            let due =
                expected.remove(&ends).with_context(|| format!("{ends:?} was reset twice, or by whom?"))?;
            ensure!(numbers == due, "{ends:?}: {numbers:?}, where RFC 9293 says {due:?}");
            ensure!(macs == [other, own], "{ends:?} came from and to {macs:?}");
        }
        ensure!(expected.is_empty(), "not answered: {expected:?}");
        capture.stop()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address of the bed")
}

/// By family: the client, the gateway on its side, the server, the firewall on the server's side.
const FAMILIES: [[&str; 4]; 2] = [
    [Lab::CLIENT, Lab::GATEWAY, Lab::SERVER, Lab::OUTSIDE],
    [Lab::CLIENT6, Lab::GATEWAY6, Lab::SERVER6, Lab::OUTSIDE6],
];

#[test]
fn b1_every_segment_is_answered_as_rfc_9293_says_over_tap_links() {
    bed("answers-tap", Links::Tap, RULES, segments);
}

#[test]
fn b1_every_segment_is_answered_as_rfc_9293_says_over_af_packet_links() {
    bed("answers-afp", Links::AfPacket, RULES, segments);
}

fn segments(lab: &mut Lab) -> Result<()> {
    if !installed("python3", "raw segments") {
        return Ok(());
    }
    let inside = Mac(lab.firewall.mac("lan0")?);
    let client = Station {
        namespace: &lab.client,
        interface: "eth-lan",
        macs: [Mac(lab.client.mac("eth-lan")?), inside],
    };
    let outside = Mac(lab.firewall.mac("wan0")?);
    let host = Station {
        namespace: &lab.firewall,
        interface: "wan0",
        macs: [outside, Mac(lab.server.mac("eth-wan")?)],
    };
    let wire = Capture::start(lab, &lab.server, "eth-wan", &["tcp"])?;
    for [client_ip, gateway, server, own] in FAMILIES.map(|family| family.map(ip)) {
        let before = lab.drops()?;
        let to = [(server, 81), (server, 82), (gateway, 8082), (server, 84)];
        client.is_answered(lab, client_ip, &to)?;
        lab.expect_drops(&before, &[("lan0", "match", (to.len() * TRIGGERS.len()) as u64)])?;
        let before = lab.drops()?;
        host.is_answered(lab, own, &[(server, 82)])?;
        lab.expect_drops(&before, &[("wan0", "match", TRIGGERS.len() as u64)])?;
    }
    let leaked = wire.in_order()?;
    ensure!(leaked.is_empty(), "{} blocked segments, or their answers, left by wan0", leaked.len());
    wire.stop()
}

/// What `connect()` says, upon its first SYN: outside, whatever the answer's addresses had to be translated back to, and on the
/// firewall.
#[test]
fn b1_clients_are_refused_at_once() {
    bed("answers-clients", Links::Tap, RULES, |lab| {
        for [_, gateway, server, _] in FAMILIES {
            let before = lab.drops()?;
            for (to, port) in [(server, 81), (server, 82), (gateway, 8082), (server, 84)] {
                let attempt = sockets::connect(&lab.client, address(to, port), PATIENCE)?;
                attempt.failed_with(&format!("TCP to {to} port {port}"), Errno::CONNREFUSED)?;
            }
            refused_on_the_firewall(lab, ip(server))?;
            // No SYN had to be repeated.
            lab.expect_drops(&before, &[("lan0", "match", 4), ("wan0", "match", 1)])?;
        }
        Ok(())
    });
}

/// A local client: its SYN and the reset that it has become are all that there is on the host's interface, and nothing on the
/// wire.
fn refused_on_the_firewall(lab: &Lab, server: IpAddr) -> Result<()> {
    let here = Capture::start(lab, &lab.firewall, "wan0", &["tcp"])?;
    let wire = Capture::start(lab, &lab.server, "eth-wan", &["tcp"])?;
    let attempt = sockets::connect(&lab.firewall, (server, 82).into(), PATIENCE)?;
    attempt.failed_with("the firewall's own TCP", Errno::CONNREFUSED)?;
    here.expect(2)?;
    let [syn, reset] = here.in_order()?.try_into().map_err(|all: Vec<_>| {
        anyhow::anyhow!("{} frames on the host's interface, where a SYN and its RST were expected", all.len())
    })?;
    let Reset { ends, numbers, .. } = reset_of(&reset)?.context("the second frame is no reset")?;
    ensure!(ends[0] == (server, 82), "the reset comes from {:?}", ends[0]);
    // The checksum of what the host sends is left to the device.
    let link = ethernet::Frame::parse(&syn).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let at = if server.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    let seq = link.payload()[at + 4..at + 8].try_into().map(u32::from_be_bytes)?;
    let due = (both(TcpFlags::RST, TcpFlags::ACK), Seq(0), Seq(seq.wrapping_add(1)));
    ensure!(numbers == due, "{numbers:?}, where RFC 9293 says {due:?}");
    ensure!(wire.in_order()?.is_empty(), "something left by wan0");
    here.stop()?;
    wire.stop()
}
