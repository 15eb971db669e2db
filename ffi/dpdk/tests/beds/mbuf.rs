use std::collections::BTreeSet;

use dpdk::{Burst, ChecksumStatus, Mempool, NoRoom, PoolConfig};

use crate::Bed;

pub fn every_change_and_back(bed: &Bed) {
    let mut mbuf = bed.frame(b"payload");
    mbuf.prepend(4).expect("128 bytes of headroom").copy_from_slice(b"head");
    mbuf.append(4).expect("2 KiB of tailroom").copy_from_slice(b"tail");
    mbuf.extend_from_slice(b"!").expect("2 KiB of tailroom");
    mbuf.extend_from_slices(b"!", b"?").expect("2 KiB of tailroom");
    mbuf.extend_from_slices(b"", b"").expect("nothing");
    assert_eq!(mbuf.data(), b"headpayloadtail!!?");
    assert_eq!((mbuf.len(), mbuf.packet_len(), mbuf.headroom()), (18, 18, 124));
    mbuf.trim_front(4).expect("has 18 bytes");
    mbuf.truncate(7).expect("has 14 bytes");
    assert_eq!(mbuf.data(), b"payload");
    assert_eq!((mbuf.len(), mbuf.packet_len(), mbuf.headroom()), (7, 7, 128));
    mbuf.data_mut().reverse();
    assert_eq!(mbuf.data(), b"daolyap");
    assert_eq!(bed.pool.in_use(), 1);
}

pub fn refused_changes_change_nothing(bed: &Bed) {
    let mut mbuf = bed.frame(b"payload");
    let room = (mbuf.headroom(), mbuf.tailroom());
    assert_eq!(room, (128, 2041));
    assert_eq!(mbuf.prepend(129).map(drop), Err(NoRoom));
    assert_eq!(mbuf.prepend(1 << 16).map(drop), Err(NoRoom));
    assert_eq!(mbuf.append(2042).map(drop), Err(NoRoom));
    assert_eq!(mbuf.append(usize::MAX).map(drop), Err(NoRoom));
    assert_eq!(mbuf.extend_from_slice(&[0; 2042]), Err(NoRoom));
    assert_eq!(mbuf.extend_from_slices(&[0; 2040], &[0; 2]), Err(NoRoom));
    assert_eq!(mbuf.trim_front(8), Err(NoRoom));
    assert_eq!(mbuf.trim_front((1 << 16) + 1), Err(NoRoom));
    assert_eq!(mbuf.truncate(8), Err(NoRoom));
    assert_eq!((mbuf.data(), mbuf.packet_len()), (&b"payload"[..], 7));
    assert_eq!((mbuf.headroom(), mbuf.tailroom()), room);

    // To the bound, all of it works.
    mbuf.prepend(128).expect("exactly the headroom");
    mbuf.append(2041).expect("exactly the tailroom");
    assert_eq!((mbuf.headroom(), mbuf.tailroom(), mbuf.packet_len()), (0, 0, 2176));
    assert_eq!(mbuf.prepend(1).map(drop), Err(NoRoom));
    assert_eq!(mbuf.append(1).map(drop), Err(NoRoom));
    mbuf.trim_front(2176).expect("exactly the packet");
    assert!(mbuf.is_empty());
}

pub fn added_bytes_are_zero(bed: &Bed) {
    // The pool hands out what was freed last, so that some buffer comes back with its old bytes.
    for _ in 0..64 {
        let mut mbuf = bed.frame(&[0xaa; 64]);
        mbuf.prepend(64).expect("128 bytes of headroom").fill(0xbb);
    }
    let mut mbuf = bed.frame(&[]);
    assert_eq!(mbuf.append(64).expect("has room"), [0; 64]);
    assert_eq!(mbuf.prepend(64).expect("has room"), [0; 64]);
}

