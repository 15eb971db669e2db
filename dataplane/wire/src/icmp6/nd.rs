//! Neighbour discovery (RFC 4861).
//!
//! # Bounds
//! Options take at least 8 octets each, so their iteration ends after at most an eighth of the message's octets.

use core::net::Ipv6Addr;

use crate::field::{self, header};
use crate::icmp6::{self, Message, Type};
use crate::{Error, Mac};

/// Octets of a router solicitation without options.
const SOLICIT_LEN: usize = 8;

header! {
    /// Type to retransmission timer of a router advertisement.
    RouterAdvert[16];
    hop_limit, set_hop_limit: u8 = 4;
    flags, set_flags: u8 = 5;
    lifetime, set_lifetime: u16 = 6;
    reachable, set_reachable: u32 = 8;
    retransmit, set_retransmit: u32 = 12;
}

header! {
    /// Type to target of a neighbour solicitation or advertisement.
    Neighbor[24];
    flags, set_flags: u8 = 4;
    target, set_target: Ipv6Addr = 8;
}

header! {
    /// Type to destination of a redirect.
    Redirect[40];
    target, set_target: Ipv6Addr = 8;
    destination, set_destination: Ipv6Addr = 24;
}

/// A neighbour discovery message: parsed, or to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nd<'a> {
    /// A host asks for routers.
    RouterSolicit {
        /// Options.
        options: Options<'a>,
    },
    /// A router announces itself.
    RouterAdvert {
        /// Hop limit to use, or 0.
        hop_limit: u8,
        /// Managed (0x80), other configuration (0x40) and further flags.
        flags: u8,
        /// Seconds as default router; 0 is none.
        lifetime_s: u16,
        /// Milliseconds that a neighbour counts as reachable, or 0.
        reachable_ms: u32,
        /// Milliseconds between solicitations, or 0.
        retransmit_ms: u32,
        /// Options.
        options: Options<'a>,
    },
    /// Who has the target address?
    NeighborSolicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// Options.
        options: Options<'a>,
    },
    /// The sender has the target address.
    NeighborAdvert {
        /// Router (0x80), solicited (0x40), override (0x20).
        flags: u8,
        /// The address announced.
        target: Ipv6Addr,
        /// Options.
        options: Options<'a>,
    },
    /// A better first hop.
    Redirect {
        /// The first hop to use.
        target: Ipv6Addr,
        /// For this destination.
        destination: Ipv6Addr,
        /// Options.
        options: Options<'a>,
    },
}

impl<'a> Nd<'a> {
    /// Takes a message apart; `None` if its type is not one of neighbour discovery, `Short` if it is cut. Options are
    /// not looked at, nor what RFC 4861 demands of hop limit and code.
    pub fn parse(message: &Message<'a>) -> Result<Option<Self>, Error> {
        let bytes = message.octets();
        Ok(Some(match message.header().kind() {
            Type::ROUTER_SOLICIT => Self::RouterSolicit { options: Options::after(bytes, SOLICIT_LEN) },
            Type::ROUTER_ADVERT => {
                let header = RouterAdvert::at(bytes, 0)?;
                Self::RouterAdvert {
                    hop_limit: header.hop_limit(),
                    flags: header.flags(),
                    lifetime_s: header.lifetime(),
                    reachable_ms: header.reachable(),
                    retransmit_ms: header.retransmit(),
                    options: Options::after(bytes, header.octets().len()),
                }
            }
            Type::NEIGHBOR_SOLICIT => {
                let header = Neighbor::at(bytes, 0)?;
                let options = Options::after(bytes, header.octets().len());
                Self::NeighborSolicit { target: header.target(), options }
            }
            Type::NEIGHBOR_ADVERT => {
                let header = Neighbor::at(bytes, 0)?;
                let options = Options::after(bytes, header.octets().len());
                Self::NeighborAdvert { flags: header.flags(), target: header.target(), options }
            }
            Type::REDIRECT => {
                let header = Redirect::at(bytes, 0)?;
                let options = Options::after(bytes, header.octets().len());
                Self::Redirect { target: header.target(), destination: header.destination(), options }
            }
            _ => return Ok(None),
        }))
    }

