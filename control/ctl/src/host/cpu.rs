//! The workers' CPUs: theirs alone, at full speed, with a clock that they can read.

use super::{
    Finding,
    wanted::{self, Wanted},
};
use crate::tree::{Tree, cpu_list, write_cpu_list};

const CPUS: &str = "/sys/devices/system/cpu";

pub fn check(tree: &Tree, wanted: &Wanted) -> Vec<Finding> {
    let mut findings: Vec<Finding> = choice(tree, wanted).into_iter().collect();
    if findings.is_empty() {
        findings.extend(isolation(tree, wanted));
    }
    findings.extend(governor(tree, wanted));
    findings.extend(clock(tree));
    findings
}

/// The NUMA node of a CPU; `None` if the kernel does not tell.
pub fn node(tree: &Tree, cpu: u32) -> Option<u32> {
    let names = tree.names(&format!("{CPUS}/cpu{cpu}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok())
}

/// What the first CPU can do, as /proc/cpuinfo says.
pub fn flags(tree: &Tree) -> Vec<String> {
    let text = tree.text("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("flags")).and_then(|line| line.split_once(':'));
    line.map_or_else(Vec::new, |(_, flags)| flags.split_whitespace().map(str::to_owned).collect())
}

/// Whether the CPUs can be workers' at all.
fn choice(tree: &Tree, wanted: &Wanted) -> Option<Finding> {
    let online = wanted::online(tree);
    if let Some(absent) = wanted.lcores.iter().find(|cpu| !online.contains(cpu)) {
        let what = format!("CPU {absent} of `lcores` is not online; {} are", write_cpu_list(&online));
        return Some(Finding::new("cpus", what));
    }
    if online.len() == 1 {
        let what = "the only CPU is the worker's and everything else's; give the machine another";
        return Some(Finding::new("cpus", what.into()));
    }
    wanted.lcores.contains(&0).then(|| {
        let what =
            "CPU 0 does the kernel's own work and cannot be a worker's alone; choose others in `lcores`";
        Finding::new("cpus", what.into())
    })
}

/// Nothing but the worker runs on its CPU, nor on the other threads of its core.
fn isolation(tree: &Tree, wanted: &Wanted) -> Option<Finding> {
    let list = |file: &str| tree.text(&format!("{CPUS}/{file}")).map(|text| cpu_list(&text));
    let siblings = wanted.lcores.iter().flat_map(|cpu| {
        list(&format!("cpu{cpu}/topology/thread_siblings_list")).unwrap_or_else(|| vec![*cpu])
    });
    // CPU 0 keeps the kernel's work, also where it is the other thread of a worker's core.
    let mut apart: Vec<u32> = siblings.filter(|cpu| *cpu != 0).collect();
    let isolated = list("isolated").unwrap_or_default();
    // Absent where the kernel cannot stop a CPU's tick.
    let tickless = list("nohz_full");
    let missing = |has: &[u32]| apart.iter().any(|cpu| !has.contains(cpu));
    let tick = tickless.as_deref().is_some_and(missing);
    if !missing(&isolated) && !tick {
        return None;
    }
    let workers = write_cpu_list(&wanted.lcores);
    let what = if missing(&isolated) {
        format!("the scheduler may put other work on CPU {workers}, the workers'")
    } else {
        format!("the kernel's tick interrupts CPU {workers}, the workers'")
    };
    apart.extend(isolated);
    apart.sort_unstable();
    apart.dedup();
    let all = write_cpu_list(&apart);
    let mut arguments = vec![format!("isolcpus=managed_irq,domain,{all}"), format!("rcu_nocbs={all}")];
    if tickless.is_some() {
        arguments.push(format!("nohz_full={all}"));
    }
    Some(Finding::new("cpus", what).argue(tree, arguments))
}

fn governor(tree: &Tree, wanted: &Wanted) -> Option<Finding> {
    // A machine without cpufreq has nothing to choose: most virtual ones.
    let of = |cpu: &u32| tree.text(&format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"));
    let slow = wanted.lcores.iter().find_map(|cpu| {
        let governor = of(cpu)?;
        (governor != "performance").then(|| format!("the frequency governor of CPU {cpu} is {governor}"))
    })?;
    let cpus = write_cpu_list(&wanted.lcores);
    let command = format!("cpupower -c {cpus} frequency-set -g performance");
    Some(
        Finding::new("governor", format!("{slow}; cpupower is in the package linux-cpupower"))
            .command(command),
    )
}

/// Time is read from the CPU's counter, which must run evenly.
fn clock(tree: &Tree) -> Option<Finding> {
    let flags = flags(tree);
    let lacks =
        ["constant_tsc", "nonstop_tsc"].into_iter().find(|need| flags.iter().all(|flag| flag != need))?;
    // Other architectures have other words, and counters that run evenly.
    let x86 = flags.iter().any(|flag| flag == "tsc");
    x86.then(|| {
        let what =
            format!("the CPU's time-stamp counter does not run evenly (no {lacks}): time-outs will be wrong");
        Finding::new("clock", what)
    })
}
