//! IPFIX, read as a collector that knows nothing but RFC 7011 reads it, templates as they come, then records by them; and by
//! nfcapd, which is one.
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and time")]

mod common;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::{EventBatch, EventKind, EventView, ShortageView};
use common::fake::{Fake, state_view};
use common::{Daemon, Folder, wait};
use ruleset::{Direction, PortBlock, Removal, StateView, TupleEnd};
use serde_json::Value;
use wire::{Port, Proto};

/// A field: enterprise (0 for IANA's) and number.
type Element = (u32, u16);

const REVERSE: u32 = 29_305;

/// A record: its template, and the octets of each field.
#[derive(Clone, Debug)]
struct Record {
    template: u16,
    fields: BTreeMap<Element, Vec<u8>>,
}

impl Record {
    fn octets(&self, number: u16) -> &[u8] {
        &self.fields[&(0, number)]
    }

    fn number(&self, element: Element) -> u64 {
        self.fields[&element].iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    fn has(&self, number: u16) -> bool {
        self.fields.contains_key(&(0, number))
    }
}

/// A collector.
struct Collector {
    socket: UdpSocket,
    templates: BTreeMap<u16, Vec<(Element, usize)>>,
    /// Messages that had templates.
    refreshes: u32,
    /// Data records so far.
    records: u32,
}

fn word(bytes: &mut &[u8]) -> u16 {
    let (word, rest) = bytes.split_first_chunk().expect("two octets");
    *bytes = rest;
    u16::from_be_bytes(*word)
}

fn long(bytes: &mut &[u8]) -> u32 {
    u32::from(word(bytes)) << 16 | u32::from(word(bytes))
}

impl Collector {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, templates: BTreeMap::new(), refreshes: 0, records: 0 }
    }

    fn lines(&self) -> String {
        format!("[ipfix]\ncollector = \"{}\"\n", self.socket.local_addr().unwrap())
    }

    /// The records of the next message.
    fn next(&mut self) -> Vec<Record> {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).unwrap();
        self.read(&buffer[..length])
    }

    fn read(&mut self, message: &[u8]) -> Vec<Record> {
        let mut rest = message;
        assert_eq!((word(&mut rest), usize::from(word(&mut rest))), (10, message.len()));
        let (_time, sequence, domain) = (long(&mut rest), long(&mut rest), long(&mut rest));
        assert_eq!((sequence, domain), (self.records, 7), "no record is missing, and each is counted once");
        assert!(message.len() <= 1232, "{} octets", message.len());
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (id, length) = (word(&mut rest), usize::from(word(&mut rest)));
            let (mut set, behind) = rest.split_at(length - 4);
            rest = behind;
            match id {
                2 | 3 => {
                    self.refreshes += 1;
                    self.learn(&mut set, id == 3);
                }
                _ => records.extend(self.data(id, &mut set)),
            }
        }
        self.records += records.len() as u32;
        records
    }

    fn learn(&mut self, set: &mut &[u8], options: bool) {
        while !set.is_empty() {
            let (id, count) = (word(set), word(set));
            if options {
                assert_eq!(word(set), 1, "fields of the scope");
            }
            let field = |_| {
                let (number, length) = (word(set), word(set));
                let enterprise = if number & 0x8000 == 0 { 0 } else { long(set) };
                ((enterprise, number & 0x7fff), usize::from(length))
            };
            self.templates.insert(id, (0..count).map(field).collect());
        }
    }

    fn data(&self, template: u16, set: &mut &[u8]) -> Vec<Record> {
        let fields = self.templates.get(&template).expect("a template that was told of");
        let mut records = Vec::new();
        while !set.is_empty() {
            let mut take = |length: &usize| {
                let (octets, rest) = set.split_at(*length);
                *set = rest;
                octets.to_vec()
            };
            let fields = fields.iter().map(|(element, length)| (*element, take(length))).collect();
            records.push(Record { template, fields });
        }
        records
    }

    /// Records of flows and events, as many as that.
    fn gather(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            records.extend(self.next().into_iter().filter(|record| !record.has(166)));
        }
        assert_eq!(records.len(), count);
        records
    }
}

