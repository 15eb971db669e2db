//! What a packet meets with a face that is not tracking: options, a tag, a gateway or a routing table, a log, counters, what is
//! changed of it.
//!
//! Ownership: the shard.

use ruleset::Reason;

use super::{Hook, Passage, Stop};
use crate::eval::{Deed, Tag};
use crate::refuse::rule_of;
use crate::shard::{Shard, View};
use crate::state::RecordId;

impl Shard {
    /// What belongs to a face rather than to the connection: IP options, the tag that it puts on its packets, `log (all)`.
    pub(super) fn gate_face(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
    ) -> Result<(), Stop> {
        let side = self.side_met(passage, hook, record);
        let Some(class) = self.connections.face(record, side) else { return Ok(()) };
        if passage.packet.options && !class.rule.allow_opts {
            self.witness.blame.rule = rule_of(view, class);
            return Err(Stop::silent(Reason::IpOption));
        }
        if class.tag != Tag::default() {
            passage.tag = class.tag;
        }
        passage.copy_to = self.connections.copied_to(class);
        passage.gateway = self.connections.gateway(class, hook.direction);
        if class.rule.log_all {
            let rule = view.root.and_then(|root| root.number_of(&class.rule));
            self.log.record(hook.entry(view, rule, None), passage.packet, hook.frame);
        }
        let terms = self.connections.terms_of(class);
        if let Some(terms) = terms {
            passage.be_routed_as_before(view, hook, class, terms);
        }
        let scrubbing = terms.map(|terms| terms.scrubbing).filter(|scrubbing| !scrubbing.is_nothing());
        if let Some(root) = view.root {
            let matched = terms.into_iter().flat_map(|terms| terms.matched());
            for rule in core::iter::once(&*class.rule).chain(matched).filter(|rule| rule.counts_addresses) {
                let tuple = self.connections.asked_for(record, class, side);
                let bytes = passage.packet.length();
                root.count_addresses(rule, &tuple, hook.direction, Deed::Pass, bytes);
            }
        }
        if let Some(scrubbing) = scrubbing {
            passage.scrub(hook.direction, &scrubbing, || self.draw());
        }
        Ok(())
    }
}
