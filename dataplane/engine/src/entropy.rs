//! The seam for randomness.

/// A source of random numbers: port choice, sequence numbers, hash keys. The dataplane's is seeded by the operating
/// system; a simulation's by its seed.
pub trait Entropy {
    /// 64 unpredictable bits.
    fn next_u64(&mut self) -> u64;
}
