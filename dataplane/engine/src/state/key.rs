//! The key of a connection: its tuple without a direction, so that both directions find the same record.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;
use wire::{Af, Port, Proto};

use crate::fate::WorkerId;
use crate::intrinsics::{Aes, RoundKeys};
use crate::{Address, Tuple, Zone};

/// One of the two ends of a connection. Ends are ordered by address, the lower one first; an end's side is the part of
/// the network that it is in, as the firewall sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Side {
    /// Of the end with the lower address.
    #[default]
    Low = 0,
    /// Of the end with the higher address.
    High = 1,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Low, Self::High];

    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    #[inline]
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// A tuple without a direction; the addresses and ports are indexed by [`Side`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub af: Af,
    pub proto: Proto,
    pub zone: Zone,
    pub address: [Address; 2],
    pub port: [Port; 2],
}

impl Key {
    /// The key of a packet's tuple, and the side of its sender.
    #[inline]
    pub fn of(tuple: &Tuple) -> (Self, Side) {
        let sender = if tuple.src <= tuple.dst { Side::Low } else { Side::High };
        let (address, port) = match sender {
            Side::Low => ([tuple.src, tuple.dst], [tuple.sport, tuple.dport]),
            Side::High => ([tuple.dst, tuple.src], [tuple.dport, tuple.sport]),
        };
        (Self { af: tuple.af, proto: tuple.proto, zone: tuple.zone, address, port }, sender)
    }
}

/// A key in 16 bytes, as the hot line holds it: IPv6 addresses are folded, to tell most strangers apart without another
/// line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Narrow {
    pub address: [u32; 2],
    pub port: [u16; 2],
    pub proto: u8,
    pub family: Family,
    pub zone: u16,
}

/// The family of a [`Narrow`] key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Family {
    #[default]
    Inet,
    Inet6,
}

impl Family {
    #[inline]
    pub const fn of(af: Af) -> Self {
        match af {
            Af::Inet => Self::Inet,
            Af::Inet6 => Self::Inet6,
        }
    }
}

const fn fold(address: Address) -> u32 {
    let half = (address.0 >> 64) as u64 ^ address.0 as u64;
    (half >> 32) as u32 ^ half as u32
}

impl Narrow {
    #[inline]
    pub fn of(key: &Key) -> Self {
        let (address, family) = match key.af {
            Af::Inet => (key.address.map(Address::v4), Family::Inet),
            Af::Inet6 => (key.address.map(fold), Family::Inet6),
        };
        Self { address, port: key.port.map(|port| port.0), proto: key.proto.0, family, zone: key.zone.0 }
    }

    /// The key of an IPv4 packet and the side of its sender, as [`Key::of`], given source and destination.
    #[inline(always)]
    pub fn inet(proto: Proto, zone: Zone, [src, dst]: [u32; 2], [sport, dport]: [Port; 2]) -> (Self, Side) {
        let forth = src <= dst;
        let address = if forth { [src, dst] } else { [dst, src] };
        let port = if forth { [sport.0, dport.0] } else { [dport.0, sport.0] };
        let sender = if forth { Side::Low } else { Side::High };
        (Self { address, port, proto: proto.0, family: Family::Inet, zone: zone.0 }, sender)
    }

    /// What is hashed of it: its bytes, as they stand in memory on a little-endian processor.
    #[inline(always)]
    pub const fn block(&self) -> u128 {
        self.address[0] as u128
            | (self.address[1] as u128) << 32
            | (self.port[0] as u128) << 64
            | (self.port[1] as u128) << 80
            | (self.proto as u128) << 96
            | (self.family as u128) << 104
            | (self.zone as u128) << 112
    }
}

/// The hash of a key; its parts are used for different ends, none of which sees another's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHash(pub u64);

impl KeyHash {
    /// Chooses the bucket.
    #[inline]
    pub const fn bucket(self) -> u32 {
        self.0 as u32
    }

    /// Distinguishes the entries of a bucket; never 0, which marks a free slot.
    #[inline]
    pub const fn tag(self) -> u16 {
        let tag = (self.0 >> 32) as u16;
        if tag == 0 { 1 } else { tag }
    }

    /// Chooses the home worker.
    #[inline]
    const fn home(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// The keyed hash of connections, and the home function built on it: the same in every worker of a process, secret, and
/// drawn anew at each start, since attackers choose the keys that are hashed. Four rounds of AES, as fast as CRC32C where the
/// processor has the instructions.
#[derive(Clone, Debug)]
pub(crate) struct Hashing {
    aes: Aes,
    keys: RoundKeys,
    workers: u16,
}

impl Hashing {
    pub fn new(key: [u64; 2], workers: u16) -> Self {
        let half = |number: u64| {
            let mut sip = SipHasher13::new_with_keys(key[0], key[1]);
            sip.write_u64(number);
            u128::from(sip.finish())
        };
        let round_key = |number: usize| half(2 * number as u64) << 64 | half(2 * number as u64 + 1);
        Self { aes: Aes::detect(), keys: RoundKeys(core::array::from_fn(round_key)), workers: workers.max(1) }
    }

    #[inline]
    pub fn hash(&self, key: &Key) -> KeyHash {
        let narrow = Narrow::of(key);
        KeyHash(match key.af {
            Af::Inet => self.aes.hash_chain(&self.keys, &[narrow.block()]),
            Af::Inet6 => {
                let [low, high] = key.address;
                self.aes.hash_chain(&self.keys, &[low.0, high.0, narrow.block()])
            }
        })
    }

    /// The hashes of many IPv4 keys at once, each from its `block` to where `store` puts it.
    #[inline]
    pub fn hash_each<T>(&self, items: &mut [T], block: impl Fn(&T) -> u128, store: impl Fn(&mut T, KeyHash)) {
        self.aes.hash_each(&self.keys, items, block, |item, hash| store(item, KeyHash(hash)));
    }

    /// The worker that owns the connections of this hash: only it creates them.
    #[inline]
    pub const fn home(&self, hash: KeyHash) -> WorkerId {
        // A multiply-and-shift maps 16 bits evenly onto any number of workers.
        WorkerId(((hash.home() as u32 * self.workers as u32) >> 16) as u16)
    }
}
