//! The real process against a dataplane made of threads.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and time")]

pub mod fake;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use api::control::{Apply, ControlStatus, Operator, Sources, TableAction, TableRequest};
use api::{Control, ControlError};

use self::fake::Fake;

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tpc-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        // Root's turnpike-control becomes another user.
        open_to_all(&path);
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn revisions(&self) -> PathBuf {
        self.path("state/revisions")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets every user in.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// A running turnpike-control.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    pub control: Control,
    pub metrics: String,
    socket: PathBuf,
}

impl Daemon {
    /// Starts it, and waits until it answers.
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(folder, "")
    }

    /// With more lines in `[control]`.
    pub fn start_with(folder: &Folder, lines: &str) -> Self {
        Self::start_logging(folder, lines, "text")
    }

    /// With more lines in `[control]`, and a format of its log.
    pub fn start_logging(folder: &Folder, lines: &str, format: &str) -> Self {
        let config = folder.path("turnpike.toml");
        // Never the machine's own.
        let pflog = match lines.contains("pflog =") {
            true => String::new(),
            false => format!("pflog = {:?}\n", folder.path("pflog")),
        };
        fs::write(&config, format!("[control]\n{pflog}{lines}\n")).unwrap();
        let socket = folder.path("control.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_turnpike-control"))
            .arg("--config")
            .arg(&config)
            .arg("--socket")
            .arg(&socket)
            .arg("--dataplane-socket")
            .arg(folder.path("dataplane.sock"))
            .arg("--state-dir")
            .arg(folder.path("state"))
            .arg("--pf-conf")
            .arg(folder.path("pf.conf"))
            .args(["--metrics", "127.0.0.1:0", "--log-format", format])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let mut daemon = Self { child, log, control: Control::new(&socket), metrics: String::new(), socket };
        let marker = "metrics at http://";
        daemon.wait_for_log(marker);
        let log = daemon.log();
        let rest = &log[log.find(marker).unwrap() + marker.len()..];
        daemon.metrics = rest[..rest.find('/').unwrap()].to_owned();
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for_log(&self, text: &str) {
        wait(&format!("the log to say {text:?}"), || {
            let log = self.log();
            log.contains(text).then_some(()).ok_or(log)
        });
    }

    pub fn status(&self) -> ControlStatus {
        self.control.status().unwrap()
    }

    /// Waits until the status is as `fits` says.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&ControlStatus) -> bool) -> ControlStatus {
        wait(what, || {
            let status = self.status();
            if fits(&status) { Ok(status) } else { Err(format!("{status:#?}\n{}", self.log())) }
        })
    }

    pub fn apply(&self, text: &str) -> Result<api::control::Applied, ControlError> {
        self.control.apply(&Apply { sources: sources(text), ..Apply::default() })
    }

    pub fn apply_to_confirm(&self, text: &str, seconds: u32) -> Result<api::control::Applied, ControlError> {
        self.control.apply(&Apply {
            sources: sources(text),
            confirm_s: Some(seconds),
            comment: "to be confirmed".into(),
            ..Apply::default()
        })
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).unwrap()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A raw request to the control socket, and everything that comes back.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Status and body of a path of the metrics' port.
    pub fn scrape(&self, path: &str) -> (u16, String) {
        self.scrape_as(path, "*/*")
    }

    /// As [`Self::scrape`], with the kinds of content that are accepted.
    pub fn scrape_as(&self, path: &str, accept: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of turnpike-control\n{}", self.log());
        }
    }
}

/// Repeats until it comes true.
pub fn wait<T, E: std::fmt::Display>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= end => panic!("waited in vain for {what}; at last: {last}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A ruleset without anything around it.
pub fn sources(text: &str) -> Sources {
    Sources { name: "pf.conf".into(), text: text.into(), ..Sources::default() }
}

/// The refusal's status and text.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, ControlError>) -> (u16, String) {
    match result {
        Err(ControlError::Refused { status, problem }) => (status, problem.error),
        other => panic!("not refused: {other:?}"),
    }
}

/// What a dataplane has in a table.
pub fn held(fake: &Fake, table: &str) -> Vec<String> {
    let mut held: Vec<String> =
        fake.state().tables[table].iter().map(|entry| entry.net.to_string()).collect();
    held.sort();
    held
}

/// A change of a table that nobody would be cut off by.
pub fn change(action: TableAction, addresses: &[&str]) -> TableRequest {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    TableRequest {
        action,
        addresses,
        older_than_s: 0,
        dry_run: false,
        detail: true,
        operator: Operator::default(),
    }
}
