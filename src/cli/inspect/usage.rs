//! What the disk is used for, drawn as tables.

use std::fmt::Write as _;

use crate::cli::colours::Tone;
use crate::cli::look::Look;
use crate::cli::table::{Column, Table};
use crate::cli::words::{age, age_or_never, count, digest, part, size};
use crate::policy::listing::{AgeRow, Portion, Usage};

/// Draws the usage.
pub(super) fn draw(usage: &Usage, look: Look) -> String {
    let mut out = totals(usage, look);
    for (title, table) in [
        ("by upstream".to_owned(), upstreams(usage)),
        (largest(usage), repositories(usage)),
        ("by age of the last use".to_owned(), ages(usage)),
        ("what goes next when room is needed".to_owned(), next(usage)),
    ] {
        let drawn = table.draw(look);
        if !drawn.is_empty() {
            // Writing to a String cannot fail, here and below.
            let _ = write!(out, "\n{}\n{drawn}", look.colours.paint(Tone::Name, &title));
        }
    }
    out
}

fn totals(usage: &Usage, look: Look) -> String {
    let mut out = String::new();
    let mut line = |title: &str, portion: Portion, rest: &str| {
        let files = count(portion.count, "file", "files");
        let size = size(portion.size);
        let title = look.colours.paint(Tone::Name, &format!("{title:<15}"));
        let _ = writeln!(out, "{title}  {size:>9}  in {files}{rest}");
    };
    let kinds = format!(
        ": {}, {}",
        count(usage.manifests.count, "manifest", "manifests"),
        count(usage.blobs.count, "blob", "blobs")
    );
    line("held", usage.held, &kinds);
    let once = " that several repositories name; counted once here, and for each of them below";
    if usage.shared.count > 0 {
        line("shared", usage.shared, once);
    }
    if usage.orphans.count > 0 {
        line(
            "named by nobody",
            usage.orphans,
            ": blobs of no manifest that is held",
        );
    }
    if usage.unnamed.count > 0 {
        let rest = ": manifests whose records were lost; the next pull of each tells whose it is";
        line("without records", usage.unnamed, rest);
    }
    out
}

fn upstreams(usage: &Usage) -> Table {
    let mut table = Table::new(&[
        Column::left("UPSTREAM"),
        Column::right("REPOSITORIES").spare(1),
        Column::right("FILES").spare(1),
        Column::right("SIZE"),
        Column::right("LAST PULL"),
        Column::right("PULLS").spare(1),
    ]);
    for row in &usage.upstreams {
        table.row([
            row.registry.clone(),
            row.repositories.to_string(),
            row.held.count.to_string(),
            size(row.held.size),
            age_or_never(usage.now, row.used),
            row.pulls.to_string(),
        ]);
    }
    table
}

fn largest(usage: &Usage) -> String {
    match (usage.repositories.len() as u64, usage.repositories_total) {
        (shown, total) if shown < total => format!("the {shown} largest of {total} repositories"),
        _ => "by repository".to_owned(),
    }
}

fn repositories(usage: &Usage) -> Table {
    let mut table = Table::new(&[
        Column::left("REPOSITORY"),
        Column::right("MANIFESTS").spare(1),
        Column::right("SIZE"),
        Column::right("SHARED").spare(1),
        Column::right("LAST PULL"),
    ]);
    for row in &usage.repositories {
        table.row([
            row.repository.clone(),
            row.manifests.to_string(),
            size(row.size),
            size(row.shared),
            age_or_never(usage.now, row.used),
        ]);
    }
    table
}

fn ages(usage: &Usage) -> Table {
    let mut table = Table::new(&[
        Column::left("LAST USED"),
        Column::right("FILES"),
        Column::right("SIZE"),
        Column::right("PART"),
    ]);
    let mut from = None;
    for AgeRow { days, held } in usage.ages.iter().filter(|_| usage.held.count > 0) {
        let words = match (from, *days) {
            (None, Some(to)) => format!("within {}", count(u64::from(to), "day", "days")),
            (Some(from), Some(to)) => format!("{from} to {to} days ago"),
            (from, None) => format!("over {} days ago", from.unwrap_or(0)),
        };
        from = *days;
        table.row([
            words,
            held.count.to_string(),
            size(held.size),
            part(held.size, usage.held.size),
        ]);
    }
    table
}

fn next(usage: &Usage) -> Table {
    let mut table = Table::new(&[
        Column::left("DIGEST"),
        Column::left("KIND").spare(1),
        Column::right("SIZE"),
        Column::right("LAST USED"),
        Column::left("OF").spare(2),
    ]);
    for row in &usage.next {
        let of = match row.repositories.as_slice() {
            [] => "-".to_owned(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first} +{}", others.len()),
        };
        table.row([
            digest(&row.digest, false),
            if row.manifest { "manifest" } else { "blob" }.to_owned(),
            size(row.size),
            age(usage.now, row.used),
            of,
        ]);
    }
    table
}