fn event(event: EventKind, reason: Option<Removal>, state: StateView) -> EventView {
    EventView {
        seconds: 1_700_000_100,
        nanoseconds: 250_000_000,
        worker: 0,
        event,
        reason,
        age_ms: 60_250,
        idle_ms: 10_250,
        state,
        block: None,
    }
}

fn removed(reason: Removal, state: StateView) -> EventView {
    event(EventKind::Removed, Some(reason), state)
}

/// A connection that leaves translated, of which the answers are counted apart.
fn translated() -> StateView {
    let mut state = state_view(0);
    state.direction = Direction::Out;
    state.id = 0x0001_0000_0000_0042;
    state.source.untranslated = Some(state.source.end);
    state.source.end = TupleEnd { address: "198.51.100.1".parse().unwrap(), port: Port(50_000) };
    (state.source.packets, state.source.bytes) = (5, 1000);
    (state.destination.packets, state.destination.bytes) = (4, 70_000);
    state
}

fn six(proto: u8) -> StateView {
    let mut state = state_view(1);
    state.proto = Proto(proto);
    state.source.end.address = "2001:db8::1".parse().unwrap();
    state.destination.end.address = "2001:db8::2".parse().unwrap();
    state
}

fn bed(more: &str) -> (Folder, Fake, Daemon, Collector) {
    let (folder, collector) = (Folder::new(), Collector::new());
    let fake = Fake::start(&folder.path("dataplane.sock"));
    let lines = format!("{}observation_domain = 7\n{more}", collector.lines());
    let daemon = Daemon::start_with(&folder, &lines);
    (folder, fake, daemon, collector)
}

impl Collector {
    fn tell(&mut self, fake: &Fake, events: Vec<EventView>, count: usize) -> Vec<Record> {
        fake.state().events.push(EventBatch { events, ..EventBatch::default() });
        self.gather(count)
    }
}

#[test]
fn a_flow_has_both_directions_times_and_why_it_ended() {
    let (_folder, fake, _daemon, mut collector) = bed("");
    let records = collector.tell(&fake, vec![removed(Removal::Closed, state_view(0))], 1);
    let flow = &records[0];
    assert_eq!((flow.octets(8), flow.octets(12)), (&[10, 0, 0, 0][..], &[192, 0, 2, 1][..]));
    let numbers =
        |elements: &[u16]| elements.iter().map(|number| flow.number((0, *number))).collect::<Vec<_>>();
    // Protocol, ports, octets, packets; direction, the initiator's.
    assert_eq!(numbers(&[4, 7, 11, 1, 2, 61, 239]), [6, 1024, 443, 180, 3, 0, 1]);
    assert_eq!((flow.number((REVERSE, 1)), flow.number((REVERSE, 2))), (180, 3));
    assert_eq!(numbers(&[152, 153, 136]), [1_700_000_040_000, 1_700_000_090_000, 3]);
    assert!(!flow.has(225) && !flow.has(281), "it was not translated");
    // Neither the making nor a change is a flow.
    let made = event(EventKind::Created, None, state_view(2));
    let changed = event(EventKind::Updated, None, state_view(2));
    let ends = [Removal::Expired, Removal::Killed, Removal::Flushed, Removal::Replaced, Removal::Limit];
    let mut events = vec![made, changed];
    events.extend(ends.map(|why| removed(why, state_view(2))));
    let records = collector.tell(&fake, events, 5);
    assert_eq!(records.iter().map(|flow| flow.number((0, 136))).collect::<Vec<_>>(), [1, 4, 4, 4, 5]);
}

