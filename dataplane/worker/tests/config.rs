//! turnpike.toml: files that say something, and files that say something wrong.

use std::path::Path;

use worker::config::{Config, Hugepages, Idle, SECTIONS};

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

        [[port]]
        name = "lan0"
        device = "net_af_packet0,iface=eth1,qpairs=1"

        [control]
        metrics_listen = "[::1]:9190"
        log = "info"
        revisions_kept = 10
        "#,
    )
    .unwrap();
    assert_eq!(config.dataplane.lcores, Some(vec![3]));
    assert_eq!(config.dataplane.hugepages, Hugepages::Require);
    assert_eq!(config.dataplane.idle, Idle::Adaptive);
    assert_eq!(config.dataplane.max_connections, 2_000_000);
    assert_eq!(config.ports[0].mtu, 9000);
    assert_eq!(config.ports[0].kernel_netdev(), None);
    assert_eq!(config.ports[1].kernel_netdev(), Some("eth1"));
    assert_eq!(config.ports[1].argument("qpairs"), Some("1"));
    assert_eq!(config.ports[1].argument("none"), None);
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
            "t.toml:1:3: `zzz` is not a section of turnpike.toml; write one of `dataplane`, `port`, `control`, `bridge`",
        ),
        (port("deivce = \"x\""), "t.toml:4:1: `deivce` is not a key of [[port]]; did you mean `device`?"),
        (port("[[bridge]]"), "t.toml:4:1: [[bridge]] is not supported yet; use ports of mode \"routed\""),
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
        (port("mode = \"span\""), "t.toml:4:8: mode = \"span\" is not supported yet; write \"routed\""),
        (port("mode = \"bridge\""), "t.toml:4:8: mode = \"bridge\" is not supported yet; write \"routed\""),
        (port("mode = \"nat\""), "t.toml:4:8: `mode` is \"nat\"; it must be \"routed\""),
        (port("vlans = [1]"), "t.toml:4:9: `vlans` is not supported yet; leave it out"),
        (
            port("queues = 2"),
            "t.toml:4:10: `queues` is 2 with 1 worker; it must be a number of receive queues, at most one for each worker",
        ),
        (
            dataplane("idle = \"interrupt\""),
            "t.toml:2:8: idle = \"interrupt\" is not supported yet; write \"adaptive\"",
        ),
        (dataplane("idle = 1"), "t.toml:2:8: `idle` is 1; it must be \"poll\" or \"adaptive\""),
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
