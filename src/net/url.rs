//! URLs that others name (redirects, token realms, next pages) and that hide their secrets when displayed.

use std::fmt;

use http::Uri;

/// Longest URL followed, in bytes; signed storage URLs are about 2 KiB.
const MAX_LENGTH: usize = 8192;

/// How bytes travel to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With TLS.
    Https,
}

/// An absolute `http` or `https` URL without user information or fragment.
///
/// Shown without its query, which is where signatures and tokens are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: u16,
    uri: Uri,
}

/// Why a text is not a URL to follow. Never repeats the text, which may hold a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than 8 KiB.
    #[error("the URL is longer than {MAX_LENGTH} bytes")]
    Long,
    /// Holds bytes no URL may hold, or names no host.
    #[error("the URL is malformed")]
    Malformed,
    /// Neither http nor https.
    #[error("the URL is neither http nor https")]
    Scheme,
    /// Carries a user name or password.
    #[error("the URL carries a user name")]
    UserInfo,
}

/// True for the names that are always of the machine itself (RFC 6761, section 6.3).
pub fn is_localhost(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

impl Url {
    /// Parses an absolute URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_LENGTH {
            return Err(UrlError::Long);
        }
        let text = text.split('#').next().unwrap_or_default();
        Self::from_uri(text.parse().map_err(|_| UrlError::Malformed)?)
    }

    /// Takes a URI that the configuration already parsed.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn from_uri(uri: Uri) -> Result<Self, UrlError> {
        let (scheme, usual) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https, 443),
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Malformed),
        };
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let host = bare_host(authority.host());
        if host.is_empty() {
            return Err(UrlError::Malformed);
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("" | ":") => usual,
            _ => authority.port_u16().ok_or(UrlError::Malformed)?,
        };
        Ok(Self {
            scheme,
            host,
            port,
            uri,
        })
    }

    /// Resolves what this URL's server named: an absolute URL, `//host/path`, `/path`, `?query` or a path
    /// beside this one's.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn join(&self, named: &str) -> Result<Self, UrlError> {
        let named = named.trim_matches([' ', '\t']);
        let has_scheme = named
            .split_once(':')
            .is_some_and(|(head, _)| !head.is_empty() && !head.contains(['/', '?', '#']));
        if has_scheme {
            return Self::parse(named);
        }
        let scheme = self.uri.scheme_str().unwrap_or("https");
        if let Some(rest) = named.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.uri.path();
        let target = match named.chars().next() {
            None | Some('#') => return Ok(self.clone()),
            Some('/') => named.to_owned(),
            Some('?') => format!("{path}{named}"),
            Some(_) => format!("{}{named}", &path[..=path.rfind('/').unwrap_or(0)]),
        };
        Self::parse(&format!("{scheme}://{authority}{target}"))
    }

    /// How it travels.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's usual one if none is written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query, if any. It may be secret.
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The URI to send a request to. It shows its query.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// True if scheme, host and port agree: credentials for one are meant for the other.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, self.port, &self.host) == (other.scheme, other.port, &other.host)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.uri.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host as it is compared and resolved: lower case, no brackets, no dot at the end.
pub(super) fn bare_host(host: &str) -> String {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_never_shown() {
        let url = Url::parse("https://cdn.example/blob?X-Signature=secret").unwrap();
        assert_eq!(url.to_string(), "https://cdn.example/blob");
        assert!(!format!("{url:?}").contains("secret"));
        assert_eq!(url.query(), Some("X-Signature=secret"));
    }

    #[test]
    fn names_are_resolved_as_browsers_do() {
        let base = Url::parse("https://r.example:8443/v2/a/tags/list?n=2").unwrap();
        let join = |named| base.join(named).unwrap().uri().to_string();
        assert_eq!(join("/v2/b?x"), "https://r.example:8443/v2/b?x");
        assert_eq!(join("//cdn.example/b"), "https://cdn.example/b");
        assert_eq!(join("http://cdn.example/b"), "http://cdn.example/b");
        assert_eq!(join("?last=c"), "https://r.example:8443/v2/a/tags/list?last=c");
        assert_eq!(join("next"), "https://r.example:8443/v2/a/tags/next");
    }

    // S016
    #[test]
    fn what_is_no_web_address_is_refused() {
        let base = Url::parse("https://r.example/v2/").unwrap();
        assert!(base.join("file:///etc/passwd").is_err());
        assert_eq!(base.join("ftp://r.example/"), Err(UrlError::Scheme));
        assert_eq!(base.join("https://user:pass@r.example/"), Err(UrlError::UserInfo));
        assert_eq!(base.join("https://r.example:99999/"), Err(UrlError::Malformed));
        assert_eq!(base.join("https:///x"), Err(UrlError::Malformed));
        assert_eq!(base.join("/x\r\nHost: evil"), Err(UrlError::Malformed));
        assert_eq!(base.join(&format!("/{}", "x".repeat(9000))), Err(UrlError::Long));
    }

    #[test]
    fn origins_differ_by_scheme_host_or_port() {
        let url = |text| Url::parse(text).unwrap();
        assert!(url("https://A.example/x").same_origin(&url("https://a.example:443/y")));
        assert!(!url("https://a.example").same_origin(&url("http://a.example:443")));
        assert!(!url("https://a.example").same_origin(&url("https://a.example:444")));
        assert!(!url("https://a.example").same_origin(&url("https://b.a.example")));
        assert_eq!(url("http://[::1]:5000/").host(), "::1");
    }
}
