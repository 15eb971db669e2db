//! Packets of capture files, sent through a firewall under several rulesets, each with every frame accounted for.
//!
//! Overview: whose address is seen first is inside, whom he speaks to is outside; the firewall stands between them and routes
//! accordingly, so that whatever was captured crosses it. Life cycle: a file is read, played under each of [`RULES`] by one
//! worker and by three, and forgotten. Bounds: a file is in memory as a whole.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};

use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
use engine::{Arrival, Fib, InterfaceId, Parsed, RxChecksum, Source, Tick, Zone, parse};
use ipnet::IpNet;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use pfconf::Interfaces;
use ruleset::{Reason, Ruleset};
use wire::Af;

use crate::firewall::{Firewall, Ledger};
use crate::rng::Rng;
use crate::topology::{address, mac};

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);
/// The station that every packet of a side comes from and goes to.
const STATION: u8 = 2;

/// The longest block of a file that is read.
const BLOCK_MAX: usize = 1 << 20;

/// States that a firewall holds.
const STATES: u32 = 1 << 16;

/// What a capture is played under.
pub const RULES: [&str; 6] = [
    "pass\n",
    "set block-policy return\nblock\npass in on em0\npass out\n",
    "set reassemble no\npass all flags any no state\n",
    "set state-policy if-bound\npass all flags any allow-opts\n",
    "pass all flags any keep state (sloppy)\n",
    "match out on em1 nat-to (em1)\npass all flags any\n",
];

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Since the first one.
    pub after: Tick,
    /// From the Ethernet header on; of other links only the datagram was taken.
    pub frame: Vec<u8>,
}

/// The frames of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Those that could be read.
    pub frames: Vec<Recorded>,
    /// Why there are no more, if the file is at fault.
    pub fault: Option<String>,
    /// A type of link that is not known, whose frames are read as those of Ethernet.
    pub unknown: Option<i32>,
}

/// What a capture says of one of its links.
#[derive(Clone, Copy, Debug)]
struct Captured {
    kind: Linktype,
    /// How finely its times are told.
    ticks_per_second: u64,
}

impl Captured {
    fn time(&self, ticks: u64) -> Tick {
        let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second.max(1));
        Tick(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

const MICROSECONDS: u64 = 1_000_000;
const NANOSECONDS: u64 = 1_000_000_000;

/// What became of a capture under one ruleset.
#[derive(Clone, Debug)]
pub struct Account {
    /// Frames in and out.
    pub ledger: Ledger,
    /// Dropped frames by reason, where there are any.
    pub drops: Vec<(Reason, u64)>,
}

impl Recording {
    /// Reads a pcap or pcapng file.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(file: impl Read) -> Result<Self, String> {
        let mut reader = create_reader(BLOCK_MAX, file).map_err(|_| "no capture".to_owned())?;
        let (mut recording, mut links, mut began) = (Self::default(), Vec::new(), None);
        loop {
            let read = match reader.next() {
                Ok((length, block)) => {
                    recording.enter(&block, &mut links, &mut began);
                    Ok(length)
                }
                Err(error) => {
                    Err((matches!(error, PcapError::Eof), matches!(error, PcapError::Incomplete(_))))
                }
            };
            match read {
                Ok(length) => reader.consume(length),
                Err((true, _)) => return Ok(recording),
                Err((_, true)) if more(&mut *reader) => {}
                Err(_) if reader.data().is_empty() => return Ok(recording),
                Err(_) => {
                    recording.fault = Some(format!("behind frame {}", recording.frames.len()));
                    return Ok(recording);
                }
            }
        }
    }

    /// Takes a packet out of a block, or what it says of a link.
    fn enter(&mut self, block: &PcapBlockOwned<'_>, links: &mut Vec<Captured>, began: &mut Option<Tick>) {
        const ETHERNET: Captured = Captured { kind: Linktype::ETHERNET, ticks_per_second: MICROSECONDS };
        let of = |number: usize| links.get(number).copied().unwrap_or(ETHERNET);
        let (link, at, captured, octets) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let ticks_per_second =
                    if header.is_nanosecond_precision() { NANOSECONDS } else { MICROSECONDS };
                return links.push(Captured { kind: header.network, ticks_per_second });
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => return links.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let ticks_per_second = interface.ts_resolution().unwrap_or(MICROSECONDS);
                return links.push(Captured { kind: interface.linktype, ticks_per_second });
            }
            PcapBlockOwned::Legacy(packet) => {
                let link = of(0);
                let ticks = u64::from(packet.ts_sec) * link.ticks_per_second + u64::from(packet.ts_usec);
                (link, Some(link.time(ticks)), packet.caplen, packet.data)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let link = of(packet.if_id as usize);
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                (link, Some(link.time(ticks)), packet.caplen, packet.data)
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => (of(0), None, packet.origlen, packet.data),
            PcapBlockOwned::NG(_) => return,
        };
        let octets = octets.get(..captured as usize).unwrap_or(octets);
        let after = match at {
            Some(at) => Tick(at.0.saturating_sub(began.get_or_insert(at).0)),
            // What does not say when it came, came with the one before.
            None => self.frames.last().map_or(Tick(0), |before| before.after),
        };
        let frame = framed(link.kind, octets).unwrap_or_else(|| {
            self.unknown = Some(link.kind.0);
            octets.to_vec()
        });
        self.frames.push(Recorded { after, frame });
    }

