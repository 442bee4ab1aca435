//! Real clients log in and pull what they may; those that are refused show why.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::clients::{Containerd, Dockerd, copy, skopeo};
use crate::support::images::TAG;
use crate::support::process::{command, run, wait_until};
use crate::support::{Result, Seawall, Verdict, World};

/// `alice:right`, as it is sent.
const RIGHT: &str = "YWxpY2U6cmlnaHQ=";

/// A Seawall that alice may pull from, and nobody else; `challenge` is how it asks who somebody is.
fn locked(world: &World, challenge: &str) -> Result<Seawall> {
    let htpasswd = world.directory()?.join("htpasswd");
    write_user(&htpasswd, "right")?;
    locked_by(world, challenge, &htpasswd, "")
}

/// The same by a file of users, with more keys in `[access]`.
fn locked_by(world: &World, challenge: &str, htpasswd: &Path, keys: &str) -> Result<Seawall> {
    let access = format!(
        "\n[access]\nanonymous = \"nobody\"\nchallenge = \"{challenge}\"\n{keys}htpasswd = '{}'\n\
         [[client]]\nname = \"team\"\ntier = \"unlimited\"\nmatch = {{ user = [\"alice\"] }}\n\
         deny = [\"docker.io/library/app\"]\n",
        htpasswd.display()
    );
    world.seawall_with(&world.upstream.address, &world.directory()?, &access)
}

/// Writes a file of users: alice, with this password.
fn write_user(htpasswd: &Path, password: &str) -> Result {
    let hash = bcrypt::hash(password, 5)?;
    Ok(fs::write(htpasswd, format!("alice:{hash}\n"))?)
}

/// Fails unless a client failed in these words.
pub(crate) fn refused(outcome: Result<String>, words: &str) -> Result {
    match outcome {
        Ok(said) => Err(format!("it was not refused: {said}").into()),
        Err(error) if error.to_string().contains(words) => Ok(()),
        Err(error) => Err(format!("{words:?} is not in: {error}").into()),
    }
}

/// Has podman or skopeo log in; what it says.
pub(crate) fn log_in(
    client: &str,
    logins: &Path,
    address: &str,
    (user, password): (&str, &str),
) -> Result<String> {
    let mut login = command(client);
    login
        .args(["login", "--tls-verify=false", "--authfile"])
        .arg(logins);
    login.args(["--username", user, "--password", password]);
    run(login.arg(address))
}

/// podman and skopeo, by token and by password.
pub(crate) fn people(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    for challenge in ["token", "basic"] {
        let seawall = locked(world, challenge)?;
        for client in ["podman", "skopeo"] {
            let place = world.directory()?;
            let logins = place.join("auth.json");
            let login = |password: &str| log_in(client, &logins, &seawall.address, ("alice", password));
            refused(login("wrong"), "invalid username/password")?;
            let said = login("right").map_err(|error| format!("{client}, {challenge}: {error}"))?;
            if !said.contains("Login Succeeded") {
                return Err(format!("{client}, {challenge}: {said}").into());
            }
            let source = |repository: &str| format!("docker://{}/{repository}:{TAG}", seawall.location);
            let skopeo = |with_login: bool| {
                let mut skopeo = skopeo();
                // A file that is not there: the machine's own logins are nobody's here.
                let file = if with_login {
                    logins.clone()
                } else {
                    place.join("none.json")
                };
                skopeo.env("REGISTRY_AUTH_FILE", file);
                skopeo
            };
            let (images, target) = (&world.images, place.join("copy"));
            let multi = source("library/multi");
            copy(skopeo(true), &multi, &target, images, &images.platforms[0])
                .map_err(|error| format!("{client}, {challenge}: {error}"))?;
            let look = |with_login, source: &str| {
                run(skopeo(with_login).args(["inspect", "--raw", "--tls-verify=false", source]))
            };
            refused(look(false, &multi), "log in first")?;
            // What alice may not have is not there for her, or not in her token.
            let denied = if challenge == "token" {
                "not for this"
            } else {
                "not known here"
            };
            refused(look(true, &source("library/app")), denied)?;
        }
    }
    Ok(Verdict::Passed)
}