#[test]
fn ipv6_and_translation_have_templates_of_their_own() {
    let (_folder, fake, _daemon, mut collector) = bed("");
    let mut back = six(17);
    back.destination.untranslated =
        Some(TupleEnd { address: "2001:db8::ff".parse().unwrap(), port: Port(80) });
    let events = vec![
        event(EventKind::Created, None, translated()),
        removed(Removal::Expired, translated()),
        removed(Removal::Expired, six(58)),
        removed(Removal::Expired, back),
    ];
    let records = collector.tell(&fake, events, 5);
    let [begun, ended, flow, six, back] = &records[..] else { panic!("{records:?}") };
    for (session, nat_event) in [(begun, 4), (ended, 5)] {
        assert_eq!((session.number((0, 230)), session.number((0, 323))), (nat_event, 1_700_000_100_250));
    }
    for record in [begun, ended, flow] {
        assert_eq!((record.octets(8), record.octets(225)), (&[10, 0, 0, 0][..], &[198, 51, 100, 1][..]));
        assert_eq!((record.number((0, 7)), record.number((0, 227))), (1024, 50_000));
        assert_eq!((record.octets(12), record.octets(226)), (&[192, 0, 2, 1][..], &[192, 0, 2, 1][..]));
        assert_eq!((record.number((0, 11)), record.number((0, 228))), (443, 443));
        assert_eq!(record.number((0, 148)), 0x0001_0000_0000_0042);
    }
    assert_eq!((flow.number((0, 1)), flow.number((REVERSE, 1)), flow.number((0, 61))), (1000, 70_000, 1));
    assert!(!six.has(8) && six.octets(27)[..4] == [0x20, 1, 0x0d, 0xb8]);
    assert_eq!((six.number((0, 7)), six.number((0, 11))), (0, 0), "ICMP has no ports");
    assert_eq!((back.octets(28)[15], back.octets(282)[15]), (0xff, 2));
    assert_eq!((back.number((0, 11)), back.number((0, 228))), (80, 443));
    assert_ne!(six.template, back.template);
}

/// A connection that became one of the other family has both of them in its records.
#[test]
fn flows_of_two_families_have_templates_of_their_own() {
    let (_folder, fake, _daemon, mut collector) = bed("");
    let end = |address: &str, port| TupleEnd { address: address.parse().unwrap(), port: Port(port) };
    let crossing = |before: [&str; 2], behind: [&str; 2]| {
        let mut state = state_view(0);
        state.source.untranslated = Some(end(before[0], 1024));
        state.destination.untranslated = Some(end(before[1], 443));
        (state.source.end, state.destination.end) = (end(behind[0], 50_000), end(behind[1], 443));
        state
    };
    let nat64 = crossing(["2001:db8::1", "64:ff9b::1"], ["198.51.100.1", "0.0.0.1"]);
    let nat46 = crossing(["10.0.0.1", "10.0.0.9"], ["2001:db8::1", "2001:db8::9"]);
    let events = vec![
        event(EventKind::Created, None, nat64.clone()),
        removed(Removal::Closed, nat64),
        event(EventKind::Created, None, nat46.clone()),
        removed(Removal::Closed, nat46),
    ];
    let records = collector.tell(&fake, events, 4);
    let [begun, ended, flow, back] = &records[..] else { panic!("{records:?}") };
    for (session, nat_event) in [(begun, 6), (ended, 7)] {
        assert_eq!(session.number((0, 230)), nat_event);
    }
    for record in [begun, ended, flow] {
        assert_eq!((record.octets(27)[15], record.octets(28)[1]), (1, 0x64));
        assert_eq!((record.octets(225), record.octets(226)), (&[198, 51, 100, 1][..], &[0, 0, 0, 1][..]));
        assert_eq!((record.number((0, 7)), record.number((0, 227))), (1024, 50_000));
    }
    assert_eq!(flow.number((0, 136)), 3);
    assert_eq!((back.octets(8), back.octets(12)), (&[10, 0, 0, 1][..], &[10, 0, 0, 9][..]));
    assert_eq!((back.octets(281)[15], back.octets(282)[15]), (1, 9));
    assert!(!back.has(230), "RFC 8158 has no event for that session");
}

fn block() -> PortBlock {
    PortBlock {
        subscriber: "10.0.0.0".parse().unwrap(),
        address: "198.51.100.1".parse().unwrap(),
        first: Port(49_920),
        last: Port(50_431),
    }
}

