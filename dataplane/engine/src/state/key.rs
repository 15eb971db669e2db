//! The key of a connection: its tuple without a direction, so that both directions find the same record.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;
use wire::{Af, Port, Proto};

use crate::fate::WorkerId;
use crate::{Address, Tuple, Zone};

/// One of the two ends of a connection. Ends are ordered by address, the lower one first; an end's side is the part of
/// the network that it is in, as the firewall sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Side {
    /// Of the end with the lower address.
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

/// The hash of a key; its parts are used for different ends, none of which sees another's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(pub u64);

impl KeyHash {
    /// Chooses the bucket.
    #[inline]
    pub const fn bucket(self) -> usize {
        self.0 as u32 as usize
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
/// drawn anew at each start, since attackers choose the keys that are hashed.
#[derive(Clone, Debug)]
pub(crate) struct Hashing {
    sip: SipHasher13,
    workers: u16,
}

impl Hashing {
    pub fn new(key: [u64; 2], workers: u16) -> Self {
        Self { sip: SipHasher13::new_with_keys(key[0], key[1]), workers: workers.max(1) }
    }

    #[inline]
    pub fn hash(&self, key: &Key) -> KeyHash {
        let mut sip = self.sip;
        match key.af {
            Af::Inet => sip.write_u64(u64::from(key.address[0].v4()) << 32 | u64::from(key.address[1].v4())),
            Af::Inet6 => {
                sip.write_u128(key.address[0].0);
                sip.write_u128(key.address[1].0);
            }
        }
        let ports = u64::from(key.port[0].0) << 16 | u64::from(key.port[1].0);
        sip.write_u64(ports | u64::from(key.zone.0) << 32 | u64::from(key.proto.0) << 48);
        KeyHash(sip.finish())
    }

    /// The worker that owns the connections of this hash: only it creates them.
    #[inline]
    pub const fn home(&self, hash: KeyHash) -> WorkerId {
        // A multiply-and-shift maps 16 bits evenly onto any number of workers.
        WorkerId(((hash.home() as u32 * self.workers as u32) >> 16) as u16)
    }
}
