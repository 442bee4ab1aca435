//! What rights cost where nobody needs any: the same public images, held, where everything that tells clients apart is
//! configured, and where nothing is.

use std::fs;

use crate::Options;
use crate::load::Run;
use crate::machine::pin;
use crate::servers::{QUIET, registry, seawall};
use crate::shelf::{Shelf, warm};
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// Sizes of the blobs.
const BLOBS: [(&str, u64); 2] = [("blob of 64 KiB", 64 << 10), ("blob of 1 MiB", 1 << 20)];
const CONNECTIONS: usize = 16;
/// What public images may lose, as a part of what they are without rights.
const GOAL: Goal = Goal::AtLeast(0.97);

/// Manifests and blobs that everybody may see.
pub(crate) fn pulls(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let [by_digest, by_tag] = shelf.manifest()?;
    let small = shelf.blob(1 << 10, 0)?;
    let mut asked = vec![("manifest by digest", by_digest), ("manifest by tag", by_tag)];
    for (name, size) in BLOBS {
        asked.push((name, shelf.blob(size, 0)?));
    }
    let paths: Vec<String> = asked.iter().map(|(_, path)| path.clone()).collect();
    pin("0")?;
    let registry = registry(shelf.root(), None)?;
    let blobs = [&paths[2..], &[small]].concat();
    shelf.push(&registry.server.address, &blobs, &paths[..2])?;
    let upstream = &registry.server.address;
    let servers = [
        seawall(shelf.root(), upstream, "", &rights(shelf)?)?,
        seawall(shelf.root(), upstream, "", QUIET)?,
    ];
    pin("1")?;
    let servers = servers.each_ref().map(|running| &running.server);
    warm(shelf, servers, &paths)?;
    let mut table = Table::new(
        "Public images beside rights, 16 connections",
        &["with rights", "without any"],
    );
    for (name, path) in &asked {
        let mut rate = Row::new(format!("{name}, requests/s"), 0, servers.len()).to(1, GOAL);
        for round in 0..options.rounds {
            // Whoever goes first finds a quieter machine, or a busier one.
            for contestant in [round % 2, 1 - round % 2] {
                let server = servers[contestant];
                let run = match name.starts_with("manifest") {
                    true => Run::of_small(server, "GET", path, CONNECTIONS)?,
                    false => Run::of(server, path, CONNECTIONS)?,
                };
                rate.push(contestant, run.answers_a_second());
            }
        }
        table.add([rate]);
    }
    Ok(vec![table])
}

/// Everything that tells clients apart: credentials for the registry, which only raise the budget, a client who may
/// pull some of its repositories and not others, and a registry whose clients log in there.
fn rights(shelf: &Shelf) -> Result<String> {
    let password = shelf.root().join("password");
    fs::write(&password, "secret")?;
    let credentials =
        format!("credentials = [{{ username = \"robot\", password = {{ file = {password:?} }} }}]");
    Ok(format!(
        "{credentials}\n\
         [[upstream]]\nregistry = \"ghcr.io\"\naccess = \"per_client\"\n{credentials}\n\
         [[client]]\nname = \"team\"\ntier = \"unlimited\"\nmatch = {{ cidr = [\"127.0.0.0/8\"] }}\n\
         allow = [\"docker.io/library/**\", \"ghcr.io/team/**\"]\n\
         deny = [\"docker.io/library/secret\", \"ghcr.io/team/secret\"]\n{QUIET}"
    ))
}
