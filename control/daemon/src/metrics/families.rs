//! Metric families, built one value after the other.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does, until the dataplane is started anew. The name ends with `_total`.
    Counter,
    /// It does not.
    Gauge,
}

/// Families in the order in which they were begun.
#[derive(Default)]
pub struct Families {
    list: Vec<MetricFamily>,
}

/// What every name begins with.
const PREFIX: &str = "turnpike_";

impl Families {
    /// Begins a family; values follow. One without values is left out.
    pub fn begin(&mut self, kind: Kind, name: &str, help: &str) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        self.list.push(family);
        Family { kind, family: self.list.last_mut().expect("it was pushed") }
    }

    /// A family of one value without labels.
    pub fn single(&mut self, kind: Kind, name: &str, help: &str, value: f64) {
        self.begin(kind, name, help).value(&[], value);
    }

    /// Every family that has a value.
    pub fn finish(self) -> Vec<MetricFamily> {
        self.list.into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

/// The family that was begun last.
pub struct Family<'a> {
    kind: Kind,
    family: &'a mut MetricFamily,
}

impl Family<'_> {
    /// Adds a value under labels.
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        match self.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.family.mut_metric().push(metric);
    }

    /// Adds a whole number, as counters are. Above 2^53 it is rounded, as Prometheus stores it.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) {
        self.value(labels, value as f64);
    }
}
