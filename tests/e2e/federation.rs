//! The token of another issuer as the password: real clients pull with a good one, and show why another is refused.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::clients::{Containerd, Dockerd, copy, podman_pull, skopeo};
use crate::login::{log_in, refused, write_hosts};
use crate::signing::{AUDIENCE, ISSUER, SigningKey, claims};
use crate::support::images::TAG;
use crate::support::process::run;
use crate::support::{Result, Seawall, Verdict, World};

/// What an issuer's key has signed, or another's in its name.
struct Tokens {
    /// What the issuer publishes.
    keys: Value,
    /// For a client that may pull.
    good: String,
    /// For nobody, each with why.
    bad: [(String, &'static str); 4],
}

impl Tokens {
    fn sign() -> Result<Self> {
        let (key, stranger) = (SigningKey::rsa("one"), SigningKey::rsa("one"));
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let main = json!({ "ref": "refs/heads/main" });
        let good = claims(now, 3600, &main);
        let but = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            key.token(&claims)
        };
        Ok(Self {
            keys: json!({ "keys": [key.jwk()] }),
            good: key.token(&good),
            bad: [
                (stranger.token(&good), "its signature is wrong"),
                (
                    but("aud", json!("https://other.example.com")),
                    "it is for another audience",
                ),
                // By more than clocks may differ.
                (but("exp", json!(now - 90)), "it has expired"),
                (but("ref", json!("refs/heads/mine")), "is meant by its claims"),
            ],
        })
    }
}

/// podman, skopeo and containerd, by token and by password.
pub(crate) fn pulls(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let tokens = Tokens::sign()?;
    for challenge in ["token", "basic"] {
        // One for each: those who fail from one address have to wait in the end.
        for pull in [people, nodes] {
            let seawall = believing(world, challenge, &tokens.keys)?;
            pull(world, &seawall, &tokens).map_err(|error| format!("{challenge}: {error}"))?;
        }
    }
    Ok(Verdict::Passed)
}

/// A Seawall that whoever its issuer says is on the main branch may pull from, and nobody else.
fn believing(world: &World, challenge: &str, keys: &Value) -> Result<Seawall> {
    let directory = world.directory()?;
    let file = directory.join("issuer.jwks");
    fs::write(&file, keys.to_string())?;
    let access = format!(
        "\n[access]\nanonymous = \"nobody\"\nchallenge = \"{challenge}\"\n\
         [[issuer]]\nname = \"ci\"\nurl = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks = {{ file = '{}' }}\n\
         [[client]]\nname = \"main\"\ntier = \"unlimited\"\n\
         match = {{ issuer = \"ci\", claims = {{ ref = \"refs/heads/main\" }} }}\n",
        file.display()
    );
    world.seawall_with(&world.upstream.address, &directory, &access)
}

fn people(world: &World, seawall: &Seawall, tokens: &Tokens) -> Result {
    let place = world.directory()?;
    let logins = place.join("auth.json");
    let source = format!("docker://{}/library/multi:{TAG}", seawall.location);
    let login = |client: &str, token: &str| log_in(client, &logins, &seawall.address, ("oidc", token));
    for (token, why) in &tokens.bad {
        for client in ["podman", "skopeo"] {
            // They have no other words for it while they log in.
            refused(login(client, token), "invalid username/password")?;
        }
        let given = ["--creds", &format!("oidc:{token}")];
        let mut look = skopeo();
        look.args(["inspect", "--raw", "--tls-verify=false"]).args(given);
        refused(run(look.arg(&source)), why)?;
        refused(podman_pull(&place, &given, &source), why)?;
    }
    login("podman", &tokens.good)?;
    let logged_in = logins.display().to_string();
    podman_pull(&place, &["--authfile", &logged_in], &source)?;
    // What podman has written down is nothing to skopeo.
    fs::remove_file(&logins)?;
    login("skopeo", &tokens.good)?;
    let (mut skopeo, images) = (skopeo(), &world.images);
    skopeo.env("REGISTRY_AUTH_FILE", &logins);
    copy(skopeo, &source, &place.join("copy"), images, &images.platforms[0])
}

fn nodes(world: &World, seawall: &Seawall, tokens: &Tokens) -> Result {
    let place = world.directory()?;
    let hosts = place.join("hosts");
    write_hosts(&hosts, &format!("http://{}", seawall.address), "")?;
    let mut containerd = Containerd::start(&place)?;
    let image = format!("docker.io/library/multi:{TAG}");
    let fetch = |token: &str| containerd.fetch(&hosts, &["--user", &format!("oidc:{token}")], &image);
    for (token, why) in &tokens.bad {
        refused(fetch(token), why)?;
    }
    fetch(&tokens.good)?;
    containerd.stop()
}

/// dockerd, by token and by password.
pub(crate) fn daemons(world: &World) -> Result<Verdict> {
    Dockerd::with_logins(world, |_, dockerd| log_in_to_dockerd(world, dockerd))
}

fn log_in_to_dockerd(world: &World, dockerd: &Dockerd) -> Result {
    let tokens = Tokens::sign()?;
    for challenge in ["token", "basic"] {
        let seawall = believing(world, challenge, &tokens.keys)?;
        let address = seawall.address.as_str();
        let log_in = |token: &str| {
            dockerd
                .log_in(address, ("oidc", token))
                .map_err(|error| format!("{challenge}: {error}").into())
        };
        let image = format!("{}/library/multi:{TAG}", seawall.location);
        for (token, why) in &tokens.bad {
            // By password, it shows the status alone.
            let words = if challenge == "token" {
                why
            } else {
                "401 Unauthorized"
            };
            refused(log_in(token), words)?;
        }
        if dockerd.pull(&image).is_ok() {
            return Err(format!("{challenge}: it pulled without a login").into());
        }
        log_in(&tokens.good)?;
        dockerd
            .pull(&image)
            .map_err(|error| format!("{challenge}: {error}"))?;
        dockerd.remove(&image)?;
        dockerd.log_out(address)?;
    }
    Ok(())
}
