//! Real clients log in and pull what they may; those that are refused show why.

use std::fs;
use std::path::Path;

use crate::clients::{Containerd, Dockerd, copy, skopeo};
use crate::support::images::TAG;
use crate::support::process::{command, run};
use crate::support::{Result, Seawall, Verdict, World};

/// A Seawall that alice may pull from, and nobody else; `challenge` is how it asks who somebody is.
fn locked(world: &World, challenge: &str) -> Result<Seawall> {
    let directory = world.directory()?;
    let htpasswd = directory.join("htpasswd");
    fs::write(&htpasswd, format!("alice:{}\n", bcrypt::hash("right", 5)?))?;
    let access = format!(
        "\n[access]\nanonymous = \"nobody\"\nchallenge = \"{challenge}\"\nhtpasswd = '{}'\n\
         [[client]]\nname = \"team\"\ntier = \"unlimited\"\nmatch = {{ user = [\"alice\"] }}\n\
         deny = [\"docker.io/library/app\"]\n",
        htpasswd.display()
    );
    world.seawall_with(&world.upstream.address, &directory, &access)
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
    let logins = fs::read_to_string(&alice)?.replace("YWxpY2U6cmlnaHQ=", "Ym9iOnJpZ2h0");
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

/// containerd, with the credentials that a kubelet would hand it.
pub(crate) fn nodes(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let seawall = locked(world, "token")?;
    let place = world.directory()?;
    let hosts = place.join("hosts");
    write_hosts(&hosts, &format!("http://{}", seawall.address), "")?;
    let mut containerd = Containerd::start(&place)?;
    let pull = |login: &[&str], repository: &str| {
        containerd.fetch(&hosts, login, &format!("docker.io/library/{repository}:{TAG}"))
    };
    refused(pull(&[], "multi"), "401 Unauthorized: log in first")?;
    let wrong = "401 Unauthorized: the user name or the password is wrong";
    refused(pull(&["--user", "alice:wrong"], "multi"), wrong)?;
    pull(&["--user", "alice:right"], "multi")?;
    refused(pull(&["--user", "alice:right"], "app"), "insufficient_scope")?;
    containerd.stop()?;
    Ok(Verdict::Passed)
}

/// dockerd, by token and by password: what it pulls once it is known who somebody is, and what it shows people before.
/// Some of it is in words of its own.
pub(crate) fn daemons(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let dockerd = match Dockerd::start(&world.directory()?, || Ok(()))? {
        Ok(dockerd) => dockerd,
        Err(skipped) => return Ok(skipped),
    };
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
        let log_in =
            |password| dockerd.docker(&["login", "--username", "alice", "--password", password, address]);
        let image = |repository: &str| format!("{}/{repository}:{TAG}", seawall.location);
        let pull = |repository: &str| dockerd.docker(&["pull", "--quiet", &image(repository)]);
        refused(log_in("wrong"), wrong)?;
        refused(pull("library/multi"), unknown)?;
        let said = log_in("right")?;
        if !said.contains("Login Succeeded") {
            return Err(format!("{challenge}: {said}").into());
        }
        pull("library/multi").map_err(|error| format!("{challenge}: {error}"))?;
        // What alice may not have is not in her token, or not there for her.
        refused(pull("library/app"), denied)?;
        dockerd.docker(&["image", "rm", &image("library/multi")])?;
        dockerd.docker(&["logout", address])?;
        refused(pull("library/multi"), unknown)?;
    }
    dockerd.stop()?;
    Ok(Verdict::Passed)
}

/// containerd, with a certificate for its node.
pub(crate) fn certified(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (directory, place) = (world.directory()?, world.directory()?);
    let good = issue(&directory, "good")?;
    // Another authority of the same name: a client would not even show the certificate of another name's.
    let foreign = issue(&world.directory()?, "good")?;
    let tls = format!(
        "tls = {{ certificate = '{0}/server.crt', key = '{0}/server.key', client_ca = '{0}/ca.crt' }}\n",
        good.display()
    );
    let access = "\n[access]\nanonymous = \"nobody\"\n[[client]]\nname = \"node\"\ntier = \"unlimited\"\n\
                  match = { certificate = [\"node-1\"] }\n";
    let seawall = Seawall::start_with(&directory, &world.upstream.address, &tls, access)?;
    world.note_log(seawall.log());
    let mut containerd = Containerd::start(&place)?;
    for (client, refusal) in [
        (
            format!("client = [['{0}/node.crt', '{0}/node.key']]\n", good.display()),
            None,
        ),
        (
            String::new(),
            Some("403 Forbidden: nobody may pull from 127.0.0.1"),
        ),
        (
            format!("client = [['{0}/node.crt', '{0}/node.key']]\n", foreign.display()),
            Some("tls"),
        ),
    ] {
        let hosts = place.join("hosts");
        let keys = format!("ca = '{}/ca.crt'\n{client}", good.display());
        write_hosts(&hosts, &format!("https://{}", seawall.address), &keys)?;
        let outcome = containerd.fetch(&hosts, &[], &format!("docker.io/library/multi:{TAG}"));
        match refusal {
            Some(words) => refused(outcome, words)?,
            None => drop(outcome?),
        }
    }
    containerd.stop()?;
    Ok(Verdict::Passed)
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

/// An authority in files, and certificates of its for the server on loopback and for `node-1`.
fn issue(directory: &Path, name: &str) -> Result<std::path::PathBuf> {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };
    let place = directory.join(name);
    fs::create_dir_all(&place)?;
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(place.join("ca.crt"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    for (file, host, usage) in [
        ("server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
        ("node", "node-1", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![usage];
        fs::write(
            place.join(format!("{file}.crt")),
            params.signed_by(&key, &issuer)?.pem(),
        )?;
        fs::write(place.join(format!("{file}.key")), key.serialize_pem())?;
    }
    Ok(place)
}
