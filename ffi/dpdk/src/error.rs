//! What can go wrong, why, and what to do about it.

use std::ffi::CStr;
use std::fmt;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A refused call, or a misuse found before calling DPDK.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A DPDK function refused.
    #[error("cannot {call} {subject}: {errno}; {}", call.advice(*errno))]
    Refused {
        /// What was attempted.
        call: Call,
        /// On what: a device, pool, ring or argument.
        subject: String,
        /// DPDK's reason.
        errno: Errno,
    },
    /// [`crate::Eal::init`] was called before in this process.
    #[error(
        "DPDK's EAL can be initialised only once in a process; use the first one, or start a new process"
    )]
    EalTaken,
    /// The libdpdk found at run time is not the one the binary was built with.
    #[error("built with DPDK {built} but running with {running}; rebuild, or install libdpdk {built}")]
    Version {
        /// Release of the headers.
        built: String,
        /// Release of the library.
        running: String,
    },
    /// A name or argument that DPDK's C strings cannot carry.
    #[error("{0:?} contains a NUL byte; remove it")]
    NulByte(String),
    /// A device string that is neither a PCI address nor a virtual device.
    #[error(
        "{0:?} is not a device; write a PCI address (0000:01:00.0) or a virtual device (net_tap0,iface=wan0), \
         each with its arguments after commas"
    )]
    Device(String),
    /// More queues than the device has.
    #[error("{port} has at most {available} {direction} queues, {wanted} were asked for; lower `queues`")]
    Queues {
        /// Device name.
        port: String,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// Asked for.
        wanted: u16,
        /// What the driver offers.
        available: u16,
    },
    /// The port cannot be stopped or configured while workers hold its queues.
    #[error("{port} still has {queues} queues in use; stop the workers that poll them first")]
    QueuesOut {
        /// Device name.
        port: String,
        /// Handles alive.
        queues: usize,
    },
    /// The call needs the port in another state.
    #[error("{port} is {is}; {advice}")]
    PortState {
        /// Device name.
        port: String,
        /// Its state.
        is: &'static str,
        /// What to call first.
        advice: &'static str,
    },
}

/// The calls that can be refused, each with advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `rte_eal_init`
    InitEal,
    /// `rte_pktmbuf_pool_create`
    CreatePool,
    /// `rte_ring_create`
    CreateRing,
    /// `rte_hash_create`
    CreateHash,
    /// `rte_eal_hotplug_add`, `rte_eth_from_rings`
    Attach,
    /// `rte_eth_dev_info_get` and the like
    Query,
    /// `rte_eth_dev_configure`
    Configure,
    /// `rte_eth_dev_set_mtu`
    SetMtu,
    /// `rte_eth_rx_queue_setup`, `rte_eth_tx_queue_setup`
    SetupQueue,
    /// `rte_eth_dev_start`
    Start,
    /// `rte_eth_dev_stop`
    Stop,
    /// `rte_eth_promiscuous_enable`, `rte_eth_allmulticast_enable`
    SetFilter,
    /// `rte_eth_dev_callback_register`
    Watch,
    /// `rte_eth_dev_rx_intr_enable`, `rte_eth_dev_rx_intr_disable`
    Arm,
    /// `rte_eal_remote_launch`
    Launch,
    /// `rte_eal_alarm_set`
    Interrupt,
}

