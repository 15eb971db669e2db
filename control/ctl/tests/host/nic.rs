//! `tpctl nic`: what is listed, what is bound, and what is refused with nothing changed.

use serde_json::Value;

use crate::machine::{MANAGEMENT, Machine, Outcome, SPARE};

fn listed(machine: &Machine, session: Option<&str>) -> Vec<Value> {
    let Outcome { code, out, err } = machine.nic_from(&["list", "--json"], session);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    serde_json::from_str::<Value>(&out).expect("JSON").as_array().expect("a list").clone()
}

/// Why the card at an address is the management NIC.
fn management(machine: &Machine, session: Option<&str>, address: &str) -> Value {
    let nics = listed(machine, session);
    nics.iter().find(|nic| nic["address"] == address).expect("it is listed")["management"].clone()
}

/// Asserts that a change is refused with words, and that nothing was done.
fn refused(machine: &Machine, arguments: &[&str], address: &str, words: &str) {
    let before = machine.driver(address);
    let Outcome { code, out, err } = machine.nic(arguments);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains(words), "{words:?} is not in {err:?}");
    assert_eq!((machine.asked().as_str(), machine.driver(address)), ("", before));
}

#[test]
fn cards_are_listed_with_what_the_kernel_knows_of_them() {
    let machine = Machine::new("list");
    let nics = listed(&machine, None);
    assert_eq!(nics.len(), 2, "a disk is no card: {nics:?}");
    assert_eq!(nics[0]["address"], MANAGEMENT);
    assert_eq!(nics[0]["id"], "8086:1572");
    assert_eq!(nics[0]["driver"], "virtio-pci");
    assert_eq!(nics[0]["numa_node"], Value::Null);
    assert_eq!(nics[0]["interfaces"][0]["name"], "eth0");
    assert_eq!(nics[0]["interfaces"][0]["mac"], "52:54:00:12:34:56");
    assert_eq!(nics[0]["interfaces"][0]["link"], "up");
    assert_eq!(nics[0]["interfaces"][0]["addresses"][1], "2001:db8::7/64");
    assert_eq!(nics[1]["address"], SPARE);
    assert_eq!(nics[1]["numa_node"], 1);
    assert_eq!(nics[1]["iommu_group"], "12");
    assert_eq!(nics[1]["interfaces"][0]["link"], "down");

    let table = machine.nic(&["list"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ADDRESS") && lines.len() == 3, "{table}");
    assert!(lines[1].contains("management: the default route leads through eth0"), "{table}");
    assert!(
        lines[2].contains(SPARE) && lines[2].contains("i40e") && !lines[2].contains("management"),
        "{table}"
    );
}

#[test]
fn a_machine_without_cards_says_so() {
    let machine = Machine::new("none");
    machine.remove("sys/bus/pci/devices");
    let Outcome { code, out, .. } = machine.nic(&["list"]);
    assert_eq!((code, out.as_str()), (Some(0), "no PCI network card\n"));
    assert!(listed(&machine, None).is_empty());
}

#[test]
fn the_management_card_is_that_of_a_default_route() {
    let machine = Machine::new("routes");
    assert_eq!(management(&machine, None, MANAGEMENT), "the default route leads through eth0");
    assert_eq!(management(&machine, None, SPARE), Value::Null);

    machine.remove("proc/net/route");
    assert_eq!(management(&machine, None, MANAGEMENT), Value::Null);
    let zeros = "0".repeat(32);
    let route = |interface: &str| {
        format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 00000003 {interface}\n")
    };
    machine.write("proc/net/ipv6_route", &route("lo"));
    assert_eq!(management(&machine, None, MANAGEMENT), Value::Null, "lo's entry rejects, and leads nowhere");
    machine.write("proc/net/ipv6_route", &(route("lo") + &route("eth1")));
    assert_eq!(management(&machine, None, SPARE), "the default route leads through eth1");
}

#[test]
fn the_members_of_a_bond_beneath_a_bridge_are_management_too() {
    let machine = Machine::new("bond");
    machine.write(
        "proc/net/route",
        "Iface Destination Gateway Flags RefCnt Use Metric Mask\nbr0 00000000 010200C0 0003 0 0 0 00000000\n",
    );
    machine.write("sys/class/net/br0/lower_bond0/ifindex", "5\n");
    machine.write("sys/class/net/bond0/lower_eth1/ifindex", "3\n");
    // A cycle ends.
    machine.write("sys/class/net/eth1/lower_br0/ifindex", "6\n");
    assert_eq!(management(&machine, None, SPARE), "the default route leads through br0");
    assert_eq!(management(&machine, None, MANAGEMENT), Value::Null);
}

#[test]
fn the_management_card_is_that_of_an_ssh_session() {
    let machine = Machine::new("ssh");
    machine.remove("proc/net/route");
    assert_eq!(management(&machine, None, MANAGEMENT), Value::Null);
    let told = management(&machine, Some("198.51.100.9 50000 192.0.2.7 22"), MANAGEMENT);
    assert_eq!(told, "an SSH session ends at 192.0.2.7");

    // Under sudo the environment tells nothing, and the kernel's list does: 192.0.2.7:22, established.
    let row = |end: &str, state: &str| {
        format!("  sl  local_address\n   0: {end} 096433C6:C350 {state} 00000000:00000000\n")
    };
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let end = word([192, 0, 2, 7]);
    for (row, known) in [
        (row(&format!("{end}:0016"), "0A"), false),
        (row(&format!("{end}:01BB"), "01"), false),
        (row(&format!("{}:0016", word([127, 0, 0, 1])), "01"), false),
        (row(&format!("{end}:0016"), "01"), true),
    ] {
        machine.write("proc/net/tcp", &row);
        assert_eq!(management(&machine, None, MANAGEMENT) != Value::Null, known, "{row}");
    }
    machine.remove("proc/net/tcp");
    let ipv6 = [[0x20, 0x01, 0x0d, 0xb8], [0; 4], [0; 4], [0, 0, 0, 7]].map(word).concat();
    machine.write("proc/net/tcp6", &row(&format!("{ipv6}:0016"), "01"));
    assert_eq!(management(&machine, None, MANAGEMENT), "an SSH session ends at 2001:db8::7");
    let mapped = [[0; 4], [0; 4], [0, 0, 0xff, 0xff], [192, 0, 2, 7]].map(word).concat();
    machine.write("proc/net/tcp6", &row(&format!("{mapped}:0016"), "01"));
    assert_eq!(management(&machine, None, MANAGEMENT), "an SSH session ends at 192.0.2.7");
}

#[test]
fn a_card_is_bound_by_address_or_interface_and_given_back() {
    let machine = Machine::new("bind");
    let bound = machine.nic(&["bind", "eth1"]);
    assert_eq!(
        (bound.code, bound.out.as_str()),
        (Some(0), "0000:41:00.0 now has vfio-pci\n"),
        "{}",
        bound.err
    );
    assert_eq!(machine.asked(), "set-override 0000:41:00.0 vfio-pci\n");
    assert_eq!(machine.driver(SPARE).as_deref(), Some("vfio-pci"));

    let again = machine.nic(&["bind", "41:00.0"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "0000:41:00.0 already has vfio-pci\n"));
    assert_eq!(machine.asked().lines().count(), 1, "nothing more was asked of driverctl");

    let back = machine.nic(&["unbind", SPARE, "--json"]);
    let outcome: Value = serde_json::from_str(&back.out).expect("JSON");
    assert_eq!(back.code, Some(0));
    assert_eq!(outcome, serde_json::json!({"address": SPARE, "driver": "i40e", "changed": true}));
    let again = machine.nic(&["unbind", SPARE]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "0000:41:00.0 already has i40e\n"));
    assert_eq!(machine.asked().lines().count(), 2);
}

#[test]
fn the_management_card_is_bound_by_force_alone() {
    let machine = Machine::new("management");
    machine.group(MANAGEMENT, "3");
    refused(
        &machine,
        &["bind", "eth0"],
        MANAGEMENT,
        "is the management NIC: the default route leads through eth0",
    );
    refused(&machine, &["bind", MANAGEMENT], MANAGEMENT, "--force");
    let forced = machine.nic(&["bind", MANAGEMENT, "--force"]);
    assert_eq!(forced.code, Some(0), "{}", forced.err);
    assert_eq!(machine.driver(MANAGEMENT).as_deref(), Some("vfio-pci"));
}

#[test]
fn a_card_that_dpdk_shares_with_its_driver_is_left_to_it() {
    let machine = Machine::new("shared");
    machine.bind(SPARE, "mlx5_core");
    refused(&machine, &["bind", SPARE], SPARE, "works together with its kernel driver mlx5_core");
    assert_eq!(machine.nic(&["bind", SPARE, "--force"]).code, Some(0));
    assert_eq!(machine.driver(SPARE).as_deref(), Some("vfio-pci"));
}

#[test]
fn what_is_missing_is_named() {
    let machine = Machine::new("unknown");
    refused(
        &machine,
        &["bind", "eth7"],
        SPARE,
        "eth7 is neither the PCI address nor the interface of a network card",
    );
    refused(&machine, &["unbind", "0000:00:1f.2"], SPARE, "tpctl nic list");

    let machine = Machine::new("driverctl").without_driverctl();
    refused(&machine, &["bind", SPARE], SPARE, "driverctl is missing: apt-get install driverctl");

    let machine = Machine::new("vfio");
    machine.remove("sys/bus/pci/drivers/vfio-pci");
    refused(&machine, &["bind", SPARE], SPARE, "the kernel 6.1.0-1-amd64 has no driver vfio-pci");
    machine.write("lib/modules/6.1.0-1-amd64/modules.dep", "kernel/net/dummy.ko:\n");
    refused(&machine, &["bind", SPARE], SPARE, "has no driver vfio-pci");
    let module = "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n";
    machine.write("lib/modules/6.1.0-1-amd64/modules.dep", module);
    assert_eq!(machine.nic(&["bind", SPARE]).code, Some(0), "driverctl loads the module");

    let machine = Machine::new("iommu");
    machine.ungroup(SPARE);
    refused(&machine, &["bind", SPARE], SPARE, "is in no IOMMU group");
    machine.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
    refused(&machine, &["bind", SPARE], SPARE, "tpctl doctor --host");
    machine.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    assert_eq!(machine.nic(&["bind", SPARE]).code, Some(0));
}

#[test]
fn driverctls_own_failure_is_passed_on() {
    let machine = Machine::new("fails");
    machine.write("driverctl.fails", "");
    let Outcome { code, err, .. } = machine.nic(&["bind", SPARE]);
    assert_eq!(code, Some(1));
    let expected = "tpctl: driverctl set-override 0000:41:00.0 vfio-pci: failed to bind device 0000:41:00.0 to driver vfio-pci\n";
    assert_eq!(err, expected);
    assert_eq!(machine.driver(SPARE).as_deref(), Some("i40e"));
}

#[test]
fn a_card_in_use_is_not_given_back() {
    let machine = Machine::new("in-use");
    machine.bind(SPARE, "vfio-pci");
    machine.link("proc/4711/fd/7", "/dev/vfio/12");
    refused(&machine, &["unbind", SPARE], SPARE, "process 4711 uses 0000:41:00.0");
    machine.link("proc/4711/fd/7", "/dev/vfio/13");
    let other = machine.nic(&["unbind", SPARE]);
    assert_eq!(other.code, Some(0), "another group's file is no use of this card: {}", other.err);

    machine.bind(SPARE, "vfio-pci");
    machine.link("proc/4711/fd/7", "/dev/vfio/12");
    assert_eq!(machine.nic(&["unbind", SPARE, "--force"]).code, Some(0));
    assert_eq!(machine.driver(SPARE).as_deref(), Some("i40e"));
}
