//! Which addresses connections are translated to, link by link.
//!
//! Ownership: one shard, which only reads here. Bounds: as many links a call as is asked for.

use core::net::IpAddr;
use core::ops::Range;

use ruleset::PortBlock;
use wire::Proto;

use crate::eval::Root;

use super::index::LinkId;
use super::table::Connections;

/// The end that a connection's initiator was translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The address behind which it is.
    pub address: IpAddr,
    /// Its protocol.
    pub proto: Proto,
    /// The block of the initiator's that its port is in, if rules share ports out in blocks.
    pub block: Option<PortBlock>,
}

impl Connections {
    /// Numbers of links in a row, from `from` on, at most `most`; empty if there is none any more.
    pub fn run_of_links(&self, from: u32, most: usize) -> Range<u32> {
        self.links.run(from, most)
    }

    /// The mappings of connections whose first link has one of these numbers; connections whose initiator is translated to nothing
    /// else have none.
    pub fn mappings(&self, root: Option<&Root>, numbers: Range<u32>) -> impl Iterator<Item = Mapping> {
        numbers.filter_map(move |number| self.mapping(root, LinkId(number)))
    }

    fn mapping(&self, root: Option<&Root>, id: LinkId) -> Option<Mapping> {
        let line = self.links.get(id)?;
        if !line.is_live() || line.is_alias() || self.first_link(line.record()) != Some(id) {
            return None;
        }
        let tuples = self.tuples(line.record())?;
        let (inner, outer) = (tuples.near.end(tuples.initiator), tuples.far.end(tuples.initiator));
        let key = self.link_key(id);
        if inner == outer {
            return None;
        }
        let address = outer.0.to_ip(key.af);
        let block = root.and_then(|root| root.port_block(inner.0.to_ip(key.af), address, outer.1));
        Some(Mapping { address, proto: key.proto, block })
    }
}