impl Call {
    /// What to do about `errno` at this call site.
    pub fn advice(self, errno: Errno) -> &'static str {
        match (self, errno.0) {
            (Call::InitEal, libc::EACCES | libc::EPERM) => {
                "run as root, or give access to hugepages and /dev/vfio, or set XDG_RUNTIME_DIR to a writable folder"
            }
            (Call::InitEal, libc::ENOMEM | libc::ENOENT) => {
                "reserve hugepages (dpdk-hugepages.py --setup 2G) or run without them"
            }
            (Call::InitEal, libc::EALREADY) => "EAL is initialised once per process",
            (Call::InitEal, libc::EBUSY | libc::EAGAIN) => {
                "another process uses this file prefix; stop it or choose another prefix"
            }
            (Call::InitEal, _) => "see the EAL lines logged above for the argument at fault",
            (Call::CreatePool | Call::CreateRing, libc::ENOMEM) => {
                "raise memory_mib, or ask for fewer or smaller buffers"
            }
            (Call::CreatePool | Call::CreateRing, libc::EEXIST) => "choose a name that is not in use",
            (Call::CreatePool | Call::CreateRing, libc::ENAMETOOLONG) => "choose a name of at most 25 bytes",
            (Call::CreatePool, _) => {
                "a pool holds 1 to 2^30 - 1 buffers, and the cache may hold at most 512 and two thirds of those"
            }
            (Call::CreateRing, _) => "the capacity must be between 1 and 2^30 - 1",
            (Call::CreateHash, libc::ENOMEM) => "reserve more hugepages, or ask for fewer entries",
            (Call::CreateHash, libc::EEXIST) => "choose a name that is not in use",
            (Call::CreateHash, _) => "a table holds 8 to 2^30 entries, and its name is at most 25 bytes",
            // EFAULT: no driver claims a device of this name.
            (Call::Attach, libc::ENODEV | libc::ENOENT | libc::EFAULT) => {
                "check the address or driver name (dpdk-devbind.py --status lists PCI devices), bind a PCI device to \
                 vfio-pci, and see that its driver is installed"
            }
            (Call::Attach, libc::EEXIST) => "the device is attached already; give it another name",
            (Call::Attach, libc::EINVAL) => "check the device's arguments against its driver's manual",
            (Call::Attach, libc::EPERM | libc::EACCES) => {
                "see the lines logged above; the driver may lack a privilege (NET_ADMIN, NET_RAW) or find its \
                 interface name taken"
            }
            (Call::Attach, _) => "see the lines logged above by the driver",
            (Call::Query | Call::SetFilter, libc::ENOTSUP) => "the driver cannot do this",
            (Call::Query | Call::SetFilter, _) => "the device may have been unplugged",
            (Call::Configure, libc::EBUSY) => "stop the port first",
            (Call::Configure, _) => {
                "see the lines logged above; many drivers want as many receive as transmit queues"
            }
            (Call::SetMtu, libc::ENOTSUP) => "the driver has a fixed MTU; leave `mtu` out",
            (Call::SetMtu, _) => "choose an MTU within the range of the device",
            (Call::SetupQueue, libc::ENOMEM) => "raise memory_mib, or lower `queues` or the descriptors",
            (Call::SetupQueue, _) => "the pool's buffers may be too small for the MTU",
            (Call::Start, _) => {
                "see the lines logged above by the driver; the link partner or firmware may be at fault"
            }
            (Call::Stop, _) => "the port is closed anyway when it is dropped",
            (Call::Watch, _) => "the driver does not report events; poll the link instead",
            (Call::Arm, _) => "poll the queue instead; see the lines logged above by the driver",
            (Call::Launch, libc::EBUSY) => "the lcore is running something else; join it first",
            (Call::Launch, _) => "choose a worker lcore given to EAL",
            (Call::Interrupt, _) => "the kernel must have timerfd",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::InitEal => "initialise EAL with",
            Call::CreatePool => "create mbuf pool",
            Call::CreateRing => "create ring",
            Call::CreateHash => "create hash table",
            Call::Attach => "attach device",
            Call::Query => "query",
            Call::Configure => "configure",
            Call::SetMtu => "set the MTU of",
            Call::SetupQueue => "set up queue",
            Call::Start => "start",
            Call::Stop => "stop",
            Call::SetFilter => "set the receive filter of",
            Call::Watch => "watch events of",
            Call::Arm => "switch receive interrupts of",
            Call::Launch => "launch on lcore",
            Call::Interrupt => "interrupt",
        })
    }
}

/// An error number as DPDK returns it: errno's, or one of DPDK's own from 1000 on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// From a return value (`-ENODEV`) or an errno (`ENODEV`).
    pub fn new(value: i32) -> Errno {
        Errno(value.saturating_abs())
    }

    /// The error of the last call that failed on this thread with a null pointer or -1.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a thread-local integer.
        Errno::new(unsafe { dpdk_sys::dpdk_errno() })
    }

    /// The number, positive.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The symbol, as `ENODEV`; `E?` if it has none here.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(number, _)| *number == self.0).map_or("E?", |(_, name)| name)
    }

    /// The system's sentence, as `No such device`.
    pub fn text(self) -> String {
        // SAFETY: rte_strerror returns a NUL-terminated string in a buffer of this thread, copied before the next call.
        let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(self.0)) };
        text.to_string_lossy().into_owned()
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.text())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}, {})", self.0, self.name())
    }
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name)),)* (1001, "E_RTE_SECONDARY"), (1002, "E_RTE_NO_CONFIG")] };
}

/// The errors that EAL, ethdev and the drivers return.
const NAMES: &[(i32, &str)] = names!(
    EPERM ENOENT EINTR EIO ENXIO E2BIG ENOEXEC EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR
    EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC EROFS EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOSYS ENOMSG ENODATA ETIME
    EPROTO EBADMSG EOVERFLOW ENOTSUP EPROTONOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNRESET ENOBUFS
    ENOTCONN ETIMEDOUT ECONNREFUSED EALREADY EINPROGRESS ECANCELED
);

/// Turns a negative return value into an error.
pub(crate) fn check(ret: i32, call: Call, subject: impl FnOnce() -> String) -> Result<i32> {
    if ret >= 0 {
        return Ok(ret);
    }
    Err(Error::Refused { call, subject: subject(), errno: Errno::new(ret) })
}
