//! The part of a registry: who asks, what it costs, and where the bytes are.

use super::journal::About;
use super::journal::Role;
use super::state::{Reply, Request, State};
use super::switches::{
    Alternate, Auth, Delivery, Head, Hidden, Manifests, RateForm, Realm, Scope, Spelling, Unknown,
};
use super::token::Issuer;
use super::wire::host;
use http::Method;
use seawall::oci::Digest;

impl State {
    /// Answers a request to the registry.
    pub(super) fn registry(&mut self, request: &Request, about: &About) -> Reply {
        let endpoint = match about {
            About::Manifest { .. } if request.method == Method::GET => "manifest",
            About::Manifest { .. } => "head",
            About::Blob(_) => "blob",
            About::Ping | About::Tags(_) | About::Token | About::Other => "other",
        };
        if let Some(refused) = self.too_fast(request, endpoint) {
            return refused;
        }
        match about {
            About::Token => self.issue(request),
            About::Ping if self.switches.auth == Auth::Nobody => Reply::new(200),
            About::Ping => match self.who(request, "") {
                Ok(_) => Reply::new(200),
                Err(()) => self.challenge("", true),
            },
            About::Manifest { repository, .. } => self.manifest(request, repository, about),
            About::Blob(digest) => self.blob(request, *digest),
            About::Tags(repository) => self.tags(request, repository),
            About::Other => Reply::error(404, "NAME_UNKNOWN", "no such thing"),
        }
    }

    /// Answers as another registry, which holds the same under another name and has its own tokens.
    pub(super) fn alternate(&mut self, request: &Request, about: &About) -> Reply {
        if request.path == "/token" {
            return self.issue_for_alternate(request);
        }
        let About::Manifest { digest, .. } = about else {
            return Reply::error(404, "NAME_UNKNOWN", "no such thing");
        };
        if !self.holds_token(request, &Issuer::Alternate) {
            let realm = format!(
                r#"Bearer realm="http://{}/token",service=mirror"#,
                host(Role::Alternate)
            );
            return Reply::error(401, "UNAUTHORIZED", "who are you").with("www-authenticate", realm);
        }
        match (digest, self.switches.alternate) {
            (Some(digest), Alternate::Holds) => self.give_manifest(request, *digest),
            (Some(digest), Alternate::Corrupts) => {
                let mut reply = self.give_manifest(request, *digest);
                reply.fault.flip = Some(1);
                reply
            }
            _ => Reply::error(404, "MANIFEST_UNKNOWN", "not here"),
        }
    }

    /// The refusal of a request that is one too many in its time.
    fn too_fast(&mut self, request: &Request, endpoint: &'static str) -> Option<Reply> {
        let rate = self.switches.rate?;
        if self.limits.within_rate(rate, endpoint, request.at) {
            return None;
        }
        let mut reply = match rate.form {
            RateForm::Plain => Reply::new(429).text("text/plain", "Too many requests"),
            RateForm::Json => Reply::error(429, "TOOMANYREQUESTS", "Rate exceeded"),
            RateForm::Words => Reply::error(
                429,
                "TOOMANYREQUESTS",
                "retry-after: 880.092µs, allowed: 44000/minute",
            ),
            RateForm::BareLineFeeds => {
                let mut reply = Reply::new(429).text("text/plain", "Too Many Requests (HAP429).\n");
                reply.bare = true;
                reply
            }
        };
        if let Some(text) = rate.retry_after {
            reply = reply.with("retry-after", text);
            let seconds: u64 = text.parse().unwrap();
            self.trips
                .close("every request", request.at, request.at + seconds * 1000);
        }
        Some(reply)
    }

    /// Who asks for something in a repository: an account, or (`None`) nobody in particular.
    fn who(&mut self, request: &Request, repository: &str) -> Result<Option<usize>, ()> {
        let account = match self.switches.auth {
            Auth::Nobody => return Ok(None),
            Auth::Basic => self.login(request).ok_or(())?,
            Auth::Bearer | Auth::BothOnOneLine | Auth::BothInTwoFields => self.bearer(request, repository)?,
        };
        match account {
            None if self.switches.private => Err(()),
            account => Ok(account),
        }
    }

    /// Who asks for something in a repository that he is shown; an error is what he is told instead.
    fn admitted(&mut self, request: &Request, repository: &str) -> Result<Option<usize>, Box<Reply>> {
        let Ok(account) = self.who(request, repository) else {
            self.reject_token(request);
            return Err(Box::new(self.challenge(repository, false)));
        };
        let name = account.map(|account| self.switches.accounts[account].name);
        let mut closed = self.switches.closed.iter();
        let is_shown = closed.all(|closed| {
            !repository.starts_with(closed.below) || name.is_some_and(|name| closed.to.contains(&name))
        });
        if is_shown {
            return Ok(account);
        }
        Err(Box::new(match self.switches.hidden {
            Hidden::Missing => self.unknown(),
            Hidden::Denied => Reply::error(403, "DENIED", "requested access to the resource is denied"),
            Hidden::Challenged => {
                self.reject_token(request);
                self.challenge(repository, false)
            }
        }))
    }

