//! Filter options: what may stand behind `from … to …`, in any order.

use ruleset::{FlagsMatch, InterfaceMatch, InterfacePattern, PRIO_MAX, PacketRate, RoutingTable, SetPrio};
use wire::{Af, TcpFlags};

use super::{Parsed, Parser};
use crate::ast::{
    Comparison, Divert, FilterOptions, FlagsSpec, IcmpItem, Id, IdMatch, InterfaceName, Spanned,
};
use crate::dialect::Dialect;
use crate::lex::Kind;
use crate::names;
use crate::nearest;
use crate::source::Span;

/// The number of an account by its name.
type Lookup = fn(&str, Dialect) -> Option<u32>;

/// Names of labels and tags hold this many bytes.
const NAME_BYTES: usize = ruleset::bounds::NAME_BYTES;

impl Parser<'_> {
    pub(super) fn filter_options(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        loop {
            if self.accept_symbol("!") {
                self.negatable(options, true)?;
                continue;
            }
            let Kind::Keyword(word) = self.lexer.peek().kind else { return Ok(()) };
            self.mark(match word {
                "divert-to" | "divert-reply" | "divert-packet" => "divert",
                "binat-to" => "nat-to",
                "queue" => "set queue",
                "modulate" => "modulate state",
                "synproxy" => "synproxy state",
                _ => word,
            });
            match word {
                "tagged" | "received-on" => self.negatable(options, false)?,
                "keep" | "no" | "modulate" | "synproxy" => self.state(options)?,
                "nat-to" | "rdr-to" | "binat-to" | "af-to" => self.translation(word, options)?,
                "route-to" | "reply-to" | "dup-to" => self.late_route(word, options)?,
                "ridentifier" => self.ridentifier(options)?,
                "divert-to" | "divert-reply" | "divert-packet" => self.divert(word, options)?,
                "user" | "group" => self.account(word, options)?,
                "flags" => self.flags(options)?,
                "icmp-type" | "icmp6-type" => self.icmp(word, options)?,
                "label" | "tag" => self.name(word, options)?,
                "scrub" => self.scrub(options)?,
                "set" => self.set_actions(options)?,
                _ => {
                    if !self.simple(word, options)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Options of one word and at most one number; false if this is none.
    fn simple(&mut self, word: &'static str, options: &mut FilterOptions) -> Parsed<bool> {
        match word {
            "fragment" => {
                self.take();
                options.fragment = true;
            }
            "allow-opts" => {
                self.take();
                options.allow_opts = true;
            }
            "queue" => self.set_queue(options)?,
            "max-pkt-size" => {
                self.take();
                options.more.packet_size = Some(self.number_in("a number of bytes", "illegal packet size")?);
            }
            "once" => {
                self.take();
                options.once = true;
            }
            "tos" => {
                let span = self.take().span;
                if options.tos.is_some() {
                    return Err(self.fail(span, "tos cannot be redefined", None));
                }
                options.tos = Some(self.tos()?);
            }
            "prio" => {
                let span = self.take().span;
                let priority = self.priority()?;
                if options.prio.replace(priority).is_some() {
                    return Err(self.fail(span, "prio cannot be redefined", None));
                }
            }
            "rtable" => {
                self.take();
                options.rtable = Some(self.routing_table()?);
            }
            "probability" => {
                self.take();
                options.probability = Some(self.probability()?);
            }
            "max-pkt-rate" => {
                let span = self.take().span;
                let packets = self.number_in("a number of packets", "only positive values permitted")?;
                self.symbol("/")?;
                let seconds = self.number_in("a number of seconds", "only positive values permitted")?;
                if options.packet_rate.replace(PacketRate { packets, seconds }).is_some() {
                    return Err(self.fail(span, "cannot respecify max-pkt-rate", None));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `[!] tagged name`, `[!] received-on interface`.
    pub(super) fn negatable(&mut self, options: &mut FilterOptions, negated: bool) -> Parsed<()> {
        if self.accept_keyword("tagged") {
            let name = self.words("the name of a tag")?;
            self.check_name("tag", &name)?;
            options.tagged = Some((negated, name.value));
            return Ok(());
        }
        self.mark("received-on");
        self.keyword("received-on")?;
        let span = self.lexer.last().span;
        if self.at_symbol("!") {
            return Err(self.syntax("an interface; ! stands in front of received-on"));
        }
        let interface = self.interface()?;
        let pattern = match interface.name {
            InterfaceName::Any => InterfacePattern::Any,
            InterfaceName::Name(name) => InterfacePattern::Name(name),
            InterfaceName::Domain(_) => return Err(self.fail(interface.span, "invalid interface", None)),
        };
        let wanted = InterfaceMatch { negated, pattern };
        match options.received_on.replace(wanted) {
            None => Ok(()),
            Some(_) => Err(self.fail(span, "cannot respecify received-on", None)),
        }
    }

    fn check_name(&mut self, what: &str, name: &Spanned<String>) -> Parsed<()> {
        if name.value.len() <= NAME_BYTES {
            return Ok(());
        }
        Err(self.fail(name.span, format!("{what} too long, max {NAME_BYTES} chars"), None))
    }

    pub(super) fn name(&mut self, word: &str, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        if word == "label" {
            self.check_labels(span, &options.labels)?;
        }
        let name = match word {
            "label" => self.text("a label")?,
            _ => self.words("the name of a tag")?,
        };
        if word == "label" {
            if name.value.len() > NAME_BYTES {
                let text = format!("rule label too long (max {NAME_BYTES} chars)");
                return Err(self.fail(name.span, text, None));
            }
            options.labels.push(name.value);
            return Ok(());
        }
        self.check_name("tag", &name)?;
        options.tag = Some(name.value);
        Ok(())
    }

    /// A rule has one label, FreeBSD's up to five.
    pub(super) fn check_labels(&mut self, span: Span, known: &[String]) -> Parsed<()> {
        const MOST: usize = 5;
        match self.lexer.dialect {
            Dialect::OpenBsd if !known.is_empty() => Err(self.fail(span, "label cannot be redefined", None)),
            Dialect::FreeBsd if known.len() >= MOST => {
                Err(self.fail(span, format!("label can only be used {MOST} times"), None))
            }
            _ => Ok(()),
        }
    }

    fn ridentifier(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        if options.ridentifier.is_some() {
            return Err(self.fail(span, "ridentifier cannot be redefined", None));
        }
        options.ridentifier = Some(self.number_in("a number", "ridentifier out of range")?);
        Ok(())
    }

    fn flags(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        if options.flags.is_some() {
            return Err(self.fail(span, "flags cannot be redefined", None));
        }
        if self.accept_keyword("any") {
            options.flags = Some(FlagsSpec::Any);
            return Ok(());
        }
        let set = match self.at_symbol("/") {
            true => TcpFlags::default(),
            false => self.flag_letters("any, or flags that must be set / flags that are looked at")?,
        };
        self.symbol("/")?;
        let mask = self.flag_letters("the flags that are looked at, such as SA")?;
        if !mask.contains(set) {
            return Err(self.fail(
                span.to(self.lexer.last().span),
                "flags always false",
                Some("a flag that must be set must also be among those that are looked at"),
            ));
        }
        options.flags = Some(FlagsSpec::Match(FlagsMatch { set, mask }));
        Ok(())
    }

    fn flag_letters(&mut self, expected: &str) -> Parsed<TcpFlags> {
        let word = self.text(expected)?;
        let mut flags = TcpFlags::default();
        for letter in word.value.chars() {
            let Some(bit) = TcpFlags::LETTERS.iter().position(|known| *known == letter) else {
                let text = format!("bad flags {}", word.value);
                return Err(self.fail(word.span, text, Some("the letters are F S R P A U E W")));
            };
            flags = flags.union(TcpFlags(1 << bit));
        }
        Ok(flags)
    }

    fn icmp(&mut self, word: &str, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        if !options.icmp.is_empty() {
            return Err(self.fail(span, "icmp-type cannot be redefined", None));
        }
        let af = if word == "icmp-type" { Af::Inet } else { Af::Inet6 };
        self.items(&mut |parser| {
            options.icmp.push(parser.icmp_item(af)?);
            Ok(())
        })
    }

    fn icmp_item(&mut self, af: Af) -> Parsed<IcmpItem> {
        let suffix = if af == Af::Inet6 { "6" } else { "" };
        let word = self.number_or_text("an ICMP type, such as echoreq")?;
        let kind = match names::type_number(&word.value, af) {
            Some(kind) => kind,
            None => {
                let hint = nearest::hint(&word.value, names::type_names(af), None);
                let type_word = format!("icmp{suffix}-type");
                self.icmp_number(&word, &type_word, &type_word, hint.as_deref())?
            }
        };
        if !self.accept_keyword("code") {
            return Ok(IcmpItem { af, kind, code: None });
        }
        let word = self.number_or_text("a code of that type")?;
        let code = match names::code_number(kind, &word.value, af) {
            Some(code) => code,
            None => self.icmp_number(&word, &format!("icmp{suffix}-code"), "icmp-code", None)?,
        };
        Ok(IcmpItem { af, kind, code: Some(code) })
    }

    /// A number that stands for itself; `name` and `number` are what pfctl calls a wrong one.
    fn icmp_number(
        &mut self,
        word: &Spanned<String>,
        name: &str,
        number: &str,
        hint: Option<&str>,
    ) -> Parsed<u8> {
        match word.value.parse::<i64>() {
            Ok(value) => u8::try_from(value)
                .map_err(|_| self.fail(word.span, format!("illegal {number} {value}"), Some("0 to 255"))),
            Err(_) => Err(self.fail(word.span, format!("unknown {name} {}", word.value), hint)),
        }
    }

    pub(super) fn tos(&mut self) -> Parsed<u8> {
        let word = self.number_or_text("a type of service, such as lowdelay, ef or 0x10")?;
        match names::tos_value(&word.value) {
            Some(tos) => Ok(tos),
            None => Err(self.fail(word.span, format!("illegal tos value {}", word.value), None)),
        }
    }

    pub(super) fn priority(&mut self) -> Parsed<u8> {
        let number = self.number("a priority")?;
        match u8::try_from(number.value).ok().filter(|priority| *priority <= PRIO_MAX) {
            Some(priority) => Ok(priority),
            None => Err(self.fail(number.span, "prio must be 0 - 7", None)),
        }
    }

    pub(super) fn routing_table(&mut self) -> Parsed<RoutingTable> {
        let number = self.number("a routing table")?;
        match u8::try_from(number.value) {
            Ok(table) => Ok(RoutingTable(table)),
            Err(_) => Err(self.fail(number.span, "invalid rtable id", Some("0 to 255"))),
        }
    }

    /// `n%` or a fraction; a probability of 1 is none.
    fn probability(&mut self) -> Parsed<u32> {
        let hint = Some("a percentage, 20%, or a fraction, 0.2");
        let word = self.number_or_text("a percentage")?;
        let (digits, unit) = match word.value.strip_suffix('%') {
            Some(digits) => (digits, 0.01),
            None => (word.value.as_str(), 1.0),
        };
        let Ok(value) = digits.parse::<f64>().map(|value| value * unit) else {
            return Err(self.fail(word.span, format!("invalid probability: {}", word.value), hint));
        };
        let scaled = (value * f64::from(u32::MAX) + 0.5).floor();
        if !(0.0..=f64::from(u32::MAX)).contains(&scaled) {
            let percent = value * 100.0;
            return Err(self.fail(word.span, format!("invalid probability: {percent}%"), hint));
        }
        // As in pf, nothing is as improbable as never.
        Ok((scaled as u32).max(1))
    }

    fn account(&mut self, word: &'static str, options: &mut FilterOptions) -> Parsed<()> {
        self.take();
        let lookup: Lookup = if word == "user" { names::user_number } else { names::group_number };
        let mut list = Vec::new();
        self.items(&mut |parser| {
            list.push(parser.account_match(word, lookup)?);
            Ok(())
        })?;
        let known = if word == "user" { &mut options.users } else { &mut options.groups };
        // pfctl puts what is written later in front.
        list.append(known);
        *known = list;
        Ok(())
    }

    fn account_match(&mut self, word: &str, lookup: Lookup) -> Parsed<IdMatch> {
        if let Kind::Symbol(symbol) = self.lexer.peek().kind
            && let Some(comparison) = Comparison::of(symbol)
        {
            self.take();
            let id = self.account_id(word, lookup)?;
            if id == Id::Unknown && !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
                let text = format!("{word} unknown requires operator = or !=");
                return Err(self.fail(self.lexer.last().span, text, None));
            }
            return Ok(IdMatch::Compare(comparison, id));
        }
        let first = self.account_id(word, lookup)?;
        let Kind::Symbol(operator @ ("><" | "<>")) = self.lexer.peek().kind else {
            return Ok(IdMatch::Compare(Comparison::Equal, first));
        };
        self.take();
        let last = self.account_id(word, lookup)?;
        if first == Id::Unknown || last == Id::Unknown {
            let text = format!("{word} unknown requires operator = or !=");
            return Err(self.fail(self.lexer.last().span, text, None));
        }
        Ok(match operator {
            "><" => IdMatch::Inside(first, last),
            _ => IdMatch::Outside(first, last),
        })
    }

    fn account_id(&mut self, word: &str, lookup: Lookup) -> Parsed<Id> {
        if let Kind::Number(number) = self.lexer.peek().kind {
            let span = self.take().span;
            return u32::try_from(number).map(Id::Number).map_err(|_| {
                let what = if word == "user" { "uid" } else { "gid" };
                self.fail(span, format!("illegal {what} value {number}"), None)
            });
        }
        let name = self.text("the name or number of an account")?;
        if name.value == "unknown" {
            return Ok(Id::Unknown);
        }
        match lookup(&name.value, self.lexer.dialect) {
            Some(number) => Ok(Id::Number(number)),
            None => Err(self.fail(name.span, format!("unknown {word} {}", name.value), None)),
        }
    }

    fn divert(&mut self, word: &str, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        let divert = match word {
            "divert-to" if matches!(self.lexer.peek().kind, Kind::Number(_)) && self.is_freebsd() => {
                Divert::To(None, self.divert_port()?)
            }
            "divert-reply" if self.is_freebsd() => {
                return Err(self.fail(span, "divert-reply has no meaning in FreeBSD pf(4)", None));
            }
            "divert-to" => {
                let host = self.text("an address")?;
                self.keyword("port")?;
                let port = self.divert_port()?;
                match host.value.parse() {
                    Ok(address) => Divert::To(Some(address), port),
                    Err(_) => {
                        let text = format!("could not parse divert address: {}", host.value);
                        return Err(self.fail(host.span, text, None));
                    }
                }
            }
            "divert-packet" => {
                self.keyword("port")?;
                Divert::Packet(self.divert_port()?)
            }
            _ => Divert::Reply,
        };
        if options.more.divert.is_some() {
            return Err(self.fail(span, "more than one divert option", None));
        }
        options.more.divert = Some(divert);
        Ok(())
    }

    fn divert_port(&mut self) -> Parsed<wire::Port> {
        let word = self.number_or_text("a port")?;
        let port = self.service(&word.value, word.span)?;
        match port.0 {
            0 => Err(self.fail(word.span, "invalid divert port: 0", None)),
            _ => Ok(port),
        }
    }

    fn scrub(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        self.take();
        self.symbol("(")?;
        loop {
            self.scrub_option(options)?;
            self.accept_symbol(",");
            if self.accept_symbol(")") {
                return Ok(());
            }
        }
    }

    pub(super) fn scrub_option(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let FilterOptions { scrub, .. } = options;
        let Kind::Keyword(word) = self.lexer.peek().kind else {
            return Err(self.syntax("no-df, random-id, min-ttl, max-mss or reassemble tcp"));
        };
        let again = match word {
            "no-df" => scrub.no_df,
            "random-id" => scrub.random_id,
            "min-ttl" => scrub.min_ttl != 0,
            "max-mss" => scrub.max_mss != 0,
            "reassemble" => scrub.reassemble_tcp,
            _ => return Err(self.syntax("no-df, random-id, min-ttl, max-mss or reassemble tcp")),
        };
        let what = if word == "reassemble" { "reassemble tcp" } else { word };
        let span = self.take().span;
        let number = match word {
            "min-ttl" | "max-mss" => Some(self.number("a number")?),
            _ => None,
        };
        if again {
            return Err(self.fail(span, format!("{what} cannot be respecified"), None));
        }
        match (word, number) {
            ("min-ttl", Some(number)) => match u8::try_from(number.value) {
                Ok(ttl) => scrub.min_ttl = ttl,
                Err(_) => {
                    let text = format!("illegal min-ttl value {}", number.value);
                    return Err(self.fail(number.span, text, Some("0 to 255")));
                }
            },
            ("max-mss", Some(number)) => match u16::try_from(number.value) {
                Ok(size) => scrub.max_mss = size,
                Err(_) => {
                    let text = format!("illegal max-mss value {}", number.value);
                    return Err(self.fail(number.span, text, Some("0 to 65535")));
                }
            },
            ("no-df", _) => scrub.no_df = true,
            ("random-id", _) => scrub.random_id = true,
            _ => {
                let what = self.text("tcp")?;
                if !what.value.eq_ignore_ascii_case("tcp") {
                    let text = format!("scrub reassemble supports only tcp, not '{}'", what.value);
                    return Err(self.fail(what.span, text, None));
                }
                scrub.reassemble_tcp = true;
            }
        }
        Ok(())
    }

    /// `set (…)`, or `set` with one action.
    fn set_actions(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        self.take();
        if !self.accept_symbol("(") {
            return self.set_action(options);
        }
        loop {
            self.set_action(options)?;
            self.accept_symbol(",");
            if self.accept_symbol(")") {
                return Ok(());
            }
        }
    }

    fn set_action(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let Kind::Keyword(word) = self.lexer.peek().kind else {
            return Err(self.syntax("prio, queue, tos or delay"));
        };
        self.mark(match word {
            "prio" => "set prio",
            "queue" => "set queue",
            "tos" => "set tos",
            _ => "set delay",
        });
        match word {
            "prio" => {
                let span = self.take().span;
                let priorities = self.priorities()?;
                if options.set_prio.replace(priorities).is_some() {
                    return Err(self.fail(span, "prio cannot be redefined", None));
                }
            }
            "queue" => self.set_queue(options)?,
            "tos" => {
                let span = self.take().span;
                let tos = self.tos()?;
                if options.set_tos.replace(tos).is_some() {
                    return Err(self.fail(span, "tos cannot be respecified", None));
                }
            }
            "delay" => self.set_delay(options)?,
            _ => return Err(self.syntax("prio, queue, tos or delay")),
        }
        Ok(())
    }

    fn set_delay(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        let delay = self.number("milliseconds")?;
        let Ok(milliseconds) = u16::try_from(delay.value) else {
            let text = format!("illegal delay value {} (0-65535)", delay.value);
            return Err(self.fail(delay.span, text, None));
        };
        match options.more.set.delay.replace(milliseconds) {
            None | Some(0) => Ok(()),
            Some(_) => Err(self.fail(span, "delay cannot be respecified", None)),
        }
    }

    fn set_queue(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let span = self.take().span;
        let names = self.queue_names()?;
        match options.more.set.queue.replace(names) {
            None => Ok(()),
            Some(_) => Err(self.fail(span, "queue cannot be redefined", None)),
        }
    }

    fn priorities(&mut self) -> Parsed<SetPrio> {
        if !self.accept_symbol("(") {
            let one = self.priority()?;
            return Ok(SetPrio { bulk: one, urgent: one });
        }
        let bulk = self.priority()?;
        self.accept_symbol(",");
        let urgent = self.priority()?;
        self.symbol(")")?;
        Ok(SetPrio { bulk, urgent })
    }

    fn queue_names(&mut self) -> Parsed<(String, Option<String>)> {
        if !self.accept_symbol("(") {
            return Ok((self.text("the name of a queue")?.value, None));
        }
        let first = self.text("the name of a queue")?.value;
        let comma = self.accept_symbol(",");
        if !comma && self.accept_symbol(")") {
            return Ok((first, None));
        }
        let second = self.text("the name of a queue")?.value;
        self.symbol(")")?;
        Ok((first, Some(second)))
    }
}
