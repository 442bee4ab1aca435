//! `WWW-Authenticate`, as RFC 9110 (section 11) writes it and as registries really send it.
//!
//! ```text
//! Basic realm="quay", Bearer realm="https://r/token",service=r,scope="a b"   two challenges on one line
//! Negotiate abc==, Bearer realm=…                                            schemes nobody here speaks
//! ```

/// Most challenges and parameters read; more are ignored.
const MAX_PARTS: usize = 32;

/// One way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// The parameters, keys in lower case, in the order sent.
    pub parameters: Vec<(String, String)>,
}

/// What a registry asks for, of the two schemes registries use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// A token from a token service.
    Bearer {
        /// Where the service is; absolute, or relative to the registry.
        realm: String,
        /// What the service calls the registry; empty if not said.
        service: String,
        /// What the token must be good for; empty if not said.
        scope: String,
    },
    /// A user and password.
    Basic,
}

impl Challenge {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    fn demand(&self) -> Option<Demand> {
        match self.scheme.as_str() {
            "basic" => Some(Demand::Basic),
            "bearer" => Some(Demand::Bearer {
                realm: self.get("realm").filter(|realm| !realm.is_empty())?.to_owned(),
                service: self.get("service").unwrap_or_default().to_owned(),
                scope: self.get("scope").unwrap_or_default().to_owned(),
            }),
            _ => None,
        }
    }
}

/// Chooses among the challenges of all header fields: Bearer, else Basic, else nothing we can do.
pub fn choose<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Demand> {
    let challenges = fields.into_iter().flat_map(parse);
    let mut demands: Vec<_> = challenges.filter_map(|challenge| challenge.demand()).collect();
    let bearer = demands.iter().position(|demand| *demand != Demand::Basic);
    (!demands.is_empty()).then(|| demands.swap_remove(bearer.unwrap_or(0)))
}

/// Reads one header field's challenges, as many as are well-formed before the first that is not.
pub fn parse(field: &str) -> Vec<Challenge> {
    let mut rest = Cursor(field);
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut parts = 0;
    loop {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        let word = rest.take(is_token);
        parts += 1;
        if word.is_empty() || parts > MAX_PARTS {
            return challenges;
        }
        rest.skip(|c| c == ' ' || c == '\t');
        // A word and `=` is a parameter of the challenge before it; a word alone opens a new challenge.
        let Some(challenge) = challenges.last_mut().filter(|_| rest.0.starts_with('=')) else {
            challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
            rest.skip_credentials();
            continue;
        };
        rest.0 = &rest.0[1..];
        rest.skip(|c| c == ' ' || c == '\t');
        let Some(value) = rest.value() else {
            return challenges;
        };
        challenge.parameters.push((word.to_ascii_lowercase(), value));
    }
}

/// What is left to read.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(unwanted);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !wanted(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// Steps over what some schemes write instead of parameters: `Negotiate oRQwEqADCgEAo==`.
    fn skip_credentials(&mut self) {
        let end = self.0.find(',').unwrap_or(self.0.len());
        let text = self.0[..end].trim_end();
        let plain = text.trim_end_matches('=');
        let is_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        if !plain.is_empty() && plain.chars().all(is_token68) {
            self.0 = &self.0[end..];
        }
    }

    /// A quoted string or anything up to the next comma or space. `None` for quotes that never close.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return Some(self.take(|c| c != ',' && !c.is_ascii_whitespace()).to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &quoted[index + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Option<Demand> {
        Some(Demand::Bearer {
            realm: realm.to_owned(),
            service: service.to_owned(),
            scope: scope.to_owned(),
        })
    }

    #[test]
    fn every_observed_form_is_read() {
        let hub = r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:a/b:pull""#;
        assert_eq!(
            choose([hub]),
            bearer("https://a.example/token", "r.example", "repository:a/b:pull")
        );
        let unquoted = r#"bEARER Realm="https://g.example/v2/token",SERVICE=g.example"#;
        assert_eq!(
            choose([unquoted]),
            bearer("https://g.example/v2/token", "g.example", "")
        );
        let no_service = r#"Bearer realm="https://n.example/proxy_auth",scope="repository:x:pull""#;
        assert_eq!(
            choose([no_service]),
            bearer("https://n.example/proxy_auth", "", "repository:x:pull")
        );
        let one_line =
            r#"Basic realm="q.example", Bearer realm="https://q.example/v2/auth" , service = "q.example""#;
        assert_eq!(
            choose([one_line]),
            bearer("https://q.example/v2/auth", "q.example", "")
        );
        let two_fields = [
            r#"Basic realm="Gitea""#,
            r#"Bearer realm="https://h/v2/token",scope="*""#,
        ];
        assert_eq!(choose(two_fields), bearer("https://h/v2/token", "", "*"));
        assert_eq!(choose(["Basic"]), Some(Demand::Basic));
    }

    #[test]
    fn commas_and_escapes_within_quotes_belong_to_the_value() {
        let field = r#"Bearer realm="https://h/t",scope="repository:a:pull,push",error="say \"x\", \\y""#;
        let parsed = parse(field);
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].get("scope"), Some("repository:a:pull,push"));
        assert_eq!(parsed[0].get("error"), Some(r#"say "x", \y"#));
    }

    #[test]
    fn unknown_schemes_are_skipped() {
        let field =
            r#"Negotiate oRQwEqADCgEAo==, NTLM, Digest realm="x", nonce="y", Bearer realm="https://h/t""#;
        assert_eq!(choose([field]), bearer("https://h/t", "", ""));
        assert_eq!(choose(["Negotiate", "Digest realm=\"x\""]), None);
    }

    #[test]
    fn nonsense_is_no_challenge_and_no_panic() {
        for field in [
            "",
            ",,,",
            "=",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"",
            "\"",
            "é",
            "a=b",
        ] {
            assert_eq!(choose([field]), None, "{field}");
        }
        assert!(parse(&"a b=c,".repeat(1000)).len() <= MAX_PARTS);
    }
}
