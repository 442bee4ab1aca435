//! The status page in a real browser: with and without scripts, at every width, in light and dark.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::http;
use crate::support::images::TAG;
use crate::support::limited::{HOUR, Limited};
use crate::support::process::{Result, command, run, wait_until};
use crate::support::relay::Relay;
use crate::support::{Seawall, Verdict, World};

/// Names of the one browser that is driven here. Debian has the second as a package of its own, without a desktop.
const BROWSERS: [&str; 5] = [
    "chromium",
    "chromium-headless-shell",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];
/// Widths in pixels: a phone, a tablet, a wide screen.
const WIDTHS: [u32; 3] = [360, 800, 1600];
/// Time that passes for the page's timers before it is looked at, in milliseconds: three of its rounds.
const LIVES: &str = "16000";
/// No wire is this slow here: the relay only counts.
const FAST: u64 = 1 << 40;
/// Bytes a second from the upstream, so that the large layer is under way for as long as it is looked at.
const SLOW: u64 = 1 << 20;
/// How long that may take to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// Keeps the browser to itself: it has nothing to ask of anybody but the page.
const ALONE: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
];
/// Where pictures of the page are put, if anywhere.
const PICTURES: &str = "SEAWALL_E2E_PICTURES";
/// What is put into the page to look at it as it is laid out.
const PROBE: &str = include_str!("probe.js");

/// A browser without a window.
struct Browser<'a> {
    program: &'static str,
    profile: &'a Path,
}

impl<'a> Browser<'a> {
    /// The one of this machine, if it has one.
    fn find(profile: &'a Path) -> Option<Self> {
        let is_there = |program: &&str| {
            let mut version = command(program);
            version
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        let program = BROWSERS.into_iter().find(|program| is_there(program))?;
        Some(Self { program, profile })
    }

    /// The document at `url` after it has been shown `width` pixels wide.
    fn document(&self, url: &str, width: u32, more: &[&str]) -> Result<String> {
        self.look((width, 1000), &[more, &["--dump-dom", url]].concat())
    }

    /// Puts a picture of the page at `url` where somebody wants to see it, if somebody does.
    fn picture(&self, url: &str, name: &str, width: u32, more: &[&str]) -> Result {
        let Some(directory) = std::env::var_os(PICTURES) else {
            return Ok(());
        };
        std::fs::create_dir_all(&directory)?;
        let file = Path::new(&directory).join(format!("{name}-{width}.png"));
        let file = format!("--screenshot={}", file.display());
        self.look((width, 3200), &[more, &[file.as_str(), url]].concat())
            .map(drop)
    }

    fn look(&self, (width, height): (u32, u32), more: &[&str]) -> Result<String> {
        let mut browse = command(self.program);
        browse.args(ALONE);
        browse.arg(format!("--user-data-dir={}", self.profile.display()));
        browse.arg(format!("--window-size={width},{height}"));
        run(browse.args(more))
    }
}

fn no_browser() -> Verdict {
    let names = BROWSERS.join(", ");
    Verdict::Skipped(format!("there is no browser here by any of the names {names}"))
}

/// A Seawall at work, with what keeps it there.
struct Busy {
    seawall: Seawall,
    _limited: Limited,
    /// Two clients that wait for the large layer.
    _readers: [TcpStream; 2],
}

impl Busy {
    /// It was pulled through, the last times in vain, and fetches a large layer.
    fn start(world: &World, directory: &Path) -> Result<Self> {
        let limited = Limited::start(&world.upstream.address, 2, HOUR)?;
        let slow = Relay::start(&limited.address, SLOW)?;
        let seawall = world.seawall_on(&slow.address, directory)?;
        let app = &world.images.app;
        let path = |kind: &str, name: &str| format!("/v2/{}/{kind}/{name}", app.repository);
        for target in [path("manifests", TAG), path("blobs", &app.layers[0])] {
            for _ in 0..3 {
                let answer = http::get(&seawall.address, &target)?;
                if answer.status != 200 {
                    return Err(format!("{target} is answered {}", answer.status).into());
                }
            }
        }
        for target in [
            "/v2/team/'&x/manifests/1",
            "/v2/library/nothing/manifests/gone",
            "/v2/library/multi/manifests/amd64",
            "/v2/library/multi/manifests/arm64",
        ] {
            http::get(&seawall.address, target)?;
        }
        let large = path("blobs", world.images.large_layer());
        let readers = [
            asking(&seawall.address, &large)?,
            asking(&seawall.address, &large)?,
        ];
        wait_until("the page shows the download", BEGIN, || {
            http::get(&seawall.admin, "/").is_ok_and(|page| {
                let page = String::from_utf8_lossy(&page.body);
                page.contains("data-column=\"Readers\">2</td>") && !page.contains("0 B of 2")
            })
        })?;
        Ok(Self {
            seawall,
            _limited: limited,
            _readers: readers,
        })
    }
}

/// A client that asks and does not read.
fn asking(address: &str, target: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    Ok(stream)
}

/// What stands in an element with an id, markup included.
fn part<'a>(html: &'a str, id: &str) -> Result<&'a str> {
    let at = html
        .find(&format!("id=\"{id}\""))
        .ok_or_else(|| format!("there is no #{id}: {html}"))?;
    let rest = &html[at..];
    Ok(&rest[..rest
        .find("</section>")
        .or_else(|| rest.find("</p>"))
        .unwrap_or(rest.len())])
}

