//! The variables that a cloud's tools go by, and the files they name.

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
        let failed = |error: std::io::Error| error.to_string();
        let length = std::fs::metadata(&path).map_err(failed)?.len();
        if length > MAX_FILE {
            return Err(format!("it is longer than {MAX_FILE} bytes"));
        }
        std::fs::read_to_string(&path).map_err(failed)
    };
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.unwrap_or_else(|_| Err("its reader was stopped".to_owned()));
    read.map(Secret::new)
        .map_err(|why| format!("{variable}: {name} cannot be read: {why}"))
}