    /// Plays every frame under a ruleset, by so many workers, and lets all that it left expire.
    ///
    /// # Panics
    /// If a frame is not accounted for, or something is left: see [`Firewall::check_conservation`].
    pub fn play(&self, rules: &str, workers: u16) -> Account {
        let rules: Ruleset =
            pfconf::compile(rules, &Interfaces::default()).unwrap_or_else(|findings| panic!("{findings}"));
        let inside = self.inside();
        let mut firewall = Firewall::new(fib(&inside), workers, STATES, Rng::new(7));
        firewall.load(&rules).expect("rules that the engine takes");
        let mut now = Tick::from_secs(1);
        for Recorded { after, frame } in &self.frames {
            now = now.max(Tick::from_secs(1) + *after);
            let side =
                if source(frame).is_some_and(|host| !inside.contains(&host)) { OUTSIDE } else { INSIDE };
            let mut frame = addressed(frame, side);
            let arrival = Arrival { interface: side, source: Source::Wire };
            let _ = firewall.receive(now, arrival, &mut frame);
            let _ = firewall.pieces();
            firewall.expire_fragments(now);
            firewall.sweep(now, 64);
        }
        firewall.check_conservation();
        settle(&mut firewall, now);
        let drops = Reason::ALL.map(|reason| (reason, firewall.dropped(reason)));
        let drops = drops.into_iter().filter(|(_, count)| *count > 0).collect();
        Account { ledger: *firewall.ledger(), drops }
    }

    /// Every address that spoke before it was spoken to.
    fn inside(&self) -> BTreeSet<Host> {
        let (mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new());
        for (from, to) in self.frames.iter().filter_map(|recorded| ends(&recorded.frame)) {
            if !outside.contains(&from) {
                inside.insert(from);
            }
            if !inside.contains(&to) {
                outside.insert(to);
            }
        }
        inside
    }
}

/// Reads on; false if there is no more, or no room for it.
fn more(reader: &mut dyn PcapReaderIterator) -> bool {
    let before = reader.data().len();
    reader.refill().is_ok() && reader.data().len() > before
}

/// Lets the time of every state and fragment run out.
fn settle(firewall: &mut Firewall, now: Tick) {
    let later = now + Tick::from_secs(200_000);
    // A poll gives up so many datagrams at most.
    for _ in 0..10_000 {
        firewall.expire_fragments(later);
    }
    firewall.expire(later);
    firewall.expire(later);
    firewall.check_conservation();
    let left = |count: &dyn Fn(&engine::Shard) -> u32| firewall.shards().iter().map(count).sum::<u32>();
    assert_eq!(
        (left(&|shard| shard.states()), left(&|shard| shard.fragments())),
        (0, 0),
        "something is left"
    );
}

/// An address and its family.
type Host = std::net::IpAddr;

