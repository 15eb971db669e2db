//! What is measured, in which order.

use anyhow::Context;

use crate::adversary::{Chosen, Forwarding, Weak};
use crate::bed::Bed;
use crate::classbench::{self, Style};
use crate::firewall::{Established, Untouched};
use crate::floor::{OwnBucket, Parse, RteHash, RxTx};
use crate::flows::Choice;
use crate::measure::{self, Effort, SLICE_PACKETS, Work};
use crate::memory;
use crate::report::{Report, Row, rounded};
use crate::rules::{rules, translating};
use crate::setup;
use crate::stages;
use crate::traffic::{Sizes, Source, Traffic};

/// Rules beside which one translates.
const NAT_RULES: usize = 10;
/// Translated connections, all to one port of one server: in the end half of the ports of a public address are in use.
const NAT_CONNECTIONS: u64 = 8_192;

/// How much time there is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of connections, smallest first.
    pub connections: Vec<u64>,
    /// Kinds of traffic.
    pub traffic: Vec<Traffic>,
    /// Sizes of rulesets for set-up.
    pub rules: Vec<usize>,
    /// Sizes of rulesets in the manner of ClassBench.
    pub classbench: Vec<usize>,
    /// Rounds to keep of each comparison.
    pub rounds: usize,
    /// Slices of each sample.
    pub slices: usize,
    /// Whole workers are measured too.
    pub whole: bool,
    /// Variants are measured once, not with every kind of traffic and every number of connections.
    pub quick: bool,
}

impl Plan {
    fn effort(&self, connections: u64) -> Effort {
        // Twice round all connections, as far as caches could remember them.
        let warm_up = (2 * connections as usize / SLICE_PACKETS).clamp(self.slices / 2, 8 * self.slices);
        Effort { rounds: self.rounds, slices: self.slices, warm_up }
    }

    /// The most connections that are measured.
    fn most(&self) -> u64 {
        self.connections.last().copied().unwrap_or(0)
    }

    /// Hugepages that DPDK's tables need beside packets, in MiB.
    pub fn hugepages_mib(&self) -> u32 {
        // rte_hash: a bucket entry, a key store entry and a free-slot entry for each, with room to spare.
        let table = self.most() * 72 / (1 << 20);
        96 + table as u32
    }

    /// Measures everything, saying what is under way with `progress`.
    ///
    /// # Errors
    /// What could not be measured, and why.
    pub fn run(
        &self,
        bed: &mut Bed,
        testpmd_macswap: Option<f64>,
        mut progress: impl FnMut(&str),
    ) -> anyhow::Result<Report> {
        let mut report = Report::default();
        for &connections in &self.connections {
            self.run_established(bed, connections, &mut report, &mut progress)
                .with_context(|| format!("{connections} established connections"))?;
        }
        self.run_chosen(bed, &mut report, &mut progress)
            .context("connections that an attacker has chosen")?;
        for &count in &self.rules {
            progress(&format!("set-up and removal, {count} rules"));
            let connections = if count > 100 { 8_192 } else { 65_536 };
            let found = setup::measure(bed, &rules(count), connections, self.rounds.clamp(3, 7))?;
            report.rows.push(setup_row("setup", Traffic::Tcp4.name(), connections, &found));
        }
        progress("set-up and removal, with nat-to beside without");
        let rounds = self.rounds.max(7);
        let with_nat = translating("nat", NAT_RULES).context("rules with nat-to")?;
        let found = setup::compare(bed, [&rules(NAT_RULES), &with_nat], NAT_CONNECTIONS, rounds)?;
        report.rows.push(nat_row(&found));
        for &count in &self.classbench {
            for style in Style::ALL {
                progress(&format!("set-up, {count} rules of style {}", style.name()));
                let text = classbench::rules(style, count, 1);
                let found = setup::measure(bed, &text, 8_192, 3)?;
                report.rows.push(setup_row("classbench", style.name(), 8_192, &found));
            }
        }
        if self.whole {
            self.run_whole(bed, &mut report, &mut progress)?;
        }
        for row in &mut report.rows {
            row.reference.testpmd_macswap = testpmd_macswap;
        }
        Ok(report)
    }

    /// Whole workers, with at most a million connections: as many as there are ways to lose the caches.
    fn run_whole(
        &self,
        bed: &mut Bed,
        report: &mut Report,
        progress: &mut impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let connections = self.most().clamp(64, 1_000_000);
        let effort = self.effort(connections);
        progress(&format!("{connections} connections: a whole worker, copies for a span port, latency"));
        let bursts = if self.quick { 100_000 } else { 1_000_000 };
        stages::workers(bed, connections, effort, bursts, report).context("a whole worker")?;
        progress(&format!("{connections} connections: two workers"));
        stages::pair(bed, connections, effort, report).context("two workers")?;
        progress("reloads under traffic");
        stages::reload(bed, 2 * self.rounds, report).context("reloads")
    }

