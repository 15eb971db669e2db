//! TCP options: RFC 9293 §3.2, RFC 7323 (scale, timestamps), RFC 2018 (SACK), RFC 2385 (MD5).

use crate::area::Area;
use crate::field;
use crate::tcp::OPTIONS_LEN_MAX;
use crate::{Error, Seq};

/// The largest shift of a window (RFC 7323 §2.3).
pub const WSCALE_MAX: u8 = 14;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WSCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;

/// The value of a window scale option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowScale(pub u8);

impl WindowScale {
    /// The shift to apply: a value above 14 counts as 14 (RFC 7323 §2.3).
    #[inline]
    pub const fn shift(self) -> u8 {
        if self.0 > WSCALE_MAX { WSCALE_MAX } else { self.0 }
    }
}

/// The values of a timestamps option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// TSval.
    pub value: u32,
    /// TSecr.
    pub echo: u32,
}

/// One SACK block: from `left` up to, not including, `right`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left: Seq,
    /// The sequence number behind the block.
    pub right: Seq,
}

/// The blocks of a SACK option, 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlocks<'a>(&'a [[u8; 8]]);

impl<'a> SackBlocks<'a> {
    /// How many.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks in order.
    pub fn iter(&self) -> impl Iterator<Item = SackBlock> + 'a {
        self.0.iter().map(|&[a, b, c, d, e, f, g, h]| SackBlock {
            left: Seq(u32::from_be_bytes([a, b, c, d])),
            right: Seq(u32::from_be_bytes([e, f, g, h])),
        })
    }
}

/// One option that is not padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Maximum segment size, in octets.
    Mss(u16),
    /// Window scale.
    WindowScale(WindowScale),
    /// SACK permitted.
    SackPermitted,
    /// SACK blocks.
    Sack(SackBlocks<'a>),
    /// Timestamps.
    Timestamps(Timestamps),
    /// MD5 signature.
    Md5(&'a [u8; 16]),
    /// Any other.
    Unknown {
        /// Its kind.
        kind: u8,
        /// What follows its kind and length octets.
        data: &'a [u8],
    },
}

impl<'a> TcpOption<'a> {
    /// The option of a kind and its data; `OptionLength` if a known kind has a wrong length.
    fn of(kind: u8, data: &'a [u8]) -> Result<Self, Error> {
        let option = match (kind, data) {
            (MSS, &[a, b]) => Self::Mss(u16::from_be_bytes([a, b])),
            (WSCALE, &[shift]) => Self::WindowScale(WindowScale(shift)),
            (SACK_PERMITTED, []) => Self::SackPermitted,
            (SACK, _) => match data.as_chunks() {
                (blocks, []) => Self::Sack(SackBlocks(blocks)),
                _ => return Err(Error::OptionLength),
            },
            (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => Self::Timestamps(Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            }),
            (MD5, _) => Self::Md5(data.try_into().map_err(|_| Error::OptionLength)?),
            (MSS | WSCALE | SACK_PERMITTED | TIMESTAMPS, _) => return Err(Error::OptionLength),
            _ => Self::Unknown { kind, data },
        };
        Ok(option)
    }
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
        OptionsIter { area: self.0, at: 0, option_at: 0 }
    }

    /// The first maximum segment size before anything malformed.
    pub fn mss(&self) -> Option<u16> {
        self.first(|option| if let TcpOption::Mss(mss) = option { Some(mss) } else { None })
    }

    /// The first window scale before anything malformed.
    pub fn window_scale(&self) -> Option<WindowScale> {
        self.first(|option| if let TcpOption::WindowScale(scale) = option { Some(scale) } else { None })
    }

    /// The first timestamps before anything malformed.
    pub fn timestamps(&self) -> Option<Timestamps> {
        self.first(|option| if let TcpOption::Timestamps(stamps) = option { Some(stamps) } else { None })
    }

    fn first<T>(&self, wanted: impl Fn(TcpOption<'a>) -> Option<T>) -> Option<T> {
        self.iter().map_while(Result::ok).find_map(wanted)
    }
}

/// Iterator of [`Options::iter`].
#[derive(Clone, Debug)]
pub struct OptionsIter<'a> {
    area: &'a [u8],
    /// Where the next option, or padding, starts.
    at: usize,
    /// Where the last option returned started.
    option_at: usize,
}

