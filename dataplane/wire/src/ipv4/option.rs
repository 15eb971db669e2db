//! IPv4 options (RFC 791 §3.1).

use crate::area::Area;
use crate::ipv4::OPTIONS_LEN_MAX;
use crate::{Error, IpOptions};

/// The kind octet of an option: copied flag, class and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OptionKind(pub u8);

impl OptionKind {
    /// End of the option list.
    pub const END: Self = Self(0);
    /// No operation: padding.
    pub const NOP: Self = Self(1);
    /// Record route.
    pub const RECORD_ROUTE: Self = Self(7);
    /// Internet timestamp.
    pub const TIMESTAMP: Self = Self(68);
    /// Security (RFC 1108).
    pub const SECURITY: Self = Self(130);
    /// Loose source route.
    pub const LOOSE_SOURCE_ROUTE: Self = Self(131);
    /// Strict source route.
    pub const STRICT_SOURCE_ROUTE: Self = Self(137);
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: Self = Self(148);
}

/// One option that is not padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOption<'a> {
    /// Its kind.
    pub kind: OptionKind,
    /// What follows its kind and length octets.
    pub data: &'a [u8],
}

/// The option area of a header: 0 to 40 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// The options in `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The option area, padding included.
    #[inline]
    pub const fn octets(&self) -> &'a [u8] {
        self.0
    }

    /// True if the header has no option area.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The options in order, padding skipped; after a malformed length, one `OptionLength` and the end.
    pub const fn iter(&self) -> OptionsIter<'a> {
        OptionsIter { rest: self.0 }
    }

    /// Walks all options and tells which there are; `OptionLength` if one is malformed.
    pub fn seen(&self) -> Result<IpOptions, Error> {
        self.iter().try_fold(IpOptions::NONE, |seen, option| {
            Ok(seen.union(match option?.kind {
                OptionKind::ROUTER_ALERT => IpOptions::ROUTER_ALERT,
                OptionKind::LOOSE_SOURCE_ROUTE | OptionKind::STRICT_SOURCE_ROUTE => IpOptions::SOURCE_ROUTE,
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
    type Item = Result<IpOption<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each turn takes at least one octet off.
        loop {
            let (&kind, rest) = self.rest.split_first()?;
            match OptionKind(kind) {
                OptionKind::END => {
                    self.rest = &[];
                    return None;
                }
                OptionKind::NOP => self.rest = rest,
                kind => {
                    let taken = take_option(rest);
                    self.rest = taken.map_or(&[], |(_, rest)| rest);
                    return Some(taken.map(|(data, _)| IpOption { kind, data }).ok_or(Error::OptionLength));
                }
            }
        }
    }
}

/// The data of an option whose kind octet is already taken, and what follows. Its length octet counts both.
fn take_option(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(len).checked_sub(2)?)
}

/// An option area as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionsBuf(Area<OPTIONS_LEN_MAX>);

impl OptionsBuf {
    /// No options.
    pub const EMPTY: Self = Self(Area::EMPTY);

    /// A copy of a packet's options.
    pub fn of(options: Options<'_>) -> Self {
        Self(Area::of(options.octets()))
    }

    /// Adds an option behind the others. `TooLong`, and nothing added, if it does not fit.
    pub fn push(&mut self, kind: OptionKind, data: &[u8]) -> Result<(), Error> {
        let len = data.len().checked_add(2).and_then(|len| u8::try_from(len).ok()).ok_or(Error::TooLong)?;
        self.0.push(&[&[kind.0, len], data])
    }

    /// The octets, padded with "end of list" to a multiple of four.
    pub const fn octets(&self) -> &[u8] {
        self.0.padded()
    }
}
