//! Which addresses connections are translated to, link by link.
//!
//! Ownership: one shard, which only reads here. Bounds: as many links a call as is asked for.

use core::net::IpAddr;
use core::ops::Range;

use wire::Proto;

use super::index::LinkId;
use super::table::Connections;

/// The end that a connection's initiator was translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The address behind which it is.
    pub address: IpAddr,
    /// Its protocol.
    pub proto: Proto,
}

impl Connections {
    /// Numbers of links in a row, from `from` on, at most `most`; empty if there is none any more.
    pub fn run_of_links(&self, from: u32, most: usize) -> Range<u32> {
        self.links.run(from, most)
    }

    /// The mappings of connections whose first link has one of these numbers; connections whose initiator is translated to nothing
    /// else have none.
    pub fn mappings(&self, numbers: Range<u32>) -> impl Iterator<Item = Mapping> {
        numbers.filter_map(|number| self.mapping(LinkId(number)))
    }

    fn mapping(&self, id: LinkId) -> Option<Mapping> {
        let line = self.links.get(id)?;
        if !line.is_live() || line.is_alias() || self.first_link(line.record()) != Some(id) {
            return None;
        }
        let tuples = self.tuples(line.record())?;
        let (inner, outer) = (tuples.near.end(tuples.initiator), tuples.far.end(tuples.initiator));
        let key = self.link_key(id);
        (inner != outer).then(|| Mapping { address: outer.0.to_ip(key.af), proto: key.proto })
    }
}