pub fn a_copy_owns_its_bytes(bed: &Bed) {
    let mut original = bed.frame(b"original");
    let copy = original.copy(&bed.pool).expect("the pool has more");
    original.data_mut().fill(b'x');
    assert_eq!(copy.data(), b"original");
    assert_eq!(original.data(), b"xxxxxxxx");
    assert_eq!(bed.pool.in_use(), 2);
    drop(original);
    assert_eq!((copy.data(), bed.pool.in_use()), (&b"original"[..], 1));
}

pub fn an_exhausted_pool_recovers(bed: &Bed) {
    let config = PoolConfig { cache: 0, frame_bytes: 64, ..PoolConfig::new("few", 3) };
    let pool = Mempool::new(&bed.eal, &config).expect("three small mbufs");
    let mut held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((held.len(), pool.in_use(), pool.available()), (3, 3, 0));
    let mut burst = Burst::new();
    assert!(!pool.alloc_burst(&mut burst, 1));
    assert!(burst.is_empty());
    assert!(held[0].copy(&pool).is_none());
    held.pop();
    assert_eq!(pool.available(), 1);
    held.push(pool.alloc().expect("one came back"));
    drop(held);
    assert_eq!((pool.in_use(), pool.size(), pool.name()), (0, 3, "few"));
}

/// As `net_af_xdp` reckons: so many mbufs are in so much memory, whatever the pages.
pub fn mbufs_of_a_packed_pool_lie_one_behind_the_other(bed: &Bed) {
    let places = |packed: bool| {
        let config = PoolConfig { packed, ..PoolConfig::new("packed", 255) };
        let pool = Mempool::new(&bed.eal, &config).expect("fits");
        let mbufs: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        let mut places: Vec<usize> = mbufs.iter().map(|mbuf| mbuf.data().as_ptr().addr()).collect();
        places.sort_unstable();
        assert_eq!(places.len(), 255);
        places
    };
    let gaps =
        |places: &[usize]| -> BTreeSet<usize> { places.windows(2).map(|pair| pair[1] - pair[0]).collect() };
    let packed = gaps(&places(true));
    assert_eq!(packed.len(), 1, "{packed:?}");
    // The usual pool of a bed leaves out what is left of an ordinary page.
    let usual = gaps(&places(false));
    assert!(usual.last() > packed.last(), "{usual:?}");
}

pub fn a_pool_outlives_its_handle_while_an_mbuf_is_out(bed: &Bed) {
    let pool = Mempool::new(&bed.eal, &PoolConfig::new("closed", 15)).expect("fits");
    let name_is_taken = || Mempool::new(&bed.eal, &PoolConfig::new("closed", 15)).is_err();
    assert!(name_is_taken());
    drop(pool);
    assert!(!name_is_taken(), "every mbuf was back: freed with the last handle");

    // In an lcore that runs for as long, the pool is kept as well: see the lcore tests. Here an mbuf keeps it.
    let pool = Mempool::new(&bed.eal, &PoolConfig::new("held", 15)).expect("fits");
    let other = pool.clone();
    let mut mbuf = pool.alloc().expect("is full");
    drop(pool);
    assert_eq!(other.in_use(), 1);
    mbuf.append(8).expect("still valid").copy_from_slice(b"a packet");
    assert_eq!(mbuf.data(), b"a packet");
    drop(mbuf);
    assert_eq!(other.in_use(), 0);
}

pub fn metadata_of_a_fresh_mbuf(bed: &Bed) {
    let mbuf = bed.frame(b"x");
    assert!(mbuf.is_contiguous());
    assert_eq!((mbuf.rss_hash(), mbuf.vlan_tci()), (None, None));
    assert_eq!((mbuf.ip_checksum(), mbuf.l4_checksum()), (ChecksumStatus::Unknown, ChecksumStatus::Unknown));
    mbuf.prefetch();
    mbuf.prefetch_data();
    assert!(format!("{mbuf:?}").contains("len: 1"));
}
