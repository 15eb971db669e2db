//! Queues: read, checked and printed; nothing schedules by them yet.

use super::Expander;
use crate::ast::{InterfaceItem, InterfaceName, QueueStatement};
use crate::diagnostic::Form;
use crate::parse::Parsed;

impl Expander<'_> {
    pub(super) fn queue(&mut self, queue: &QueueStatement) -> Parsed<()> {
        let span = self.place.span;
        self.unsupported("queue");
        if queue.bandwidth.is_none() && queue.flows.is_none() {
            return Err(self.fail(span, "no bandwidth or flow specification", None));
        }
        if queue.parent.is_none() && queue.interfaces.is_empty() {
            return Err(self.fail(span, "root queue without interface", Some("add: on interface")));
        }
        let named = |item: &InterfaceItem| !item.negated && matches!(item.name, InterfaceName::Name(_));
        if let Some(wrong) = queue.interfaces.iter().find(|item| !named(item)) {
            return Err(self.fail(wrong.span, "not an interface", Some("name an interface")));
        }
        if queue.interfaces.is_empty() {
            return self.one_queue(queue.clone());
        }
        queue.interfaces.iter().try_for_each(|interface| {
            self.one_queue(QueueStatement { interfaces: vec![interface.clone()], ..queue.clone() })
        })
    }

    /// A queue of at most one interface.
    fn one_queue(&mut self, queue: QueueStatement) -> Parsed<()> {
        let on = |queue: &QueueStatement| queue.interfaces.first().map(|interface| interface.name.clone());
        let same = |known: &QueueStatement| known.name == queue.name && on(known) == on(&queue);
        if self.config.queues.iter().any(same) {
            let text = format!("queue {} already exists", queue.name);
            return Err(self.fail(self.place.span, text, None));
        }
        self.config.queues.push(queue);
        Ok(())
    }

    /// What can be wrong with the tree of queues as a whole; pfctl stops at the first fault.
    pub(super) fn check_queues(&mut self) {
        if self.findings.has_errors() {
            return;
        }
        let queues = &self.config.queues;
        let fault = queues.iter().find_map(|queue| {
            let name = &queue.name;
            if let Some(parent) = &queue.parent
                && !queues.iter().any(|known| known.name == *parent)
            {
                return Some(format!("queue {name}: parent {parent} not found"));
            }
            let leaf = !queues.iter().any(|child| child.parent.as_ref() == Some(name));
            if queue.default && !leaf {
                return Some(format!("default queue {name} is not a leaf queue"));
            }
            let flow_queue = queue.parent.is_none() && queue.flows.is_some();
            (queue.bandwidth.is_none() && !flow_queue)
                .then(|| format!("queue {name}: no bandwidth was specified"))
        });
        if let Some(text) = fault {
            let span = self.place.span;
            self.report(Form::Program, span, text, "", None);
        }
    }
}
