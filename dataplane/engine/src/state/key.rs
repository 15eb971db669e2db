//! The key of a connection: its tuple without a direction, so that both directions find the same record.

use core::hash::Hasher;

use bytemuck::{Pod, Zeroable, cast_ref};
use siphasher::sip::SipHasher13;
use wire::{Af, Port, Proto};

use crate::fate::WorkerId;
use crate::intrinsics::{Aes, Blocks, RoundKeys};
use crate::{Address, Tuple, Zone};

/// One of the two ends of a connection. Ends are ordered by address, the lower one first; an end's side is the part of
/// the network that it is in, as the firewall sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Zeroable)]
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

    /// This side of a key as one of another key, of which `low` is the other one's low side; and the other way round.
    #[inline(always)]
    pub const fn from(self, low: Self) -> Self {
        match low {
            Self::Low => self,
            Self::High => self.other(),
        }
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
        // By index and not by a branch: which end is the lower one is as good as random.
        let by_side = [sender.index(), sender.other().index()];
        let address = by_side.map(|end| [tuple.src, tuple.dst][end]);
        let port = by_side.map(|end| [tuple.sport, tuple.dport][end]);
        (Self { af: tuple.af, proto: tuple.proto, zone: tuple.zone, address, port }, sender)
    }
}

/// A key in 16 bytes, as the hot line holds it: IPv6 addresses are folded, to tell most strangers apart without another
/// line. In two words, so that it is made, compared and hashed with few instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable, Pod)]
#[repr(C, align(16))]
pub(crate) struct Narrow {
    /// Of the low side in the lower half, of the high side in the upper.
    addresses: u64,
    /// From the lowest bits on: port of the low side and of the high side, protocol, family, zone.
    rest: u64,
}

const _: () =
    assert!(cfg!(target_endian = "little"), "the ends of a narrow key are taken out of its words by place");

/// The family of a [`Narrow`] key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Family {
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

/// What two ends are to each other, with the first one's address or port in the upper half of a word.
#[inline(always)]
const fn by_side(ends: u64, sender: Side) -> u64 {
    match sender {
        Side::Low => ends.rotate_left(32),
        Side::High => ends,
    }
}

#[inline(always)]
const fn fold(address: Address) -> u32 {
    let half = (address.0 >> 64) as u64 ^ address.0 as u64;
    (half >> 32) as u32 ^ half as u32
}

impl Narrow {
    #[inline]
    pub fn of(key: &Key) -> Self {
        let [low, high] = match key.af {
            Af::Inet => key.address.map(Address::v4),
            Af::Inet6 => key.address.map(fold),
        };
        let port = u32::from(key.port[1].0) << 16 | u32::from(key.port[0].0);
        let addresses = u64::from(high) << 32 | u64::from(low);
        Self { addresses, rest: Self::rest(port, key.proto, Family::of(key.af), key.zone) }
    }

    #[inline(always)]
    const fn rest(ports: u32, proto: Proto, family: Family, zone: Zone) -> u64 {
        ports as u64 | (proto.0 as u64) << 32 | (family as u64) << 40 | (zone.0 as u64) << 48
    }

    /// The key of an IPv4 packet and the side of its sender, as [`Key::of`]. `ends` has the source address in its upper half
    /// and the destination in the lower, `ports` likewise, as they stand in the packet.
    #[inline(always)]
    pub const fn inet(proto: Proto, zone: Zone, ends: u64, ports: u32) -> (Self, Side) {
        let sender = if ends >> 32 <= ends & 0xffff_ffff { Side::Low } else { Side::High };
        let rest = Self::rest(Self::ports(ports, sender), proto, Family::Inet, zone);
        (Self { addresses: by_side(ends, sender), rest }, sender)
    }

    /// As [`Self::inet`], of an IPv6 packet; its addresses by side besides.
    #[inline(always)]
    pub fn inet6(
        proto: Proto,
        zone: Zone,
        [src, dst]: [Address; 2],
        ports: u32,
    ) -> (Self, Side, [Address; 2]) {
        let sender = if src <= dst { Side::Low } else { Side::High };
        let wide = if src <= dst { [src, dst] } else { [dst, src] };
        let ends = u64::from(fold(src)) << 32 | u64::from(fold(dst));
        let rest = Self::rest(Self::ports(ports, sender), proto, Family::Inet6, zone);
        (Self { addresses: by_side(ends, sender), rest }, sender, wide)
    }

    /// The key of a tuple, the side of its sender, and its addresses by side, of IPv6.
    #[inline(always)]
    pub fn of_tuple(tuple: &Tuple) -> (Self, Side, [Address; 2]) {
        let Tuple { af, proto, zone, src, dst, sport, dport } = *tuple;
        let ports = u32::from(sport.0) << 16 | u32::from(dport.0);
        match af {
            Af::Inet => {
                let ends = u64::from(src.v4()) << 32 | u64::from(dst.v4());
                let (key, sender) = Self::inet(proto, zone, ends, ports);
                (key, sender, [Address(0); 2])
            }
            Af::Inet6 => Self::inet6(proto, zone, [src, dst], ports),
        }
    }

    /// The same with another port at `side`.
    #[inline(always)]
    #[must_use]
    pub const fn with_port(self, side: Side, port: Port) -> Self {
        let shift = 16 * side as u32;
        Self { rest: self.rest & !(0xffff << shift) | (port.0 as u64) << shift, ..self }
    }

    /// Addresses and ports as they stand in a packet from this side, [`inet`](Self::inet) undone: source in the upper half.
    #[inline(always)]
    pub const fn as_sent(&self, sender: Side) -> (u64, u32) {
        (by_side(self.addresses, sender), Self::ports(self.rest as u32, sender))
    }

