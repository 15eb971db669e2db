//! What `[control]` and `[ipfix]` of turnpike.toml may say: turnpike-control reads it, and the dataplane, which reads the same file, must
//! know it.

/// A key of turnpike.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value must be, as the end of the sentence "it must be …".
    pub form: &'static str,
    /// What holds without it.
    pub default: &'static str,
}

impl Key {
    /// A key.
    pub const fn new(name: &'static str, form: &'static str, default: &'static str) -> Self {
        Self { name, form, default }
    }
}

/// Every key of `[ipfix]`, which is turnpike-control's as well.
pub const IPFIX_KEYS: [Key; 3] = [
    Key::new("collector", "an address and port that flows are sent to, as \"192.0.2.9:4739\"", "none"),
    Key::new("observation_domain", "a number, 0 to 4294967295", "1"),
    Key::new("template_refresh_s", "a number of seconds, 1 to 86400", "60"),
];

/// Every key of `[control]`.
pub const CONTROL_KEYS: [Key; 13] = [
    Key::new("metrics_listen", "an address and port, as \"127.0.0.1:9190\"", "\"127.0.0.1:9190\""),
    Key::new("metrics_rules", "a number of rules that have series of their own, 0 to 100000", "2000"),
    Key::new("log", "a log filter, as \"info\"", "\"info\""),
    Key::new("revisions_kept", "a number of revisions, 1 to 10000", "100"),
    Key::new("socket", "the path of the control socket", "\"/run/turnpike/control.sock\""),
    Key::new("dataplane_socket", "the path of the dataplane's socket", "\"/run/turnpike/dataplane.sock\""),
    Key::new("state_dir", "the folder in which revisions are kept", "\"/var/lib/turnpike\""),
    Key::new("pf_conf", "the ruleset that SIGHUP loads", "\"/etc/turnpike/pf.conf\""),
    Key::new("management_ports", "TCP ports that no reload by SIGHUP cuts off, as [22]", "[22]"),
    Key::new("names_refresh_s", "a number of seconds, 0 to 86400", "300"),
    Key::new("pflog", "the path of the packet log, or \"\" for none", "\"/var/log/turnpike/pflog\""),
    Key::new("pflog_max_mib", "the size in MiB at which a packet log is full, 1 to 1048576", "64"),
    Key::new("pflog_kept", "a number of full packet logs, 0 to 1000", "4"),
];
