//! The file of the registries that were ever asked with credentials: `v1/private`, one name or pattern a line.
//!
//! What is held of them may not be for everybody, also when they are asked with none any more. Plain and small, and
//! apart from the records, which may be lost: what was private must not be everybody's with them. So what cannot be
//! read of the file is taken for all registries.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::health::Health;
use super::replaced::replace;
use crate::policy::naming::Pattern;

/// Most bytes read: some ten thousand names.
const MAX_FILE: u64 = 256 << 10;
/// What those are told who look into it.
const HEAD: &str =
    "# Registries that were asked with credentials: what is held of them may not be for everybody.\n";

/// The file.
#[derive(Debug)]
pub struct PrivateFile {
    path: PathBuf,
    /// What has to be in it.
    noted: Mutex<Vec<Pattern>>,
}

impl PrivateFile {
    /// Reads the file at `path`: the registries that have or had credentials. No file is none. Blocks.
    pub fn open(path: &Path) -> (Self, Vec<Pattern>) {
        let file = Self {
            path: path.to_owned(),
            noted: Mutex::default(),
        };
        let written = file.read().unwrap_or_else(|why| {
            tracing::error!(
                "{} cannot be used: {why}; every registry without credentials is asked whether it shows a repository \
                 to everybody: put it right and start again",
                path.display()
            );
            vec![Pattern::Any]
        });
        (file, written)
    }

    /// Has these written down, besides what is written already: they are on stable storage when this returns, or are
    /// tried again by [`Self::keep`]. What the disk makes of it is reported to its `health`. Blocks.
    pub fn note<'a>(&self, private: impl IntoIterator<Item = &'a Pattern>, health: &Health) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut noted, private);
        drop(noted);
        self.keep(health);
    }

    /// Writes down what has to be in the file and is not, for whatever reason: the disk refused, or the file was lost.
    /// Blocks.
    pub fn keep(&self, health: &Health) {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        // One that cannot be read says all there is to say.
        let Ok(mut all) = self.read() else { return };
        let before = all.len();
        add(&mut all, noted.iter());
        if all.len() == before {
            return;
        }
        let lines = all.iter().map(|pattern| format!("{pattern}\n"));
        let text = std::iter::once(HEAD.to_owned()).chain(lines).collect::<String>();
        if let Err(error) = health.wrote("note", replace(&self.path, text.as_bytes())) {
            tracing::error!(
                "{} was not written: {error}; what is held of these registries would be shown to everybody after a \
                 restart without their credentials; tried again",
                self.path.display()
            );
        }
    }

    fn read(&self) -> Result<Vec<Pattern>, String> {
        let mut text = String::new();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
        match read {
            Ok(read) if read as u64 > MAX_FILE => return Err(format!("it has more than {MAX_FILE} bytes")),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line| {
            Pattern::parse(line)
                .ok_or_else(|| format!("`{line}` is no registry such as ghcr.io or *.azurecr.io"))
        };
        lines.map(parse).collect()
    }
}

fn add<'a>(all: &mut Vec<Pattern>, new: impl IntoIterator<Item = &'a Pattern>) {
    for pattern in new {
        if !all.contains(pattern) {
            all.push(pattern.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn patterns(names: &[&str]) -> Vec<Pattern> {
        names.iter().map(|name| Pattern::parse(name).unwrap()).collect()
    }

    #[test]
    fn s068_what_is_noted_once_is_there_at_every_later_start_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        let health = Health::new();
        let (file, written) = PrivateFile::open(&path);
        assert_eq!(written, []);
        file.note(&[], &health);
        assert!(!path.exists(), "there is nothing to say");
        file.note(&patterns(&["ghcr.io", "*.azurecr.io"]), &health);
        let number = || fs::metadata(&path).unwrap().ino();
        let first = number();
        // Others, and the same again.
        for (note, all) in [
            (&["ghcr.io"][..], &["ghcr.io", "*.azurecr.io"][..]),
            (&[], &["ghcr.io", "*.azurecr.io"]),
            (
                &["quay.io:443", "*"],
                &["ghcr.io", "*.azurecr.io", "quay.io:443", "*"],
            ),
        ] {
            let (file, _) = PrivateFile::open(&path);
            file.note(&patterns(note), &health);
            assert_eq!(PrivateFile::open(&path).1, patterns(all));
            assert_eq!(number() == first, all.len() == 2);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn s068_what_cannot_be_read_stands_for_every_registry_and_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        let long = "# ".repeat(MAX_FILE as usize);
        for text in [&b"ghcr.io\nno registry!\n"[..], b"ghcr\xff.io", long.as_bytes()] {
            fs::write(&path, text).unwrap();
            let (file, written) = PrivateFile::open(&path);
            assert_eq!(written, [Pattern::Any]);
            file.note(&patterns(&["quay.io"]), &Health::new());
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        // Nor is a folder in its place.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(PrivateFile::open(&path).1, [Pattern::Any]);
    }

    #[test]
    fn s068_what_the_disk_refused_and_what_was_lost_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("v1");
        let path = inner.join("private");
        let health = Health::new();
        let (file, _) = PrivateFile::open(&path);
        file.note(&patterns(&["ghcr.io"]), &health);
        for _ in 0..2 {
            fs::create_dir(&inner).unwrap();
            file.keep(&health);
            assert_eq!(PrivateFile::open(&path).1, patterns(&["ghcr.io"]));
            fs::remove_dir_all(&inner).unwrap();
        }
    }
}
