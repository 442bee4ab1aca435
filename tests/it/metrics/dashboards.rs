//! Dashboards and alerts ask for metrics that there are, and can be imported anywhere.

use std::collections::BTreeSet;
use std::path::Path;

use seawall::telemetry::metrics::{Kind, Metrics};
use serde_json::Value;

const DASHBOARDS: [&str; 3] = ["overview", "upstreams", "cache"];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("dashboards")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("{name}.json"))).unwrap()
}

/// Names of ours in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let ours = |word: &&str| word.starts_with("seawall_") || word.starts_with("process_");
    words.filter(ours).collect()
}

#[test]
fn everything_that_is_asked_for_is_in_the_catalogue() {
    let metrics = Metrics::new();
    let mut known = BTreeSet::new();
    for entry in metrics.catalogue() {
        match entry.kind {
            Kind::Counter | Kind::Gauge => known.insert(entry.name.to_owned()),
            Kind::Histogram(_) => known.insert(format!("{}_bucket", entry.name)),
        };
    }
    let dashboards = DASHBOARDS.map(|name| format!("{name}.json"));
    let mut shown = BTreeSet::new();
    for name in dashboards
        .iter()
        .map(String::as_str)
        .chain(["alerts.yaml", "alerts_test.yaml"])
    {
        let text = read(name);
        for metric in names(&text) {
            assert!(
                known.contains(metric),
                "{name} asks for {metric}, which there is not"
            );
            shown.insert(metric.to_owned());
        }
    }
    let unseen: Vec<_> = known.difference(&shown).collect();
    assert!(unseen.len() < 12, "{unseen:?} are on no page and in no alert");
}

#[test]
fn a_dashboard_asks_for_its_data_source_and_its_panels_are_told_apart() {
    let mut uids = BTreeSet::new();
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()));
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["type"], "datasource");
        assert_eq!(variables[0]["name"], "datasource");
        let panels = dashboard["panels"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        for panel in panels {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            let place = &panel["gridPos"];
            let right = place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap();
            assert!(right <= 24, "{name}: {title} stands out");
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(
                panel["description"].as_str().unwrap().ends_with('.'),
                "{name}: {title}"
            );
            assert!(
                !panel["targets"].as_array().unwrap().is_empty(),
                "{name}: {title}"
            );
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{name}: {title}"
            );
        }
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_tried() {
    let (alerts, tests) = (read("alerts.yaml"), read("alerts_test.yaml"));
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        let name = rule.lines().next().unwrap();
        for key in ["expr:", "severity:", "summary:", "action:"] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        let action = rule.lines().find_map(|line| line.trim().strip_prefix("action: "));
        assert!(action.unwrap().ends_with('.'), "{name}: {action:?}");
        assert!(
            tests.contains(&format!("  - name: {name}\n")),
            "{name} is not tried"
        );
    }
}
