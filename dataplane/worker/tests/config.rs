//! turnpike.toml: files that say something, and files that say something wrong.

use std::path::Path;

use engine::fib::NonIpPolicy;
use worker::config::{self, Bridge, Carrier, Config, Hugepages, Idle, SECTIONS};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("t.toml"), text).map_err(|fault| fault.to_string())
}

const PORT: &str = "[[port]]\nname = \"wan0\"\ndevice = \"net_tap0,iface=tp0\"\n";

#[test]
fn one_port_is_enough() {
    let config = parse(PORT).unwrap();
    let [port] = &config.ports[..] else { panic!("{config:?}") };
    assert_eq!((port.name.as_str(), port.mtu), ("wan0", 1500));
    assert_eq!(port.device.to_string(), "net_tap0,iface=tp0");
    assert_eq!(config.dataplane.lcores, None);
    assert_eq!(config.dataplane.memory_mib, 256);
    assert_eq!(config.dataplane.hugepages, Hugepages::Auto);
    assert_eq!(config.dataplane.idle, Idle::Poll);
    assert_eq!(config.dataplane.max_connections, 131_072);
}

#[test]
fn af_xdp_has_a_device_for_each_worker() {
    let of = |lcores: &str, more: &str| {
        parse(&format!(
            "[dataplane]\nlcores = {lcores}\n[[port]]\nname = \"wan0\"\ndevice = \"net_af_xdp0,iface=eth1{more}\n"
        ))
    };
    let port = |lcores: &str, more: &str| of(lcores, more).unwrap().ports.remove(0);
    let told = |port: &config::Port, workers: u16| -> Vec<String> {
        port.devices(workers).unwrap().iter().map(ToString::to_string).collect()
    };
    let one = port("[1]", ",start_queue=3\"");
    assert_eq!(one.kernel_netdev(), Some("eth1"));
    assert_eq!(told(&one, 1), ["net_af_xdp0,iface=eth1,start_queue=3"]);
    let two = port("[0, 1]", "\"\nqueues = 2");
    assert_eq!(
        told(&two, 2),
        [
            "net_af_xdp0_queue0,iface=eth1,start_queue=0,queue_count=1",
            "net_af_xdp0_queue1,iface=eth1,start_queue=1,queue_count=1",
        ]
    );
    for (more, refusal) in [
        (",start_queue=1\"", "the device has start_queue, and there are 2 workers"),
        (",queue_count=2\"", "leave it out: each worker gets a queue of its own"),
        ("\"\nqueues = 1", "leave it out: this driver has a queue for each worker"),
    ] {
        let refused = of("[0, 1]", more).unwrap_err();
        assert!(refused.contains(refusal), "{refused}");
    }
    let tap =
        parse("[dataplane]\nlcores = [0, 1]\n[[port]]\nname = \"wan0\"\ndevice = \"net_tap0,iface=eth1\"\n");
    assert_eq!(told(&tap.unwrap().ports[0], 2), ["net_tap0,iface=eth1"]);
}

#[test]
fn everything_can_be_said() {
    let config = parse(
        r#"
        [dataplane]
        lcores = [3]
        memory_mib = 1024
        hugepages = "require"
        idle = "adaptive"
        max_connections = 2_000_000

        [[port]]
        name = "wan0"
        device = "0000:01:00.0"
        mode = "routed"
        mtu = 9000
        queues = 1
        vlans = [10, 4094]

        [[port]]
        name = "lan0"
        device = "net_af_packet0,iface=eth1,qpairs=1"

        [control]
        metrics_listen = "[::1]:9190"
        log = "info"
        revisions_kept = 10

        [ipfix]
        collector = "192.0.2.9:4739"
        "#,
    )
    .unwrap();
    assert_eq!(config.dataplane.lcores, Some(vec![3]));
    assert_eq!(config.dataplane.hugepages, Hugepages::Require);
    assert_eq!(config.dataplane.idle, Idle::Adaptive);
    assert_eq!(config.dataplane.max_connections, 2_000_000);
    assert_eq!(config.ports[0].mtu, 9000);
    assert_eq!(config.ports[0].kernel_netdev(), None);
    let interfaces: Vec<_> = config.interfaces().map(|interface| (interface.name, interface.vlan)).collect();
    let expected = [("wan0", None), ("wan0.10", Some(10)), ("wan0.4094", Some(4094)), ("lan0", None)];
    assert_eq!(interfaces, expected.map(|(name, vlan)| (name.to_owned(), vlan)));
    assert_eq!(config.ports[1].kernel_netdev(), Some("eth1"));
    assert_eq!(config.ports[1].argument("qpairs"), Some("1"));
    assert_eq!(config.ports[1].argument("none"), None);
}

