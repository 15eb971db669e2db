use std::fs;
use std::path::PathBuf;

use dpdk::{Burst, Mempool, NoRoom, PoolConfig, Port, PortConfig};

use crate::Bed;

/// A folder of this process, removed with its files when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("dpdk-beds-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The classic pcap format, of this machine's byte order: header, then records.
fn pcap_file(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut words = |list: &[u32], data: &[u8]| {
        list.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes.extend(data);
    };
    words(&[0xa1b2_c3d4, u32::from_ne_bytes([2, 0, 4, 0]), 0, 0, 65_535, 1], &[]);
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("a short frame");
        words(&[0, 0, len, len], frame);
    }
    bytes
}

/// The frames of such a file.
fn frames_of(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_ne_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

pub fn frames_from_a_file_to_a_file(bed: &Bed) {
    let folder = Folder::new("copy");
    let frames: Vec<_> = [60, 61, 1514, 600].map(frame).into();
    fs::write(folder.file("in.pcap"), pcap_file(&frames)).expect("writable");
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", folder.file("in.pcap"), folder.file("out.pcap"));
    let mut port = Port::attach(&bed.eal, &device.parse().expect("a device")).expect("a readable file");
    port.configure(&PortConfig::new(1), std::slice::from_ref(&bed.pool)).expect("one queue");
    let mut queues = port.start().expect("is configured");
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 4);
    assert!(burst.iter().zip(&frames).all(|(mbuf, frame)| mbuf.data() == frame));
    burst[0].trim_front(14).expect("has 60 bytes");
    burst[1].prepend(4).expect("has headroom").fill(0xee);
    assert_eq!(queues.tx[0].tx_burst(&mut burst), 4);
    drop(queues);
    port.stop().expect("the queues are back");
    drop(port);

    let mut expected = frames.clone();
    expected[0].drain(..14);
    expected[1].splice(0..0, [0xee; 4]);
    assert_eq!(frames_of(&fs::read(folder.file("out.pcap")).expect("was written")), expected);
}

pub fn long_frames_come_in_segments(bed: &Bed) {
    let folder = Folder::new("segments");
    let frames = vec![frame(1400), frame(100)];
    fs::write(folder.file("in.pcap"), pcap_file(&frames)).expect("writable");
    let config = PoolConfig { frame_bytes: 512, ..PoolConfig::new("short", 63) };
    let short = Mempool::new(&bed.eal, &config).expect("a small pool");
    let device = format!("net_pcap1,rx_pcap={}", folder.file("in.pcap"));
    let mut port = Port::attach(&bed.eal, &device.parse().expect("a device")).expect("a readable file");
    port.configure(&PortConfig::new(1), std::slice::from_ref(&short)).expect("one queue");
    let mut queues = port.start().expect("is configured");
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 2);
    assert_eq!(short.in_use(), 4, "three segments and one");

    let long = &mut burst[0];
    assert!(!long.is_contiguous());
    assert_eq!((long.len(), long.packet_len()), (512, 1400));
    assert_eq!(long.append(1).map(drop), Err(NoRoom));
    assert_eq!(long.truncate(10), Err(NoRoom));
    assert_eq!(long.linearise(&short), Err(NoRoom), "the buffers are too small");
    assert_eq!((long.is_contiguous(), long.packet_len(), short.in_use()), (false, 1400, 4));
    // The front of a segmented packet can move.
    long.trim_front(12).expect("512 bytes in the first segment");
    assert_eq!(long.packet_len(), 1388);
    long.prepend(12).expect("has headroom").copy_from_slice(&frames[0][..12]);

    long.linearise(&bed.pool).expect("2 KiB buffers");
    assert!(long.is_contiguous());
    assert_eq!((long.data(), long.packet_len()), (&frames[0][..], 1400));
    assert_eq!((short.in_use(), bed.pool.in_use()), (1, 1));
    burst[1].linearise(&bed.pool).expect("is contiguous already");
    assert_eq!((short.in_use(), bed.pool.in_use()), (1, 1));
    burst.clear();
    assert_eq!(short.in_use(), 0);
}

/// A pool of 256 buffers, all but one of which are in use: what finds none is counted by the device, and it goes on as soon
/// as there are some.
pub fn g02_a_device_counts_what_it_has_no_buffer_for(bed: &Bed) {
    let folder = Folder::new("exhausted");
    let frames: Vec<_> = (0..32).map(|i| frame(60 + i)).collect();
    fs::write(folder.file("in.pcap"), pcap_file(&frames)).expect("writable");
    let pool = Mempool::new(&bed.eal, &PoolConfig::new("exhausted", 256)).expect("a small pool");
    let device = format!("net_pcap2,rx_pcap={}", folder.file("in.pcap"));
    let mut port = Port::attach(&bed.eal, &device.parse().expect("a device")).expect("a readable file");
    port.configure(&PortConfig::new(1), std::slice::from_ref(&pool)).expect("one queue");
    let mut queues = port.start().expect("is configured");
    let mut kept: Vec<_> = (0..255).map_while(|_| pool.alloc()).collect();
    assert_eq!((kept.len(), pool.available()), (255, 1));
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 1, "one buffer, one packet");
    assert_eq!(burst[0].data(), frames[0]);
    assert!(port.stats().expect("a port").rx_no_mbuf > 0);
    kept.clear();
    let before = burst.len();
    assert!(queues.rx[0].rx_burst(&mut burst) > 20, "it goes on");
    assert!(burst[before..].iter().all(|mbuf| frames.iter().any(|frame| mbuf.data() == &frame[..])));
    burst.clear();
    assert_eq!(pool.in_use(), 0);
}
