//! The environment: memory, lcores, devices. One per process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Call, Errno, Error, Result};
use crate::lcore::Lcore;

/// EAL cannot be initialised again, not even after its cleanup.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A handle on the environment. Cleaned up when the last handle is dropped; pools, ports, rings and lcores hold one each.
#[derive(Clone, Debug)]
pub struct Eal(pub(crate) Arc<EalInner>);

#[derive(Debug)]
pub(crate) struct EalInner {
    /// EAL keeps pointers into its arguments.
    _arguments: Vec<CString>,
    /// EAL's folder for run-time files is in one that the caller chose.
    chosen_folder: bool,
    lcores: Mutex<Vec<u32>>,
}

impl Eal {
    /// Initialises EAL, and pins the calling thread to the first lcore. Once per process: a second call is refused, also
    /// after a failure or a cleanup.
    pub fn init(args: &EalArgs) -> Result<Eal> {
        check_version()?;
        let arguments = args.to_c_strings()?;
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Error::EalTaken);
        }
        if let Some(folder) = &args.runtime_folder {
            // SAFETY: other threads that read the environment through Rust take its lock, and EAL, which does not, starts
            // below.
            unsafe { std::env::set_var("RUNTIME_DIRECTORY", folder) };
        }
        let mut argv: Vec<*mut c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        let argc = c_int::try_from(argv.len()).expect("a command line has few words");
        // SAFETY: argv has argc NUL-terminated strings, which live as long as the environment; EAL permutes the pointers
        // and does not write to the strings.
        let ret = unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) };
        if ret < 0 {
            return Err(Error::Refused {
                call: Call::InitEal,
                subject: args.words().join(" "),
                errno: Errno::last(),
            });
        }
        Ok(Eal(Arc::new(EalInner {
            _arguments: arguments,
            chosen_folder: args.runtime_folder.is_some(),
            lcores: Mutex::new(worker_lcores()),
        })))
    }

    /// The worker lcores, all of them on the first call and none after: each has one owner.
    pub fn take_lcores(&self) -> Vec<Lcore> {
        let ids = std::mem::take(&mut *self.0.lcores.lock().expect("no holder of this lock panics"));
        ids.into_iter().map(|id| Lcore::new(self.clone(), id)).collect()
    }
}

impl Drop for EalInner {
    fn drop(&mut self) {
        // SAFETY: a NUL-terminated string in static memory, or null; EAL writes it at its start only.
        let folder = unsafe { dpdk_sys::rte_eal_get_runtime_dir().as_ref() };
        // SAFETY: as above.
        let folder = folder.map(|first| unsafe { CStr::from_ptr(first) }.to_string_lossy().into_owned());
        // SAFETY: initialised, and nothing of this crate that points into EAL's memory is left.
        unsafe { dpdk_sys::rte_eal_cleanup() };
        // EAL empties the folder of its run-time files, and leaves it. What is not empty is somebody else's as well.
        let Some(folder) = folder else { return };
        if std::fs::remove_dir(&folder).is_ok() && self.chosen_folder {
            let _ = Path::new(&folder).parent().map(std::fs::remove_dir);
        }
    }
}

/// The running library, as `DPDK 22.11.11`.
pub fn version() -> String {
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
}

fn check_version() -> Result<()> {
    // SAFETY: return constants of the library.
    let running = unsafe { (dpdk_sys::rte_version_year(), dpdk_sys::rte_version_month()) };
    let built = (dpdk_sys::RTE_VER_YEAR, dpdk_sys::RTE_VER_MONTH);
    if running == built {
        return Ok(());
    }
    let name = |(year, month): (u32, u32)| format!("{year}.{month:02}");
    Err(Error::Version { built: name(built), running: name(running) })
}

fn worker_lcores() -> Vec<u32> {
    let next = |after: u32| {
        // SAFETY: reads EAL's list of lcores; -1 starts it, and 1, 0 skip the main lcore and do not wrap.
        let id = unsafe { dpdk_sys::rte_get_next_lcore(after, 1, 0) };
        (id < dpdk_sys::RTE_MAX_LCORE).then_some(id)
    };
    std::iter::successors(next(u32::MAX), |id| next(*id)).collect()
}

/// Where EAL takes its memory from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages, through no file: works without privileges. MiB to reserve at start.
    Hugepages {
        /// MiB
        mib: u32,
    },
    /// Ordinary pages: for tests and virtual devices. All the memory there will be.
    NoHuge {
        /// MiB
        mib: u32,
    },
}

