//! What the compiler cannot do by itself: prefetches, sixteen comparisons in one instruction, rounds of AES.
//!
//! Overview: safe functions, each with a plain form for other processors that gives the same results; only speed differs.
//! Life cycle: [`Aes::detect`] once, when a shard is made. The only module of the engine with `unsafe`.
#![allow(
    unsafe_code,
    reason = "loads through pointers, and instructions whose presence is only known at run time"
)]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_aesenc_si128, _mm_cmpeq_epi16, _mm_cvtsi128_si64, _mm_loadu_si128,
    _mm_movemask_epi8, _mm_packs_epi16, _mm_prefetch, _mm_set_epi64x, _mm_set1_epi16, _mm_xor_si128,
};

/// Starts loading the first cache line of `value`.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Which of the ten tags that a cache line begins with equal `tag`: bit `i` for the one at `i`.
#[inline(always)]
pub(crate) fn equal_tags(line: &[u16; 32], tag: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is a part of x86-64. The array has 64 bytes, the loads take 32 and need no alignment.
        unsafe {
            let wanted = _mm_set1_epi16(tag as i16);
            let first = _mm_loadu_si128(line.as_ptr().cast());
            let last = _mm_loadu_si128(line.as_ptr().add(8).cast());
            let equal = _mm_packs_epi16(_mm_cmpeq_epi16(first, wanted), _mm_cmpeq_epi16(last, wanted));
            _mm_movemask_epi8(equal) as u32 & 0x3ff
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        line[..10].iter().enumerate().fold(0, |mask, (at, own)| mask | u32::from(*own == tag) << at)
    }
}

/// The keys of one permutation: added before the first round, and in each round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundKeys(pub [u128; 5]);

/// What is hashed of an item.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blocks {
    /// A block.
    One(u128),
    /// Blocks one after another.
    Three([u128; 3]),
}

/// Four rounds of AES with secret round keys. Two rounds let every input bit reach every output bit; the third and fourth
/// make differences that survive too unlikely to be looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aes {
    in_hardware: bool,
}

