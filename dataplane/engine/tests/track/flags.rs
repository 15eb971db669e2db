//! Flags as tests write them.

use wire::TcpFlags;

/// pf's letters for flags.
pub fn parse_flags(letters: &str) -> TcpFlags {
    letters.chars().fold(TcpFlags::default(), |flags, letter| {
        let bit = TcpFlags::LETTERS.iter().position(|known| *known == letter);
        flags.union(TcpFlags(1 << bit.unwrap_or_else(|| panic!("not a flag: {letter}"))))
    })
}
