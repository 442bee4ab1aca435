//! The head of a hit as text: what [`super::serve`] and hyper make of one together, in the same order.

use std::io::Write as _;

use super::{cache_status, etag};
use crate::cache::Served;
use crate::oci::Registry;
use crate::policy::quota::Left;

/// Bytes of a head, about: room for them is made at once.
const USUAL: usize = 640;

/// The figures of a hit.
pub(in crate::server) struct Figures {
    /// Bytes of the content.
    pub(in crate::server) length: u64,
    /// What is left of the client's requests, if it is told.
    pub(in crate::server) left: Option<Left>,
}

/// The head that answers a plain request, and room behind it for `more` bytes. `date` is that of HTTP.
pub(in crate::server) fn write_hit(
    served: &Served,
    namespace: Option<&Registry>,
    figures: &Figures,
    date: &str,
    more: usize,
) -> Vec<u8> {
    let etag = etag(&served.digest);
    let (age, length) = (served.age.as_secs().to_string(), figures.length.to_string());
    let (named, namespace) = match namespace {
        Some(namespace) => ("\r\noci-namespace: ", namespace.as_str()),
        None => ("", ""),
    };
    let mut head = Vec::with_capacity(USUAL + more);
    for part in [
        "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\n\
         x-content-type-options: nosniff\r\ncache-status: ",
        cache_status(served.outcome),
        "\r\ncontent-type: ",
        served.media_type.as_str(),
        "\r\ndocker-content-digest: ",
        &etag[1..etag.len() - 1],
        "\r\netag: ",
        &etag,
        "\r\naccept-ranges: bytes\r\nage: ",
        &age,
        named,
        namespace,
        "\r\ncontent-length: ",
        &length,
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    if let Some(Left { limit, remaining }) = figures.left {
        let told = write!(
            head,
            "\r\nratelimit-limit: {limit};w=60\r\nratelimit-remaining: {remaining};w=60"
        );
        told.expect("a Vec takes every write");
    }
    for part in ["\r\ndate: ", date, "\r\n\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    head
}
