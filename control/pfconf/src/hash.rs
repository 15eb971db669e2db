//! Keyed hashes with fixed keys: the same text gives the same number on every machine and at every load.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

const IDENTITY_KEYS: (u64, u64) = (0x7475_726e_7069_6b65, 0x7275_6c65_2069_6400);
const POOL_KEYS: [(u64, u64); 2] = [(0x706f_6f6c_2d6b_6579, 1), (0x706f_6f6c_2d6b_6579, 2)];

/// The identity of a rule: of its anchor's path, its text, and its number among equal texts there.
pub(crate) fn rule_identity(anchor: &str, text: &str, occurrence: u32) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(IDENTITY_KEYS.0, IDENTITY_KEYS.1);
    for part in [anchor, text] {
        hasher.write_u64(part.len() as u64);
        hasher.write(part.as_bytes());
    }
    hasher.write_u32(occurrence);
    hasher.finish()
}

/// The key of `source-hash` with a word in place of 32 hexadecimal digits.
pub(crate) fn key_of_text(text: &str) -> [u32; 4] {
    let [high, low] = POOL_KEYS.map(|(first, second)| {
        let mut hasher = SipHasher24::new_with_keys(first, second);
        hasher.write(text.as_bytes());
        hasher.finish()
    });
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
}
