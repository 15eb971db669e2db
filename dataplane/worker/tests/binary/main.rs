//! The program itself: what it refuses to start with, how it says so, and what it leaves behind. Each in a network
//! namespace of its own, which needs root; without it those are skipped aloud.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

mod privileges;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_turnpike-dataplane");
/// Every refusal comes within this.
const SOON: Duration = Duration::from_secs(20);

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

/// A folder with a configuration in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, config: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("worker-binary-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // The program gives root up, and must be able to remove its socket.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(folder.join("turnpike.toml"), config).unwrap();
        Self(folder)
    }

    fn config(&self) -> PathBuf {
        self.0.join("turnpike.toml")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("dataplane.sock")
    }

    /// The program with this configuration, in a new network namespace.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--net", PROGRAM, "--config"]).arg(self.config()).arg("--socket").arg(self.socket());
        command
    }

    /// What a start that is refused says.
    fn refused(&self) -> String {
        let begin = Instant::now();
        let output = self.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(begin.elapsed() < SOON, "took {:?}", begin.elapsed());
        assert!(!self.socket().exists(), "a socket is left behind");
        last_line(&stderr(&output))
    }

    fn started(&self) -> Running {
        self.started_by(&mut self.command())
    }

    fn started_by(&self, command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while api::Client::connect(&self.socket()).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "it ended: {}", read(&mut child));
            assert!(Instant::now() < deadline, "not ready after 20 s");
            thread::sleep(Duration::from_millis(20));
        }
        Running(child)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running dataplane; killed when the test ends.
struct Running(Child);

impl Running {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end: exit code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let said = read(&mut self.0);
        (self.0.wait().unwrap().code(), said)
    }

    /// Runs a command in its network namespace.
    fn inside(&self, words: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.pid().to_string()]).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

const PORTS: &str = "[dataplane]\nidle = \"adaptive\"\nmemory_mib = 128\nhugepages = \"off\"\n\
    [[port]]\nname = \"wan0\"\ndevice = \"net_tap0,iface=tpw\"\n\
    [[port]]\nname = \"lan0\"\ndevice = \"net_tap1,iface=tpl\"\n";

#[test]
fn checking_says_nothing_of_a_good_file_and_the_fault_of_a_bad_one() {
    let check =
        |path: &Path| Command::new(PROGRAM).arg("--check").arg("--config").arg(path).output().unwrap();
    let good = Folder::new("good", PORTS);
    let output = check(&good.config());
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let bad = Folder::new("bad", "[[port]]\nnmae = 1\n");
    let output = check(&bad.config());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "turnpike-dataplane: {}:2:1: `nmae` is not a key of [[port]]; did you mean `name`?\n",
            bad.config().display()
        )
    );
    let output = check(Path::new("/nonexistent.toml"));
    assert_eq!(output.status.code(), Some(1));
    let output = Command::new(PROGRAM).arg("--no-such-option").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn g09_a_start_that_cannot_be_says_why() {
    if !is_root() {
        return;
    }
    let port = |name: &str, device: &str| {
        format!(
            "[dataplane]\nmemory_mib = 128\nhugepages = \"off\"\n[[port]]\nname = \"{name}\"\ndevice = \"{device}\"\n"
        )
    };
    let packets = "net_af_packet0,iface=lo";
    let cases = [
        (
            "queues",
            port("wan0", packets).replacen("[dataplane]", "[dataplane]\nlcores = [0, 1]", 1),
            "the device has one queue pair, and there are 2 workers; write qpairs=2 among its arguments",
        ),
        (
            "more-queues",
            format!("{}queues = 2\n", port("wan0", "0000:7f:1f.7")),
            "`queues` is 2 with 1 worker; it must be",
        ),
        (
            "no-driver",
            port("wan0", "net_nonsense0"),
            "cannot open port wan0: cannot attach device net_nonsense0",
        ),
        ("no-pci", port("wan0", "0000:7f:1f.7"), "cannot open port wan0: cannot attach device 0000:7f:1f.7"),
        (
            "no-netdev",
            port("wan0", "net_af_packet0,iface=absent0"),
            "port wan0: the kernel has no interface absent0; correct iface= in `device`",
        ),
        (
            "cpu",
            PORTS.replace("[dataplane]", "[dataplane]\nlcores = [4095]"),
            "CPU 4095 of `lcores` is not available; this process may use ",
        ),
        (
            "hugepages",
            PORTS.replace("\"off\"", "\"require\"").replace("= 128", "= 1048576"),
            "1048576 MiB of hugepages are required and ",
        ),
    ];
    for (name, config, expected) in cases {
        let folder = Folder::new(name, &config);
        let said = folder.refused();
        assert!(said.contains(expected), "{name}: {said}");
        let left =
            fs::read_dir(&folder.0).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let known = ["turnpike.toml", "dataplane.lock"];
        let left: Vec<String> = left.filter(|name| !known.contains(&name.as_str())).collect();
        assert!(left.is_empty(), "{name} leaves {left:?}");
    }
}

