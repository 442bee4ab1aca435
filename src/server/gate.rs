//! The gate in front of routing: what hyper lets through and a registry must not.
//!
//! Requests to a registry that is only read need no body, so the rule is absolute: a request that
//! announces one, or is ambiguous about it, is refused and its connection closed. No byte of a body is ever
//! taken for the next request.

use http::request::Parts;
use http::{HeaderMap, Method, Version, header};

use crate::oci::Registry;

/// Why a request is not let in. The connection closes after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Two readers could disagree about where it ends or whom it is for: 400.
    Ambiguous(&'static str),
    /// A method that only registries that are written to have: 405.
    Method,
}

/// Checks a request. Returns the registry its Host header reads as, if it does.
///
/// `tainted` says that the connection carried a line that ends with a bare line feed.
pub(super) fn check(head: &Parts, tainted: bool) -> Result<Option<Registry>, Refused> {
    if tainted {
        return Err(Refused::Ambiguous("a line ends without a carriage return"));
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Refused::Method);
    }
    check_framing(&head.headers)?;
    let host = host(head)?;
    Ok(host.parse().ok())
}

/// Checks a request that may be a form: a POST of a body whose length is told, once.
pub(super) fn check_form(head: &Parts, tainted: bool) -> Result<Option<Registry>, Refused> {
    if head.method != Method::POST {
        return check(head, tainted);
    }
    if tainted {
        return Err(Refused::Ambiguous("a line ends without a carriage return"));
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let once = lengths.next().is_some() && lengths.next().is_none();
    if head.headers.contains_key(header::TRANSFER_ENCODING) || (!once && head.version != Version::HTTP_2) {
        return Err(Refused::Ambiguous(
            "a form tells its length, once, by Content-Length",
        ));
    }
    Ok(host(head)?.parse().ok())
}

fn check_framing(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refused::Ambiguous(
            "a pull has no body: Transfer-Encoding is not accepted",
        ));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if length == "0" => Ok(()),
        _ => Err(Refused::Ambiguous(
            "a pull has no body: Content-Length must be 0 or absent",
        )),
    }
}

/// The one host the request is for: the Host header, or the authority of HTTP/2; they must agree.
fn host(head: &Parts) -> Result<String, Refused> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Refused::Ambiguous("two Host headers")),
        (Some(host), None) => {
            let text = host
                .to_str()
                .map_err(|_| Refused::Ambiguous("the Host header is not text"))?;
            Some(text.to_ascii_lowercase())
        }
        (None, None) => None,
    };
    let authority = head
        .uri
        .authority()
        .map(|authority| authority.as_str().to_ascii_lowercase());
    let host = match (named, authority) {
        (Some(host), Some(authority)) if host != authority => {
            return Err(Refused::Ambiguous(
                "the Host header and the request's target disagree",
            ));
        }
        (Some(host), _) => host,
        (None, Some(authority)) if head.version == Version::HTTP_2 => authority,
        (None, _) if head.version == Version::HTTP_10 => return Ok(String::new()),
        (None, _) => return Err(Refused::Ambiguous("no Host header")),
    };
    if is_well_formed(&host) {
        Ok(host)
    } else {
        Err(Refused::Ambiguous("the Host header is malformed"))
    }
}

/// True if a Host header has nothing but the characters of names, addresses and ports.
pub(super) fn is_well_formed(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(fits)
}
