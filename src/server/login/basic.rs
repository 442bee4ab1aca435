//! A user and a password as HTTP carries them (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest header that is read, in bytes: room for a token of a cloud as the password.
const MAX_HEADER: usize = 16 * 1024;

/// A name and a password. Not to be printed.
#[derive(PartialEq, Eq)]
pub(in crate::server) struct Basic {
    /// The name of the user; may be empty, where a token is the password.
    pub(in crate::server) user: String,
    /// The password.
    pub(in crate::server) password: String,
}

impl Basic {
    /// Reads an `Authorization`; `None` if it is of another kind, or malformed.
    pub(in crate::server) fn parse(header: &[u8]) -> Option<Self> {
        const SCHEME: usize = "Basic ".len();
        let header = Some(header).filter(|header| header.len() <= MAX_HEADER)?;
        let (scheme, encoded) = header.split_at_checked(SCHEME)?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        Self::new(user, password)
    }

    /// A name and a password; `None` if there is no password, or one is no text.
    pub(in crate::server) fn new(user: &str, password: &str) -> Option<Self> {
        let is_text = |text: &str| !text.contains(char::is_control);
        (is_text(user) && is_text(password) && !password.is_empty()).then(|| Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Option<(String, String)> {
        Basic::parse(header.as_bytes()).map(|basic| (basic.user, basic.password))
    }

    #[test]
    fn a_password_may_hold_colons_and_a_name_may_not() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&header("alice:a:b")), pair("alice", "a:b"));
        assert_eq!(read(&header("alice:ü ")), pair("alice", "ü "));
        assert_eq!(
            read(&header("alice:x").replace("Basic ", "bASIC   ")),
            pair("alice", "x")
        );
        assert_eq!(read(&header(":x")), pair("", "x"));
        for text in ["alice", ":", "alice:", "", "alice:x\0y", "alice\r\n:x"] {
            assert_eq!(read(&header(text)), None, "{text:?}");
        }
        for header in [
            "Basic",
            "Basic !!!!",
            "Bearer YTpi",
            "BasicYTpi",
            "",
            "Basic  ",
            "ü Basic",
        ] {
            assert_eq!(read(header), None, "{header:?}");
        }
        assert_eq!(read(&header(&format!("a:{}", "x".repeat(MAX_HEADER)))), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_nothing_else_panics(
            user in "[^:\\pC]{0,20}",
            password in "\\PC{1,40}",
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            prop_assert_eq!(read(&header), Some((user, password)));
            let _ = Basic::parse(&noise);
            let _ = Basic::parse(&[b"Basic ".as_slice(), &noise].concat());
        }
    }
}
