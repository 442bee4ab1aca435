//! The images that a file names: a list, one reference a line, or manifests of Kubernetes.
//!
//! Of manifests, YAML or JSON, every `image` below `containers`, `initContainers` and `ephemeralContainers` is
//! taken, at any depth: of pods, deployments, cron jobs, lists and custom resources. The reader goes by lines, as
//! people and tools write manifests, so that a template of Helm, which is no YAML, is read as well: what stands
//! between `{{` and `}}` is not known here, and an image with it is reported.

use std::collections::BTreeSet;

use serde_json::Value;

/// The keys below which containers are listed.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// What a file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The images, sorted, each once.
    pub(super) images: BTreeSet<String>,
    /// What could not be known: templates.
    pub(super) skipped: BTreeSet<String>,
}

impl Found {
    fn take(&mut self, image: &str) {
        let image = image.trim();
        if image.is_empty() {
            return;
        }
        let of = match image.contains("{{") || image.contains("${") {
            true => &mut self.skipped,
            false => &mut self.images,
        };
        of.insert(image.to_owned());
    }
}

/// Reads a list or manifests.
///
/// # Errors
/// A sentence, if JSON does not read.
pub(super) fn read(text: &str) -> Result<Found, String> {
    let mut found = Found::default();
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['{', '[']) && !text.trim_start().starts_with("{{") {
        for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            let document = document.map_err(|error| format!("this begins as JSON and is none: {error}"))?;
            walk(&document, false, &mut found);
        }
    } else if is_yaml(text) {
        Lines::default().read(text, &mut found);
    } else {
        for line in text.lines() {
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            found.take(line);
        }
    }
    Ok(found)
}

/// A list has no line that is a key with a value or a block: `image: x`, `spec:`.
fn is_yaml(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        let line = line.trim_start_matches("- ");
        line == "---" || (!line.starts_with('#') && (line.contains(": ") || line.ends_with(':')))
    })
}

/// Takes the images of the containers of a JSON value.
fn walk(value: &Value, lists: bool, found: &mut Found) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if lists && key == "image" {
                    found.take(value.as_str().unwrap_or_default());
                } else {
                    walk(value, LISTS.contains(&key.as_str()), found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, lists, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reads YAML by its lines: which keys a line stands below is told by how far they are indented.
#[derive(Default)]
struct Lines<'a> {
    /// The keys that the current line stands below: their indents and names.
    above: Vec<(usize, &'a str)>,
    /// The indent of a key whose value is a block of text; what is indented further is text.
    text: Option<usize>,
}

impl<'a> Lines<'a> {
    fn read(mut self, yaml: &'a str, found: &mut Found) {
        for line in yaml.lines() {
            self.line(line, found);
        }
    }

    fn line(&mut self, line: &'a str, found: &mut Found) {
        let content = line.trim_start_matches(' ');
        let mut indent = line.len() - content.len();
        if content.trim().is_empty() {
            return;
        }
        if let Some(key) = self.text {
            if indent > key {
                return;
            }
            self.text = None;
        }
        if content.starts_with('#') {
            return;
        }
        if line.starts_with("---") || line.starts_with("...") {
            self.above.clear();
            return;
        }
        // The dash of a list may stand at the indent of the list's own key.
        let mut content = content.trim_end();
        self.above
            .retain(|(at, _)| *at < indent || (*at == indent && content.starts_with('-')));
        while let Some(rest) = content.strip_prefix('-').filter(|rest| rest.starts_with(' ')) {
            indent += content.len() - rest.trim_start().len();
            content = rest.trim_start();
        }
        if content.starts_with('{') && !content.starts_with("{{") {
            flow(content, self.in_list(), found);
            return;
        }
        let Some((key, value)) = key_and_value(content) else {
            return;
        };
        if value.starts_with(['|', '>']) {
            self.text = Some(indent);
        } else if value.starts_with(['{', '[']) && !value.starts_with("{{") {
            flow(value, LISTS.contains(&key), found);
        } else if key == "image" && self.in_list() {
            found.take(&scalar(value));
        }
        self.above.push((indent, key));
    }

    /// True if the current line is one of a container.
    fn in_list(&self) -> bool {
        self.above.last().is_some_and(|(_, key)| LISTS.contains(key))
    }
}

/// Splits `key: value`; a key may stand in quotes.
fn key_and_value(content: &str) -> Option<(&str, &str)> {
    let (key, value) = match content.split_once(": ") {
        Some((key, value)) => (key, value.trim()),
        None => (content.strip_suffix(':')?, ""),
    };
    let key = key.trim().trim_matches(['"', '\'']);
    let value = if value.starts_with('#') { "" } else { value };
    // An anchor stands before what it names.
    let value = match value.strip_prefix('&') {
        Some(named) => named.split_once(' ').map_or("", |(_, value)| value.trim_start()),
        None => value,
    };
    (!key.is_empty() && !key.contains(' ')).then_some((key, value))
}

/// A plain or quoted text, without the comment behind it.
fn scalar(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default().to_owned();
        }
    }
    let end = value.find(" #").unwrap_or(value.len());
    value[..end].trim_end().to_owned()
}

