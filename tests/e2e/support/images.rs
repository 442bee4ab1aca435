//! The images that are pulled, made of real files, with every byte kept on disk to compare with.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::content::{digest_of, noise};
use super::http;
use super::process::{Result, command, run};

/// The tag of everything that is pulled by name. Unusual on purpose: no registry elsewhere has it, so a client
/// that went past Seawall would fail.
pub(crate) const TAG: &str = "seawall-e2e";

/// Bytes of the large file: its layer is over 200 MB, since they do not compress.
const LARGE: usize = 210_000_000;

/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One image for one platform. Digests are spelled `sha256:<hex>`.
pub(crate) struct Image {
    /// The repository on `docker.io`.
    pub(crate) repository: String,
    /// The manifest's digest.
    pub(crate) manifest: String,
    /// The config's digest.
    pub(crate) config: String,
    /// The layers' digests, compressed as they are pulled.
    pub(crate) layers: Vec<String>,
    /// The layers' digests, uncompressed.
    pub(crate) diff_ids: Vec<String>,
}

impl Image {
    /// The full name that a person would type.
    pub(crate) fn name(&self) -> String {
        format!("docker.io/{}:{TAG}", self.repository)
    }

    /// The digests that are pulled as blobs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &String> {
        self.layers.iter().chain([&self.config])
    }
}

/// All images, and where their bytes are.
pub(crate) struct Images {
    /// Four layers, one of them large.
    pub(crate) app: Image,
    /// The two images below the index, for amd64 and arm64.
    pub(crate) platforms: Vec<Image>,
    /// The digest of the index.
    pub(crate) index: String,
    /// The digest of the artifact that refers to `app`.
    pub(crate) artifact: String,
    /// The files inside `app`, as one directory per layer.
    pub(crate) content: PathBuf,
    layout: PathBuf,
}

impl Images {
    /// Makes everything below `root` and pushes it to the registry at `address`.
    pub(crate) fn make(root: &Path, address: &str) -> Result<Self> {
        let (layout, content) = (root.join("layout"), root.join("content"));
        gather(&content)?;
        run(command("umoci").arg("init").arg("--layout").arg(&layout))?;
        let layers = ["licences", "source", "programs", "large"];
        let host = architecture(std::env::consts::ARCH);
        let app = build(&layout, &content, "app", host, &layers)?;
        push(&layout, "app", address, &format!("library/app:{TAG}"))?;
        let mut platforms = Vec::new();
        for (architecture, layer) in [("amd64", "licences"), ("arm64", "source")] {
            let mut image = build(&layout, &content, architecture, architecture, &[layer])?;
            push(
                &layout,
                architecture,
                address,
                &format!("library/multi:{architecture}"),
            )?;
            image.repository = "library/multi".to_owned();
            platforms.push(image);
        }
        let index = push_index(&layout, address, &platforms)?;
        let artifact = push_artifact(&layout, address, &app)?;
        Ok(Self {
            app,
            platforms,
            index,
            artifact,
            content,
            layout,
        })
    }

    /// Where the bytes behind a digest are.
    pub(crate) fn bytes(&self, digest: &str) -> PathBuf {
        place(&self.layout, digest)
    }

    /// Makes and pushes `count` images of one small layer each, no two alike.
    pub(crate) fn small(&self, root: &Path, address: &str, count: usize) -> Result<Vec<Image>> {
        (0..count)
            .map(|number| push_small(&self.layout, root, address, number))
            .collect()
    }

    /// Pushes the image for amd64 under another name, too.
    #[allow(dead_code, reason = "the benchmark does not")]
    pub(crate) fn push_as(&self, address: &str, repository: &str) -> Result<Image> {
        push(&self.layout, "amd64", address, &format!("{repository}:{TAG}"))?;
        Ok(Image {
            repository: repository.to_owned(),
            ..read_image(&self.layout, "amd64")?
        })
    }

    /// Pushes a blob, and gives its descriptor.
    #[allow(dead_code, reason = "the benchmark does not")]
    pub(crate) fn push_blob(
        &self,
        address: &str,
        repository: &str,
        kind: &str,
        bytes: &[u8],
    ) -> Result<Value> {
        let digest = push_blob(&self.layout, address, repository, bytes)?;
        descriptor(&self.layout, kind, &digest)
    }

