use dpdk::port::{Bus, Link, Rss};
use dpdk::{Burst, Consumer, Device, Mempool, Port, PortConfig, Producer, Queues, spsc};

use crate::{Bed, lcore, numbers, refusal};

/// A port in process, and the far ends of its `queues` pairs of rings, each of `capacity`.
struct Looped {
    port: Port,
    to_port: Vec<Producer>,
    from_port: Vec<Consumer>,
}

fn looped(bed: &Bed, name: &str, queues: u16, capacity: u32) -> Looped {
    let ring = |way: &str, i| spsc(&bed.eal, &format!("{name}-{way}{i}"), capacity).expect("a small ring");
    let (to_port, rx) = (0..queues).map(|i| ring("rx", i)).unzip();
    let (tx, from_port) = (0..queues).map(|i| ring("tx", i)).unzip();
    let port = Port::from_rings(&bed.eal, name, rx, tx).expect("a port from rings");
    Looped { port, to_port, from_port }
}

fn pools(bed: &Bed) -> &[Mempool] {
    std::slice::from_ref(&bed.pool)
}

fn device(text: &str) -> Device {
    text.parse().expect("a device")
}

pub fn device_names(_: &Bed) {
    for (text, bus, name, args) in [
        ("0000:01:00.0", Bus::Pci, "0000:01:00.0", ""),
        ("01:0A.7", Bus::Pci, "0000:01:0a.7", ""),
        ("0001:ff:1f.3,txq_inline_max=1", Bus::Pci, "0001:ff:1f.3", "txq_inline_max=1"),
        ("net_tap0,iface=wan0,mac=fixed", Bus::Virtual, "net_tap0", "iface=wan0,mac=fixed"),
        ("virtio_user0", Bus::Virtual, "virtio_user0", ""),
        ("net_null1,", Bus::Virtual, "net_null1", ""),
    ] {
        let device = device(text);
        assert_eq!((device.bus(), device.name(), device.args()), (bus, name, args), "{text}");
        assert_eq!(device.to_string().parse::<Device>().expect("what it prints"), device);
    }
    let long = format!("net_{}", "x".repeat(64));
    for text in
        ["", "eth0", "wan0", "net tap0", "0000:01:00.8", "00:00", "1:2:3.0", "net_tap0\n", "net_a/b", &long]
    {
        let refused = text.parse::<Device>().expect_err("not a device").to_string();
        assert!(refused.contains(&format!("{text:?} is not a device; write a PCI address")), "{refused}");
    }
}

pub fn rings_carry_frames_both_ways(bed: &Bed) {
    let Looped { mut port, mut to_port, mut from_port } = looped(bed, "both", 2, 128);
    let info = port.info().expect("answers");
    assert_eq!((info.driver.as_str(), info.link_events), ("net_ring", false));
    port.configure(&PortConfig::new(2), pools(bed)).expect("two queues");
    let Queues { mut rx, mut tx } = port.start().expect("is configured");
    assert_eq!((rx.len(), tx.len(), rx[1].index(), tx[1].index()), (2, 2, 1, 1));
    assert_eq!((rx[0].port_name(), tx[0].port_name()), ("both", "both"));

    to_port[1].enqueue(&mut bed.numbered(5));
    let mut burst = Burst::new();
    assert_eq!(rx[0].rx_burst(&mut burst), 0);
    assert_eq!(rx[1].rx_burst(&mut burst), 5);
    assert_eq!(numbers(&burst), [0, 1, 2, 3, 4]);
    assert_eq!(tx[0].tx_burst(&mut burst), 5);
    assert!(burst.is_empty());
    assert_eq!(from_port[1].dequeue(&mut burst), 0);
    assert_eq!(from_port[0].dequeue(&mut burst), 5);
    assert_eq!(numbers(&burst), [0, 1, 2, 3, 4]);
    let stats = port.stats().expect("answers");
    assert_eq!((stats.rx_packets, stats.tx_packets, stats.tx_errors), (5, 5, 0));

    // What nobody took is freed with the rings.
    to_port[0].enqueue(&mut bed.numbered(7));
    assert_eq!(bed.pool.in_use(), 12);
}

