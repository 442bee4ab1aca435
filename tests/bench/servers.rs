//! The servers that stand side by side: Seawall, nginx and Debian's docker-registry, each with a directory of
//! its own below one that vanishes.

use std::any::Any;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::load::MANIFEST;
use crate::machine::Server;
use crate::support::process::{Process, command, free_address};
use crate::support::{Result, Seawall};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// A Seawall that writes no line for a request, as nginx with `access_log off`.
pub(crate) const QUIET: &str = "\n[log]\nrequests = false\n";

/// A running server; it ends with this.
pub(crate) struct Running {
    /// Where it answers.
    pub(crate) server: Server,
    /// Its files.
    pub(crate) directory: PathBuf,
    /// Dropped, it ends.
    _process: Box<dyn Any>,
}

/// How an nginx differs from one that only sends static files with one worker.
#[derive(Default)]
pub(crate) struct Nginx {
    /// Workers; one unless more are wanted.
    pub(crate) workers: usize,
    /// After the address in `listen`: " http2".
    pub(crate) listen: &'static str,
    /// Lines in `http`; the access log is off unless they turn it on.
    pub(crate) http: String,
    /// Lines in `server` instead of the static files.
    pub(crate) server: Option<String>,
}

/// Starts a Seawall with an empty cache before `upstream`; more lines for `[server]`, and at the end.
pub(crate) fn seawall(root: &Path, upstream: &str, server: &str, more: &str) -> Result<Running> {
    seawall_in(new_directory(root, "seawall")?, upstream, server, more)
}

/// The same with what is in `cache` below that directory.
pub(crate) fn seawall_in(directory: PathBuf, upstream: &str, server: &str, more: &str) -> Result<Running> {
    // Tags stay fresh for longer than any turn.
    let more = format!("freshness = {{ ttl = \"1d\" }}\n{more}");
    let seawall = Seawall::start_with(&directory, upstream, server, &more)?;
    Ok(Running {
        server: Server {
            address: seawall.address.clone(),
            id: seawall.id(),
        },
        directory,
        _process: Box::new(seawall),
    })
}

/// Starts an nginx, which sends the files below `files` with sendfile unless told otherwise.
pub(crate) fn nginx(root: &Path, files: &Path, how: &Nginx) -> Result<Running> {
    let (base, address) = (new_directory(root, "nginx")?, free_address()?);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {};\n", base.join(kind).display()))
        .collect();
    let log = if how.http.contains("access_log") {
        ""
    } else {
        "access_log off;"
    };
    let Nginx {
        workers,
        listen,
        http,
        server,
    } = how;
    let workers = 1.max(*workers);
    let files = format!(
        "root {}; location = /v2/ {{ return 200 '{{}}'; }}",
        files.display()
    );
    let server = server.as_ref().unwrap_or(&files);
    let settings = format!(
        "daemon off;\nuser root;\nworker_processes {workers};\nworker_rlimit_nofile 20000;\npid {base}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 10000; }}\n\
         http {{\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000000;\n{temporary}\
         default_type {MANIFEST};\n  {log}\n  {http}\n  server {{ listen {address}{listen} backlog=4096; {server} }}\n}}\n",
        base = base.display(),
    );
    let config = base.join("nginx.conf");
    fs::write(&config, settings)?;
    let mut serve = command("nginx");
    serve.arg("-e").arg("stderr").arg("-c").arg(&config);
    let process = Process::start("nginx", serve, &base)?;
    ready(process, address, base)
}

/// Starts an nginx that keeps what it fetches from `upstream`, and fetches each thing once.
pub(crate) fn nginx_cache(root: &Path, upstream: &str) -> Result<Running> {
    let home = new_directory(root, "nginx-cache")?;
    let how = Nginx {
        http: format!(
            "proxy_cache_path {}/kept levels=1:2 keys_zone=kept:10m max_size=20g use_temp_path=off;",
            home.display()
        ),
        server: Some(format!(
            "location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Connection ''; \
             proxy_cache kept; proxy_cache_valid 200 1d; proxy_cache_lock on; proxy_cache_lock_timeout 600s; \
             proxy_cache_lock_age 600s; }}"
        )),
        ..Nginx::default()
    };
    let running = nginx(&home, &home, &how)?;
    Ok(Running {
        directory: home,
        ..running
    })
}

/// Starts a docker-registry: its own store, or what it fetches from `upstream`.
pub(crate) fn registry(root: &Path, upstream: Option<&str>) -> Result<Running> {
    let proxy = upstream.map_or_else(String::new, |upstream| {
        format!("proxy: {{ remoteurl: \"http://{upstream}\" }}\n")
    });
    let base = new_directory(root, "registry")?;
    let store = base.join("store");
    registry_over(base, &store, "", &proxy)
}

/// Starts another one over the store of `beside`, which speaks TLS.
pub(crate) fn registry_by_tls(
    root: &Path,
    beside: &Running,
    (certificate, key): (&Path, &Path),
) -> Result<Running> {
    let tls = format!(
        ", tls: {{ certificate: \"{}\", key: \"{}\" }}",
        certificate.display(),
        key.display()
    );
    let store = beside.directory.join("store");
    registry_over(new_directory(root, "registry-tls")?, &store, &tls, "")
}

fn registry_over(base: PathBuf, store: &Path, http: &str, more: &str) -> Result<Running> {
    let address = free_address()?;
    let settings = format!(
        "version: 0.1\n\
         log: {{ level: error, accesslog: {{ disabled: true }} }}\n\
         storage:\n  cache: {{ blobdescriptor: inmemory }}\n  filesystem: {{ rootdirectory: {} }}\n\
         http: {{ addr: \"{address}\"{http} }}\n{more}",
        store.display()
    );
    let config = base.join("registry.yml");
    fs::write(&config, settings)?;
    let mut serve = command("docker-registry");
    serve.arg("serve").arg(&config).env_remove("OTEL_TRACES_EXPORTER");
    let process = Process::start("registry", serve, &base)?;
    ready(process, address, base)
}

fn ready(mut process: Process, address: String, directory: PathBuf) -> Result<Running> {
    process.wait_ready(START, || TcpStream::connect(&address).is_ok())?;
    Ok(Running {
        server: Server {
            address,
            id: process.id(),
        },
        directory,
        _process: Box::new(process),
    })
}

/// A directory that nothing is in yet.
pub(crate) fn new_directory(root: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}-");
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(root)?.keep())
}
