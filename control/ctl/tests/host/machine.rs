//! A machine made of files: /proc, /sys and /dev beneath a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The two cards that every machine here has.
pub const MANAGEMENT: &str = "0000:00:03.0";
pub const SPARE: &str = "0000:41:00.0";

/// The folder, removed at the end.
pub struct Machine {
    root: PathBuf,
    driverctl: bool,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Machine {
    /// With `eth0` on the default route, bound to virtio-pci, and `eth1` spare, bound to i40e in IOMMU group 12.
    pub fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machines").join(name);
        let _ = fs::remove_dir_all(&root);
        let machine = Self { root, driverctl: true };
        machine.card(MANAGEMENT, "virtio-pci", "virtio0/net/eth0");
        machine.card(SPARE, "i40e", "net/eth1");
        machine.write(&format!("sys/bus/pci/devices/{SPARE}/numa_node"), "1\n");
        machine.group(SPARE, "12");
        // A disk is no network card.
        machine.card("0000:00:1f.2", "ahci", "ata1");
        machine.write("sys/bus/pci/devices/0000:00:1f.2/class", "0x010601\n");
        machine.write("sys/bus/pci/drivers/vfio-pci/bind", "");
        machine.write("sys/class/net/eth0/address", "52:54:00:12:34:56\n");
        machine.write("sys/class/net/eth0/operstate", "up\n");
        machine.write("sys/class/net/eth1/operstate", "down\n");
        machine.write(
            "proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
        );
        machine.write("proc/sys/kernel/osrelease", "6.1.0-1-amd64\n");
        machine.write(
            "interfaces.json",
            r#"[{"ifname":"eth0","addr_info":[{"local":"192.0.2.7","prefixlen":24},
                                              {"local":"2001:db8::7","prefixlen":64}]},
                {"ifname":"eth1","addr_info":[]}]"#,
        );
        machine.write("bin/driverctl", FAKE_DRIVERCTL);
        let script = machine.root.join("bin/driverctl");
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("the script is ours");
        machine
    }

    /// Without driverctl.
    pub fn without_driverctl(mut self) -> Self {
        self.driverctl = false;
        self
    }

    /// A device of the class of Ethernet controllers.
    pub fn card(&self, address: &str, driver: &str, child: &str) {
        let at = format!("sys/bus/pci/devices/{address}");
        self.write(&format!("{at}/class"), "0x020000\n");
        self.write(&format!("{at}/vendor"), "0x8086\n");
        self.write(&format!("{at}/device"), "0x1572\n");
        self.write(&format!("{at}/numa_node"), "-1\n");
        self.write(&format!("{at}/{child}/ifindex"), "2\n");
        self.bind(address, driver);
    }

    /// Gives a device a driver.
    pub fn bind(&self, address: &str, driver: &str) {
        let driver = format!("../../../bus/pci/drivers/{driver}");
        self.link(&format!("sys/bus/pci/devices/{address}/driver"), &driver);
    }

    /// Puts a device into an IOMMU group.
    pub fn group(&self, address: &str, group: &str) {
        let folder = format!("sys/kernel/iommu_groups/{group}");
        self.write(&format!("{folder}/devices/{address}/.here"), "");
        let target = format!("../../../../kernel/iommu_groups/{group}");
        self.link(&format!("sys/bus/pci/devices/{address}/iommu_group"), &target);
    }

    /// Takes a device out of every IOMMU group.
    pub fn ungroup(&self, address: &str) {
        self.remove(&format!("sys/bus/pci/devices/{address}/iommu_group"));
        self.remove("sys/kernel/iommu_groups");
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("it is beneath the root")).expect("a folder");
        fs::write(path, text).expect("writable");
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("it is beneath the root")).expect("a folder");
        let _ = fs::remove_file(&path);
        symlink(target, path).expect("a link");
    }

    pub fn remove(&self, path: &str) {
        let path = self.root.join(path);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).expect("the folder was there");
        } else {
            fs::remove_file(path).expect("the file was there");
        }
    }

    /// The driver that a device has.
    pub fn driver(&self, address: &str) -> Option<String> {
        let target = fs::read_link(self.root.join(format!("sys/bus/pci/devices/{address}/driver"))).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// What driverctl was asked.
    pub fn asked(&self) -> String {
        fs::read_to_string(self.root.join("driverctl.log")).unwrap_or_default()
    }

    /// `tpctl nic …`.
    pub fn nic(&self, arguments: &[&str]) -> Outcome {
        self.nic_from(arguments, None)
    }

    /// The same from within an SSH session.
    pub fn nic_from(&self, arguments: &[&str], session: Option<&str>) -> Outcome {
        let mut command = self.command("nic", arguments);
        command.arg("--interfaces").arg(self.root.join("interfaces.json"));
        match session {
            Some(session) => command.env("SSH_CONNECTION", session),
            None => command.env_remove("SSH_CONNECTION"),
        };
        run(&mut command)
    }

    /// `tpctl doctor --host …`.
    pub fn doctor(&self, arguments: &[&str]) -> Outcome {
        run(self.command("doctor", &["--host"]).args(arguments))
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tpctl"));
        command.arg(verb).args(arguments).arg("--root").arg(&self.root);
        let path = if self.driverctl { self.root.join("bin") } else { self.root.join("empty") };
        command.env("PATH", format!("{}:/nonexistent", path.display())).env("MACHINE", &self.root);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Does to the files what driverctl does to a device. The shell and its tools are named in full: PATH is this folder.
const FAKE_DRIVERCTL: &str = r#"#!/bin/sh
echo "$*" >> "$MACHINE/driverctl.log"
device="$MACHINE/sys/bus/pci/devices/$2"
[ -e "$MACHINE/driverctl.fails" ] && { echo "driverctl: failed to bind device $2 to driver $3" >&2; exit 1; }
case "$1" in
    set-override) /bin/ln -sfn "../../../bus/pci/drivers/$3" "$device/driver" ;;
    unset-override) /bin/ln -sfn "../../../bus/pci/drivers/i40e" "$device/driver" ;;
esac
"#;

pub fn run(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    Outcome {
        code: status.code(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