/// Four ports of mode bridge, a to d, and a routed one; what is appended starts at line 21.
fn bridge_ports() -> String {
    let port = |name: &str, mode: &str| {
        format!("[[port]]\nname = {name:?}\ndevice = \"net_null_{name}\"\nmode = {mode:?}\n")
    };
    ["a", "b", "c", "d"].map(|name| port(name, "bridge")).concat() + &port("wan0", "routed")
}

#[test]
fn pairs_of_ports_are_bridges() {
    let text = bridge_ports()
        + "[[bridge]]\nname = \"br0\"\nports = [\"d\", \"a\"]\nnon_ip = \"block\"\n\
           [[bridge]]\nname = \"br1\"\nports = [\"b\", \"c\"]\n";
    let config = parse(&text).unwrap();
    let bridge = |name: &str, ports, non_ip| Bridge { name: name.into(), ports, non_ip };
    assert_eq!(
        config.bridges,
        [bridge("br0", [3, 0], NonIpPolicy::Block), bridge("br1", [1, 2], NonIpPolicy::Pass)]
    );
    let peers: Vec<_> =
        (0..5).map(|port| config.bridge_of(port).map(|(bridge, peer)| (&bridge.name[..], peer))).collect();
    assert_eq!(peers, [Some(("br0", 3)), Some(("br1", 2)), Some(("br1", 1)), Some(("br0", 0)), None]);
    let hosted: Vec<bool> = config.ports.iter().map(config::Port::is_hosted).collect();
    assert_eq!(hosted, [false, false, false, false, true]);
}

/// A port of a pair has no host interface whose name could be taken.
#[test]
fn a_port_of_a_pair_may_be_called_as_its_kernel_device() {
    let port = |name: &str, number: u8| {
        format!(
            "[[port]]\nname = {name:?}\ndevice = \"net_af_packet{number},iface={name}\"\nmode = \"bridge\"\n"
        )
    };
    let text =
        port("eth1", 0) + &port("eth2", 1) + "[[bridge]]\nname = \"br0\"\nports = [\"eth1\", \"eth2\"]\n";
    assert!(parse(&text).is_ok());
}

