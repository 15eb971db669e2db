//! Generates the bindings from the DPDK that is installed, so that one source serves 22.11 (Debian 12) and 24.11
//! (Debian 13).

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest DPDK whose API the crate `dpdk` was written against.
const OLDEST_DPDK: &str = "22.11";

/// Header with everything to bind, and our shims.
const HEADER: &str = "shims.h";

/// Functions to bind, as regular expressions. Everything else stays out: the whole API costs minutes to compile.
const FUNCTIONS: &[&str] = &[
    "dpdk_.*",
    "rte_dev_(event_callback_process|event_callback_register|event_callback_unregister|remove)",
    "rte_eal_(alarm_set|cleanup|get_lcore_state|get_runtime_dir|hotplug_add|hotplug_remove|init|remote_launch|wait_lcore)",
    "rte_eth_(rx|tx)_burst",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_(adjust_nb_rx_tx_desc|callback_register|callback_unregister|close|configure|get_mtu)",
    "rte_eth_dev_(get_port_by_name|info_get|set_mtu|socket_id|start|stop)",
    "rte_eth_dev_rx_intr_(ctl_q_get_fd|disable|enable)",
    "rte_eth_from_rings",
    "rte_eth_(macaddr_get|promiscuous_disable|promiscuous_enable|stats_get)",
    "rte_(get_next_lcore|lcore_id)",
    "rte_get_tsc_(cycles|hz)",
    "rte_hash_(add_key|crc|create|free|lookup_bulk)",
    "rte_mbuf_best_mempool_ops",
    "rte_mempool_(avail_count|create_empty|free|in_use_count|obj_iter|populate_default|set_ops_byname)",
    "rte_pktmbuf_(alloc|alloc_bulk|chain|copy|free|free_bulk|init|pool_init)",
    "rte_ring_(count|create|free|get_capacity)",
    "rte_ring_(mc_dequeue|mp_enqueue|sc_dequeue|sp_enqueue)_burst",
    "rte_strerror",
    "rte_version(_year|_month)?",
];

/// Constants and enumerators to bind.
const VARIABLES: &[&str] = &[
    "DPDK_.*",
    "RING_F_(SP_ENQ|SC_DEQ|EXACT_SZ)",
    "RTE_ETHER_(CRC_LEN|HDR_LEN)",
    "RTE_ETH_(NAME_MAX_LEN|MQ_RX_RSS)",
    "RTE_DEV_EVENT_REMOVE",
    "RTE_ETH_EVENT_INTR_(LSC|RESET|RMV)",
    "RTE_HASH_LOOKUP_BULK_MAX",
    "LCORE_ID_ANY",
    "RTE_MEMPOOL_F_NO_IOVA_CONTIG",
    "RTE_MAX_ETHPORTS",
    "RTE_MAX_LCORE",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_VER_(YEAR|MONTH)",
];

/// Types that no function or variable leads to: they are handed over as `void *`.
const TYPES: &[&str] = &["rte_pktmbuf_pool_private"];

/// Types that callers only hold by pointer. `rte_mbuf` is among them: see shims.h.
const OPAQUE: &[&str] = &["rte_mbuf", "rte_mempool", "rte_ring", "rte_device", "rte_hash", "rte_memzone"];

/// Drivers for static linking: common NICs, and those that need no NIC. Absent are net_af_xdp and net_mlx5, whose own
/// libraries are not everywhere.
const DRIVERS: &[&str] = &[
    "bus_pci",
    "bus_vdev",
    "common_iavf",
    "mempool_ring",
    "net_af_packet",
    "net_e1000",
    "net_ena",
    "net_i40e",
    "net_iavf",
    "net_ice",
    "net_igc",
    "net_ixgbe",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_tap",
    "net_vhost",
    "net_virtio",
    "net_vmxnet3",
];

/// The libraries that the API and those drivers need, for static linking.
const LIBRARIES: &[&str] = &[
    "argparse",
    "cryptodev",
    "dmadev",
    "eal",
    "ethdev",
    "gso",
    "hash",
    "kvargs",
    "log",
    "mbuf",
    "mempool",
    "meter",
    "net",
    "pci",
    "rcu",
    "ring",
    "security",
    "telemetry",
    "timer",
    "vhost",
];

