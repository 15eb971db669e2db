//! turnpike.toml as control reads it.

use std::path::Path;

use api::CONTROL_KEYS;
use turnpike_control::ipfix;
use turnpike_control::settings::{Overrides, Settings};

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(Path::new("turnpike.toml"), text)
}

#[test]
fn without_a_section_the_defaults_hold() {
    let settings = parse("[dataplane]\nlcores = [1]\n[[port]]\nname = \"wan0\"\n").unwrap();
    assert_eq!(settings, Settings::default());
    // The table of keys documents the same defaults.
    let lines: String = CONTROL_KEYS.iter().map(|key| format!("{} = {}\n", key.name, key.default)).collect();
    assert_eq!(parse(&format!("[control]\n{lines}")).unwrap(), Settings::default());
}

#[test]
fn every_key_is_read() {
    let settings = parse(
        "[control]\nmetrics_listen = \"[::1]:9999\"\nmetrics_rules = 7\nlog = \"debug\"\nrevisions_kept = 3\n\
         socket = \"/a\"\ndataplane_socket = \"/b\"\nstate_dir = \"/c\"\npf_conf = \"/d\"\n\
         management_ports = [22, 2222]\nnames_refresh_s = 60\npflog = \"/e\"\npflog_max_mib = 9\npflog_kept = 0\n\
         [ipfix]\ncollector = \"[::1]:4739\"\nobservation_domain = 9\ntemplate_refresh_s = 8\n",
    )
    .unwrap();
    let expected = Settings {
        metrics_listen: "[::1]:9999".parse().unwrap(),
        metrics_rules: 7,
        log: "debug".into(),
        revisions_kept: 3,
        socket: "/a".into(),
        dataplane_socket: "/b".into(),
        state_dir: "/c".into(),
        pf_conf: "/d".into(),
        management_ports: vec![22, 2222],
        names_refresh_s: 60,
        pflog: "/e".into(),
        pflog_max_mib: 9,
        pflog_kept: 0,
        ipfix: ipfix::Settings {
            collector: Some("[::1]:4739".parse().unwrap()),
            observation_domain: 9,
            template_refresh_s: 8,
        },
    };
    assert_eq!(settings, expected);
}

#[test]
fn faults_say_where_and_what_to_do() {
    let cases = [
        ("[control]\nmetric_listen = \"1\"\n", "turnpike.toml:2:1: ", "did you mean `metrics_listen`?"),
        ("[control]\nlog = 1\n", "turnpike.toml:2:7: ", "`log` must be a log filter"),
        ("[control]\nmetrics_listen = \"here\"\n", "turnpike.toml:2:18: ", "must be an address and port"),
        ("[control]\nrevisions_kept = 0\n", "revisions_kept is 0", "1 to 10000"),
        ("[control]\nmetrics_rules = 100001\n", "metrics_rules is 100001", "0 to 100000"),
        ("[control]\nrevisions_kept = -1\n", "turnpike.toml:2:18: ", "1 to 10000"),
        ("[control]\nmanagement_ports = 22\n", "turnpike.toml:2:20: ", "TCP ports"),
        ("[ipfix]\ncolector = \"1\"\n", "turnpike.toml:2:1: ", "did you mean `collector`?"),
        ("[ipfix]\ncollector = \"192.0.2.9\"\n", "turnpike.toml:2:13: ", "must be an address and port"),
        ("[ipfix]\ntemplate_refresh_s = 0\n", "template_refresh_s is 0", "1 to 86400"),
        ("[control\n", "turnpike.toml:1:", ""),
        ("control = 1\n", "turnpike.toml:1:", ""),
    ];
    for (text, place, advice) in cases {
        let fault = parse(text).unwrap_err();
        assert!(fault.contains(place) && fault.contains(advice), "{text:?}: {fault}");
    }
}

#[test]
fn the_command_line_is_stronger_than_the_file() {
    let path = std::env::temp_dir().join(format!("tpc-settings-{}.toml", std::process::id()));
    std::fs::write(&path, "[control]\nsocket = \"/a\"\npf_conf = \"/d\"\n").unwrap();
    let overrides = Overrides {
        config: path.clone(),
        socket: Some("/x".into()),
        metrics: Some("127.0.0.1:1".parse().unwrap()),
        ..Overrides::default()
    };
    let settings = Settings::read(&overrides).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((settings.socket.to_str(), settings.pf_conf.to_str()), (Some("/x"), Some("/d")));
    assert_eq!(settings.metrics_listen.port(), 1);
    let fault = Settings::read(&overrides).unwrap_err();
    assert!(fault.contains("create it, or name another with --config"), "{fault}");
}
