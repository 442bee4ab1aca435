//! What the README names is there: keys, files, metrics, variables, paths of the API, figures. What it has people type
//! is held to the command line by `cli::examples`, what commands print by `captures`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use http::Method;
use regex::Regex;
use seawall::app::Source;
use seawall::config::Environment;

use crate::architecture::sources;
use crate::support::seawall::{Choices, read};
use crate::support::world::world;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// What an expression's first group finds, each once.
fn found(text: &str, expression: &str) -> BTreeSet<String> {
    let expression = Regex::new(expression).unwrap();
    expression
        .captures_iter(text)
        .map(|captures| captures[1].to_owned())
        .collect()
}

/// The fenced blocks of a language, each with the number of its first line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}\n");
    text.match_indices(&fence)
        .map(|(at, _)| {
            let inside = &text[at + fence.len()..];
            let block = inside.split("```").next().unwrap_or_default();
            (text[..at].lines().count() + 2, block.to_owned())
        })
        .collect()
}

#[test]
fn every_configuration_that_the_readme_shows_is_taken_but_for_files_that_are_not_here() {
    let folder = tempfile::tempdir().unwrap();
    // Secrets, and users: what is missing there makes something else wrong as well.
    let secret = folder.path().join("secret");
    fs::write(&secret, "a secret of thirty-two characters").unwrap();
    let secret = format!("file = \"{}\"", secret.display());
    let users = folder.path().join("htpasswd");
    let hash = bcrypt::hash("right", 4).unwrap();
    fs::write(&users, format!("alice:{hash}\nbob:{hash}\n")).unwrap();
    let refers = Regex::new("file = \"/[^\"]+\"").unwrap();
    let mut count = 0;
    for (line, block) in blocks(&readme(), "toml") {
        // containerd's.
        if block.starts_with("[host.") {
            continue;
        }
        let is_part = block.starts_with("credentials");
        let upstream = if is_part {
            "[[upstream]]\nregistry = \"docker.io\"\naccess = \"shared\"\n"
        } else {
            ""
        };
        let file = folder.path().join(format!("{line}.toml"));
        let text = format!("{upstream}{block}").replace("/etc/seawall/htpasswd", users.to_str().unwrap());
        let text = refers.replace_all(&text, secret.as_str()).into_owned();
        fs::write(&file, text).unwrap();
        let source = Source {
            file: Some(file),
            environment: Environment::of(&[("HOME", "/root")]),
        };
        let problems = source
            .load()
            .map_or_else(|report| report.problems, |_| Vec::new());
        for problem in problems {
            let is_absent = |path: &String| problem.what.contains(path.as_str()) && !Path::new(path).exists();
            let absent = found(&block, "\"(/[^\"]+)\"").iter().any(is_absent);
            let left_open = problem.what.contains("\"…\"");
            let not_built_in = cfg!(not(feature = "acme")) && problem.what.contains("acme")
                || cfg!(not(feature = "shared")) && problem.what.contains("built without the shared shelf")
                || cfg!(not(feature = "keyless")) && problem.what.contains("keyless");
            assert!(
                absent || left_open || not_built_in,
                "README.md:{line}: {}: {}",
                problem.place,
                problem.what
            );
        }
        count += 1;
    }
    assert!(count > 15, "only {count} configurations were found");
}

#[test]
fn every_metric_that_the_readme_names_is_in_the_catalogue() {
    let named = found(&readme(), "`(seawall_[a-z_]+)");
    let catalogue = found(
        &fs::read_to_string(root().join("dashboards/metrics.md")).unwrap(),
        "## `(seawall_[a-z_]+)`",
    );
    let unknown: Vec<_> = named.difference(&catalogue).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(named.len() > 10, "only {named:?} were found");
}

#[test]
fn every_file_and_section_that_the_readme_names_is_there() {
    let readme = readme();
    let named = found(
        &readme,
        r"(?m)[` (\[]((?:config|dashboards|tests|src|\.ci)/[\w./-]*[\w/])",
    );
    for path in &named {
        let made = path.starts_with("config/kubernetes/overlays/");
        assert!(
            root().join(path).exists() || made && root().join(path).is_dir(),
            "{path}"
        );
    }
    assert!(named.len() > 20, "only {named:?} were found");
    let heading = |line: &str| {
        let plain: String = line
            .trim_start_matches('#')
            .trim()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-'))
            .collect();
        plain.to_lowercase().replace(' ', "-")
    };
    let headings: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(heading)
        .collect();
    for section in found(&readme, r"\]\(#([^)]+)\)") {
        assert!(headings.contains(&section), "#{section}: {headings:?}");
    }
}

