//! The configuration in numbers: how often it was read, what came of that, and since when the present one holds.

use prometheus::{IntCounter, IntGauge};

use super::book::{Book, figure, label, words};

label! {
    /// What came of reading the configuration again.
    Reloaded {
        /// It holds now.
        Applied = "applied",
        /// It has problems: the one before still holds.
        Refused = "refused",
    }
}

/// The metrics of the configuration.
#[derive(Debug)]
pub struct Config {
    applied: IntCounter,
    refused: IntCounter,
    successful: IntGauge,
    since: IntGauge,
}

impl Config {
    pub(super) fn new(book: &Book) -> Self {
        let reloads = book.counters(
            "seawall_config_reloads_total",
            "Times the configuration was read again while running, by what came of it: applied or refused.",
            &[words("outcome", Reloaded::WORDS)],
        );
        let successful = book.gauge(
            "seawall_config_last_reload_successful",
            "1 if the configuration was good when it was last read, 0 if it had problems and an older one holds.",
        );
        successful.set(1);
        Self {
            applied: reloads.with_label_values(&[Reloaded::Applied.word()]),
            refused: reloads.with_label_values(&[Reloaded::Refused.word()]),
            successful,
            since: book.gauge(
                "seawall_config_last_reload_success_timestamp_seconds",
                "When the configuration that holds was read, as a Unix time.",
            ),
        }
    }

    /// The configuration of a start holds, since so many milliseconds after the Unix epoch.
    pub fn started(&self, at: u64) {
        self.successful.set(1);
        self.since.set(figure(at / 1000));
    }

    /// False if the configuration was refused when it was last read, and an older one holds.
    pub fn holds_newest(&self) -> bool {
        self.successful.get() != 0
    }

    /// The configuration was read again, so many milliseconds after the Unix epoch.
    pub fn reloaded(&self, what: Reloaded, at: u64) {
        match what {
            Reloaded::Applied => {
                self.applied.inc();
                self.started(at);
            }
            Reloaded::Refused => {
                self.refused.inc();
                self.successful.set(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_configuration_leaves_the_time_of_the_one_that_holds() {
        let book = Book::default();
        let config = Config::new(&book);
        config.started(1_000);
        book.expect("seawall_config_last_reload_successful 1");
        config.reloaded(Reloaded::Applied, 7_999);
        config.reloaded(Reloaded::Refused, 9_000);
        book.expect(r#"seawall_config_reloads_total{outcome="applied"} 1"#);
        book.expect(r#"seawall_config_reloads_total{outcome="refused"} 1"#);
        book.expect("seawall_config_last_reload_successful 0");
        book.expect("seawall_config_last_reload_success_timestamp_seconds 7");
    }
}
