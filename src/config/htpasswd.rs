//! The file that `htpasswd -B` writes: a user and what bcrypt made of the password, a line each.

use std::collections::HashSet;
use std::path::Path;

use crate::policy::access::User;

/// Most bytes of a file: some ten thousand users.
const MAX_FILE: u64 = 1 << 20;
/// Work factors that are accepted. Below, a stolen file is guessed at too fast; above, one login takes a second.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// Reads a file. Blocks on the disk.
///
/// # Errors
/// Why it cannot be used, with the line. Nothing of a hash is told.
pub(super) fn read(path: &Path) -> Result<Vec<User>, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(format!("it has {length} bytes: expected at most {MAX_FILE}"));
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?)
}

/// Reads the lines of a file; empty ones and those that begin with `#` are passed over.
///
/// # Errors
/// Why it cannot be used, with the line. Nothing of a hash is told.
pub fn parse(text: &str) -> Result<Vec<User>, String> {
    let mut users = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = user(line).map_err(|why| format!("line {}: {why}", number + 1))?;
        if !seen.insert(user.name.clone()) {
            return Err(format!(
                "line {}: the user {:?} is there already",
                number + 1,
                user.name
            ));
        }
        users.push(user);
    }
    match users.is_empty() {
        true => Err("there is no user in it".to_owned()),
        false => Ok(users),
    }
}

fn user(line: &str) -> Result<User, String> {
    let (name, hash) = line.split_once(':').ok_or("expected USER:HASH")?;
    if name.is_empty() || name.contains(char::is_control) {
        return Err("the name of the user is empty, or no text".to_owned());
    }
    let cost = cost(hash).ok_or_else(|| {
        format!("the password of {name:?} is not hashed by bcrypt ($2y$…), and nothing else is safe enough")
    })?;
    if !COSTS.contains(&cost) {
        let (least, most) = COSTS.into_inner();
        return Err(format!(
            "the password of {name:?} has cost {cost}: expected {least} to {most}"
        ));
    }
    Ok(User {
        name: name.to_owned(),
        hash: hash.into(),
    })
}

/// The work factor of a hash that bcrypt has made; `None` for any other.
fn cost(hash: &str) -> Option<u32> {
    // `$2x$` is what a faulty bcrypt made.
    let known = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| hash.starts_with(prefix));
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    known.then(|| parts.get_cost())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What bcrypt made of "secret".
    const HASH: &str = "$2y$05$y7qeUBM4eEURPq9Pw4OxOeKYkN3h1zNDgOU8lO2pC5bBzAYoYBXqS";

    #[test]
    fn users_are_read_and_comments_passed_over() {
        let users = parse(&format!("# people\n\nalice:{HASH}\r\n bob:{HASH}\n")).unwrap();
        let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["alice", "bob"]);
        assert_eq!(&*users[0].hash, HASH);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_line_and_without_its_hash() {
        let twice = format!("a:{HASH}\na:{HASH}\n");
        let high = format!("a:{}", HASH.replace("$05$", "$31$"));
        for (text, why) in [
            ("", "no user"),
            ("alice", "line 1: expected USER:HASH"),
            (":x", "line 1: the name"),
            (
                "a:{SHA}CANARYfEqNCco3Yq9h5ZUglD3CZJT4lBs=",
                "line 1: the password of \"a\" is not hashed by bcrypt",
            ),
            ("\na:$apr1$CANARY$x", "line 2"),
            ("a:$2y$05$CANARY", "line 1"),
            (&high, "cost 31: expected 4 to 14"),
            (&twice, "line 2: the user \"a\" is there already"),
        ] {
            let report = parse(text).unwrap_err();
            assert!(report.contains(why), "{report}");
            assert!(!report.contains("CANARY"), "{report}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_its_users_can_be_verified_against(
            text in "([a-z]{0,3}:?(\\$2[aby]\\$0[0-6]\\$[./A-Za-z0-9]{52,54}|\\PC{0,20})\n){0,4}",
        ) {
            for user in parse(&text).unwrap_or_default() {
                prop_assert!(bcrypt::verify("", &user.hash).is_ok());
            }
        }
    }
}
