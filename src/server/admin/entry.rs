//! Who may use the operator's pages, and what of them.
//!
//! Whoever is on this machine may use all of them: the operator is. Others have the role of the token that they show, or
//! of the client that they prove to be; by where it comes from alone, nobody changes anything. Whether Seawall is alive
//! and ready is told to everyone.

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode, header};

use super::{API, Reply};
use crate::policy::access::{Evidence, Role};
use crate::server::Inner;
use crate::server::http::From;
use crate::server::login::Login;

/// What a request needs, by its method and its path, which have to be written exactly so.
fn needed(method: &Method, path: &str) -> Option<Role> {
    let of_api = path.strip_prefix(API);
    match (method == Method::POST, path, of_api) {
        (false, "/livez" | "/readyz", _) => None,
        // It hands out content, whoever may pull that.
        (false, _, Some("export")) => Some(Role::Operate),
        (false, ..) => Some(Role::Read),
        (true, _, Some("warm" | "verify" | "lock" | "pin")) => Some(Role::Operate),
        (true, ..) => Some(Role::Admin),
    }
}

/// Somebody who was let in.
pub(super) struct Who {
    /// The name, for the log.
    pub(super) name: String,
    /// True if the request proves it: no page of another site can have a browser do that by another name.
    pub(super) is_proven: bool,
}

impl Who {
    fn unproven(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_proven: false,
        }
    }
}

/// Headers that a proxy adds: who stands behind one is not on this machine because the proxy is.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Who uses the operator's pages, if that is allowed. Whoever shows a token is who that says, wherever they are.
///
/// # Errors
/// 401 or 403, in a sentence that says what is missing.
pub(super) async fn enter(inner: &Inner, head: &Parts, from: &From) -> Result<Who, Reply> {
    let Some(needed) = needed(&head.method, head.uri.path()) else {
        return Ok(Who::unproven("anybody"));
    };
    if let Some(operator) = inner.options.operators.holder(&head.headers) {
        return permitted(&operator.name, operator.role, needed).map_err(forbidden);
    }
    let address = from.peer.ip().to_canonical();
    let is_forwarded = FORWARDED.iter().any(|name| head.headers.contains_key(*name));
    if address.is_loopback() && !is_forwarded {
        return Ok(Who::unproven("this machine"));
    }
    let clients = &inner.options.clients;
    let login = inner
        .logins
        .who(inner.trust(), address, &head.headers, None)
        .await;
    if let Login::Later(wait) = login {
        return Err(later(wait));
    }
    let evidence = Evidence {
        certificate: &from.certificate,
        ..login.evidence(address)
    };
    let says_who = evidence.user.is_some() || evidence.bearer.is_some();
    if !says_who && head.headers.contains_key(header::AUTHORIZATION) {
        let why = "what this logs in with is not known here: no token of [[admin.token]] or of an [[issuer]], and no \
                   user of [access] htpasswd with this password";
        return Err(Reply::error(StatusCode::UNAUTHORIZED, why));
    }
    let who = clients.identify(&evidence);
    let (name, role) = (clients.name_of(who.client), clients.role(&who));
    let can_log_in = clients.access.has_logins() || !inner.options.operators.tokens.is_empty();
    if role < needed && !who.proven && can_log_in {
        let why = format!(
            "this needs the role \"{}\": log in with a token that has it, or as a client that does",
            needed.name()
        );
        return Err(Reply::error(StatusCode::UNAUTHORIZED, why));
    }
    let mut who_is = permitted(&name, role, needed).map_err(forbidden)?;
    who_is.is_proven = who.proven;
    Ok(who_is)
}

/// Lets somebody in who proved who they are, as far as their role goes; else says what is missing.
fn permitted(name: &str, role: Role, needed: Role) -> Result<Who, String> {
    if role >= needed {
        return Ok(Who {
            name: name.to_owned(),
            is_proven: true,
        });
    }
    let (role, needed) = (role.name(), needed.name());
    let why = format!(
        "{name} has the role \"{role}\", and this needs \"{needed}\": the operator says who has it, in an \
         [[admin.token]] or a [[client]]"
    );
    Err(why)
}

fn forbidden(why: String) -> Reply {
    Reply::error(StatusCode::FORBIDDEN, why)
}

fn later(wait: Duration) -> Reply {
    let wait = wait.as_millis().div_ceil(1000);
    let why = format!("too many logins from there, or too many that failed; try again in {wait} s");
    Reply::error(StatusCode::TOO_MANY_REQUESTS, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_written_exactly_needs_as_much_as_any() {
        // S076
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, role) in [
            (&get, "/livez", None),
            (&get, "/readyz", None),
            (&get, "/readyz/", Some(Role::Read)),
            (&get, "/Livez", Some(Role::Read)),
            (&get, "//livez", Some(Role::Read)),
            (&get, "/livez/..;/metrics", Some(Role::Read)),
            (&post, "/livez", Some(Role::Admin)),
            (&get, "/metrics", Some(Role::Read)),
            (&get, "/api/v1/status", Some(Role::Read)),
            (&get, "/api/v1/export", Some(Role::Operate)),
            (&post, "/api/v1/warm", Some(Role::Operate)),
            (&post, "/api/v1/warm/", Some(Role::Admin)),
            (&post, "/api/v1/%77arm", Some(Role::Admin)),
            (&get, "/api/v1/purge", Some(Role::Read)),
            (&post, "/api/v1/purge", Some(Role::Admin)),
            (&post, "/api/v1/purge/stop", Some(Role::Admin)),
            (&post, "/api/v1/import", Some(Role::Admin)),
            (&post, "/api/v1/anything", Some(Role::Admin)),
        ] {
            assert_eq!(needed(method, path), role, "{method} {path}");
        }
    }
}
