//! `tpctl doctor --host`: a machine that is ready yields no finding; each thing that it lacks yields its own.

use serde_json::Value;

use crate::machine::{Machine, Outcome, SPARE};

const CPUS: &str = "sys/devices/system/cpu";
const HUGE_2M: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
const INTEL: &str = "vendor_id\t: GenuineIntel\nflags\t\t: fpu tsc pdpe1gb constant_tsc nonstop_tsc\n";

/// Eight CPUs on two nodes; CPU 6 and 7 are the workers', on the node of the card.
fn ready(name: &str) -> Machine {
    let machine = Machine::new(name);
    machine.bind(SPARE, "vfio-pci");
    machine.write("dev/net/tun", "");
    machine.write(&format!("{HUGE_2M}/nr_hugepages"), "1024\n");
    machine.write(&format!("{HUGE_2M}/free_hugepages"), "1024\n");
    let node = "sys/devices/system/node/node1";
    machine.write(&format!("{node}/hugepages/hugepages-2048kB/nr_hugepages"), "1024\n");
    machine.write(&format!("{node}/cpulist"), "4-7\n");
    machine.write(&format!("{CPUS}/online"), "0-7\n");
    machine.write(&format!("{CPUS}/isolated"), "6-7\n");
    machine.write(&format!("{CPUS}/nohz_full"), "6-7\n");
    for cpu in 0..8 {
        let at = format!("{CPUS}/cpu{cpu}");
        machine.write(&format!("{at}/node{}/cpumap", cpu / 4), "");
        machine.write(&format!("{at}/topology/thread_siblings_list"), &format!("{cpu}\n"));
        machine.write(&format!("{at}/cpufreq/scaling_governor"), "performance\n");
    }
    machine.write("proc/cpuinfo", INTEL);
    machine.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on\n");
    configure(&machine, "lcores = [6, 7]\nmemory_mib = 2048", SPARE);
    machine
}

fn configure(machine: &Machine, dataplane: &str, device: &str) {
    let text = format!("[dataplane]\n{dataplane}\n[[port]]\nname = \"wan0\"\ndevice = \"{device}\"\n");
    machine.write("etc/turnpike/turnpike.toml", &text);
}

fn examine(machine: &Machine) -> (Option<i32>, Value) {
    let Outcome { code, out, err } = machine.doctor(&["--json"]);
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).expect("JSON"))
}

/// Asserts that there is one finding, and gives it.
fn only(machine: &Machine, check: &str) -> Value {
    let (code, report) = examine(machine);
    let findings = report["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        (code, &report["ready"], &findings[0]["check"]),
        (Some(1), &Value::Bool(false), &Value::from(check))
    );
    findings[0].clone()
}

fn says(finding: &Value, words: &str) {
    assert!(
        finding["what"].as_str().is_some_and(|what| what.contains(words)),
        "{words:?} is not in {finding:#}"
    );
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a string")).collect()
}

#[test]
fn a_machine_that_is_ready_yields_nothing() {
    let machine = ready("ready");
    let (code, report) = examine(&machine);
    assert_eq!(
        (code, report),
        (Some(0), serde_json::json!({"ready": true, "findings": [], "kernel_arguments": []}))
    );
    let told = machine.doctor(&[]);
    assert_eq!(told.code, Some(0));
    assert!(told.out.contains("workers on CPU 6-7, 2048 MiB for packets, 1 PCI devices"), "{}", told.out);
    assert!(told.out.ends_with("the host is ready\n"), "{}", told.out);
}

#[test]
fn hugepages_that_are_too_few_come_with_the_arguments_that_reserve_them() {
    let machine = ready("few");
    machine.write(&format!("{HUGE_2M}/nr_hugepages"), "100\n");
    let finding = only(&machine, "hugepages");
    says(&finding, "2048 MiB are wanted, 200 MiB are reserved");
    let arguments = ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=2"];
    assert_eq!(strings(&finding["kernel_arguments"]), arguments);
    assert_eq!(strings(&finding["commands"]), ["sysctl -w vm.nr_hugepages=1024"]);

    // Without pages of 1 GiB, and for little memory, those of 2 MiB do.
    machine.write("proc/cpuinfo", "flags : tsc constant_tsc nonstop_tsc\n");
    let finding = only(&machine, "hugepages");
    assert_eq!(
        strings(&finding["kernel_arguments"]),
        ["default_hugepagesz=2M", "hugepagesz=2M", "hugepages=1024"]
    );
    machine.write("proc/cpuinfo", INTEL);
    configure(&machine, "lcores = [6, 7]\nmemory_mib = 512", SPARE);
    assert!(strings(&only(&machine, "hugepages")["kernel_arguments"]).contains(&"hugepages=256"));

    // Arguments that the kernel has are not told again.
    machine.write("proc/cmdline", "default_hugepagesz=2M hugepagesz=2M hugepages=100\n");
    assert_eq!(strings(&only(&machine, "hugepages")["kernel_arguments"]), ["hugepages=256"]);

    configure(&machine, "lcores = [6, 7]\nmemory_mib = 512\nhugepages = \"off\"", SPARE);
    assert_eq!(examine(&machine).0, Some(0), "none are wanted");
}

