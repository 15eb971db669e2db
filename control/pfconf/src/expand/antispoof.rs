//! `antispoof for interface` (pf.conf(5)): nobody else's packets may claim the interface's network or addresses.

use ruleset::{AddressPattern, BlockReply, Direction, InterfacePart};

use super::Expander;
use super::host::Node;
use super::rule::{Job, plain_statement};
use crate::ast::{AntispoofInterface, AntispoofStatement, InterfaceItem, InterfaceName, RuleAction};
use crate::config::Entry;
use crate::parse::Parsed;

impl Expander<'_> {
    pub(super) fn antispoof(
        &mut self,
        statement: &AntispoofStatement,
        entries: &mut Vec<Entry>,
    ) -> Parsed<()> {
        for interface in &statement.interfaces {
            let InterfaceName::Name(name) = &interface.item.name else {
                return Err(self.fail(interface.item.span, "antispoof needs an interface", None));
            };
            if name.contains(':') {
                let text = format!("interface {name} has bad modifier");
                return Err(self.fail(interface.item.span, text, Some("name the interface alone")));
            }
            let elsewhere = InterfaceItem { negated: true, ..interface.item.clone() };
            let network = self.spoofable(interface, name, InterfacePart::Network);
            self.spoofed(statement, Some(elsewhere), network, entries)?;
            let loopback = self.host.interfaces().get(name).is_some_and(|known| known.loopback);
            if !loopback {
                let own = self.spoofable(interface, name, InterfacePart::Own);
                self.spoofed(statement, None, own, entries)?;
            }
        }
        Ok(())
    }

    fn spoofable(&self, interface: &AntispoofInterface, name: &str, part: InterfacePart) -> Vec<Node> {
        if interface.dynamic {
            let pattern =
                AddressPattern::Interface { name: name.to_owned(), part, no_alias: false, prefix: None };
            return vec![Node { pattern, ..Node::default() }];
        }
        let found = self.host.interfaces().addresses(name, part, false);
        found.into_iter().filter_map(Node::found).collect()
    }

    fn spoofed(
        &mut self,
        antispoof: &AntispoofStatement,
        interface: Option<InterfaceItem>,
        sources: Vec<Node>,
        entries: &mut Vec<Entry>,
    ) -> Parsed<()> {
        let mut statement = plain_statement(RuleAction::Block(Some(BlockReply::Drop)), antispoof.span);
        statement.direction = Some(Direction::In);
        statement.log = antispoof.log;
        statement.quick = antispoof.quick;
        statement.af = antispoof.af;
        statement.interfaces.extend(interface);
        statement.options.labels.clone_from(&antispoof.labels);
        statement.options.rtable = antispoof.rtable;
        let fits = |node: &Node| antispoof.af.is_none() || node.af.is_none() || node.af == antispoof.af;
        let sources: Vec<Node> = sources.into_iter().filter(fits).collect();
        if sources.is_empty() {
            return Ok(());
        }
        let template = self.job(&statement)?.template;
        let job = Job {
            statement: &statement,
            template,
            sources,
            destinations: Vec::new(),
            nat: None,
            rdr: None,
            route: None,
            anchor: None,
        };
        self.product(&job, entries)
    }
}
