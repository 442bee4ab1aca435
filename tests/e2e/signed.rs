//! Images that somebody has signed, in a registry that lists no referrers: what clients pull, and what they show where
//! they are refused.
//!
//! The signatures are OpenSSL's, in the forms in which cosign and Notation attach them.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::clients::{Containerd, copy, podman_pull, skopeo};
use crate::login::{refused, write_hosts};
use crate::support::images::{INDEX, MANIFEST, TAG};
use crate::support::process::{command, run};
use crate::support::{Image, Result, Verdict, World};

/// What everybody is shown who is refused.
const WHY: &str = "is not signed as the operator of this cache requires: no signature is attached to it";

/// skopeo, podman and containerd pull what cosign or Notation has signed, and nothing else.
pub(crate) fn pulls(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let registry = &world.upstream.address;
    let image = |name: &str| world.images.push_as(registry, &format!("library/{name}"));
    let (cosigned, notarized, unsigned) = (image("cosigned")?, image("notarized")?, image("unsigned")?);
    let key = cosign(world, &directory, &cosigned)?;
    let certificate = notate(world, &directory, &notarized)?;
    let rules = format!(
        "[[trust]]\nrepositories = [\"docker.io/library/*\"]\ncosign = {{ keys = ['{key}'] }}\n\
         notation = {{ ca = '{certificate}', identities = [\"O=team\"] }}\n"
    );
    let seawall = world.seawall_with(&world.upstream.address, &directory, &rules)?;
    let source = |image: &Image| format!("docker://{}/{}:{TAG}", seawall.location, image.repository);
    for signed in [&cosigned, &notarized] {
        let target = directory.join("copy");
        copy(skopeo(), &source(signed), &target, &world.images, signed)?;
    }
    let look = run(skopeo().args(["inspect", "--tls-verify=false", &source(&unsigned)]));
    refused(look, WHY)?;

    let podman = |image: &Image| podman_pull(&directory, &[], &source(image));
    for signed in [&cosigned, &notarized] {
        podman(signed)?;
    }
    refused(podman(&unsigned), WHY)?;

    let mut containerd = Containerd::start(&directory)?;
    let hosts = directory.join("hosts");
    write_hosts(&hosts, &format!("http://{}", seawall.address), "")?;
    for signed in [&cosigned, &notarized] {
        containerd.fetch(&hosts, &[], &signed.name())?;
    }
    refused(containerd.fetch(&hosts, &[], &unsigned.name()), WHY)?;
    containerd.stop()?;
    Ok(Verdict::Passed)
}

/// Signs an image as cosign does with a key; the path of the public one.
fn cosign(world: &World, directory: &Path, image: &Image) -> Result<String> {
    let [key, public] = ["cosign.key", "cosign.pub"].map(|name| directory.join(name));
    run(openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ])
    .arg("-out")
    .arg(&key))?;
    run(openssl(&["pkey", "-pubout"])
        .arg("-in")
        .arg(&key)
        .arg("-out")
        .arg(&public))?;
    let text = json!({
        "critical": {
            "identity": { "docker-reference": image.name() },
            "image": { "docker-manifest-digest": image.manifest },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let text = serde_json::to_vec(&text)?;
    let made = STANDARD.encode(made(directory, &key, &[], &text)?);
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = blob(world, image, kind, &text)?;
    layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": made });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(world, image, "application/vnd.oci.image.config.v1+json", b"{}")?,
        "layers": [layer],
    });
    let tag = image.manifest.replace(':', "-");
    attach(world, image, Some(&format!("{tag}.sig")), &manifest)?;
    Ok(public.display().to_string())
}

/// Signs an image as Notation does, with a certificate of its own; the path of that.
fn notate(world: &World, directory: &Path, image: &Image) -> Result<String> {
    let [key, certificate] = ["notation.key", "notation.pem"].map(|name| directory.join(name));
    let ask = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/C=DE/O=team/CN=builder",
    ];
    let extensions = [
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "keyUsage=critical,digitalSignature",
        "-addext",
        "extendedKeyUsage=codeSigning",
    ];
    let mut ask = openssl(&ask);
    ask.args(extensions).arg("-keyout").arg(&key);
    run(ask.arg("-out").arg(&certificate))?;
    let der = directory.join("notation.der");
    run(openssl(&["x509", "-outform", "DER"])
        .arg("-in")
        .arg(&certificate)
        .arg("-out")
        .arg(&der))?;
    let scheme = "io.cncf.notary.signingScheme";
    let protected = json!({
        "alg": "PS256",
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": [scheme],
        scheme: "notary.x509",
        "io.cncf.notary.signingTime": "2025-06-01T12:00:00Z",
    });
    let payload = json!({ "targetArtifact": { "mediaType": MANIFEST, "digest": image.manifest, "size": 7 } });
    let [protected, payload] = [protected, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"];
    let made = made(
        directory,
        &key,
        &padding,
        format!("{protected}.{payload}").as_bytes(),
    )?;
    let envelope = json!({
        "payload": payload, "protected": protected, "signature": URL_SAFE_NO_PAD.encode(made),
        "header": { "x5c": [STANDARD.encode(fs::read(der)?)] },
    });
    let kind = "application/vnd.cncf.notary.signature";
    let mut subject = json!({ "mediaType": MANIFEST, "digest": image.manifest });
    subject["size"] = json!(fs::metadata(world.images.bytes(&image.manifest))?.len());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(world, image, kind, b"{}")?,
        "layers": [blob(world, image, "application/jose+json", envelope.to_string().as_bytes())?],
        "subject": subject,
    });
    let mut referrer = attach(world, image, None, &manifest)?;
    referrer["artifactType"] = json!(kind);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer] });
    attach(world, image, Some(&image.manifest.replace(':', "-")), &index)?;
    Ok(certificate.display().to_string())
}

fn blob(world: &World, image: &Image, kind: &str, bytes: &[u8]) -> Result<Value> {
    let registry = &world.upstream.address;
    world.images.push_blob(registry, &image.repository, kind, bytes)
}

fn attach(world: &World, image: &Image, tag: Option<&str>, manifest: &Value) -> Result<Value> {
    let registry = &world.upstream.address;
    world
        .images
        .push_manifest(registry, &image.repository, tag, manifest)
}

fn openssl(arguments: &[&str]) -> Command {
    let mut openssl = command("openssl");
    openssl.args(arguments);
    openssl
}

/// What OpenSSL makes of a message with a key.
fn made(directory: &Path, key: &Path, options: &[&str], message: &[u8]) -> Result<Vec<u8>> {
    let [text, signature] = ["message", "signature"].map(|name| directory.join(name));
    fs::write(&text, message)?;
    let mut sign = openssl(&["dgst", "-sha256"]);
    sign.args(options)
        .arg("-sign")
        .arg(key)
        .arg("-out")
        .arg(&signature);
    run(sign.arg(&text))?;
    Ok(fs::read(signature)?)
}
