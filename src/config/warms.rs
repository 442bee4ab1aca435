//! `[[warm]]`: what is warmed by the calendar.

use super::file::{Node, Value};
use super::problem::Problems;
use super::schedule;
use super::section::{Section, Wrong, boolean, text};
use crate::cache::ScheduledWarm;
use crate::oci::{Named, Platform, Platforms};

/// Reads every entry.
pub(super) fn read(top: &Section<'_>, problems: &mut Problems) -> Vec<ScheduledWarm> {
    let mut warms = Vec::new();
    for node in top.list("warm", problems) {
        warms.extend(warm(node, problems));
    }
    warms
}

fn warm(node: &Node, problems: &mut Problems) -> Option<ScheduledWarm> {
    let known = [&["references", "platform", "referrers"][..], &schedule::KEYS].concat();
    let entry = Section::open("warm: ".into(), Some(node), &known, problems);
    let references = entry.read_list("references", reference, problems);
    let platforms = match entry.node("platform").map(|node| &node.value) {
        None => Platforms::Of(vec![Platform::of_machine()]),
        Some(_) => {
            let each = entry.read_list("platform", platform, problems);
            let all = each.contains(&Platforms::All);
            let of = each.into_iter().filter_map(|each| match each {
                Platforms::All => None,
                Platforms::Of(platforms) => Some(platforms),
            });
            let of = Platforms::Of(of.flatten().collect());
            if all { Platforms::All } else { of }
        }
    };
    let referrers = entry.read("referrers", false, boolean, problems);
    let schedule = schedule::read(&entry, problems);
    for (key, hint) in [
        (
            "references",
            "write what is fetched: references = [\"docker.io/library/alpine:3.20\"]",
        ),
        ("schedule", "write when it is fetched: schedule = \"0 5 * * *\""),
    ] {
        let value = entry.node(key).map(|node| &node.value);
        if matches!(value, None | Some(Value::List(_))) && (value.is_none() || references.is_empty()) {
            let what = format!("{}`{key}` is missing", entry.name);
            problems.add(&node.place, what, Some(hint.into()));
        }
    }
    Some(ScheduledWarm {
        references,
        platforms,
        referrers,
        schedule: schedule?,
    })
}

fn reference(node: &Node) -> Result<String, Wrong> {
    let written = text(node)?;
    match written.parse::<Named>() {
        Ok(_) => Ok(written),
        Err(_) => Err(Wrong::expected(
            "a reference, such as \"docker.io/library/alpine:3.20\"",
        )),
    }
}

fn platform(node: &Node) -> Result<Platforms, Wrong> {
    let wrong = |_| Wrong::expected("a platform, such as \"linux/amd64\", or \"all\"");
    Platforms::parse(&text(node)?).map_err(wrong)
}

/// An entry as the configuration says it: its keys and their values.
pub(super) fn show(warm: &ScheduledWarm) -> Vec<(&'static str, String)> {
    let quoted = |text: String| toml::Value::String(text).to_string();
    let list = |texts: Vec<String>| {
        let quoted: Vec<String> = texts.into_iter().map(quoted).collect();
        format!("[{}]", quoted.join(", "))
    };
    let platforms = match &warm.platforms {
        Platforms::All => vec!["all".to_owned()],
        Platforms::Of(platforms) => platforms.iter().map(ToString::to_string).collect(),
    };
    let mut keys = vec![
        ("references", list(warm.references.clone())),
        ("platform", list(platforms)),
        ("referrers", warm.referrers.to_string()),
    ];
    keys.extend(schedule::show(&warm.schedule).map(|(key, value)| (key, quoted(value))));
    keys
}

#[cfg(test)]
mod tests {
    use crate::config::effective;
    use crate::config::tests::{refused, settings};

    const WHOLE: &str = "[[warm]]\nreferences = [\"docker.io/library/alpine:3.20\", \"ghcr.io/a/b\"]\n\
        platform = [\"linux/amd64\", \"linux/arm64\"]\nreferrers = true\nschedule = \"0 5 * * *\"\n\
        timezone = \"Europe/Berlin\"\n";

    #[test]
    fn a_warm_is_read_and_shown() {
        let settings = settings(WHOLE);
        let [warm] = settings.warms.as_slice() else {
            panic!("{:?}", settings.warms)
        };
        assert_eq!(warm.references.len(), 2);
        assert_eq!(warm.platforms.to_string(), "linux/amd64,linux/arm64");
        let shown = effective(&settings);
        assert_eq!(self::settings(&shown).warms, settings.warms, "{shown}");
        let least = self::settings("[[warm]]\nreferences = [\"alpine\"]\nschedule = \"@daily\"\n");
        assert_eq!(self::settings(&effective(&least)).warms, least.warms);
        let all = self::settings(&WHOLE.replace("\"linux/amd64\"", "\"all\""));
        assert_eq!(all.warms[0].platforms.to_string(), "all");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_hint() {
        for (from, to, what) in [
            ("ghcr.io/a/b", "A b", "expected a reference"),
            ("linux/amd64", "amd64", "expected a platform"),
            ("0 5 * * *", "0 5 *", "expected a cron expression"),
            ("references", "reference", "`references` is missing"),
            ("schedule = \"0 5 * * *\"\n", "", "`schedule` is missing"),
        ] {
            let report = refused(&WHOLE.replace(from, to));
            assert!(report.contains(what), "{what} in {report}");
        }
    }
}
