//! Real clients show certificates: they pull with a good one, and are refused without one and with a foreign one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::clients::{Containerd, Dockerd, podman_pull, skopeo};
use crate::login::{refused, write_hosts};
use crate::support::images::TAG;
use crate::support::process::run;
use crate::support::relay::Relay;
use crate::support::{Result, Seawall, Verdict, World};

/// An address of no machine (RFC 5737).
const ELSEWHERE: &str = "192.0.2.1";

/// A Seawall that whoever has a certificate of its authority may pull from, and nobody else.
struct Guarded {
    seawall: Seawall,
    /// Its authority.
    ca: PathBuf,
    /// Where the certificates of a node are: a good one, and that of a foreign authority.
    good: PathBuf,
    foreign: PathBuf,
}

impl Guarded {
    fn start(world: &World) -> Result<Self> {
        let directory = world.directory()?;
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
        Ok(Self {
            seawall,
            ca: good.join("ca.crt"),
            good,
            foreign,
        })
    }

    /// Has a client pull with each of the certificates, in a new directory that has it as podman and skopeo
    /// look for it; and without one, which `refusal` is said about.
    fn try_each(&self, place: &Path, refusal: &str, pull: impl Fn(&Path) -> Result<String>) -> Result {
        for (node, refusal) in [
            (Some(&self.good), None),
            (None, Some(refusal)),
            (Some(&self.foreign), Some("remote error: tls: ")),
        ] {
            let certs = place.join("certs");
            if certs.exists() {
                fs::remove_dir_all(&certs)?;
            }
            fs::create_dir(&certs)?;
            fs::copy(&self.ca, certs.join("ca.crt"))?;
            if let Some(node) = node {
                fs::copy(node.join("node.crt"), certs.join("client.cert"))?;
                fs::copy(node.join("node.key"), certs.join("client.key"))?;
            }
            let outcome = pull(&certs);
            match refusal {
                Some(words) => refused(outcome, words)?,
                None => drop(outcome?),
            }
        }
        Ok(())
    }
}

/// containerd, with a certificate for its node.
pub(crate) fn nodes(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let place = world.directory()?;
    let guarded = Guarded::start(world)?;
    let mut containerd = Containerd::start(&place)?;
    let hosts = place.join("hosts");
    guarded.try_each(&place, "403 Forbidden: nobody may pull from 127.0.0.1", |certs| {
        let mut keys = format!("ca = '{}/ca.crt'\n", certs.display());
        if certs.join("client.cert").exists() {
            let pair = format!(
                "client = [['{0}/client.cert', '{0}/client.key']]\n",
                certs.display()
            );
            keys.push_str(&pair);
        }
        write_hosts(&hosts, &format!("https://{}", guarded.seawall.address), &keys)?;
        containerd.fetch(&hosts, &[], &format!("docker.io/library/multi:{TAG}"))
    })?;
    containerd.stop()?;
    Ok(Verdict::Passed)
}

/// podman and skopeo, by `--cert-dir`.
pub(crate) fn people(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let place = world.directory()?;
    let guarded = Guarded::start(world)?;
    let source = format!("docker://{}/library/multi:{TAG}", guarded.seawall.location);
    guarded.try_each(&place, "403 (Forbidden)", |certs| {
        let given = ["--tls-verify=true", "--cert-dir", &certs.display().to_string()];
        podman_pull(&place, &given, &source)
    })?;
    guarded.try_each(&place, "403 (Forbidden)", |certs| {
        let mut skopeo = skopeo();
        skopeo
            .args(["--insecure-policy", "copy", "--quiet", "--src-cert-dir"])
            .arg(certs);
        run(skopeo.arg(&source).arg(format!("dir:{}/copy", place.display())))
    })?;
    Ok(Verdict::Passed)
}

/// dockerd, by `certs.d`. It does not look there for a registry on loopback, which it takes as insecure: it is asked for one
/// on another machine, and its proxy leads it back.
pub(crate) fn daemons(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let place = world.directory()?;
    let guarded = Guarded::start(world)?;
    let (_, port) = guarded.seawall.address.split_once(':').ok_or("no port")?;
    let registry = format!("{ELSEWHERE}:{port}");
    let (etc, proxy) = (place.join("etc"), Relay::start_proxy(&guarded.seawall.address)?);
    fs::create_dir_all(etc.join("certs.d"))?;
    symlink(place.join("certs"), etc.join("certs.d").join(&registry))?;
    let image = format!("{registry}/docker.io/library/multi:{TAG}");
    Dockerd::with_certificates(&place, &etc, &proxy.address, |dockerd| {
        guarded.try_each(&place, "nobody may pull from 127.0.0.1", |_| dockerd.pull(&image))
    })
}

/// An authority in files, and certificates of its for the server, on loopback and [`ELSEWHERE`], and for `node-1`.
fn issue(directory: &Path, name: &str) -> Result<PathBuf> {
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
    for (file, hosts, usage) in [
        (
            "server",
            ["127.0.0.1", ELSEWHERE].as_slice(),
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        ("node", &["node-1"], ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, hosts[0]);
        params.extended_key_usages = vec![usage];
        fs::write(
            place.join(format!("{file}.crt")),
            params.signed_by(&key, &issuer)?.pem(),
        )?;
        fs::write(place.join(format!("{file}.key")), key.serialize_pem())?;
    }
    Ok(place)
}
