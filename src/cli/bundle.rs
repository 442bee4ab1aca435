//! `seawall export` and `seawall import`: images to and from a file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin::Admin;
use super::progress::Progress;
use super::words::{count, size};
use super::{Asking, NoAnswer, complain, print, refused};
use crate::cache::{Imported, ImportedImage};

/// Bytes read from a file at a time.
const STEP: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Exporting {
    /// Images that are held: alpine:3.20, ghcr.io/owner/app@sha256:…
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
    /// The file to write; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The platforms that must be in it, such as linux/amd64, or `all`; without it, those that are held
    #[arg(long, value_name = "LIST")]
    platform: Option<String>,
    /// Leave out signatures, attestations and whatever else refers to the images
    #[arg(long)]
    no_referrers: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub(super) struct Importing {
    /// The bundle, an OCI image layout in a tar archive; `-` for standard input
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// What the image is called, such as docker.io/library/alpine:3.20, if the bundle does not say
    #[arg(long = "as", value_name = "REF")]
    as_name: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

impl Exporting {
    /// The path that answers with the bundle.
    pub(super) fn asks(&self) -> String {
        let mut path = format!("/api/v1/export?referrers={}", !self.no_referrers);
        for reference in &self.references {
            path += &format!("&reference={}", utf8_percent_encode(reference, NON_ALPHANUMERIC));
        }
        if let Some(platform) = &self.platform {
            path += &format!("&platform={}", utf8_percent_encode(platform, NON_ALPHANUMERIC));
        }
        path
    }

    /// What is told of a bundle that was written.
    pub(super) fn wrote(&self, length: u64) -> String {
        wrote(&self.output.display().to_string(), length)
    }
}

impl Importing {
    /// The path that takes the bundle.
    pub(super) fn asks(&self) -> String {
        let as_name = self.as_name.as_ref();
        let query = as_name.map(|name| format!("?as={}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
        format!("/api/v1/import{}", query.unwrap_or_default())
    }
}

fn wrote(name: &str, length: u64) -> String {
    format!("wrote {name}: {}", size(length))
}

/// What is told of a bundle that was read.
pub(super) fn drawn(answer: &[u8]) -> Result<String, serde_json::Error> {
    Ok(told(&serde_json::from_slice(answer)?))
}

/// Writes a bundle. A file has its name only once it is whole.
pub(super) fn export(exporting: &Exporting) -> ExitCode {
    let path = exporting.asks();
    exporting.asking.with(|admin| {
        if exporting.output == Path::new("-") {
            return ended(
                download(admin, &path, &mut io::stdout().lock()),
                "standard output",
                false,
            );
        }
        let name = exporting.output.display().to_string();
        let (written, json) = (to_file(admin, &path, &exporting.output), exporting.asking.json);
        ended(written, &name, json)
    })
}

/// Why nothing was written.
enum NotWritten {
    NoAnswer(super::NoAnswer),
    File(io::Error),
    Broken(u64, u64),
}

fn to_file(admin: &Admin, path: &str, output: &Path) -> Result<u64, NotWritten> {
    let mut partial = output.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = File::create(&partial).map_err(NotWritten::File)?;
    let written = download(admin, path, &mut file).and_then(|length| {
        let named = file.sync_data().and_then(|()| std::fs::rename(&partial, output));
        named.map(|()| length).map_err(NotWritten::File)
    });
    if written.is_err() {
        // What it failed for is told; a leftover is named after what it is.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn download(admin: &Admin, path: &str, out: &mut impl Write) -> Result<u64, NotWritten> {
    let mut progress = Progress::on_stderr();
    let (mut done, mut total, mut failed) = (0, 0, None);
    let answer = admin.download(path, |length, piece| {
        total = length;
        done += piece.len() as u64;
        progress.moved("bundle", "writing", done, total);
        out.write_all(piece).map_err(|error| failed = Some(error)).is_ok()
    });
    progress.end();
    if let Some(error) = failed {
        return Err(NotWritten::File(error));
    }
    match answer {
        Err(_) if done > 0 => Err(NotWritten::Broken(done, total)),
        Err(no_answer) => Err(NotWritten::NoAnswer(no_answer)),
        Ok(()) => out.flush().map(|()| done).map_err(NotWritten::File),
    }
}

fn ended(written: Result<u64, NotWritten>, name: &str, json: bool) -> ExitCode {
    let why = match written {
        Ok(length) if json => {
            return print(&format!(
                "{}\n",
                serde_json::json!({"file": name, "bytes": length})
            ));
        }
        Ok(length) => {
            complain(wrote(name, length));
            return ExitCode::SUCCESS;
        }
        Err(NotWritten::NoAnswer(no_answer)) => return refused(&no_answer),
        Err(NotWritten::File(error)) => format!("{name} cannot be written: {error}"),
        Err(NotWritten::Broken(done, total)) => format!(
            "the bundle broke off after {done} of {total} bytes: something in it is damaged and was put aside, or \
             Seawall was stopped; ask again to learn what is missing"
        ),
    };
    complain(format_args!("error: {why}"));
    ExitCode::FAILURE
}

/// Reads a bundle.
pub(super) fn import(importing: &Importing) -> ExitCode {
    let name = importing.bundle.display().to_string();
    let opened: io::Result<(Box<dyn Read + Send>, u64)> = match importing.bundle == Path::new("-") {
        true => Ok((Box::new(io::stdin()), 0)),
        false => File::open(&importing.bundle).and_then(|file| {
            let length = file.metadata()?;
            match length.is_dir() {
                true => Err(io::Error::other(
                    "this is a folder; pack it first: tar -C FOLDER -cf - . | seawall import -",
                )),
                false => Ok((Box::new(file) as Box<dyn Read + Send>, length.len())),
            }
        }),
    };
    let (bundle, total) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            complain(format_args!("error: {name} cannot be read: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let path = importing.asks();
    importing.asking.with(|admin| {
        let mut progress = Progress::on_stderr();
        let uploaded = admin.upload(&path, pieces(bundle), |done| {
            progress.moved(&name, "reading", done, total.max(done));
        });
        progress.end();
        match uploaded {
            // What is wrong is the bundle.
            Err(no_answer @ NoAnswer::Refused(StatusCode::BAD_REQUEST, _)) => {
                refused(&no_answer);
                ExitCode::FAILURE
            }
            Err(no_answer) => refused(&no_answer),
            Ok(body) => importing.asking.print(&body, drawn),
        }
    })
}

/// A file, piece by piece.
fn pieces(mut bundle: Box<dyn Read + Send>) -> impl FnMut() -> io::Result<Option<Bytes>> + Send + 'static {
    move || {
        let mut buffer = vec![0; STEP];
        let read = bundle.read(&mut buffer)?;
        buffer.truncate(read);
        Ok((read > 0).then(|| buffer.into()))
    }
}

fn told(imported: &Imported) -> String {
    let mut out = String::new();
    for ImportedImage { image, digest } in &imported.images {
        out.push_str(&format!("{image}  {digest}\n"));
    }
    let referrers = match imported.referrers {
        0 => String::new(),
        count => format!(" and {count} that refer to them"),
    };
    out.push_str(&format!(
        "{}{referrers}; {} were new, {} were held already\n",
        count(imported.images.len() as u64, "image", "images"),
        size(imported.written),
        size(imported.held),
    ));
    out
}