pub fn partial_transmit_returns_the_rest(bed: &Bed) {
    let Looped { mut port, to_port: _to_port, mut from_port } = looped(bed, "partial", 1, 8);
    port.configure(&PortConfig::new(1), pools(bed)).expect("one queue");
    let mut queues = port.start().expect("is configured");
    let mut burst = bed.numbered(20);
    assert_eq!(queues.tx[0].tx_burst(&mut burst), 8);
    assert_eq!(numbers(&burst), (8..20).collect::<Vec<u8>>());
    assert_eq!(queues.tx[0].tx_burst(&mut burst), 0, "the far end took nothing");
    assert_eq!((burst.len(), bed.pool.in_use()), (12, 20));

    let mut out = Burst::new();
    assert_eq!(from_port[0].dequeue(&mut out), 8);
    assert_eq!(queues.tx[0].tx_burst(&mut burst), 8);
    assert_eq!(numbers(&burst), [16, 17, 18, 19]);
    burst.clear();
    assert_eq!(bed.pool.in_use(), 16);
}

pub fn stop_waits_for_queues(bed: &Bed) {
    let Looped { mut port, mut to_port, .. } = looped(bed, "stops", 1, 8);
    assert_eq!(refusal(port.start()), "stops is not configured; configure it before starting it");
    port.stop().expect("was not started: nothing to do");
    let config = PortConfig::new(1);
    port.configure(&config, pools(bed)).expect("one queue");
    port.configure(&config, pools(bed)).expect("again, not being started");
    let mut queues = port.start().expect("is configured");

    assert_eq!(
        refusal(port.stop()),
        "stops still has 2 queues in use; stop the workers that poll them first"
    );
    assert_eq!(
        refusal(port.configure(&config, pools(bed))),
        "stops is started; stop it before configuring it"
    );
    assert!(refusal(port.start()).contains("stops is started; use the queues of the first start"));
    to_port[0].push(bed.frame(b"still runs")).expect("has room");
    assert_eq!(queues.rx[0].rx_burst(&mut Burst::new()), 1);

    queues.tx.clear();
    assert!(refusal(port.stop()).contains("1 queues in use"));
    drop(queues);
    port.stop().expect("all queues are back");
    let mut queues = port.start().expect("again");
    to_port[0].push(bed.frame(b"runs again")).expect("has room");
    assert_eq!(queues.rx[0].rx_burst(&mut Burst::new()), 1);
}

pub fn a_queue_keeps_the_port(bed: &Bed) {
    let Looped { mut port, mut to_port, .. } = looped(bed, "kept", 1, 8);
    port.configure(&PortConfig::new(1), pools(bed)).expect("one queue");
    let Queues { mut rx, tx } = port.start().expect("is configured");
    drop((port, tx));
    to_port[0].push(bed.frame(b"for the last queue")).expect("has room");
    let mut burst = Burst::new();
    assert_eq!(rx[0].rx_burst(&mut burst), 1);
    drop((rx, to_port));
    // The device is closed and the burst outlives it: it belongs to the pool.
    assert_eq!(burst[0].data(), b"for the last queue");
    looped(bed, "kept", 1, 8);
}

pub fn null_device_and_its_limits(bed: &Bed) {
    let mut port = Port::attach(&bed.eal, &device("net_null0,size=80")).expect("a null device");
    let info = port.info().expect("answers");
    assert_eq!(info.driver, "net_null");
    let too_many = PortConfig { rx_queues: info.max_rx_queues + 1, ..PortConfig::new(1) };
    let refused = refusal(port.configure(&too_many, pools(bed)));
    let max = info.max_rx_queues;
    let expected =
        format!("net_null0 has at most {max} receive queues, {} were asked for; lower `queues`", max + 1);
    assert_eq!(refused, expected);
    assert!(
        refusal(port.configure(&PortConfig { tx_queues: 0, ..PortConfig::new(1) }, pools(bed)))
            .contains("0 were")
    );
    assert!(refusal(port.start()).contains("not configured"), "nothing was configured");

    let tiny = refusal(port.configure(&PortConfig { mtu: Some(20), ..PortConfig::new(1) }, pools(bed)));
    assert!(
        tiny.starts_with("cannot configure net_null0: EINVAL (Invalid argument); see the lines"),
        "{tiny}"
    );
    assert_eq!(port.mtu().expect("answers"), 1500);
    port.configure(&PortConfig { mtu: Some(1400), ..PortConfig::new(1) }, pools(bed)).expect("one queue");
    assert_eq!(port.mtu().expect("answers"), 1400);
    assert_ne!(port.mac().expect("answers"), [0; 6]);
    let mut queues = port.start().expect("is configured");
    assert!(matches!(port.link().expect("answers"), Link::Up { speed_mbps: Some(10_000), .. }));
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 64);
    assert!(burst.iter().all(|mbuf| mbuf.len() == 80 && mbuf.port() == port.id()));
    assert_eq!(queues.tx[0].tx_burst(&mut burst), 64);
    assert_eq!(bed.pool.in_use(), 0);
}