/// The page's words do not depend on scripts; with scripts, it asks for itself again.
pub(crate) fn with_and_without_scripts(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let profile = directory.join("profile");
    let Some(browser) = Browser::find(&profile) else {
        return Ok(no_browser());
    };
    let busy = Busy::start(world, &directory)?;
    let admin = &busy.seawall.admin;
    let page = directory.join("still.html");
    std::fs::write(&page, with_script(admin, "")?)?;
    let still = browser.document(&format!("file://{}", page.display()), 800, &[])?;
    let relay = Relay::start(admin, FAST)?;
    let url = format!("http://{}/", relay.address);
    let live = browser.document(&url, 800, &[&format!("--virtual-time-budget={LIVES}")])?;
    let (passed, once) = (relay.passed(), still.len() as u64);
    if passed < 3 * once {
        return Err(format!("a page of {once} bytes was not asked for again: {passed} bytes passed").into());
    }
    for (html, words) in [
        (&still, "Refresh</a>"),
        (&live, ">Live</span>"),
        (&live, "Pause</button>"),
    ] {
        if !part(html, "live")?.contains(words) {
            return Err(format!("{words} is not in {}", part(html, "live")?).into());
        }
    }
    let image = &world.images.app.repository;
    for html in [&still, &live] {
        for (id, words) in [
            ("saved", "Bytes not fetched"),
            ("traffic", "were sent to clients"),
            ("budgets", "requests left"),
            ("refusals", "library/nothing:gone"),
            ("fills", image.as_str()),
            ("repositories", image.as_str()),
        ] {
            if !part(html, id)?.contains(words) {
                return Err(format!("{words} is not in #{id}: {}", part(html, id)?).into());
            }
        }
    }
    Ok(Verdict::Passed)
}

/// Nothing is cut off, too pale, too small or without a name.
pub(crate) fn fits_and_is_legible(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let profile = directory.join("profile");
    let Some(browser) = Browser::find(&profile) else {
        return Ok(no_browser());
    };
    let fresh = world.seawall()?;
    let busy = Busy::start(world, &directory)?;
    for (name, admin) in [("fresh", &fresh.admin), ("busy", &busy.seawall.admin)] {
        let path = directory.join(format!("{name}.html"));
        std::fs::write(&path, with_script(admin, PROBE)?)?;
        let url = format!("file://{}", path.display());
        for width in WIDTHS {
            // What the browser takes for the preference of its user: 0 is dark, 1 light.
            for (number, scheme) in [("0", "dark"), ("1", "light")] {
                let preference = format!("--blink-settings=preferredColorScheme={number}");
                let html = browser.document(&url, width, &[&preference])?;
                let found = findings(&html)?;
                let is_as_wanted = found["width"] == width && found["scheme"] == scheme;
                let is_whole = found["texts"].as_u64().is_some_and(|texts| texts > 30);
                if !is_as_wanted || !is_whole || found["wrong"] != Value::Array(Vec::new()) {
                    return Err(format!("{name}, {width} wide, {scheme}: {found:#}").into());
                }
                let name = format!("{name}-{scheme}");
                browser.picture(&url, &name, width, &[&preference])?;
            }
        }
    }
    Ok(Verdict::Passed)
}

/// The page in one file, with `script` in the place of its own. What it is served with would let no other run.
fn with_script(admin: &str, script: &str) -> Result<String> {
    let text = |target: &str| -> Result<String> {
        let answer = http::get(admin, target)?;
        match answer.status {
            200 => Ok(String::from_utf8(answer.body)?),
            status => Err(format!("{target} is answered {status}").into()),
        }
    };
    let mut page = text("/")?;
    for (own, other) in [
        (
            "<link rel=\"stylesheet\" href=\"/page/style.css\">",
            format!("<style>{}</style>", text("/page/style.css")?),
        ),
        (
            "<script src=\"/page/live.js\" defer></script>",
            format!("<script>{script}</script>"),
        ),
        (
            "src=\"/page/icon.svg\"",
            format!("src=\"data:image/svg+xml,{}\"", encoded(&text("/page/icon.svg")?)),
        ),
    ] {
        if page.matches(own).count() != 1 {
            return Err(format!("{own} is not once in the page: {page}").into());
        }
        page = page.replace(own, &other);
    }
    Ok(page)
}

/// Spelled so that it may stand in an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// What the probe has written down.
fn findings(html: &str) -> Result<Value> {
    let told = html
        .split("<pre id=\"probed\" hidden=\"\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next());
    let told = told.ok_or_else(|| format!("the probe did not run: {html}"))?;
    let told = told
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    Ok(serde_json::from_str(&told)?)
}
