//! Moves a card between the kernel and the dataplane, through driverctl(8).

use std::io;
use std::process::Command;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use super::inventory::Nic;
use crate::tree::Tree;

/// The driver that hands a device to a process, under the IOMMU's protection.
const VFIO: &str = "vfio-pci";
/// Drivers that DPDK works together with: taking the card from them makes it useless.
const SHARED: [&str; 2] = ["mlx4_core", "mlx5_core"];

/// What was done.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The card.
    pub address: String,
    /// Its driver now.
    pub driver: Option<String>,
    /// Whether that is new.
    pub changed: bool,
}

/// Takes a card from the kernel.
///
/// # Errors
/// Why it must or can not be taken; it has its driver still, unless driverctl failed half-way.
pub fn bind(tree: &Tree, nic: &Nic, force: bool) -> anyhow::Result<Outcome> {
    if nic.driver.as_deref() == Some(VFIO) {
        return Ok(Outcome { address: nic.address.clone(), driver: nic.driver.clone(), changed: false });
    }
    if !force {
        refuse_management(nic)?;
        refuse_shared(nic)?;
    }
    require_vfio(tree)?;
    require_iommu(tree, nic)?;
    driverctl(&["set-override", &nic.address, VFIO])?;
    let outcome = outcome(tree, nic);
    if outcome.driver.as_deref() != Some(VFIO) {
        bail!(
            "driverctl did not fail, and yet {} has {} in place of {VFIO}; dmesg may say why",
            nic.address,
            outcome.driver.as_deref().unwrap_or("no driver")
        );
    }
    Ok(outcome)
}

/// Gives a card back to the kernel.
///
/// # Errors
/// Why it must or can not be given back.
pub fn unbind(tree: &Tree, nic: &Nic, force: bool) -> anyhow::Result<Outcome> {
    if nic.driver.as_deref() != Some(VFIO) {
        return Ok(Outcome { address: nic.address.clone(), driver: nic.driver.clone(), changed: false });
    }
    if let Some(process) = user(tree, nic).filter(|_| !force) {
        bail!(
            "process {process} uses {}: the kernel would wait for its end; stop it first \
             (systemctl stop turnpike-dataplane), or repeat with --force",
            nic.address
        );
    }
    driverctl(&["unset-override", &nic.address])?;
    Ok(outcome(tree, nic))
}

fn outcome(tree: &Tree, nic: &Nic) -> Outcome {
    let driver = tree.target_name(&format!("/sys/bus/pci/devices/{}/driver", nic.address));
    Outcome { address: nic.address.clone(), driver, changed: true }
}

fn refuse_management(nic: &Nic) -> anyhow::Result<()> {
    let Some(reason) = &nic.management else { return Ok(()) };
    let names: Vec<&str> = nic.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    bail!(
        "{} ({}) is the management NIC: {reason}; without it you may be cut off. Name another, or repeat with --force",
        nic.address,
        names.join(", ")
    );
}

fn refuse_shared(nic: &Nic) -> anyhow::Result<()> {
    match nic.driver.as_deref().filter(|driver| SHARED.contains(driver)) {
        Some(driver) => bail!(
            "{0} works together with its kernel driver {driver}: write device = \"{0}\" and leave the driver as it is; \
             --force binds it nevertheless",
            nic.address
        ),
        None => Ok(()),
    }
}

/// The driver is there, or is a module that driverctl can load.
fn require_vfio(tree: &Tree) -> anyhow::Result<()> {
    if tree.has(&format!("/sys/bus/pci/drivers/{VFIO}")) {
        return Ok(());
    }
    let release = tree.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = tree.text(&format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    if modules.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains("/vfio-pci.ko"))) {
        return Ok(());
    }
    bail!("the kernel {release} has no driver {VFIO}; boot one that has, as Debian's linux-image-amd64");
}

fn require_iommu(tree: &Tree, nic: &Nic) -> anyhow::Result<()> {
    let unsafe_mode = tree.text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
    if nic.iommu_group.is_some() || unsafe_mode.as_deref() == Some("Y") {
        return Ok(());
    }
    bail!(
        "{} is in no IOMMU group, and {VFIO} needs one: tpctl doctor --host says which kernel arguments to add",
        nic.address
    );
}

/// The process that has the card's group open, which is how a card is used through vfio. Seen by root alone.
fn user(tree: &Tree, nic: &Nic) -> Option<String> {
    let group = format!("/dev/vfio/{}", nic.iommu_group.as_ref()?);
    let processes =
        tree.names("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    processes.into_iter().find(|process| {
        let folder = format!("/proc/{process}/fd");
        let files = tree.names(&folder);
        files.iter().any(|file| {
            tree.target(&format!("{folder}/{file}"))
                .is_some_and(|target| target.as_os_str() == group.as_str())
        })
    })
}

fn driverctl(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("driverctl").args(words).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("driverctl is missing: apt-get install driverctl"),
        _ => anyhow!("cannot run driverctl: {error}"),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let why = said.trim().trim_start_matches("driverctl: ");
        let why = if why.is_empty() { output.status.to_string() } else { why.to_owned() };
        return Err(anyhow!("{why}")).with_context(|| format!("driverctl {}", words.join(" ")));
    }
    Ok(())
}