impl OptionsIter<'_> {
    /// Where the kind octet of the last option returned is, in octets from the start of the options: for rewriting it in
    /// place.
    pub const fn offset(&self) -> usize {
        self.option_at
    }
}

impl<'a> Iterator for OptionsIter<'a> {
    type Item = Result<TcpOption<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each turn moves on by at least one octet.
        loop {
            match *self.area.get(self.at)? {
                END => {
                    self.at = self.area.len();
                    return None;
                }
                NOP => self.at = self.at.saturating_add(1),
                kind => {
                    self.option_at = self.at;
                    let option = take_option(self.area, self.at).and_then(|data| {
                        self.at = self.at.saturating_add(2).saturating_add(data.len());
                        TcpOption::of(kind, data)
                    });
                    if option.is_err() {
                        self.at = self.area.len();
                    }
                    return Some(option);
                }
            }
        }
    }
}

/// The data of the option at `at`. Its length octet counts the kind octet and itself too.
fn take_option(area: &[u8], at: usize) -> Result<&[u8], Error> {
    let [_, len] = *field::chunk::<2>(area, at).map_err(|_| Error::OptionLength)?;
    let end = at.saturating_add(usize::from(len));
    // A length below 2 puts the end in front of the start: no such range.
    area.get(at.saturating_add(2)..end).ok_or(Error::OptionLength)
}

/// An option area as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionsBuf(Area<OPTIONS_LEN_MAX>);

impl OptionsBuf {
    /// No options.
    pub const EMPTY: Self = Self(Area::EMPTY);

    /// A copy of a segment's options.
    pub fn of(options: Options<'_>) -> Self {
        Self(Area::of(options.octets()))
    }

    /// Adds an option behind the others. `TooLong`, and nothing added, if it does not fit.
    pub fn push(&mut self, option: &TcpOption<'_>) -> Result<(), Error> {
        match *option {
            TcpOption::Mss(mss) => self.put(MSS, &mss.to_be_bytes()),
            TcpOption::WindowScale(scale) => self.put(WSCALE, &[scale.0]),
            TcpOption::SackPermitted => self.put(SACK_PERMITTED, &[]),
            TcpOption::Sack(blocks) => self.put(SACK, blocks.0.as_flattened()),
            TcpOption::Timestamps(Timestamps { value, echo }) => {
                let [a, b, c, d] = value.to_be_bytes();
                let [e, f, g, h] = echo.to_be_bytes();
                self.put(TIMESTAMPS, &[a, b, c, d, e, f, g, h])
            }
            TcpOption::Md5(digest) => self.put(MD5, digest),
            TcpOption::Unknown { kind, data } => self.put(kind, data),
        }
    }

    /// Adds SACK blocks behind the other options. `TooLong`, and nothing added, if they do not fit.
    pub fn push_sack(&mut self, blocks: &[SackBlock]) -> Result<(), Error> {
        let mut octets: Area<OPTIONS_LEN_MAX> = Area::EMPTY;
        for block in blocks {
            octets.push(&[&block.left.0.to_be_bytes(), &block.right.0.to_be_bytes()])?;
        }
        self.put(SACK, octets.padded())
    }

    /// Adds one octet of padding.
    pub fn push_nop(&mut self) -> Result<(), Error> {
        self.0.push(&[&[NOP]])
    }

    fn put(&mut self, kind: u8, data: &[u8]) -> Result<(), Error> {
        let len = data.len().checked_add(2).and_then(|len| u8::try_from(len).ok()).ok_or(Error::TooLong)?;
        self.0.push(&[&[kind, len], data])
    }

    /// The octets, padded with "end of list" to a multiple of four.
    pub const fn octets(&self) -> &[u8] {
        self.0.padded()
    }
}