pub fn detached_names_are_free_again(bed: &Bed) {
    let null = device("net_null7");
    for _ in 0..3 {
        let port = Port::attach(&bed.eal, &null).expect("the name is free");
        let refused = refusal(Port::attach(&bed.eal, &null));
        assert!(refused.starts_with("cannot attach device net_null7: EEXIST"), "{refused}");
        assert!(port.info().is_ok(), "the first is untouched");
    }
}

pub fn what_eal_found_at_its_start_is_taken_over_once(bed: &Bed) {
    let found = device(crate::FOUND);
    for _ in 0..2 {
        // The first time it is EAL's, as a NIC on the PCI bus would be; the second time it is made.
        let port = Port::attach(&bed.eal, &found).expect("nobody has it");
        assert!(port.info().is_ok());
        let refused = refusal(Port::attach(&bed.eal, &found));
        assert!(refused.starts_with("cannot attach device net_null9: EEXIST"), "{refused}");
    }
}

pub fn spreading_where_supported(bed: &Bed) {
    let mut null = Port::attach(&bed.eal, &device("net_null2")).expect("a null device");
    let info = null.info().expect("answers");
    // 22.11 names no length of a key for it, 24.11 names 40 bytes.
    assert!(info.rss && [0, 40].contains(&info.rss_key_bytes));
    assert!(!null.rss());
    null.configure(&PortConfig { rss: Rss::Symmetric, ..PortConfig::new(1) }, pools(bed))
        .expect("a random key");
    assert!(null.rss());
    let key = |len: u8| PortConfig { rss: Rss::Key(vec![0x6d; len.into()]), ..PortConfig::new(1) };
    null.configure(&key(info.rss_key_bytes), pools(bed)).expect("a key of the right length");
    assert!(null.rss());
    null.configure(&PortConfig { rss: Rss::Off, ..PortConfig::new(1) }, pools(bed)).expect("no key");
    assert!(!null.rss());
    let wrong = refusal(null.configure(&key(info.rss_key_bytes + 1), pools(bed)));
    assert!(wrong.contains("configure net_null2: EINVAL"), "{wrong}");

    let mut rings = looped(bed, "unspread", 2, 8).port;
    rings.configure(&PortConfig::new(2), pools(bed)).expect("goes without");
    assert!(!rings.rss());
}

pub fn signals_are_there_only_where_asked_for_and_supported(bed: &Bed) {
    for rx_interrupts in [false, true] {
        let mut null = Port::attach(&bed.eal, &device("net_null3")).expect("a null device");
        let config = PortConfig { rx_interrupts, ..PortConfig::new(1) };
        null.configure(&config, pools(bed)).expect("one queue");
        let Queues { rx, .. } = null.start().expect("is configured");
        assert!(rx[0].signal().is_none(), "the null device signals nothing");
    }
}

pub fn two_lcores_poll_two_queues(bed: &Bed) {
    const EACH: usize = 20_000;
    let Looped { mut port, to_port, mut from_port } = looped(bed, "lcores", 2, 256);
    port.configure(&PortConfig::new(2), pools(bed)).expect("two queues");
    let Queues { rx, tx } = port.start().expect("is configured");
    let tasks: Vec<_> = rx
        .into_iter()
        .zip(tx)
        .map(|(mut rx, mut tx)| {
            lcore::take(bed)
                .launch(move || {
                    let (mut burst, mut done) = (Burst::new(), 0);
                    while done < EACH {
                        rx.rx_burst(&mut burst);
                        done += tx.tx_burst(&mut burst);
                        std::thread::yield_now();
                    }
                })
                .expect("is idle")
        })
        .collect();
    let (mut sent, mut back) = ([0; 2], [0; 2]);
    let (mut to_port, mut burst) = (to_port, Burst::new());
    while back != [EACH; 2] {
        for queue in 0..2 {
            if sent[queue] < EACH {
                let room = 64.min(EACH - sent[queue]) as u8;
                sent[queue] += to_port[queue].enqueue(&mut bed.numbered(room));
            }
            back[queue] += from_port[queue].dequeue(&mut burst);
            burst.clear();
        }
        std::thread::yield_now();
    }
    for task in tasks {
        let (lcore, result) = task.join();
        result.expect("did not panic");
        lcore::put(lcore);
    }
    port.stop().expect("the closures dropped their queues");
}