    /// Connections that collide under hashes which are known, beside as many at random.
    fn run_chosen(
        &self,
        bed: &mut Bed,
        report: &mut Report,
        progress: &mut impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let connections = self.most().clamp(64, 1_000_000);
        let mut untouched = Forwarding::untouched(Chosen::new(None, connections));
        let mut uniform = Forwarding::new(bed, None, connections)?;
        for weak in Weak::ALL {
            progress(&format!("{connections} connections: {}", weak.row()));
            let mut chosen = Forwarding::new(bed, Some(weak), connections)?;
            let works: &mut [&mut dyn Work] = &mut [&mut untouched, &mut uniform, &mut chosen];
            let found = measure::compare(bed, works, self.effort(connections))?;
            let proper =
                |name| found.cycles(name).zip(found.cycles("rx_tx")).map(|(all, source)| all - source);
            let (own, others) = proper(weak.row()).zip(proper("uniform")).context("nothing was measured")?;
            let row = Row::of(&found, weak.row(), weak.row(), Traffic::Tcp4.name(), connections);
            let row = row.with("uniform_cycles", rounded(found.cycles("uniform").unwrap_or_default(), 1));
            report.rows.push(row.with("throughput_of_uniform", rounded(others / own, 3)));
        }
        Ok(())
    }

    fn run_established(
        &self,
        bed: &mut Bed,
        connections: u64,
        report: &mut Report,
        progress: &mut impl FnMut(&str),
    ) -> anyhow::Result<()> {
        progress(&format!("{connections} connections: floors"));
        let mut rx_tx = RxTx::new(connections);
        let mut parse = Parse::new(connections);
        let mut rte_hash = RteHash::new(bed, connections)?;
        let mut own_bucket = OwnBucket::new(connections);
        for (number, &traffic) in self.traffic.iter().enumerate() {
            progress(&format!("{connections} connections: {}", traffic.name()));
            let (mut firewall, bytes) = memory::established(bed, Source::new(traffic, connections))?;
            let mut untouched = Untouched::new(Source::new(traffic, connections));
            let mut compare = |choice: Choice, firewall: &mut Established, untouched: &mut Untouched| {
                let works: &mut [&mut dyn Work] =
                    &mut [&mut rx_tx, &mut parse, &mut rte_hash, &mut own_bucket, untouched, firewall];
                works.iter_mut().for_each(|work| work.set_choice(choice));
                measure::compare(bed, works, self.effort(connections))
            };
            let found = compare(Choice::Uniform, &mut firewall, &mut untouched)?;
            let row = |found: &_, work, name| Row::of(found, work, name, traffic.name(), connections);
            if number == 0 {
                report.rows.push(row(&found, "parse", "parse"));
            }
            report.rows.push(row(&found, "rx_tx_source", "rx_tx_source"));
            let plain = row(&found, "established", "established");
            report.rows.push(plain.with("bytes_per_connection", bytes.round()));
            let last = self.connections.last() == Some(&connections);
            if !self.quick || number == 0 {
                progress(&format!("{connections} connections: {}, by Zipf's law", traffic.name()));
                let found = compare(Choice::Zipf, &mut firewall, &mut untouched)?;
                report.rows.push(row(&found, "established", "established_zipf"));
            }
            if number == 0 && last {
                progress(&format!("{connections} connections: {}, IMIX", traffic.name()));
                firewall.set_sizes(Sizes::Imix);
                untouched.set_sizes(Sizes::Imix);
                let found = compare(Choice::Uniform, &mut firewall, &mut untouched)?;
                report.rows.push(row(&found, "rx_tx_source", "rx_tx_source_imix"));
                report.rows.push(row(&found, "established", "established_imix"));
            }
        }
        Ok(())
    }
}

fn setup_row(name: &str, proto: &str, connections: u64, found: &setup::Setup) -> Row {
    let row = Row {
        name: name.to_owned(),
        proto: proto.to_owned(),
        flows: connections,
        cycles: (found.open + found.remove).round(),
        pairs: found.each.len(),
        spread: rounded(found.spread, 3),
        ..Row::default()
    };
    row.with("rules", found.rules as f64)
        .with("open_cycles", found.open.round())
        .with("remove_cycles", found.remove.round())
        .with("compile_cycles", found.compile.round())
}

/// New connections with `nat-to` beside those without; the ratio is of the rates, each of two runs side by side.
fn nat_row([plain, translated]: &[setup::Setup; 2]) -> Row {
    let ratios: Vec<f64> = plain.each.iter().zip(&translated.each).map(|(plain, own)| plain / own).collect();
    let row = setup_row("setup_nat", Traffic::Tcp4.name(), NAT_CONNECTIONS, translated);
    row.with("without_cycles", (plain.open + plain.remove).round())
        .with("rate_of_without", rounded(measure::median(ratios.iter().copied()), 3))
        .with("rate_of_without_spread", rounded(measure::spread(&ratios), 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    #[test]
    fn translated_connections_are_compared_run_by_run() {
        let setup = |each: [f64; 3]| Setup {
            rules: 10,
            open: 1.0,
            remove: 1.0,
            compile: 1.0,
            each: each.to_vec(),
            spread: 0.0,
        };
        let row = nat_row(&[setup([100.0, 200.0, 300.0]), setup([200.0, 250.0, 1000.0])]);
        assert_eq!(row.more["rate_of_without"], 0.5);
        assert_eq!(row.more["rate_of_without_spread"], 0.6);
        assert_eq!(row.pairs, 3);
    }
}
