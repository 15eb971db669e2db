//! From text to a [`Config`]: syntax by the toml crate, names and ranges by the schema, sense by what follows.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::bridge::bridges;
use super::fault::Misfit;
use super::schema::{BRIDGE, CONTROL, DATAPLANE, IPFIX, Key, PORT, SECTIONS, Section};
use super::span::span;
use super::{
    Config, DEVICES_MAX, Dataplane, Hugepages, Idle, Interface, MTU_RANGE, Mode, NAME_BYTES, PORTS_MAX, Port,
    VLAN_RANGE, WORKERS_MAX,
};
use crate::memory::LINK_HEADER_MAX;

/// Reads the whole text.
pub(super) fn document(text: &str) -> Result<Config, Misfit> {
    let root = DeTable::parse(text).map_err(|error| Misfit {
        span: error.span(),
        what: error.message().replace('\n', ", "),
        fix: "see toml.io for the syntax".into(),
    })?;
    let root = root.get_ref();
    known_names(root, "a section of turnpike.toml", SECTIONS.iter().map(|section| section.name))?;
    let dataplane = match root.get(DATAPLANE.name) {
        Some(value) => dataplane(&Fields::of(DATAPLANE, value)?)?,
        None => dataplane(&Fields::absent(DATAPLANE))?,
    };
    if let Some(value) = root.get(CONTROL.name) {
        check_control(&Fields::of(CONTROL, value)?)?;
    }
    if let Some(value) = root.get(IPFIX.name) {
        check_address(&Fields::of(IPFIX, value)?, "collector")?;
    }
    let (ports, modes) = ports(root.get(PORT.name), dataplane.workers())?;
    let bridges = bridges(root.get(BRIDGE.name), &ports, &modes)?;
    Ok(Config { dataplane, ports, bridges })
}

/// Refuses keys that are none of `names`, with the nearest one that is.
fn known_names(
    table: &DeTable<'_>,
    of: &str,
    names: impl Iterator<Item = &'static str> + Clone,
) -> Result<(), Misfit> {
    let unknown =
        table.iter().map(|(key, _)| key).find(|key| names.clone().all(|name| name != key.get_ref()));
    let Some(key) = unknown else { return Ok(()) };
    let written: &str = key.get_ref();
    let nearest = names.clone().max_by(|a, b| {
        let nearness = |name: &str| strsim::jaro_winkler(name, written);
        nearness(a).total_cmp(&nearness(b))
    });
    let fix = match nearest {
        Some(name) if strsim::jaro_winkler(name, written) > 0.7 => format!("did you mean `{name}`?"),
        _ => format!("write one of {}", names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    Err(Misfit::new(key.span(), format!("`{written}` is not {of}"), fix))
}

/// The fields of one section, by their schema.
pub(super) struct Fields<'a> {
    section: Section,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(section: Section, value: &'a Spanned<DeValue<'a>>) -> Result<Self, Misfit> {
        let heading = section.heading();
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("`{}` is not a section", section.name);
            return Err(Misfit::new(value.span(), what, format!("write it as {heading}")));
        };
        known_names(table, &format!("a key of {heading}"), section.keys.iter().map(|key| key.name))?;
        Ok(Self { section, table: Some(table), span: value.span() })
    }

    /// A section that the file leaves out.
    fn absent(section: Section) -> Self {
        Self { section, table: None, span: 0..0 }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section
            .keys
            .iter()
            .find(|key| key.name == name)
            .expect("the decoder asks for keys of the schema")
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let key = self.key(name);
        self.table.and_then(|table| table.get(key.name))
    }

    /// A value that is not what its key's form says.
    pub(super) fn misfit(&self, name: &str, span: Range<usize>, found: &str) -> Misfit {
        Misfit::new(span, format!("`{name}` is {found}"), format!("it must be {}", self.key(name).form))
    }

    /// The value of a key, if it is there.
    pub(super) fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<Spanned<T>>, Misfit> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(decoded) => Ok(Some(Spanned::new(value.span(), decoded))),
            Err(_) => Err(self.misfit(name, value.span(), &describe(value.get_ref()))),
        }
    }

    /// The value of a key that has no default.
    pub(super) fn require<T: Deserialize<'a>>(&self, name: &str) -> Result<Spanned<T>, Misfit> {
        self.get(name)?.ok_or_else(|| {
            let what = format!("{} without `{name}`", self.section.heading());
            Misfit::new(self.span.clone(), what, format!("add it: {}", self.key(name).form))
        })
    }

    /// A number within bounds.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<u32>, default: u32) -> Result<u32, Misfit> {
        match self.get::<i64>(name)? {
            None => Ok(default),
            Some(value) => match u32::try_from(*value.get_ref()).ok().filter(|number| range.contains(number))
            {
                Some(number) => Ok(number),
                None => Err(self.misfit(name, value.span(), &value.get_ref().to_string())),
            },
        }
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T) -> Result<T, Misfit> {
        match self.get::<String>(name)? {
            None => Ok(default),
            Some(value) => match words.iter().find(|(word, _)| word == value.get_ref()) {
                Some((_, meaning)) => Ok(*meaning),
                None => Err(self.misfit(name, value.span(), &format!("{:?}", value.get_ref()))),
            },
        }
    }
}

