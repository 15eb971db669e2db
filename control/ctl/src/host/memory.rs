//! Hugepages: enough of them, on the right NUMA node, and free.

use super::{Finding, wanted::Wanted};
use crate::tree::Tree;

/// From here on pages of 1 GiB are advised, where the CPU has them: one entry of its address cache covers them all.
const LARGE_MIB: u64 = 1024;
/// A process's name as the kernel keeps it: 15 bytes.
const DATAPLANE: &str = "turnpike-datapl";

/// Hugepages of every size, in MiB.
struct Pages {
    reserved_mib: u64,
    free_mib: u64,
}

impl Pages {
    fn of(tree: &Tree, folder: &str) -> Self {
        let mut all = Self { reserved_mib: 0, free_mib: 0 };
        for size in tree.names(folder) {
            let kib: Option<u64> =
                size.strip_prefix("hugepages-").and_then(|text| text.strip_suffix("kB")?.parse().ok());
            let mib = |file: &str| {
                let pages = tree.number(&format!("{folder}/{size}/{file}")).unwrap_or(0);
                pages * kib.unwrap_or(0) / 1024
            };
            all.reserved_mib += mib("nr_hugepages");
            all.free_mib += mib("free_hugepages");
        }
        all
    }
}

pub fn check(tree: &Tree, wanted: &Wanted) -> Vec<Finding> {
    if !wanted.hugepages {
        return Vec::new();
    }
    let pages = Pages::of(tree, "/sys/kernel/mm/hugepages");
    let mib = wanted.memory_mib;
    if pages.reserved_mib < mib {
        let what = format!("{mib} MiB are wanted, {} MiB are reserved", pages.reserved_mib);
        let now = format!("sysctl -w vm.nr_hugepages={}", mib.div_ceil(2));
        return vec![Finding::new("hugepages", what).argue(tree, reservation(tree, mib)).command(now)];
    }
    if pages.free_mib < mib && !dataplane_runs(tree) {
        let what = format!(
            "{mib} MiB are wanted; {} MiB are reserved, and others than the dataplane use all but {} MiB",
            pages.reserved_mib, pages.free_mib
        );
        let total = pages.reserved_mib + mib - pages.free_mib;
        let now = format!("sysctl -w vm.nr_hugepages={}", total.div_ceil(2));
        return vec![Finding::new("hugepages", what).argue(tree, reservation(tree, total)).command(now)];
    }
    on_node(tree, wanted).into_iter().collect()
}

/// Where there are several nodes, memory is wanted where the workers are.
fn on_node(tree: &Tree, wanted: &Wanted) -> Option<Finding> {
    let node = super::cpu::node(tree, *wanted.lcores.first()?)?;
    let folder = format!("/sys/devices/system/node/node{node}/hugepages");
    let reserved = Pages::of(tree, &folder).reserved_mib;
    if !tree.has(&folder) || reserved >= wanted.memory_mib {
        return None;
    }
    let what = format!(
        "{} MiB are wanted on node {node}, where the workers are; {reserved} MiB are reserved there",
        wanted.memory_mib
    );
    let pages = wanted.memory_mib.div_ceil(2);
    let now = format!("echo {pages} > {folder}/hugepages-2048kB/nr_hugepages");
    Some(Finding::new("hugepages", what).command(now))
}

fn reservation(tree: &Tree, mib: u64) -> Vec<String> {
    let flags = super::cpu::flags(tree);
    let (size, page_mib) =
        if mib >= LARGE_MIB && flags.iter().any(|flag| flag == "pdpe1gb") { ("1G", 1024) } else { ("2M", 2) };
    vec![
        format!("default_hugepagesz={size}"),
        format!("hugepagesz={size}"),
        format!("hugepages={}", mib.div_ceil(page_mib)),
    ]
}

fn dataplane_runs(tree: &Tree) -> bool {
    tree.names("/proc").iter().any(|process| {
        process.bytes().all(|byte| byte.is_ascii_digit())
            && tree.text(&format!("/proc/{process}/comm")).as_deref() == Some(DATAPLANE)
    })
}
