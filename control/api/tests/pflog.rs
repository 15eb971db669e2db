//! pflog records: their octets, and what tcpdump makes of them.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use api::pflog::{LogEntry, file_header, record};
use ruleset::Direction;

/// An ICMP echo request, as it was on the wire.
const PING: [u8; 28] = [
    0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0x26, 0xda, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0xf7, 0xfd, 0, 1, 0, 1,
];

fn entry() -> LogEntry {
    LogEntry {
        seconds: 1_700_000_000,
        nanoseconds: 123_456_789,
        interface: "wan0".into(),
        direction: Direction::In,
        passed: false,
        reason: 0,
        rule: Some(7),
        anchor: None,
        ruleset: String::new(),
        source: "10.0.0.1".parse().expect("an address"),
        destination: "10.0.0.2".parse().expect("an address"),
        source_port: 0,
        destination_port: 0,
        length: 28,
        bytes: PING.to_vec(),
    }
}

/// An IPv6 datagram without a next header.
fn entry6() -> LogEntry {
    let (source, destination): (IpAddr, IpAddr) =
        ("2001:db8::1".parse().expect("an address"), "2001:db8::2".parse().expect("an address"));
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 59, 64];
    for address in [source, destination] {
        let IpAddr::V6(address) = address else { unreachable!("both are IPv6") };
        bytes.extend(address.octets());
    }
    LogEntry {
        source,
        destination,
        passed: true,
        direction: Direction::Out,
        rule: None,
        anchor: None,
        ruleset: String::new(),
        length: 40,
        bytes,
        ..entry()
    }
}

#[test]
fn a_rule_of_an_anchor_stands_behind_the_call() {
    let record = record(&LogEntry { anchor: Some(4), ruleset: "web".into(), ..entry() });
    let header = &record[16..116];
    assert_eq!(&header[20..36], b"web\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(header[36..44], [0, 0, 0, 4, 0, 0, 0, 7]);
}

#[test]
fn a_record_has_every_field_in_its_place() {
    let record = record(&entry());
    assert_eq!(record.len(), 16 + 100 + 28);
    assert_eq!(record[..4], 1_700_000_000_u32.to_le_bytes());
    assert_eq!(record[4..8], 123_456_u32.to_le_bytes());
    assert_eq!(record[8..12], 128_u32.to_le_bytes());
    let header = &record[16..116];
    assert_eq!(header[..4], [100, 2, 1, 0], "length, family, drop, reason match");
    assert_eq!(&header[4..20], b"wan0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(header[36..44], [0, 0, 0, 7, 255, 255, 255, 255], "rule and no subrule");
    assert_eq!(header[20..36], [0; 16], "no anchor");
    assert_eq!(header[60], 1, "in");
    assert_eq!(header[64..68], [10, 0, 0, 1]);
    assert_eq!(record[116..], PING);
}

#[test]
fn a_long_interface_name_is_cut_and_stays_terminated() {
    let record = record(&LogEntry { interface: "an-interface-with-a-long-name".into(), ..entry() });
    assert_eq!(&record[16 + 4..16 + 20], b"an-interface-wi\0");
}

#[test]
fn tcpdump_reads_both_families() {
    let mut file = file_header().to_vec();
    file.extend(record(&entry()));
    file.extend(record(&entry6()));
    let child = Command::new("tcpdump")
        .args(["-ner", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("SKIPPED: tcpdump is not installed");
        return;
    };
    child.stdin.take().expect("piped").write_all(&file).expect("tcpdump reads");
    let said = child.wait_with_output().expect("tcpdump ends");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        text.contains("rule 7/0(match)")
            && text.contains("block in on wan0: 10.0.0.1 > 10.0.0.2: ICMP echo request"),
        "{text}"
    );
    assert!(text.contains("pass out on wan0: 2001:db8::1 > 2001:db8::2"), "{text}");
}
