//! Sets of ports (`map-e-portset`): those of an address that one of several who share it has (RFC 7597 §5.1).
//!
//! Overview: a port is read as three numbers: an offset, of which only 0 has no ports in any set, so that the lowest ones are
//! nobody's; the set's own number; and the port's number in a run of neighbours. Bounds: [`PortSet::check`].

use serde::{Deserialize, Serialize};
use wire::Port;

/// A set of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortSet {
    /// The highest bits of a port: its offset.
    pub offset_bits: u8,
    /// The bits behind them: the set's number.
    pub id_bits: u8,
    /// The set's number.
    pub id: u16,
}

impl PortSet {
    /// Whether there is such a set.
    ///
    /// # Errors
    /// What is out of bounds, in pfctl's words.
    pub fn check(&self) -> Result<(), &'static str> {
        let Self { offset_bits, id_bits, id } = *self;
        match (offset_bits, id_bits) {
            (1..=15, 1..=16) if offset_bits + id_bits > 16 => Err("MAP-E PSID length is too long"),
            (1..=15, 1..=16) if u32::from(id) < 1 << id_bits => Ok(()),
            (1..=15, 1..=16) => Err("MAP-E PSID out of range"),
            (1..=15, _) => Err("MAP-E PSID length must be 1 to 15"),
            _ => Err("MAP-E PSID offset must be 1 to 15"),
        }
    }

    const fn run_bits(&self) -> u32 {
        16 - self.offset_bits as u32 - self.id_bits as u32
    }

    /// How many ports it has.
    pub const fn count(&self) -> u16 {
        let offsets = (1_u32 << self.offset_bits) - 1;
        (offsets << self.run_bits()) as u16
    }

    /// Its port of this number, from 0 on, in ascending order.
    pub const fn port(&self, number: u16) -> Port {
        let run = self.run_bits();
        let (offset, at) = (1 + (number as u32 >> run), number as u32 & ((1 << run) - 1));
        Port((offset << (self.id_bits as u32 + run) | (self.id as u32) << run | at) as u16)
    }

    /// True for its ports.
    pub const fn contains(&self, port: Port) -> bool {
        let above = port.0 as u32 >> self.run_bits();
        above >> self.id_bits != 0 && above & ((1 << self.id_bits) - 1) == self.id as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> impl Iterator<Item = PortSet> {
        (1..=15).flat_map(|offset_bits| {
            (1..=16 - offset_bits).map(move |id_bits| PortSet { offset_bits, id_bits, id: 0 })
        })
    }

    #[test]
    fn a_set_has_the_ports_that_it_contains_in_their_order() {
        for set in sets() {
            for id in [0, 1, (1_u32 << set.id_bits >> 1) as u16, ((1_u32 << set.id_bits) - 1) as u16] {
                let set = PortSet { id, ..set };
                assert_eq!(set.check(), Ok(()));
                let listed: Vec<Port> = (0..set.count()).map(|number| set.port(number)).collect();
                let contained: Vec<Port> =
                    (0..=u16::MAX).map(Port).filter(|port| set.contains(*port)).collect();
                assert_eq!(listed, contained, "{set:?}");
            }
        }
    }

    /// The example of RFC 7597, appendix B: 6 bits of offset, 8 of the number 0x34, runs of 4 ports.
    #[test]
    fn the_example_of_the_rfc_begins_and_ends_where_it_does_there() {
        let set = PortSet { offset_bits: 6, id_bits: 8, id: 0x34 };
        let ports: Vec<u16> = (0..set.count()).map(|number| set.port(number).0).collect();
        assert_eq!(ports[..8], [1232, 1233, 1234, 1235, 2256, 2257, 2258, 2259]);
        assert_eq!((ports.len(), ports.last()), (252, Some(&64_723)));
    }

    #[test]
    fn every_port_but_the_lowest_is_in_one_set() {
        for set in sets().filter(|set| set.id_bits <= 10) {
            let mut holders = vec![0_u32; 1 << 16];
            for id in 0..1_u32 << set.id_bits {
                let set = PortSet { id: id as u16, ..set };
                (0..set.count()).for_each(|number| holders[usize::from(set.port(number).0)] += 1);
            }
            let lowest = 1 << (16 - set.offset_bits);
            assert!(holders[..lowest].iter().all(|count| *count == 0), "{set:?}");
            assert!(holders[lowest..].iter().all(|count| *count == 1), "{set:?}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_port_is_no_set() {
        let set = |offset_bits, id_bits, id| PortSet { offset_bits, id_bits, id }.check();
        assert!(set(12, 8, 1).unwrap_err().contains("too long"));
        assert!(set(4, 8, 256).unwrap_err().contains("PSID out of range"));
        assert!(set(0, 8, 1).unwrap_err().contains("offset"));
        assert!(set(4, 0, 0).unwrap_err().contains("length"));
        assert_eq!(set(4, 12, 0xfff), Ok(()));
    }
}
