//! The book that every metric is entered in, with its labels and all that these may say.
//!
//! So the catalogue is complete, and the number of series is bounded before there is the first: what a label may say
//! is a word from here, or a name that stands in the configuration.

use std::cell::RefCell;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// What a label may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Words(&'static [&'static str]),
    /// The name of an entry of `[[upstream]]`, patterns as they are written.
    Upstream,
    /// The name of a tier.
    Tier,
    /// The version that runs.
    Version,
}

impl Values {
    /// How many there may be, with so many upstreams and tiers in the configuration.
    pub const fn most(self, upstreams: usize, tiers: usize) -> usize {
        match self {
            Self::Words(words) => words.len(),
            Self::Upstream => upstreams,
            Self::Tier => tiers,
            Self::Version => 1,
        }
    }
}

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may say.
    pub values: Values,
}

/// A label that says one of these words.
pub(super) const fn words(name: &'static str, words: &'static [&'static str]) -> Label {
    Label {
        name,
        values: Values::Words(words),
    }
}

/// The label that says which upstream.
pub(super) const UPSTREAM: Label = Label {
    name: "upstream",
    values: Values::Upstream,
};

/// The label that says which tier.
pub(super) const TIER: Label = Label {
    name: "tier",
    values: Values::Tier,
};

/// What is measured how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Observations, counted up to these bounds.
    Histogram(&'static [f64]),
}

/// A metric, as it stands in the book.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: Vec<Label>,
    /// What it says.
    pub help: &'static str,
}

impl Entry {
    /// How many series it may have, with so many upstreams and tiers in the configuration.
    pub fn most(&self, upstreams: usize, tiers: usize) -> usize {
        let labels = self
            .labels
            .iter()
            .map(|label| label.values.most(upstreams, tiers));
        // A histogram has a series for each bound, for the last one, for the sum and for the count.
        let each = match self.kind {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram(bounds) => bounds.len() + 3,
        };
        labels.product::<usize>() * each
    }
}

/// What was entered.
#[derive(Debug)]
pub(super) struct Entered {
    /// Tells it.
    pub(super) registry: Registry,
    /// All of it, by name.
    pub(super) entries: Vec<Entry>,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    registry: Registry,
    entries: RefCell<Vec<Entry>>,
}

impl Book {
    /// A counter.
    pub(super) fn counter(&self, name: &'static str, help: &'static str) -> IntCounter {
        self.enter(name, help, &[], Kind::Counter, IntCounter::new(name, help))
    }

    /// A counter of what comes in parts, like seconds.
    pub(super) fn sum(&self, name: &'static str, help: &'static str) -> Counter {
        self.enter(name, help, &[], Kind::Counter, Counter::new(name, help))
    }

    /// Counters with labels.
    pub(super) fn counters(&self, name: &'static str, help: &'static str, labels: &[Label]) -> IntCounterVec {
        let made = IntCounterVec::new(Opts::new(name, help), &names(labels));
        self.enter(name, help, labels, Kind::Counter, made)
    }

    /// Counters with labels, of what comes in parts.
    pub(super) fn sums(&self, name: &'static str, help: &'static str, labels: &[Label]) -> CounterVec {
        let made = CounterVec::new(Opts::new(name, help), &names(labels));
        self.enter(name, help, labels, Kind::Counter, made)
    }

    /// A gauge.
    pub(super) fn gauge(&self, name: &'static str, help: &'static str) -> IntGauge {
        self.enter(name, help, &[], Kind::Gauge, IntGauge::new(name, help))
    }

    /// A gauge of what comes in parts.
    pub(super) fn part(&self, name: &'static str, help: &'static str) -> Gauge {
        self.enter(name, help, &[], Kind::Gauge, Gauge::new(name, help))
    }

    /// Gauges with labels.
    pub(super) fn gauges(&self, name: &'static str, help: &'static str, labels: &[Label]) -> IntGaugeVec {
        let made = IntGaugeVec::new(Opts::new(name, help), &names(labels));
        self.enter(name, help, labels, Kind::Gauge, made)
    }

    /// Histograms with labels.
    pub(super) fn histograms(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        bounds: &'static [f64],
    ) -> HistogramVec {
        let made = HistogramVec::new(
            HistogramOpts::new(name, help).buckets(bounds.to_vec()),
            &names(labels),
        );
        self.enter(name, help, labels, Kind::Histogram(bounds), made)
    }

    /// What somebody else collects: these families.
    pub(super) fn foreign(
        &self,
        collector: impl Collector + 'static,
        entries: impl IntoIterator<Item = Entry>,
    ) {
        self.entries.borrow_mut().extend(entries);
        self.registry
            .register(Box::new(collector))
            .expect("the names are used once");
    }

    fn enter<M: Collector + Clone + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        kind: Kind,
        made: prometheus::Result<M>,
    ) -> M {
        let metric = made.expect("the name is well formed");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("the name is used once");
        self.entries.borrow_mut().push(Entry {
            name,
            kind,
            labels: labels.to_vec(),
            help,
        });
        metric
    }

    /// Nothing more is entered.
    pub(super) fn close(self) -> Entered {
        let mut entries = self.entries.into_inner();
        entries.sort_by_key(|entry| entry.name);
        Entered {
            registry: self.registry,
            entries,
        }
    }

    /// Fails unless this line is told.
    #[cfg(test)]
    pub(super) fn expect(&self, line: &str) {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|label| label.name).collect()
}

/// A figure as gauges take it.
pub(super) fn figure(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Counts in a gauge as long as it lives.
#[derive(Debug)]
#[must_use = "it counts as long as this lives"]
pub struct Open(IntGauge);

impl Open {
    /// One more in this gauge.
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// An enum whose variants are the words of a label.
macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$says:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$says])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// Their words.
            pub const WORDS: &'static [&'static str] = &[$($word,)+];

            /// The word for it, in metrics and logs.
            pub const fn word(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }
    };
}
pub(super) use label;
