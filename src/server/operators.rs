//! Those who use the operator's pages from other machines by a token; clients may have a role there as well.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, header};

use super::login::Basic;
use crate::net::serving::Serving;
use crate::policy::access::Role;
use crate::upstream::Secret;

/// How the operator's pages are served, and to whom besides this machine and the clients that have a role.
#[derive(Clone, Debug)]
pub struct Operators {
    /// The certificate that they are served with; `None`: without TLS.
    pub tls: Option<Serving>,
    /// Who is known by a token.
    pub tokens: Vec<Operator>,
    /// Where other machines reach the pages, there has to be somebody there who may see them.
    pub require_role: bool,
}

impl Default for Operators {
    fn default() -> Self {
        Self {
            tls: None,
            tokens: Vec::new(),
            require_role: true,
        }
    }
}

/// Somebody who is known by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What the log calls them.
    pub name: String,
    /// How far they may go.
    pub role: Role,
    /// The token.
    pub secret: Secret,
}

impl Operators {
    /// Whose token a request shows: as `Bearer`, or as the password of anybody, which is what browsers ask for.
    pub(super) fn holder(&self, headers: &HeaderMap) -> Option<&Operator> {
        let mut said = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(said), None) = (said.next(), said.next()) else {
            // Two readers could believe two of them.
            return None;
        };
        let said = said.as_bytes();
        const BEARER: usize = "Bearer ".len();
        let shown = match said.split_at_checked(BEARER) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii().to_vec(),
            _ => Basic::parse(said)?.password.into_bytes(),
        };
        // As long as any: how much of a token is right does not show in the time this takes.
        let is = |operator: &&Operator| {
            verify_slices_are_equal(operator.secret.expose().as_bytes(), &shown).is_ok()
        };
        self.tokens.iter().find(is)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderValue;

    use super::*;

    fn operators() -> Operators {
        let operator = |name: &str, role| Operator {
            name: name.to_owned(),
            role,
            secret: Secret::new(format!("the token of {name}")),
        };
        Operators {
            tokens: vec![operator("alice", Role::Admin), operator("grafana", Role::Read)],
            ..Operators::default()
        }
    }

    fn held(said: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for said in said {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(said).unwrap());
        }
        operators().holder(&headers).map(|operator| operator.name.clone())
    }

    #[test]
    fn a_token_is_known_as_bearer_and_as_anybodys_password_and_only_whole() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let (alice, grafana) = (Some("alice".to_owned()), Some("grafana".to_owned()));
        assert_eq!(held(&["Bearer the token of alice"]), alice);
        assert_eq!(held(&["bearer  the token of grafana"]), grafana);
        assert_eq!(held(&[&basic("x:the token of grafana")]), grafana);
        assert_eq!(held(&[&basic("alice:the token of alice")]), alice);
        assert_eq!(held(&[&basic(":the token of alice")]), alice);
        for wrong in [
            "Bearer the token of alic",
            "Bearer the token of alice!",
            "Bearer ",
            "the token of alice",
            &basic("the token of alice:"),
            "Basic ***",
        ] {
            assert_eq!(held(&[wrong]), None, "{wrong}");
        }
        assert_eq!(held(&[]), None);
        assert_eq!(held(&["Bearer the token of alice"; 2]), None);
    }
}
