//! The page `dashboards/metrics.md`, which is generated from the catalogue.

use std::fmt::Write as _;
use std::path::Path;

use seawall::telemetry::metrics::{Entry, Kind, Metrics, Values};

const PAGE: &str = "dashboards/metrics.md";
const VARIABLE: &str = "UPDATE_METRICS";

const HEAD: &str = "# Metrics of Seawall

Generated from the code; a test keeps it so (`UPDATE_METRICS=1 cargo test --test it metrics` writes it).

Labels say words of this page, or names that stand in the configuration: *upstream* is the name of an `[[upstream]]`,
*tier* that of a `[tier]`. No repository, tag, digest, address or client is ever a label, so the number of series does
not depend on what is asked for.
";

fn page(catalogue: &[Entry]) -> String {
    let mut text = HEAD.to_owned();
    for entry in catalogue {
        let kind = match entry.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        write!(text, "\n## `{}`\n\n{kind} · {}\n", entry.name, entry.help).unwrap();
        if !entry.labels.is_empty() {
            text.push('\n');
        }
        for label in &entry.labels {
            let values = match label.values {
                Values::Words(words) => {
                    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                    words.join(" ")
                }
                Values::Upstream => "an upstream of the configuration".to_owned(),
                Values::Tier => {
                    "a tier of the configuration, or `prefetch` for what nobody waits for".to_owned()
                }
                Values::Version => "the version".to_owned(),
            };
            writeln!(text, "- `{}`: {values}", label.name).unwrap();
        }
        if let Kind::Histogram(bounds) = entry.kind {
            let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
            write!(text, "\nUp to {}.\n", bounds.join(", ")).unwrap();
        }
    }
    text
}

#[test]
fn the_page_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let expected = page(Metrics::new().catalogue());
    if std::env::var_os(VARIABLE).is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{PAGE} is not what the metrics are: {VARIABLE}=1 cargo test --test it metrics"
    );
}
