//! The process: sockets, signals, and the end.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use api::Access;
use api::control::{Apply, Operator, Origin, Sources};
use api::sessions::{Socket, sessions};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use crate::compile::read_file;
use crate::names::{self, Known};
use crate::revisions::Store;
use crate::server::{self, App, Writers};
use crate::settings::Settings;
use crate::tables::Tables;
use crate::{Watch, committer, ipfix, pflog};

/// How often it is looked whether the committer lives, unless systemd wants to know more often.
const CHECK: Duration = Duration::from_secs(5);

/// How long clients of the API wait at the start for a dataplane that does not say what is live; then they hear of that.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Runs until it is told to stop.
///
/// # Errors
/// What keeps it from starting, or that the committer died.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()
        .context("cannot make the runtime")?;
    let done = runtime.block_on(live(settings));
    // Whoever still waits for the dataplane must not keep the process from ending.
    runtime.shutdown_background();
    done
}

async fn live(settings: &Settings) -> anyhow::Result<()> {
    let folder = settings.state_dir.join("revisions");
    let store = Store::open(&folder, settings.revisions_kept)
        .with_context(|| format!("cannot use {}; give another with --state-dir", folder.display()))?;
    let folder = settings.state_dir.join("tables");
    let tables = Tables::open(&folder)
        .with_context(|| format!("cannot use {}; give another with --state-dir", folder.display()))?;
    let known = Known::open(&settings.state_dir.join("names.json"));
    let listener = bind_api(&settings.socket).await?;
    let metrics = bind_metrics(settings.metrics_listen).with_context(|| {
        format!("cannot listen at {}; give another with --metrics", settings.metrics_listen)
    })?;
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let watch = Arc::new(Watch::default());
    let (handle, thread) =
        committer::start(settings.dataplane_socket.clone(), store, tables, known, Arc::clone(&watch))
            .context("cannot start a thread")?;
    if settings.names_refresh_s > 0 {
        let interval = Duration::from_secs(settings.names_refresh_s);
        names::start(handle.clone(), Arc::clone(&watch), interval, names::resolve)
            .context("cannot start a thread")?;
    }
    let pflog = start_pflog(settings).context("cannot start a thread")?;
    let ipfix = start_ipfix(settings).context("cannot export flows; see [ipfix]")?;
    let writers = Writers { pflog, ipfix };
    let app = App::new(handle, watch, settings.dataplane_socket.clone(), settings.metrics_rules, writers);
    let app = Arc::new(app);
    info!(
        "turnpike-control {}: API at {}, metrics at http://{}/metrics",
        env!("CARGO_PKG_VERSION"),
        settings.socket.display(),
        metrics.local_addr().unwrap_or(settings.metrics_listen),
    );
    tokio::spawn(server::serve_metrics(metrics, Arc::clone(&app)));
    // Whoever starts it and asks next is told what is live. How the look went is in the view.
    let _ = timeout(FIRST_LOOK, app.committer.look()).await;
    tokio::spawn(server::serve_api(listener, Arc::clone(&app)));
    notify(&[sd_notify::NotifyState::Ready]);
    let done = until_stopped(settings, &app, &thread, &mut signals).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    if let Err(error) = std::fs::remove_file(&settings.socket) {
        warn!("cannot remove {}: {error}", settings.socket.display());
    }
    done
}

/// Starts the writer of the packet log, if there is to be one.
fn start_pflog(settings: &Settings) -> io::Result<Option<Arc<pflog::Counts>>> {
    if settings.pflog.as_os_str().is_empty() {
        return Ok(None);
    }
    let bounds =
        pflog::Bounds { file_bytes: (settings.pflog_max_mib as u64) << 20, kept: settings.pflog_kept as u32 };
    pflog::start(settings.dataplane_socket.clone(), settings.pflog.clone(), bounds).map(Some)
}

/// Starts the exporter of flows, if there is a collector.
fn start_ipfix(settings: &Settings) -> io::Result<Option<Arc<ipfix::Counts>>> {
    let Some(collector) = settings.ipfix.collector else { return Ok(None) };
    ipfix::start(settings.dataplane_socket.clone(), collector, &settings.ipfix).map(Some)
}

struct Signals {
    reload: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn until_stopped(
    settings: &Settings,
    app: &Arc<App>,
    committer: &JoinHandle<()>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut check = watchdog();
    loop {
        tokio::select! {
            _ = signals.reopen.recv() => app.reopen_pflog(),
            _ = signals.reload.recv() => {
                app.reopen_pflog();
                let ports = settings.management_ports.clone();
                tokio::spawn(reload(settings.pf_conf.clone(), ports, Arc::clone(app)));
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = check.tick() => {
                if committer.is_finished() {
                    bail!("the thread that changes rules died; the dataplane forwards on with the rules that it has");
                }
                notify(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
    info!("stopping; the dataplane forwards on with the rules that it has");
    Ok(())
}

fn watchdog() -> Interval {
    let asked = sd_notify::watchdog_enabled();
    let mut check = interval(asked.map_or(CHECK, |within| (within / 2).min(CHECK)));
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    check
}

/// Validates pf.conf and makes it live, or leaves everything as it is: also if it would cut off somebody who manages the box
/// by one of these ports, for a signal does not tell whose it is.
async fn reload(path: PathBuf, ports: Vec<u16>, app: Arc<App>) {
    info!("loading {}", path.display());
    match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[sd_notify::NotifyState::Reloading, now]),
        Err(error) => warn!("cannot read the clock for systemd: {error}"),
    }
    let (interfaces, file) = (Arc::clone(&app.watch.get().interfaces), path.clone());
    let read = move || Ok((read_file(&file, &interfaces)?, managers(&ports)));
    let read: Result<io::Result<(Sources, Operator)>, _> = spawn_blocking(read).await;
    match read {
        Ok(Ok((sources, operator))) => {
            let comment = format!("loaded from {}", path.display());
            let apply = Apply { sources, comment, operator, ..Apply::default() };
            match app.committer.apply(apply, Origin::Reload).await {
                Ok(applied) => info!("{} is live as revision {}", path.display(), applied.revision),
                Err(committer::Failure::Refused(problem)) => {
                    let why = if problem.rendered.is_empty() { &problem.error } else { &problem.rendered };
                    error!("{} is refused, the rules stay as they are:\n{why}", path.display());
                }
                Err(failure) => error!("cannot load {}: {failure}", path.display()),
            }
        }
        Ok(Err(error)) => error!("cannot read {}: {error}; the rules stay as they are", path.display()),
        Err(stopped) => error!("cannot read {}: {stopped}", path.display()),
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Whoever is connected to these ports of the box.
fn managers(ports: &[u16]) -> Operator {
    let sockets = Socket::all();
    let sessions = sessions(&sockets, |socket| ports.contains(&socket.local.port()));
    Operator { sessions, force: false }
}

/// Binds the metrics' port.
fn bind_metrics(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Or a restart would have to wait for connections that are closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(server::SCRAPERS_WAITING)
}

/// Binds the control socket. One that nobody listens at any more is replaced.
async fn bind_api(path: &Path) -> anyhow::Result<UnixListener> {
    let failed = || format!("cannot listen at {}; give another with --socket", path.display());
    match UnixStream::connect(path).await {
        Ok(_) => bail!("{}: another turnpike-control listens here", path.display()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).with_context(failed)?;
        }
        // Nothing is there, or binding will say what is wrong.
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(failed)?;
    Access::load().protect(path).with_context(failed)?;
    Ok(listener)
}

/// Tells systemd, if it started us.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("cannot notify systemd: {error}");
    }
}
