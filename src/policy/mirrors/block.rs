//! A marked block of lines in somebody else's TOML or YAML file.

use super::edit::{MARK, Trouble, mark};
use super::{How, Piece};

/// The line that a block ends with.
const END: &str = "# End of what `seawall mirror-config` wrote";
/// The line of a YAML file below which the entries stand.
const MIRRORS: &str = "mirrors:";

/// A file cut at its block.
struct Cut<'a> {
    head: &'a str,
    /// The lines between the marks, and the mark. `None`: there is no block.
    block: Option<(&'a str, &'a str)>,
    tail: &'a str,
}

/// `now` with the block of `piece` in it, in the place of one that was there.
pub(super) fn put(piece: &Piece, now: &str) -> Result<String, Trouble> {
    let base = take(now)?.unwrap_or_else(|| now.to_owned());
    match piece.how {
        How::Yaml => put_yaml(&piece.text, &base),
        How::Toml | How::Whole | How::Json | How::Flags => put_toml(&piece.text, &base),
    }
}

/// `now` without the block; `None` if there is none.
pub(super) fn take(now: &str) -> Result<Option<String>, Trouble> {
    let Cut { head, block, tail } = cut(now)?;
    let Some((mark_line, inner)) = block else {
        return Ok(None);
    };
    if mark_line.trim() != mark(inner) {
        return Err(Trouble::ByHand);
    }
    // Who has added an entry below ours still needs the line above them.
    let below = tail.lines().find(says_something);
    let needed = inner.starts_with(MIRRORS) && below.is_some_and(|line| line.starts_with(' '));
    let kept = if needed {
        format!("{MIRRORS}\n")
    } else {
        String::new()
    };
    Ok(Some(format!("{head}{kept}{tail}")))
}

fn says_something(line: &&str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

fn cut(now: &str) -> Result<Cut<'_>, Trouble> {
    let whole = Cut {
        head: now,
        block: None,
        tail: "",
    };
    let mut start = 0;
    let mut begun = None;
    for line in now.split_inclusive('\n') {
        let end = start + line.len();
        match begun {
            None if line.trim_start().starts_with(MARK) => begun = Some((start, line, end)),
            Some((head, mark_line, inner)) if line.trim() == END => {
                return Ok(Cut {
                    head: &now[..head],
                    block: Some((mark_line, &now[inner..start])),
                    tail: &now[end..],
                });
            }
            None | Some(_) => {}
        }
        start = end;
    }
    match begun {
        None => Ok(whole),
        Some(_) => Err(Trouble::ByHand),
    }
}

fn with_line_end(base: &str) -> String {
    let line_end = if base.is_empty() || base.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{base}{line_end}")
}

fn blocked(text: &str, indent: &str) -> String {
    format!("{indent}{}\n{text}{indent}{END}\n", mark(text))
}

/// Tables may stand behind everything else.
fn put_toml(text: &str, base: &str) -> Result<String, Trouble> {
    let unreadable = |error: toml::de::Error| Trouble::Unreadable(error.message().to_owned());
    let theirs: toml::Table = base.parse().map_err(unreadable)?;
    let ours: toml::Table = text.parse().map_err(unreadable)?;
    for (table, entries) in &ours {
        let names = entries.as_table().into_iter().flat_map(toml::Table::keys);
        let taken = |name: &&String| match theirs.get(table) {
            Some(toml::Value::Table(there)) => there.contains_key(name.as_str()),
            Some(_) => true,
            None => false,
        };
        if let Some(name) = names.into_iter().find(taken) {
            return Err(Trouble::Taken(format!("[{table}.\"{name}\"]")));
        }
    }
    let put = format!("{}{}", with_line_end(base), blocked(text, ""));
    // An inline table cannot be added to.
    put.parse::<toml::Table>().map_err(unreadable)?;
    Ok(put)
}

/// Entries stand below `mirrors:`, in front of those of others and as far in as they.
fn put_yaml(text: &str, base: &str) -> Result<String, Trouble> {
    let is_key = |line: &str| line.split('#').next().unwrap_or_default().trim_end() == MIRRORS;
    let lines: Vec<&str> = base.split_inclusive('\n').collect();
    let Some(at) = lines.iter().position(|line| is_key(line)) else {
        if let Some(line) = lines.iter().find(|line| line.starts_with(MIRRORS)) {
            let found = format!(
                "expected the entries of `{MIRRORS}` on lines of their own, found `{}`",
                line.trim()
            );
            return Err(Trouble::Unreadable(found));
        }
        return Ok(format!(
            "{}{}",
            with_line_end(base),
            blocked(&below_key(text), "")
        ));
    };
    let below = &lines[at + 1..];
    let first = below.iter().copied().find(says_something).unwrap_or_default();
    let inner = first.trim_start_matches(' ');
    if inner.starts_with('-') {
        let found = format!("expected entries below `{MIRRORS}`, found a list");
        return Err(Trouble::Unreadable(found));
    }
    let indent = &first[..first.len() - inner.len()];
    let indent = if indent.is_empty() { "  " } else { indent };
    for line in below
        .iter()
        .take_while(|line| line.trim().is_empty() || line.starts_with(['#', ' ']))
    {
        let key = line.strip_prefix(indent).and_then(|rest| rest.split_once(':'));
        let name = key.map(|(name, _)| name.trim_matches(['"', '\'']));
        let ours = |name: &&str| text.lines().any(|line| line == format!("\"{name}\":"));
        if let Some(name) = name.filter(ours) {
            return Err(Trouble::Taken(format!("{MIRRORS} {name}:")));
        }
    }
    let head = with_line_end(&lines[..=at].concat());
    Ok(format!(
        "{head}{}{}",
        blocked(&indented(text, indent), indent),
        below.concat()
    ))
}

/// Entries below their key.
pub(super) fn below_key(text: &str) -> String {
    format!("{MIRRORS}\n{}", indented(text, "  "))
}

fn indented(text: &str, indent: &str) -> String {
    text.lines().map(|line| format!("{indent}{line}\n")).collect()
}