/// The images of `{ name: a, image: b }` and lists of them, on one line.
fn flow(content: &str, lists: bool, found: &mut Found) {
    // Each field that closes a container or follows another begins behind one of these.
    let mut lists = lists;
    for field in content.split(['{', ',', '[', '}', ']']) {
        let Some((key, value)) = field.split_once(':') else {
            continue;
        };
        let key = key.trim().trim_matches(['"', '\'']);
        if key == "image" && lists {
            found.take(&scalar(value.trim()));
        } else if value.trim().is_empty() {
            lists = LISTS.contains(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(text: &str) -> Vec<String> {
        read(text).unwrap().images.into_iter().collect()
    }

    #[test]
    fn a_list_is_one_reference_a_line() {
        let list = "# what every node needs\nalpine:3.20\n\n  ghcr.io/owner/app@sha256:12 # pinned\nlocalhost:5000/a:b\r\n";
        assert_eq!(
            images(list),
            ["alpine:3.20", "ghcr.io/owner/app@sha256:12", "localhost:5000/a:b"]
        );
    }

    #[test]
    fn every_container_of_every_kind_of_resource_is_found() {
        let yaml = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    image: not-a-container
spec:
  template:
    spec:
      initContainers:
      - name: first
        image: "docker.io/library/first:1"   # in quotes
      containers:
        - image: second:2 # comes first in its entry
          name: web
          env:
            - name: image
              value: not-this
        - name: third
          image: 'third:3'
          args: [--image, "not:this"]
---
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers: [{name: a, image: fourth:4}, {image: "fifth:5", name: b}]
---
kind: List
items:
  - kind: Pod
    spec:
      ephemeralContainers:
        -   name: debug
            image: sixth:6
        - {image: seventh:7, name: g}
  - kind: ConfigMap
    data:
      pod.yaml: |
        containers:
          - image: text:not-a-container
      image: also-not
  - kind: Custom
    spec:
      image: nor-this
      deeper:
        containers:
          - name: x
            "image": eighth:8
"#;
        assert_eq!(
            images(yaml),
            [
                "docker.io/library/first:1",
                "eighth:8",
                "fifth:5",
                "fourth:4",
                "second:2",
                "seventh:7",
                "sixth:6",
                "third:3"
            ]
        );
    }

    #[test]
    fn json_is_read_as_well_and_many_documents_of_it() {
        let json = r#"{"kind":"List","items":[{"spec":{"containers":[{"image":"a:1"},{"image":"b:2"}],"image":"no"}}]}
            {"spec":{"template":{"spec":{"initContainers":[{"name":"x","image":"c:3"}]}}}}"#;
        assert_eq!(images(json), ["a:1", "b:2", "c:3"]);
        assert!(read("{\"kind\":").unwrap_err().contains("begins as JSON"));
    }

    #[test]
    fn what_a_template_leaves_open_is_reported() {
        let template = "{{- if .Values.on }}\nspec:\n  containers:\n    - name: a\n      image: {{ .Values.image }}:{{ .Values.tag }}\n    - name: b\n      image: \"b:1\"\n{{- end }}\n";
        let found = read(template).unwrap();
        assert_eq!(found.images.into_iter().collect::<Vec<_>>(), ["b:1"]);
        assert_eq!(found.skipped.len(), 1, "{:?}", found.skipped);
    }
}