#[test]
fn faults_of_bridges_say_where_what_and_how() {
    let with = |lines: &str| {
        let rest = "\n[[bridge]]\nname = \"rest\"\nports = [\"c\", \"d\"]\n";
        format!("{}[[bridge]]\n{lines}{rest}", bridge_ports())
    };
    let cases = [
        (
            bridge_ports(),
            "t.toml:4:8: the port \"a\" is of mode \"bridge\" and in no [[bridge]]; add one with ports = [\"a\", …], or make the port routed",
        ),
        (
            bridge_ports() + "[bridge]\nname = \"br0\"",
            "t.toml:21:1: `bridge` is not a list of sections; write it as [[bridge]]",
        ),
        (
            with("ports = [\"a\", \"b\"]"),
            "t.toml:21:1: [[bridge]] without `name`; add it: a name of 1 to 15 letters, digits, '-', '_' and '.', starting with a letter",
        ),
        (
            with("name = \"br0\""),
            "t.toml:21:1: [[bridge]] without `ports`; add it: a list of two different ports of mode \"bridge\"",
        ),
        (
            with("name = \"all\"\nports = [\"a\", \"b\"]"),
            "t.toml:22:8: `name` is \"all\"; it must be a name of 1 to 15 letters, digits, '-', '_' and '.', starting with a letter",
        ),
        (
            with("name = \"wan0\"\nports = [\"a\", \"b\"]"),
            "t.toml:22:8: another interface or bridge has the name \"wan0\"; give each its own",
        ),
        (
            with("name = \"br0\"\nports = [\"a\"]"),
            "t.toml:23:9: `ports` is a list of 1; it must be a list of two different ports of mode \"bridge\"",
        ),
        (
            with("name = \"br0\"\nports = [\"a\", \"b\", \"c\"]"),
            "t.toml:23:9: `ports` is a list of 3; it must be a list of two different ports of mode \"bridge\"",
        ),
        (
            with("name = \"br0\"\nports = \"a\""),
            "t.toml:23:9: `ports` is \"a\"; it must be a list of two different ports of mode \"bridge\"",
        ),
        (
            with("name = \"br0\"\nports = [\"a\", \"a\"]"),
            "t.toml:23:9: `ports` names \"a\" twice; a pair is two different ports",
        ),
        (
            with("name = \"br0\"\nports = [\"a\", \"x\"]"),
            "t.toml:23:9: there is no port \"x\"; name two of the [[port]] sections",
        ),
        (
            with("name = \"br0\"\nports = [\"a\", \"wan0\"]"),
            "t.toml:23:9: the port \"wan0\" is not of mode \"bridge\"; write mode = \"bridge\" there",
        ),
        (
            with("name = \"br0\"\nports = [\"c\", \"b\"]"),
            "t.toml:26:9: the port \"c\" is in \"br0\" already; a port is in one pair",
        ),
        (
            with("name = \"rest\"\nports = [\"a\", \"b\"]"),
            "t.toml:25:8: another interface or bridge has the name \"rest\"; give each its own",
        ),
        (
            with("name = \"br0\"\nports = [\"a\", \"b\"]\nnon_ip = \"drop\""),
            "t.toml:24:10: `non_ip` is \"drop\"; it must be \"pass\" or \"block\"",
        ),
        (
            with("name = \"br0\"\nport = [\"a\", \"b\"]"),
            "t.toml:23:1: `port` is not a key of [[bridge]]; did you mean `ports`?",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(parse(&text).unwrap_err(), message, "of:\n{text}");
    }
}

/// Each broken file with the whole message.
#[test]
fn faults_say_where_what_and_how() {
    let port = |lines: &str| format!("{PORT}{lines}");
    let dataplane = |line: &str| format!("[dataplane]\n{line}\n{PORT}");
    let cases = [
        (String::new(), "t.toml: no [[port]]; add at least one, with `name` and `device`"),
        ("port = []".into(), "t.toml:1:8: 0 ports; 1 to 256 are possible"),
        ("[port]\nname = \"a\"".into(), "t.toml:1:1: `port` is not a list of sections; write it as [[port]]"),
        ("[[dataplane]]".into(), "t.toml:1:1: `dataplane` is not a section; write it as [dataplane]"),
        (
            "[datapalne]".into(),
            "t.toml:1:2: `datapalne` is not a section of turnpike.toml; did you mean `dataplane`?",
        ),
        (
            "[[zzz]]".into(),
            "t.toml:1:3: `zzz` is not a section of turnpike.toml; write one of `dataplane`, `port`, `control`, `ipfix`, `bridge`",
        ),
        (port("deivce = \"x\""), "t.toml:4:1: `deivce` is not a key of [[port]]; did you mean `device`?"),
        (
            "[[port]]\nname = \"wan0\"".into(),
            "t.toml:1:1: [[port]] without `device`; add it: a PCI address (\"0000:01:00.0\") or a virtual device (\"net_tap0,iface=tp0\")",
        ),
        (
            "[[port]]\nname = \"wan0\"\ndevice = \"eth0\"".into(),
            "t.toml:3:10: `device` is \"eth0\"; it must be a PCI address (\"0000:01:00.0\") or a virtual device (\"net_tap0,iface=tp0\")",
        ),
        (
            "[[port]]\nname = \"sixteen-bytes-xx\"\ndevice = \"net_null0\"".into(),
            "t.toml:2:8: `name` is \"sixteen-bytes-xx\"; it must be an interface name of 1 to 15 letters, digits, '-', '_' and '.', starting with a letter",
        ),
        (
            "[[port]]\nname = \"any\"\ndevice = \"net_null0\"".into(),
            "t.toml:2:8: `name` is \"any\"; it must be an interface name of 1 to 15 letters, digits, '-', '_' and '.', starting with a letter",
        ),
        (
            port("mtu = 1279"),
            "t.toml:4:7: `mtu` is 1279; it must be the largest IP datagram in bytes, 1280 to 9600",
        ),
        (
            port("mtu = 9601"),
            "t.toml:4:7: `mtu` is 9601; it must be the largest IP datagram in bytes, 1280 to 9600",
        ),
        (
            port("mtu = \"big\""),
            "t.toml:4:7: `mtu` is \"big\"; it must be the largest IP datagram in bytes, 1280 to 9600",
        ),
        (
            port("mode = \"span\"\nvlans = [10]"),
            "t.toml:5:9: `vlans` of a port that is not routed; leave it out: tags stay in the frames of such a port",
        ),
        (
            port("mode = \"nat\""),
            "t.toml:4:8: `mode` is \"nat\"; it must be \"routed\", \"bridge\" or \"span\"",
        ),
        (
            port("mode = \"bridge\"\nvlans = [10]"),
            "t.toml:5:9: `vlans` of a port that is not routed; leave it out: tags stay in the frames of such a port",
        ),
        (
            port("vlans = [10, 4095]"),
            "t.toml:4:9: `vlans` is a list with 4095; it must be a list of different VLAN numbers, 1 to 4094, as [10, 20]",
        ),
        (
            port("vlans = [0]"),
            "t.toml:4:9: `vlans` is a list with 0; it must be a list of different VLAN numbers, 1 to 4094, as [10, 20]",
        ),
        (
            port("vlans = 10"),
            "t.toml:4:9: `vlans` is 10; it must be a list of different VLAN numbers, 1 to 4094, as [10, 20]",
        ),
        (port("vlans = [10, 20, 10]"), "t.toml:4:9: `vlans` names 10 twice; name each once"),
        (
            "[[port]]\nname = \"long-name-0\"\ndevice = \"net_null0\"\nvlans = [100, 1000]".into(),
            "t.toml:4:9: the interface \"long-name-0.1000\" would have a name of 16 bytes; give the port a shorter name: 15 are possible",
        ),
        (
            format!("{PORT}vlans = [10]\n[[port]]\nname = \"wan0.10\"\ndevice = \"net_null0\""),
            "t.toml:6:8: a port and a VLAN both have the name \"wan0.10\"; give the port another name",
        ),
        (
            format!("[[port]]\nname = \"wan0.10\"\ndevice = \"net_null0\"\n{PORT}vlans = [10]"),
            "t.toml:5:8: a port and a VLAN both have the name \"wan0.10\"; give the port another name",
        ),
        (
            "[[port]]\nname = \"eth1\"\ndevice = \"net_af_packet0,iface=eth1.10\"\nvlans = [10]".into(),
            "t.toml:2:8: the host interface \"eth1.10\" would have the name of the kernel device behind the port; give the port another name",
        ),
        (
            port(&format!("vlans = {:?}", (1..=31).collect::<Vec<_>>())),
            "t.toml:1:1: the ports and the host interfaces of ports and VLANs are 33 DPDK devices; 32 are possible: leave some out",
        ),
        (
            "[[port]]\nname = \"wan0\"\ndevice = \"net_af_packet0,iface=e\"\nmtu = 9000".into(),
            "t.toml:3:10: the device has a ring for frames of 2048 bytes, and `mtu` is 9000; write framesz=16384,blocksz=65536 among its arguments",
        ),
        (
            "[[port]]\nname = \"wan0\"\ndevice = \"net_af_packet0,iface=e,framesz=1600\"".into(),
            "t.toml:3:10: the device has a ring for frames of 1600 bytes, and `mtu` is 1500; write framesz=2048,blocksz=8192 among its arguments",
        ),
        (
            "[[port]]\nname = \"wan0\"\ndevice = \"net_af_packet0,iface=e,framesz=65536\"".into(),
            "t.toml:3:10: the device has framesz=65536; it must be a number of bytes, at most 32768",
        ),
        (
            "[[port]]\nname = \"wan0\"\ndevice = \"net_af_packet0,iface=e,framesz=4k\"".into(),
            "t.toml:3:10: the device has framesz=4k; it must be a number of bytes, at most 32768",
        ),
        (
            port("queues = 2"),
            "t.toml:4:10: `queues` is 2 with 1 worker; it must be a number of receive queues, at most one for each worker",
        ),
        (
            dataplane("idle = 1"),
            "t.toml:2:8: `idle` is 1; it must be \"poll\", \"adaptive\" or \"interrupt\"",
        ),
        (
            dataplane("lcores = []"),
            "t.toml:2:10: `lcores` is empty; it must be a list of different CPU numbers, one for each worker, as [1, 2]",
        ),
        (
            dataplane("lcores = [1, 2, 1]"),
            "t.toml:2:10: `lcores` names CPU 1 twice; name each once: a worker never leaves its CPU",
        ),
        (
            dataplane("lcores = \"1-2\""),
            "t.toml:2:10: `lcores` is \"1-2\"; it must be a list of different CPU numbers, one for each worker, as [1, 2]",
        ),
        (
            dataplane("memory_mib = 63"),
            "t.toml:2:14: `memory_mib` is 63; it must be memory for packets and devices in MiB, 64 to 1048576",
        ),
        (
            dataplane("hugepages = true"),
            "t.toml:2:13: `hugepages` is true; it must be \"auto\", \"require\" or \"off\"",
        ),
        (
            dataplane("max_connections = 1"),
            "t.toml:2:19: `max_connections` is 1; it must be a number of connections, 1024 to 1073741824",
        ),
        (
            port("[control]\nmetrics_listen = \"9190\""),
            "t.toml:5:18: `metrics_listen` is \"9190\"; it must be an address and port, as \"127.0.0.1:9190\"",
        ),
        (
            format!("{PORT}[[port]]\nname = \"wan0\"\ndevice = \"net_null0\""),
            "t.toml:5:8: two ports have the name \"wan0\"; give each its own",
        ),
        (
            format!("{PORT}[[port]]\nname = \"lan0\"\ndevice = \"net_tap0,iface=other\""),
            "t.toml:6:10: the ports \"wan0\" and \"lan0\" have the same device net_tap0; give each its own",
        ),
        (
            "[[port]]\nname = \"eth1\"\ndevice = \"net_af_packet0,iface=eth1\"".into(),
            "t.toml:2:8: the host interface \"eth1\" would have the name of the kernel device behind the port; give the port another name",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(parse(&text).unwrap_err(), message, "of:\n{text}");
    }
}

#[test]
fn broken_syntax_is_placed() {
    let message = parse("[[port]]\nname = \n").unwrap_err();
    assert!(message.starts_with("t.toml:2:8: "), "{message}");
    assert!(message.ends_with("see toml.io for the syntax"), "{message}");
}

#[test]
fn columns_count_characters() {
    let message = parse("[[port]]\nname = \"wän\" # ü\ndevice = 1").unwrap_err();
    assert!(message.starts_with("t.toml:2:8: `name` is \"wän\""), "{message}");
}

#[test]
fn an_absent_file_is_named() {
    let fault = Config::read(Path::new("/nonexistent/turnpike.toml")).unwrap_err().to_string();
    assert_eq!(
        fault,
        "/nonexistent/turnpike.toml: No such file or directory (os error 2); create it, or name another with --config"
    );
}

/// Cutting a good file anywhere gives a config or a fault, never a panic.
#[test]
fn every_truncation_is_survived() {
    let text = format!("[dataplane]\nidle = \"adaptive\"\n{PORT}mtu = 1500\n[control]\nlog = \"info\"\n");
    for end in 0..=text.len() {
        let _ = parse(&text[..end]);
    }
    assert!(parse(&text).is_ok());
}

#[test]
fn every_key_is_described_once() {
    for section in SECTIONS {
        let mut names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), section.keys.len(), "{}", section.name);
        assert!(section.keys.iter().all(|key| !key.form.is_empty() && !key.default.is_empty()));
    }
}

