//! Lists of repositories, tags and manifests, drawn as tables.

use crate::cli::look::Look;
use crate::cli::table::{Column, Table, summary};
use crate::cli::words::{age, age_or_never, count, digest, kind, part, size};
use crate::policy::listing::{ManifestRow, Page, RepositoryRow, TagRow};

/// Platforms named in a row; the others are counted.
const PLATFORMS: usize = 2;
/// Tags named in a row.
const TAGS: usize = 3;

/// Draws a list of repositories.
pub(super) fn repositories(page: &Page<RepositoryRow>, look: Look) -> String {
    let mut table = Table::new(&[
        Column::left("REPOSITORY"),
        Column::right("TAGS").spare(2),
        Column::right("MANIFESTS").spare(2),
        Column::right("SIZE"),
        Column::right("SHARED").spare(3),
        Column::right("LAST PULL"),
        Column::right("PULLS").spare(1),
    ]);
    for row in &page.rows {
        table.row([
            row.repository.clone(),
            row.tags.to_string(),
            row.manifests.to_string(),
            size(row.size),
            size(row.shared),
            age_or_never(page.now, row.used),
            row.pulls.to_string(),
        ]);
    }
    table.draw(look) + &ending(page, "repository", "repositories", look)
}

/// Draws a list of tags.
pub(super) fn tags(page: &Page<TagRow>, full: bool, look: Look) -> String {
    let mut table = Table::new(&[
        Column::left("TAG"),
        Column::left("POINTS AT").spare(1),
        Column::left("HELD"),
        Column::left("PLATFORMS").spare(3),
        Column::right("SIZE"),
        Column::right("CHECKED").spare(2),
        Column::right("LAST PULL"),
        Column::right("PULLS").spare(1),
    ]);
    for row in &page.rows {
        let of_it = |text: String| if row.held { text } else { "-".to_owned() };
        table.row([
            row.tag.clone(),
            digest(&row.digest, full),
            if row.held { "●" } else { "○" }.to_owned(),
            some(&row.platforms, PLATFORMS, full),
            of_it(size(row.size)),
            age(page.now, row.validated),
            of_it(age_or_never(page.now, row.used)),
            of_it(row.pulls.to_string()),
        ]);
    }
    table.draw(look) + &ending(page, "tag", "tags", look)
}

/// Draws a list of manifests.
pub(super) fn manifests(page: &Page<ManifestRow>, full: bool, look: Look) -> String {
    let mut table = Table::new(&[
        Column::left("DIGEST"),
        Column::left("TAGS"),
        Column::left("PLATFORM").spare(2),
        Column::left("TYPE").spare(4),
        Column::right("CREATED").spare(4),
        Column::right("STORED").spare(3),
        Column::right("SIZE"),
        Column::right("HELD").spare(2),
        Column::right("LAST PULL").spare(1),
        Column::right("PULLS").spare(3),
        Column::left("FROM").spare(5),
    ]);
    for row in &page.rows {
        table.row([
            digest(&row.digest, full),
            some(&row.tags, TAGS, full),
            some(&row.platforms, PLATFORMS, full),
            kind(&row.media_type).to_owned(),
            row.created
                .map_or("-".to_owned(), |created| age(page.now, created)),
            age(page.now, row.stored),
            size(row.size),
            held(row),
            age_or_never(page.now, row.used),
            row.pulls.to_string(),
            row.source.clone(),
        ]);
    }
    table.draw(look) + &ending(page, "manifest", "manifests", look)
}

/// What is held of a manifest: of an index that is not all here, how many of the manifests it lists.
fn held(row: &ManifestRow) -> String {
    match row.lists_held < row.lists {
        true => format!("{} of {}", row.lists_held, row.lists),
        false => part(row.held, row.size),
    }
}

/// The first of some names, and how many more there are.
fn some(names: &[String], most: usize, full: bool) -> String {
    match names.len() {
        0 => "-".to_owned(),
        many if many > most && !full => format!("{} +{}", names[..most].join(" "), many - most),
        _ => names.join(" "),
    }
}

fn ending<T>(page: &Page<T>, one: &str, many: &str, look: Look) -> String {
    let (shown, total) = (page.rows.len() as u64, page.total as u64);
    let text = match page.next {
        None => count(shown, one, many),
        Some(_) => format!("{shown} of {}; --limit shows more", count(total, one, many)),
    };
    summary(&text, look.colours)
}
