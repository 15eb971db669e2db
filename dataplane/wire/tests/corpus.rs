//! The corpus itself: every packet is what its name says, every defect is named.

use std::collections::BTreeSet;

use wire::Error;
use wire::corpus::{Network, Upper, dissect, malformed, packets};

#[test]
fn every_packet_is_accepted() {
    for (name, packet) in packets() {
        if let Err(error) = dissect(&packet) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn every_defect_is_named() {
    for (name, packet, error) in malformed() {
        assert_eq!(dissect(&packet).map(|_| ()), Err(error), "{name}");
    }
}

#[test]
fn names_are_unique() {
    let names: Vec<_> = packets().iter().map(|p| p.0).chain(malformed().iter().map(|p| p.0)).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn every_error_of_parsing_has_a_packet() {
    let errors: Vec<_> = malformed().into_iter().map(|(.., error)| error).collect();
    let parsing = [
        Error::Short,
        Error::Truncated,
        Error::Version,
        Error::HeaderLength,
        Error::BadOffset,
        Error::TotalLength,
        Error::OptionLength,
        Error::HopByHopOrder,
        Error::ExtensionCount,
        Error::RoutingHeader,
        Error::NestedFragment,
        Error::Jumbo,
        Error::ArpFormat,
        Error::Checksum,
        Error::ZeroChecksum,
    ];
    for error in parsing {
        assert!(errors.contains(&error), "no packet for {error:?}");
    }
}

/// A packet is taken apart down to the layer that its name starts with, and not mistaken for another.
#[test]
fn packets_are_what_their_names_say() {
    for (name, packet) in packets() {
        let dissected = dissect(&packet).expect(name);
        let fragment = name.contains(" fragment") && !name.contains("atomic") && !name.starts_with("icmp");
        let expected = match dissected.network {
            Network::Arp(_) => "arp",
            Network::Other(_) => "ethernet",
            Network::Ipv4(.., Upper::Fragment(..)) | Network::Ipv6(.., Upper::Fragment(..)) => {
                assert!(fragment, "{name}: taken for a fragment");
                continue;
            }
            Network::Ipv4(.., Upper::Tcp(_)) => "tcp",
            Network::Ipv4(.., Upper::Icmp4(..)) => "icmp",
            Network::Ipv6(.., Upper::Icmp6(..) | Upper::Nd(_)) => "icmp6",
            Network::Ipv4(.., Upper::Udp(_)) if name.starts_with("ethernet") => "ethernet",
            Network::Ipv4(.., Upper::Udp(_)) if name.starts_with("udp") => "udp",
            Network::Ipv6(.., Upper::Udp(_)) if name.starts_with("udp") => "udp",
            Network::Ipv6(.., Upper::Tcp(_)) if name.starts_with("tcp") => "tcp",
            Network::Ipv4(..) => "ipv4",
            Network::Ipv6(..) => "ipv6",
        };
        assert!(!fragment, "{name}: not taken for a fragment");
        assert_eq!(name.split_once(',').expect("a kind").0, expected, "{name}");
    }
}
