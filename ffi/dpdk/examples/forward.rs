//! A wire between two ports: what arrives on one leaves on the other.
//!
//! `forward [SECONDS [PORT PORT]]`, for ever and between two new TAP interfaces (fwd0, fwd1) unless told otherwise. Move
//! each interface into a network namespace of its own to send real traffic through. Needs root for TAP.

#![allow(clippy::disallowed_methods, reason = "an example that runs in real time")]

use std::time::{Duration, Instant};

use dpdk::port::Promiscuous;
use dpdk::{
    Burst, Device, Eal, EalArgs, Memory, Mempool, PoolConfig, Port, PortConfig, Queues, RxQueue, TxQueue,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map(|s| s.parse()).transpose()?.unwrap_or(u64::MAX);
    let mut device = |default: &str| args.next().unwrap_or(default.to_owned()).parse::<Device>();
    let devices = [device("net_tap0,iface=fwd0")?, device("net_tap1,iface=fwd1")?];

    let eal = Eal::init(&EalArgs::new("forward", Memory::NoHuge { mib: 64 }).file_prefix("forward"))?;
    let pool = Mempool::new(&eal, &PoolConfig::new("forward", 8191))?;
    let mut ports = Vec::new();
    let mut queues = Vec::new();
    for device in &devices {
        let mut port = Port::attach(&eal, device)?;
        port.configure(&PortConfig::new(1), std::slice::from_ref(&pool))?;
        queues.push(port.start()?);
        port.set_promiscuous(Promiscuous::On)?;
        println!("{device}: {} {:02x?} {:?}", port.info()?.driver, port.mac()?, port.link()?);
        ports.push(port);
    }

    let mut wires = cross(queues);
    let mut burst = Burst::new();
    let end = Instant::now().checked_add(Duration::from_secs(seconds));
    while end.is_none_or(|end| Instant::now() < end) {
        let forwarded: usize = wires.iter_mut().map(|(rx, tx)| forward(rx, tx, &mut burst)).sum();
        if forwarded == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    for port in &ports {
        println!("{}: {:?}", port.name(), port.stats()?);
    }
    drop((wires, ports));
    println!("mbufs in use: {}", pool.in_use());
    Ok(())
}

/// Pairs the receive queue of each of two ports with the transmit queue of the other.
fn cross(mut queues: Vec<Queues>) -> [(RxQueue, TxQueue); 2] {
    let mut next = || {
        let Queues { mut rx, mut tx } = queues.remove(0);
        (rx.remove(0), tx.remove(0))
    };
    let ((rx0, tx0), (rx1, tx1)) = (next(), next());
    [(rx0, tx1), (rx1, tx0)]
}

/// Forwards one burst; what the device does not take at once is dropped.
fn forward(rx: &mut RxQueue, tx: &mut TxQueue, burst: &mut Burst) -> usize {
    rx.rx_burst(burst);
    let sent = tx.tx_burst(burst);
    burst.clear();
    sent
}