#[test]
fn a_name_that_the_kernel_has_is_refused_before_anything_is_made() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("taken", PORTS);
    let script = format!(
        "ip link add lan0 type veth peer name other && {PROGRAM} --config {} --socket {}; code=$?; ip -br link >&2; exit $code",
        folder.config().display(),
        folder.socket().display()
    );
    let output = Command::new("unshare").args(["--net", "sh", "-c", &script]).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the kernel already has an interface lan0; give the port another name"), "{said}");
    assert!(!said.contains("wan0 ") && !said.contains("tpw"), "interfaces were made: {said}");
}

#[test]
fn f07_it_starts_stops_and_starts_again_with_every_buffer_back() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("cycle", PORTS);
    let start = || {
        let begin = Instant::now();
        (folder.started(), begin.elapsed())
    };
    let mut undisturbed = Duration::ZERO;
    for signal in ["TERM", "INT"] {
        let (running, took) = start();
        undisturbed = undisturbed.max(took);
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("held 0") && said.ends_with("holds; buffers in use: 0\n"), "{said}");
        assert!(!folder.socket().exists());
    }
    // Killed, it leaves its files: they are in nobody's way, and nobody waits for them. A busy machine is slow at all starts.
    let behind_a_kill = [(); 3].map(|()| {
        drop(folder.started());
        let (running, took) = start();
        running.signal("TERM");
        assert_eq!(running.end().0, Some(0));
        took
    });
    let fastest = behind_a_kill.into_iter().min().unwrap_or_default();
    assert!(fastest < Duration::from_secs(2).max(2 * undisturbed), "{behind_a_kill:?}, else {undisturbed:?}");
}

#[test]
fn g09_a_second_instance_is_refused_and_the_first_one_goes_on() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("second", PORTS);
    let first = folder.started();
    let output = folder.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = last_line(&stderr(&output));
    let expected = format!("another turnpike-dataplane serves {}; stop it", folder.socket().display());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(api::Client::connect(&folder.socket()).unwrap().status().unwrap().generation, 0);
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
}

#[test]
fn the_kernel_is_told_not_to_forward_and_host_interfaces_are_up() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("kernel", PORTS);
    let running = folder.started();
    for family in ["-4", "-6"] {
        let rules = running.inside(&["ip", family, "rule"]);
        for name in ["wan0", "lan0"] {
            let rule = format!("100:\tfrom all iif {name} blackhole");
            assert_eq!(rules.matches(&rule).count(), 1, "{rules}");
        }
    }
    let links = running.inside(&["ip", "-br", "link"]);
    for name in ["wan0", "lan0"] {
        let line =
            links.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {links}"));
        assert!(line.contains(",UP"), "{line}");
    }
    running.inside(&["ip", "addr", "add", "10.9.8.7/24", "dev", "wan0"]);
    let deadline = Instant::now() + SOON;
    let mut client = api::Client::connect(&folder.socket()).unwrap();
    while !client.status().unwrap().interfaces[0].addresses.contains(&"10.9.8.7/24".to_owned()) {
        assert!(Instant::now() < deadline, "the address was not learnt");
        thread::sleep(Duration::from_millis(10));
    }
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// Stops one thread of a process, as a driver that never returns would, until its standard input ends.
const FREEZER: &str = r#"
import ctypes, os, sys
thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
def ptrace(request):
    if libc.ptrace(request, thread, None, None) < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