fn main() {
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rerun-if-env-changed=LIBCLANG_PATH");
    let statically = env::var_os("CARGO_FEATURE_STATIC").is_some();
    let library = probe(statically);
    let flags = compiler_flags(&library);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let wrappers = out.join("wrappers");
    let bindings = generate(&flags, &wrappers);
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");
    compile_wrappers(&flags, &wrappers.with_extension("c"));
    if !statically {
        // rte_eth_from_rings belongs to a driver, and libdpdk.pc names no driver for shared linking.
        println!("cargo:rustc-link-lib=dylib=rte_net_ring");
    }
}

/// Stops the build with a sentence a person can act on, without a backtrace.
fn fail(what: &str, advice: &str) -> ! {
    println!("cargo:error={what}");
    println!("cargo:error={advice}");
    std::process::exit(1);
}

/// Finds libdpdk and, for shared linking, tells cargo to link it.
fn probe(statically: bool) -> pkg_config::Library {
    let found = pkg_config::Config::new()
        .atleast_version(OLDEST_DPDK)
        .cargo_metadata(!statically)
        .statik(statically)
        .probe("libdpdk");
    match found {
        Ok(library) => {
            if statically {
                link_statically();
            }
            library
        }
        Err(error) => fail(
            &format!("libdpdk {OLDEST_DPDK} or newer was not found: {}", first_line(&error.to_string())),
            "on Debian 12 or 13: apt-get install libdpdk-dev pkg-config libclang-dev clang",
        ),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// Include paths, and the `-march` that DPDK's inline functions need; the pkg-config crate keeps only the former.
fn compiler_flags(library: &pkg_config::Library) -> Vec<String> {
    let includes = library.include_paths.iter().map(|path| format!("-I{}", path.display()));
    let machine =
        pkg_config_words(&["--cflags-only-other"]).into_iter().filter(|flag| flag.starts_with("-m"));
    // Features that the headers mark as experimental are never called; the define only silences their attribute.
    includes.chain(machine).chain(["-DALLOW_EXPERIMENTAL_API".to_owned()]).collect()
}

/// The words that pkg-config prints about libdpdk.
fn pkg_config_words(arguments: &[&str]) -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(&program).args(arguments).arg("libdpdk").output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
        }
        _ => {
            fail(&format!("`{program} {} libdpdk` failed", arguments.join(" ")), "apt-get install pkg-config")
        }
    }
}

fn generate(flags: &[String], wrappers: &Path) -> bindgen::Bindings {
    let mut builder = bindgen::Builder::default()
        .header(HEADER)
        .clang_args(flags)
        .wrap_static_fns(true)
        .wrap_static_fns_path(wrappers)
        .prepend_enum_name(false)
        .generate_comments(false)
        .layout_tests(false)
        .derive_default(true)
        .merge_extern_blocks(true)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new().rerun_on_header_files(false)));
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    match panic::catch_unwind(AssertUnwindSafe(|| builder.generate())) {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => fail(
            &format!("the DPDK headers did not parse: {error}"),
            "apt-get install --reinstall libdpdk-dev clang",
        ),
        // bindgen panics when it finds no libclang to load, having printed where it looked.
        Err(_) => fail("libclang was not found", "apt-get install libclang-dev clang (or set LIBCLANG_PATH)"),
    }
}

/// Compiles the functions through which Rust reaches DPDK's inline ones.
fn compile_wrappers(flags: &[String], source: &Path) {
    let mut build = cc::Build::new();
    build.file(source).include(".").warnings(false);
    // Each wrapper is one inlined DPDK function; unoptimised they would spill on every packet.
    build.opt_level(3);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("dpdk_sys_wrappers");
}

/// Links every archive whole: drivers register themselves in constructors that nothing refers to, and the libraries refer
/// to each other in circles. The linker drops the sections that remain unused.
fn link_statically() {
    let folder = pkg_config_words(&["--variable=libdir"]).join(" ");
    println!("cargo:rustc-link-search=native={folder}");
    // What this release lacks was split off, or added, in another.
    let present = |name: &&&str| Path::new(&folder).join(format!("librte_{name}.a")).exists();
    let mut archives = DRIVERS.iter().chain(LIBRARIES).filter(present).peekable();
    if archives.peek().is_none() {
        fail(
            &format!("{folder} has no librte_*.a"),
            "apt-get install libdpdk-dev, or build without `static`",
        );
    }
    for name in archives {
        println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=rte_{name}");
    }
    for name in ["numa", "bsd", "fdt", "jansson", "pcap", "m", "dl", "pthread"] {
        println!("cargo:rustc-link-lib=dylib={name}");
    }
}