#[test]
fn a_block_of_ports_is_logged_as_its_first_session_begins_and_its_last_one_ends() {
    let (_folder, fake, _daemon, mut collector) = bed("");
    let mut within = |kind, count| {
        let reason = (kind == EventKind::Removed).then_some(Removal::Expired);
        let one = EventView { block: Some(block()), ..event(kind, reason, translated()) };
        collector.tell(&fake, vec![one; 2], count)
    };
    let logged = |record: &Record| {
        let numbers = [230, 361, 362, 363, 364].map(|element| record.number((0, element)));
        (numbers, record.octets(8).to_vec(), record.octets(225).to_vec())
    };
    let expected =
        |nat_event| ([nat_event, 49_920, 50_431, 1, 512], vec![10, 0, 0, 0], vec![198, 51, 100, 1]);
    let begun = within(EventKind::Created, 1);
    assert_eq!(logged(&begun[0]), expected(16));
    let ended = within(EventKind::Removed, 3);
    let (flows, logs): (Vec<_>, Vec<_>) = ended.iter().partition(|record| record.has(148));
    assert_eq!(
        (flows.len(), logs.iter().map(|record| logged(record)).collect::<Vec<_>>()),
        (2, vec![expected(17)])
    );
    // Sessions that began before anybody counted are logged one by one.
    let late = within(EventKind::Removed, 4);
    assert_eq!(late.iter().filter(|record| record.has(230) && record.number((0, 230)) == 5).count(), 2);
}

#[test]
fn what_has_no_port_left_is_logged() {
    let (_folder, fake, _daemon, mut collector) = bed("");
    let shortage = |block| ShortageView {
        seconds: 1_700_000_100,
        nanoseconds: 250_000_000,
        worker: 0,
        pool: 0x9abc_def0,
        address: "198.51.100.1".parse().unwrap(),
        proto: 17,
        block,
        packets: 3,
    };
    let shortages = vec![shortage(Some(block())), shortage(None)];
    fake.state().events.push(EventBatch { shortages, ..EventBatch::default() });
    let records = collector.gather(2);
    let numbers = |record: &Record, elements: &[u16]| {
        elements.iter().map(|element| record.number((0, *element))).collect::<Vec<_>>()
    };
    // natEvent, natQuotaExceededEvent (of a user), maxEntriesPerUser, protocol.
    assert_eq!(numbers(&records[0], &[323, 230, 466, 473, 4]), [1_700_000_100_250, 13, 3, 512, 17]);
    assert_eq!(records[0].octets(8), [10, 0, 0, 0]);
    assert_eq!(numbers(&records[1], &[323, 230, 283]), [1_700_000_100_250, 3, 0x9abc_def0]);
}

#[test]
fn many_flows_are_many_messages_in_sequence_and_losses_are_told() {
    let (_folder, fake, daemon, mut collector) = bed("template_refresh_s = 1\n");
    let events = |from: u32| (from..from + 200).map(|n| removed(Removal::Expired, state_view(n))).collect();
    for round in 0..5 {
        let records = collector.tell(&fake, events(200 * round), 200);
        let ids: Vec<u64> = records.iter().map(|flow| flow.number((0, 148))).collect();
        let expected: Vec<u64> = (200 * round..200 * round + 200).map(|n| state_view(n).id).collect();
        assert_eq!(ids, expected);
    }
    fake.state().events.push(EventBatch { lost: 9, ..EventBatch::default() });
    let missed = |records: Vec<Record>| {
        records.iter().filter(|record| record.has(166)).map(|record| record.number((0, 166))).max()
    };
    while missed(collector.next()) != Some(9) {}
    assert!(collector.refreshes > 2, "templates come again");
    let records = collector.records;
    wait("the counts", || match daemon.scrape("/metrics").1 {
        text if text.contains("turnpike_ipfix_missed_events_total 9\n")
            && text.contains("turnpike_ipfix_failed_records_total 0\n") =>
        {
            Ok(())
        }
        text => Err(text),
    });
    let text = daemon.scrape("/metrics").1;
    let sent = text.lines().find_map(|line| line.strip_prefix("turnpike_ipfix_records_total ")).unwrap();
    assert!(sent.parse::<u32>().unwrap() >= records, "{sent} of {records}");
}

