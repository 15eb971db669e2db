//! `from`, `to`, `port` and `os`.

use ruleset::{InterfacePart, PortMatch};
use wire::Port;

use super::{Parsed, Parser};
use crate::ast::{EndpointSpec, HostItem, HostSpec};
use crate::lex::Kind;
use crate::names;
use crate::nearest;
use crate::source::Span;

const HOST: &str = "an address, a network, an interface, a <table> or any";
const PORT: &str = "a port or a service";

impl Parser<'_> {
    /// `all`, or `from …` and `to …`.
    pub(super) fn endpoints(&mut self) -> Parsed<(EndpointSpec, Vec<String>, EndpointSpec)> {
        let mut os = Vec::new();
        if self.accept_keyword("all") {
            return Ok((EndpointSpec::default(), os, EndpointSpec::default()));
        }
        let from = match self.accept_keyword("from") {
            true => self.endpoint()?,
            false => EndpointSpec::default(),
        };
        if self.at_keyword("os") {
            self.mark("os");
            self.take();
            self.items(&mut |parser| {
                os.push(parser.text("the name of an operating system")?.value);
                Ok(())
            })?;
        }
        let to = match self.accept_keyword("to") {
            true => self.endpoint()?,
            false => EndpointSpec::default(),
        };
        if let Some(wrong) = to.hosts.iter().find(|item| item.host == HostSpec::UrpfFailed) {
            let text = "\"urpf-failed\" is not permitted in a destination address";
            return Err(self.fail(wrong.span, text, Some("it is about the source: from urpf-failed")));
        }
        Ok((from, os, to))
    }

    fn endpoint(&mut self) -> Parsed<EndpointSpec> {
        let mut spec = EndpointSpec::default();
        if !self.at_keyword("port") {
            spec.hosts = self.hosts_or_any()?;
        }
        if self.at_keyword("port") {
            self.mark("port");
            self.take();
            self.items(&mut |parser| {
                spec.ports.push(parser.port_match()?);
                Ok(())
            })?;
        }
        Ok(spec)
    }

    /// A list in which `any` stands is empty, and means any.
    fn hosts_or_any(&mut self) -> Parsed<Vec<HostItem>> {
        let mut hosts = Vec::new();
        let mut any = false;
        self.items(&mut |parser| {
            match parser.accept_keyword("any") {
                true => any = true,
                false => hosts.push(parser.host()?),
            }
            Ok(())
        })?;
        Ok(if any { Vec::new() } else { hosts })
    }

    pub(super) fn host(&mut self) -> Parsed<HostItem> {
        let first = self.lexer.peek().span;
        let negated = self.accept_symbol("!");
        let host = self.host_spec()?;
        Ok(HostItem { negated, host, weight: None, via: None, span: first.to(self.lexer.last().span) })
    }

    fn host_spec(&mut self) -> Parsed<HostSpec> {
        match self.lexer.peek().kind {
            Kind::Keyword("no-route") => {
                self.take();
                Ok(HostSpec::NoRoute)
            }
            Kind::Keyword("urpf-failed") => {
                self.take();
                Ok(HostSpec::UrpfFailed)
            }
            Kind::Keyword("route") => {
                self.mark("route");
                self.take();
                let label = self.text("the label of a route")?;
                if label.value.len() > 31 {
                    return Err(self.fail(label.span, "route label too long, max 31 chars", None));
                }
                Ok(HostSpec::RouteLabel(label.value))
            }
            Kind::Symbol("<") => Ok(HostSpec::Table(self.table_name()?.value)),
            Kind::Symbol("(") => self.dynamic_host(),
            Kind::Number(number) => {
                // A short network, 10/8: the lexer reads its address as a number.
                self.take();
                self.symbol("/")?;
                let bits = self.number("a prefix length")?;
                Ok(HostSpec::Name(format!("{number}/{}", bits.value)))
            }
            _ => {
                let name = self.text(HOST)?.value;
                if let Some(interface) = name.strip_prefix('@').filter(|interface| !interface.is_empty()) {
                    return Ok(HostSpec::Via(interface.to_owned()));
                }
                if self.accept_symbol("-") {
                    return Ok(HostSpec::Range(name, self.text("the last address of the range")?.value));
                }
                if self.accept_symbol("/") {
                    let bits = self.number("a prefix length")?;
                    return Ok(HostSpec::Name(format!("{name}/{}", bits.value)));
                }
                Ok(HostSpec::Name(name))
            }
        }
    }

    /// Refuses what cannot be an interface whose addresses are looked up for each packet.
    pub(super) fn check_looked_up(&mut self, name: &str, span: Span) -> Parsed<()> {
        if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(());
        }
        let hint = "in parentheses stands an interface, whose addresses are looked up for each packet; an address stands without";
        Err(self.fail(span, format!("invalid interface name '{name}'"), Some(hint)))
    }

    /// `(interface[:modifier…])[/n]`.
    fn dynamic_host(&mut self) -> Parsed<HostSpec> {
        self.take();
        let word = self.text("an interface")?;
        self.check_looked_up(&word.value, word.span)?;
        let Some((name, part, no_alias)) = self.modifiers(&word.value, word.span)? else {
            let text = format!("interface {} has bad modifier", word.value);
            return Err(self.fail(word.span, text, Some(":network, :broadcast, :peer and :0 are known")));
        };
        self.check_interface_name(&name, word.span)?;
        self.symbol(")")?;
        let prefix = match self.accept_symbol("/") {
            true => {
                let bits = self.number("a prefix length")?;
                match u8::try_from(bits.value).ok().filter(|bits| *bits <= 128) {
                    Some(bits) => Some(bits),
                    None => {
                        return Err(self.fail(bits.span, "bit number too big", Some("0 to 128")));
                    }
                }
            }
            false => None,
        };
        Ok(HostSpec::Dynamic { name, part, no_alias, prefix })
    }

    fn modifiers(&mut self, word: &str, span: Span) -> Parsed<Option<(String, InterfacePart, bool)>> {
        match split_modifiers(word) {
            Modifiers::Good(name, part, no_alias) => Ok(Some((name.to_owned(), part, no_alias))),
            Modifiers::Unknown => Ok(None),
            Modifiers::Clash => Err(self.fail(span, "illegal combination of interface modifiers", None)),
        }
    }

    /// `<name>`.
    pub(super) fn table_name(&mut self) -> Parsed<crate::ast::Spanned<String>> {
        self.symbol("<")?;
        let name = self.text("the name of a table")?;
        if name.value.len() > 31 {
            let text = format!("table name '{}' too long", name.value);
            return Err(self.fail(name.span, text, Some("at most 31 characters")));
        }
        self.symbol(">")?;
        Ok(name)
    }

    /// A range in which something is; one port is a port.
    fn within_range(&mut self, ports: PortMatch) -> Parsed<PortMatch> {
        let wrong = match ports {
            PortMatch::Range(first, last) if first == last => return Ok(PortMatch::Equal(first)),
            PortMatch::Range(first, last) | PortMatch::Outside(first, last) => first > last,
            PortMatch::Inside(first, last) => first >= last,
            _ => false,
        };
        if wrong {
            let span = self.lexer.last().span;
            return Err(self.fail(span, "invalid port range", Some("the lower port comes first")));
        }
        Ok(ports)
    }

    fn port_match(&mut self) -> Parsed<PortMatch> {
        const OPERATORS: &[&str] = &["=", "!=", "<", "<=", ">", ">="];
        if let Kind::Symbol(operator) = self.lexer.peek().kind
            && OPERATORS.contains(&operator)
        {
            self.take();
            let (port, end) = self.port_range()?;
            self.no_range(end)?;
            return Ok(match operator {
                "=" => PortMatch::Equal(port),
                "!=" => PortMatch::NotEqual(port),
                "<" => PortMatch::Less(port),
                "<=" => PortMatch::LessOrEqual(port),
                ">" => PortMatch::Greater(port),
                _ => PortMatch::GreaterOrEqual(port),
            });
        }
        let (first, end) = self.port_range()?;
        if let Some(end) = end {
            if matches!(self.lexer.peek().kind, Kind::Symbol("><" | "<>")) {
                self.no_range(Some(end))?;
            }
            return self.within_range(PortMatch::Range(first, end));
        }
        let inside = self.at_symbol("><");
        if !inside && !self.at_symbol("<>") {
            return Ok(PortMatch::Equal(first));
        }
        self.take();
        let (last, end) = self.port_range()?;
        self.no_range(end)?;
        let ports = if inside { PortMatch::Inside(first, last) } else { PortMatch::Outside(first, last) };
        self.within_range(ports)
    }

    fn no_range(&mut self, end: Option<Port>) -> Parsed<()> {
        match end {
            None => Ok(()),
            Some(_) => {
                let span = self.lexer.last().span;
                Err(self.fail(span, "':' cannot be used with an other port operator", None))
            }
        }
    }

    /// `a` or `a:b`.
    fn port_range(&mut self) -> Parsed<(Port, Option<Port>)> {
        let word = self.number_or_text(PORT)?;
        match word.value.split_once(':') {
            Some((first, last)) => {
                Ok((self.service(first, word.span)?, Some(self.service(last, word.span)?)))
            }
            None => Ok((self.service(&word.value, word.span)?, None)),
        }
    }

    pub(super) fn service(&mut self, word: &str, span: Span) -> Parsed<Port> {
        names::service_port(word, self.lexer.dialect).map(Port).map_err(|text| {
            let otherwise = Some("a number from 0 to 65535, or a name such as https");
            let hint = nearest::hint(word, names::service_names(), otherwise);
            self.fail(span, text, hint.as_deref())
        })
    }
}

pub(crate) enum Modifiers<'a> {
    Good(&'a str, InterfacePart, bool),
    /// A word behind a colon is no modifier.
    Unknown,
    /// Two that exclude each other.
    Clash,
}

/// Splits `name:network:0` into the interface and what is meant of it.
pub(crate) fn split_modifiers(word: &str) -> Modifiers<'_> {
    let mut name = word;
    let mut part = InterfacePart::Own;
    let mut no_alias = false;
    while let Some((head, modifier)) = name.rsplit_once(':') {
        let given = match modifier {
            "network" => InterfacePart::Network,
            "broadcast" => InterfacePart::Broadcast,
            "peer" => InterfacePart::Peer,
            "0" => {
                no_alias = true;
                name = head;
                continue;
            }
            _ => return Modifiers::Unknown,
        };
        if part != InterfacePart::Own && part != given {
            return Modifiers::Clash;
        }
        part = given;
        name = head;
    }
    Modifiers::Good(name, part, no_alias)
}