/// A value as an error shows it.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        other => format!("of type {}", other.type_str()),
    }
}

fn dataplane(fields: &Fields<'_>) -> Result<Dataplane, Misfit> {
    const IDLE: [(&str, Idle); 3] =
        [("poll", Idle::Poll), ("adaptive", Idle::Adaptive), ("interrupt", Idle::Interrupt)];
    const HUGEPAGES: [(&str, Hugepages); 3] =
        [("auto", Hugepages::Auto), ("require", Hugepages::Require), ("off", Hugepages::Off)];

    Ok(Dataplane {
        lcores: lcores(fields)?,
        memory_mib: fields.number("memory_mib", 64..=1 << 20, 256)?,
        hugepages: fields.word("hugepages", &HUGEPAGES, Hugepages::Auto)?,
        idle: fields.word("idle", &IDLE, Idle::Poll)?,
        max_connections: fields.number("max_connections", 1024..=1 << 30, 1 << 17)?,
        user: user(fields)?,
    })
}

fn user(fields: &Fields<'_>) -> Result<Option<String>, Misfit> {
    let Some(user) = fields.get::<String>("user")? else { return Ok(None) };
    if matches!(user.get_ref().as_str(), "" | "root") {
        return Err(fields.misfit("user", user.span(), &format!("{:?}", user.get_ref())));
    }
    Ok(Some(user.into_inner()))
}

fn lcores(fields: &Fields<'_>) -> Result<Option<Vec<u16>>, Misfit> {
    let Some(lcores) = fields.get::<Vec<u16>>("lcores")? else { return Ok(None) };
    let cpus = lcores.get_ref();
    if cpus.is_empty() {
        return Err(fields.misfit("lcores", lcores.span(), "empty"));
    }
    if cpus.len() > WORKERS_MAX {
        let what = format!("`lcores` names {} CPUs", cpus.len());
        return Err(Misfit::new(lcores.span(), what, format!("{WORKERS_MAX} workers are possible")));
    }
    if let Some(twice) = (1..cpus.len()).find(|at| cpus[..*at].contains(&cpus[*at])) {
        let what = format!("`lcores` names CPU {} twice", cpus[twice]);
        return Err(Misfit::new(lcores.span(), what, "name each once: a worker never leaves its CPU"));
    }
    Ok(Some(lcores.into_inner()))
}

fn check_control(fields: &Fields<'_>) -> Result<(), Misfit> {
    check_address(fields, "metrics_listen")?;
    fields.get::<String>("log")?;
    fields.number("revisions_kept", 1..=10_000, 100)?;
    Ok(())
}

/// Refuses what is no address and port.
fn check_address(fields: &Fields<'_>, name: &str) -> Result<(), Misfit> {
    match fields.get::<String>(name)? {
        Some(address) if address.get_ref().parse::<SocketAddr>().is_err() => {
            Err(fields.misfit(name, address.span(), &format!("{:?}", address.get_ref())))
        }
        _ => Ok(()),
    }
}

/// The entries of a section that may appear many times.
pub(super) fn sections<'a>(
    section: Section,
    value: &'a Spanned<DeValue<'a>>,
) -> Result<&'a [Spanned<DeValue<'a>>], Misfit> {
    value.get_ref().as_array().map(|entries| &entries[..]).ok_or_else(|| {
        let what = format!("`{}` is not a list of sections", section.name);
        Misfit::new(value.span(), what, format!("write it as {}", section.heading()))
    })
}

/// The ports, and where the mode of each stands.
fn ports(
    value: Option<&Spanned<DeValue<'_>>>,
    workers: u16,
) -> Result<(Vec<Port>, Vec<Range<usize>>), Misfit> {
    let Some(value) = value else {
        return Err(Misfit {
            span: None,
            what: "no [[port]]".into(),
            fix: "add at least one, with `name` and `device`".into(),
        });
    };
    let entries = sections(PORT, value)?;
    if entries.is_empty() || entries.len() > PORTS_MAX {
        let what = format!("{} ports", entries.len());
        return Err(Misfit::new(value.span(), what, format!("1 to {PORTS_MAX} are possible")));
    }
    let mut ports: Vec<Port> = Vec::with_capacity(entries.len());
    let mut modes = Vec::with_capacity(entries.len());
    for entry in entries {
        let fields = Fields::of(PORT, entry)?;
        let port = port(&fields, workers)?;
        refuse_twin(&fields, &ports, &port)?;
        ports.push(port);
        modes.push(fields.value("mode").map_or(0..0, Spanned::span));
    }
    refuse_too_many_devices(value.span(), &ports, workers)?;
    Ok((ports, modes))
}

