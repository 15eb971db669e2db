//! What turnpike.toml's `[control]` and the command line decide.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use api::{CONTROL_KEYS, IPFIX_KEYS, Key};
use clap::Args;
use serde::Deserialize;

use crate::ipfix;

/// The command line.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/turnpike/turnpike.toml")]
    pub config: PathBuf,
    /// The control socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The dataplane's socket
    #[arg(long, value_name = "PATH")]
    pub dataplane_socket: Option<PathBuf>,
    /// Where Prometheus reads the metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
    /// The folder in which revisions are kept
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The ruleset that SIGHUP loads
    #[arg(long, value_name = "FILE")]
    pub pf_conf: Option<PathBuf>,
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where Prometheus reads the metrics.
    pub metrics_listen: SocketAddr,
    /// How many rules have series of their own.
    pub metrics_rules: usize,
    /// The log filter.
    pub log: String,
    /// How many revisions are kept.
    pub revisions_kept: usize,
    /// The control socket.
    pub socket: PathBuf,
    /// The dataplane's socket.
    pub dataplane_socket: PathBuf,
    /// The folder in which revisions are kept.
    pub state_dir: PathBuf,
    /// The ruleset that SIGHUP loads.
    pub pf_conf: PathBuf,
    /// Where the box is managed: a reload by signal does not cut off who is connected there.
    pub management_ports: Vec<u16>,
    /// How often names in tables are resolved, in seconds; 0 for never.
    pub names_refresh_s: u64,
    /// The packet log; none if it is empty.
    pub pflog: PathBuf,
    /// The size in MiB at which a packet log is full.
    pub pflog_max_mib: usize,
    /// How many full packet logs are kept.
    pub pflog_kept: usize,
    /// `[ipfix]`.
    #[serde(skip)]
    pub ipfix: ipfix::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 9190)),
            metrics_rules: 2000,
            log: "info".into(),
            revisions_kept: 100,
            socket: api::control::SOCKET.into(),
            dataplane_socket: "/run/turnpike/dataplane.sock".into(),
            state_dir: "/var/lib/turnpike".into(),
            pf_conf: "/etc/turnpike/pf.conf".into(),
            management_ports: vec![22],
            names_refresh_s: 300,
            pflog: "/var/log/turnpike/pflog".into(),
            pflog_max_mib: 64,
            pflog_kept: 4,
            ipfix: ipfix::Settings::default(),
        }
    }
}

/// The file, but for what the dataplane reads of it.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    control: Settings,
    #[serde(default)]
    ipfix: ipfix::Settings,
}

impl Settings {
    /// Reads the file, and puts the command line on top.
    ///
    /// # Errors
    /// File, line, column, what is wrong, what to do.
    pub fn read(overrides: &Overrides) -> Result<Self, String> {
        let path = &overrides.config;
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("{}: {error}; create it, or name another with --config", path.display())
        })?;
        let mut settings = Self::parse(path, &text)?;
        let Overrides { socket, dataplane_socket, metrics, state_dir, pf_conf, config: _ } =
            overrides.clone();
        settings.socket = socket.unwrap_or(settings.socket);
        settings.dataplane_socket = dataplane_socket.unwrap_or(settings.dataplane_socket);
        settings.metrics_listen = metrics.unwrap_or(settings.metrics_listen);
        settings.state_dir = state_dir.unwrap_or(settings.state_dir);
        settings.pf_conf = pf_conf.unwrap_or(settings.pf_conf);
        Ok(settings)
    }

    /// Reads the file's text; `path` is for errors.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let place = error.span().map_or(String::new(), |span| place(text, span.start));
            let advice = advice(text).map_or(String::new(), |advice| format!("; {advice}"));
            let message = error.message().replace('\n', ", ");
            format!("{}:{place} {message}{advice}", path.display())
        })?;
        let settings = Self { ipfix: file.ipfix, ..file.control };
        let bounds = [
            ("revisions_kept", settings.revisions_kept, 1..=10_000),
            ("metrics_rules", settings.metrics_rules, 0..=100_000),
            ("names_refresh_s", settings.names_refresh_s as usize, 0..=86_400),
            ("pflog_max_mib", settings.pflog_max_mib, 1..=1_048_576),
            ("pflog_kept", settings.pflog_kept, 0..=1000),
        ];
        let of_control = bounds.into_iter().map(|bound| ("control", &CONTROL_KEYS[..], bound));
        let refresh = ("template_refresh_s", settings.ipfix.template_refresh_s as usize, 1..=86_400);
        for (section, keys, (name, value, range)) in of_control.chain([("ipfix", &IPFIX_KEYS[..], refresh)]) {
            if !range.contains(&value) {
                let form = keys.iter().find(|key| key.name == name).map_or("", |key| key.form);
                return Err(format!("{}: [{section}] {name} is {value}; it must be {form}", path.display()));
            }
        }
        Ok(settings)
    }
}

/// `line:column:` of a byte.
fn place(text: &str, at: usize) -> String {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    format!("{}:{}:", before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// What to write in place of the first thing that a section should not hold.
fn advice(text: &str) -> Option<String> {
    let file: toml::Table = text.parse().ok()?;
    let control = || advice_on(&file, "control", &CONTROL_KEYS, |alone| alone.try_into::<Settings>().is_ok());
    let ipfix =
        || advice_on(&file, "ipfix", &IPFIX_KEYS, |alone| alone.try_into::<ipfix::Settings>().is_ok());
    control().or_else(ipfix)
}

fn advice_on(
    file: &toml::Table,
    section: &str,
    keys: &[Key],
    fits: impl Fn(toml::Table) -> bool,
) -> Option<String> {
    let table = file.get(section)?.as_table()?;
    let unknown = table.keys().find(|name| keys.iter().all(|key| key.name != name.as_str()));
    if let Some(unknown) = unknown {
        let nearness = |key: &Key| strsim::jaro_winkler(key.name, unknown);
        let nearest = keys.iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b)))?;
        return (nearness(nearest) > 0.7).then(|| format!("did you mean `{}`?", nearest.name));
    }
    // The one whose value alone does not fit.
    let misfit = keys.iter().find(|key| {
        table
            .get(key.name)
            .is_some_and(|value| !fits(toml::Table::from_iter([(key.name.to_owned(), value.clone())])))
    })?;
    Some(format!("`{}` must be {}", misfit.name, misfit.form))
}
