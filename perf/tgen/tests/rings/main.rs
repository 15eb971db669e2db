//! The whole tester in process: between its two ports, made of rings, is a device under test of which all is known.
//!
//! Arguments: parts of names of tests to run.
#![allow(clippy::disallowed_methods, reason = "the device under test is a thread in real time")]

mod device;
mod tcp;
mod tracker;
mod udp;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dpdk::{
    Consumer, Eal, EalArgs, Lcore, LogLevel, Memory, Mempool, PoolConfig, Port, PortConfig, Producer,
    TscClock, spsc,
};
use tgen::end::End;
use tgen::flow::Role;
use tgen::neighbor::Station;
use tgen::outcome::Outcome;
use tgen::profile::{Network, Profile};
use tgen::side::Side;
use tgen::tester::Tester;
use wire::Mac;

use device::{Behaviour, Device};

/// What tests share.
pub struct Bed {
    eal: Eal,
    pool: Mempool,
    lcores: Vec<Lcore>,
    runs: u32,
}

/// A wire between the device under test and the tester: the device's ends.
pub struct Wire {
    /// What the tester sends.
    pub from_tester: Consumer,
    /// What the tester receives.
    pub to_tester: Producer,
}

impl Bed {
    /// Lets `work` have a tester of a profile with a device under test that behaves so. `lcores` is how many poll, one or two.
    fn with<T>(
        &mut self,
        profile: &Profile,
        lcores: usize,
        behaviour: Behaviour,
        work: impl FnOnce(&mut Tester) -> T,
    ) -> T {
        self.resolved(profile, lcores, behaviour, |tester, resolved| {
            resolved.expect("the device answers");
            work(tester)
        })
    }

    /// Why a tester finds nobody.
    fn refusal(&mut self, profile: &Profile, behaviour: Behaviour) -> String {
        self.resolved(profile, 1, behaviour, |_, resolved| resolved.expect_err("no answer").to_string())
    }

    fn resolved<T>(
        &mut self,
        profile: &Profile,
        lcores: usize,
        behaviour: Behaviour,
        work: impl FnOnce(&mut Tester, anyhow::Result<()>) -> T,
    ) -> T {
        self.runs += 1;
        let network = Network::built_in();
        let (mut sides, mut wires, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for role in Role::BOTH {
            let (end, port, wire) = self.port(role);
            let mac = Mac([2, 0, 0, 0, role as u8, 1]);
            let plan = if role == Role::Client { network.client } else { network.server };
            let station = Station::new(mac, plan, profile.family);
            sides.push(Side::new(role, end, station, None, profile.layout()));
            wires.push(wire);
            ports.push(port);
        }
        let device = Device::start(wires, self.pool.clone(), behaviour);
        let lcores = self.lcores.drain(..lcores).collect();
        let sides = sides.try_into().expect("two sides");
        let clock = TscClock::new(&self.eal);
        // A machine that is busy with other things may leave the device without a CPU for long.
        let settle = Duration::from_millis(1_500);
        let mut tester = Tester::new(sides, lcores, clock, settle, Arc::<AtomicBool>::default());
        let resolved = tester.resolve(profile, &network);
        let result = work(&mut tester, resolved);
        self.lcores.extend(tester.into_lcores());
        drop(device);
        result
    }

    fn port(&self, role: Role) -> (End, Port, Wire) {
        let name = |what: &str| format!("{what}-{}-{}", role as u8, self.runs);
        let (to_device, from_tester) = spsc(&self.eal, &name("out"), 1023).expect("a small ring");
        let (to_tester, from_device) = spsc(&self.eal, &name("in"), 1023).expect("a small ring");
        let mut port =
            Port::from_rings(&self.eal, &name("port"), vec![from_device], vec![to_device]).expect("a port");
        port.configure(&PortConfig::new(1), std::slice::from_ref(&self.pool)).expect("rings want nothing");
        let mut queues = port.start().expect("rings start");
        let end = End::new(queues.rx.remove(0), queues.tx.remove(0), self.pool.clone());
        (end, port, Wire { from_tester, to_tester })
    }

    /// One trial on one lcore.
    pub fn trial(&mut self, profile: &str, behaviour: Behaviour, rate: f64, seconds: f64) -> Outcome {
        let profile = Profile::find(profile).expect("a profile");
        self.with(&profile, 1, behaviour, |tester| tester.trial(rate, seconds, &mut || ()).expect("a trial"))
    }
}

type Test = (&'static str, fn(&mut Bed));

macro_rules! tests {
    ($($module:ident :: $name:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name),)*]
    };
}

const TESTS: &[Test] = tests![
    udp::what_is_planned_is_sent_and_arrives,
    udp::each_loss_is_counted,
    udp::copies_and_late_ones_are_told_apart,
    udp::damage_is_no_arrival,
    udp::what_comes_back_to_its_sender_is_no_arrival,
    udp::one_way_traffic_goes_one_way,
    udp::two_lcores_do_as_one,
    udp::trials_follow_each_other_on_their_own,
    udp::an_interruption_ends_a_trial_with_its_counts,
    udp::a_device_that_does_not_answer_is_named,
    tcp::connections_are_opened_used_and_closed,
    tcp::a_connection_that_loses_its_way_is_given_up_and_counted,
    tcp::a_lost_segment_is_a_loss_and_no_end,
    tcp::a_device_that_is_full_loses_no_answer,
    tcp::established_connections_carry_data_both_ways_and_are_closed,
    tcp::one_way_data_is_acknowledged,
    tcp::connections_that_do_not_open_are_told,
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let cpus = affinity::get_thread_affinity().expect("the CPUs of this process");
    let args = EalArgs::new("rings", Memory::NoHuge { mib: 128 })
        .lcore(0, &cpus)
        .lcore(1, &cpus)
        .lcore(2, &cpus)
        .log_level(LogLevel::Error)
        .file_prefix("tgen-rings");
    let eal = Eal::init(&args).expect("needs libdpdk, nothing else");
    let pool = Mempool::new(&eal, &PoolConfig::new("rings", 8191)).expect("fits into the memory asked for");
    let lcores = eal.take_lcores();
    let mut bed = Bed { eal, pool, lcores, runs: 0 };
    let mut failed = 0;
    let mut passed = 0;
    for (name, test) in TESTS
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())))
    {
        let done = panic::catch_unwind(AssertUnwindSafe(|| test(&mut bed)));
        let in_use = bed.pool.in_use();
        if done.is_ok() && in_use == 0 {
            println!("test {name} ... ok");
            passed += 1;
        } else {
            println!("test {name} ... FAILED, {in_use} mbufs in use");
            failed += 1;
            // Its lcores and packets are lost.
            break;
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
