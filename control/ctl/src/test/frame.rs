//! The octets of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{anyhow, bail};
use wire::checksum::Pseudo;
use wire::ethernet::{self, Tags};
use wire::ipv4::OptionKind;
use wire::ipv6::Extension;
use wire::{EtherType, Mac, Port, Proto, Seq, icmp4, icmp6, ipv4, ipv6, tcp, udp};

use super::packet::Packet;

/// Record route (RFC 791 §3.1), without room for a record.
const OPTION: (OptionKind, [u8; 5]) = (OptionKind(7), [4, 0, 0, 0, 0]);
/// PadN over a whole extension header.
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// Where the fragments of packets begin that are not the first of theirs, in octets.
const OFFSET: u16 = 8;

/// Addresses of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub from: Mac,
    pub to: Mac,
}

/// The frame of a packet; TCP with these sequence and acknowledgment numbers.
pub fn frame(packet: &Packet, link: Link, (seq, ack): (Seq, Seq)) -> anyhow::Result<Vec<u8>> {
    let payload = payload(packet, seq, ack)?;
    let (ether_type, datagram) = match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (EtherType::IPV4, datagram4(packet, src, dst, &payload)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => (EtherType::IPV6, datagram6(packet, src, dst, payload)),
        _ => bail!("sender and receiver are of different families"),
    };
    let datagram = datagram.map_err(|error| anyhow!("{packet}: {error:?}"))?;
    Ok(ethernet_frame(link, ether_type, &datagram))
}

/// A frame around a datagram.
pub fn ethernet_frame(Link { from, to }: Link, ether_type: EtherType, datagram: &[u8]) -> Vec<u8> {
    let header = ethernet::Repr { dst: to, src: from, tags: Tags::None, ether_type };
    let mut frame = room(header.len(), datagram);
    header.emit(&mut frame).expect("the room is there");
    frame
}

/// So many zeros, and the payload behind them.
fn room(header_len: usize, payload: &[u8]) -> Vec<u8> {
    [&vec![0; header_len], payload].concat()
}

fn datagram4(packet: &Packet, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Result<Vec<u8>, wire::Error> {
    let mut header = ipv4::Repr::new(src, dst, packet.proto, payload.len());
    (header.ttl, header.tos) = (packet.ttl, packet.tos);
    if packet.fragment {
        header.fragment_offset = OFFSET;
    }
    if packet.options {
        header.options.push(OPTION.0, &OPTION.1)?;
    }
    let mut out = room(header.header_len(), payload);
    header.emit(&mut out)?;
    Ok(out)
}

fn datagram6(
    packet: &Packet,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    payload: Vec<u8>,
) -> Result<Vec<u8>, wire::Error> {
    let fragment = Extension::Fragment(wire::Fragment { ident: 7, offset: OFFSET, more: false });
    let extensions =
        [packet.options.then_some(Extension::DstOpts(&PADDING)), packet.fragment.then_some(fragment)];
    let mut chain = (packet.proto, payload);
    for extension in extensions.into_iter().flatten() {
        let mut out = room(extension.len(), &chain.1);
        extension.emit(chain.0, &mut out)?;
        chain = (extension.proto(), out);
    }
    let header = ipv6::Repr::new(src, dst, chain.0, chain.1.len());
    let header = ipv6::Repr { hop_limit: packet.ttl, traffic_class: packet.tos, ..header };
    let mut out = room(ipv6::HEADER_LEN, &chain.1);
    header.emit(&mut out)?;
    Ok(out)
}

fn payload(packet: &Packet, seq: Seq, ack: Seq) -> anyhow::Result<Vec<u8>> {
    let data = vec![0; usize::from(packet.len)];
    let pseudo = Pseudo::of(packet.src, packet.dst).ok_or_else(|| anyhow!("{packet}: two families"))?;
    let (src_port, dst_port) = (Port(packet.sport), Port(packet.dport));
    let mut out;
    let emitted = match packet.proto {
        Proto::TCP => {
            let (flags, window) = (packet.flags, u16::MAX);
            let header = tcp::Repr { src_port, dst_port, seq, ack, flags, window, ..tcp::Repr::default() };
            out = room(header.header_len(), &data);
            header.emit(&pseudo, &mut out)
        }
        Proto::UDP => {
            out = room(udp::HEADER_LEN, &data);
            udp::Repr { src_port, dst_port, cover: udp::Cover::Checksum }.emit(&pseudo, &mut out)
        }
        Proto::SCTP => {
            // RFC 9260 §3.1: ports, verification tag, checksum, which no firewall verifies.
            out = room(12, &data);
            out[..2].copy_from_slice(&packet.sport.to_be_bytes());
            out[2..4].copy_from_slice(&packet.dport.to_be_bytes());
            Ok(())
        }
        Proto::ICMP | Proto::ICMP6 => {
            out = room(icmp4::HEADER_LEN, &data);
            icmp(packet, &mut out)
        }
        _ => {
            out = data;
            Ok(())
        }
    };
    emitted.map_err(|error| anyhow!("{packet}: {error:?}"))?;
    Ok(out)
}

fn icmp(packet: &Packet, out: &mut [u8]) -> Result<(), wire::Error> {
    let [high, low] = packet.ident.to_be_bytes();
    let (code, rest) = (packet.code, [high, low, 0, 1]);
    match (packet.src, packet.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            icmp6::Repr { kind: icmp6::Type(packet.kind), code, rest }.emit(src, dst, out)
        }
        _ => icmp4::Repr { kind: icmp4::Type(packet.kind), code, rest }.emit(out),
    }
}
