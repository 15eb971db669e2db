use dpdk::{Call, Eal, EalArgs, Errno, Memory, Mempool, PoolConfig, Port, SharedRing};

use crate::{Bed, refusal};

pub fn absent_devices(bed: &Bed) {
    let attach = |text: &str| refusal(Port::attach(&bed.eal, &text.parse().expect("well formed")));
    let pci = attach("0000:99:00.0");
    assert!(
        pci.starts_with("cannot attach device 0000:99:00.0: ENODEV (No such device); check the address"),
        "{pci}"
    );
    assert!(pci.contains("dpdk-devbind.py --status") && pci.contains("vfio-pci"), "{pci}");
    let driver = attach("net_nonesuch0");
    assert!(driver.starts_with("cannot attach device net_nonesuch0: "), "{driver}");
    assert!(driver.contains("check the address or driver name"), "{driver}");
    let file = attach("net_pcap9,rx_pcap=/nonexistent.pcap");
    assert!(file.starts_with("cannot attach device net_pcap9,rx_pcap=/nonexistent.pcap: "), "{file}");
    // Nothing half made is left under the name.
    Port::attach(&bed.eal, &"net_null9".parse().expect("a device")).expect("a null device");
    assert!(attach("net_pcap9,rx_pcap=/nonexistent.pcap").contains("net_pcap9"));
}

pub fn names_taken_and_bad_sizes(bed: &Bed) {
    let pool = |config: PoolConfig| refusal(Mempool::new(&bed.eal, &config));
    let taken = pool(PoolConfig::new("bed", 15));
    assert!(taken.starts_with("cannot create mbuf pool bed: EEXIST (File exists); choose a name"), "{taken}");
    let huge = pool(PoolConfig::new("huge", 10_000_000));
    assert!(huge.contains("ENOMEM") && huge.contains("raise memory_mib"), "{huge}");
    let cache = pool(PoolConfig { cache: 4096, ..PoolConfig::new("cache", 8191) });
    assert!(cache.contains("EINVAL") && cache.contains("the cache may hold at most 512"), "{cache}");
    for mbufs in [0, 1 << 30, u32::MAX] {
        assert!(pool(PoolConfig { cache: 0, ..PoolConfig::new("size", mbufs) }).contains("EINVAL"));
    }
    let room = pool(PoolConfig { frame_bytes: u16::MAX, ..PoolConfig::new("room", 15) });
    assert!(room.contains("EINVAL"), "{room}");
    let long = pool(PoolConfig::new(&"n".repeat(40), 15));
    assert!(long.contains("ENAMETOOLONG") && long.contains("at most 25 bytes"), "{long}");

    let ring = |name: &str, capacity| refusal(SharedRing::new(&bed.eal, name, capacity));
    let _first = SharedRing::new(&bed.eal, "taken", 8).expect("a small ring");
    assert!(ring("taken", 8).starts_with("cannot create ring taken: EEXIST"));
    for capacity in [0, 1 << 30, u32::MAX] {
        assert!(ring("size", capacity).contains("EINVAL (Invalid argument); the capacity must be"));
    }
    assert!(ring(&"n".repeat(40), 8).contains("ENAMETOOLONG"));
    assert!(ring("nul\0", 8).contains("contains a NUL byte"));
}

pub fn second_init(bed: &Bed) {
    let refused = refusal(Eal::init(&EalArgs::new("again", Memory::NoHuge { mib: 64 })));
    assert!(refused.starts_with("DPDK's EAL can be initialised only once in a process"), "{refused}");
    assert!(bed.pool.alloc().is_some(), "the first works on");
    assert!(dpdk::version().starts_with("DPDK 2"), "{}", dpdk::version());
}

pub fn errno_names(_: &Bed) {
    let errno = Errno::new(-libc::ENODEV);
    assert_eq!(errno, Errno::new(libc::ENODEV));
    assert_eq!((errno.name(), errno.number(), errno.text().as_str()), ("ENODEV", 19, "No such device"));
    assert_eq!(errno.to_string(), "ENODEV (No such device)");
    assert_eq!(Errno::new(1001).name(), "E_RTE_SECONDARY");
    assert_eq!(Errno::new(987_654).name(), "E?");
    assert_eq!(Errno::new(i32::MIN).number(), i32::MAX);
    // Every call site says what to do, whatever the number.
    for call in
        [Call::InitEal, Call::CreatePool, Call::CreateRing, Call::Attach, Call::Configure, Call::Start]
    {
        for number in [libc::EPERM, libc::ENOMEM, libc::ENODEV, 987_654] {
            assert!(call.advice(Errno::new(number)).len() > 20, "{call:?}");
        }
    }
}
