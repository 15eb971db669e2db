//! Metric families, built one value after the other.

use api::Distribution;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType};

use super::catalogue::{Kind, Metric, PREFIX};

/// Families in the order in which they were begun.
#[derive(Default)]
pub struct Families {
    list: Vec<MetricFamily>,
}

impl Families {
    /// Begins a family; values follow. One without values is left out.
    pub fn begin(&mut self, metric: Metric) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{}", metric.name()));
        family.set_help(metric.help().to_owned());
        family.set_field_type(match metric.kind() {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        self.list.push(family);
        Family { metric, family: self.list.last_mut().expect("it was pushed") }
    }

    /// A family of one value without labels.
    pub fn single(&mut self, metric: Metric, value: f64) {
        self.begin(metric).value(&[], value);
    }

    /// Every family that has a value.
    pub fn finish(self) -> Vec<MetricFamily> {
        self.list.into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

/// The family that was begun last.
pub struct Family<'a> {
    metric: Metric,
    family: &'a mut MetricFamily,
}

impl Family<'_> {
    /// Adds a value; `labels` are the values of the metric's labels, in their order.
    pub fn value(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.labelled(labels);
        if self.metric.kind() == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.family.mut_metric().push(metric);
    }

    /// Adds a whole number, as counters are. Above 2^53 it is rounded, as Prometheus stores it.
    pub fn count(&mut self, labels: &[&str], value: u64) {
        self.value(labels, value as f64);
    }

    /// Adds a distribution over `bounds`, in units of `unit` of the exported one.
    pub fn distribution(&mut self, bounds: &[u64], unit: f64, values: &Distribution) {
        let mut below = 0;
        let buckets = bounds.iter().zip(&values.counts).map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / unit);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.counts.iter().sum());
        histogram.set_sample_sum(values.sum as f64 / unit);
        let mut metric = self.labelled(&[]);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
    }

    fn labelled(&self, labels: &[&str]) -> prometheus::proto::Metric {
        debug_assert_eq!(labels.len(), self.metric.labels().len(), "{}", self.metric.name());
        let pairs = self.metric.labels().iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        prometheus::proto::Metric::from_label(pairs.collect())
    }
}
