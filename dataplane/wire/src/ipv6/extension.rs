//! IPv6 extension headers (RFC 8200 §4): the bounded walk, the options inside, and values to build them.

use crate::field::{self, header};
use crate::ipv6::HEADER_LEN;
use crate::{Error, Fragment, IpOptions, Proto};

/// Extension headers that a walk accepts; the next one is `ExtensionCount`.
pub const EXTENSIONS_MAX: usize = 20;

/// Octets of a fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;

header! {
    /// The fragment header (RFC 8200 §4.5).
    pub FragmentHeader[FRAGMENT_HEADER_LEN];
    /// Protocol of the fragmented part's first header.
    pub next_header, set_next_header: Proto = 0;
    offset_and_more, set_offset_and_more: u16 = 2;
    /// Identification.
    pub ident, set_ident: u32 = 4;
}

impl<B: core::borrow::Borrow<[u8; FRAGMENT_HEADER_LEN]>> FragmentHeader<B> {
    /// The fragment fields.
    pub fn fragment(&self) -> Fragment {
        let word = self.offset_and_more();
        Fragment { ident: self.ident(), offset: word & !7, more: word & 1 != 0 }
    }
}

/// The fragment header of a packet, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPlace {
    /// Its fields.
    pub fragment: Fragment,
    /// Where the fragment header starts, in octets from the start of the IPv6 header.
    pub offset: usize,
    /// Where the octet is that says "next header: fragment", from the start of the IPv6 header. Reassembly puts
    /// [`Self::next_header`] there.
    pub previous_next_header_at: usize,
    /// Protocol of the fragmented part's first header.
    pub next_header: Proto,
}

/// What a walk over the extension headers found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first protocol that is not an extension header. Of a fragment that is not the first, the protocol that its
    /// own fragment header names, which may well be an extension header.
    pub upper: Proto,
    /// Where the upper layer, or the data of a fragment that is not the first, starts: octets from the start of the
    /// IPv6 header. Never behind the end of the packet.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<FragmentPlace>,
    /// The headers and options met.
    pub seen: IpOptions,
}

impl Chain {
    /// Walks the headers in `payload`, which starts behind the fixed header, from protocol `first` on.
    ///
    /// Ends at the first protocol that is not an extension header (ESP and "no next header" included), and behind the
    /// fragment header of a fragment that is not the first. Errors: `Short` (cut header), `HopByHopOrder`,
    /// `ExtensionCount`, `RoutingHeader`, `NestedFragment`, `OptionLength`, `Jumbo`.
    #[inline]
    pub fn walk(first: Proto, payload: &[u8]) -> Result<Self, Error> {
        let start = Self { upper: first, offset: HEADER_LEN, fragment: None, seen: IpOptions::NONE };
        if is_extension(first) {
            Walk { chain: start, rest: payload, next_header_at: 6 }.run()
        } else {
            Ok(start)
        }
    }
}

/// The protocols that [`Chain::walk`] goes through.
#[inline]
const fn is_extension(proto: Proto) -> bool {
    matches!(proto, Proto::HOP_BY_HOP | Proto::ROUTING | Proto::FRAGMENT | Proto::AH | Proto::DST_OPTS)
}

