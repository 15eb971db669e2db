//! What devices need: an IOMMU, the driver vfio-pci, and TAP interfaces for the host path.

use super::{Finding, wanted::Wanted};
use crate::tree::{Tree, write_cpu_list};

const DEVICES: &str = "/sys/bus/pci/devices";
/// Drivers that DPDK works with: vfio-pci, and those that it shares a device with.
const USABLE: [&str; 3] = ["vfio-pci", "mlx4_core", "mlx5_core"];
/// PCI's class of bridges, which stand in a group without being used.
const BRIDGE: &str = "0x06";

pub fn check(tree: &Tree, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !tree.has("/dev/net/tun") {
        let what = "/dev/net/tun is missing: ports have no interface in the host without it";
        findings.push(Finding::new("tap", what.into()).command("modprobe tun"));
    }
    if wanted.is_for_pci() {
        findings.extend(iommu(tree));
        findings.extend(vfio(tree));
    }
    findings.extend(wanted.devices.iter().filter_map(|device| bound(tree, device)));
    findings.extend(wanted.devices.iter().filter_map(|device| alone(tree, device)));
    findings.extend(wanted.devices.iter().filter_map(|device| near(tree, wanted, device)));
    findings
}

fn iommu(tree: &Tree) -> Option<Finding> {
    if !tree.names("/sys/kernel/iommu_groups").is_empty() {
        return None;
    }
    let intel = tree.text("/proc/cpuinfo").unwrap_or_default().contains("GenuineIntel");
    let name = if intel { "VT-d" } else { "the IOMMU" };
    let what = format!("the kernel has no IOMMU groups; {name} must be on in the firmware, too");
    let arguments: &[&str] = if intel { &["intel_iommu=on", "iommu=pt"] } else { &["iommu=pt"] };
    Some(Finding::new("iommu", what).argue(tree, arguments.iter().map(|&argument| argument.to_owned())))
}

fn vfio(tree: &Tree) -> Option<Finding> {
    if tree.has("/sys/bus/pci/drivers/vfio-pci") {
        return None;
    }
    let finding = Finding::new("iommu", "the driver vfio-pci is not loaded".into());
    Some(finding.command("modprobe vfio-pci && echo vfio-pci > /etc/modules-load.d/vfio-pci.conf"))
}

/// The device is there, with a driver that hands it out.
fn bound(tree: &Tree, device: &str) -> Option<Finding> {
    if !tree.has(&format!("{DEVICES}/{device}")) {
        let finding = Finding::new("device", format!("there is no PCI device {device}"));
        return Some(finding.command("tpctl nic list"));
    }
    let driver = tree.target_name(&format!("{DEVICES}/{device}/driver"));
    if driver.as_deref().is_some_and(|driver| USABLE.contains(&driver)) {
        return None;
    }
    let has = driver.unwrap_or_else(|| "no driver".into());
    Some(Finding::new("device", format!("{device} has {has}")).command(format!("tpctl nic bind {device}")))
}

/// A group is handed out as a whole: every device of it must have left its kernel driver.
fn alone(tree: &Tree, device: &str) -> Option<Finding> {
    let group = format!("{DEVICES}/{device}/iommu_group/devices");
    let in_use = tree.names(&group).into_iter().find(|other| {
        let class = tree.text(&format!("{DEVICES}/{other}/class")).unwrap_or_default();
        let driver = tree.target_name(&format!("{DEVICES}/{other}/driver"));
        other != device
            && !class.starts_with(BRIDGE)
            && driver.is_some_and(|driver| !USABLE.contains(&&*driver))
    })?;
    let what = format!("{device} is in one IOMMU group with {in_use}, which has a kernel driver");
    Some(Finding::new("iommu", what).command(format!("driverctl set-override {in_use} vfio-pci")))
}

/// Packets that cross to another NUMA node cost more.
fn near(tree: &Tree, wanted: &Wanted, device: &str) -> Option<Finding> {
    let node: u32 = tree.text(&format!("{DEVICES}/{device}/numa_node"))?.parse().ok()?;
    let is_far = |lcore: &&u32| super::cpu::node(tree, **lcore).is_some_and(|other| other != node);
    let far: Vec<u32> = wanted.lcores.iter().filter(is_far).copied().collect();
    if far.is_empty() {
        return None;
    }
    let cpus = tree.text(&format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    let what = format!(
        "{device} is on NUMA node {node}, CPU {} of `lcores` on another; choose them of {cpus}",
        write_cpu_list(&far)
    );
    Some(Finding::new("numa", what))
}
