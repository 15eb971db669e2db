//! Every kind of frame, whole and cut.

use std::fmt::Write;

use engine::{Packet, Parsed, Transport, Zone};
use ruleset::Reason;
use wire::Af;
use wire::corpus::{Network, Upper, dissect, malformed, packets};

use crate::{parsed, refused};

/// One line for a packet, with everything that it says.
fn line(packet: &Packet) -> String {
    let tuple = &packet.tuple;
    let mut line = format!(
        "{} {}:{} > {}:{} at {}/{}/{} ttl {} tos {:#04x}",
        tuple.proto.0,
        tuple.src.to_ip(tuple.af),
        tuple.sport,
        tuple.dst.to_ip(tuple.af),
        tuple.dport,
        packet.l3,
        packet.l4,
        packet.end,
        packet.ttl,
        packet.tos
    );
    let marks = [(packet.dont_fragment, " df"), (packet.options, " options"), (packet.group_frame, " group")];
    line.extend(marks.into_iter().filter_map(|(set, mark)| set.then_some(mark)));
    match packet.transport {
        Transport::Tcp(s) => {
            write!(line, " tcp {} {}+{} ack {} win {}", s.flags, s.seq, s.len, s.ack, s.window).unwrap();
            s.wscale.into_iter().for_each(|shift| write!(line, " wscale {shift}").unwrap());
        }
        Transport::IcmpError { kind, code, quoted } => {
            let tuple = quoted.tuple;
            assert_eq!(tuple.zone, Zone(7), "the quote is of the zone of the error");
            let (src, dst) = (tuple.src.to_ip(tuple.af), tuple.dst.to_ip(tuple.af));
            let (proto, sport, dport) = (tuple.proto.0, tuple.sport, tuple.dport);
            write!(
                line,
                " error {kind}/{code} about {proto} {src}:{sport} > {dst}:{dport} seq {}",
                quoted.seq
            )
            .unwrap();
        }
        other => write!(line, " {other:?}").unwrap(),
    }
    line
}

#[test]
fn every_kind_as_written() {
    let mut text = String::new();
    for (name, frame) in packets() {
        let said = match parsed(&frame) {
            Ok(Parsed::Ip(packet)) => line(&packet),
            Ok(Parsed::NonIp(other)) => format!("{other:?}"),
            Err(reason) => format!("refused: {reason}"),
        };
        writeln!(text, "{name}\n    {said}").unwrap();
    }
    insta::assert_snapshot!(text);
}

/// The offsets lead to what another reading of the same frame finds there.
#[test]
fn offsets_lead_to_the_headers() {
    for (name, frame) in packets() {
        let Ok(Parsed::Ip(packet)) = parsed(&frame) else { continue };
        let dissected = dissect(&frame).unwrap();
        assert_eq!(usize::from(packet.l3), dissected.frame.l2_len(), "{name}");
        let (af, header_len, upper, fragment) = match dissected.network {
            Network::Ipv4(ip, _, upper) => {
                (Af::Inet, ip.header().header_len(), ip.payload(), matches!(upper, Upper::Fragment(..)))
            }
            Network::Ipv6(ip, chain, upper) => {
                (Af::Inet6, chain.offset, ip.upper(&chain), matches!(upper, Upper::Fragment(..)))
            }
            other => panic!("{name}: {other:?} is no IP"),
        };
        assert_eq!(packet.tuple.af, af, "{name}");
        assert_eq!(usize::from(packet.l4 - packet.l3), header_len, "{name}");
        assert_eq!(&frame[packet.l4.into()..packet.end as usize], upper, "{name}");
        assert_eq!(packet.transport == Transport::Fragment, fragment, "{name}");
        assert_eq!(packet.length() as usize, header_len + upper.len(), "{name}");
    }
}

/// The lengths inside a packet are those of the whole one, so that every cut shows; a cut through padding does not.
#[test]
fn every_cut_is_short() {
    for (name, frame) in packets() {
        match parsed(&frame) {
            Ok(Parsed::Ip(whole)) => {
                for length in 0..whole.end as usize {
                    assert_eq!(refused(&frame[..length]), Reason::Short, "{name} cut to {length}");
                }
                for length in whole.end as usize..frame.len() {
                    assert_eq!(
                        line(&crate::packet(&frame[..length])),
                        line(&whole),
                        "{name} cut to {length}"
                    );
                }
            }
            Ok(Parsed::NonIp(whole)) => {
                for length in 0..frame.len() {
                    match parsed(&frame[..length]) {
                        Ok(Parsed::NonIp(cut)) => assert_eq!(cut, whole, "{name} cut to {length}"),
                        Err(reason) => assert_eq!(reason, Reason::Short, "{name} cut to {length}"),
                        Ok(Parsed::Ip(packet)) => panic!("{name} cut to {length} is {packet:?}"),
                    }
                }
            }
            Err(reason) => {
                for length in 0..frame.len() {
                    assert!(
                        [reason, Reason::Short].contains(&refused(&frame[..length])),
                        "{name} to {length}"
                    );
                }
            }
        }
    }
}

/// What is wrong with the headers that a firewall goes by is refused, with the reason of the table. What only the
/// receiver may judge passes.
#[test]
fn every_defect() {
    for (name, frame, error) in malformed() {
        let receivers_business = match name {
            // Checksums of upper layers are verified where they matter: replies, options of rules.
            "tcp checksum" | "udp checksum" | "icmp checksum" | "udp without checksum over ipv6" => true,
            // pf tolerates malformed TCP options.
            _ if name.starts_with("tcp option") || name.starts_with("tcp mss") => true,
            _ if name.starts_with("tcp sack") || name.starts_with("tcp md5") => true,
            // Neighbours and listeners are the host's business; none is forwarded.
            _ if name.starts_with("nd ") || name.starts_with("neighbor ") => true,
            "router advertisement cut" | "redirect cut" | "listener query without group" => true,
            _ if name.starts_with("arp ") => true,
            _ => false,
        };
        match (parsed(&frame), receivers_business) {
            // The corpus's TCP and UDP defects are between ports 0.
            (Err(Reason::Short), true) if name.starts_with("tcp ") || name.starts_with("udp ") => {}
            (Ok(_), true) => {}
            (Err(reason), false) => assert_eq!(reason, engine::parse::reason(error), "{name}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}