/// A walk under way.
struct Walk<'a> {
    chain: Chain,
    /// What starts at `chain.offset`.
    rest: &'a [u8],
    /// Where the octet is that names the header at `chain.offset`.
    next_header_at: usize,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Chain, Error> {
        for count in 0..EXTENSIONS_MAX {
            match self.chain.upper {
                Proto::HOP_BY_HOP if count > 0 => return Err(Error::HopByHopOrder),
                Proto::HOP_BY_HOP => self.options(IpOptions::HOP_BY_HOP)?,
                Proto::DST_OPTS => self.options(IpOptions::DST_OPTS)?,
                Proto::ROUTING => self.routing()?,
                Proto::AH => self.auth()?,
                Proto::FRAGMENT => {
                    if self.fragment()? != 0 {
                        return Ok(self.chain);
                    }
                }
                _ => return Ok(self.chain),
            }
        }
        if is_extension(self.chain.upper) { Err(Error::ExtensionCount) } else { Ok(self.chain) }
    }

    /// A header of options: RFC 8200 §4.3, §4.6.
    fn options(&mut self, seen: IpOptions) -> Result<(), Error> {
        let header = self.take(8, 8)?;
        let found = Options::new(header.get(2..).unwrap_or_default()).seen()?;
        self.chain.seen = self.chain.seen.union(seen).union(found);
        Ok(())
    }

    fn routing(&mut self) -> Result<(), Error> {
        if self.chain.seen.contains(IpOptions::ROUTING) {
            return Err(Error::RoutingHeader);
        }
        self.chain.seen = self.chain.seen.union(IpOptions::ROUTING);
        // RFC 5095: type 0 is dropped whatever its segments left.
        match self.take(8, 8)?.get(2) {
            Some(0) => Err(Error::RoutingHeader),
            _ => Ok(()),
        }
    }

    /// The authentication header counts its length in words of four octets, minus two (RFC 4302 §2.2).
    fn auth(&mut self) -> Result<(), Error> {
        self.chain.seen = self.chain.seen.union(IpOptions::AUTH);
        self.take(4, 8).map(|_| ())
    }

    /// Returns the fragment's offset.
    fn fragment(&mut self) -> Result<u16, Error> {
        if self.chain.fragment.is_some() {
            return Err(Error::NestedFragment);
        }
        let header = FragmentHeader::at(self.rest, 0)?;
        let (fragment, next_header) = (header.fragment(), header.next_header());
        if next_header == Proto::FRAGMENT {
            return Err(Error::NestedFragment);
        }
        if next_header == Proto::HOP_BY_HOP {
            return Err(Error::HopByHopOrder);
        }
        self.chain.fragment = Some(FragmentPlace {
            fragment,
            offset: self.chain.offset,
            previous_next_header_at: self.next_header_at,
            next_header,
        });
        self.advance(FRAGMENT_HEADER_LEN, next_header)?;
        Ok(fragment.offset)
    }

    /// Takes the header at the front: its length octet counts units of `unit` octets beyond the first `base`.
    fn take(&mut self, unit: usize, base: usize) -> Result<&[u8], Error> {
        let [next, units] = *field::chunk::<2>(self.rest, 0)?;
        let len = usize::from(units).saturating_mul(unit).saturating_add(base);
        let header = self.rest.get(..len).ok_or(Error::Short)?;
        self.advance(len, Proto(next))?;
        Ok(header)
    }

    /// Moves behind a header of `len` octets that names `next`.
    fn advance(&mut self, len: usize, next: Proto) -> Result<(), Error> {
        self.rest = self.rest.get(len..).ok_or(Error::Short)?;
        self.next_header_at = self.chain.offset;
        self.chain.offset = self.chain.offset.saturating_add(len);
        self.chain.upper = next;
        Ok(())
    }
}

/// The type octet of an option (RFC 8200 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OptionKind(pub u8);

impl OptionKind {
    /// One octet of padding, without a length.
    pub const PAD1: Self = Self(0);
    /// Padding.
    pub const PADN: Self = Self(1);
    /// Router alert (RFC 2711).
    pub const ROUTER_ALERT: Self = Self(5);
    /// Jumbo payload (RFC 2675).
    pub const JUMBO: Self = Self(0xc2);
}

/// One option that is not padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Option6<'a> {
    /// Its type.
    pub kind: OptionKind,
    /// What follows its type and length octets.
    pub data: &'a [u8],
}

/// The options of a hop-by-hop or destination options header: what follows its first two octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// The options in `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The options in order, padding skipped; after a malformed length, one `OptionLength` and the end.
    pub const fn iter(&self) -> OptionsIter<'a> {
        OptionsIter { rest: self.0 }
    }

    /// Walks all options and tells which there are; `OptionLength` if one is malformed, `Jumbo` for a jumbo payload.
    pub fn seen(&self) -> Result<IpOptions, Error> {
        self.iter().try_fold(IpOptions::NONE, |seen, option| {
            Ok(seen.union(match option?.kind {
                OptionKind::ROUTER_ALERT => IpOptions::ROUTER_ALERT,
                OptionKind::JUMBO => return Err(Error::Jumbo),
                _ => IpOptions::OTHER,
            }))
        })
    }
}

