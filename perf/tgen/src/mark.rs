//! What a packet's data says of it: which trial, which flow, the how manieth, and when it was sent.

/// Octets of a mark: what UDP has room for in the shortest frame.
pub const LEN: usize = 18;

/// Tells our packets from others; data of anybody else's begins like this once in 256 times, and fails the checks of who
/// reads it.
const MAGIC: u8 = 0xb7;

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The trial, modulo 256: what comes late must not count for the next one.
    pub trial: u8,
    /// The flow.
    pub flow: u32,
    /// Its packet, from 0.
    pub sequence: u32,
    /// When it was made, in nanoseconds of the tester's clock.
    pub stamp: u64,
}

impl Mark {
    /// As it is sent.
    #[inline]
    pub fn octets(&self) -> [u8; LEN] {
        let mut octets = [0; LEN];
        octets[0] = MAGIC;
        octets[1] = self.trial;
        octets[2..6].copy_from_slice(&self.flow.to_be_bytes());
        octets[6..10].copy_from_slice(&self.sequence.to_be_bytes());
        octets[10..].copy_from_slice(&self.stamp.to_be_bytes());
        octets
    }

    /// The mark at the start of a packet's data, if there is one.
    #[inline]
    pub fn read(data: &[u8]) -> Option<Self> {
        let octets: &[u8; LEN] = data.first_chunk()?;
        let word =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        (octets[0] == MAGIC).then(|| Self {
            trial: octets[1],
            flow: word(2),
            sequence: word(6),
            stamp: u64::from(word(10)) << 32 | u64::from(word(14)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark =
            Mark { trial: 200, flow: 0x0102_0304, sequence: 0x0506_0708, stamp: 0x090a_0b0c_0d0e_0f10 };
        let octets = mark.octets();
        assert_eq!(Mark::read(&octets), Some(mark));
        assert_eq!(Mark::read(&octets[1..]), None, "too short");
        let mut other = octets;
        other[0] ^= 1;
        assert_eq!(Mark::read(&other), None, "somebody else's");
    }
}