    /// The options.
    pub const fn options(&self) -> Options<'a> {
        match *self {
            Self::RouterSolicit { options }
            | Self::RouterAdvert { options, .. }
            | Self::NeighborSolicit { options, .. }
            | Self::NeighborAdvert { options, .. }
            | Self::Redirect { options, .. } => options,
        }
    }

    /// The type of the message.
    pub const fn kind(&self) -> Type {
        match self {
            Self::RouterSolicit { .. } => Type::ROUTER_SOLICIT,
            Self::RouterAdvert { .. } => Type::ROUTER_ADVERT,
            Self::NeighborSolicit { .. } => Type::NEIGHBOR_SOLICIT,
            Self::NeighborAdvert { .. } => Type::NEIGHBOR_ADVERT,
            Self::Redirect { .. } => Type::REDIRECT,
        }
    }

    /// Octets of the message without options.
    const fn fixed_len(&self) -> usize {
        match self {
            Self::RouterSolicit { .. } => SOLICIT_LEN,
            Self::RouterAdvert { .. } => 16,
            Self::NeighborSolicit { .. } | Self::NeighborAdvert { .. } => 24,
            Self::Redirect { .. } => 40,
        }
    }

    /// Octets of the message.
    pub const fn len(&self) -> usize {
        self.fixed_len().saturating_add(self.options().octets().len())
    }

    /// Always false: a message has octets.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message with its checksum into `message`, which must be [`Self::len`] octets long, else `Short`.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) -> Result<(), Error> {
        if message.len() != self.len() {
            return Err(Error::Short);
        }
        let (fixed, options) = message.split_at_mut_checked(self.fixed_len()).ok_or(Error::Short)?;
        options.copy_from_slice(self.options().octets());
        self.emit_fixed(fixed)?;
        let [_, _, _, _, rest @ ..] = *icmp6::Header::at(fixed, 0)?.octets();
        icmp6::Repr { kind: self.kind(), code: 0, rest }.emit(src, dst, message)
    }

    /// Writes what follows the checksum.
    fn emit_fixed(&self, out: &mut [u8]) -> Result<(), Error> {
        out.fill(0);
        match *self {
            Self::RouterSolicit { .. } => {}
            Self::RouterAdvert { hop_limit, flags, lifetime_s, reachable_ms, retransmit_ms, .. } => {
                let mut header = RouterAdvert::at_mut(out, 0)?;
                header.set_hop_limit(hop_limit);
                header.set_flags(flags);
                header.set_lifetime(lifetime_s);
                header.set_reachable(reachable_ms);
                header.set_retransmit(retransmit_ms);
            }
            Self::NeighborSolicit { target, .. } => Neighbor::at_mut(out, 0)?.set_target(target),
            Self::NeighborAdvert { flags, target, .. } => {
                let mut header = Neighbor::at_mut(out, 0)?;
                header.set_flags(flags);
                header.set_target(target);
            }
            Self::Redirect { target, destination, .. } => {
                let mut header = Redirect::at_mut(out, 0)?;
                header.set_target(target);
                header.set_destination(destination);
            }
        }
        Ok(())
    }
}

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX: u8 = 3;
const REDIRECTED: u8 = 4;
const MTU: u8 = 5;

