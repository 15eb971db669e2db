//! `queue …` (pf.conf(5) QUEUEING).

use super::{Parsed, Parser};
use crate::ast::{Bandwidth, QueueStatement, StatementKind};
use crate::lex::Kind;

impl Parser<'_> {
    pub(super) fn queue(&mut self) -> Parsed<StatementKind> {
        self.take();
        let name = self.text("the name of a queue")?;
        if name.value.len() > 15 {
            return Err(self.fail(name.span, "queuename too long", Some("at most 15 characters")));
        }
        let mut queue = QueueStatement { name: name.value, ..QueueStatement::default() };
        if self.accept_keyword("on") {
            queue.interfaces = self.interface_list()?;
        }
        let mut options = 0;
        while let Kind::Keyword(word) = self.lexer.peek().kind {
            if !self.queue_option(word, &mut queue)? {
                break;
            }
            options += 1;
        }
        if options == 0 {
            return Err(self.syntax("bandwidth, parent, flows, quantum, qlimit or default"));
        }
        Ok(StatementKind::Queue(Box::new(queue)))
    }

    fn queue_option(&mut self, word: &str, queue: &mut QueueStatement) -> Parsed<bool> {
        let span = self.lexer.peek().span;
        let again = match word {
            "parent" => queue.parent.is_some(),
            "bandwidth" => queue.bandwidth.is_some(),
            "flows" => queue.flows.is_some(),
            "quantum" => queue.quantum.is_some(),
            "qlimit" => queue.qlimit.is_some(),
            "default" => queue.default,
            _ => return Ok(false),
        };
        self.take();
        if again {
            let what = if word == "flows" { "number of flows" } else { word };
            return Err(self.fail(span, format!("{what} cannot be respecified"), None));
        }
        match word {
            "parent" => queue.parent = Some(self.text("the name of the parent queue")?.value),
            "bandwidth" => {
                queue.bandwidth = Some(self.bandwidth()?);
                self.bounds(queue)?;
            }
            "flows" => queue.flows = Some(self.bounded("number of flows", 1..=32767)?),
            "quantum" => queue.quantum = Some(self.bounded("quantum", 1..=65535)?),
            "qlimit" => queue.qlimit = Some(self.bounded("qlimit", 0..=65535)?),
            _ => queue.default = true,
        }
        Ok(true)
    }

    /// `min` and `max` behind a bandwidth, each once, in either order.
    fn bounds(&mut self, queue: &mut QueueStatement) -> Parsed<()> {
        loop {
            let comma = self.accept_symbol(",");
            let word = match self.lexer.peek().kind {
                Kind::Keyword(word @ "min") if queue.min.is_none() => word,
                Kind::Keyword(word @ "max") if queue.max.is_none() => word,
                _ if comma => return Err(self.syntax("min or max")),
                _ => return Ok(()),
            };
            self.take();
            let bandwidth = Some(self.bandwidth()?);
            if word == "min" { queue.min = bandwidth } else { queue.max = bandwidth }
        }
    }

    fn bounded(&mut self, what: &str, bounds: std::ops::RangeInclusive<i64>) -> Parsed<u32> {
        let number = self.number("a number")?;
        match bounds.contains(&number.value) {
            true => Ok(number.value as u32),
            false => {
                let text = format!("{what} out of range: max {}", bounds.end());
                let hint = format!("{} to {}", bounds.start(), bounds.end());
                Err(self.fail(number.span, text, Some(&hint)))
            }
        }
    }

    fn bandwidth(&mut self) -> Parsed<Bandwidth> {
        let rate = self.rate()?;
        let burst = match self.accept_keyword("burst") {
            true => {
                let rate = self.rate()?;
                self.keyword("for")?;
                let word = self.number_or_text("a time, such as 100ms")?;
                match word.value.strip_suffix("ms").map(str::parse) {
                    Some(Ok(milliseconds)) => Some((rate, milliseconds)),
                    _ => {
                        let text = "time in scspec must be in ms";
                        return Err(self.fail(word.span, text, Some("as in: for 100ms")));
                    }
                }
            }
            false => None,
        };
        Ok(Bandwidth { rate, burst })
    }

    /// Bits per second, with K, M or G, behind which `b`, `bit`, `B` or `Bit` may stand.
    fn rate(&mut self) -> Parsed<u64> {
        let word = self.number_or_text("a bandwidth, such as 100M")?;
        let number = word.value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.value.len());
        let (digits, unit) = word.value.split_at(number);
        let short = ["Bit", "B", "bit", "b"].iter().find_map(|bits| unit.strip_suffix(bits));
        let factor = match short.filter(|short| short.len() == 1).unwrap_or(unit) {
            "" | "b" => 1.0,
            "K" => 1_000.0,
            "M" => 1_000_000.0,
            "G" => 1_000_000_000.0,
            "%" => return Err(self.fail(word.span, "no bandwidth in % yet", None)),
            unit => {
                let text = format!("unknown unit \"{unit}\"");
                return Err(self.fail(word.span, text, Some("K, M or G")));
            }
        };
        match digits.parse::<f64>().ok().map(|number| number * factor) {
            Some(rate) if (0.0..1e18).contains(&rate) => Ok(rate as u64),
            _ => Err(self.fail(word.span, "bandwidth number too big", None)),
        }
    }
}
