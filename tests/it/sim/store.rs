//! The part of a content store: signed URLs, ranges, and bytes that may be spoilt.

use http::Method;
use seawall::oci::{ByteRange, Digest, RangeSet, Selected};

use super::journal::Role;
use super::limits::millis;
use super::state::{BodyFault, Reply, Request, State};
use super::switches::Range;
use super::tripwires::Trip;
use super::wire::host;

/// A URL that was signed.
pub(super) struct Signature {
    digest: Digest,
    /// In ms.
    ends: u64,
    used: u32,
}

impl State {
    /// Signs a URL for a digest; the stores take turns.
    pub(super) fn sign(&mut self, kind: &str, digest: Digest, now: u64) -> String {
        let number = self.signatures.len();
        let ends = now + millis(self.switches.signature_life);
        self.signatures.push(Signature {
            digest,
            ends,
            used: 0,
        });
        let store = Role::Store((number % 2) as u8);
        format!(
            "http://{}/{kind}/{digest}?Expires={ends}&Signature={number}",
            host(store)
        )
    }

    /// Answers a request to a store.
    pub(super) fn store(&mut self, request: &Request) -> Reply {
        let refused = |status, code: &str| {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
            Reply::new(status).text("application/xml", body)
        };
        if request.headers.contains_key("authorization") {
            return refused(400, "InvalidArgument");
        }
        let number = request.query.rsplit_once("Signature=").map(|(_, number)| number);
        let number: Option<usize> = number.and_then(|number| number.parse().ok());
        let digest = request
            .path
            .rsplit('/')
            .next()
            .and_then(|text| text.parse::<Digest>().ok());
        let Some(signature) = number.and_then(|number| self.signatures.get_mut(number)) else {
            return refused(403, "SignatureDoesNotMatch");
        };
        if Some(signature.digest) != digest || request.method != Method::GET {
            return refused(403, "SignatureDoesNotMatch");
        }
        signature.used += 1;
        let (used, ends, digest) = (signature.used, signature.ends, signature.digest);
        if self.switches.store_refusals > 0 {
            self.switches.store_refusals -= 1;
            return Reply::new(429).text("text/html", "<html>slow down</html>");
        }
        if used > 1 {
            self.trips.spring(
                Trip::StaleSignature,
                format!("{} at {} ms", request.path, request.at),
            );
        }
        if request.at >= ends {
            return refused(403, "AccessDenied");
        }
        self.give_bytes(request, digest)
    }

    /// The bytes of a digest, or a run of them.
    pub(super) fn give_bytes(&mut self, request: &Request, digest: Digest) -> Reply {
        let Some((media_type, bytes)) = self.content.bytes(&digest) else {
            return Reply::error(404, "BLOB_UNKNOWN", "not here");
        };
        let fault = self.body_fault(request.role);
        if let Some(page) = fault.instead {
            self.trips.spoilt(&digest);
            let mut reply = Reply::new(200).text("text/html", page);
            // It is not what was asked for, so nobody was given that.
            reply.fault.flip = Some(0);
            return reply;
        }
        let total = bytes.len();
        let range = request.headers.get("range").and_then(|range| range.to_str().ok());
        let selected = range
            .and_then(RangeSet::parse)
            .map(|range| range.select(total as u64));
        let mut reply = match (selected, self.switches.range) {
            (Some(Selected::One(ByteRange { start, end })), Range::Right | Range::Wrong) => {
                let late = u64::from(self.switches.range == Range::Wrong && start > 0);
                let (start, end) = ((start + late).min(end), end);
                let mut reply = Reply::new(206).text(media_type, bytes.slice(start as usize..=end as usize));
                reply.start = start;
                reply.with("content-range", format!("bytes {start}-{end}/{total}"))
            }
            (Some(Selected::Unsatisfiable), _) => Reply::new(416),
            _ => Reply::new(200).text(media_type, bytes),
        };
        if let Some(claim) = fault.claims {
            reply = reply.with("content-encoding", claim);
        }
        if fault.flip.is_some() || fault.claims.is_some() {
            self.trips.spoilt(&digest);
        }
        let len = reply.body.len();
        reply.fault = BodyFault {
            cut_after: fault.cut_after.filter(|cut| *cut < len),
            flip: fault.flip.filter(|at| *at < len),
            ..fault
        };
        reply
    }
}
