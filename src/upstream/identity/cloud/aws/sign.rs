//! Signatures of requests to Amazon's services (Signature Version 4): for requests without a query whose path is as
//! it is sent.

use std::fmt::Write;

use aws_lc_rs::hmac;

use super::Keys;
use crate::clock::Time;
use crate::oci::Digest;

/// What is signed.
pub(super) struct Signing<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Names in lower case, in their order; the host and the date are among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// A moment as headers and signatures have it: `20150830T123600Z`.
pub(super) fn stamp(now: Time) -> String {
    let moment = format!("{now:#}");
    let digits: String = moment
        .chars()
        .filter(|letter| !matches!(letter, '-' | ':'))
        .collect();
    match digits.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => digits,
    }
}

impl Signing<'_> {
    /// The `Authorization` header of a request that is sent at `stamp`.
    pub(super) fn sign(&self, keys: &Keys, stamp: &str) -> String {
        let day = stamp.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let text = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            Digest::sha256(self.canonical(&names).as_bytes()).hex()
        );
        let secret = format!("AWS4{}", keys.secret.expose());
        let mut key = secret.into_bytes();
        for part in [day, self.region, self.service, "aws4_request"] {
            key = keyed(&key, part.as_bytes());
        }
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            keys.id,
            hex(&keyed(&key, text.as_bytes()))
        )
    }

    fn canonical(&self, names: &str) -> String {
        let mut text = format!("{}\n{}\n\n", self.method, self.path);
        for (name, value) in self.headers {
            let value: Vec<&str> = value.split_whitespace().collect();
            let _ = writeln!(text, "{name}:{}", value.join(" "));
        }
        let _ = write!(text, "\n{names}\n{}", Digest::sha256(self.body).hex());
        text
    }
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Secret;

    const STAMP: &str = "20150830T123600Z";
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", STAMP);
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// Amazon's own examples: the keys, the day and the region are theirs.
    #[test]
    fn signatures_are_those_of_amazons_examples() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let token = ("x-amz-security-token", TOKEN);
        let spaced = ("my-header1", " value1");
        for (method, headers, body, signature) in [
            (
                "GET",
                vec![HOST, DATE],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                vec![HOST, DATE],
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "POST",
                vec![form, HOST, DATE],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "POST",
                vec![HOST, DATE, token],
                "",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
            (
                "GET",
                vec![HOST, spaced, ("my-header2", " \"a   b   c\""), DATE],
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ] {
            let signing = Signing {
                region: "us-east-1",
                service: "service",
                method,
                path: "/",
                headers: &headers,
                body: body.as_bytes(),
            };
            let keys = Keys {
                id: "AKIDEXAMPLE".to_owned(),
                secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
                session: None,
            };
            let signed = signing.sign(&keys, STAMP);
            assert!(
                signed.ends_with(&format!(", Signature={signature}")),
                "{method} {headers:?}: {signed}"
            );
            assert!(
                signed.starts_with(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
                ),
                "{signed}"
            );
        }
    }

    #[test]
    fn a_moment_is_written_to_the_second() {
        let moment = |text| stamp(Time::parse(text).unwrap());
        assert_eq!(moment("2015-08-30T12:36:00Z"), STAMP);
        assert_eq!(moment("2026-01-02T03:04:05.678Z"), "20260102T030405Z");
    }
}
