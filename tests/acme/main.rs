//! Certificates by ACME: the real binary, and pebble, an authority that is made for tests.
//!
//! `tests/acme/run` builds with the feature and starts it; `tests/run` installs pebble. Certificates live for half a
//! minute here, so that their renewal is seen.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this drives processes in real time and reports to a terminal; there is no reactor to block"
)]

#[path = "../e2e/support/alone.rs"]
mod alone;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/support/http.rs"]
mod http;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
#[path = "../e2e/support/process.rs"]
mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use alone::run_alone;
use process::{Process, Result, command, free_address, run, wait_until};

/// The name that the certificate is for.
const NAME: &str = "cache.seawall.test";
/// How long a certificate lives, in seconds.
const LIFE: u64 = 30;
/// How long a start or an order may take.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let name = "a certificate comes from the authority, is renewed under load, and outlives the authority";
    let logs = ["seawall.log", "pebble.out", "pebble.log"];
    run_alone(name, &logs, test)
}

/// The authority, and what answers its questions for names.
struct Authority {
    directory: String,
    management: String,
    pebble: Process,
    _names: Process,
}

impl Authority {
    /// Starts it; it looks for proofs at `port`.
    fn start(root: &Path, port: &str) -> Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        fs::write(root.join("ca.crt"), own.self_signed(&key)?.pem())?;
        fs::write(root.join("ca.key"), key.serialize_pem())?;
        let (listen, management, names, other) =
            (free_address()?, free_address()?, free_address()?, free_address()?);
        let config = format!(
            r#"{{ "pebble": {{ "listenAddress": "{listen}", "managementListenAddress": "{management}",
                "certificate": "{0}/ca.crt", "privateKey": "{0}/ca.key", "httpPort": 5002, "tlsPort": {port},
                "ocspResponderURL": "", "externalAccountBindingRequired": false,
                "certificateValidityPeriod": {LIFE} }} }}"#,
            root.display()
        );
        fs::write(root.join("pebble.json"), config)?;
        let mut resolver = command("pebble-challtestsrv");
        resolver.args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
        ]);
        resolver.args(["-tlsalpn01", "", "-dns01", &names, "-management", &other]);
        let resolver = Process::start("names", resolver, root)?;
        let mut pebble = command("pebble");
        pebble
            .arg("-config")
            .arg(root.join("pebble.json"))
            .args(["-dnsserver", &names]);
        // It looks for the proof at once, and refuses a tenth of all nonces, as one must expect.
        pebble
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "10");
        let mut authority = Self {
            directory: format!("https://{listen}/dir"),
            management,
            pebble: Process::start("pebble", pebble, root)?,
            _names: resolver,
        };
        let directory = authority.directory.clone();
        let asks = || run(command("curl").args(["-sfk", &directory])).is_ok();
        authority.pebble.wait_ready(LIMIT, asks)?;
        Ok(authority)
    }

    /// The certificate that all of its certificates come from, in a file.
    fn root(&self, root: &Path) -> Result<PathBuf> {
        let pem = run(command("curl").args(["-sfk", &format!("https://{}/roots/0", self.management)]))?;
        let file = root.join("root.crt");
        fs::write(&file, pem)?;
        Ok(file)
    }
}

/// A Seawall with a certificate by ACME.
struct Seawall {
    address: String,
    admin: String,
    process: Process,
}

