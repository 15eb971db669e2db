//! SCTP: the common header, and the list of chunks behind it (RFC 9260 §3).
//!
//! Overview: just enough to answer a packet with an ABORT. Bounds: a packet's chunks are visited once.

use crate::{Error, Port};

/// Octets of the common header.
pub const HEADER_LEN: usize = 12;

/// Octets of a chunk without a value, as ABORT may be.
pub const CHUNK_LEN: usize = 4;

/// The type of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkType(pub u8);

impl ChunkType {
    /// INIT.
    pub const INIT: Self = Self(1);
    /// ABORT.
    pub const ABORT: Self = Self(6);
    /// ERROR.
    pub const ERROR: Self = Self(9);
    /// SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: Self = Self(14);
}

/// Octets in front of the checksum, and of it.
const CHECKSUM: core::ops::Range<usize> = 8..12;

/// A packet whose common header and first chunk are there.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    /// The packet in these octets, which are all of it.
    ///
    /// # Errors
    /// [`Error::Short`].
    pub const fn parse(octets: &'a [u8]) -> Result<Self, Error> {
        if octets.len() < HEADER_LEN + CHUNK_LEN { Err(Error::Short) } else { Ok(Self(octets)) }
    }

    /// The verification tag.
    pub fn tag(&self) -> u32 {
        word(self.0, 4).unwrap_or_default()
    }

    /// Whether its checksum is right.
    ///
    /// # Errors
    /// [`Error::Checksum`].
    pub fn verify_checksum(&self) -> Result<(), Error> {
        let said = self.0.get(CHECKSUM);
        if said == Some(&crc32c(self.0).to_le_bytes()) { Ok(()) } else { Err(Error::Checksum) }
    }

    /// The types of its chunks, as far as they are whole.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkType> + 'a {
        let mut rest = self.0.get(HEADER_LEN..).unwrap_or_default();
        core::iter::from_fn(move || {
            let [kind, _, high, low, ..] = *rest else { return None };
            let length = usize::from(u16::from_be_bytes([high, low])).max(CHUNK_LEN).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            Some(ChunkType(kind))
        })
    }

    /// The tag that the sender of an INIT wants in what he is sent.
    pub fn initiate_tag(&self) -> Option<u32> {
        word(self.0, HEADER_LEN + CHUNK_LEN).filter(|_| self.chunks().next() == Some(ChunkType::INIT))
    }
}

fn word(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_be_bytes(*word))
}

/// An ABORT alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The port that it comes from.
    pub src_port: Port,
    /// The port that it goes to.
    pub dst_port: Port,
    /// The verification tag.
    pub tag: u32,
    /// The T bit: the tag is the one that its receiver sent.
    pub reflected: bool,
}

impl Abort {
    /// Octets of it.
    pub const LEN: usize = HEADER_LEN + CHUNK_LEN;

    /// Writes it, with its checksum.
    ///
    /// # Errors
    /// [`Error::Short`] if there is not exactly room for it.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), Error> {
        let out: &mut [u8; Self::LEN] = out.try_into().map_err(|_| Error::Short)?;
        let ports = u32::from(self.src_port.0) << 16 | u32::from(self.dst_port.0);
        let chunk = u32::from(ChunkType::ABORT.0) << 24 | u32::from(self.reflected) << 16 | CHUNK_LEN as u32;
        for (place, word) in out.chunks_exact_mut(4).zip([ports, self.tag, 0, chunk]) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let sum = crc32c(out).to_le_bytes();
        out[CHECKSUM].copy_from_slice(&sum);
        Ok(())
    }
}

/// The checksum of a packet (RFC 9260 appendix A), its own field taken for zeros. Bit by bit: only what is answered needs it.
fn crc32c(packet: &[u8]) -> u32 {
    let octets = packet.iter().enumerate().map(|(at, octet)| if CHECKSUM.contains(&at) { 0 } else { *octet });
    // The polynomial 0x1edc6f41, reflected.
    let shifted = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !octets.fold(!0, |crc, octet| (0..8).fold(crc ^ u32::from(octet), |crc, _| shifted(crc)))
}