/// The texts of programs and scripts below a folder.
fn texts(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => texts(&path),
        // This file names what it looks for.
        false if path.ends_with("it/readme.rs") => String::new(),
        false => fs::read_to_string(path).unwrap_or_default(),
    };
    entries.map(text).collect()
}

#[test]
fn every_variable_that_the_readme_names_means_something() {
    let settings = fs::read_to_string(root().join("config/seawall.toml")).unwrap();
    let all: String = sources(root()).into_iter().map(|(_, source)| source).collect();
    let all = all + &texts(&root().join("tests"));
    let named = found(&readme(), r"\b((?:SEAWALL|UPDATE)_[A-Z0-9_]*[A-Z0-9])\b");
    for name in &named {
        let means = match name.strip_prefix("SEAWALL_").and_then(|key| key.split_once("__")) {
            Some((section, key)) => {
                let (section, key) = (section.to_lowercase(), key.to_lowercase());
                let inside = settings
                    .split(&format!("\n[{section}]"))
                    .nth(1)
                    .unwrap_or_default();
                let inside = inside.split("\n[").next().unwrap_or_default();
                let is_it = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
                inside.lines().any(is_it)
            }
            None => all.contains(name.as_str()),
        };
        assert!(means, "{name}");
    }
    assert!(named.len() > 8, "only {named:?} were found");
}

#[tokio::test(start_paused = true)]
async fn every_path_of_the_api_that_the_readme_names_is_answered() {
    let world = world(Choices::default());
    let named = found(&readme(), "(/api/v1/[a-z/]*[a-z])");
    for path in &named {
        let mut told = String::new();
        for method in [Method::GET, Method::POST] {
            let json = [("content-type", "application/json")];
            let answer = read(world.seawall.operate(method, path, &json, "{}").await).await;
            told += &String::from_utf8_lossy(&answer.body);
            told += "\n";
        }
        let unknown = told
            .lines()
            .filter(|line| line.contains("here are / (the status page)"))
            .count();
        assert!(unknown < 2, "{path}: {told}");
    }
    assert!(named.len() > 6, "only {named:?} were found");
}

/// What the README says of each bound, where its constant is, and what stands there.
const BOUNDS: [(&str, &str, &str, &str); 13] = [
    (
        "clients with quotas (16,384)",
        "src/cache/quotas/mod.rs",
        "MOST_CLIENTS",
        "(16_384)",
    ),
    (
        "remembered logins and addresses that fail (4,096 each)",
        "src/server/login.rs",
        "MOST_REMEMBERED",
        "(4096)",
    ),
    (
        "remembered logins and addresses that fail (4,096 each)",
        "src/server/login.rs",
        "MOST_FAILING",
        "(4096)",
    ),
    (
        "logins that wait (256)",
        "src/server/login.rs",
        "MOST_WAITING",
        "256;",
    ),
    (
        "spans that wait for a collector (8,192)",
        "src/telemetry/trace.rs",
        "MOST_WAITING",
        "8192;",
    ),
    (
        "manifests whose pulls are counted until they are written down (65,536)",
        "src/store/records/held.rs",
        "MAX_COUNTED",
        "65_536;",
    ),
    (
        "what waits to be put into a shared bucket (1,024)",
        "src/cache/shared.rs",
        "QUEUE",
        "1024;",
    ),
    (
        "verdicts on signatures in memory (16,384)",
        "src/cache/trust.rs",
        "MOST_VERDICTS",
        "(16 * 1024)",
    ),
    (
        "tags that are known to wait (4,096)",
        "src/cache/young.rs",
        "MOST_WAITING",
        "(4096)",
    ),
    (
        "signatures looked at for one image (8 objects",
        "src/policy/trust.rs",
        "MOST_ATTACHED",
        "8;",
    ),
    (
        "with 16 each, of 1 MiB)",
        "src/policy/trust.rs",
        "MOST_SIGNATURES",
        "16;",
    ),
    (
        "rows of a list (10,000 a page)",
        "src/policy/listing/mod.rs",
        "MAX_LIMIT",
        "10_000;",
    ),
    (
        "remembered refusals (4,096 for each registry)",
        "src/upstream/negative.rs",
        "MAX_REFUSALS",
        "(4096)",
    ),
];

#[test]
fn the_figures_of_bounds_in_the_readme_are_those_of_the_code() {
    let readme = readme().split_whitespace().collect::<Vec<_>>().join(" ");
    for (said, path, name, figure) in BOUNDS {
        assert!(readme.contains(said), "README.md does not say: {said}");
        let source = fs::read_to_string(root().join(path)).unwrap();
        let is_it = |line: &str| line.contains(&format!("const {name}: ")) && line.contains(figure);
        assert!(
            source.lines().any(is_it),
            "{path}: {name} is not {figure}: {said}"
        );
    }
}
