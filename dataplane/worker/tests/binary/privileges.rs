//! As whom the process runs, and what it may do (reliability.md H1).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use worker::config::Config;
use worker::privileges;

use crate::{Folder, PORTS, PROGRAM, is_root, last_line, stderr};

/// What /proc says of each thread of a process: name, user, capabilities that it has or may take, what it may inherit or
/// hand on, whether it can gain any, how its system calls are limited, and by how many filters.
fn threads(pid: u32) -> Vec<(String, [String; 6])> {
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_default().to_owned()
    };
    let folders = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = folders.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let of = |status: String| {
        let rights = ["CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp"];
        assert_eq!(field(&status, "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(field(&status, "Gid"), "65534\t65534\t65534\t65534");
        (field(&status, "Name"), rights.map(|name| field(&status, name)))
    };
    statuses.map(of).collect()
}

/// A user that is not the package's, which the machine may have.
fn as_nobody(config: &str) -> String {
    config.replacen("[dataplane]\n", "[dataplane]\nuser = \"nobody\"\n", 1)
}

#[test]
fn h01_root_is_given_up_with_all_but_what_the_devices_need() {
    if !is_root() {
        return;
    }
    let pairs = "ip link add pw type veth peer name ew && ip link add pl type veth peer name el && ip link set pw up && \
        ip link set pl up && exec \"$0\" \"$@\"";
    let packets = PORTS.replace("net_tap0,iface=tpw", "net_af_packet0,iface=pw");
    let packets = packets.replace("net_tap1,iface=tpl", "net_af_packet1,iface=pl");
    // CAP_NET_ADMIN is the 12th, CAP_NET_RAW the 13th.
    for (name, config, kept) in
        [("h01-tap", PORTS, "0000000000001000"), ("h01-packets", &packets, "0000000000003000")]
    {
        let folder = Folder::new(name, &as_nobody(config));
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", pairs, PROGRAM, "--config"]).arg(folder.config());
        command.arg("--socket").arg(folder.socket());
        let running = folder.started_by(&mut command);
        let threads = threads(running.pid());
        assert!(threads.len() >= 5, "{threads:?}");
        for (thread, rights) in &threads {
            let without = thread.starts_with("rte-worker") || thread.starts_with("eal-intr");
            let none = "0000000000000000";
            let has = if without { none } else { kept };
            assert_eq!(rights, &[has, has, none, none, "1", "2"], "{name}: {thread}");
        }
        let main = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        assert!(main.contains("CapBnd:\t0000000000000000\n"), "{main}");
        assert!(main.contains("Groups:\t \n"), "{main}");
        running.signal("TERM");
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(!folder.socket().exists() && !folder.0.join("dpdk").exists(), "something is left behind");
    }
}

#[test]
fn h01_a_forbidden_system_call_ends_the_process_whichever_thread_makes_it() {
    if !is_root() {
        return;
    }
    for name in ["turnpike-datapl", "rte-worker-1", "control"] {
        let folder = Folder::new("h01-call", &as_nobody(PORTS));
        let running = folder.started();
        let tasks = fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().flatten();
        let named = |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let task = tasks.map(|task| task.path()).find(|task| named(task)).expect("a thread of this name");
        // In place of what the thread does next it asks for its process group, which is on no list.
        let thread = task.file_name().unwrap().to_str().unwrap();
        let call = "inject=clock_nanosleep,poll,ppoll:retval=0:syscall=getpgrp:when=2";
        let traced = Command::new("strace").args(["-p", thread, "-e", call]).output().unwrap();
        assert!(stderr(&traced).contains("killed by SIGSYS"), "{name}: {}", stderr(&traced));
        let mut running = running;
        assert_eq!(running.0.wait().unwrap().signal(), Some(libc::SIGSYS), "{name}");
    }
}

/// Its socket, its counters and EAL's folder are nobody else's.
#[test]
fn h02_what_it_shares_is_for_its_owner_and_group() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("h02", &as_nobody(PORTS));
    let _running = folder.started();
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["dataplane.sock", "dataplane.counters", "dpdk"].map(mode), [0o660, 0o640, 0o700]);
}

/// Names what a child of a test is to do.
const DEED: &str = "TURNPIKE_TEST_DEED";
/// What a child that lived ends with.
const LIVED: i32 = 42;

