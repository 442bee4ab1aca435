//! How a command is told of its Seawall: files in a directory of its own, and variables that name them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::policy::mirrors::{Address, Piece, Program, pieces, registries_beside};
use crate::policy::naming::Pattern;

/// Where the containers' tools look for registries if no variable says otherwise, below `$HOME` or the root.
const USERS: &str = ".config/containers/registries.conf";
const MACHINES: &str = "/etc/containers/registries.conf";
/// What names of one part mean where no file says it.
const SEARCH: &str = "unqualified-search-registries = [\"docker.io\"]\n";

/// What to set for the command; `get` tells what is set for us. Writes the files into `directory`.
pub(super) fn variables(
    directory: &Path,
    address: &Address,
    patterns: &[Pattern],
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let piece = |program| pieces(program, address, patterns).pieces.remove(0);
    let registries = directory.join("registries.conf");
    write(&registries, &registries_conf(&piece(Program::Podman), get))?;
    let buildkitd = directory.join("buildkitd.toml");
    write(&buildkitd, &piece(Program::Buildkit).text)?;
    let [registries, buildkitd] = [registries, buildkitd].map(|path| path.display().to_string());
    let mut set = vec![
        ("SEAWALL_ADDRESS".to_owned(), address.authority().to_owned()),
        ("CONTAINERS_REGISTRIES_CONF".to_owned(), registries.clone()),
        ("SEAWALL_BUILDKITD_CONFIG".to_owned(), buildkitd.clone()),
        (
            "BUILDKITD_FLAGS".to_owned(),
            joined(get("BUILDKITD_FLAGS"), ' ', &format!("--config={buildkitd}")),
        ),
        (
            "KANIKO_REGISTRY_MAP".to_owned(),
            joined(
                get("KANIKO_REGISTRY_MAP"),
                ';',
                &kaniko_map(&piece(Program::Kaniko)),
            ),
        ),
    ];
    let path = get("PATH").unwrap_or_default();
    if let Some(skopeo) = found("skopeo", &path) {
        let bin = directory.join("bin");
        wrap(&skopeo, &bin, &registries)?;
        set.push(("PATH".to_owned(), format!("{}:{path}", bin.display())));
    }
    Ok(set)
}

/// The registries as they are configured here, with the mirrors behind them. Where that contradicts, the mirrors.
fn registries_conf(piece: &Piece, get: &dyn Fn(&str) -> Option<String>) -> String {
    let home = get("HOME").map(|home| Path::new(&home).join(USERS));
    let places = [
        get("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from),
        home,
        Some(MACHINES.into()),
    ];
    let theirs = places
        .into_iter()
        .flatten()
        .find_map(|path| fs::read_to_string(path).ok());
    let merged = registries_beside(&theirs.unwrap_or_default(), piece);
    let merged = merged.unwrap_or_else(|| piece.text.clone());
    match merged.contains("unqualified-search-registries") {
        true => merged,
        false => format!("{SEARCH}\n{merged}"),
    }
}

/// kaniko's flags as its variable has them.
fn kaniko_map(piece: &Piece) -> String {
    let maps = piece
        .text
        .lines()
        .filter_map(|flag| flag.strip_prefix("--registry-map="));
    maps.collect::<Vec<_>>().join(";")
}

fn joined(before: Option<String>, by: char, more: &str) -> String {
    before
        .filter(|before| !before.is_empty())
        .map_or_else(|| more.to_owned(), |before| format!("{before}{by}{more}"))
}

/// The file that a shell would run for `program`.
fn found(program: &str, path: &str) -> Option<PathBuf> {
    let runs = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(runs)
}

/// skopeo knows no variable for its registries, so it is called with a flag.
fn wrap(skopeo: &Path, bin: &Path, registries: &str) -> Result<(), String> {
    fs::create_dir(bin).map_err(|error| format!("{}: {error}", bin.display()))?;
    let wrapper = bin.join("skopeo");
    let [skopeo, registries] = [&skopeo.display().to_string(), registries].map(quoted);
    write(
        &wrapper,
        &format!("#!/bin/sh\nexec {skopeo} --registries-conf {registries} \"$@\"\n"),
    )?;
    let runs = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&wrapper, runs).map_err(|error| format!("{}: {error}", wrapper.display()))
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(directory: &Path, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let get = |wanted: &str| {
            let found = given.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        };
        let patterns = ["docker.io", "ghcr.io"].map(|name| Pattern::parse(name).unwrap());
        variables(directory, &"127.0.0.1:5555".parse().unwrap(), &patterns, &get).unwrap()
    }

    fn of<'a>(set: &'a [(String, String)], wanted: &str) -> &'a str {
        let found = set.iter().find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| value)
    }

    #[test]
    fn the_command_finds_files_and_what_it_had_set_stays() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs.conf");
        fs::write(
            &theirs,
            "unqualified-search-registries = [\"quay.io\"]\n[[registry]]\nlocation = \"corp\"\n",
        )
        .unwrap();
        let (flags, map) = ("--debug", "a.b=c.d");
        let given = [
            ("CONTAINERS_REGISTRIES_CONF", theirs.to_str().unwrap()),
            ("BUILDKITD_FLAGS", flags),
            ("KANIKO_REGISTRY_MAP", map),
        ];
        let set = set(directory.path(), &given);
        let registries = fs::read_to_string(of(&set, "CONTAINERS_REGISTRIES_CONF")).unwrap();
        let parsed: toml::Table = registries.parse().unwrap();
        assert_eq!(parsed["registry"].as_array().unwrap().len(), 3, "{registries}");
        assert_eq!(
            parsed["unqualified-search-registries"][0].as_str(),
            Some("quay.io")
        );
        let config = of(&set, "SEAWALL_BUILDKITD_CONFIG");
        assert_eq!(of(&set, "BUILDKITD_FLAGS"), format!("--debug --config={config}"));
        assert!(fs::read_to_string(config).unwrap().contains("127.0.0.1:5555"));
        let expected = "a.b=c.d;index.docker.io=127.0.0.1:5555/docker.io;ghcr.io=127.0.0.1:5555/ghcr.io";
        assert_eq!(of(&set, "KANIKO_REGISTRY_MAP"), expected);
        assert_eq!(of(&set, "SEAWALL_ADDRESS"), "127.0.0.1:5555");
        assert_eq!(of(&set, "PATH"), "", "there is no skopeo");
    }

    #[test]
    fn skopeo_is_called_with_a_flag_whatever_its_path_is() {
        let directory = tempfile::tempdir().unwrap();
        let tools = directory.path().join("it's here");
        fs::create_dir(&tools).unwrap();
        let skopeo = tools.join("skopeo");
        write(&skopeo, "#!/bin/sh\necho \"$1\"\n").unwrap();
        fs::set_permissions(&skopeo, fs::Permissions::from_mode(0o755)).unwrap();
        let set = set(directory.path(), &[("PATH", tools.to_str().unwrap())]);
        let bin = of(&set, "PATH").split(':').next().unwrap().to_owned();
        let script = fs::read_to_string(Path::new(&bin).join("skopeo")).unwrap();
        assert!(
            script.contains("it'\\''s here/skopeo' --registries-conf '"),
            "{script}"
        );
    }
}