impl Aes {
    /// The processor's instructions, if it has them.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        let in_hardware = std::arch::is_x86_feature_detected!("aes");
        #[cfg(not(target_arch = "x86_64"))]
        let in_hardware = false;
        Self { in_hardware }
    }

    /// As [`hash_each`](Self::hash_each), of one block. It is given by value: a load of both halves at once would wait for the stores
    /// of each.
    #[inline(always)]
    pub fn hash_one(self, keys: &RoundKeys, block: u128) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if self.in_hardware {
            // SAFETY: the processor has the instructions, see `detect`.
            return unsafe { hash_one_in_hardware(keys, block) };
        }
        permute_in_software(keys, block) as u64
    }

    /// For each item, the low half of the state after all its blocks, each added to the state and followed by the
    /// permutation.
    #[inline(always)]
    pub fn hash_each<T>(
        self,
        keys: &RoundKeys,
        items: impl Iterator<Item = T>,
        blocks: impl Fn(&T) -> Blocks,
        mut store: impl FnMut(T, u64),
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.in_hardware {
            // SAFETY: the processor has the instructions, see `detect`.
            unsafe { hash_each_in_hardware(keys, items, blocks, store) };
            return;
        }
        for item in items {
            let state = match blocks(&item) {
                Blocks::One(block) => permute_in_software(keys, block),
                Blocks::Three(blocks) => {
                    blocks.iter().fold(0, |state, block| permute_in_software(keys, state ^ block))
                }
            };
            store(item, state as u64);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn vector(value: u128) -> __m128i {
    // SAFETY: SSE2 is a part of x86-64.
    unsafe { _mm_set_epi64x((value >> 64) as i64, value as i64) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes")]
#[inline]
fn permute_in_hardware(keys: &[__m128i; 5], block: __m128i) -> __m128i {
    let [before, rounds @ ..] = keys;
    rounds.iter().fold(_mm_xor_si128(block, *before), |state, key| _mm_aesenc_si128(state, *key))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes")]
fn hash_each_in_hardware<T>(
    keys: &RoundKeys,
    items: impl Iterator<Item = T>,
    blocks: impl Fn(&T) -> Blocks,
    mut store: impl FnMut(T, u64),
) {
    let keys = keys.0.map(vector);
    for item in items {
        let state = match blocks(&item) {
            Blocks::One(block) => permute_in_hardware(&keys, vector(block)),
            Blocks::Three([first, second, third]) => {
                let state = permute_in_hardware(&keys, vector(first));
                let state = permute_in_hardware(&keys, _mm_xor_si128(state, vector(second)));
                permute_in_hardware(&keys, _mm_xor_si128(state, vector(third)))
            }
        };
        store(item, _mm_cvtsi128_si64(state) as u64);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes")]
fn hash_one_in_hardware(keys: &RoundKeys, block: u128) -> u64 {
    _mm_cvtsi128_si64(permute_in_hardware(&keys.0.map(vector), vector(block))) as u64
}

fn permute_in_software(keys: &RoundKeys, block: u128) -> u128 {
    let [before, rounds @ ..] = &keys.0;
    rounds.iter().fold(block ^ before, |state, key| round(state) ^ key)
}

/// SubBytes, ShiftRows and MixColumns (FIPS 197 §5.1) of a state whose first byte is the lowest.
fn round(state: u128) -> u128 {
    let state = state.to_le_bytes();
    let mut mixed = [0; 16];
    for column in 0..4 {
        let [a, b, c, d]: [u8; 4] =
            core::array::from_fn(|row| SUBSTITUTES[usize::from(state[4 * ((column + row) % 4) + row])]);
        let all = a ^ b ^ c ^ d;
        let turned = [
            a ^ all ^ double(a ^ b),
            b ^ all ^ double(b ^ c),
            c ^ all ^ double(c ^ d),
            d ^ all ^ double(d ^ a),
        ];
        mixed[4 * column..4 * column + 4].copy_from_slice(&turned);
    }
    u128::from_le_bytes(mixed)
}

/// Multiplication by x in GF(2⁸) (FIPS 197 §4.2.1).
const fn double(value: u8) -> u8 {
    value << 1 ^ if value & 0x80 != 0 { 0x1b } else { 0 }
}

/// The S-box (FIPS 197 §5.1.1): inverses in GF(2⁸), turned by an affine map. 3 generates the field, so its powers and
/// those of its inverse 0xf6 run through all pairs of inverses.
const SUBSTITUTES: [u8; 256] = {
    let mut table = [0x63; 256];
    let (mut power, mut inverse) = (1_u8, 1_u8);
    loop {
        let turned = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        table[power as usize] = turned ^ 0x63;
        power ^= double(power);
        // Division by 3: multiplication by 0xf6.
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 0x09;
        }
        if power == 1 {
            break;
        }
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: RoundKeys = RoundKeys([
        0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
        0x1111_2222_3333_4444_5555_6666_7777_8888,
        !0,
        0,
        0xdead_beef_0000_1234_5678_9abc_def0_0001,
    ]);

    #[test]
    fn the_substitutes_are_those_of_the_standard() {
        // FIPS 197 figure 7: the first and last of some rows, and the example of §5.1.1.
        for (from, to) in [(0x00, 0x63), (0x0f, 0x76), (0x53, 0xed), (0x70, 0x51), (0xf0, 0x8c), (0xff, 0x16)]
        {
            assert_eq!(SUBSTITUTES[from], to, "{from:02x}");
        }
    }

    #[test]
    fn a_round_is_that_of_the_standard() {
        // FIPS 197 appendix B, the state at the start of round 1 and after its MixColumns.
        let start = u128::from_be_bytes(0x193d_e3be_a0f4_e22b_9ac6_8d2a_e9f8_4808_u128.to_le_bytes());
        let mixed = u128::from_be_bytes(0x0466_81e5_e0cb_199a_48f8_d37a_2806_264c_u128.to_le_bytes());
        assert_eq!(round(start), mixed);
    }

    #[test]
    fn hardware_and_software_agree() {
        let (best, software) = (Aes::detect(), Aes { in_hardware: false });
        let blocks: Vec<u128> =
            (0..200_u128).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)).collect();
        let hashes = |aes: Aes, items: &[Blocks]| {
            let mut hashes = Vec::new();
            aes.hash_each(&KEYS, items.iter(), |blocks| **blocks, |_, hash| hashes.push(hash));
            hashes
        };
        let alone: Vec<Blocks> = blocks.iter().map(|block| Blocks::One(*block)).collect();
        let chains: Vec<Blocks> =
            blocks.windows(3).map(|chain| Blocks::Three([chain[0], chain[1], chain[2]])).collect();
        for (block, each) in blocks.iter().zip(hashes(best, &alone)) {
            assert_eq!([best, software].map(|aes| aes.hash_one(&KEYS, *block)), [each; 2]);
        }
        for items in [alone, chains] {
            let found = hashes(best, &items);
            assert_eq!(found, hashes(software, &items));
            let different: std::collections::HashSet<&u64> = found.iter().collect();
            assert_eq!(different.len(), items.len());
        }
    }

    #[test]
    fn tags_are_found_in_every_place() {
        // What follows the tags does not count.
        let mut line = [0x8001_u16; 32];
        line[..10].fill(0);
        for at in 0..10 {
            line[at] = 0x8001;
            assert_eq!(equal_tags(&line, 0x8001), 1 << at);
            assert_eq!(equal_tags(&line, 0x8002), 0);
            line[at] = at as u16 + 1;
        }
        assert_eq!(equal_tags(&[7; 32], 7), 0x3ff);
    }
}