fn ends(frame: &[u8]) -> Option<(Host, Host)> {
    let Ok(Parsed::Ip(packet)) = parse(frame, Zone(0), RxChecksum::Good) else { return None };
    let host = |address: engine::Address| match packet.tuple.af {
        Af::Inet => Host::from(std::net::Ipv4Addr::from_bits(address.v4())),
        Af::Inet6 => Host::from(std::net::Ipv6Addr::from_bits(address.0)),
    };
    Some((host(packet.tuple.src), host(packet.tuple.dst)))
}

fn source(frame: &[u8]) -> Option<Host> {
    ends(frame).map(|(from, _)| from)
}

/// A frame as the station of a side sends it to the firewall; to a group as it was.
fn addressed(frame: &[u8], side: InterfaceId) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some((to, rest)) = frame.split_first_chunk_mut::<6>() {
        if to[0] & 1 == 0 {
            *to = mac(side, 1).0;
        }
        if let Some(from) = rest.first_chunk_mut::<6>() {
            *from = mac(side, STATION).0;
        }
    }
    frame
}

/// Every host that is inside behind the first interface, and the world behind the second.
fn fib(inside: &BTreeSet<Host>) -> Fib {
    let own = |id, af, prefix| InterfaceAddress::new(address(af, id, 1), prefix);
    let interface = |id: InterfaceId, name: &str| Interface {
        name: name.into(),
        groups: Vec::new(),
        mac: mac(id, 1),
        mtu: 1500,
        addresses: vec![own(id, Af::Inet, 24), own(id, Af::Inet6, 64)],
        zone: Zone(0),
        up: true,
        role: Role::Routed,
    };
    let through = |interface, af| {
        let gateway = Some(address(af, interface, STATION));
        Route::Forward(vec![NextHop { interface, gateway, mtu: None }])
    };
    let entry = |net: IpNet, interface, af| RouteEntry {
        prefix: net.addr(),
        length: net.prefix_len(),
        route: through(interface, af),
    };
    let everything = |text: &str| -> IpNet { text.parse().expect("a network") };
    let mut routes = vec![
        entry(everything("0.0.0.0/0"), OUTSIDE, Af::Inet),
        entry(everything("::/0"), OUTSIDE, Af::Inet6),
    ];
    routes.extend(inside.iter().map(|host| entry(IpNet::from(*host), INSIDE, Af::of(host))));
    let neighbor = |interface, af| Neighbor {
        interface,
        address: address(af, interface, STATION),
        mac: mac(interface, STATION),
    };
    let sides = [INSIDE, OUTSIDE];
    let neighbors = sides.into_iter().flat_map(|side| [Af::Inet, Af::Inet6].map(|af| neighbor(side, af)));
    let interfaces = vec![interface(INSIDE, "em0"), interface(OUTSIDE, "em1")];
    Fib::new(1, interfaces, routes, neighbors)
}

/// A frame of any link as one of Ethernet; `None` if its header is not known.
fn framed(link: Linktype, octets: &[u8]) -> Option<Vec<u8>> {
    /// Octets in front of the datagram: the protocol families of BSD, the cooked headers of Linux.
    const NULL_LEN: usize = 4;
    const COOKED_LEN: usize = 16;
    const COOKED2_LEN: usize = 20;
    const LINUX_SLL2: Linktype = Linktype(276);
    let skipped = match link {
        Linktype::RAW | Linktype(12 | 14) | Linktype::IPV4 | Linktype::IPV6 => 0,
        Linktype::NULL | Linktype::LOOP => NULL_LEN,
        Linktype::LINUX_SLL => COOKED_LEN,
        LINUX_SLL2 => COOKED2_LEN,
        Linktype::ETHERNET => return Some(octets.to_vec()),
        _ => return None,
    };
    let datagram = octets.get(skipped..).unwrap_or_default();
    let ether_type: [u8; 2] =
        if datagram.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
    Some([&[0; 12][..], &ether_type, datagram].concat())
}

/// Everything below a folder that is a file, in order; each folder once, whatever links lead to it.
///
/// # Errors
/// A folder cannot be read.
pub fn files_below(folder: &std::path::Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        if !seen.insert(folder.canonicalize()?) {
            continue;
        }
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.metadata() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                // A link that leads nowhere.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Ok(_) | Err(_) => {}
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}
