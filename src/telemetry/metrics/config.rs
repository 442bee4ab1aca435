//! The configuration in numbers: how often it was read, what came of that, and since when the present one holds.

use prometheus::{IntCounter, IntGauge, Registry};

use super::{counters, gauge};

/// What came of reading the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It holds now.
    Applied,
    /// It has problems: the one before still holds.
    Refused,
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
    pub(super) fn new(registry: &Registry) -> Self {
        let reloads = counters(
            registry,
            "seawall_config_reloads_total",
            "Times the configuration was read again while running, by what came of it: applied or refused.",
            &["outcome"],
        );
        let successful = gauge(
            registry,
            "seawall_config_last_reload_successful",
            "1 if the configuration was good when it was last read, 0 if it had problems and an older one holds.",
        );
        successful.set(1);
        Self {
            applied: reloads.with_label_values(&["applied"]),
            refused: reloads.with_label_values(&["refused"]),
            successful,
            since: gauge(
                registry,
                "seawall_config_last_reload_success_timestamp_seconds",
                "When the configuration that holds was read, as a Unix time.",
            ),
        }
    }

    /// The configuration of a start holds, since so many milliseconds after the Unix epoch.
    pub fn started(&self, at: u64) {
        self.successful.set(1);
        self.since.set(i64::try_from(at / 1000).unwrap_or(i64::MAX));
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
        let registry = Registry::new();
        let config = Config::new(&registry);
        let told = |line: &str| {
            let text = prometheus::TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap();
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        };
        config.started(1_000);
        told("seawall_config_last_reload_successful 1");
        config.reloaded(Reloaded::Applied, 7_999);
        config.reloaded(Reloaded::Refused, 9_000);
        told(r#"seawall_config_reloads_total{outcome="applied"} 1"#);
        told(r#"seawall_config_reloads_total{outcome="refused"} 1"#);
        told("seawall_config_last_reload_successful 0");
        told("seawall_config_last_reload_success_timestamp_seconds 7");
    }
}
