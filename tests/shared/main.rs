//! The shared shelf for real: two Seawalls, SeaweedFS between them, Debian's docker-registry behind, and a client.
//!
//! `tests/shared/run` installs SeaweedFS, builds with the feature and starts it.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this drives processes in real time and reports to a terminal; there is no reactor to block"
)]

#[path = "../e2e/support/alone.rs"]
mod alone;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/support/content.rs"]
mod content;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/support/http.rs"]
mod http;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/support/process.rs"]
mod process;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/support/upstream.rs"]
mod upstream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use alone::run_alone;
use process::{Process, Result, command, free_address, run, wait_until};
use upstream::Upstream;

/// How long a start, or putting something there, may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Words of eight bytes in the layer: 20 MB, so that it goes in parts.
const WORDS: usize = 2_500_000;

fn main() -> ExitCode {
    let name =
        "a second seawall serves from the bucket what the first has fetched, and both outlive the bucket";
    let logs = [
        "first.log",
        "second.log",
        "third.log",
        "seaweedfs.log",
        "upstream.log",
    ];
    run_alone(name, &logs, test)
}

/// An object store with one bucket, `seawall`, over TLS.
struct ObjectStore {
    address: String,
    /// Whom to trust for it, in PEM.
    ca: PathBuf,
    process: Process,
}