    /// Pushes a manifest or an index under a tag, or under its digest, and gives its descriptor.
    #[allow(dead_code, reason = "the benchmark does not")]
    pub(crate) fn push_manifest(
        &self,
        address: &str,
        repository: &str,
        tag: Option<&str>,
        manifest: &Value,
    ) -> Result<Value> {
        let kind = text(&manifest["mediaType"]);
        let digest = digest_of(&serde_json::to_vec(manifest)?);
        let reference = tag.unwrap_or(&digest);
        put_manifest(&self.layout, address, repository, reference, &kind, manifest)?;
        descriptor(&self.layout, &kind, &digest)
    }

    /// The digest of the largest layer.
    pub(crate) fn large_layer(&self) -> &str {
        self.app.layers.last().map_or("", String::as_str)
    }
}

/// Collects real files, and one large one of seeded noise.
fn gather(content: &Path) -> Result {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let skopeo = run(command("sh").args(["-c", "command -v skopeo"]))?;
    fs::create_dir_all(content.join("programs"))?;
    fs::create_dir_all(content.join("large"))?;
    let copy = |from: &Path, to: &str| run(command("cp").arg("-rL").arg(from).arg(content.join(to)));
    copy(Path::new("/usr/share/common-licenses"), "licences")?;
    copy(&source, "source")?;
    copy(Path::new(skopeo.trim()), "programs/skopeo")?;
    let mut file = BufWriter::new(File::create(content.join("large/noise"))?);
    for word in noise(LARGE / 8) {
        file.write_all(&word)?;
    }
    Ok(file.flush()?)
}

fn build(layout: &Path, content: &Path, tag: &str, architecture: &str, layers: &[&str]) -> Result<Image> {
    let image = format!("{}:{tag}", layout.display());
    let umoci = |arguments: &[&str]| run(command("umoci").args(arguments));
    umoci(&["new", "--image", &image])?;
    let shape = [
        "--architecture",
        architecture,
        "--os",
        "linux",
        "--config.cmd",
        "/programs/skopeo",
    ];
    umoci(&[&["config", "--image", &image], &shape[..]].concat())?;
    for layer in layers {
        let source = content.join(layer).display().to_string();
        umoci(&["insert", "--image", &image, &source, &format!("/{layer}")])?;
    }
    read_image(layout, tag)
}

fn read_image(layout: &Path, tag: &str) -> Result<Image> {
    let index = parse(&layout.join("index.json"))?;
    let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let entry = index["manifests"]
        .as_array()
        .and_then(|all| all.iter().find(named));
    let manifest = entry
        .map(|entry| text(&entry["digest"]))
        .ok_or("the layout lacks the image just made")?;
    let parsed = parse(&place(layout, &manifest))?;
    let config = text(&parsed["config"]["digest"]);
    let layers = texts(&parsed["layers"], |layer| text(&layer["digest"]));
    let diff_ids = texts(&parse(&place(layout, &config))?["rootfs"]["diff_ids"], text);
    Ok(Image {
        repository: format!("library/{tag}"),
        manifest,
        config,
        layers,
        diff_ids,
    })
}

