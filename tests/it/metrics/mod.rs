//! The metrics: what there is stands in `dashboards/metrics.md`, and is bounded whatever strangers ask for.
//!
//! The page is generated. After a metric was added or changed:
//!
//! ```text
//! UPDATE_METRICS=1 cargo test --test it metrics
//! ```

mod dashboards;
mod names;
mod page;

use std::collections::{BTreeMap, BTreeSet};

use seawall::policy::disk::Trouble;
use seawall::policy::quota::UsedUp;
use seawall::store::NotKept;
use seawall::telemetry::metrics::{Entry, Kind, Metrics, Values};

use crate::support::seawall::{Choices, Seawall};
use crate::support::world::{World, blob_path, image, manifest_path, world};

/// More upstreams and tiers than anybody has.
const UPSTREAMS: usize = 32;
const TIERS: usize = 8;
/// Most series that a Prometheus takes from one process without anybody noticing.
const MOST_SERIES: usize = 25_000;

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The series of an exposition, without their values. What our labels say needs no escaping.
pub(crate) fn series(text: &str) -> BTreeSet<Series> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split(',');
            let labels = labels.filter(|label| !label.is_empty()).map(|label| {
                let (name, value) = label.split_once('=').unwrap();
                (name.to_owned(), value.trim_matches('"').to_owned())
            });
            Series {
                name: name.to_owned(),
                labels: labels.collect(),
            }
        })
        .collect()
}

/// What stands in the catalogue about a series.
fn entry<'a>(catalogue: &'a [Entry], series: &Series) -> Option<&'a Entry> {
    let is_it = |entry: &&Entry| match entry.kind {
        Kind::Counter | Kind::Gauge => entry.name == series.name,
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| series.name.strip_suffix(end) == Some(entry.name)),
    };
    catalogue.iter().find(is_it)
}

/// Why a series is not what the catalogue says, if it is not.
fn problem(catalogue: &[Entry], series: &Series) -> Option<String> {
    let Some(entry) = entry(catalogue, series) else {
        return Some("is not in the catalogue".to_owned());
    };
    let mut expected: BTreeSet<&str> = entry.labels.iter().map(|label| label.name).collect();
    if series.name.ends_with("_bucket") {
        expected.insert("le");
    }
    let found: BTreeSet<&str> = series.labels.keys().map(String::as_str).collect();
    if found != expected {
        return Some(format!("has the labels {found:?}, expected {expected:?}"));
    }
    entry.labels.iter().find_map(|label| {
        let value = series.labels[label.name].as_str();
        let is_good = match label.values {
            Values::Words(words) => words.contains(&value),
            Values::Upstream => value == "docker.io",
            Values::Tier => ["unlimited", "prefetch"].contains(&value),
            Values::Version => value == env!("CARGO_PKG_VERSION"),
        };
        (!is_good).then(|| format!("says {}=\"{value}\", which is none of its words", label.name))
    })
}

