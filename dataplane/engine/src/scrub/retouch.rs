//! What packets that go the short way have changed of their IP headers, beside what forwarding changes.
//!
//! Overview: of what [both hooks change](super::Changes) of a connection's packets, that which the IP header alone is needed for
//! (`no-df`, `random-id`, `min-ttl`, `set tos`). It is remembered with the [next hop](crate::state::Adjacency), so that
//! connections for which nothing is changed pay nothing. Where more is to be done, packets meet the hooks.
//! Life cycle: that of the next hop. Ownership: the shard. Bounds: an IP header.

use bytemuck::Zeroable;
use wire::{ethernet, ipv4, ipv6};

use super::{Changes, raise_hop_limit, raise_ttl, touch_ipv4, touch_ipv6};
use crate::state::Family;

/// What is changed of the IP headers of packets which are no fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Zeroable)]
#[repr(C)]
pub(crate) struct Retouch {
    no_df: bool,
    random_id: bool,
    sets_tos: bool,
    tos: u8,
    /// Hops to live that a packet has at least behind the IN hook.
    min_ttl_in: u8,
    /// Likewise behind the OUT hook.
    min_ttl_out: u8,
}

impl Retouch {
    /// Nothing is changed.
    pub const NOTHING: Self =
        Self { no_df: false, random_id: false, sets_tos: false, tos: 0, min_ttl_in: 0, min_ttl_out: 0 };

    /// What hooks change of a packet, if its connection's packets [need not meet them](super::Scrubbing::meets_each_packet).
    pub fn of(changes: &Changes) -> Self {
        let [entering, leaving] = &changes.scrubbings;
        let tos = leaving.tos.or(entering.tos);
        Self {
            no_df: entering.scrub.no_df || leaving.scrub.no_df,
            random_id: entering.scrub.random_id || leaving.scrub.random_id,
            sets_tos: tos.is_some(),
            tos: tos.unwrap_or(0),
            min_ttl_in: entering.scrub.min_ttl,
            min_ttl_out: leaving.scrub.min_ttl,
        }
    }

    #[inline(always)]
    pub fn is_nothing(&self) -> bool {
        *self == Self::NOTHING
    }

    /// Changes a packet of this family that stands behind an untagged Ethernet header, and has `forward` forward it meanwhile;
    /// `draw` is for its identification, if it is to have a random one.
    #[inline(always)]
    pub fn around(
        &self,
        frame: &mut [u8],
        family: Family,
        draw: impl FnOnce() -> u64,
        forward: impl FnOnce(&mut [u8]),
    ) {
        self.touch(frame, family, self.random_id.then(|| draw() as u16));
        raise(frame, family, self.min_ttl_in);
        forward(frame);
        raise(frame, family, self.min_ttl_out);
    }

    /// Changes all but the hops to live.
    #[inline(never)]
    fn touch(&self, frame: &mut [u8], family: Family, ident: Option<u16>) {
        let tos = self.sets_tos.then_some(self.tos);
        // What was read quickly is there: no error is possible.
        let _ = match family {
            Family::Inet => ipv4::Header::at_mut(frame, ethernet::HEADER_LEN).map(|mut header| {
                touch_ipv4(&mut header, self.no_df, ident, tos);
            }),
            Family::Inet6 => ipv6::Header::at_mut(frame, ethernet::HEADER_LEN).map(|mut header| {
                touch_ipv6(&mut header, tos);
            }),
        };
    }
}

/// Gives a packet so many hops to live, if it has fewer.
#[inline(always)]
fn raise(frame: &mut [u8], family: Family, least: u8) {
    if least > 0 {
        raise_hops(frame, family, least);
    }
}

#[cold]
#[inline(never)]
fn raise_hops(frame: &mut [u8], family: Family, least: u8) {
    // As above.
    let _ = match family {
        Family::Inet => {
            ipv4::Header::at_mut(frame, ethernet::HEADER_LEN).map(|mut header| raise_ttl(&mut header, least))
        }
        Family::Inet6 => ipv6::Header::at_mut(frame, ethernet::HEADER_LEN)
            .map(|mut header| raise_hop_limit(&mut header, least)),
    };
}