    /// The 401 that says what is wanted.
    fn challenge(&self, repository: &str, ping: bool) -> Reply {
        let switches = &self.switches;
        let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
        if !ping && !switches.challenge_on_repository {
            return reply;
        }
        let service_host = host(Role::Tokens);
        let realm = match switches.realm {
            Realm::Service => format!("http://{service_host}/token"),
            Realm::SameHost(path) => format!("http://{}{path}", host(Role::Registry)),
            Realm::Relative(path) => path.to_owned(),
            Realm::WithQuery => format!("http://{service_host}/token?audience=pull"),
            Realm::Elsewhere(url) => url.to_owned(),
        };
        let mut bearer = format!("Bearer realm=\"{realm}\"");
        match switches.service {
            Some(service) if switches.spelling == Spelling::UnquotedService => {
                bearer += &format!(",service={service}");
            }
            Some(service) => bearer += &format!(",service=\"{service}\""),
            None => {}
        }
        match switches.scope {
            Scope::Absent => {}
            Scope::Fixed(scope) => bearer += &format!(",scope=\"{scope}\""),
            _ if ping => {}
            Scope::Repository | Scope::NamedButBoundToNothing => {
                bearer += &format!(",scope=\"repository:{repository}:pull\"");
            }
        }
        match switches.spelling {
            Spelling::LowerCase => bearer = bearer.replacen("Bearer", "bearer", 1).replace("realm", "REALM"),
            Spelling::OddSpaces => bearer = bearer.replace(",", "  ,\t ").replace("=\"", " = \""),
            Spelling::Canonical | Spelling::UnquotedService => {}
        }
        let basic = r#"Basic realm="registry""#.to_owned();
        let reply = reply.with("docker-distribution-api-version", "registry/2.0");
        match switches.auth {
            Auth::Nobody | Auth::Bearer => reply.with("www-authenticate", bearer),
            Auth::Basic => reply.with("www-authenticate", basic),
            Auth::BothOnOneLine => reply.with("www-authenticate", format!("{basic}, {bearer}")),
            Auth::BothInTwoFields => reply
                .with("www-authenticate", "Negotiate oRQwEqADCgEAo==")
                .with("www-authenticate", basic)
                .with("www-authenticate", bearer),
        }
    }

    fn manifest(&mut self, request: &Request, repository: &str, about: &About) -> Reply {
        let account = match self.admitted(request, repository) {
            Ok(account) => account,
            Err(refused) => return *refused,
        };
        let About::Manifest {
            digest: Some(digest), ..
        } = about
        else {
            return self.unknown();
        };
        let reference = request.path.rsplit('/').next().unwrap_or_default();
        let told = match self.count(request, repository, account) {
            Ok(told) => told,
            Err(refused) => return *refused,
        };
        let place = match self.switches.manifests {
            Manifests::Here => None,
            Manifests::Elsewhere => {
                let path = format!("/v2/artifacts/images/{repository}/manifests/{reference}");
                Some(format!("http://{}{path}", host(Role::Alternate)))
            }
            Manifests::Signed => Some(self.sign("manifests", *digest, request.at)),
        };
        let reply = match place {
            Some(place) => Reply::new(307).with("location", place),
            None => self.give_manifest(request, *digest),
        };
        self.tell(reply, told)
    }

    /// The manifest itself.
    fn give_manifest(&mut self, request: &Request, digest: Digest) -> Reply {
        let Some((media_type, bytes)) = self.content.bytes(&digest) else {
            return self.unknown();
        };
        let head = request.method == Method::HEAD;
        let mut reply = Reply::new(200).text(self.switches.manifest_type.unwrap_or(media_type), bytes);
        match self.switches.head {
            Head::Status(status) if head => return Reply::new(status),
            Head::WithoutLength if head => reply.body.clear(),
            _ => {}
        }
        let named = match head {
            true => self.switches.head != Head::WithoutDigest,
            false => self.switches.digest_on_get,
        };
        if named {
            reply = reply
                .with("docker-content-digest", digest.to_string())
                .with("etag", format!("\"{digest}\""));
        }
        reply
    }

    /// The tags of a repository, as many as are asked for.
    fn tags(&mut self, request: &Request, repository: &str) -> Reply {
        if let Err(refused) = self.admitted(request, repository) {
            return *refused;
        }
        let mut tags = self.content.tags(repository);
        if tags.is_empty() {
            return self.unknown();
        }
        let most = request
            .query
            .strip_prefix("n=")
            .and_then(|most| most.parse().ok());
        tags.truncate(most.unwrap_or(tags.len()));
        let tags = tags.join("\",\"");
        Reply::new(200).text(
            "application/json",
            format!(r#"{{"name":"{repository}","tags":["{tags}"]}}"#),
        )
    }

    fn unknown(&self) -> Reply {
        match self.switches.unknown {
            Unknown::Json(code) => Reply::error(404, code, "Not Found"),
            Unknown::Page => Reply::new(404).text("text/html", "<html>404</html>"),
            Unknown::Denied => Reply::error(403, "DENIED", "not authorised"),
        }
    }

    fn blob(&mut self, request: &Request, digest: Digest) -> Reply {
        let repository = request
            .path
            .split("/v2/")
            .nth(1)
            .and_then(|rest| rest.split("/blobs/").next());
        let repository = repository.unwrap_or_default().to_owned();
        if let Err(refused) = self.admitted(request, &repository) {
            return *refused;
        }
        if self.content.bytes(&digest).is_none() {
            return Reply::error(404, "BLOB_UNKNOWN", "not here");
        }
        match self.switches.blobs {
            Delivery::Inline => self.give_bytes(request, digest),
            Delivery::Redirect(status) => {
                Reply::new(status).with("location", self.sign("blobs", digest, request.at))
            }
            Delivery::RedirectWithPage(status) => Reply::new(status)
                .with("location", self.sign("blobs", digest, request.at))
                .with("cache-control", "max-age=31536000")
                .text("text/html", "<html>over there</html>"),
        }
    }
}
