//! What is said to those who are not let in.

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, StatusCode, header};

use super::login::Login;
use super::respond::{self, Answer};
use super::{Inner, tokens};
use crate::oci::Code;
use crate::policy::access::{self, Denied, Wanted};

/// How a client is asked who it is.
pub(super) enum Challenge {
    /// With a password.
    Basic,
    /// With a token.
    Token {
        /// The URL where it is issued.
        realm: String,
        /// What it has to be good for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// What is asked of who sent this request, and wants this.
    pub(super) fn new(inner: &Inner, head: &Parts, from_proxy: bool, wanted: Wanted<'_>) -> Self {
        let access = &inner.options.clients.access;
        if access.challenge == access::Challenge::Basic {
            return Self::Basic;
        }
        let base = match &access.url {
            Some(url) => url.clone(),
            None => format!("{}://{}", scheme(inner, head, from_proxy), host(head)),
        };
        let scope = match wanted {
            Wanted::Base => None,
            Wanted::Catalog => Some("registry:catalog:*".to_owned()),
            Wanted::Repository(repository) | Wanted::Unoffered(repository) => {
                Some(format!("repository:{repository}:pull"))
            }
        };
        Self::Token {
            realm: base + tokens::PATH,
            scope,
        }
    }

    fn header(&self, why: &Login) -> String {
        let Self::Token { realm, scope } = self else {
            return "Basic realm=\"seawall\", charset=\"UTF-8\"".to_owned();
        };
        let scope = scope
            .as_ref()
            .map(|scope| format!(",scope=\"{scope}\""))
            .unwrap_or_default();
        let error = match why {
            Login::Stale | Login::Refused(_) => ",error=\"invalid_token\"",
            Login::Narrow => ",error=\"insufficient_scope\"",
            Login::None | Login::User(_) | Login::Bearer(_) | Login::Wrong | Login::Later(_) => "",
        };
        format!("Bearer realm=\"{realm}\",service=\"seawall\"{scope}{error}")
    }
}

/// How a client came here: a proxy that is trusted may know better.
fn scheme(inner: &Inner, head: &Parts, from_proxy: bool) -> &'static str {
    let told = head.headers.get("x-forwarded-proto").filter(|_| from_proxy);
    match (told.map(HeaderValue::as_bytes), &inner.options.tls) {
        (Some(b"https"), _) | (None, Some(_)) => "https",
        (Some(_) | None, _) => "http",
    }
}

/// What a client calls this server; the gate has seen that it is a host.
fn host(head: &Parts) -> &str {
    let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    named.or(authority).unwrap_or("localhost")
}

/// 401: there is a way to log in.
pub(super) fn login(why: &Login, challenge: &Challenge) -> Answer {
    let message = match why {
        Login::Wrong => "the user name or the password is wrong",
        Login::Stale => "the token is not good, or not any more; ask for another",
        Login::Refused(why) => &format!("the token is not good: {why}; ask for another"),
        Login::Narrow => "the token is good, and not for this",
        Login::Bearer(_) => {
            "the token is good, and no [[client]] of this cache that may have this is meant by its claims"
        }
        Login::None | Login::User(_) | Login::Later(_) => "log in first, such as with docker login",
    };
    let mut answer = refuse(StatusCode::UNAUTHORIZED, Code::Unauthorized, message);
    respond::put(
        answer.headers_mut(),
        header::WWW_AUTHENTICATE,
        &challenge.header(why),
    );
    answer
}

/// 429: nobody has looked at what was sent.
pub(super) fn later(wait: Duration) -> Answer {
    // Rounded up: who asks when it says so is not told to wait once more.
    let seconds = wait.as_millis().div_ceil(1000);
    let message = format!("too many logins from there, or too many that failed; try again in {seconds} s");
    let mut answer = refuse(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, &message);
    respond::put(answer.headers_mut(), header::RETRY_AFTER, &seconds.to_string());
    answer
}

/// 404 or 403: not for this client, whether it exists or not.
pub(super) fn denied(denied: Denied, wanted: Wanted<'_>) -> Answer {
    let name = match wanted {
        Wanted::Repository(repository) | Wanted::Unoffered(repository) => repository.to_string(),
        Wanted::Base | Wanted::Catalog => "this".to_owned(),
    };
    match denied {
        Denied::NotFound => {
            let message = format!("{name} is not known here");
            respond::error(StatusCode::NOT_FOUND, Code::NameUnknown, &message)
        }
        Denied::Forbidden => {
            let message = format!("{name} is not for this client; the operator of the cache says what is");
            refuse(StatusCode::FORBIDDEN, Code::Denied, &message)
        }
    }
}

/// 403: nobody may pull from there, and there is no way to log in.
pub(super) fn closed(address: IpAddr) -> Answer {
    let message = format!(
        "nobody may pull from {}; the operator of the cache says who may: anonymous in [access], or [[client]]",
        address.to_canonical()
    );
    refuse(StatusCode::FORBIDDEN, Code::Denied, &message)
}

/// A refusal in words, which its first line has too. Not for a 404: nobody is to see whether something is kept from them
/// or is not there.
fn refuse(status: StatusCode, code: Code, message: &str) -> Answer {
    let mut answer = respond::error(status, code, message);
    respond::say_in_first_line(&mut answer, message);
    answer
}

#[cfg(test)]
mod tests {
    use hyper::ext::ReasonPhrase;

    use super::*;
    use crate::policy::issuers::Refused;

    #[test]
    fn a_refusal_says_why_in_its_first_line_unless_that_would_tell_what_is_kept_from_somebody() {
        let first = |answer: &Answer| {
            let phrase = answer.extensions().get::<ReasonPhrase>();
            phrase.map(|phrase| String::from_utf8(phrase.as_bytes().to_vec()).unwrap())
        };
        let wanted = Wanted::Base;
        for (answer, begin) in [
            (
                login(&Login::Refused(Refused::Expired), &Challenge::Basic),
                "Unauthorized: the token is not good: it has expired;",
            ),
            (
                later(Duration::from_millis(6001)),
                "Too Many Requests: too many logins from there, or too many that failed; try again in 7 s",
            ),
            (
                denied(Denied::Forbidden, wanted),
                "Forbidden: this is not for this client;",
            ),
            (
                closed(IpAddr::from([192, 0, 2, 1])),
                "Forbidden: nobody may pull from 192.0.2.1;",
            ),
        ] {
            let line = first(&answer).unwrap();
            assert!(line.starts_with(begin), "{line}");
        }
        assert_eq!(first(&denied(Denied::NotFound, wanted)), None);
    }
}
