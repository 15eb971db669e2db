use std::process::{Command, Stdio};

use dpdk::port::{Link, Promiscuous, Signal};
use dpdk::{Burst, Device, Port, PortConfig, Queues};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::{Bed, Outcome, wait_for};

const NEEDS_ROOT: Outcome = Outcome::Skipped("TAP interfaces and network namespaces need root");

fn is_root() -> bool {
    // The owner of this process, without a system call of our own.
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Runs a command that must succeed.
fn run(words: &str) {
    let mut parts = words.split_whitespace();
    let status = Command::new(parts.next().expect("a program")).args(parts).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{words}: {status:?}");
}

/// A network namespace with one TAP interface in it, removed when dropped.
struct Namespace(String);

impl Namespace {
    fn new(interface: &str) -> Namespace {
        let namespace = Namespace(format!("dpdk-{interface}-{}", std::process::id()));
        run(&format!("ip netns add {}", namespace.0));
        namespace
    }

    fn ip(&self, words: &str) {
        run(&format!("ip -n {} {words}", self.0));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn tap(index: u8) -> Device {
    format!("net_tap{index},iface=dpdkbed{index}").parse().expect("a device")
}

/// An ARP reply to `request`, saying that our address is `mac`.
fn arp_reply(request: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let mut reply = request[..42].to_vec();
    reply[0..6].copy_from_slice(&request[6..12]);
    reply[6..12].copy_from_slice(&mac);
    reply[21] = 2;
    reply[22..28].copy_from_slice(&mac);
    reply[28..32].copy_from_slice(&request[38..42]);
    reply[32..42].copy_from_slice(&request[22..32]);
    reply
}

pub fn frames_to_and_from_the_kernel(bed: &Bed) -> Outcome {
    if !is_root() {
        return NEEDS_ROOT;
    }
    let namespace = Namespace::new("frames");
    let mut port = Port::attach(&bed.eal, &tap(0)).expect("root may make TAP interfaces");
    assert_eq!(port.info().expect("answers").driver, "net_tap");
    port.configure(&PortConfig::new(2), std::slice::from_ref(&bed.pool)).expect("two queues");
    let Queues { mut rx, mut tx } = port.start().expect("is configured");
    port.set_promiscuous(Promiscuous::On).expect("TAP can");
    port.set_all_multicast().expect("TAP can");
    run(&format!("ip link set dpdkbed0 netns {}", namespace.0));
    namespace.ip("addr add 192.0.2.1/24 dev dpdkbed0");
    namespace.ip("link set dpdkbed0 up");

    // The kernel must resolve our address, then sends the datagram; both pass through us.
    let mut sender = Command::new("ip")
        .args(["netns", "exec", &namespace.0, "bash", "-c"])
        .arg("for i in $(seq 20); do echo -n through > /dev/udp/192.0.2.2/9; sleep 0.1; done")
        .stdout(Stdio::null())
        .spawn()
        .expect("ip is installed");
    let mut burst = Burst::new();
    let mut answered = false;
    let datagram = wait_for("the datagram", || {
        rx.iter_mut().for_each(|queue| _ = queue.rx_burst(&mut burst));
        burst.drain().find_map(|frame| match (&frame.data()[12..14], frame.data()[23]) {
            ([8, 6], _) => {
                let mut reply = Burst::new();
                reply.push(bed.frame(&arp_reply(frame.data(), [2, 0, 0, 0, 0, 9]))).expect("is empty");
                assert_eq!(tx[0].tx_burst(&mut reply), 1);
                answered = true;
                None
            }
            ([8, 0], 17) => Some(frame),
            _ => None,
        })
    });
    assert!(answered);
    assert_eq!(datagram.data()[0..6], [2, 0, 0, 0, 0, 9]);
    assert!(datagram.data().ends_with(b"through"));
    let stats = port.stats().expect("answers");
    assert!(stats.rx_packets >= 2 && stats.tx_packets >= 1 && stats.tx_errors == 0, "{stats:?}");
    sender.kill().expect("is ours");
    sender.wait().expect("was killed");
    Outcome::Done
}

pub fn the_link_follows_the_interface(bed: &Bed) -> Outcome {
    if !is_root() {
        return NEEDS_ROOT;
    }
    let mut port = Port::attach(&bed.eal, &tap(1)).expect("root may make TAP interfaces");
    port.configure(&PortConfig::new(1), std::slice::from_ref(&bed.pool)).expect("one queue");
    let _queues = port.start().expect("is configured");
    for _ in 0..2 {
        run("ip link set dpdkbed1 down");
        wait_for("the link to go", || (port.link().expect("answers") == Link::Down).then_some(()));
        run("ip link set dpdkbed1 up");
        wait_for("the link to come", || (port.link().expect("answers") != Link::Down).then_some(()));
    }
    Outcome::Done
}

/// Whether a descriptor becomes readable within so many milliseconds. The driver has SIGIO for each frame, which may come first.
fn is_readable(signal: &Signal<'_>, within_ms: i64) -> bool {
    let limit = Timespec { tv_sec: 0, tv_nsec: within_ms * 1_000_000 };
    retry_on_intr(|| poll(&mut [PollFd::new(&signal.fd, PollFlags::IN)], Some(&limit))).expect("polls") == 1
}

pub fn a_queue_signals_what_has_arrived(bed: &Bed) -> Outcome {
    if !is_root() {
        return NEEDS_ROOT;
    }
    let namespace = Namespace::new("signal");
    let mut port = Port::attach(&bed.eal, &tap(3)).expect("root may make TAP interfaces");
    let config = PortConfig { rx_interrupts: true, ..PortConfig::new(1) };
    port.configure(&config, std::slice::from_ref(&bed.pool)).expect("one queue");
    let Queues { mut rx, .. } = port.start().expect("is configured");
    run(&format!("ip link set dpdkbed3 netns {}", namespace.0));
    let mut burst = Burst::new();
    for round in 0..3 {
        rx[0].arm().expect("nothing to do for a TAP");
        wait_for("silence", || {
            let quiet = rx[0].rx_burst(&mut burst) == 0;
            burst.clear();
            quiet.then_some(())
        });
        assert!(!is_readable(&rx[0].signal().expect("a TAP signals"), 0), "round {round}: nothing was sent");
        // The kernel greets its new link, and later asks for a neighbour.
        match round {
            0 => namespace.ip("link set dpdkbed3 up"),
            _ => namespace
                .ip(&format!("neigh replace 192.0.2.{round} lladdr 02:00:00:00:00:0{round} dev dpdkbed3")),
        }
        if round > 0 {
            namespace.ip("addr replace 192.0.2.77/24 dev dpdkbed3");
            run(&format!("ip netns exec {} bash -c echo>/dev/udp/192.0.2.{round}/9", namespace.0));
        }
        assert!(is_readable(&rx[0].signal().expect("a TAP signals"), 900), "round {round}: unsignalled");
        wait_for("the frame", || {
            let found = rx[0].rx_burst(&mut burst) > 0;
            burst.clear();
            found.then_some(())
        });
        rx[0].disarm().expect("nothing to do for a TAP");
    }
    Outcome::Done
}

pub fn the_interface_goes_with_its_port(bed: &Bed) -> Outcome {
    if !is_root() {
        return NEEDS_ROOT;
    }
    let interface = std::path::Path::new("/sys/class/net/dpdkbed2");
    for _ in 0..3 {
        let port = Port::attach(&bed.eal, &tap(2)).expect("root may make TAP interfaces");
        assert!(interface.exists());
        drop(port);
        assert!(!interface.exists());
    }
    Outcome::Done
}
