//! What became of the packets of each flow: in order, late, or twice.
//!
//! Bounds: 8 octets for each flow.

/// The packets of one flow, as far as they are remembered.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The packet behind the latest one that came.
    next: u32,
    /// Bit `i`: packet `next - 1 - i` came.
    seen: u32,
}

/// What a packet is to those that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Later than all.
    InOrder,
    /// Later sent ones came before it (RFC 4737).
    Reordered,
    /// It came before.
    Duplicate,
}

/// The order of all flows of one direction.
#[derive(Clone, Debug)]
pub struct Order {
    flows: Vec<Window>,
}

impl Order {
    /// For so many flows.
    pub fn new(flows: u32) -> Self {
        Self { flows: vec![Window::default(); flows as usize] }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.flows.fill(Window::default());
    }

    /// Takes note of a packet; none if there is no such flow. A second copy that comes more than 32 packets later counts as
    /// reordered.
    #[inline]
    pub fn note(&mut self, flow: u32, sequence: u32) -> Option<Arrival> {
        let window = self.flows.get_mut(flow as usize)?;
        let ahead = sequence.wrapping_sub(window.next);
        if ahead < 1 << 31 {
            // A shift by the whole width or more forgets all.
            window.seen = window.seen.checked_shl(ahead.saturating_add(1)).unwrap_or(0) | 1;
            window.next = sequence.wrapping_add(1);
            return Some(Arrival::InOrder);
        }
        let behind = window.next.wrapping_sub(sequence) - 1;
        let Some(bit) = 1_u32.checked_shl(behind) else { return Some(Arrival::Reordered) };
        let before = window.seen & bit != 0;
        window.seen |= bit;
        Some(if before { Arrival::Duplicate } else { Arrival::Reordered })
    }
}

#[cfg(test)]
mod tests {
    use super::Arrival::{Duplicate, InOrder, Reordered};
    use super::Order;

    #[test]
    fn gaps_late_ones_and_copies_are_told_apart() {
        let mut order = Order::new(2);
        let told: Vec<_> = [0, 1, 4, 3, 3, 4, 5, 2, 100, 99, 5]
            .map(|sequence| order.note(1, sequence))
            .into_iter()
            .collect();
        let expected = [
            InOrder, InOrder, InOrder, Reordered, Duplicate, Duplicate, InOrder, Reordered, InOrder,
            Reordered, // Too long ago to know.
            Reordered,
        ];
        assert_eq!(told, expected.map(Some));
        assert_eq!(order.note(0, 0), Some(InOrder), "flows are on their own");
        assert_eq!(order.note(2, 0), None, "there is no third one");
        order.reset();
        assert_eq!(order.note(1, 0), Some(InOrder));
    }
}