/// Two tenants of a registry that takes alice and a robot: alice has what the robot fetched, and bob, whom it does
/// not take, and whoever does not log in have nothing of it, held or not.
pub(crate) fn tenants(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let (htpasswd, secret) = (directory.join("htpasswd"), directory.join("secret"));
    let hash = bcrypt::hash("right", 5)?;
    fs::write(&htpasswd, format!("alice:{hash}\nrobot:{hash}\n"))?;
    fs::write(&secret, "right")?;
    let registry = world.upstream.start_locked(&directory, &htpasswd)?;
    let place = world.directory()?;
    let access = format!(
        "access = \"per_client\"\ncredentials = [{{ username = \"robot\", password = {{ file = '{}' }} }}]\n",
        secret.display()
    );
    let seawall = world.seawall_with(&registry.address, &place, &access)?;
    let (alice, bob, nobody) = (
        place.join("alice.json"),
        place.join("bob.json"),
        place.join("none.json"),
    );
    let login = |password: &str| log_in("skopeo", &alice, &seawall.address, ("alice", password));
    refused(login("wrong"), "invalid username/password")?;
    login("right")?;
    // Seawall would not let bob log in; he tries all the same.
    let logins = fs::read_to_string(&alice)?.replace(RIGHT, "Ym9iOnJpZ2h0");
    fs::write(&bob, logins)?;
    let skopeo = |logins: &Path| {
        let mut skopeo = skopeo();
        skopeo.env("REGISTRY_AUTH_FILE", logins);
        skopeo
    };
    let image = format!("docker://{}/library/multi", seawall.address);
    let (images, target) = (&world.images, place.join("copy"));
    let tagged = format!("{image}:{TAG}");
    let look = |logins: &Path, source: &str| {
        run(skopeo(logins).args(["inspect", "--raw", "--tls-verify=false", source]))
    };
    for _ in 0..2 {
        for source in [&tagged, &format!("{image}@{}", images.index)] {
            refused(look(&bob, source), "does not take this user name")?;
            refused(look(&nobody, source), "log in first")?;
        }
        copy(skopeo(&alice), &tagged, &target, images, &images.platforms[0])?;
    }
    let fetched = registry.asked()?.into_iter();
    let fetched = fetched.filter(|asked| asked.method == "GET" && asked.status == 200);
    let manifests = fetched.filter(|asked| asked.target.contains("/manifests/"));
    match manifests.count() {
        2 => Ok(Verdict::Passed),
        other => Err(format!("two manifests were fetched {other} times").into()),
    }
}

/// containerd, by token and by password, with the credentials that a kubelet would hand it and with those in its
/// `hosts.toml`.
pub(crate) fn nodes(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let place = world.directory()?;
    let mut containerd = Containerd::start(&place)?;
    let wrong = "401 Unauthorized: the user name or the password is wrong";
    // By token, what stands in the file gives way to a question for one, without a login.
    let anew = "401 Unauthorized: log in first";
    for (challenge, denied, wrong_header) in [
        ("token", "insufficient_scope", anew),
        ("basic", "not found", wrong),
    ] {
        let seawall = locked(world, challenge)?;
        let url = format!("http://{}", seawall.address);
        let hosts = place.join(challenge);
        write_hosts(&hosts, &url, "")?;
        let pull = |login: &[&str], repository: &str| {
            let name = format!("docker.io/library/{repository}:{TAG}");
            containerd
                .fetch(&hosts, login, &name)
                .map_err(|error| format!("{challenge}: {error}").into())
        };
        refused(pull(&[], "multi"), anew)?;
        refused(pull(&["--user", "alice:wrong"], "multi"), wrong)?;
        pull(&["--user", "alice:right"], "multi")?;
        refused(pull(&["--user", "alice:right"], "app"), denied)?;
        let file = hosts.join("docker.io/hosts.toml");
        let plain = fs::read_to_string(&file)?;
        let header = |login: &str| {
            let header = format!("[host.\"{url}\".header]\nAuthorization = [\"Basic {login}\"]\n");
            fs::write(&file, format!("{plain}{header}"))
        };
        header("YWxpY2U6d3Jvbmc=")?;
        refused(pull(&[], "multi"), wrong_header)?;
        header(RIGHT)?;
        pull(&[], "multi")?;
        // What is not there for her is then asked of the same place as a server, which no login is sent to.
        refused(pull(&[], "app"), anew)?;
    }
    containerd.stop()?;
    Ok(Verdict::Passed)
}

/// dockerd, by token and by password: what it pulls once it is known who somebody is, and what it shows people before.
/// Some of it is in words of its own.
pub(crate) fn daemons(world: &World) -> Result<Verdict> {
    Dockerd::with_logins(world, |_, dockerd| log_in_to_dockerd(world, dockerd))
}

