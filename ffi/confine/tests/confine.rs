//! What can be given up: in children of the test, which are this program again.
#![allow(clippy::disallowed_methods, reason = "tests of what threads may do have threads")]
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use confine::{Account, Capabilities, Capability, Filter, Standing, list};

/// Names what a child is to do.
const DEED: &str = "CONFINE_DEED";
/// What a child that lived ends with.
const LIVED: i32 = 42;

/// Runs this program again, to do a deed.
fn child(deed: &str) -> ExitStatus {
    let program = env::current_exe().expect("a program");
    let mut command = Command::new(program);
    command.args(["--exact", "the_deeds_of_a_child", "--ignored", "--test-threads=1"]).env(DEED, deed);
    command.output().expect("it runs").status
}

fn lived(deed: &str) {
    assert_eq!(child(deed).code(), Some(LIVED), "{deed}");
}

fn died(deed: &str) {
    assert_eq!(child(deed).signal(), Some(libc::SIGSYS), "{deed}");
}

#[test]
#[ignore = "what children of the other tests do"]
fn the_deeds_of_a_child() {
    let Ok(deed) = env::var(DEED) else { return };
    let apply = |lists: &[&[confine::Call]]| Filter::new(lists).unwrap().apply_to_process().unwrap();
    let ordinary = [list::STREAMS, list::THREADS, list::READING, list::READING_OLDER];
    match deed.as_str() {
        "threads" => {
            let (tell, told) = std::sync::mpsc::channel();
            let waiting = std::thread::spawn(move || told.recv().is_ok());
            apply(&ordinary);
            let standings = Standing::of_all_threads().unwrap();
            assert!(standings.len() >= 2 && standings.iter().all(|thread| thread.filtered), "{standings:?}");
            tell.send(()).unwrap();
            assert!(waiting.join().unwrap());
            // One that is started later is limited as well, although the C library would use clone3(2) for it.
            assert!(std::thread::spawn(|| Standing::of_all_threads().unwrap()).join().unwrap()[0].filtered);
        }
        "reads" => {
            apply(&ordinary);
            assert!(!fs::read_to_string("/proc/self/status").unwrap().is_empty());
            assert_eq!(fs::read("/nowhere").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        "makes a file" => {
            apply(&ordinary);
            let _ = File::create("/nowhere/at/all");
        }
        "executes" => {
            apply(&ordinary);
            let _ = Command::new("true").status();
        }
        "traces" => {
            apply(&ordinary);
            // SAFETY: has no pointers.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME) };
        }
        "makes a socket" => {
            apply(&ordinary);
            let _ = UnixStream::connect("/nowhere");
        }
        "may make a socket" => {
            apply(&[list::STREAMS, list::THREADS, list::SOCKETS]);
            assert!(UnixStream::connect("/nowhere").is_err());
        }
        "makes a socket in a stricter thread" => {
            apply(&[list::STREAMS, list::THREADS, list::SOCKETS]);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    Filter::new(&[list::STREAMS]).unwrap().apply_to_thread().unwrap();
                    let _ = UnixStream::connect("/nowhere");
                });
            });
        }
        "becomes nobody" => {
            // The test harness has threads of its own, which is refused.
            let refused = Account::nobody().assume().unwrap_err().to_string();
            assert!(refused.contains("threads run already"), "{refused}");
        }
        "keeps little" => {
            let kept = Capabilities::NONE.with(Capability::NetAdmin);
            kept.keep().unwrap();
            let now = Capabilities::of_this_thread().unwrap();
            assert_eq!(now, now.common(kept));
            // What was given up does not come back.
            kept.with(Capability::NetRaw).keep().unwrap();
            assert_eq!(Capabilities::of_this_thread().unwrap(), now);
            Capabilities::NONE.keep().unwrap();
            assert_eq!(Capabilities::of_this_thread().unwrap(), Capabilities::NONE);
        }
        other => panic!("no deed {other:?}"),
    }
    std::process::exit(LIVED);
}

#[test]
fn h01_a_call_that_is_not_on_the_list_ends_the_process() {
    lived("threads");
    lived("reads");
    lived("may make a socket");
    for deed in
        ["makes a file", "executes", "traces", "makes a socket", "makes a socket in a stricter thread"]
    {
        died(deed);
    }
}

#[test]
fn h01_capabilities_are_given_up_for_good() {
    lived("keeps little");
    lived("becomes nobody");
}

#[test]
fn capabilities_have_their_names() {
    let both = Capabilities::NONE.with(Capability::NetRaw).with(Capability::NetAdmin);
    assert_eq!((both.to_string().as_str(), both.mask()), ("CAP_NET_ADMIN CAP_NET_RAW", 1 << 12 | 1 << 13));
    assert_eq!(Capabilities::NONE.to_string(), "none");
}

#[test]
fn users_are_found_with_their_groups() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nguard:x:991:990::/:/usr/sbin/nologin\nbroken:x:\n";
    let group = "root:x:0:\nturnpike:x:990:guard\nvfio:x:77:root,guard\nguards:x:78:guardian\nbroken\n";
    let guard = Account::find("guard", passwd, group).unwrap();
    assert_eq!((guard.uid, guard.gid, guard.groups), (991, 990, vec![77]));
    assert_eq!(Account::find("nobody", passwd, group), None);
    assert_eq!(Account::find("broken", passwd, group), None);
    assert_eq!(Account::find("", "", ""), None);
}