SEIZE, INTERRUPT, DETACH, ALL_CHILDREN = 0x4206, 0x4207, 17, 0x40000000
ptrace(SEIZE)
ptrace(INTERRUPT)
os.waitpid(thread, ALL_CHILDREN)
print("frozen", flush=True)
sys.stdin.read()
ptrace(DETACH)
"#;

/// The socket at which systemd would be told.
struct Notified(UnixDatagram);

impl Notified {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(socket)
    }

    /// The next thing that is told within `patience`, line by line.
    fn next(&self, patience: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn wait_for(&self, line: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.next(SOON).is_some_and(|told| told.lines().any(|told| told == line)) {
            assert!(Instant::now() < deadline, "nobody said {line}");
        }
    }
}

/// Waits until the second worker is counted to have stalled, and to be stalled still or not.
fn wait_for_stall(folder: &Folder, still: bool) {
    let counted = || {
        let worker = api::Client::connect(&folder.socket()).unwrap().status().unwrap().workers.remove(1);
        (worker.stalls > 0, worker.stalled)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while counted() != (true, still) {
        assert!(Instant::now() < deadline, "{:?} in place of {still}", counted());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn g08_a_worker_that_does_not_come_back_is_reported_and_starves_the_watchdog_until_it_does() {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    if !is_root() || cpus < 2 {
        return eprintln!("SKIPPED: two workers need root and two CPUs");
    }
    let folder = Folder::new("g08", &PORTS.replace("[dataplane]", "[dataplane]\nlcores = [0, 1]"));
    let notified = Notified::at(&folder.0.join("notify"));
    let log = folder.0.join("log");
    let mut command = folder.command();
    command.env("NOTIFY_SOCKET", folder.0.join("notify")).env("WATCHDOG_USEC", "3000000");
    let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let running = Running(child);
    let said = || fs::read_to_string(&log).unwrap();
    notified.wait_for("READY=1");
    assert!(api::Client::connect(&folder.socket()).is_ok(), "ready, and not served: {}", said());
    notified.wait_for("WATCHDOG=1");

    let task = |name: &str| {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().flatten().map(|task| task.path());
        let named =
            |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let path = tasks.into_iter().find(named).expect("a worker");
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let mut python = Command::new("python3");
    python.args(["-c", FREEZER, &task("rte-worker-2")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut freezer = python.spawn().unwrap();
    let mut answer = [0; 7];
    freezer.stdout.take().unwrap().read_exact(&mut answer).unwrap();
    notified.wait_for("STATUS=1 of 2 workers do not come back");
    assert!(said().contains("the worker does not come back"), "{}", said());
    let polls = || {
        let status = api::Client::connect(&folder.socket()).unwrap().status().unwrap();
        [status.workers[0].polls, status.workers[1].polls]
    };
    let before = polls();
    // For longer than the watchdog waits there is no sign of life, while the other worker goes on.
    let end = Instant::now() + Duration::from_secs(3);
    while let Some(told) =
        notified.next(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
    {
        assert!(!told.contains("WATCHDOG=1"), "{told}");
        assert!(Instant::now() < end);
    }
    let after = polls();
    assert!(after[0] > before[0] && after[1] == before[1], "{before:?}, then {after:?}");

    wait_for_stall(&folder, true);

    drop(freezer.stdin.take());
    assert!(freezer.wait().unwrap().success());
    notified.wait_for("STATUS=2 workers on 2 ports");
    assert!(said().contains("the worker has come back"), "{}", said());
    notified.wait_for("WATCHDOG=1");
    wait_for_stall(&folder, false);
    running.signal("TERM");
    notified.wait_for("STOPPING=1");
    let mut running = running;
    assert_eq!(running.0.wait().unwrap().code(), Some(0), "{}", said());
}
