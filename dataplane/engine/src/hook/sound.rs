//! What is wrong with a packet whatever its connection and the rules say.
//!
//! Bounds: a few comparisons of what was read.

use ruleset::Reason;
use wire::{Af, icmp6};

use super::{Passage, Stop};
use crate::packet::Transport;
use crate::track;

impl Passage<'_> {
    /// What no state and no rule may accept, nor undo: control bits that contradict each other (those that mean nothing are
    /// cleared), ICMP errors that do not go
    /// to the sender of the packet that they quote (CVE-2019-5598), and neighbour discovery from afar (RFC 4861 §6.1).
    #[inline]
    pub(super) fn make_sound(&mut self) -> Result<(), Stop> {
        match &mut self.packet.transport {
            Transport::Tcp(segment) => {
                let flags = track::sanity(segment.flags).map_err(|_| Stop::silent(Reason::Normalize))?;
                if flags != segment.flags || segment.strays {
                    (segment.flags, segment.strays) = (flags, false);
                    self.repaired = Some(flags);
                }
                Ok(())
            }
            Transport::IcmpError { quoted, .. } if self.packet.tuple.dst != quoted.tuple.src => {
                Err(Stop::silent(Reason::IcmpMismatch))
            }
            Transport::IcmpOther { kind, .. }
                if self.packet.tuple.af == Af::Inet6
                    && icmp6::Type(*kind).is_nd()
                    && self.packet.ttl != icmp6::ND_HOP_LIMIT =>
            {
                Err(Stop::silent(Reason::Normalize))
            }
            _ => Ok(()),
        }
    }
}