header! {
    /// A prefix information option from its type octet on.
    PrefixOption[32];
    prefix_len, set_prefix_len: u8 = 2;
    flags, set_flags: u8 = 3;
    valid, set_valid: u32 = 4;
    preferred, set_preferred: u32 = 8;
    prefix, set_prefix: Ipv6Addr = 16;
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdOption<'a> {
    /// The Ethernet address of the sender.
    SourceLinkLayer(Mac),
    /// The Ethernet address of the target.
    TargetLinkLayer(Mac),
    /// A prefix of the link.
    Prefix {
        /// Bits of the prefix.
        len: u8,
        /// On link (0x80), autonomous (0x40).
        flags: u8,
        /// Seconds that it is valid.
        valid_s: u32,
        /// Seconds that it is preferred.
        preferred_s: u32,
        /// The prefix.
        prefix: Ipv6Addr,
    },
    /// The packet that caused a redirect, padded with zeros to a multiple of 8.
    Redirected(&'a [u8]),
    /// The MTU of the link.
    Mtu(u32),
    /// Any other.
    Unknown {
        /// Its type.
        kind: u8,
        /// What follows its type and length octets.
        data: &'a [u8],
    },
}

impl<'a> NdOption<'a> {
    /// Reads an option that fills `octets`, a multiple of 8; `OptionLength` if a known kind has a wrong length.
    fn of(octets: &'a [u8]) -> Result<Self, Error> {
        let (&[kind, _], data) = octets.split_first_chunk().ok_or(Error::OptionLength)?;
        Ok(match (kind, data) {
            (SOURCE_LINK_LAYER, _) => Self::SourceLinkLayer(Mac(exactly(data)?)),
            (TARGET_LINK_LAYER, _) => Self::TargetLinkLayer(Mac(exactly(data)?)),
            (PREFIX, _) => {
                let option = PrefixOption::at(octets, 0).map_err(|_| Error::OptionLength)?;
                if octets.len() != option.octets().len() {
                    return Err(Error::OptionLength);
                }
                Self::Prefix {
                    len: option.prefix_len(),
                    flags: option.flags(),
                    valid_s: option.valid(),
                    preferred_s: option.preferred(),
                    prefix: option.prefix(),
                }
            }
            (REDIRECTED, _) => Self::Redirected(data.get(6..).ok_or(Error::OptionLength)?),
            (MTU, &[_, _, a, b, c, d]) => Self::Mtu(u32::from_be_bytes([a, b, c, d])),
            (MTU, _) => return Err(Error::OptionLength),
            _ => Self::Unknown { kind, data },
        })
    }

    /// Octets of the option.
    pub const fn len(&self) -> usize {
        match self {
            Self::SourceLinkLayer(_) | Self::TargetLinkLayer(_) | Self::Mtu(_) => 8,
            Self::Prefix { .. } => 32,
            Self::Redirected(packet) => packet.len().saturating_add(8),
            Self::Unknown { data, .. } => data.len().saturating_add(2),
        }
    }

    /// Always false: an option has octets.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The type of the option.
    const fn kind(&self) -> u8 {
        match *self {
            Self::SourceLinkLayer(_) => SOURCE_LINK_LAYER,
            Self::TargetLinkLayer(_) => TARGET_LINK_LAYER,
            Self::Prefix { .. } => PREFIX,
            Self::Redirected(_) => REDIRECTED,
            Self::Mtu(_) => MTU,
            Self::Unknown { kind, .. } => kind,
        }
    }

    /// Writes the option at the start of `out`. `Short` if it does not fit; `TooLong` if its length is not a multiple
    /// of 8, or above 2040.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), Error> {
        let len = self.len();
        let units = u8::try_from(len >> 3).map_err(|_| Error::TooLong)?;
        if len & 7 != 0 {
            return Err(Error::TooLong);
        }
        let out = out.get_mut(..len).ok_or(Error::Short)?;
        out.fill(0);
        match *self {
            Self::SourceLinkLayer(mac) | Self::TargetLinkLayer(mac) => *field::chunk_mut(out, 2)? = mac.0,
            Self::Mtu(mtu) => *field::chunk_mut(out, 4)? = mtu.to_be_bytes(),
            Self::Redirected(packet) => out.get_mut(8..).ok_or(Error::Short)?.copy_from_slice(packet),
            Self::Unknown { data, .. } => out.get_mut(2..).ok_or(Error::Short)?.copy_from_slice(data),
            Self::Prefix { len, flags, valid_s, preferred_s, prefix } => {
                let mut option = PrefixOption::at_mut(out, 0)?;
                option.set_prefix_len(len);
                option.set_flags(flags);
                option.set_valid(valid_s);
                option.set_preferred(preferred_s);
                option.set_prefix(prefix);
            }
        }
        *field::chunk_mut(out, 0)? = [self.kind(), units];
        Ok(())
    }
}

/// All of `octets`, if there are exactly `N`.
fn exactly<const N: usize>(octets: &[u8]) -> Result<[u8; N], Error> {
    octets.try_into().map_err(|_| Error::OptionLength)
}

/// The options of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// The options in `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The options behind the first `fixed_len` octets of a message.
    fn after(message: &'a [u8], fixed_len: usize) -> Self {
        Self(message.get(fixed_len..).unwrap_or_default())
    }

    /// All their octets.
    pub const fn octets(&self) -> &'a [u8] {
        self.0
    }

    /// The options in order; after a malformed one, one `OptionLength` and the end.
    pub const fn iter(&self) -> OptionsIter<'a> {
        OptionsIter { rest: self.0 }
    }
}

/// Iterator of [`Options::iter`].
#[derive(Clone, Debug)]
pub struct OptionsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for OptionsIter<'a> {
    type Item = Result<NdOption<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let option = take_option(self.rest).and_then(|(octets, rest)| {
            self.rest = rest;
            NdOption::of(octets)
        });
        if option.is_err() {
            self.rest = &[];
        }
        Some(option)
    }
}

/// The octets of the first option, and what follows. Its length octet counts units of 8; a length of 0, which is
/// malformed (RFC 4861 §4.6), leaves no octets even for the type.
fn take_option(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let [_, units] = *field::chunk::<2>(bytes, 0).map_err(|_| Error::OptionLength)?;
    bytes.split_at_checked(usize::from(units) << 3).ok_or(Error::OptionLength)
}