impl Seawall {
    fn start(root: &Path, address: &str, authority: &str) -> Result<Self> {
        let admin = free_address()?;
        let config = format!(
            "[server]\nlisten = \"{address}\"\nadmin = \"{admin}\"\n\
             [server.tls.acme]\ndomains = [\"{NAME}\"]\ncontact = [\"ops@seawall.test\"]\n\
             directory = \"{authority}\"\nca = \"{0}/ca.crt\"\nstore = \"{0}/store\"\naccept_terms = true\n\
             [cache]\ndirectory = \"{0}/cache\"\nmin_free = \"0B\"\n",
            root.display()
        );
        fs::write(root.join("seawall.toml"), config)?;
        let mut serve = command(env!("CARGO_BIN_EXE_seawall"));
        serve.arg("serve").arg("--config").arg(root.join("seawall.toml"));
        let mut seawall = Self {
            address: address.to_owned(),
            process: Process::start("seawall", serve, root)?,
            admin,
        };
        let admin = seawall.admin.clone();
        let is_ready = || http::get(&admin, "/readyz").is_ok_and(|answer| answer.status == 200);
        seawall.process.wait_ready(LIMIT, is_ready)?;
        Ok(seawall)
    }

    /// Asks it by its name, trusting nobody but the authority.
    fn answers(&self, root: &Path) -> bool {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        let mut ask = command("curl");
        ask.args(["-sf", "--max-time", "5", "--cacert"]).arg(root);
        ask.args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
        run(ask.arg(format!("https://{NAME}:{port}/v2/"))).is_ok()
    }

    fn tells(&self, line: &str) -> bool {
        http::get(&self.admin, "/metrics").is_ok_and(|answer| {
            String::from_utf8_lossy(&answer.body)
                .lines()
                .any(|told| told == line)
        })
    }
}

fn test(root: &Path) -> Result {
    let address = free_address()?;
    let port = address.rsplit(':').next().unwrap_or_default().to_owned();
    let mut authority = Authority::start(root, &port)?;
    let issued_by = authority.root(root)?;
    let seawall = Seawall::start(root, &address, &authority.directory)?;
    wait_until("the first certificate", LIMIT, || seawall.answers(&issued_by))?;
    let kept = |name: &str| fs::read(root.join("store").join(name));
    let (first, account) = (kept("certificate.pem")?, kept("account.json")?);
    for entry in fs::read_dir(root.join("store"))? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        if mode != 0o600 {
            return Err(format!("{} has mode {mode:o}", entry.path().display()).into());
        }
    }

    // Asked again and again, it answers all the time: before, while and after it is renewed.
    let (begun, mut asked) = (Instant::now(), 0);
    while kept("certificate.pem")? == first || asked < 20 {
        if !seawall.answers(&issued_by) {
            return Err(format!(
                "after {:?} and {asked} answers, it was not to be had",
                begun.elapsed()
            )
            .into());
        }
        asked += 1;
        if begun.elapsed() > LIMIT {
            return Err(format!("the certificate was not renewed in {LIMIT:?}").into());
        }
    }
    println!(
        "        {asked} answers while the certificate was renewed, after {:.1?}",
        begun.elapsed()
    );
    wait_until("the renewal is told", LIMIT, || {
        seawall.tells(r#"seawall_certificate_renewals_total{outcome="renewed"} 2"#)
    })?;
    drop(seawall);

    // What was kept is shown at once, and the account is the same.
    let seawall = Seawall::start(root, &address, &authority.directory)?;
    if !seawall.answers(&issued_by) {
        return Err("after a restart it does not show the certificate that was kept".into());
    }
    if kept("account.json")? != account {
        return Err("there is another account after a restart".into());
    }

    // Without the authority, what is shown is shown until it expires, and the failure is told.
    authority.pebble.stop()?;
    wait_until("the failure is told", LIMIT, || {
        seawall.tells("seawall_certificate_renewal_failing 1")
    })?;
    if !seawall.answers(&issued_by) {
        return Err("a renewal that failed took the certificate away".into());
    }
    // The log is written a moment after what it tells of.
    wait_until("the log says it", LIMIT, || {
        fs::read_to_string(seawall.process.log())
            .is_ok_and(|log| log.contains("could not be renewed, and is good until then"))
    })?;
    let page = String::from_utf8(http::get(&seawall.admin, "/")?.body)?;
    if !page.contains("The certificate could not be renewed") {
        return Err(format!("the status page does not tell it: {page}").into());
    }
    Ok(())
}
