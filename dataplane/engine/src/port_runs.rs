//! Sets of ports: as bits, for those of many who are asked about each port; as runs, for those of one of them.
//!
//! Life cycle: made by a control thread with what they are of. Ownership: immutable then. Bounds: 8 KiB of bits, a search in
//! two.

use wire::{Port, Proto};

/// A bit for each port.
#[derive(Clone, Debug)]
pub(crate) struct PortBits(Box<[u64; 1 << 10]>);

impl PortBits {
    /// All the ports of runs; `None` if they have none.
    pub fn of<'r>(all: impl Iterator<Item = &'r PortRuns>) -> Option<Self> {
        let mut bits = Box::new([0_u64; 1 << 10]);
        let mut any = false;
        for port in all.flat_map(PortRuns::iter).flat_map(|(first, last)| first.0..=last.0) {
            bits[usize::from(port >> 6)] |= 1 << (port & 63);
            any = true;
        }
        any.then_some(Self(bits))
    }

    #[inline]
    pub fn contains(&self, port: Port) -> bool {
        self.0[usize::from(port.0 >> 6)] >> (port.0 & 63) & 1 != 0
    }
}

/// The ports of many, by protocol.
#[derive(Clone, Debug)]
pub(crate) struct AnyPorts {
    tcp: Option<PortBits>,
    udp: Option<PortBits>,
}

impl AnyPorts {
    /// The ports that are given for each protocol; `None` if there are none.
    pub fn of<'r, R: Iterator<Item = &'r PortRuns>>(all: impl Fn(Proto) -> R) -> Option<Self> {
        let [tcp, udp] = [Proto::TCP, Proto::UDP].map(|proto| PortBits::of(all(proto)));
        (tcp.is_some() || udp.is_some()).then_some(Self { tcp, udp })
    }

    #[inline]
    pub const fn of_proto(&self, proto: Proto) -> Option<&PortBits> {
        match proto {
            Proto::TCP => self.tcp.as_ref(),
            Proto::UDP => self.udp.as_ref(),
            _ => None,
        }
    }
}

/// Ports as runs of neighbours, in order; between two there is one that is in none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortRuns(Vec<(Port, Port)>);

impl PortRuns {
    /// The ports of these ranges.
    pub fn of(mut ranges: Vec<(Port, Port)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, run| {
            let joins = next.0.0 <= run.1.0.saturating_add(1);
            run.1 = if joins { run.1.max(next.1) } else { run.1 };
            joins
        });
        Self(ranges)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Port, Port)> + '_ {
        self.0.iter().copied()
    }

    /// The last port of the run that a port is in.
    pub fn end_of(&self, port: Port) -> Option<Port> {
        let next = self.0.partition_point(|(first, _)| *first <= port);
        let (_, last) = *self.0.get(next.checked_sub(1)?)?;
        (port <= last).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(ranges: &[(u16, u16)]) -> PortRuns {
        PortRuns::of(ranges.iter().map(|(first, last)| (Port(*first), Port(*last))).collect())
    }

    #[test]
    fn ranges_that_meet_are_one_run() {
        let ranges = [(80, 80), (1, 9), (10, 20), (5, 7), (65_535, 65_535), (81, 85), (65_534, 65_534)];
        assert_eq!(runs(&ranges), runs(&[(1, 20), (80, 85), (65_534, 65_535)]));
    }

    #[test]
    fn bits_and_runs_hold_the_same_ports() {
        let all = runs(&[(0, 0), (63, 64), (1000, 2000), (65_535, 65_535)]);
        let bits = PortBits::of([&all].into_iter()).expect("some ports");
        for port in (0..=u16::MAX).map(Port) {
            assert_eq!(bits.contains(port), all.end_of(port).is_some(), "{port:?}");
        }
        assert_eq!(all.end_of(Port(1500)), Some(Port(2000)));
        assert!(PortBits::of([&runs(&[])].into_iter()).is_none());
    }
}
