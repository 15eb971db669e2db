//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::field::{Field, header};
use crate::{Error, EtherType, Mac};

/// Octets of a packet.
pub const PACKET_LEN: usize = 28;

/// Hardware type Ethernet, protocol IPv4, and their address lengths: the first six octets.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// What a packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has it.
    pub const REPLY: Self = Self(2);
}

impl Field<2> for Operation {
    #[inline]
    fn from_octets(octets: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(octets))
    }
    #[inline]
    fn to_octets(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

header! {
    /// The 28 octets of a packet for IPv4 over Ethernet.
    pub Header[PACKET_LEN];
    format, set_format: [u8; 6] = 0;
    /// Protocol whose addresses are resolved.
    pub protocol: EtherType = 2;
    /// Operation.
    pub operation, set_operation: Operation = 6;
    /// Hardware address of the sender.
    pub sender_mac, set_sender_mac: Mac = 8;
    /// Protocol address of the sender.
    pub sender, set_sender: Ipv4Addr = 14;
    /// Hardware address of the target; means nothing in a request.
    pub target_mac, set_target_mac: Mac = 18;
    /// Protocol address of the target.
    pub target, set_target: Ipv4Addr = 24;
}

/// A packet as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Operation.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Protocol address of the sender.
    pub sender: Ipv4Addr,
    /// Hardware address of the target.
    pub target_mac: Mac,
    /// Protocol address of the target.
    pub target: Ipv4Addr,
}

impl Repr {
    /// The values of the packet at the start of `bytes`; octets behind it are padding. `Short` below 28 octets,
    /// `ArpFormat` for other hardware or protocol addresses.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let header = Header::at(bytes, 0)?;
        if header.format() != ETHERNET_IPV4 {
            return Err(Error::ArpFormat);
        }
        Ok(Self {
            operation: header.operation(),
            sender_mac: header.sender_mac(),
            sender: header.sender(),
            target_mac: header.target_mac(),
            target: header.target(),
        })
    }

    /// Writes the packet at the start of `out`; `Short` if it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), Error> {
        let mut header = Header::at_mut(out, 0)?;
        header.set_format(ETHERNET_IPV4);
        header.set_operation(self.operation);
        header.set_sender_mac(self.sender_mac);
        header.set_sender(self.sender);
        header.set_target_mac(self.target_mac);
        header.set_target(self.target);
        Ok(())
    }
}