fn port(fields: &Fields<'_>, workers: u16) -> Result<Port, Misfit> {
    const MODES: [(&str, Mode); 3] =
        [("routed", Mode::Routed), ("bridge", Mode::Bridge), ("span", Mode::Span)];

    let name = fields.require::<String>("name")?;
    if !is_interface_name(name.get_ref()) {
        return Err(fields.misfit("name", name.span(), &format!("{:?}", name.get_ref())));
    }
    let mode = fields.word("mode", &MODES, Mode::Routed)?;
    let span = span(fields, mode, workers)?;
    let device = match span.tunnel {
        // Nothing is sent to it: copies leave along the route to the collector.
        Some(_) => Spanned::new(name.span(), format!("net_null_{}", name.get_ref())),
        None => fields.require::<String>("device")?,
    };
    let Ok(parsed) = device.get_ref().parse() else {
        return Err(fields.misfit("device", device.span(), &format!("{:?}", device.get_ref())));
    };
    let mtu = fields.number("mtu", u32::from(MTU_RANGE.0)..=u32::from(MTU_RANGE.1), 1500)?;
    let vlans = vlans(fields, name.get_ref(), mode)?;
    let mut port =
        Port { name: name.into_inner(), device: parsed, mode, mtu: mtu as u16, queues: None, vlans, span };
    port.queues = queues(fields, &port, workers)?;
    refuse_pairs_without_worker(&port, device.span(), workers)?;
    refuse_short_ring(&port, device.span())?;
    Ok(port)
}

fn vlans(fields: &Fields<'_>, port: &str, mode: Mode) -> Result<Vec<u16>, Misfit> {
    let Some(vlans) = fields.get::<Vec<u16>>("vlans")? else { return Ok(Vec::new()) };
    let numbers = vlans.get_ref();
    if mode != Mode::Routed && !numbers.is_empty() {
        let what = "`vlans` of a port that is not routed";
        return Err(Misfit::new(vlans.span(), what, "leave it out: tags stay in the frames of such a port"));
    }
    if let Some(wrong) = numbers.iter().find(|vlan| !(VLAN_RANGE.0..=VLAN_RANGE.1).contains(vlan)) {
        return Err(fields.misfit("vlans", vlans.span(), &format!("a list with {wrong}")));
    }
    if let Some(twice) = (1..numbers.len()).find(|at| numbers[..*at].contains(&numbers[*at])) {
        let what = format!("`vlans` names {} twice", numbers[twice]);
        return Err(Misfit::new(vlans.span(), what, "name each once"));
    }
    let name = |vlan: &u16| format!("{port}.{vlan}");
    if let Some(long) = numbers.iter().map(name).find(|name| name.len() > NAME_BYTES) {
        let what = format!("the interface {long:?} would have a name of {} bytes", long.len());
        let fix = format!("give the port a shorter name: {NAME_BYTES} are possible");
        return Err(Misfit::new(vlans.span(), what, fix));
    }
    Ok(vlans.into_inner())
}

fn queues(fields: &Fields<'_>, port: &Port, workers: u16) -> Result<Option<u16>, Misfit> {
    let Some(value) = fields.value("queues") else { return Ok(None) };
    let queues = fields.number("queues", 1..=u32::from(u16::MAX), 1)? as u16;
    let count = |number: u16| format!("{number} worker{}", if number == 1 { "" } else { "s" });
    if queues > workers {
        return Err(fields.misfit("queues", value.span(), &format!("{queues} with {}", count(workers))));
    }
    if queues < workers && port.has_pairs() {
        let what = format!("`queues` is {queues} with {}", count(workers));
        return Err(Misfit::new(value.span(), what, "leave it out: this driver has a queue for each worker"));
    }
    Ok(Some(queues))
}

