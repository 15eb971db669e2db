//! UDP datagrams (RFC 768).

use core::borrow::BorrowMut;

use crate::checksum::{Delta, Pseudo};
use crate::field::header;
use crate::{Checksum, Error, Port, Proto};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;

header! {
    /// The 8 octets of the header.
    pub Header[HEADER_LEN];
    /// Source port.
    pub src_port, set_src_port, rewrite_src_port: Port = 0;
    /// Destination port.
    pub dst_port, set_dst_port, rewrite_dst_port: Port = 2;
    /// Octets of header and data.
    pub length, set_length: u16 = 4;
    /// Checksum over pseudo header and datagram; zero is none.
    pub checksum, set_checksum: Checksum = 6;
}

impl<B: BorrowMut<[u8; HEADER_LEN]>> Header<B> {
    /// Applies a change of covered octets, or of the pseudo header, to the checksum: none stays none, zero is stored as
    /// ones.
    #[inline]
    pub fn adjust(&mut self, delta: Delta) {
        self.set_checksum(self.checksum().adjusted_udp(delta));
    }
}

/// A datagram taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    header: Header<&'a [u8; HEADER_LEN]>,
    octets: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Takes apart a datagram at the start of `bytes`; octets behind its length are left out.
    ///
    /// `Short` below 8 octets, `TotalLength` for a length below 8, `Truncated` for one above the bytes. The checksum is
    /// not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = Header::at(bytes, 0)?;
        let length = usize::from(header.length());
        if length < HEADER_LEN {
            return Err(Error::TotalLength);
        }
        let octets = bytes.get(..length).ok_or(Error::Truncated)?;
        Ok(Self { header, octets, payload: octets.get(HEADER_LEN..).unwrap_or_default() })
    }

    /// The header.
    #[inline]
    pub const fn header(&self) -> Header<&'a [u8; HEADER_LEN]> {
        self.header
    }

    /// Header and data: what the checksum covers.
    #[inline]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The data.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Whether a datagram is sent with a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cover {
    /// With one.
    #[default]
    Checksum,
    /// Without: IPv4 only.
    None,
}

/// A UDP header as a value; its length is that of the buffer that it is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: Port,
    /// Destination port.
    pub dst_port: Port,
    /// With or without checksum.
    pub cover: Cover,
}

impl Repr {
    /// The values of a datagram's header.
    pub fn of(datagram: &Datagram<'_>) -> Self {
        let header = datagram.header();
        let cover = if header.checksum() == Checksum::ZERO { Cover::None } else { Cover::Checksum };
        Self { src_port: header.src_port(), dst_port: header.dst_port(), cover }
    }

    /// Writes the header at the start of `datagram`, whose data must already stand behind it, and the checksum over all
    /// of `datagram`.
    ///
    /// `Short` if the header does not fit, `TooLong` above 65535 octets, `ZeroChecksum` for none over IPv6.
    pub fn emit(&self, pseudo: &Pseudo, datagram: &mut [u8]) -> Result<(), Error> {
        let length = u16::try_from(datagram.len()).map_err(|_| Error::TooLong)?;
        if self.cover == Cover::None && pseudo.af() == crate::Af::Inet6 {
            return Err(Error::ZeroChecksum);
        }
        let mut header = Header::at_mut(datagram, 0)?;
        header.set_src_port(self.src_port);
        header.set_dst_port(self.dst_port);
        header.set_length(length);
        header.set_checksum(Checksum::ZERO);
        if self.cover == Cover::Checksum {
            let sum = pseudo.sum(Proto::UDP, datagram.len()).plus(datagram).checksum();
            Header::at_mut(datagram, 0)?.set_checksum(sum.for_udp());
        }
        Ok(())
    }
}
