//! What a real Prometheus sees of the binary under load: every expression of the dashboards and the alerts has data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::clients::{self, Place};
use crate::support::http;
use crate::support::images::TAG;
use crate::support::limited::{HOUR, Limited};
use crate::support::process::{Process, Result, command, free_address, run};
use crate::support::{Seawall, Verdict, World};

/// Counted requests that the upstream allows: the last images of the load find none left.
const BUDGET: u64 = 8;
/// A registry with a credential.
const GUARDED: &str = "guarded.example";
/// How long load goes on: a rate needs a few scrapes.
const ROUNDS: usize = 12;

/// A Prometheus that scrapes a Seawall every second; it ends with this.
struct Prometheus {
    address: String,
    process: Process,
}

impl Prometheus {
    fn start(directory: &Path, seawall: &Seawall) -> Result<Self> {
        let address = free_address()?;
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [ \"{}\" ]\n\
             scrape_configs:\n  - job_name: seawall\n    static_configs: [ {{ targets: [ \"{}\" ] }} ]\n",
            dashboards().join("alerts.yaml").display(),
            seawall.admin
        );
        std::fs::write(&config, text)?;
        let mut serve = command("prometheus");
        serve
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("prometheus", serve, directory)?;
        process.wait_ready(Duration::from_secs(30), || {
            http::get(&address, "/-/ready").is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(Self { address, process })
    }

    fn ask(&self, target: &str) -> Result<Value> {
        let answer = http::get(&self.address, target)?;
        let value: Value = serde_json::from_slice(&answer.body)?;
        if value["status"] != "success" {
            return Err(format!("prometheus says: {value}").into());
        }
        Ok(value)
    }

    /// How many series an expression has now.
    fn count(&self, expression: &str) -> Result<usize> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let value = self.ask(&format!("/api/v1/query?query={query}"))?;
        Ok(value["data"]["result"].as_array().map_or(0, Vec::len))
    }
}

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// Every expression of the dashboards, and of the alerts every selector: an alert itself is to be quiet.
pub(crate) fn everything_has_data(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let upstream = Limited::start(&world.upstream.address, BUDGET, HOUR)?;
    let directory = world.directory()?;
    // Where there is a credential, everybody's right is asked about.
    let password = directory.join("password");
    std::fs::write(&password, "right")?;
    let more = format!(
        "freshness = {{ ttl = \"0s\", stale_if_error = \"7d\" }}\n\
         [[upstream]]\nregistry = \"{GUARDED}\"\nurl = \"http://{}\"\ninsecure = true\n\
         allow_addresses = [\"127.0.0.0/8\"]\n\
         credentials = [{{ username = \"robot\", password = {{ file = '{}' }} }}]\n",
        world.upstream.address,
        password.display()
    );
    let seawall = world.seawall_with(&upstream.address, &directory, &more)?;
    let prometheus = Prometheus::start(&directory, &seawall)?;
    world.note_log(prometheus.process.log());
    load(world, &seawall, &upstream.address)?;

    let rules = prometheus.ask("/api/v1/rules")?;
    let mut expressions = shown()?;
    for rule in alerts(&rules)? {
        expressions.extend(selectors(&rule));
    }
    if expressions.len() < 60 {
        return Err(format!("only {} expressions were found", expressions.len()).into());
    }
    let mut empty = Vec::new();
    for expression in &expressions {
        match prometheus.count(expression) {
            Ok(0) => empty.push(format!("no data: {expression}")),
            Ok(_) => {}
            Err(error) => empty.push(format!("{expression}: {error}")),
        }
    }
    if !empty.is_empty() {
        return Err(empty.join("\n").into());
    }
    println!("        {} expressions have data", expressions.len());
    check(&seawall)?;
    Ok(Verdict::Passed)
}

/// Pulls what is there, what is not, and what there is no budget for.
fn load(world: &World, seawall: &Seawall, upstream: &str) -> Result {
    let images = world
        .images
        .small(&world.directory()?, &world.upstream.address, 12)?;
    println!("        12 small images behind {upstream}");
    for round in 0..ROUNDS {
        if round == 1 {
            let (name, pull) = clients::ALL[2];
            let place = Place {
                directory: world.directory()?,
                seawall,
                images: &world.images,
                falls_back: false,
            };
            pull(&place, &world.images.app).map_err(|error| format!("{name}: {error}"))?;
        }
        for image in images.iter().take(round + 1) {
            let path = |kind: &str, name: &str| format!("/v2/{}/{kind}/{name}", image.repository);
            let blobs = image.blobs();
            let blobs = blobs.into_iter().map(|blob| path("blobs", blob));
            let manifests = [path("manifests", TAG), path("manifests", &image.manifest)];
            for target in manifests.into_iter().chain(blobs) {
                http::get(&seawall.address, &target)?;
            }
        }
        let guarded = format!("/v2/{GUARDED}/library/app/manifests/{TAG}");
        for target in [
            &guarded,
            "/v2/",
            "/v2/_catalog",
            "/v2/library/app/tags/list",
            "/v2/none/such/manifests/1",
        ] {
            http::get(&seawall.address, target)?;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// What the dashboards ask, as they would.
fn shown() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for name in ["overview", "upstreams", "cache"] {
        let text = std::fs::read_to_string(dashboards().join(name).with_extension("json"))?;
        let dashboard: Value = serde_json::from_str(&text)?;
        let panels = dashboard["panels"].as_array().ok_or("no panels")?;
        let targets = panels
            .iter()
            .filter_map(|panel| panel["targets"].as_array())
            .flatten();
        let expressions = targets.filter_map(|target| target["expr"].as_str());
        found.extend(expressions.map(|expression| {
            expression
                .replace("$__rate_interval", "10s")
                .replace("$__range", "1m")
                .replace("$instance", ".*")
                .replace("$upstream", ".*")
        }));
    }
    Ok(found)
}

/// The expressions of the alerts, all of which must have been evaluated.
fn alerts(rules: &Value) -> Result<Vec<String>> {
    let groups = rules["data"]["groups"].as_array().ok_or("no groups of rules")?;
    let rules = groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten();
    rules
        .map(|rule| match (rule["health"].as_str(), rule["query"].as_str()) {
            (Some("ok"), Some(query)) => Ok(query.to_owned()),
            _ => Err(format!("a rule is not evaluated: {rule}").into()),
        })
        .collect()
}

/// The series that an expression selects, whatever it does with them.
fn selectors(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if name.starts_with("seawall_") || name.starts_with("process_") || name == "up" {
            let labels = match after.starts_with('{') {
                true => after.split_inclusive('}').next().unwrap_or_default(),
                false => "",
            };
            found.push(format!("{name}{labels}"));
            rest = &after[labels.len()..];
        }
    }
    found
}

/// What Prometheus's own tool says of the metrics and the alerts.
fn check(seawall: &Seawall) -> Result {
    let metrics = http::get(&seawall.admin, "/metrics")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &metrics.body)?;
    let mut lint = command("promtool");
    lint.args(["check", "metrics"])
        .stdin(Stdio::from(std::fs::File::open(file.path())?));
    let output = lint.output()?;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.trim().is_empty() {
        return Err(format!("promtool check metrics: {said}").into());
    }
    let tests = dashboards().join("alerts_test.yaml");
    run(command("promtool")
        .args(["check", "rules"])
        .arg(dashboards().join("alerts.yaml")))?;
    run(command("promtool").args(["test", "rules"]).arg(tests))?;
    Ok(())
}
