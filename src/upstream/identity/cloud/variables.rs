//! The variables that a cloud's tools go by, and the files they name.

use std::fs::File;
use std::io::{self, Read};

use crate::upstream::Secret;

/// Most bytes of a file with a token.
const MAX_FILE: u64 = 64 << 10;

/// Variables by name. What is empty is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(pub Vec<(String, Secret)>);

impl Variables {
    /// The value of the variable, if it is set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(each, _)| each == name)?;
        Some(value.expose()).filter(|value| !value.is_empty())
    }

    /// The value of the first of these that is set.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// The value of a variable that `with` needs.
    ///
    /// # Errors
    /// If it is not set.
    pub(super) fn needed(&self, name: &str, with: &str) -> Result<&str, String> {
        self.get(name)
            .ok_or_else(|| format!("{with} is set and {name} is not: set both"))
    }
}

/// The token in the file that a variable names, without white space around it. It is read each time, for whoever
/// writes it replaces it before it ends.
///
/// # Errors
/// If there is none.
pub(super) async fn token_in(path: &str, variable: &str) -> Result<Secret, String> {
    let text = read(path, variable).await?;
    let token = text.expose().trim();
    let is_plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain {
        true => Ok(Secret::new(token.to_owned())),
        false => Err(format!("{variable}: {path} holds no token")),
    }
}

/// The text of the file that a variable names.
///
/// # Errors
/// If it cannot be read, or is long.
pub(super) async fn read(path: &str, variable: &str) -> Result<Secret, String> {
    let (name, path) = (path.to_owned(), path.to_owned());
    let read = move || -> Result<String, String> {
        let failed = |error: io::Error| error.to_string();
        let mut text = String::new();
        // Not by the length that is told: some files have none.
        let file = File::open(&path).map_err(failed)?;
        let length = file
            .take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        match length as u64 > MAX_FILE {
            true => Err(format!("it is longer than {MAX_FILE} bytes")),
            false => Ok(text),
        }
    };
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.unwrap_or_else(|_| Err("its reader was stopped".to_owned()));
    read.map(Secret::new)
        .map_err(|why| format!("{variable}: {name} cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_what_its_file_holds_without_white_space_around_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let path = path.to_str().unwrap();
        for (content, token) in [
            ("eyJ.CANARY-_~+/=", Some("eyJ.CANARY-_~+/=")),
            ("\n CANARY\r\n\t", Some("CANARY")),
            ("", None),
            (" \n", None),
            ("CANARY two", None),
            ("CANARY\nx-more: header", None),
            ("CANARY\u{e9}", None),
        ] {
            std::fs::write(path, content).unwrap();
            let read = token_in(path, "VARIABLE").await;
            match token {
                Some(token) => assert_eq!(read.unwrap().expose(), token),
                None => assert_eq!(read.unwrap_err(), format!("VARIABLE: {path} holds no token")),
            }
        }
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_64_kib_and_nothing_of_a_longer_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let path = path.to_str().unwrap();
        std::fs::write(path, "x".repeat(65_536)).unwrap();
        assert_eq!(read(path, "VARIABLE").await.unwrap().expose().len(), 65_536);
        std::fs::write(path, "x".repeat(65_537)).unwrap();
        // One that says that it is empty, and has no end.
        for path in [path, "/dev/zero"] {
            let why = read(path, "VARIABLE").await.unwrap_err();
            let told = format!("VARIABLE: {path} cannot be read: it is longer than 65536 bytes");
            assert_eq!(why, told);
        }
        let why = read("/nowhere/token", "VARIABLE").await.unwrap_err();
        assert!(
            why.starts_with("VARIABLE: /nowhere/token cannot be read: "),
            "{why}"
        );
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set() {
        let pair = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
        let variables = Variables(vec![pair("A", ""), pair("B", "b"), pair("C", "c")]);
        assert_eq!((variables.get("A"), variables.get("B")), (None, Some("b")));
        assert_eq!(variables.first(&["A", "C", "B"]), Some("c"));
        let why = variables.needed("A", "B").unwrap_err();
        assert_eq!(why, "B is set and A is not: set both");
    }
}
