//! The part of a token service, and of whoever reads its tokens.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::limits::millis;
use super::state::{Reply, Request, State};
use super::switches::{Grant, Scope, TokenField};

/// Who reads a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    Registry,
    Alternate,
}

/// A token.
pub(super) struct Issued {
    issuer: Issuer,
    /// The scopes it is good for; `None` for everything.
    scopes: Option<Vec<String>>,
    account: Option<usize>,
    /// In ms.
    ends: u64,
    /// What was asked, for the tripwires.
    key: String,
}

impl State {
    /// Answers a request for a token.
    pub(super) fn issue(&mut self, request: &Request) -> Reply {
        let asked = parameters(&request.query);
        let key = self.token_key(request);
        self.trips.token_asked(&key, request.at);
        let mut reply = self.decide(request, &asked, &key);
        reply.token = Some((key, self.told_life(&reply)));
        reply
    }

    fn decide(&mut self, request: &Request, asked: &[(String, String)], key: &str) -> Reply {
        let service = asked
            .iter()
            .find(|(name, _)| name == "service")
            .map(|(_, value)| value.as_str());
        if service != self.switches.service {
            return Reply::error(400, "UNSUPPORTED", "no such service");
        }
        let account = match basic(request) {
            None => None,
            Some((user, _)) if self.limits.locked(&user, request.at) => {
                self.trips.login_failed(&user, request.at);
                let words = "too many failed login attempts for username or IP address";
                return Reply::error(429, "TOOMANYREQUESTS", words);
            }
            Some((user, password)) => match self.account(&user, &password, request.at) {
                Some(account) => Some(account),
                None => {
                    self.trips.login_failed(&user, request.at);
                    self.limits.login_failed(&user, self.switches.lockout, request.at);
                    return Reply::error(401, "UNAUTHORIZED", "incorrect username or password");
                }
            },
        };
        let scopes = asked.iter().filter(|(name, _)| name == "scope");
        let mut scopes: Vec<String> = scopes.map(|(_, value)| value.clone()).collect();
        if self.switches.grant == Grant::Empty {
            scopes.clear();
        }
        let bound = matches!(self.switches.scope, Scope::Repository | Scope::Absent);
        let scopes = (bound || self.switches.grant == Grant::Empty).then_some(scopes);
        let token = self.put_token(request, Issuer::Registry, scopes, account, key);
        self.write_down(&token)
    }

