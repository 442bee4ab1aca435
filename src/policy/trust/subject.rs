//! Who of those that an authority has certified is meant: parts of the subject of a certificate.

use std::fmt;

use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry;
use x509_parser::x509::X509Name;

/// What the Notary Project writes before a subject.
const PREFIX: &str = "x509.subject:";

/// Parts that a subject has to have, each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(Vec<(Part, String)>);

/// Text that does not say parts of a subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of C=, ST=, L=, O=, OU= and CN= with a value, each once; a comma in a value is written `\\,`"
)]
pub struct BadSubject(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Country,
    State,
    Locality,
    Organization,
    Unit,
    CommonName,
}

impl Part {
    fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "C" => Self::Country,
            "ST" | "S" => Self::State,
            "L" => Self::Locality,
            "O" => Self::Organization,
            "OU" => Self::Unit,
            "CN" => Self::CommonName,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Country => "C",
            Self::State => "ST",
            Self::Locality => "L",
            Self::Organization => "O",
            Self::Unit => "OU",
            Self::CommonName => "CN",
        }
    }

    fn oid(self) -> Oid<'static> {
        match self {
            Self::Country => oid_registry::OID_X509_COUNTRY_NAME,
            Self::State => oid_registry::OID_X509_STATE_OR_PROVINCE_NAME,
            Self::Locality => oid_registry::OID_X509_LOCALITY_NAME,
            Self::Organization => oid_registry::OID_X509_ORGANIZATION_NAME,
            Self::Unit => oid_registry::OID_X509_ORGANIZATIONAL_UNIT,
            Self::CommonName => oid_registry::OID_X509_COMMON_NAME,
        }
    }
}

impl Subject {
    /// Reads `C=US, ST=WA, O=team`, with `x509.subject:` in front or without.
    ///
    /// # Errors
    /// [`BadSubject`] with the part that is none.
    pub fn parse(text: &str) -> Result<Self, BadSubject> {
        let text = text.trim();
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let mut parts = Vec::new();
        for written in pieces(text) {
            let bad = || BadSubject(written.trim().to_owned());
            let (name, value) = written.split_once('=').ok_or_else(bad)?;
            let part = Part::of(name.trim()).ok_or_else(bad)?;
            let value = plain(value);
            let is_twice = parts.iter().any(|(other, _)| *other == part);
            if value.is_empty() || is_twice {
                return Err(bad());
            }
            parts.push((part, value));
        }
        Ok(Self(parts))
    }

    /// True if a subject has all of these parts; of each that it has several times, all have to be that.
    pub(super) fn means(&self, subject: &X509Name<'_>) -> bool {
        self.0.iter().all(|(part, value)| {
            let oid = part.oid();
            let mut found = subject
                .iter_attributes()
                .filter(|found| *found.attr_type() == oid)
                .peekable();
            found.peek().is_some() && found.all(|found| found.as_str().is_ok_and(|found| found == value))
        })
    }
}

/// The parts between commas; one that stands behind a backslash is none.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut from, mut escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if letter == ',' && !escaped {
            pieces.push(&text[from..at]);
            from = at + 1;
        }
        escaped = letter == '\\' && !escaped;
    }
    pieces.push(&text[from..]);
    pieces
}

/// A value without its backslashes, and without the blanks around it.
fn plain(value: &str) -> String {
    let (mut plain, mut escaped) = (String::new(), false);
    for letter in value.trim().chars() {
        escaped = letter == '\\' && !escaped;
        if !escaped {
            plain.push(letter);
        }
    }
    plain
}

impl fmt::Display for Subject {
    /// As [`Subject::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (part, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let value = value.replace('\\', "\\\\").replace(',', "\\,");
            write!(f, "{comma}{}={value}", part.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subject_is_read_with_and_without_its_prefix_and_each_part_once() {
        let subject = Subject::parse("x509.subject: C=US, ST=WA,O = Team\\, Inc. \\\\ , CN=a=b").unwrap();
        assert_eq!(
            subject,
            Subject::parse("c=US,s=WA,o=Team\\, Inc. \\\\,cn=a=b").unwrap()
        );
        assert_eq!(subject.to_string(), "C=US, ST=WA, O=Team\\, Inc. \\\\, CN=a=b");
        for bad in ["", "*", "C", "C=", "X=1", "C=US,", "C=US, C=DE", "x509.subject:"] {
            assert!(Subject::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_subject_that_is_shown_is_read_as_the_same(
            values in prop::collection::vec("[a-zA-Z,=\\\\.]{1,8}", 1..=6),
        ) {
            let parts = [
                Part::Country, Part::State, Part::Locality, Part::Organization, Part::Unit, Part::CommonName,
            ];
            let subject = Subject(parts.into_iter().zip(values).collect());
            prop_assert_eq!(Subject::parse(&subject.to_string()), Ok(subject));
        }
    }
}