/// Iterator of [`Options::iter`].
#[derive(Clone, Debug)]
pub struct OptionsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for OptionsIter<'a> {
    type Item = Result<Option6<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each turn takes at least one octet off.
        loop {
            let (&kind, rest) = self.rest.split_first()?;
            let kind = OptionKind(kind);
            if kind == OptionKind::PAD1 {
                self.rest = rest;
                continue;
            }
            let taken = rest.split_first().and_then(|(&len, rest)| rest.split_at_checked(usize::from(len)));
            let Some((data, rest)) = taken else {
                self.rest = &[];
                return Some(Err(Error::OptionLength));
            };
            self.rest = rest;
            if kind != OptionKind::PADN {
                return Some(Ok(Option6 { kind, data }));
            }
        }
    }
}

/// An extension header as a value, for building packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension<'a> {
    /// Hop-by-hop options, their octets padded to 8·n + 6.
    HopByHop(&'a [u8]),
    /// Destination options, their octets padded to 8·n + 6.
    DstOpts(&'a [u8]),
    /// A routing header: type, segments left, and its data, 8·n + 4 octets.
    Routing {
        /// Routing type.
        kind: u8,
        /// Segments left.
        segments_left: u8,
        /// What follows.
        data: &'a [u8],
    },
    /// A fragment header.
    Fragment(Fragment),
    /// An authentication header: what follows its length octet, 4·n + 2 octets, at least 10.
    Auth(&'a [u8]),
}

impl Extension<'_> {
    /// The protocol number that the header before this one names.
    pub const fn proto(&self) -> Proto {
        match self {
            Self::HopByHop(_) => Proto::HOP_BY_HOP,
            Self::DstOpts(_) => Proto::DST_OPTS,
            Self::Routing { .. } => Proto::ROUTING,
            Self::Fragment(_) => Proto::FRAGMENT,
            Self::Auth(_) => Proto::AH,
        }
    }

    /// Octets of the header.
    pub const fn len(&self) -> usize {
        match self {
            Self::HopByHop(data) | Self::DstOpts(data) | Self::Auth(data) => data.len().saturating_add(2),
            Self::Routing { data, .. } => data.len().saturating_add(4),
            Self::Fragment(_) => FRAGMENT_HEADER_LEN,
        }
    }

    /// Always false: a header has octets.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header, followed by `next`, at the start of `out`. `Short` if it does not fit; `TooLong` if its
    /// length cannot be expressed in its length octet.
    pub fn emit(&self, next: Proto, out: &mut [u8]) -> Result<(), Error> {
        let len = self.len();
        let out = out.get_mut(..len).ok_or(Error::Short)?;
        let (unit, base) = if matches!(self, Self::Auth(_)) { (4, 8) } else { (8, 8) };
        let beyond = len.checked_sub(base).ok_or(Error::TooLong)?;
        if !beyond.is_multiple_of(unit) {
            return Err(Error::TooLong);
        }
        let units = u8::try_from(beyond.checked_div(unit).unwrap_or(0)).map_err(|_| Error::TooLong)?;
        let (head, body) = out.split_first_chunk_mut::<2>().ok_or(Error::Short)?;
        *head = [next.0, units];
        match *self {
            Self::HopByHop(data) | Self::DstOpts(data) | Self::Auth(data) => body.copy_from_slice(data),
            Self::Routing { kind, segments_left, data } => {
                let (fixed, rest) = body.split_first_chunk_mut().ok_or(Error::Short)?;
                *fixed = [kind, segments_left];
                rest.copy_from_slice(data);
            }
            Self::Fragment(fragment) => {
                let mut header = FragmentHeader::at_mut(out, 0)?;
                header.set_offset_and_more(fragment.offset & !7 | u16::from(fragment.more));
                header.set_ident(fragment.ident);
            }
        }
        Ok(())
    }
}