    /// Answers a request for a token of the other registry, which asks for no name.
    pub(super) fn issue_for_alternate(&mut self, request: &Request) -> Reply {
        let key = self.token_key(request);
        self.trips.token_asked(&key, request.at);
        let token = self.put_token(request, Issuer::Alternate, None, None, &key);
        let mut reply = Reply::new(200).text(
            "application/json",
            format!(r#"{{"token":"{token}","expires_in":300}}"#),
        );
        reply.token = Some((key, Some(300_000)));
        reply
    }

    /// What a question is told apart by.
    fn token_key(&self, request: &Request) -> String {
        // Another password is another login, which may be worth another token.
        let user = match basic(request) {
            None => "nobody".to_owned(),
            Some((user, password)) => format!("{user}, {password}"),
        };
        format!("{:?} {} for {user}", request.role, request.query)
    }

    /// How long an answer says its token is good for, in ms; the specification's minute where it says nothing.
    fn told_life(&self, reply: &Reply) -> Option<u64> {
        let seconds = self.switches.token.expires_in.unwrap_or(60).max(60);
        let issued = reply.status == 200 && self.switches.token.field != TokenField::Page;
        issued.then_some(seconds.saturating_mul(1000))
    }

    fn put_token(
        &mut self,
        request: &Request,
        issuer: Issuer,
        scopes: Option<Vec<String>>,
        account: Option<usize>,
        key: &str,
    ) -> String {
        let number = self.tokens.len();
        let token = format!("{number}.{}", "x".repeat(self.switches.token_bytes));
        let issued = Issued {
            issuer,
            scopes,
            account,
            ends: request.at + millis(self.switches.token_life),
            key: key.to_owned(),
        };
        self.tokens.insert(token.clone(), issued);
        token
    }

    fn write_down(&self, token: &str) -> Reply {
        let mut body = String::from("{");
        let fields: &[&str] = match self.switches.token.field {
            TokenField::Both => &["token", "access_token"],
            TokenField::Token => &["token"],
            TokenField::AccessToken => &["access_token"],
            TokenField::Page => return Reply::new(200).text("text/html", "<html>sign in</html>"),
        };
        let fields: Vec<String> = fields
            .iter()
            .map(|name| format!("\"{name}\":\"{token}\""))
            .collect();
        body += &fields.join(",");
        if let Some(seconds) = self.switches.token.expires_in {
            let _ = write!(body, ",\"expires_in\":{seconds}");
        }
        body.push('}');
        Reply::new(200).text("application/json", body)
    }

    /// The account whose name and password came with a request. A failed login counts.
    pub(super) fn login(&mut self, request: &Request) -> Option<Option<usize>> {
        let (user, password) = basic(request)?;
        let account = self.account(&user, &password, request.at);
        if account.is_none() {
            self.trips.login_failed(&user, request.at);
        }
        account.map(Some)
    }

    fn account(&mut self, user: &str, password: &str, at: u64) -> Option<usize> {
        let issued = self.identities.accepts(user, password, at);
        let accounts = &self.switches.accounts;
        accounts.iter().position(|account| {
            let fits = account.password == password || account.former == Some(password) || issued;
            account.name == user && fits
        })
    }

    /// The user and the password that a request names, or the user whose token it shows.
    pub(super) fn shown(&self, request: &Request) -> (Option<String>, Option<String>) {
        if let Some((user, password)) = basic(request) {
            return (Some(user), Some(password));
        }
        let issued = bearer(request).and_then(|token| self.tokens.get(token));
        let account = issued.and_then(|issued| issued.account);
        let name = account.map(|account| self.switches.accounts[account].name.to_owned());
        (name, None)
    }

    /// The token that came along was of no use: another may be asked for.
    pub(super) fn reject_token(&mut self, request: &Request) {
        let issued = bearer(request).and_then(|token| self.tokens.get(token));
        if let Some(key) = issued.map(|issued| issued.key.clone()) {
            self.trips.token_rejected(&key);
        }
    }

    /// Whose token came with a request for something in a repository.
    pub(super) fn bearer(&mut self, request: &Request, repository: &str) -> Result<Option<usize>, ()> {
        let Some(token) = bearer(request) else {
            return Err(());
        };
        let Some(issued) = self.tokens.get(token) else {
            return Err(());
        };
        let wanted = format!("repository:{repository}:pull");
        let covers = match &issued.scopes {
            None => true,
            Some(scopes) => repository.is_empty() || scopes.contains(&wanted),
        };
        if issued.issuer == Issuer::Registry && covers && request.at < issued.ends {
            return Ok(issued.account);
        }
        self.trips.token_rejected(&issued.key);
        Err(())
    }

    /// True if a good token of this issuer came along.
    pub(super) fn holds_token(&mut self, request: &Request, issuer: &Issuer) -> bool {
        let issued = bearer(request).and_then(|token| self.tokens.get(token));
        match issued {
            Some(issued) if issued.issuer == *issuer && request.at < issued.ends => true,
            Some(issued) => {
                let line = format!("{} with another's token", request.path);
                if issued.issuer != *issuer {
                    self.trips.spring(super::Trip::AuthToStore, line);
                }
                self.trips.token_rejected(&issued.key);
                false
            }
            None => false,
        }
    }

    /// Makes every token void.
    pub(super) fn revoke_all(&mut self) {
        for issued in self.tokens.values_mut() {
            issued.ends = 0;
        }
    }
}

fn authorization<'a>(request: &'a Request, scheme: &str) -> Option<&'a str> {
    let value = request.headers.get("authorization")?.to_str().ok()?;
    value.strip_prefix(scheme)?.strip_prefix(' ')
}

fn bearer(request: &Request) -> Option<&str> {
    authorization(request, "Bearer")
}

/// User and password.
fn basic(request: &Request) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD.decode(authorization(request, "Basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The parameters of a query.
pub(super) fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
