//! What every command's help shows of its use. A test holds each line to what the command line takes.

use clap::Command;

/// What is typed, and what it does.
type Example = (&'static str, &'static str);

/// The commands, and the examples of each.
const EXAMPLES: [(&str, &[Example]); 24] = [
    (
        "serve",
        &[
            ("seawall serve", "on 127.0.0.1:5000, with the public registries"),
            (
                "seawall serve --config /etc/seawall/seawall.toml",
                "as the file says",
            ),
        ],
    ),
    (
        "check",
        &[(
            "seawall check --config seawall.toml",
            "every problem of the file, or all that takes effect",
        )],
    ),
    (
        "reload",
        &[(
            "seawall reload",
            "what changed in the file takes effect, or all that is wrong with it",
        )],
    ),
    (
        "status",
        &[
            ("seawall status", "budgets, credentials, what was saved, the disk"),
            (
                "seawall status --admin 10.0.0.5:5001 --json",
                "another one's, for a script",
            ),
        ],
    ),
    (
        "repository list",
        &[
            ("seawall repository list --sort size --limit 20", "the largest"),
            (
                "seawall repository list --filter '^ghcr.io/team/'",
                "those of a team",
            ),
        ],
    ),
    (
        "tags",
        &[(
            "seawall tags alpine",
            "all tags that are known of docker.io/library/alpine",
        )],
    ),
    (
        "manifests",
        &[(
            "seawall manifests ghcr.io/team/app --sort pulled",
            "what was pulled last",
        )],
    ),
    (
        "show",
        &[(
            "seawall show alpine:3.20",
            "what it consists of, and what refers to it",
        )],
    ),
    (
        "explain",
        &[
            (
                "seawall explain alpine:3.20",
                "what a pull from here would come to",
            ),
            (
                "seawall explain ghcr.io/team/app:1 --client 10.20.0.7",
                "and one by that client",
            ),
            (
                "seawall explain ghcr.io/team/app:1 --issuer github --claim ref=refs/heads/main",
                "and one by a job of that branch",
            ),
        ],
    ),
    ("usage", &[("seawall usage --top 3", "what takes the most room")]),
    (
        "purge",
        &[
            ("seawall purge ghcr.io/team/app:1.5", "one tag, after a question"),
            (
                "seawall purge --filter 'ghcr.io/team/.*:dev-.*' --ago 7d --untagged --dry-run",
                "only what would go",
            ),
            ("seawall purge --stop", "no further: what is under way ends soon"),
        ],
    ),
    (
        "lock",
        &[(
            "seawall lock alpine:3.20",
            "served as it is now, until it is unlocked",
        )],
    ),
    (
        "unlock",
        &[("seawall unlock alpine:3.20", "follows its registry again")],
    ),
    (
        "pin",
        &[(
            "seawall pin alpine:latest",
            "never evicted, and follows its registry",
        )],
    ),
    (
        "unpin",
        &[("seawall unpin alpine:latest", "may be evicted again")],
    ),
    (
        "holds",
        &[("seawall holds", "what is locked and pinned, and what that takes")],
    ),
    (
        "mirror-config",
        &[
            ("seawall mirror-config podman", "prints the file"),
            (
                "seawall mirror-config containerd --write --wait 1m",
                "writes the files when Seawall answers",
            ),
            (
                "seawall mirror-config docker --remove",
                "takes out what was written, and nothing else",
            ),
        ],
    ),
    (
        "run",
        &[
            (
                "seawall run -- podman build .",
                "a build whose base images come through it",
            ),
            (
                "seawall run --cache ~/.cache/seawall -- make images",
                "and are there for the next one",
            ),
        ],
    ),
    (
        "warm",
        &[
            (
                "seawall warm redis:8 alpine:3.20 --platform linux/amd64,linux/arm64",
                "before anybody asks",
            ),
            (
                "seawall warm --from deployment.yaml --wait 10m",
                "what the manifests name",
            ),
        ],
    ),
    (
        "export",
        &[(
            "seawall export alpine:3.20 ghcr.io/team/app:1.5 -o bundle.tar",
            "both, for another place",
        )],
    ),
    (
        "import",
        &[
            ("seawall import bundle.tar", "served from now on"),
            (
                "seawall import app.tar --as ghcr.io/team/app:1.5",
                "what has no name in the file",
            ),
        ],
    ),
    (
        "verify",
        &[
            (
                "seawall verify --all --sample 10% --rate 50MB/s",
                "a tenth, at leisure",
            ),
            (
                "seawall verify alpine:3.20 --refetch",
                "and mend it if it is damaged",
            ),
        ],
    ),
    (
        "completions",
        &[
            (
                "seawall completions bash > /etc/bash_completion.d/seawall",
                "for every bash that begins",
            ),
            (
                "seawall completions zsh > /usr/local/share/zsh/site-functions/_seawall",
                "for zsh",
            ),
            (
                "seawall completions fish > ~/.config/fish/completions/seawall.fish",
                "for fish",
            ),
        ],
    ),
    (
        "man",
        &[
            ("seawall man | man -l -", "reads the first page"),
            (
                "seawall man /usr/local/share/man/man1",
                "writes a page for each command",
            ),
        ],
    ),
];

