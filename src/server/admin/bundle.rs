//! `GET /api/v1/export` and `POST /api/v1/import`: images on their way to and from where no registry is.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{API, Ask, Reply, pairs};
use crate::cache::{Export, ExportError, ImportError, Imported, Wanted};
use crate::oci::Platforms;
use crate::server::Inner;

/// The content type of a bundle.
const TAR: &str = "application/x-tar";
/// Most images of one bundle.
const MAX_IMAGES: usize = 1000;

/// Answers what asks for a bundle; `None` for anything else.
pub(super) async fn answer(inner: &Arc<Inner>, ask: &Ask) -> Option<Reply> {
    if ask.method == Method::POST || ask.path != "export" {
        return None;
    }
    let export = match understood(inner, ask) {
        Ok(export) => export,
        Err(why) => return Some(Reply::error(StatusCode::BAD_REQUEST, why)),
    };
    Some(match Box::pin(inner.cache.export(export)).await {
        Ok(exported) => Reply::archive(TAR, exported.length, exported.pieces),
        Err(error @ ExportError::Wrong(_)) => Reply::error(StatusCode::BAD_REQUEST, error.to_string()),
        Err(error @ ExportError::NotHeld(_)) => Reply::error(StatusCode::NOT_FOUND, error.to_string()),
    })
}

fn understood(inner: &Inner, ask: &Ask) -> Result<Export, String> {
    let references = ask.query.iter().filter(|(key, _)| key == "reference");
    let images: Vec<_> = references
        .map(|(_, name)| Wanted::named(name.clone(), &inner.names))
        .collect();
    if images.is_empty() || images.len() > MAX_IMAGES {
        let count = images.len();
        return Err(format!(
            "the query has {count} times `reference=`; from 1 to {MAX_IMAGES} are taken"
        ));
    }
    let platforms = ask.value("platform").map(Platforms::parse).transpose();
    Ok(Export {
        images,
        platforms: platforms.map_err(|error| format!("`platform`: {error}, or all"))?,
        referrers: ask.value("referrers") != Some("false"),
    })
}

/// True for the one request whose body is no JSON. A browser cannot send it unasked: the type is none that a form
/// has.
pub(super) fn is_import(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE);
    head.method == Method::POST
        && head.uri.path().strip_prefix(API) == Some("import")
        && !head.headers.contains_key(header::ORIGIN)
        && kind.is_some_and(|kind| kind == TAR)
}

/// Reads a bundle as it arrives. The rest of one that is refused is read as well, since who sends it does not listen
/// before it is through.
pub(super) async fn import(inner: &Arc<Inner>, head: &Parts, mut body: Incoming) -> Reply {
    let as_name = pairs(head.uri.query().unwrap_or_default())
        .into_iter()
        .find_map(|(key, value)| (key == "as").then_some(value));
    let mut importer = inner.cache.import();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Reply::error(StatusCode::BAD_REQUEST, "the bundle did not arrive whole");
        };
        let Ok(bytes) = frame.into_data() else { continue };
        if let Err(error) = importer.take(bytes).await {
            drop(importer);
            while let Some(Ok(_)) = body.frame().await {}
            return refused(&error);
        }
    }
    let settled = importer.settle(as_name.as_deref(), |name| Wanted::named(name, &inner.names));
    match Box::pin(settled).await {
        Ok(imported) => told(&imported),
        Err(error) => refused(&error),
    }
}

fn told(imported: &Imported) -> Reply {
    let names: Vec<&str> = imported.images.iter().map(|image| image.image.as_str()).collect();
    tracing::info!(
        images = names.join(" "),
        written = imported.written,
        "imported a bundle"
    );
    Reply::json(imported)
}

fn refused(error: &ImportError) -> Reply {
    let status = match error {
        ImportError::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
        ImportError::Locked(_) => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    };
    Reply::error(status, error.to_string())
}