/// Pulls an image, asks for what is not there, and looks at the lists.
async fn use_it(world: &World) {
    let image = image(&world.registry, Some("1"), 7);
    for _ in 0..2 {
        for path in [
            manifest_path("1"),
            manifest_path(image.manifest),
            blob_path(&image.config),
            blob_path(&image.layer),
            manifest_path("missing"),
            "/v2/library/app/tags/list".to_owned(),
            "/v2/_catalog".to_owned(),
            "/v2/".to_owned(),
            "/v3/".to_owned(),
        ] {
            world.seawall.get(&path).await;
        }
        // What was fetched is held by then.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// As the admin listener tells it.
pub(crate) fn told(seawall: &Seawall) -> String {
    seawall.metrics.told(|| {
        seawall.cache.publish_upstreams();
        seawall.cache.publish_space();
    })
}

#[tokio::test(start_paused = true)]
async fn every_series_is_one_of_the_catalogue_and_its_labels_say_words_of_it() {
    let world = world(Choices::default());
    use_it(&world).await;
    let (text, catalogue) = (told(&world.seawall), world.seawall.metrics.catalogue());
    let problems: Vec<String> = series(&text)
        .iter()
        .filter_map(|series| Some(format!("{series:?} {}", problem(catalogue, series)?)))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    for line in [
        r#"seawall_requests_total{class="2xx",from="upstream",outcome="miss",route="blob"} 2"#,
        r#"seawall_requests_total{class="2xx",from="disk",outcome="hit",route="blob"} 1"#,
        r#"seawall_requests_total{class="4xx",from="none",outcome="not_found",route="manifest"} 2"#,
        r#"seawall_requests_total{class="4xx",from="none",outcome="none",route="none"} 2"#,
        r#"seawall_fills_ended_total{outcome="arrived"} 2"#,
        r#"seawall_upstream_requests_total{answer="not_found",upstream="docker.io"} "#,
        r#"seawall_credentials{state="ok",upstream="docker.io"} 1"#,
        r#"seawall_saved_bytes_total{reason="held"} "#,
        r#"seawall_received_bytes_total{upstream="docker.io"} "#,
        r#"seawall_memory_objects "#,
        "process_resident_memory_bytes ",
    ] {
        let is_told = text
            .lines()
            .any(|found| found.starts_with(line) && !found.ends_with(" 0"));
        assert!(is_told, "{line} is not in\n{text}");
    }
}

#[test]
fn names_end_in_their_base_unit_and_counters_in_total() {
    let metrics = Metrics::new();
    let mut problems = Vec::new();
    for entry in metrics.catalogue() {
        let mut complain = |why: &str| problems.push(format!("{}: {why}", entry.name));
        let base = entry.name.strip_suffix("_total");
        if (entry.kind == Kind::Counter) != base.is_some() {
            complain("counters end in _total, and nothing else does");
        }
        let words: Vec<&str> = entry.name.split('_').collect();
        if !["seawall", "process"].contains(&words[0]) {
            complain("begins with neither seawall_ nor process_");
        }
        let foreign = [
            "ms",
            "us",
            "ns",
            "millis",
            "milliseconds",
            "microseconds",
            "minutes",
            "hours",
            "days",
            "kb",
            "mb",
            "kib",
            "mib",
            "kilobytes",
            "megabytes",
            "bits",
            "percent",
            "count",
            "sum",
            "bucket",
        ];
        if let Some(unit) = words.iter().find(|word| foreign.contains(word)) {
            complain(&format!("{unit} is no base unit, or means something else"));
        }
        let unit = base.unwrap_or(entry.name).rsplit('_').next().unwrap();
        let time = entry.help.contains("Time ")
            || entry.help.contains("How long")
            || entry.help.contains("Unix time");
        if time && unit != "seconds" {
            complain("a time is told in seconds");
        }
        if matches!(entry.kind, Kind::Histogram(_)) && unit != "seconds" && unit != "bytes" {
            complain("a histogram says in what it observes");
        }
        if entry.help.contains("bytes") && entry.help.starts_with("B") && unit != "bytes" {
            complain("bytes are told in bytes");
        }
        if !entry.help.ends_with('.')
            || !entry
                .help
                .starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
        {
            complain("the help is no sentence");
        }
        if let Kind::Histogram(bounds) = entry.kind
            && !bounds.is_sorted_by(|one, next| one < next)
        {
            complain("its bounds do not rise");
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn there_are_no_more_series_than_a_prometheus_takes_unnoticed() {
    let metrics = Metrics::new();
    let most = metrics
        .catalogue()
        .iter()
        .map(|entry| entry.most(UPSTREAMS, TIERS));
    let most: usize = most.sum();
    assert!(most <= MOST_SERIES, "{most} series, at most {MOST_SERIES}");
    // And none of them may come from anywhere but our own words and the configuration.
    let new = series(&metrics.exposition()).len();
    assert!(new < 400, "{new} series before the first request");
}

#[test]
fn the_words_of_other_parts_are_words_of_the_catalogue() {
    let metrics = Metrics::new();
    let knows = |metric: &str, label: &str, word: &str| {
        let entry = metrics.catalogue().iter().find(|entry| entry.name == metric);
        let label = entry.and_then(|entry| entry.labels.iter().find(|found| found.name == label));
        let Some(Values::Words(words)) = label.map(|label| label.values) else {
            panic!("{metric} has no such label");
        };
        assert!(words.contains(&word), "{metric} has no word {word}");
    };
    for trouble in Trouble::ALL {
        knows("seawall_disk_errors_total", "kind", trouble.word());
        knows("seawall_disk_state", "state", trouble.word());
    }
    for why in [NotKept::TooLong, NotKept::InUse, NotKept::Rebuilding] {
        knows("seawall_not_kept_total", "reason", why.name());
    }
    for quota in [UsedUp::Reads, UsedUp::Writes, UsedUp::Fills] {
        knows("seawall_quota_refusals_total", "reason", quota.name());
    }
    for operation in operations() {
        knows("seawall_disk_errors_total", "operation", &operation);
    }
}

/// What the source says is tried with the disk.
fn operations() -> BTreeSet<String> {
    let sources = crate::architecture::sources(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    let sources = sources
        .iter()
        .filter(|(path, _)| path.starts_with("src/store/") || path.starts_with("src/cache/"));
    let mut found = BTreeSet::new();
    for (_, source) in sources {
        for call in [
            "writing(\"",
            ".read(\"",
            "wrote(\"",
            "wrote::<()>(\"",
            "self.count(\"",
        ] {
            let rests = source.split(call).skip(1);
            found.extend(rests.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    assert!(found.len() > 8, "{found:?}");
    found
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_by_another_saves_bytes_as_collapsed() {
    let world = world(Choices::default());
    let image = image(&world.registry, Some("1"), 9);
    let path = blob_path(&image.layer);
    let (one, other) = tokio::join!(world.seawall.get(&path), world.seawall.get(&path));
    assert!(one.is_good() && other.is_good());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let collapsed = r#"seawall_saved_bytes_total{reason="collapsed"} 262144"#;
    let text = told(&world.seawall);
    assert!(text.contains(collapsed), "{text}");
    assert!(text.contains("seawall_fills 0\n") && text.contains("seawall_fill_readers 0\n"));
}
