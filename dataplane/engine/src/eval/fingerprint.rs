//! Operating systems by their SYNs (pf.conf(5) `os`).
//!
//! Overview: of the shapes that a ruleset knows a SYN has the first that fits ([`Fingerprints::find`]); a rule asks whether that
//! is one of the system's that it names. Looked at only where rules ask. Life cycle: made with the root. Ownership:
//! immutable. Bounds: `ruleset::bounds::FINGERPRINTS` shapes, compared one by one; 40 octets of options.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ruleset::{Fingerprint, NumberMatch, SynOption, SynShape, UNKNOWN_OS, WindowMatch};
use wire::tcp::TcpOption;
use wire::{Af, TcpFlags, ipv4, tcp};

use crate::packet::{Packet, Transport};

/// How many hops a packet may have come, at most.
const HOPS_MAX: u8 = 40;
/// The segment size that some routers announce in place of a sender's own, and the size of packets that goes with it.
const USUAL_SEGMENT: u16 = 1460;
/// Octets of an IPv4 and a TCP header.
const HEADERS: u16 = 40;
/// More options than this fit in no SYN.
const OPTIONS_MAX: usize = 40;

/// What a ruleset knows of operating systems: all different shapes, in the order in which they are tried.
#[derive(Debug, Default)]
pub(super) struct Fingerprints(Box<[SynShape]>);

/// `os` of a rule.
#[derive(Debug)]
pub(super) enum Os {
    /// None that is known.
    Unknown,
    /// By the number of a shape.
    Named(Box<[bool]>),
}

/// A SYN as it came.
struct Syn {
    window: u16,
    ttl: u8,
    dont_fragment: bool,
    size: u16,
    options: [SynOption; OPTIONS_MAX],
    count: usize,
    timestamp_zero: bool,
    segment_size: u16,
    window_scale: u16,
}

impl Fingerprints {
    pub fn new(known: &[Fingerprint]) -> Self {
        let mut shapes: Vec<SynShape> = Vec::new();
        for one in known {
            if !shapes.contains(&one.shape) {
                shapes.push(one.shape.clone());
            }
        }
        Self(shapes.into())
    }

    /// What `os` means that names a system by this name.
    pub fn named(&self, name: &str, known: &[Fingerprint]) -> Os {
        if name == UNKNOWN_OS {
            return Os::Unknown;
        }
        let is_its = |shape: &SynShape| known.iter().any(|one| one.shape == *shape && one.is_called(name));
        Os::Named(self.0.iter().map(is_its).collect())
    }

    /// The number of the shape of a SYN; `None` for what is none, and if it has none that is known.
    #[cold]
    pub fn find(&self, frame: &[u8], packet: &Packet) -> Option<u16> {
        let syn = Syn::of(frame, packet)?;
        self.0.iter().position(|shape| syn.has(shape)).and_then(|at| u16::try_from(at).ok())
    }
}

impl Os {
    pub fn accepts(&self, shape: Option<u16>) -> bool {
        match self {
            Self::Unknown => shape.is_none(),
            Self::Named(shapes) => {
                shape.is_some_and(|shape| shapes.get(usize::from(shape)).copied().unwrap_or(false))
            }
        }
    }
}

impl Syn {
    fn of(frame: &[u8], packet: &Packet) -> Option<Self> {
        let Transport::Tcp(segment) = packet.transport else { return None };
        if !segment.has(TcpFlags::SYN) || segment.has(TcpFlags::ACK) {
            return None;
        }
        let dont_fragment = match packet.tuple.af {
            Af::Inet => ipv4::Header::at(frame, packet.l3.into()).ok()?.dont_fragment(),
            Af::Inet6 => true,
        };
        let octets = frame.get(usize::from(packet.l4)..packet.end as usize)?;
        let mut syn = Self {
            window: segment.window,
            ttl: packet.ttl,
            dont_fragment,
            size: packet.length() as u16,
            options: [SynOption::NoOperation; OPTIONS_MAX],
            count: 0,
            timestamp_zero: false,
            segment_size: 0,
            window_scale: 0,
        };
        syn.read(tcp::Segment::parse(octets).ok()?.options())?;
        Some(syn)
    }

    /// Reads the options; `None` if one is among them that no fingerprint has.
    fn read(&mut self, options: tcp::Options<'_>) -> Option<()> {
        let mut read = options.iter();
        let mut at = 0;
        while let Some(option) = read.next() {
            let option = option.ok()?;
            // What is skipped in between is padding.
            (at..read.offset()).try_for_each(|_| self.note(SynOption::NoOperation))?;
            let (noted, length) = match option {
                TcpOption::Mss(size) => {
                    self.segment_size = size;
                    (SynOption::SegmentSize, 4)
                }
                TcpOption::WindowScale(scale) => {
                    self.window_scale = scale.0.into();
                    (SynOption::WindowScale, 3)
                }
                TcpOption::SackPermitted => (SynOption::SackPermitted, 2),
                TcpOption::Timestamps(stamps) => {
                    self.timestamp_zero = stamps.value == 0;
                    (SynOption::Timestamp, 10)
                }
                _ => return None,
            };
            self.note(noted)?;
            at = read.offset() + length;
        }
        // What stands behind the end of the list is none.
        let rest = options.octets().get(at..).unwrap_or_default();
        rest.iter()
            .take_while(|octet| **octet == NO_OPERATION)
            .try_for_each(|_| self.note(SynOption::NoOperation))
    }

    fn note(&mut self, option: SynOption) -> Option<()> {
        *self.options.get_mut(self.count)? = option;
        self.count += 1;
        Some(())
    }

    fn has(&self, shape: &SynShape) -> bool {
        self.options.get(..self.count) == Some(&shape.options)
            && shape.ttl.checked_sub(self.ttl).is_some_and(|hops| hops <= HOPS_MAX)
            && (self.dont_fragment, self.timestamp_zero) == (shape.dont_fragment, shape.timestamp_zero)
            && fits(self.size, shape.size)
            && fits(self.segment_size, shape.segment_size)
            && fits(self.window_scale, shape.window_scale)
            && self.has_window(shape.window)
    }

    fn has_window(&self, wanted: WindowMatch) -> bool {
        let size = self.segment_size;
        let counts = |unit: u16, count: u16| unit.checked_mul(count) == Some(self.window);
        match wanted {
            WindowMatch::Number(number) => fits(self.window, number),
            WindowMatch::Segments(count) => size > 0 && (counts(size, count) || counts(USUAL_SEGMENT, count)),
            WindowMatch::Packets(count) => {
                let packet = size.saturating_add(HEADERS);
                size > 0 && (counts(packet, count) || counts(USUAL_SEGMENT + HEADERS, count))
            }
        }
    }
}

/// The kind of the option that is nothing but padding.
const NO_OPERATION: u8 = 1;

const fn fits(number: u16, wanted: NumberMatch) -> bool {
    match wanted {
        NumberMatch::Any => true,
        NumberMatch::Equal(equal) => number == equal,
        NumberMatch::Multiple(of) => of != 0 && number.is_multiple_of(of),
    }
}