/// `command` with the examples in its help.
pub(super) fn added(mut command: Command) -> Command {
    for (path, examples) in EXAMPLES {
        let words: Vec<&str> = path.split(' ').collect();
        command = at(command, &words, &text(examples));
    }
    command
}

fn at(command: Command, path: &[&str], text: &str) -> Command {
    match path {
        [] => command.after_help(text.to_owned()),
        [first, rest @ ..] => command.mut_subcommand(first, |inner| at(inner, rest, text)),
    }
}

fn text(examples: &[Example]) -> String {
    let line = |(typed, does): &Example| format!("  {typed}\n      {does}\n");
    format!("Examples:\n{}", examples.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::super::Arguments;
    use super::*;

    /// The commands that do something, by the words that name them.
    fn leaves(command: &Command, path: &str) -> Vec<(String, String)> {
        let inner: Vec<&Command> = command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
            .collect();
        if inner.is_empty() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            return vec![(path.trim().to_owned(), help)];
        }
        inner
            .into_iter()
            .flat_map(|inner| leaves(inner, &format!("{path} {}", inner.get_name())))
            .collect()
    }

    /// The words of a line as a shell would have them, up to a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (number, part) in line.split('\'').enumerate() {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        let end = words.iter().position(|word| word == "|" || word == ">");
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    #[test]
    fn every_command_shows_its_use_in_lines_that_it_takes() {
        let found = leaves(&added(Arguments::command()), "");
        assert_eq!(found.len(), EXAMPLES.len(), "{found:?}");
        for (path, help) in found {
            let lines: Vec<&str> = help
                .lines()
                .filter_map(|line| line.strip_prefix("  seawall "))
                .collect();
            assert!(!lines.is_empty(), "`seawall {path}` shows no example");
            for line in lines {
                assert!(line.starts_with(&path), "an example of `{path}`: {line}");
                let typed = words(&format!("seawall {line}"));
                let parsed = added(Arguments::command()).try_get_matches_from(typed);
                let problem = parsed
                    .err()
                    .filter(|error| error.kind() != ErrorKind::DisplayHelp);
                assert!(problem.is_none(), "{line}: {}", problem.unwrap());
            }
        }
    }

    /// What a page of documentation has people type, by its fenced blocks; and what an example for CI runs.
    fn typed(name: &str) -> Vec<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
        let mut block: Option<String> = None;
        let mut found = Vec::new();
        for line in text.lines().map(str::trim) {
            let line = match (line.strip_prefix("```"), block.as_deref(), name) {
                (Some(language), None, _) => {
                    block = Some(language.to_owned()).filter(|_| name.ends_with(".md"));
                    continue;
                }
                (Some(_), Some(_), _) => {
                    block = None;
                    continue;
                }
                (None, Some("sh"), _) => Some(line),
                (None, Some(_), _) => line.strip_prefix("$ "),
                (None, None, "README.md") => None,
                (None, None, _) => Some(line.trim_start_matches("- ").trim_start_matches("run: ")),
            };
            let line = line.filter(|line| line.starts_with("seawall "));
            let ends = [" #", " || ", " && "];
            let end = |line: &str| ends.iter().filter_map(|end| line.find(end)).min();
            found.extend(line.map(|line| line[..end(line).unwrap_or(line.len())].replace('"', "")));
        }
        found
    }

    #[test]
    fn what_the_readme_and_the_examples_have_people_type_is_taken() {
        let mut count = 0;
        for name in [
            "README.md",
            "config/examples/ci/github-actions.yml",
            "config/examples/ci/gitlab-ci.yml",
        ] {
            for line in typed(name) {
                // A digest that is left out is for the reader to put in.
                let line = line.replace("sha256:…", &format!("sha256:{}", "a".repeat(64)));
                let line = line.replace("$RUNNER_CACHE", "cache.internal:5000");
                let parsed = added(Arguments::command()).try_get_matches_from(words(&line));
                assert!(parsed.is_ok(), "{name}: {line}: {}", parsed.unwrap_err());
                count += 1;
            }
        }
        assert!(count > 30, "only {count} lines were found");
    }
}
