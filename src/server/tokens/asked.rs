//! What a client asks of the token endpoint, by query or by form.

use crate::server::admin::pairs;
use crate::server::login::Basic;

/// The media type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// Scopes that are looked at; a client that pulls asks for one or two.
const MAX_SCOPES: usize = 32;
/// Longest scope, in bytes: a name of 255 with its registry's.
const MAX_SCOPE: usize = 600;

/// What a token is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The list of what is held.
    Catalog,
    /// A repository, as the client calls it.
    Repository(String),
}

impl Scope {
    /// Reads a scope, from the right: names may hold `host:port`. `None` if nothing of it can be had here.
    fn parse(text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_SCOPE)?;
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` is a repository.
        let kind = kind.split('(').next().unwrap_or_default();
        let has = |wanted: &str| actions.split(',').any(|action| action == wanted || action == "*");
        match (kind, name) {
            ("registry", "catalog") if has("*") => Some(Self::Catalog),
            ("repository", name) if has("pull") => Some(Self::Repository(name.to_owned())),
            _ => None,
        }
    }
}

/// What it proves who it is with.
pub(super) enum Proof {
    /// The header of the request, if it has one.
    Header,
    /// A password in the form.
    Password(Basic),
    /// A token in the form that takes the place of one.
    Refresh(String),
}

/// What a client asks for.
pub(super) struct Asked {
    /// What it wants to pull.
    pub(super) scopes: Vec<Scope>,
    /// Whether it wants a token that takes the place of its password.
    pub(super) offline: bool,
    /// What it proves who it is with.
    pub(super) proof: Proof,
}

impl Asked {
    /// By GET.
    pub(super) fn of_query(query: &str) -> Self {
        let pairs = pairs(query);
        let is = |name: &str, value: &str| pairs.iter().any(|(key, said)| key == name && said == value);
        Self {
            scopes: scopes(&pairs),
            offline: is("offline_token", "true"),
            proof: Proof::Header,
        }
    }

    /// By POST.
    ///
    /// # Errors
    /// What is missing, or there twice.
    pub(super) fn of_form(form: &str) -> Result<Self, &'static str> {
        let pairs = pairs(form);
        let value = |name: &str| {
            let mut values = pairs
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value);
            match (values.next(), values.next()) {
                (first, None) => Ok(first.map(String::as_str)),
                // Two readers could believe two of them.
                (_, Some(_)) => Err("a field of the form is there twice"),
            }
        };
        let proof = match value("grant_type")? {
            Some("refresh_token") => {
                let token = value("refresh_token")?.ok_or("refresh_token is missing")?;
                Proof::Refresh(token.to_owned())
            }
            Some("password") => {
                let (user, password) = (value("username")?, value("password")?);
                let basic = user
                    .zip(password)
                    .and_then(|(user, password)| Basic::new(user, password));
                Proof::Password(basic.ok_or("username and password are missing, or no text")?)
            }
            _ => return Err("grant_type has to be password or refresh_token"),
        };
        Ok(Self {
            scopes: scopes(&pairs),
            offline: value("access_type")? == Some("offline"),
            proof,
        })
    }
}

/// Every scope, whether each has a field of its own or they share one.
fn scopes(pairs: &[(String, String)]) -> Vec<Scope> {
    let fields = pairs.iter().filter(|(key, _)| key == "scope");
    let each = fields.flat_map(|(_, value)| value.split(' '));
    each.filter_map(Scope::parse).take(MAX_SCOPES).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(name: &str) -> Option<Scope> {
        Some(Scope::Repository(name.to_owned()))
    }

    #[test]
    fn scopes_are_read_from_the_right() {
        for (text, expected) in [
            ("repository:library/alpine:pull", repository("library/alpine")),
            ("repository:a.test:5000/x:pull,push", repository("a.test:5000/x")),
            ("repository(plugin):x/y:pull", repository("x/y")),
            ("repository:x:*", repository("x")),
            ("registry:catalog:*", Some(Scope::Catalog)),
            ("repository:x:push", None),
            ("registry:catalog:pull", None),
            ("repository:x", None),
            ("catalog", None),
            ("", None),
        ] {
            assert_eq!(Scope::parse(text), expected, "{text}");
        }
        assert_eq!(
            Scope::parse(&format!("repository:{}:pull", "x".repeat(600))),
            None
        );
    }

    #[test]
    fn a_query_may_repeat_its_scopes_or_join_them_and_no_more_are_read_than_a_client_needs() {
        let asked = Asked::of_query(
            "service=x&scope=repository:a:pull%20repository:b:pull&scope=repository%3Ac%3Apull&offline_token=true",
        );
        assert_eq!(asked.scopes.len(), 3);
        assert!(asked.offline);
        let many = "scope=repository:a:pull&".repeat(1000);
        assert_eq!(Asked::of_query(&many).scopes.len(), MAX_SCOPES);
    }

    #[test]
    fn a_form_proves_one_thing_by_one_field() {
        let ok = |form: &str| Asked::of_form(form).map(|asked| asked.proof);
        let password = ok("grant_type=password&username=a&password=b%26c");
        assert!(matches!(password, Ok(Proof::Password(basic)) if basic == Basic::new("a", "b&c").unwrap()));
        assert!(
            matches!(ok("grant_type=refresh_token&refresh_token=x"), Ok(Proof::Refresh(token)) if token == "x")
        );
        for form in [
            "",
            "grant_type=client_credentials",
            "grant_type=password&username=a",
            "grant_type=password&username=a&password=b&username=c",
            "grant_type=password&grant_type=refresh_token&refresh_token=x",
            "grant_type=refresh_token",
        ] {
            assert!(ok(form).is_err(), "{form}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_bounded(text in "\\PC{0,200}") {
            prop_assert!(Asked::of_query(&text).scopes.len() <= MAX_SCOPES);
            let _ = Asked::of_form(&text);
            let _ = Scope::parse(&text);
        }
    }
}
