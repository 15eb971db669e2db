//! What the SYNs of operating systems look like (pf.conf(5) OPERATING SYSTEM FINGERPRINTING, pf.os(5)).

use serde::{Deserialize, Serialize};

/// What a number in a SYN must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NumberMatch {
    /// `*`: anything.
    Any,
    /// This number.
    Equal(u16),
    /// `%n`: a multiple of it, which is not 0.
    Multiple(u16),
}

/// What the window of a SYN must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowMatch {
    /// As a number.
    Number(NumberMatch),
    /// `Sn`: so many maximum segment sizes.
    Segments(u16),
    /// `Tn`: so many packets of the size that the segment size implies.
    Packets(u16),
}

/// An option of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SynOption {
    /// `N`.
    NoOperation,
    /// `M`.
    SegmentSize,
    /// `W`.
    WindowScale,
    /// `S`: selective acknowledgments are permitted.
    SackPermitted,
    /// `T`.
    Timestamp,
}

/// What a SYN looks like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SynShape {
    /// The window.
    pub window: WindowMatch,
    /// Hops to live that the sender began with.
    pub ttl: u8,
    /// IPv4: it may not be fragmented. What is of IPv6 never may.
    pub dont_fragment: bool,
    /// Bytes of the packet, from the IP header on.
    pub size: NumberMatch,
    /// The options, in their order.
    pub options: Vec<SynOption>,
    /// The sender's timestamp is 0.
    pub timestamp_zero: bool,
    /// The maximum segment size; 0 is none.
    pub segment_size: NumberMatch,
    /// The shift of the windows; 0 is none.
    pub window_scale: NumberMatch,
}

/// A system that SYNs of a shape come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// What they look like.
    pub shape: SynShape,
    /// Class, version and subtype; what is empty is not known.
    pub name: [String; 3],
}

impl Fingerprint {
    /// True if `os` of a rule means it: its class, its class and version, or all three, with blanks between.
    pub fn is_called(&self, name: &str) -> bool {
        let mut rest = name;
        for part in &self.name {
            match rest.strip_prefix(part.as_str()) {
                Some("") => return !part.is_empty(),
                Some(behind) if !part.is_empty() => match behind.strip_prefix(' ') {
                    Some(behind) => rest = behind,
                    None => return false,
                },
                _ => return false,
            }
        }
        false
    }
}

/// The name in rules of what no fingerprint fits.
pub const UNKNOWN_OS: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_leave_the_end_out() {
        let number = NumberMatch::Any;
        let shape = SynShape {
            window: WindowMatch::Number(number),
            ttl: 64,
            dont_fragment: true,
            size: number,
            options: Vec::new(),
            timestamp_zero: false,
            segment_size: number,
            window_scale: number,
        };
        let one = Fingerprint { shape, name: ["Any BSD".into(), "4.4".into(), "lite".into()] };
        for (name, called) in [
            ("Any BSD", true),
            ("Any BSD 4.4", true),
            ("Any BSD 4.4 lite", true),
            ("Any", false),
            ("Any BSD ", false),
            ("Any BSD 4", false),
            ("Any BSD 4.40", false),
            ("Any BSD 4.4 lite more", false),
            ("Any BSDs", false),
            ("", false),
        ] {
            assert_eq!(one.is_called(name), called, "{name:?}");
        }
        let unversioned = Fingerprint { name: ["X".into(), String::new(), String::new()], ..one };
        assert!(unversioned.is_called("X") && !unversioned.is_called("X "));
    }
}
