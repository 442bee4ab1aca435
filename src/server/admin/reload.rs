//! `POST /api/v1/reload`: read the configuration again, and tell what came of it.

use http::{Method, StatusCode};
use tokio::sync::oneshot;

use super::{Ask, Reply};
use crate::server::Inner;

/// Answers what asks for a reload; `None` for anything else.
pub(super) async fn answer(inner: &Inner, ask: &Ask) -> Option<Reply> {
    if ask.method != Method::POST || ask.path != "reload" {
        return None;
    }
    let unavailable = |why: &str| Some(Reply::error(StatusCode::SERVICE_UNAVAILABLE, why));
    let (answer, told) = oneshot::channel();
    let asked = inner.reloads.get().map(|reloads| reloads.try_send(answer));
    if !matches!(asked, Some(Ok(()))) {
        return unavailable("too many reloads are asked for at once, or this Seawall stops; ask again");
    }
    let Ok(reload) = told.await else {
        return unavailable("this Seawall stops");
    };
    if reload.applied {
        return Some(Reply::json(&reload));
    }
    let error = format!(
        "the configuration stays as it was\n  {}",
        reload.problems.join("\n  ")
    );
    let value = serde_json::json!({ "error": error, "problems": reload.problems });
    Some(Reply::json_as(StatusCode::UNPROCESSABLE_ENTITY, &value))
}