fn span_port(keys: &str) -> Result<Config, String> {
    parse(&format!("{PORT}[[port]]\nname = \"span0\"\nmode = \"span\"\n{keys}"))
}

#[test]
fn copies_have_a_form() {
    let of = |keys: &str| span_port(keys).unwrap().ports[1].clone();
    let plain = of("device = \"net_tap1\"\n");
    assert_eq!(plain.span, config::Span::default());
    let formed = of("device = \"net_tap1\"\nsample = 100\nsnap_bytes = 128\ntag = 7\n");
    assert_eq!((formed.span.sample, formed.span.snap_bytes, formed.span.tag), (100, Some(128), Some(7)));
    let gre = of("encapsulation = \"gre\"\ncollector = \"192.0.2.9\"\n");
    let tunnel = gre.span.tunnel.unwrap();
    assert_eq!((tunnel.carrier, tunnel.source), (Carrier::Gre, None));
    assert_eq!(gre.device.to_string(), "net_null_span0", "no device of its own");
    let erspan = of(
        "encapsulation = \"erspan\"\ncollector = \"2001:db8::9\"\nsource = \"2001:db8::1\"\nsession = 12\n",
    );
    let tunnel = erspan.span.tunnel.unwrap();
    assert_eq!(tunnel.carrier, Carrier::Erspan { session: 12 });
    assert_eq!(tunnel.source, Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn faults_of_span_ports_say_what_and_how() {
    let device = "device = \"net_tap1\"\n";
    let gre = "encapsulation = \"gre\"\ncollector = \"192.0.2.9\"\n";
    let table = [
        (
            format!("{device}sample = 0\n"),
            "t.toml:8:10",
            "`sample` is 0",
            "a number of frames of which one is copied",
        ),
        (format!("{device}snap_bytes = 20\n"), "t.toml:8:14", "`snap_bytes` is 20", "64 to 9728"),
        (format!("{device}tag = 4095\n"), "t.toml:8:7", "`tag` is 4095", "1 to 4094"),
        (String::from("sample = 2\n"), "t.toml:4", "[[port]] without `device`", "add it"),
        (
            format!("{device}collector = \"192.0.2.9\"\n"),
            "t.toml:8",
            "`collector` without `encapsulation`",
            "gre",
        ),
        (
            format!("{gre}{device}"),
            "t.toml:9",
            "`device` of a port whose copies are encapsulated",
            "leave it out",
        ),
        (format!("{gre}tag = 7\n"), "t.toml:9", "`tag` of copies that are encapsulated", "leave it out"),
        (format!("{gre}session = 7\n"), "t.toml:9", "`session` of GRE", "only ERSPAN"),
        (
            format!("{gre}source = \"::1\"\n"),
            "t.toml:9",
            "`source` is ::1 and `collector` is 192.0.2.9",
            "same family",
        ),
        (String::from("encapsulation = \"gre\"\n"), "t.toml:4", "without `collector`", "add it"),
        (String::from("encapsulation = \"vxlan\"\n"), "t.toml:7", "\"vxlan\"", "\"gre\" or \"erspan\""),
    ];
    for (keys, place, what, fix) in table {
        let fault = span_port(&keys).unwrap_err();
        assert!([place, what, fix].iter().all(|part| fault.contains(part)), "{keys}: {fault}");
    }
    let routed = parse(&format!("{PORT}sample = 2\n")).unwrap_err();
    assert!(routed.contains("`sample` of a port that takes no copies"), "{routed}");
    let crowded = "[dataplane]\nlcores = [0, 1]\n[[port]]\nname = \"s\"\nmode = \"span\"\nencapsulation = \"erspan\"\ncollector = \"192.0.2.9\"\nsession = 1023\n";
    let crowded = parse(crowded).unwrap_err();
    assert!(
        crowded.contains("`session` is 1023 with 2 workers") && crowded.contains("1022 is the last"),
        "{crowded}"
    );
}
