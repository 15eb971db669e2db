//! `queue …` (pf.conf(5) QUEUEING).

use super::{Parsed, Parser};
use crate::ast::{Bandwidth, QueueStatement, StatementKind};
use crate::lex::Kind;

impl Parser<'_> {
    pub(super) fn queue(&mut self) -> Parsed<StatementKind> {
        self.take();
        let name = self.text("the name of a queue")?;
        if name.value.len() > 15 {
            return Err(self.fail(name.span, "queue name too long (max 15 chars)", None));
        }
        let mut queue = QueueStatement { name: name.value, ..QueueStatement::default() };
        if self.accept_keyword("on") {
            queue.interfaces = self.interface_list()?;
        }
        while let Kind::Keyword(word) = self.lexer.peek().kind {
            if !self.queue_option(word, &mut queue)? {
                break;
            }
        }
        Ok(StatementKind::Queue(Box::new(queue)))
    }

    fn queue_option(&mut self, word: &str, queue: &mut QueueStatement) -> Parsed<bool> {
        let span = self.lexer.peek().span;
        let again = match word {
            "parent" => queue.parent.is_some(),
            "bandwidth" => queue.bandwidth.is_some(),
            "min" => queue.min.is_some(),
            "max" => queue.max.is_some(),
            "flows" => queue.flows.is_some(),
            "quantum" => queue.quantum.is_some(),
            "qlimit" => queue.qlimit.is_some(),
            "default" => queue.default,
            _ => return Ok(false),
        };
        self.take();
        if again {
            return Err(self.fail(span, format!("{word} cannot be respecified"), None));
        }
        match word {
            "parent" => queue.parent = Some(self.text("the name of the parent queue")?.value),
            "bandwidth" => queue.bandwidth = Some(self.bandwidth()?),
            "min" => queue.min = Some(self.bandwidth()?),
            "max" => queue.max = Some(self.bandwidth()?),
            "flows" => {
                queue.flows =
                    Some(self.number_in("a number of flows", "number of flows out of range: max 32767")?)
            }
            "quantum" => {
                queue.quantum = Some(self.number_in("a number of bytes", "quantum out of range: max 65535")?)
            }
            "qlimit" => {
                queue.qlimit = Some(self.number_in("a number of packets", "qlimit out of range: max 65535")?)
            }
            _ => queue.default = true,
        }
        Ok(true)
    }

    fn bandwidth(&mut self) -> Parsed<Bandwidth> {
        let rate = self.rate()?;
        let burst = match self.accept_keyword("burst") {
            true => {
                let rate = self.rate()?;
                self.keyword("for")?;
                let word = self.number_or_text("a time, such as 100ms")?;
                let digits = word.value.strip_suffix("ms").unwrap_or(&word.value);
                match digits.parse() {
                    Ok(milliseconds) => Some((rate, milliseconds)),
                    Err(_) => return Err(self.fail(word.span, format!("invalid time {}", word.value), None)),
                }
            }
            false => None,
        };
        Ok(Bandwidth { rate, burst })
    }

    /// Bits per second, with K, M or G and an optional `b`.
    fn rate(&mut self) -> Parsed<u64> {
        let word = self.number_or_text("a bandwidth, such as 100M")?;
        let digits = word.value.trim_end_matches('b');
        let (digits, factor) = match digits.as_bytes().last() {
            Some(b'K') => (&digits[..digits.len() - 1], 1_000.0),
            Some(b'M') => (&digits[..digits.len() - 1], 1_000_000.0),
            Some(b'G') => (&digits[..digits.len() - 1], 1_000_000_000.0),
            _ => (digits, 1.0),
        };
        match digits.parse::<f64>().ok().map(|number| number * factor) {
            Some(rate) if (0.0..1e18).contains(&rate) => Ok(rate as u64),
            _ => Err(self.fail(word.span, format!("unknown unit {}", word.value), Some("K, M or G"))),
        }
    }
}