fn log_in_to_dockerd(world: &World, dockerd: &Dockerd) -> Result {
    for (challenge, wrong, unknown, denied) in [
        (
            "token",
            "the user name or the password is wrong",
            "log in first",
            "access to the resource is denied",
        ),
        (
            "basic",
            "failed with status: 401 Unauthorized",
            "no basic auth credentials",
            "not known here",
        ),
    ] {
        let seawall = locked(world, challenge)?;
        let address = seawall.address.as_str();
        let log_in = |password| dockerd.log_in(address, ("alice", password));
        let image = |repository: &str| format!("{}/{repository}:{TAG}", seawall.location);
        let pull = |repository: &str| dockerd.pull(&image(repository));
        refused(log_in("wrong"), wrong)?;
        refused(pull("library/multi"), unknown)?;
        let said = log_in("right")?;
        if !said.contains("Login Succeeded") {
            return Err(format!("{challenge}: {said}").into());
        }
        pull("library/multi").map_err(|error| format!("{challenge}: {error}"))?;
        // What alice may not have is not in her token, or not there for her.
        refused(pull("library/app"), denied)?;
        dockerd.remove(&image("library/multi"))?;
        dockerd.log_out(address)?;
        refused(pull("library/multi"), unknown)?;
    }
    Ok(())
}

/// dockerd, where tokens outlast Seawall: it keeps one instead of the password and pulls by it, also from another Seawall
/// with the same key; it is refused by one that nobody signed, and once its user has another password.
pub(crate) fn identity_tokens(world: &World) -> Result<Verdict> {
    Dockerd::with_logins(world, |place, dockerd| pull_by_kept_token(world, place, dockerd))
}

fn pull_by_kept_token(world: &World, place: &Path, dockerd: &Dockerd) -> Result {
    let (htpasswd, key) = (place.join("htpasswd"), place.join("token.key"));
    write_user(&htpasswd, "right")?;
    fs::write(&key, "k".repeat(32))?;
    let keys = format!("token_key = {{ file = '{}' }}\n", key.display());
    let start = || locked_by(world, "token", &htpasswd, &keys);
    let (first, second) = (start()?, start()?);
    dockerd.log_in(&first.address, ("alice", "right"))?;
    let file = place.join("client/config.json");
    let kept = fs::read_to_string(&file)?;
    let config: Value = serde_json::from_str(&kept)?;
    let login = &config["auths"][&first.address];
    let token = login["identitytoken"].as_str().unwrap_or_default();
    if token.is_empty() || kept.contains(RIGHT) {
        return Err(format!("no token is kept instead of the password: {login}").into());
    }
    let pull = |seawall: &Seawall| {
        let image = format!("{}/library/multi:{TAG}", seawall.location);
        let said = dockerd.pull(&image)?;
        dockerd.remove(&image)?;
        Ok(said)
    };
    let write = |token: &str| {
        let login = serde_json::json!({ "auth": login["auth"], "identitytoken": token });
        let auths = serde_json::json!({ &first.address: login, &second.address: login });
        fs::write(&file, serde_json::json!({ "auths": auths }).to_string())
    };
    pull(&first)?;
    // Another letter at its end, or near it, is another signature.
    let (start, end) = token.split_at(token.len() - 4);
    write(&format!(
        "{start}{}{}",
        if end.starts_with('A') { "B" } else { "A" },
        &end[1..]
    ))?;
    refused(pull(&first), "the user name or the password is wrong")?;
    write(token)?;
    pull(&second)?;
    write_user(&htpasswd, "other")?;
    wait_until("the file of users is read again", Duration::from_secs(60), || {
        pull(&first).is_err()
    })?;
    refused(pull(&first), "the token is not good, or not any more")
}

/// containerd's directory of hosts: `docker.io` is pulled from `url` and nowhere else, with these keys for its connections.
pub(crate) fn write_hosts(hosts: &Path, url: &str, keys: &str) -> Result {
    let directory = hosts.join("docker.io");
    fs::create_dir_all(&directory)?;
    let capabilities = "capabilities = [\"pull\", \"resolve\"]";
    Ok(fs::write(
        directory.join("hosts.toml"),
        format!("server = \"{url}\"\n{keys}[host.\"{url}\"]\n{keys}{capabilities}\n"),
    )?)
}
