//! The three servers, on the same blob and the same manifest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::content::{digest_of, noise};
use crate::support::images::upload;
use crate::support::process::{Process, command, free_address};
use crate::support::{Result, Seawall, Upstream, http};

/// The media type of the manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BLOB_BYTES: usize = 64 << 20;
const MANIFEST_BYTES: usize = 2048;

/// Where a server answers, and the process whose CPU time counts.
pub(crate) struct Server {
    /// Host and port.
    pub(crate) address: String,
    /// The process id.
    pub(crate) id: u32,
}

/// All three; they end with this.
pub(crate) struct Servers {
    /// Path of the blob.
    pub(crate) blob: String,
    /// Path of the manifest.
    pub(crate) manifest: String,
    seawall: Seawall,
    nginx: (String, Process),
    registry: Upstream,
    _directory: tempfile::TempDir,
}

impl Servers {
    /// Starts them and gives them the content.
    pub(crate) fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("seawall-bench-").tempdir()?;
        let root = directory.path();
        let registry = Upstream::start(root)?;
        let (blob_path, manifest_path) = store(&registry.address)?;
        for path in [&blob_path, &manifest_path] {
            let bytes = http::request(&registry.address, "GET", path, &[("Accept", MANIFEST)], &[])?.body;
            let file = root.join("static").join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap_or(root))?;
            fs::write(file, bytes)?;
        }
        let nginx = start_nginx(root)?;
        // nginx keeps no access log here, so neither does Seawall.
        let seawall = Seawall::start(root, &registry.address, "\n[log]\nrequests = false\n")?;
        Ok(Self {
            blob: blob_path,
            manifest: manifest_path,
            seawall,
            nginx,
            registry,
            _directory: directory,
        })
    }

    /// Seawall, nginx and the registry, in this order.
    pub(crate) fn all(&self) -> [Server; 3] {
        [
            Server {
                address: self.seawall.address.clone(),
                id: self.seawall.id(),
            },
            Server {
                address: self.nginx.0.clone(),
                id: self.nginx.1.id(),
            },
            Server {
                address: self.registry.address.clone(),
                id: self.registry.id(),
            },
        ]
    }

    /// Fetches everything from each: that warms them, and shows that all send the same bytes.
    pub(crate) fn expect_equal_answers(&self) -> Result {
        for path in [&self.blob, &self.manifest] {
            for server in self.all() {
                // Twice: Seawall keeps what the first one brought, and verifies it on the second.
                for _ in 0..2 {
                    let answer = http::request(&server.address, "GET", path, &[("Accept", MANIFEST)], &[])?;
                    if answer.status != 200 || !path.ends_with(&digest_of(&answer.body)) {
                        let length = answer.body.len();
                        return Err(format!(
                            "{path} from {}: {}, {length} bytes",
                            server.address, answer.status
                        )
                        .into());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Puts the blob and the manifest into the registry at `address`; their paths.
pub(crate) fn store(address: &str) -> Result<(String, String)> {
    let blob: Vec<u8> = noise(BLOB_BYTES / 8).flatten().collect();
    let digest = upload(address, "library/app", &blob)?;
    let manifest = manifest(&digest)?;
    let manifest_path = format!("/v2/library/app/manifests/{}", digest_of(&manifest));
    let typed = [("Content-Type", MANIFEST)];
    let pushed = http::request(address, "PUT", &manifest_path, &typed, &manifest)?;
    if pushed.status != 201 {
        return Err(format!("the registry refused the manifest: {}", pushed.status).into());
    }
    Ok((format!("/v2/library/app/blobs/{digest}"), manifest_path))
}

/// One worker on plain files with sendfile: the least that any server can do for these bytes.
fn start_nginx(root: &Path) -> Result<(String, Process)> {
    let address = free_address()?;
    let base = root.join("nginx");
    fs::create_dir_all(&base)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {};\n", base.join(kind).display()))
        .collect();
    let settings = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {base}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\n  sendfile on;\n  tcp_nopush on;\n  access_log off;\n  keepalive_requests 1000000000;\n\
         {temporary}  default_type {MANIFEST};\n\
         server {{ listen {address}; root {root}/static; }}\n}}\n",
        base = base.display(),
        root = root.display(),
    );
    let config = base.join("nginx.conf");
    fs::write(&config, settings)?;
    let mut serve = command("nginx");
    serve.arg("-e").arg("stderr").arg("-c").arg(&config);
    let mut process = Process::start("nginx", serve, root)?;
    process.wait_ready(Duration::from_secs(10), || {
        http::request(&address, "GET", "/", &[], &[]).is_ok()
    })?;
    Ok((address, process))
}

/// A manifest of the length that a common one has, by an annotation that fills it up.
fn manifest(digest: &str) -> Result<Vec<u8>> {
    let descriptor = json!({ "mediaType": "application/octet-stream", "digest": digest, "size": BLOB_BYTES });
    let with = |filler: &str| {
        serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": [descriptor],
            "annotations": { "org.example.filler": filler },
        }))
    };
    let bare = with("")?.len();
    Ok(with(&"x".repeat(MANIFEST_BYTES.saturating_sub(bare)))?)
}
