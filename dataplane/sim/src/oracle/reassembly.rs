//! Datagrams in fragments, octet by octet: pf's `pf_fillup_fragment` without any of its lists.
//!
//! Each octet of a datagram belongs to the fragment that it is taken from. A new IPv4 fragment loses what belongs to the one
//! that has its first octet, and takes everything else that it covers; an IPv6 one that covers anything ends the datagram.

use wire::Af;

/// The most octets of a datagram.
const LONGEST: usize = 65_535;
/// Octets that share an entry point, and the most fragments that begin there.
const ENTRY_POINT: (usize, usize) = (4096, 64);

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It waits.
    Kept,
    /// It was dropped.
    Dropped,
    /// It was the last one that was missing: the data.
    Whole(Vec<u8>),
}

/// What there is of a datagram.
#[derive(Clone, Debug)]
pub struct Incomplete {
    af: Af,
    octets: Vec<Option<(usize, u8)>>,
    fragments: usize,
    /// Where it ends, if its end is there.
    end: Option<usize>,
    /// Nothing of it is taken any more.
    refused: bool,
}

impl Incomplete {
    /// A datagram of which nothing is there.
    pub fn new(af: Af) -> Self {
        Self { af, octets: vec![None; LONGEST], fragments: 0, end: None, refused: false }
    }

    /// A fragment comes, with data from `offset` on.
    pub fn add(&mut self, offset: usize, data: &[u8], more: bool) -> Added {
        let end = offset + data.len();
        if data.is_empty() || (more && !data.len().is_multiple_of(8)) || end > LONGEST || self.refused {
            return Added::Dropped;
        }
        if self.contradicts(end, more) {
            self.refused = self.af == Af::Inet6;
            return Added::Dropped;
        }
        if self.af == Af::Inet6 && self.octets[offset..end].iter().any(Option::is_some) {
            self.refused = true;
            return Added::Dropped;
        }
        let owner = |octet: &Option<(usize, u8)>| octet.map(|(owner, _)| owner);
        let first = owner(&self.octets[offset]);
        let lost = match first {
            None => 0,
            first => self.octets[offset..end].iter().take_while(|octet| owner(octet) == first).count(),
        };
        if lost == data.len() {
            return Added::Dropped;
        }
        self.fragments += 1;
        for (octet, value) in self.octets[offset + lost..end].iter_mut().zip(&data[lost..]) {
            *octet = Some((self.fragments, *value));
        }
        self.end = if more { self.end } else { Some(end) };
        if self.is_crowded() {
            self.refused = true;
            return Added::Dropped;
        }
        let whole = self.end.and_then(|end| self.octets[..end].iter().copied().collect::<Option<Vec<_>>>());
        whole.map_or(Added::Kept, |whole| Added::Whole(whole.into_iter().map(|(_, value)| value).collect()))
    }

    /// True for a second end, and for what lies behind the end.
    fn contradicts(&self, end: usize, more: bool) -> bool {
        let known = self.octets.iter().rposition(Option::is_some).map(|last| last + 1);
        match (self.end, known) {
            (Some(last), _) => end > last || (end == last) == more,
            (None, Some(known)) => !more && end <= known,
            (None, None) => false,
        }
    }

    /// True if too many fragments begin at one entry point.
    fn is_crowded(&self) -> bool {
        let mut before = None;
        self.octets.chunks(ENTRY_POINT.0).any(|chunk| {
            let begins = chunk.iter().filter(|octet| {
                let owner = octet.map(|(owner, _)| owner);
                core::mem::replace(&mut before, owner) != owner && owner.is_some()
            });
            begins.count() > ENTRY_POINT.1
        })
    }
}