#[test]
fn without_a_collector_nobody_listens() {
    let folder = Folder::new();
    let fake = Fake::start(&folder.path("dataplane.sock"));
    let daemon = Daemon::start(&folder);
    fake.state().events.push(EventBatch::default());
    daemon.wait_for("the dataplane", |status| status.live.generation() > 0);
    assert_eq!(fake.state().events.len(), 1, "it was fetched by nobody");
    assert!(!daemon.scrape("/metrics").1.contains("ipfix"));
}

/// nfcapd, and what nfdump reads of its files.
struct Nfcapd {
    child: Child,
    folder: PathBuf,
}

impl Nfcapd {
    fn start(folder: &Folder, port: u16) -> Option<Self> {
        let flows = folder.path("flows");
        std::fs::create_dir(&flows).unwrap();
        let mut command = Command::new("nfcapd");
        command.args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "2", "-w"]).arg(&flows);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        // Its socket is there before it reads from it.
        let listens = || UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(()).ok_or_else(String::new);
        wait("nfcapd to listen", listens);
        Some(Self { child, folder: flows })
    }

    /// Flows in the files that it has finished.
    fn flows(&self) -> Vec<Value> {
        let files = std::fs::read_dir(&self.folder).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files
            .filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("nfcapd.2"))
            .collect();
        files.sort();
        let read = |file: PathBuf| {
            let done = Command::new("nfdump")
                .env("TZ", "UTC")
                .arg("-r")
                .arg(file)
                .args(["-o", "json"])
                .output()
                .unwrap();
            serde_json::from_slice::<Vec<Value>>(&done.stdout).unwrap_or_default()
        };
        files.into_iter().flat_map(read).collect()
    }
}

impl Drop for Nfcapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_collector_that_others_wrote_reads_it() {
    let folder = Folder::new();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(nfcapd) = Nfcapd::start(&folder, port) else {
        println!("SKIPPED: nfcapd is not installed (Debian package nfdump)");
        return;
    };
    let fake = Fake::start(&folder.path("dataplane.sock"));
    let _daemon = Daemon::start_with(&folder, &format!("[ipfix]\ncollector = \"127.0.0.1:{port}\"\n"));
    let events = vec![
        event(EventKind::Created, None, translated()),
        removed(Removal::Closed, translated()),
        removed(Removal::Expired, six(17)),
        EventView { block: Some(block()), ..event(EventKind::Created, None, translated()) },
    ];
    fake.state().events.push(EventBatch { events, ..EventBatch::default() });
    let flows = wait("nfcapd to write five records", || {
        let flows = nfcapd.flows();
        if flows.len() < 5 { Err(format!("{flows:#?}")) } else { Ok(flows) }
    });
    let told = |names: &[&str]| -> Vec<String> {
        let word = |flow: &Value, name: &&str| match &flow[*name] {
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        flows
            .iter()
            .map(|flow| names.iter().map(|name| word(flow, name)).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let ends = "10.0.0.0 1024 192.0.2.1 443 198.51.100.1 50000 192.0.2.1 443";
    let names = [
        "src4_addr",
        "src_port",
        "dst4_addr",
        "dst_port",
        "src4_xlt_ip",
        "src_xlt_port",
        "dst4_xlt_ip",
        "dst_xlt_port",
    ];
    assert_eq!(told(&names)[..3], [ends; 3]);
    assert_eq!(told(&["nat_event"])[..2], ["NAT44 session create", "NAT44 session delete"]);
    assert_eq!(told(&["t_event"])[0], "2023-11-14T22:15:00.250");
    let names = ["proto", "direction", "in_packets", "in_bytes", "out_packets", "out_bytes", "first", "last"];
    let times = "2023-11-14T22:14:00.000 2023-11-14T22:14:50.000";
    let expected = [format!("6 1 5 1000 4 70000 {times}"), format!("17 0 3 180 3 180 {times}")];
    assert_eq!(told(&names)[2..4], expected);
    assert_eq!(
        told(&["src6_addr", "src_port", "dst6_addr", "dst_port"])[3],
        "2001:db8::1 1024 2001:db8::2 443"
    );
}
