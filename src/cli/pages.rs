//! What is made of the command line's own definition: completions for shells, pages for `man`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{complain, definition, print};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// The shells whose completions are tested.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where to write a page for each command; without it, the first page is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Completions {
    /// Prints the script.
    pub(super) fn run(&self) -> ExitCode {
        let mut script = Vec::new();
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        clap_complete::generate(shell, &mut definition(), "seawall", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

impl Man {
    /// Prints the first page, or writes all.
    pub(super) fn run(&self) -> ExitCode {
        let done = match &self.directory {
            None => {
                let mut page = Vec::new();
                let rendered = clap_mangen::Man::new(definition()).render(&mut page);
                rendered.map(|()| print(&String::from_utf8_lossy(&page)))
            }
            Some(directory) => write(directory).map(|()| ExitCode::SUCCESS),
        };
        done.unwrap_or_else(|error| {
            let place = self.directory.as_deref().unwrap_or(Path::new("the page"));
            complain(format_args!("error: {}: {error}", place.display()));
            ExitCode::FAILURE
        })
    }
}

fn write(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(definition(), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: clap_complete::Shell) -> String {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut definition(), "seawall", &mut script);
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn completions_know_commands_options_and_words() {
        for shell in [
            clap_complete::Shell::Bash,
            clap_complete::Shell::Zsh,
            clap_complete::Shell::Fish,
        ] {
            let script = script(shell);
            for word in ["mirror-config", "containerd", "follow", "repository", "dry-run"] {
                assert!(script.contains(word), "{shell} does not know {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        for (page, words) in [
            ("seawall.1", ["purge", "seawall\\-serve(1)"]),
            ("seawall-purge.1", ["\\-\\-dry\\-run", "Examples:"]),
            ("seawall-repository-list.1", ["\\-\\-sort", "Examples:"]),
            ("seawall-mirror-config.1", ["\\-\\-follow", "Examples:"]),
        ] {
            let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
            for word in words {
                assert!(text.contains(word), "{page} does not have {word}:\n{text}");
            }
        }
    }
}
