//! Which addresses connections are translated to, record by record.
//!
//! Ownership: one shard, which only reads here. Bounds: as many records a call as is asked for.

use core::net::IpAddr;
use core::ops::Range;

use ruleset::PortBlock;
use wire::Proto;

use super::index::RecordId;
use super::table::Connections;
use crate::af_to::proto_in;
use crate::eval::Root;

/// The end that a connection's initiator was translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The address behind which it is.
    pub address: IpAddr,
    /// Its protocol there.
    pub proto: Proto,
    /// The block of the initiator's that its port is in, if rules share ports out in blocks.
    pub block: Option<PortBlock>,
}

impl Connections {
    /// The numbers of records in a row from `from` on, at most `most`; empty if there is none any more.
    pub fn run_of_records(&self, from: u32, most: usize) -> Range<u32> {
        self.numbers.run(from, most)
    }

    /// The mappings of the records with these numbers; connections whose initiator is translated to nothing else have none.
    pub fn mappings(&self, root: Option<&Root>, numbers: Range<u32>) -> impl Iterator<Item = Mapping> {
        numbers.filter_map(move |number| self.mapping(root, RecordId(number)))
    }

    fn mapping(&self, root: Option<&Root>, id: RecordId) -> Option<Mapping> {
        if !self.hot[id.0 as usize].is_live() || self.first_link(id).is_none() {
            return None;
        }
        let tuples = self.tuples(id)?;
        let (inner, outer) = (tuples.near.end(tuples.initiator), tuples.far.end(tuples.initiator));
        if inner == outer {
            return None;
        }
        let (near, far) = (tuples.near.af(), tuples.far.af());
        let address = outer.0.to_ip(far);
        let block = root.and_then(|root| root.port_block(inner.0.to_ip(near), address, outer.1));
        Some(Mapping { address, proto: proto_in(far, self.key(id).proto), block })
    }
}
