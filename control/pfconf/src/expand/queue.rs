//! Queues: read, checked and printed; nothing schedules by them yet.

use super::Expander;
use crate::ast::QueueStatement;
use crate::diagnostic::Form;
use crate::parse::Parsed;

impl Expander<'_> {
    pub(super) fn queue(&mut self, queue: &QueueStatement) -> Parsed<()> {
        let span = self.place.span;
        self.unsupported("queue");
        if queue.parent.is_none() && queue.interfaces.is_empty() {
            return Err(self.fail(span, "root queue without interface", Some("add: on interface")));
        }
        let interfaces = |queue: &QueueStatement| -> Vec<_> {
            queue.interfaces.iter().map(|interface| interface.name.clone()).collect()
        };
        let same =
            |known: &QueueStatement| known.name == queue.name && interfaces(known) == interfaces(queue);
        if self.config.queues.iter().any(same) {
            return Err(self.fail(span, format!("queue {} already exists", queue.name), None));
        }
        self.config.queues.push(queue.clone());
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