#[test]
fn hugepages_that_others_use_or_that_are_elsewhere_do_not_count() {
    let machine = ready("used");
    machine.write(&format!("{HUGE_2M}/free_hugepages"), "24\n");
    let finding = only(&machine, "hugepages");
    says(&finding, "use all but 48 MiB");
    assert_eq!(strings(&finding["commands"]), ["sysctl -w vm.nr_hugepages=2024"]);
    machine.write("proc/812/comm", "turnpike-datapl\n");
    assert_eq!(examine(&machine).0, Some(0), "it is the dataplane that uses them");

    machine.write("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "0\n");
    let finding = only(&machine, "hugepages");
    says(&finding, "on node 1, where the workers are; 0 MiB are reserved there");
    let command = "echo 1024 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
    assert_eq!(strings(&finding["commands"]), [command]);
}

#[test]
fn an_iommu_that_is_off_comes_with_the_arguments_of_the_cpus_vendor() {
    let machine = ready("iommu-off");
    machine.ungroup(SPARE);
    machine.write("proc/cmdline", "root=/dev/sda1\n");
    let finding = only(&machine, "iommu");
    says(&finding, "VT-d must be on in the firmware");
    assert_eq!(strings(&finding["kernel_arguments"]), ["intel_iommu=on", "iommu=pt"]);
    machine.write("proc/cpuinfo", &INTEL.replace("GenuineIntel", "AuthenticAMD"));
    assert_eq!(strings(&only(&machine, "iommu")["kernel_arguments"]), ["iommu=pt"]);

    configure(&machine, "lcores = [6, 7]\nmemory_mib = 2048", "net_tap0,iface=tp0");
    assert_eq!(examine(&machine).0, Some(0), "a virtual device needs none");
}

#[test]
fn devices_must_be_there_and_bound_and_alone_in_their_group() {
    let machine = ready("devices");
    machine.bind(SPARE, "i40e");
    let finding = only(&machine, "device");
    says(&finding, "0000:41:00.0 has i40e");
    assert_eq!(strings(&finding["commands"]), ["tpctl nic bind 0000:41:00.0"]);
    machine.bind(SPARE, "mlx5_core");
    assert_eq!(examine(&machine).0, Some(0), "a driver that DPDK works with");

    machine.bind(SPARE, "vfio-pci");
    machine.group("0000:00:1f.2", "12");
    let finding = only(&machine, "iommu");
    says(&finding, "one IOMMU group with 0000:00:1f.2");
    assert_eq!(strings(&finding["commands"]), ["driverctl set-override 0000:00:1f.2 vfio-pci"]);
    machine.write("sys/bus/pci/devices/0000:00:1f.2/class", "0x060400\n");
    assert_eq!(examine(&machine).0, Some(0), "a bridge is not used");

    configure(&machine, "lcores = [6, 7]\nmemory_mib = 2048", "0000:99:00.0");
    says(&only(&machine, "device"), "there is no PCI device 0000:99:00.0");
    configure(&machine, "lcores = [6, 7]\nmemory_mib = 2048", SPARE);
    machine.remove("sys/bus/pci/drivers/vfio-pci");
    says(&only(&machine, "iommu"), "the driver vfio-pci is not loaded");
}

#[test]
fn g09_every_worker_on_another_node_than_its_card_is_told() {
    let machine = ready("far");
    machine.write(&format!("{CPUS}/isolated"), "2,6-7\n");
    machine.write(&format!("{CPUS}/nohz_full"), "2,6-7\n");
    configure(&machine, "lcores = [2]\nmemory_mib = 2048", SPARE);
    let finding = only(&machine, "numa");
    says(&finding, "0000:41:00.0 is on NUMA node 1, CPU 2 of `lcores` on another; choose them of 4-7");
    // Also if the first ones are near.
    machine.write(&format!("sys/bus/pci/devices/{SPARE}/numa_node"), "0\n");
    configure(&machine, "lcores = [2, 6, 7]\nmemory_mib = 512", SPARE);
    machine.write("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "1024\n");
    machine.write("sys/devices/system/node/node0/cpulist", "0-3\n");
    let finding = only(&machine, "numa");
    says(&finding, "0000:41:00.0 is on NUMA node 0, CPU 6-7 of `lcores` on another; choose them of 0-3");
}

#[test]
fn workers_cpus_must_be_theirs_alone() {
    let machine = ready("shared-cpus");
    machine.write(&format!("{CPUS}/isolated"), "\n");
    machine.write(&format!("{CPUS}/nohz_full"), "(null)\n");
    let finding = only(&machine, "cpus");
    says(&finding, "the scheduler may put other work on CPU 6-7");
    let arguments = ["isolcpus=managed_irq,domain,6-7", "rcu_nocbs=6-7", "nohz_full=6-7"];
    assert_eq!(strings(&finding["kernel_arguments"]), arguments);

    // What is isolated already stays so; the other thread of a core belongs to it.
    machine.write(&format!("{CPUS}/isolated"), "5\n");
    machine.write(&format!("{CPUS}/cpu7/topology/thread_siblings_list"), "3,7\n");
    assert!(
        strings(&only(&machine, "cpus")["kernel_arguments"]).contains(&"isolcpus=managed_irq,domain,3,5-7")
    );

    machine.write(&format!("{CPUS}/isolated"), "3,6-7\n");
    says(&only(&machine, "cpus"), "the kernel's tick interrupts CPU 6-7");
    machine.remove(&format!("{CPUS}/nohz_full"));
    assert_eq!(examine(&machine).0, Some(0), "a kernel that cannot stop its tick");
}

#[test]
fn cpus_that_cannot_be_workers_are_told() {
    let machine = ready("wrong-cpus");
    configure(&machine, "lcores = [9]\nmemory_mib = 2048", SPARE);
    says(&only(&machine, "cpus"), "CPU 9 of `lcores` is not online; 0-7 are");
    configure(&machine, "lcores = [0, 6]\nmemory_mib = 2048\nhugepages = \"off\"", "net_tap0");
    says(&only(&machine, "cpus"), "CPU 0 does the kernel's own work");
    machine.write(&format!("{CPUS}/online"), "0\n");
    configure(&machine, "memory_mib = 2048\nhugepages = \"off\"", "net_tap0");
    says(&only(&machine, "cpus"), "the only CPU");
}

#[test]
fn governor_clock_and_tap_are_looked_at() {
    let machine = ready("rest");
    machine.write(&format!("{CPUS}/cpu7/cpufreq/scaling_governor"), "powersave\n");
    let finding = only(&machine, "governor");
    says(&finding, "the frequency governor of CPU 7 is powersave");
    assert_eq!(strings(&finding["commands"]), ["cpupower -c 6-7 frequency-set -g performance"]);
    machine.remove(&format!("{CPUS}/cpu7/cpufreq"));
    assert_eq!(examine(&machine).0, Some(0), "a machine without frequencies to choose");

    machine.write("proc/cpuinfo", &INTEL.replace(" nonstop_tsc", ""));
    says(&only(&machine, "clock"), "no nonstop_tsc");
    machine.write("proc/cpuinfo", "Features : fp asimd\n");
    assert_eq!(examine(&machine).0, Some(0), "another architecture");

    machine.write("proc/cpuinfo", INTEL);
    machine.remove("dev/net/tun");
    assert_eq!(strings(&only(&machine, "tap")["commands"]), ["modprobe tun"]);
}

#[test]
fn everything_that_is_missing_is_told_at_once_with_one_line_of_arguments() {
    let machine = ready("everything");
    machine.ungroup(SPARE);
    machine.write("proc/cmdline", "root=/dev/sda1\n");
    machine.write(&format!("{HUGE_2M}/nr_hugepages"), "0\n");
    machine.write(&format!("{CPUS}/isolated"), "\n");
    let Outcome { code, out, .. } = machine.doctor(&[]);
    assert_eq!(code, Some(1));
    let arguments = "    default_hugepagesz=1G hugepagesz=1G hugepages=2 intel_iommu=on iommu=pt \
                     isolcpus=managed_irq,domain,6-7 rcu_nocbs=6-7 nohz_full=6-7\n";
    assert!(out.contains(arguments), "{out}");
    assert!(out.ends_with("then run update-grub, and boot anew\n3 findings\n"), "{out}");
}

#[test]
fn without_a_configuration_the_defaults_are_looked_at() {
    let machine = ready("defaults");
    machine.remove("etc/turnpike/turnpike.toml");
    let told = machine.doctor(&[]);
    assert_eq!(told.code, Some(0), "{}", told.out);
    assert!(told.out.starts_with("for the defaults: workers on CPU 7, 256 MiB"), "{}", told.out);

    let named = machine.doctor(&["--config", "/nonexistent.toml"]);
    assert_eq!((named.code, named.out.as_str()), (Some(1), ""));
    assert!(named.err.contains("/nonexistent.toml: No such file"), "{}", named.err);
    machine.write("etc/turnpike/turnpike.toml", "[dataplane\n");
    let broken = machine.doctor(&[]);
    assert_eq!(broken.code, Some(1));
    assert!(broken.err.contains("turnpike.toml"), "{}", broken.err);
}
