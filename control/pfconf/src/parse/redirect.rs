//! Translation and routing: pools of addresses, their ports and options (pf.conf(5) TRANSLATION, ROUTING, POOL OPTIONS).

use std::num::NonZeroU16;

use ruleset::{PoolKind, PortSet, RoutingKind};

use super::{Parsed, Parser};
use crate::ast::{FilterOptions, HostItem, HostSpec, PoolOptions, Redirect, RedirectPort};
use crate::hash;
use crate::lex::Kind;
use crate::names;

impl Parser<'_> {
    pub(super) fn translation(&mut self, word: &str, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        if word == "af-to" {
            return self.family_translation(options);
        }
        let redirect = self.redirect(true, Self::weighted_host)?;
        let (slot, names) = match word {
            "rdr-to" => (&mut options.rdr, "rdr-to"),
            _ => (&mut options.nat, "nat-to/binat-to"),
        };
        if slot.is_some() {
            return Err(self.fail(span, format!("cannot respecify {names}"), None));
        }
        *slot = Some(redirect);
        options.binat |= word == "binat-to";
        Ok(())
    }

    /// `af-to inet6 from … [to …]`.
    fn family_translation(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.lexer.last().span;
        if options.nat.is_some() || options.rdr.is_some() {
            return Err(self.fail(span, "cannot respecify af-to", None));
        }
        let Some(af) = self.family() else { return Err(self.syntax("inet or inet6")) };
        self.keyword("from")?;
        options.af_to = Some(af);
        options.nat = Some(self.redirect(true, Self::weighted_host)?);
        if self.accept_keyword("to") {
            options.rdr = Some(self.redirect(false, Self::weighted_host)?);
        }
        Ok(())
    }

    pub(super) fn routing(&mut self, word: &str, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        if options.route.is_some() {
            return Err(self.fail(span, "cannot respecify route-to/reply-to/dup-to", None));
        }
        let kind = match word {
            "route-to" => RoutingKind::To,
            "reply-to" => RoutingKind::Reply,
            _ => RoutingKind::Dup,
        };
        let host = if self.is_freebsd() { Self::routed_host } else { Self::weighted_host };
        options.route = Some((kind, self.redirect(false, host)?));
        Ok(())
    }

    /// A pool, with `port` where it may stand.
    pub(super) fn redirect(
        &mut self,
        ports: bool,
        host: fn(&mut Self) -> Parsed<HostItem>,
    ) -> Parsed<Redirect> {
        let first = self.lexer.peek().span;
        let listed = self.at_symbol("{");
        let mut hosts: Vec<HostItem> = Vec::new();
        self.items(&mut |parser| {
            if parser.at_symbol("!") {
                return Err(parser.syntax("an address, a network, an interface or a <table>"));
            }
            let item = host(parser)?;
            if matches!(item.host, HostSpec::RouteLabel(_)) {
                let text = "routes with a label are no address of a pool";
                return Err(parser.fail(
                    item.span,
                    text,
                    Some("name the address, the interface or the table"),
                ));
            }
            hosts.push(item);
            Ok(())
        })?;
        let named = matches!(hosts[0].host, HostSpec::Table(_) | HostSpec::Dynamic { .. });
        if listed && ports && named && !self.is_freebsd() {
            let text = "only addresses can be listed for redirection pools ";
            return Err(self.fail(hosts[0].span, text, Some("name the table, or the interface, alone")));
        }
        let port = match ports && self.accept_keyword("port") {
            true => self.redirect_port()?,
            false => RedirectPort::Default,
        };
        let pool = self.pool_options()?;
        Ok(Redirect { hosts, port, pool, span: first.to(self.lexer.last().span) })
    }

    /// A host of a pool or a table, with its weight.
    pub(super) fn weighted_host(&mut self) -> Parsed<HostItem> {
        let mut host = self.host()?;
        if self.accept_keyword("weight") {
            let weight = self.number("a weight")?;
            match u16::try_from(weight.value).ok().and_then(NonZeroU16::new) {
                Some(value) => host.weight = Some(value),
                None => return Err(self.fail(weight.span, "weight out of range", Some("1 to 65535"))),
            }
        }
        Ok(host)
    }

    /// `a`, `a:b` or `a:*`.
    fn redirect_port(&mut self) -> Parsed<RedirectPort> {
        let word = self.number_or_text("a port, a range of ports or a:*")?;
        let Some((first, last)) = word.value.split_once(':') else {
            return Ok(RedirectPort::One(self.service(&word.value, word.span)?));
        };
        let first = self.service(first, word.span)?;
        if last == "*" {
            return Ok(RedirectPort::Offset(first));
        }
        Ok(RedirectPort::Range(first, self.service(last, word.span)?))
    }

    fn pool_options(&mut self) -> Parsed<PoolOptions> {
        let mut pool = PoolOptions::default();
        loop {
            let Kind::Keyword(word) = self.lexer.peek().kind else { return Ok(pool) };
            let kind = match word {
                "bitmask" => PoolKind::Bitmask,
                "random" => PoolKind::Random,
                "round-robin" => PoolKind::RoundRobin,
                "least-states" => PoolKind::LeastStates,
                "source-hash" => PoolKind::SourceHash([0; 4]),
                "map-e-portset" => {
                    self.mark(word);
                    self.take();
                    pool.map_e = Some(self.port_set()?);
                    continue;
                }
                "port-block" => {
                    self.mark(word);
                    let span = self.take().span;
                    if pool.port_block.is_some() {
                        return Err(self.fail(span, "port-block cannot be redefined", None));
                    }
                    pool.port_block = Some(self.port_block()?);
                    continue;
                }
                "static-port" | "sticky-address" | "endpoint-independent" => {
                    self.mark(word);
                    let span = self.take().span;
                    let given = match word {
                        "static-port" => &mut pool.static_port,
                        "sticky-address" => &mut pool.sticky,
                        _ => &mut pool.endpoint_independent,
                    };
                    if *given {
                        return Err(self.fail(span, format!("{word} cannot be redefined"), None));
                    }
                    *given = true;
                    continue;
                }
                _ => return Ok(pool),
            };
            let span = self.take().span;
            if pool.kind.is_some() {
                return Err(self.fail(span, "pool type cannot be redefined", None));
            }
            pool.kind = Some(match kind {
                PoolKind::SourceHash(_) => PoolKind::SourceHash(self.hash_key()?),
                kind => kind,
            });
        }
    }

    /// How many ports each source has.
    fn port_block(&mut self) -> Parsed<u16> {
        let size = self.number("the ports of a block")?;
        match u16::try_from(size.value).ok().filter(|size| *size > 0) {
            Some(ports) => Ok(ports),
            None => Err(self.fail(size.span, "port-block out of range", Some("1 to 65535"))),
        }
    }

    /// `offset/length/id`: bits, bits and a number.
    fn port_set(&mut self) -> Parsed<PortSet> {
        let first = self.lexer.peek().span;
        let mut parts = [0u16; 3];
        for (at, part) in parts.iter_mut().enumerate() {
            if at > 0 {
                self.symbol("/")?;
            }
            let word = self.number_or_text("a number")?;
            *part = match names::c_number(&word.value).and_then(|number| u16::try_from(number).ok()) {
                Some(number) => number,
                None => return Err(self.fail(word.span, "MAP-E PSID out of range", Some("0 to 65535"))),
            };
        }
        let [offset, length, id] = parts;
        let bits = |bits: u16| bits.min(u8::MAX.into()) as u8;
        let set = PortSet { offset_bits: bits(offset), id_bits: bits(length), id };
        let span = first.to(self.lexer.last().span);
        match set.check() {
            Ok(()) => Ok(set),
            Err(text) => Err(self.fail(span, text, Some("offset/length/id, as in 6/8/0x34"))),
        }
    }

    /// 32 hexadecimal digits behind `0x`, or any text, which is hashed; without either, a key of our own.
    fn hash_key(&mut self) -> Parsed<[u32; 4]> {
        let Kind::Text(_) = self.lexer.peek().kind else {
            return Ok(hash::key_of_text("source-hash"));
        };
        let word = self.words("a key")?;
        let Some(digits) = word.value.strip_prefix("0x") else {
            return Ok(hash::key_of_text(&word.value));
        };
        let key = (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok()).flatten();
        match key {
            Some(key) => Ok([96, 64, 32, 0].map(|shift| (key >> shift) as u32)),
            None => Err(self.fail(word.span, "hex key must be 128 bits (32 hex digits) long", None)),
        }
    }
}
