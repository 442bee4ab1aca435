//! The head of a hit as text: what [`super::serve`] and hyper make of one together, in the same order.

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
    let (mut age, mut length) = (itoa::Buffer::new(), itoa::Buffer::new());
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
        age.format(served.age.as_secs()),
        named,
        namespace,
        "\r\ncontent-length: ",
        length.format(figures.length),
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    if let Some(Left { limit, remaining }) = figures.left {
        let (mut most, mut left) = (itoa::Buffer::new(), itoa::Buffer::new());
        for part in [
            "\r\nratelimit-limit: ",
            most.format(limit),
            ";w=60\r\nratelimit-remaining: ",
            left.format(remaining),
            ";w=60",
        ] {
            head.extend_from_slice(part.as_bytes());
        }
    }
    for part in ["\r\ndate: ", date, "\r\n\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    head
}