impl ObjectStore {
    fn start(root: &Path) -> Result<Self> {
        let address = free_address()?;
        let port = address.rsplit(':').next().unwrap_or_default();
        let data = root.join("objects");
        fs::create_dir(&data)?;
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (ca, key) = (root.join("store.pem"), root.join("store.key"));
        fs::write(&ca, own.cert.pem())?;
        fs::write(&key, own.signing_key.serialize_pem())?;
        let mut weed = command("weed");
        weed.arg("-logtostderr=true")
            .arg("mini")
            .arg(format!("-dir={}", data.display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-bucket=seawall",
                "-admin.ui=false",
            ])
            .args([
                "-webdav=false",
                "-master.telemetry=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .arg(format!("-s3.port={port}"))
            .arg(format!("-s3.cert.file={}", ca.display()))
            .arg(format!("-s3.key.file={}", key.display()))
            .env("AWS_ACCESS_KEY_ID", "testkey")
            .env("AWS_SECRET_ACCESS_KEY", "testsecret");
        let mut store = Self {
            process: Process::start("seaweedfs", weed, root)?,
            address,
            ca,
        };
        let (url, ca) = (store.url(""), store.ca.clone());
        let listed = || run(&mut signed(&url, &ca)).is_ok();
        store.process.wait_ready(LIMIT, listed)?;
        Ok(store)
    }

    fn url(&self, name: &str) -> String {
        format!("https://{}/seawall/{name}", self.address)
    }

    /// What stands under a name.
    fn object(&self, name: &str) -> Result<Vec<u8>> {
        let got = signed(&self.url(name), &self.ca).output()?;
        match got.status.success() {
            true => Ok(got.stdout),
            false => Err(format!("there is no {name} in the bucket").into()),
        }
    }
}

/// Asks the object store, as its own tools would.
fn signed(url: &str, ca: &Path) -> Command {
    let mut ask = command("curl");
    ask.args(["-sf", "--max-time", "20", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
    ask.args(["-u", "testkey:testsecret", url])
        .arg("--cacert")
        .arg(ca);
    ask
}

/// A Seawall with an empty disk, and the bucket.
struct Seawall {
    address: String,
    admin: String,
    process: Process,
}

impl Seawall {
    fn start(name: &str, root: &Path, upstream: &str, store: &ObjectStore) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let config = format!(
            "[server]\nlisten = \"{address}\"\nadmin = \"{admin}\"\n\
             [cache]\ndirectory = \"{0}/{name}\"\nmin_free = \"0B\"\n\
             [cache.shared]\nbucket = \"seawall\"\nprefix = \"e2e\"\nendpoint = \"https://{1}\"\nca = {2:?}\n\
             [[upstream]]\nregistry = \"docker.io\"\nurl = \"http://{upstream}\"\n",
            root.display(),
            store.address,
            store.ca,
        );
        let file = root.join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let mut serve = command(env!("CARGO_BIN_EXE_seawall"));
        serve.arg("serve").arg("--config").arg(&file);
        // As Amazon's own tools find them.
        serve
            .env("AWS_ACCESS_KEY_ID", "testkey")
            .env("AWS_SECRET_ACCESS_KEY", "testsecret");
        let mut process = Process::start(name, serve, root)?;
        let is_ready = || http::get(&admin, "/readyz").is_ok_and(|answer| answer.status == 200);
        process.wait_ready(LIMIT, is_ready)?;
        Ok(Self {
            address,
            admin,
            process,
        })
    }

    /// Has skopeo pull the image, and compares the layer with what was pushed.
    fn pull(&self, root: &Path, to: &str, layer: &str) -> Result {
        let to = root.join(to);
        let from = format!("docker://{}/docker.io/library/app:1", self.address);
        run(command("skopeo")
            .args(["copy", "--src-tls-verify=false", &from])
            .arg(format!("dir:{}", to.display())))?;
        match content::digest_of(&fs::read(to.join(layer))?) == format!("sha256:{layer}") {
            true => Ok(()),
            false => Err("the layer is not what was pushed".into()),
        }
    }

    fn tells(&self, line: &str) -> bool {
        http::get(&self.admin, "/metrics").is_ok_and(|answer| {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            text.lines().any(|told| told == line)
        })
    }
}

/// Pushes an image of one layer, and tells the layer's digest in hex.
fn push(root: &Path, upstream: &str) -> Result<String> {
    let (layout, file) = (root.join("layout"), root.join("noise"));
    fs::write(&file, content::noise(WORDS).flatten().collect::<Vec<u8>>())?;
    let image = format!("{}:1", layout.display());
    run(command("umoci").arg("init").arg("--layout").arg(&layout))?;
    run(command("umoci").args(["new", "--image", &image]))?;
    let mut insert = command("umoci");
    insert
        .args(["insert", "--rootless", "--image", &image])
        .arg(&file);
    run(insert.arg("/noise"))?;
    let to = format!("docker://{upstream}/library/app:1");
    run(command("skopeo").args(["copy", "--dest-tls-verify=false", &format!("oci:{image}"), &to]))?;
    let told = run(command("skopeo").args(["inspect", "--tls-verify=false", &to]))?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let layer = told["Layers"][0].as_str().ok_or("the image has no layer")?;
    Ok(layer.trim_start_matches("sha256:").to_owned())
}

fn test(root: &Path) -> Result {
    let upstream = Upstream::start(root)?;
    let layer = push(root, &upstream.address)?;
    let mut store = ObjectStore::start(root)?;
    let start = |name: &str, store: &ObjectStore| Seawall::start(name, root, &upstream.address, store);
    let first = start("first", &store)?;
    first.pull(root, "pulled-first", &layer)?;
    // The manifest, the config and the layer.
    wait_until("all of it to stand in the bucket", LIMIT, || {
        first.tells(r#"seawall_shared_writes_total{outcome="stored"} 3"#)
    })?;
    let there = store.object(&format!("e2e/v1/blobs/sha256/{}/{layer}", &layer[..2]))?;
    if content::digest_of(&there) != format!("sha256:{layer}") {
        return Err("the bucket holds another layer than was pulled".into());
    }

    // That a blob is the repository's is asked by its first byte, which is a part (206).
    let bytes_of = |asked: &upstream::Asked| {
        asked.method == "GET" && asked.target.contains("sha256") && asked.status == 200
    };
    let given = || -> Result<usize> { Ok(upstream.asked()?.iter().filter(|asked| bytes_of(asked)).count()) };
    let before = given()?;
    let second = start("second", &store)?;
    second.pull(root, "pulled-second", &layer)?;
    if given()? != before {
        return Err("the registry gave bytes that stand in the bucket".into());
    }
    for line in [
        r#"seawall_shared_reads_total{outcome="gave"} 3"#,
        r#"seawall_spends_avoided_total{reason="shared",upstream="docker.io"} 1"#,
    ] {
        if !second.tells(line) {
            return Err(format!("its metrics do not tell {line}").into());
        }
    }

    // Without the bucket, everything comes from the registry as if there had never been one.
    // Asked to end, SeaweedFS waits up to 10 s for parts of its own.
    store.process.kill()?;
    let third = start("third", &store)?;
    third.pull(root, "pulled-third", &layer)?;
    if given()? == before {
        return Err("the registry was not asked although the bucket had gone".into());
    }
    let log = fs::read_to_string(third.process.log())? + &fs::read_to_string(first.process.log())?;
    match log.contains("testsecret") {
        true => Err("a log tells the secret key".into()),
        false => Ok(()),
    }
}