    /// The address at `side`; of IPv6 folded.
    #[inline(always)]
    pub fn address(&self, side: Side) -> u32 {
        cast_ref::<Self, [u32; 4]>(self)[side.index()]
    }

    /// The port at `side`.
    #[inline(always)]
    pub fn port(&self, side: Side) -> Port {
        Port(cast_ref::<Self, [u16; 8]>(self)[4 + side.index()])
    }

    /// All but addresses and ports.
    #[inline(always)]
    pub const fn about(&self) -> u32 {
        (self.rest >> 32) as u32
    }

    #[inline(always)]
    const fn ports(ports: u32, sender: Side) -> u32 {
        match sender {
            Side::Low => ports.rotate_left(16),
            Side::High => ports,
        }
    }

    /// The key, with the addresses kept beside it for IPv6.
    pub fn widened(&self, wide: &[Address; 2]) -> Key {
        let narrow = [self.addresses as u32, (self.addresses >> 32) as u32];
        let (af, address) = match self.family() {
            Family::Inet => (Af::Inet, narrow.map(|address| Address(u128::from(address)))),
            Family::Inet6 => (Af::Inet6, *wide),
        };
        let port = [Port(self.rest as u16), Port((self.rest >> 16) as u16)];
        Key { af, proto: self.proto(), zone: Zone((self.rest >> 48) as u16), address, port }
    }

    #[inline(always)]
    pub const fn proto(&self) -> Proto {
        Proto((self.rest >> 32) as u8)
    }

    #[inline(always)]
    pub const fn family(&self) -> Family {
        if self.rest >> 40 & 1 == 0 { Family::Inet } else { Family::Inet6 }
    }

    /// What is hashed of it, and of its IPv6 addresses, if it has some.
    #[inline(always)]
    pub const fn blocks(&self, wide: &[Address; 2]) -> Blocks {
        let block = self.addresses as u128 | (self.rest as u128) << 64;
        match self.family() {
            Family::Inet => Blocks::One(block),
            Family::Inet6 => Blocks::Three([wide[0].0, wide[1].0, block]),
        }
    }

    /// Not a key, but the number of a record that has none any more.
    pub const fn link(before: u32) -> Self {
        Self { addresses: before as u64, rest: 0 }
    }

    /// The number in a [`link`](Self::link).
    pub const fn linked(&self) -> u32 {
        self.addresses as u32
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
        (self.0 >> 32) as u16 | 1
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
        self.hash_narrow(&Narrow::of(key), &key.address)
    }

    /// As [`hash`](Self::hash), of a key and its IPv6 addresses.
    #[inline]
    pub fn hash_narrow(&self, key: &Narrow, wide: &[Address; 2]) -> KeyHash {
        let blocks = key.blocks(wide);
        if let Blocks::One(block) = blocks {
            return KeyHash(self.aes.hash_one(&self.keys, block));
        }
        let mut hash = KeyHash::default();
        self.hash_each(core::iter::once(blocks), |blocks| *blocks, |_, found| hash = found);
        hash
    }

    /// The hashes of many keys at once, given the `blocks` of each; `store` takes them.
    #[inline(always)]
    pub fn hash_each<T>(
        &self,
        items: impl Iterator<Item = T>,
        blocks: impl Fn(&T) -> Blocks,
        mut store: impl FnMut(T, KeyHash),
    ) {
        self.aes.hash_each(&self.keys, items, blocks, |item, hash| store(item, KeyHash(hash)));
    }

    /// How many workers there are.
    pub const fn workers(&self) -> u16 {
        self.workers
    }

    /// The worker that owns the connections of this hash: only it creates them.
    #[inline]
    pub const fn home(&self, hash: KeyHash) -> WorkerId {
        // A multiply-and-shift maps 16 bits evenly onto any number of workers.
        WorkerId(((hash.home() as u32 * self.workers as u32) >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_key_holds_all_of_a_key_but_wide_addresses() {
        for (af, address) in [
            (Af::Inet, [Address(0x0a00_0001), Address(0xffff_fffe)]),
            (Af::Inet6, [Address(0x2001_0db8 << 96 | 5), Address(u128::MAX - 1)]),
        ] {
            let (zone, port) = (Zone(0xfedc), [Port(0xffff), Port(1)]);
            let key = Key { af, proto: Proto(0xfd), zone, address, port };
            let narrow = Narrow::of(&key);
            assert_eq!(narrow.widened(&address), key);
            let different = [
                Key { af: if af == Af::Inet { Af::Inet6 } else { Af::Inet }, ..key },
                Key { proto: Proto(0xfc), ..key },
                Key { zone: Zone(0xfedd), ..key },
                Key { port: [Port(1), Port(0xffff)], ..key },
                Key { address: [address[0], Address(address[1].0 ^ 1)], ..key },
                Key { address: [Address(address[0].0 ^ 1), address[1]], ..key },
            ];
            assert!(different.iter().all(|other| Narrow::of(other) != narrow));
            let ported = |side: Side, port: Port| {
                let mut key = key;
                key.port[side.index()] = port;
                Narrow::of(&key)
            };
            for side in Side::BOTH {
                assert_eq!(narrow.with_port(side, Port(0x1234)), ported(side, Port(0x1234)));
            }
            for [low, high] in [[0, 1], [1, 0]] {
                let (src, dst) = (address[low], address[high]);
                let (sport, dport) = (port[low], port[high]);
                let tuple = Tuple { af, proto: Proto(0xfd), zone, src, dst, sport, dport };
                let (key, sender, wide) = Narrow::of_tuple(&tuple);
                assert_eq!((key.widened(&wide), sender), Key::of(&tuple));
            }
        }
    }
}
