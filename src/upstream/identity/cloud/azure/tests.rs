//! What is asked of Azure by which variables, and how long its tokens are good for.

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
    Variables(pairs.iter().map(pair).collect())
}

/// The way that these variables set up: where, and by what.
fn way(pairs: &[(&str, &str)]) -> Result<String, String> {
    Ok(match Method::of(&variables(pairs))? {
        Method::Application { url, client, proof } => {
            let by = match proof {
                Proof::Secret(_) => "secret",
                Proof::File(_) => "file",
            };
            format!("{client} at {url} by {by}")
        }
        Method::Managed { message, .. } => {
            format!("{} ? {}", message.url, message.url.query().unwrap_or_default())
        }
    })
}

const RESOURCE: &str = "resource=https%3A%2F%2Fcontainerregistry%2Eazure%2Enet";

#[test]
fn the_first_way_that_is_set_up_is_taken() {
    let tenant = ("AZURE_TENANT_ID", "t-1");
    let client = ("AZURE_CLIENT_ID", "c-1");
    let secret = ("AZURE_CLIENT_SECRET", "CANARY");
    let file = ("AZURE_FEDERATED_TOKEN_FILE", "/t");
    let service = ("IDENTITY_ENDPOINT", "http://localhost:4141/MSI/token/");
    let header = ("IDENTITY_HEADER", "CANARY");
    let managed = "http://169.254.169.254/metadata/identity/oauth2/token ? api-version=2018-02-01";
    for (pairs, expected) in [
        (
            &[tenant, client, secret, file, service, header][..],
            Ok("c-1 at https://login.microsoftonline.com/t-1/oauth2/v2.0/token by secret".to_owned()),
        ),
        (
            &[
                tenant,
                client,
                file,
                ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
            ],
            Ok("c-1 at https://login.microsoftonline.us/t-1/oauth2/v2.0/token by file".to_owned()),
        ),
        (
            &[client, service, header],
            Ok(format!(
                "http://localhost:4141/MSI/token/ ? api-version=2019-08-01&{RESOURCE}&client_id=c%2D1"
            )),
        ),
        (&[client], Ok(format!("{managed}&{RESOURCE}&client_id=c%2D1"))),
        (&[], Ok(format!("{managed}&{RESOURCE}"))),
        (
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:2579/")],
            Ok(format!(
                "http://127.0.0.1:2579/metadata/identity/oauth2/token ? api-version=2018-02-01&{RESOURCE}"
            )),
        ),
        (
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://nmi.example")],
            Err(
                "AZURE_POD_IDENTITY_AUTHORITY_HOST: http://nmi.example/metadata/identity/oauth2/token: expected https://",
            ),
        ),
        (
            &[client, secret],
            Err("AZURE_CLIENT_SECRET is set and AZURE_TENANT_ID is not: set both"),
        ),
        (
            &[tenant, file],
            Err("AZURE_FEDERATED_TOKEN_FILE is set and AZURE_CLIENT_ID is not: set both"),
        ),
        (
            &[service],
            Err("IDENTITY_ENDPOINT is set and IDENTITY_HEADER is not: set both"),
        ),
        (
            &[("AZURE_TENANT_ID", "../x"), client, secret],
            Err("AZURE_TENANT_ID = \"../x\": expected the ID of a directory"),
        ),
        (
            &[
                tenant,
                client,
                secret,
                ("AZURE_AUTHORITY_HOST", "http://login.example"),
            ],
            Err("AZURE_AUTHORITY_HOST: http://login.example/t-1/oauth2/v2.0/token: expected https://"),
        ),
    ] {
        match (way(pairs), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
            (found, _) => panic!("{pairs:?}: {found:?}"),
        }
    }
}

#[test]
fn a_token_tells_its_life_whatever_the_clocks_say() {
    let token = |claims: &str| format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims));
    for (token, seconds) in [
        (token(r#"{"iat":1000,"exp":11800}"#), Some(10_800)),
        (token(r#"{"iat":1000,"exp":99999999999}"#), Some(86_400)),
        (token(r#"{"iat":1000,"exp":1000}"#), None),
        (token(r#"{"exp":1000}"#), None),
        ("opaque".to_owned(), None),
        ("a.%.c".to_owned(), None),
    ] {
        assert_eq!(life(&token), seconds.map(Duration::from_secs), "{token}");
    }
}
