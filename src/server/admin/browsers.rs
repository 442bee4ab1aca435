//! What keeps pages of other sites, in the operator's browser, from reaching the operator's pages by it.

use http::header;
use http::request::Parts;

/// What browsers are told of every answer: it loads nothing from elsewhere, runs nothing but our own script, stands in
/// no frame, is what its type says, and is not kept.
pub(super) const GUARDS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
];

/// True if the request names this listener by an address: a page that has a name of its own point here says that name.
pub(super) fn is_addressed(head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(head.uri.authority().map(http::uri::Authority::as_str));
    let host: Option<http::uri::Authority> = host.and_then(|host| host.parse().ok());
    let name = host.as_ref().map_or("", http::uri::Authority::host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = address.parse::<std::net::IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost");
    is_local && head.headers.get_all(header::HOST).iter().count() <= 1
}

/// True if a browser sends this for a page of another site. One may link to the status page: it cannot look at what it
/// opens.
pub(super) fn comes_from_a_site(head: &Parts) -> bool {
    let says = |name: &str, word: &str| head.headers.get(name).is_some_and(|value| value == word);
    let is_link =
        head.uri.path() == "/" && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document");
    (says("sec-fetch-site", "cross-site") || says("sec-fetch-site", "same-site")) && !is_link
}

/// True if the body says that it is JSON, which a page of another site cannot have a browser send unasked.
pub(super) fn is_json(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers
            .iter()
            .fold(Request::builder().uri(path), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_api_is_asked_by_address_and_by_no_page_of_another_name() {
        let asked = |host: &str| is_addressed(&head("/api/v1/status", &[("host", host)]));
        for host in [
            "127.0.0.1:5001",
            "[::1]:5001",
            "localhost",
            "LOCALHOST:5001",
            "10.1.2.3",
        ] {
            assert!(asked(host), "{host}");
        }
        for host in [
            "evil.example:5001",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
        ] {
            assert!(!asked(host), "{host}");
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert!(!is_addressed(&head("/", &two)));
    }

    #[test]
    fn a_page_of_another_site_may_link_here_and_no_more() {
        let comes = |path: &str, site: &str, mode: &str, dest: &str| {
            let headers = [
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            comes_from_a_site(&head(path, &headers))
        };
        assert!(!comes("/", "none", "navigate", "document"));
        assert!(!comes("/", "same-origin", "cors", "empty"));
        assert!(!comes("/", "cross-site", "navigate", "document"));
        assert!(comes("/", "cross-site", "navigate", "iframe"));
        assert!(comes("/", "cross-site", "cors", "empty"));
        assert!(comes("/api/v1/status", "cross-site", "navigate", "document"));
        assert!(comes("/api/v1/status", "same-site", "cors", "empty"));
        assert!(comes("/metrics", "cross-site", "no-cors", "image"));
    }
}
