//! `pass`, `block` and `match`, up to their filter options.

use ruleset::{BlockPolicy, BlockReply, Direction, IcmpReply, LogOptions};
use wire::{Af, Proto};

use super::{Parsed, Parser};
use crate::ast::{FilterOptions, InterfaceItem, InterfaceName, RuleAction, RuleStatement};
use crate::lex::Kind;
use crate::names;
use crate::nearest;

impl Parser<'_> {
    pub(super) fn rule(&mut self) -> Parsed<RuleStatement> {
        let first = self.lexer.peek().span;
        let action = self.action()?;
        let direction = self.direction();
        let (log, quick) = self.log_quick()?;
        let mut rule = self.match_part(action, direction, log, quick)?;
        rule.span = first.to(self.lexer.last().span);
        Ok(rule)
    }

    /// What follows the action, direction, log and quick, in rules and anchors alike.
    pub(super) fn match_part(
        &mut self,
        action: RuleAction,
        direction: Option<Direction>,
        log: LogOptions,
        quick: bool,
    ) -> Parsed<RuleStatement> {
        let mut rule = self.head(action, direction, log, quick)?;
        self.filter_options(&mut rule.options)?;
        Ok(rule)
    }

    /// The same without filter options.
    pub(super) fn head(
        &mut self,
        action: RuleAction,
        direction: Option<Direction>,
        log: LogOptions,
        quick: bool,
    ) -> Parsed<RuleStatement> {
        let mut options = FilterOptions::default();
        let interfaces = match self.accept_keyword("on") {
            true => self.interface_list()?,
            false => Vec::new(),
        };
        self.early_route(action, &mut options)?;
        let af = self.family();
        let protocols = self.protocols()?;
        let (from, os, to) = self.endpoints()?;
        let span = self.lexer.last().span;
        Ok(RuleStatement {
            action,
            direction,
            log,
            quick,
            interfaces,
            af,
            protocols,
            from,
            os,
            to,
            options,
            span,
        })
    }

    fn action(&mut self) -> Parsed<RuleAction> {
        if self.accept_keyword("pass") {
            return Ok(RuleAction::Pass);
        }
        if self.accept_keyword("match") {
            return Ok(RuleAction::Match);
        }
        self.keyword("block")?;
        Ok(RuleAction::Block(self.block_reply()?))
    }

    fn block_reply(&mut self) -> Parsed<Option<BlockReply>> {
        let Kind::Keyword(word) = self.lexer.peek().kind else { return Ok(None) };
        let icmp = IcmpReply::default();
        let reply = match word {
            "drop" => BlockReply::Drop,
            "return" => BlockReply::Return(icmp),
            "return-rst" => {
                self.mark("return-rst");
                self.take();
                return Ok(Some(BlockReply::Rst { ttl: self.reset_ttl()? }));
            }
            "return-icmp" => {
                self.take();
                return Ok(Some(self.return_icmp(icmp)?));
            }
            "return-icmp6" => {
                self.take();
                let code6 = match self.accept_symbol("(") {
                    true => {
                        let code = self.icmp_code(Af::Inet6, 1)?;
                        self.symbol(")")?;
                        code
                    }
                    false => icmp.code6,
                };
                return Ok(Some(BlockReply::Icmp { code: Some(icmp.code), code6: Some(code6) }));
            }
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(reply))
    }

    /// `(ttl n)`, or 0 for the default time to live.
    fn reset_ttl(&mut self) -> Parsed<u8> {
        if !self.accept_symbol("(") {
            return Ok(0);
        }
        self.keyword("ttl")?;
        let ttl = self.number("a time to live")?;
        let Ok(value) = u8::try_from(ttl.value) else {
            return Err(self.fail(ttl.span, format!("illegal ttl value {}", ttl.value), Some("0 to 255")));
        };
        self.symbol(")")?;
        Ok(value)
    }

    fn return_icmp(&mut self, default: IcmpReply) -> Parsed<BlockReply> {
        let mut reply = default;
        if self.accept_symbol("(") {
            reply.code = self.icmp_code(Af::Inet, 3)?;
            if !self.accept_symbol(")") {
                self.accept_symbol(",");
                reply.code6 = self.icmp_code(Af::Inet6, 1)?;
                self.symbol(")")?;
            }
        }
        Ok(BlockReply::Icmp { code: Some(reply.code), code6: Some(reply.code6) })
    }

    /// A code of destination unreachable, by name or number.
    fn icmp_code(&mut self, af: Af, kind: u8) -> Parsed<u8> {
        let word = self.number_or_text("an ICMP code, such as port-unr")?;
        if let Some(number) = names::c_number(&word.value) {
            return u8::try_from(number)
                .map_err(|_| self.fail(word.span, format!("invalid icmp code {number}"), Some("0 to 255")));
        }
        match names::code_number(kind, &word.value, af) {
            Some(code) => Ok(code),
            None => Err(self.fail(word.span, format!("unknown icmp code {}", word.value), None)),
        }
    }

    pub(super) fn direction(&mut self) -> Option<Direction> {
        if self.accept_keyword("in") {
            return Some(Direction::In);
        }
        self.accept_keyword("out").then_some(Direction::Out)
    }

    /// `log` and `quick`, in either order.
    pub(super) fn log_quick(&mut self) -> Parsed<(LogOptions, bool)> {
        let early = self.accept_keyword("quick");
        let log = self.log()?;
        let quick = early || self.accept_keyword("quick");
        Ok((log, quick))
    }

    pub(super) fn log(&mut self) -> Parsed<LogOptions> {
        let mut log = LogOptions { enabled: self.accept_keyword("log"), ..LogOptions::default() };
        if !log.enabled || !self.accept_symbol("(") {
            return Ok(log);
        }
        loop {
            let Kind::Keyword(word) = self.lexer.peek().kind else {
                return Err(self.syntax("all, matches, user or to pflogN"));
            };
            match word {
                "all" => log.all = true,
                "matches" => log.matches = true,
                "user" => {
                    self.mark("log (user)");
                    log.user = true;
                }
                "to" => {
                    self.take();
                    log.to = self.log_device()?;
                }
                _ => return Err(self.syntax("all, matches, user or to pflogN")),
            }
            if word != "to" {
                self.take();
            }
            self.accept_symbol(",");
            if self.accept_symbol(")") {
                return Ok(log);
            }
        }
    }

    fn log_device(&mut self) -> Parsed<u8> {
        let name = self.words("a pflog interface")?;
        match name.value.strip_prefix("pflog").map(str::parse::<u8>) {
            Some(Ok(number)) if number <= 15 => Ok(number),
            Some(_) => Err(self.fail(name.span, format!("{}: no such pflog interface", name.value), None)),
            None => {
                let text = format!("{}: should be a pflog interface", name.value);
                Err(self.fail(name.span, text, Some("pflog0 to pflog15")))
            }
        }
    }

    /// One `[!] interface`, or a list.
    pub(super) fn interface_list(&mut self) -> Parsed<Vec<InterfaceItem>> {
        let mut list = Vec::new();
        self.items(&mut |parser| {
            list.push(parser.interface()?);
            Ok(())
        })?;
        Ok(list)
    }

    pub(super) fn interface(&mut self) -> Parsed<InterfaceItem> {
        let negated = self.accept_symbol("!");
        let span = self.lexer.peek().span;
        if self.accept_keyword("any") {
            return Ok(InterfaceItem { negated, name: InterfaceName::Any, span });
        }
        if self.at_keyword("rdomain") {
            self.mark("on rdomain");
            self.take();
            let domain = self.number("a routing domain")?;
            return match u32::try_from(domain.value) {
                Ok(number) if number <= 255 => {
                    Ok(InterfaceItem { negated, name: InterfaceName::Domain(number), span })
                }
                _ => Err(self.fail(domain.span, format!("rdomain {} outside range", domain.value), None)),
            };
        }
        let name = self.text("an interface")?;
        self.check_interface_name(&name.value, name.span)?;
        Ok(InterfaceItem { negated, name: InterfaceName::Name(name.value), span })
    }

    pub(super) fn check_interface_name(&mut self, name: &str, span: crate::source::Span) -> Parsed<()> {
        match name.len() {
            1..=15 => Ok(()),
            0 => Err(self.fail(span, "interface name is empty", None)),
            _ => Err(self.fail(span, "interface name too long", Some("at most 15 characters"))),
        }
    }

    pub(super) fn family(&mut self) -> Option<Af> {
        if self.accept_keyword("inet") {
            return Some(Af::Inet);
        }
        self.accept_keyword("inet6").then_some(Af::Inet6)
    }

    fn protocols(&mut self) -> Parsed<Vec<Proto>> {
        let mut list = Vec::new();
        if self.at_keyword("proto") {
            self.mark("proto");
            self.take();
            self.items(&mut |parser| {
                list.push(parser.protocol()?);
                Ok(())
            })?;
        }
        Ok(list)
    }

    fn protocol(&mut self) -> Parsed<Proto> {
        if let Kind::Number(_) = self.lexer.peek().kind {
            let number = Proto(self.number_in("a protocol", "protocol outside range")?);
            return self.usable(number, self.lexer.last().span);
        }
        let name = self.text("a protocol, such as tcp, udp or icmp")?;
        match names::protocol_number(&name.value) {
            Some(proto) => self.usable(proto, name.span),
            None => {
                let otherwise = Some("a protocol without a name can be given by number");
                let hint = nearest::hint(&name.value, names::protocol_names(), otherwise);
                let text = format!("unknown protocol {}", name.value);
                Err(self.fail(name.span, text, hint.as_deref()))
            }
        }
    }
}

impl Parser<'_> {
    /// Refuses the number that means any protocol to pf.
    fn usable(&mut self, proto: Proto, span: crate::source::Span) -> Parsed<Proto> {
        match proto {
            Proto(0) => Err(self.fail(span, "proto 0 cannot be used", Some("leave proto out"))),
            proto => Ok(proto),
        }
    }
}

/// What `block` without a form does under a policy.
pub(crate) fn reply_by_policy(policy: BlockPolicy) -> BlockReply {
    match policy {
        BlockPolicy::Drop => BlockReply::Drop,
        BlockPolicy::Return => BlockReply::Return(IcmpReply::default()),
    }
}