/// `net_af_packet` makes its queues when it is attached, and spreads frames over all of them, also those that nobody
/// would look at. `net_af_xdp` has a device for each worker.
fn refuse_pairs_without_worker(port: &Port, span: Range<usize>, workers: u16) -> Result<(), Misfit> {
    if port.is_af_xdp()
        && workers > 1
        && let Some(key) = ["start_queue", "queue_count"].into_iter().find(|key| port.argument(key).is_some())
    {
        let what = format!("the device has {key}, and there are {workers} workers");
        return Err(Misfit::new(span, what, "leave it out: each worker gets a queue of its own"));
    }
    if !port.device.name().starts_with("net_af_packet") {
        return Ok(());
    }
    let written = port.argument("qpairs");
    if written.unwrap_or("1") == workers.to_string() {
        return Ok(());
    }
    let what = match written {
        Some(pairs) => format!("the device has qpairs={pairs}, and there are {workers} workers"),
        None => format!("the device has one queue pair, and there are {workers} workers"),
    };
    Err(Misfit::new(span, what, format!("write qpairs={workers} among its arguments")))
}

/// The longest frame of a ring of `net_af_packet`: a buffer of packets must hold one.
const RING_FRAME_MAX: u32 = 1 << 15;
/// The driver's own.
const RING_FRAME_DEFAULT: u32 = 1 << 11;
/// What the kernel puts in front of a frame in such a ring, alignment included (packet(7), TPACKET_V2).
const RING_FRAME_HEADER: u32 = 80;

/// `net_af_packet` copies through a ring, and cuts or loses in silence what does not fit there.
fn refuse_short_ring(port: &Port, span: Range<usize>) -> Result<(), Misfit> {
    if !port.device.name().starts_with("net_af_packet") {
        return Ok(());
    }
    let written = port.argument("framesz");
    let frame = written.map_or(Some(RING_FRAME_DEFAULT), |bytes| bytes.parse().ok());
    let needed = u32::from(port.mtu + LINK_HEADER_MAX) + RING_FRAME_HEADER;
    let Some(frame) = frame.filter(|frame| *frame <= RING_FRAME_MAX) else {
        let what = format!("the device has framesz={}", written.unwrap_or_default());
        return Err(Misfit::new(
            span,
            what,
            format!("it must be a number of bytes, at most {RING_FRAME_MAX}"),
        ));
    };
    if frame >= needed {
        return Ok(());
    }
    let what = format!("the device has a ring for frames of {frame} bytes, and `mtu` is {}", port.mtu);
    let wide = needed.next_power_of_two();
    let fix = format!("write framesz={wide},blocksz={} among its arguments", wide * 4);
    Err(Misfit::new(span, what, fix))
}

/// Names that mean something else to pf.conf or to the kernel.
const RESERVED: [&str; 5] = ["all", "any", "default", "lo", "self"];

pub(super) fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= NAME_BYTES
        && name.bytes().all(plain)
        && !RESERVED.contains(&name)
}

fn refuse_twin(fields: &Fields<'_>, ports: &[Port], port: &Port) -> Result<(), Misfit> {
    let span = |key: &str| fields.value(key).map_or(0..0, Spanned::span);
    if ports.iter().any(|other| other.name == port.name) {
        let what = format!("two ports have the name {:?}", port.name);
        return Err(Misfit::new(span("name"), what, "give each its own"));
    }
    let taken = |name: &String| ports.iter().flat_map(Port::interfaces).any(|other| other.name == *name);
    if let Some(name) = port.interfaces().map(|interface| interface.name).find(taken) {
        let what = format!("a port and a VLAN both have the name {name:?}");
        return Err(Misfit::new(span("name"), what, "give the port another name"));
    }
    if let Some(other) = ports.iter().find(|other| other.device.name() == port.device.name()) {
        let what = format!(
            "the ports {:?} and {:?} have the same device {}",
            other.name,
            port.name,
            port.device.name()
        );
        return Err(Misfit::new(span("device"), what, "give each its own"));
    }
    let own_netdev = |own: &Interface<'_>| port.kernel_netdev() == Some(own.name.as_str());
    if port.is_hosted()
        && let Some(same) = port.interfaces().find(own_netdev)
    {
        let what = format!(
            "the host interface {:?} would have the name of the kernel device behind the port",
            same.name
        );
        return Err(Misfit::new(span("name"), what, "give the port another name"));
    }
    Ok(())
}

fn refuse_too_many_devices(span: Range<usize>, ports: &[Port], workers: u16) -> Result<(), Misfit> {
    let of = |port: &Port| usize::from(port.device_count(workers)) + port.host_interfaces().count();
    let devices = ports.iter().map(of).sum::<usize>();
    if devices <= DEVICES_MAX {
        return Ok(());
    }
    let what = format!("the ports and the host interfaces of ports and VLANs are {devices} DPDK devices");
    Err(Misfit::new(span, what, format!("{DEVICES_MAX} are possible: leave some out")))
}
