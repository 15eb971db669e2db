//! As whom the process runs, and what it may do once it runs.
//!
//! Overview: started by root, the process becomes another user at once, with the capabilities that it was started with,
//! since devices are still to be opened. When they are open, [`confine()`] lowers every thread to what [`NEEDS`] names for
//! the devices of the configuration, and limits the system calls of the process; workers, which read what strangers
//! send, keep no capability and may hardly do more than read and write what is open. A call beyond its list ends the
//! process with SIGSYS, and the kernel then forwards nothing in its place; the kernel's log names the call.
//! Life cycle: at the start, once; nothing of it can be undone.

use anyhow::{Context, Result, bail};
use confine::{Account, Capabilities, Capability, Filter, Standing, list};
use dpdk::Eal;

use crate::config::{Config, Port};

/// The user that the package makes for it.
pub const PACKAGE_USER: &str = "turnpike-dataplane";

/// What a kind of device needs while the process runs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// How the names of such devices begin; empty for every device, as each has a host interface.
    pub device: &'static str,
    /// A capability.
    pub capability: Capability,
    /// What for.
    pub purpose: &'static str,
}

/// What devices need while the process runs. Those that vfio hands over, and all others, need nothing of their own.
pub const NEEDS: [Need; 3] = [
    Need {
        device: "",
        capability: Capability::NetAdmin,
        purpose: "neighbours to resolve, host interfaces to set up again",
    },
    Need {
        device: "net_af_packet",
        capability: Capability::NetRaw,
        purpose: "a new packet socket when the device returns",
    },
    Need {
        device: "net_af_xdp",
        capability: Capability::NetRaw,
        purpose: "a new socket when the device returns",
    },
];

/// The capabilities that stay.
pub fn kept(config: &Config) -> Capabilities {
    let named = |need: &&Need| config.ports.iter().any(|port| port.device.name().starts_with(need.device));
    NEEDS.iter().filter(named).fold(Capabilities::NONE, |kept, need| kept.with(need.capability))
}

/// The system calls of the process while it runs.
///
/// # Errors
/// If this machine's kind is unknown.
pub fn process_filter(config: &Config) -> Result<Filter, confine::Error> {
    let has_programs = config.ports.iter().any(Port::is_af_xdp);
    let sends_frames = kept(config) != Capabilities::NONE.with(Capability::NetAdmin);
    Filter::new(&[
        list::STREAMS,
        list::WAITING,
        list::WAITING_OLDER,
        list::THREADS,
        list::MEMORY,
        list::ENQUIRIES,
        list::READING,
        list::READING_OLDER,
        list::REMOVING,
        list::REMOVING_OLDER,
        list::SOCKETS,
        list::NETLINK,
        list::DEVICES,
        if sends_frames { list::PACKETS } else { &[] },
        // When it closes a device the driver looks for the program that leads to its socket.
        if has_programs { list::PROGRAMS } else { &[] },
        if has_programs { list::PROGRAMS_OLDER } else { &[] },
    ])
}

/// The system calls of a worker: it reads, writes and waits for what is open.
///
/// # Errors
/// If this machine's kind is unknown.
pub fn worker_filter() -> Result<Filter, confine::Error> {
    Filter::new(&[list::STREAMS, list::WAITING, list::WAITING_OLDER])
}

/// Makes a process that root started another user's. To be called before there are threads.
///
/// # Errors
/// There is no such user, or the system refuses.
pub fn leave_root(config: &Config) -> Result<()> {
    let wanted = config.dataplane.user.as_deref();
    let missing = |name: &str| {
        format!(
            "there is no user {name}; make it (useradd --system {name}), or name another in `user` of [dataplane]"
        )
    };
    if !Account::is_root() {
        let own = Account::own_uid();
        return match wanted.map(|name| Account::load(name).with_context(|| missing(name))).transpose()? {
            Some(account) if account.uid != own => bail!(
                "started as the user {own}, it cannot become {} ({}); start it as root or as that user, or leave \
                 `user` out",
                account.name,
                account.uid
            ),
            _ => Ok(()),
        };
    }
    let account = match wanted {
        Some(name) => Account::load(name).with_context(|| missing(name))?,
        None => Account::load(PACKAGE_USER).unwrap_or_else(Account::nobody),
    };
    if account.uid == 0 {
        bail!("the user {} is root by another name; name another in `user` of [dataplane]", account.name);
    }
    tracing::info!(user = account.name, uid = account.uid, "no longer root");
    account.assume().context("cannot give root up; start it as another user, as its unit does")
}

/// Heaps that threads share: each that is busy has one for itself.
const HEAPS: u16 = 16;

/// Prepares what threads will do that may not open files any more. To be called before there are threads.
pub fn prepare() {
    dpdk::limit_heaps(HEAPS);
}

/// Lowers the process to what it needs from now on, when every device is open and no worker runs yet.
///
/// # Errors
/// The system refuses, or some thread has more than it should.
pub fn confine(config: &Config, eal: &Eal) -> Result<()> {
    let kept = kept(config);
    kept.keep()?;
    let interrupts = eal.run_on_interrupt_thread(|| Capabilities::NONE.keep())?;
    interrupts.ok().context("the interrupt thread panicked")??;
    Account::close_to_others()?;
    process_filter(config)?.apply_to_process()?;
    let standings = Standing::of_all_threads()?;
    // Workers lower themselves, as their threads are theirs alone.
    if let Some(thread) = standings.iter().find(|thread| thread.uid == 0 || !thread.filtered) {
        bail!("the thread {} is still root's, or its system calls are not limited", thread.name);
    }
    tracing::info!(uid = Account::own_uid(), capabilities = %kept.common(Capabilities::of_this_thread()?), "confined");
    Ok(())
}

/// Lowers the calling worker.
///
/// # Errors
/// The system refuses.
pub fn confine_worker(filter: &Filter) -> Result<(), confine::Error> {
    Capabilities::NONE.keep()?;
    filter.apply_to_thread()
}
