//! The list of a repository's tags, page by page.

use std::collections::HashSet;

use http::HeaderMap;
use http::header::LINK;
use serde::Deserialize;

use super::Refusal;
use super::body::read_whole;
use super::exchange::{Ask, Exchange};
use crate::net::url::Url;
use crate::oci::{RepositoryPath, Tag};

/// Tags asked for at once; some registries refuse more.
const PAGE: usize = 1000;

/// Most pages, names and bytes of one list.
const MAX_PAGES: usize = 100;
const MAX_NAMES: usize = 100_000;
const MAX_BYTES: u64 = 16 << 20;

/// Reads all pages. What is no valid tag is left out.
pub(super) async fn tags(exchange: &Exchange, path: &RepositoryPath) -> Result<Vec<String>, Refusal> {
    let mut url = exchange.url(&format!("{path}/tags/list?n={PAGE}"))?;
    let (mut names, mut left, mut seen) = (Vec::new(), MAX_BYTES, HashSet::new());
    loop {
        if !seen.insert(url.clone()) || seen.len() > MAX_PAGES {
            return Err(endless(exchange));
        }
        let mut ask = Ask {
            account: exchange.shield.account(path),
            ..Ask::plain(path, url.clone())
        };
        let answer = exchange.ask_freely(&mut ask).await?;
        if let Some(refusal) = exchange.refusal(&answer) {
            return Err(refusal);
        }
        let response = answer.response;
        let next = next_page(&url, response.headers())?;
        let body = read_whole(response, left, exchange.timeouts.idle, "a list of tags").await?;
        left -= body.len() as u64;
        names.extend(read_page(exchange, &body)?);
        if names.len() > MAX_NAMES {
            return Err(endless(exchange));
        }
        match next {
            Some(next) => url = next,
            None => return Ok(names),
        }
    }
}

fn endless(exchange: &Exchange) -> Refusal {
    let host = exchange.base.host();
    Refusal::Unusable(format!(
        "{host} lists tags in a circle, on more than {MAX_PAGES} pages or more than {MAX_NAMES}"
    ))
}

fn read_page(exchange: &Exchange, body: &[u8]) -> Result<impl Iterator<Item = String>, Refusal> {
    #[derive(Deserialize)]
    struct Page {
        tags: Option<Vec<String>>,
    }
    let page: Page = serde_json::from_slice(body)
        .map_err(|_| Refusal::Unusable(format!("{} answered with no list of tags", exchange.base.host())))?;
    let names = page.tags.unwrap_or_default().into_iter();
    Ok(names.filter(|name| name.parse::<Tag>().is_ok()))
}

/// The page after this one, which must be at the same server: credentials go along (S019).
fn next_page(url: &Url, headers: &HeaderMap) -> Result<Option<Url>, Refusal> {
    let links = headers
        .get_all(LINK)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let Some(target) = links.flat_map(|field| field.split(',')).find_map(next_target) else {
        return Ok(None);
    };
    let wrong = |why: &str| Refusal::Unusable(format!("{} names a next page that {why}", url.host()));
    let next = url
        .join(target)
        .map_err(|error| wrong(&format!("cannot be followed: {error}")))?;
    if next.same_origin(url) {
        Ok(Some(next))
    } else {
        Err(wrong("is on another server"))
    }
}

/// The target of `<target>; rel="next"`.
fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let mut kinds = value.trim().trim_matches('"').split(' ');
        name.trim().eq_ignore_ascii_case("rel") && kinds.any(|kind| kind.eq_ignore_ascii_case("next"))
    };
    parameters.split(';').any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn next(link: &'static str) -> Result<Option<String>, Refusal> {
        let url = Url::parse("https://r.example/v2/a/tags/list?n=1000").unwrap();
        let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
        Ok(next_page(&url, &headers)?.map(|url| url.uri().to_string()))
    }

    // S019
    #[test]
    fn the_next_page_is_followed_on_the_same_server_only() {
        let followed = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            next(r#"</v2/a/tags/list?last=b>; rel="next""#),
            followed("https://r.example/v2/a/tags/list?last=b")
        );
        assert_eq!(
            next("<https://r.example/x>;rel=next"),
            followed("https://r.example/x")
        );
        assert_eq!(
            next(r#"</x>; rel="prev", </y>; rel="next""#),
            followed("https://r.example/y")
        );
        assert_eq!(next("</x>; rel=prev"), Ok(None));
        assert_eq!(next("nonsense"), Ok(None));
        assert!(next("<http://e.example/x>; rel=next").is_err());
        assert!(next("<http://r.example/x>; rel=next").is_err());
    }
}