#[test]
#[ignore = "what children of another test do"]
fn the_deeds_of_a_child() {
    let Ok(deed) = std::env::var(DEED) else { return };
    let config = Config::parse("t.toml".as_ref(), PORTS).unwrap();
    let (who, what) = deed.split_once(' ').unwrap();
    match who {
        "process" => privileges::process_filter(&config).unwrap().apply_to_process().unwrap(),
        _ => privileges::worker_filter().unwrap().apply_to_thread().unwrap(),
    }
    match what {
        "sleeps" => thread::sleep(Duration::from_millis(1)),
        "reads a file" => drop(fs::read("/proc/self/status")),
        "starts a thread" => drop(thread::spawn(|| ()).join()),
        "makes a socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
        "makes a packet socket" => drop(rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None)),
        "makes a file" => drop(fs::File::create("/nowhere/at/all")),
        "executes" => drop(Command::new("true").status()),
        "ends another" => drop(rustix::process::test_kill_process(rustix::process::Pid::INIT)),
        "becomes root" => drop(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT)),
        other => panic!("no deed {other:?}"),
    }
    std::process::exit(LIVED);
}

#[test]
fn h01_system_calls_are_those_that_are_needed() {
    let child = |deed: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "privileges::the_deeds_of_a_child", "--ignored", "--test-threads=1"])
            .env(DEED, deed);
        command.output().unwrap().status
    };
    for deed in [
        "process sleeps",
        "process reads a file",
        "process starts a thread",
        "process makes a socket",
        "worker sleeps",
    ] {
        assert_eq!(child(deed).code(), Some(LIVED), "{deed}");
    }
    for what in ["makes a packet socket", "makes a file", "executes", "ends another", "becomes root"] {
        for who in ["process", "worker"] {
            assert_eq!(child(&format!("{who} {what}")).signal(), Some(libc::SIGSYS), "{who} {what}");
        }
    }
    for what in ["reads a file", "starts a thread", "makes a socket"] {
        assert_eq!(child(&format!("worker {what}")).signal(), Some(libc::SIGSYS), "worker {what}");
    }
}

/// The C library counts CPUs by a file as soon as there are more heaps than some, in whichever thread needs one then.
#[test]
fn h01_a_worker_needs_no_file_to_allocate_among_many_threads() {
    if !is_root() {
        return;
    }
    // Each is served by a thread: with some number of them the worker is the one whose heap is one too many.
    for others in 0..10 {
        let folder = Folder::new("h01-heap", &as_nobody(PORTS));
        let mut running = folder.started();
        let others: Vec<_> = (0..others).map(|_| api::Client::connect(&folder.socket()).unwrap()).collect();
        let mut client = api::Client::connect(&folder.socket()).unwrap();
        assert_eq!(client.commit(&ruleset::Ruleset::default()).unwrap(), 1);
        client.status().unwrap();
        let ended = running.0.try_wait().unwrap();
        assert!(ended.is_none(), "with {} others it ended: {ended:?}", others.len());
    }
}

#[test]
fn h01_another_user_is_named_by_the_configuration() {
    let user = |name: &str| PORTS.replacen("[dataplane]\n", &format!("[dataplane]\nuser = \"{name}\"\n"), 1);
    let parse = |name: &str| Config::parse("t.toml".as_ref(), &user(name)).map_err(|fault| fault.to_string());
    assert_eq!(parse("daemon").unwrap().dataplane.user.as_deref(), Some("daemon"));
    for bad in ["root", ""] {
        let said = parse(bad).unwrap_err();
        assert!(said.contains("t.toml:2:8: `user` is") && said.contains("other than root"), "{said}");
    }
    if !is_root() {
        return;
    }
    let said = Folder::new("no-user", &user("nobody-has-this-name")).refused();
    assert!(said.contains("there is no user nobody-has-this-name; make it (useradd --system"), "{said}");
    // Whoever is not root stays who he is, or is told so.
    let folder = Folder::new("not-root", &user("daemon"));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups", PROGRAM, "--config"]).arg(folder.config());
    let output = command.arg("--socket").arg(folder.socket()).output().unwrap();
    let said = last_line(&stderr(&output));
    assert!(said.contains("started as the user 65534, it cannot become daemon"), "{said}");
}