/// EAL's log level; the more lenient includes the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And warnings.
    Warning,
    /// And notices, EAL's own default.
    Notice,
    /// And information.
    Info,
    /// Everything.
    Debug,
}

/// EAL's command line, in types.
#[derive(Debug, Clone)]
pub struct EalArgs {
    program: String,
    lcores: Vec<(u32, Vec<usize>)>,
    memory: Memory,
    file_prefix: Option<String>,
    runtime_folder: Option<PathBuf>,
    pci: Vec<String>,
    log_level: LogLevel,
    extra: Vec<String>,
}

impl EalArgs {
    /// Arguments with one lcore on CPU 0, no PCI device, no telemetry socket. `program` names the process in logs.
    pub fn new(program: &str, memory: Memory) -> EalArgs {
        EalArgs {
            program: program.to_owned(),
            lcores: Vec::new(),
            memory,
            file_prefix: None,
            runtime_folder: None,
            pci: Vec::new(),
            log_level: LogLevel::Notice,
            extra: Vec::new(),
        }
    }

    /// Adds an lcore that may run on `cpus`. The first one added is the main lcore, the thread that calls
    /// [`Eal::init`]. Several lcores may share a CPU.
    pub fn lcore(mut self, id: u32, cpus: &[usize]) -> EalArgs {
        self.lcores.push((id, cpus.to_vec()));
        self
    }

    /// Sets the name that keeps the run-time files of processes apart.
    pub fn file_prefix(mut self, prefix: &str) -> EalArgs {
        self.file_prefix = Some(prefix.to_owned());
        self
    }

    /// Sets the folder in which EAL makes one for its run-time files, in place of one that depends on the user.
    pub fn runtime_folder(mut self, folder: &Path) -> EalArgs {
        self.runtime_folder = Some(folder.to_owned());
        self
    }

    /// Lets EAL scan the PCI bus for this address. Without any the bus is left alone, and no PCI device can be attached.
    pub fn allow_pci(mut self, address: &str) -> EalArgs {
        self.pci.push(address.to_owned());
        self
    }

    /// Sets how much EAL and its drivers log, to standard error and syslog.
    pub fn log_level(mut self, level: LogLevel) -> EalArgs {
        self.log_level = level;
        self
    }

    /// Adds any other argument of EAL.
    pub fn arg(mut self, word: &str) -> EalArgs {
        self.extra.push(word.to_owned());
        self
    }

    /// The command line, without the program.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["--no-telemetry".to_owned(), "--lcores".to_owned(), self.lcore_map()];
        if let Some((main, _)) = self.lcores.first() {
            words.extend(["--main-lcore".to_owned(), main.to_string()]);
        }
        // Neither leaves files behind, nor needs a folder to write to: there are no secondary processes. In-memory and
        // no-huge exclude each other.
        let (kind, mib): (&[&str], u32) = match self.memory {
            Memory::Hugepages { mib } => (&["--in-memory"], mib),
            Memory::NoHuge { mib } => (&["--no-huge", "--no-shconf"], mib),
        };
        words.extend(kind.iter().map(|word| (*word).to_owned()));
        words.extend(["-m".to_owned(), mib.to_string()]);
        if let Some(prefix) = &self.file_prefix {
            words.extend(["--file-prefix".to_owned(), prefix.clone()]);
        }
        if self.pci.is_empty() {
            words.push("--no-pci".to_owned());
        }
        for address in &self.pci {
            words.extend(["-a".to_owned(), address.clone()]);
        }
        words.push(format!("--log-level={}", self.log_level.name()));
        words.extend(self.extra.iter().cloned());
        words
    }

    /// EAL's `--lcores` map, as `0@0,1@(1,2)`.
    fn lcore_map(&self) -> String {
        if self.lcores.is_empty() {
            return "0@0".to_owned();
        }
        let entry = |(id, cpus): &(u32, Vec<usize>)| {
            let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
            format!("{id}@({})", cpus.join(","))
        };
        self.lcores.iter().map(entry).collect::<Vec<_>>().join(",")
    }

    fn to_c_strings(&self) -> Result<Vec<CString>> {
        std::iter::once(self.program.clone()).chain(self.words()).map(c_string).collect()
    }
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Notice => "notice",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// `text` for C.
pub(crate) fn c_string(text: impl Into<String>) -> Result<CString> {
    CString::new(text.into()).map_err(|e| Error::NulByte(String::from_utf8_lossy(&e.into_vec()).into_owned()))
}