fn push(layout: &Path, tag: &str, address: &str, target: &str) -> Result {
    let mut copy = command("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
    copy.arg(format!("oci:{}:{tag}", layout.display()))
        .arg(format!("docker://{address}/{target}"));
    run(&mut copy).map(drop)
}

fn push_index(layout: &Path, address: &str, platforms: &[Image]) -> Result<String> {
    let mut manifests = Vec::new();
    for (image, architecture) in platforms.iter().zip(["amd64", "arm64"]) {
        let mut entry = descriptor(layout, MANIFEST, &image.manifest)?;
        entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
        manifests.push(entry);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    put_manifest(layout, address, "library/multi", TAG, INDEX, &index)
}

/// An image whose one layer holds one file with its number.
fn push_small(layout: &Path, root: &Path, address: &str, number: usize) -> Result<Image> {
    let repository = format!("library/small-{number}");
    fs::write(root.join("number"), format!("{number}\n"))?;
    let archive = root.join("layer.tar");
    run(command("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(root)
        .arg("number"))?;
    let layer = push_blob(layout, address, &repository, &fs::read(archive)?)?;
    let config = json!({
        "architecture": architecture(std::env::consts::ARCH), "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let config = push_blob(layout, address, &repository, &serde_json::to_vec(&config)?)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(layout, "application/vnd.oci.image.config.v1+json", &config)?,
        "layers": [descriptor(layout, "application/vnd.oci.image.layer.v1.tar", &layer)?],
    });
    let manifest = put_manifest(layout, address, &repository, TAG, MANIFEST, &manifest)?;
    Ok(Image {
        repository,
        manifest,
        config,
        layers: vec![layer.clone()],
        diff_ids: vec![layer],
    })
}

/// An artifact about `app`, found by the tag `sha256-<hex>`: this registry knows no referrers of its own.
fn push_artifact(layout: &Path, address: &str, app: &Image) -> Result<String> {
    let note = push_blob(layout, address, "library/app", b"reviewed and found good\n")?;
    let empty = push_blob(layout, address, "library/app", b"{}")?;
    let kind = "application/vnd.example.review";
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": descriptor(layout, "application/vnd.oci.empty.v1+json", &empty)?,
        "layers": [descriptor(layout, "text/plain", &note)?],
        "subject": descriptor(layout, MANIFEST, &app.manifest)?,
    });
    let body = serde_json::to_vec(&artifact)?;
    let digest = put_manifest(
        layout,
        address,
        "library/app",
        &digest_of(&body),
        MANIFEST,
        &artifact,
    )?;
    let mut entry = descriptor(layout, MANIFEST, &digest)?;
    entry["artifactType"] = json!(kind);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    let tag = app.manifest.replace(':', "-");
    put_manifest(layout, address, "library/app", &tag, INDEX, &index)?;
    Ok(digest)
}

fn push_blob(layout: &Path, address: &str, repository: &str, bytes: &[u8]) -> Result<String> {
    upload(address, repository, bytes)?;
    keep(layout, bytes)
}

/// Pushes a blob to the registry at `address` and gives its digest.
pub(crate) fn upload(address: &str, repository: &str, bytes: &[u8]) -> Result<String> {
    let digest = digest_of(bytes);
    let started = http::request(
        address,
        "POST",
        &format!("/v2/{repository}/blobs/uploads/"),
        &[],
        &[],
    )?;
    let place = started
        .header("location")
        .replace(&format!("http://{address}"), "");
    let answer = http::request(address, "PUT", &format!("{place}&digest={digest}"), &[], bytes)?;
    created(answer.status, &digest).map(|()| digest)
}

fn put_manifest(
    layout: &Path,
    address: &str,
    repository: &str,
    reference: &str,
    kind: &str,
    manifest: &Value,
) -> Result<String> {
    let body = serde_json::to_vec(manifest)?;
    let target = format!("/v2/{repository}/manifests/{reference}");
    let answer = http::request(address, "PUT", &target, &[("Content-Type", kind)], &body)?;
    created(answer.status, reference)?;
    keep(layout, &body)
}

fn created(status: u16, what: &str) -> Result {
    let problem = || format!("the upstream answered the push of {what} with {status}").into();
    (status == 201).then_some(()).ok_or_else(problem)
}

/// Keeps bytes beside those that umoci made.
fn keep(layout: &Path, bytes: &[u8]) -> Result<String> {
    let digest = digest_of(bytes);
    fs::write(place(layout, &digest), bytes)?;
    Ok(digest)
}

fn descriptor(layout: &Path, kind: &str, digest: &str) -> Result<Value> {
    let size = fs::metadata(place(layout, digest))?.len();
    Ok(json!({ "mediaType": kind, "digest": digest, "size": size }))
}

fn place(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn parse(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(values: &Value, each: impl Fn(&Value) -> String) -> Vec<String> {
    values
        .as_array()
        .map_or_else(Vec::new, |all| all.iter().map(each).collect())
}

/// The name that images use for an architecture as Rust calls it.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
