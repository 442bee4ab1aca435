//! Entries of lists in somebody else's JSON object. What was put in is recorded beside it.

use serde_json::{Map, Value};

use super::edit::Trouble;

type Object = Map<String, Value>;

fn object(text: &str) -> Result<Object, Trouble> {
    if text.trim().is_empty() {
        return Ok(Object::new());
    }
    serde_json::from_str(text).map_err(|error| Trouble::Unreadable(error.to_string()))
}

fn list<'a>(lists: &'a Object, key: &str) -> &'a [Value] {
    lists
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// `now` with the entries of `ours` in front of its own, and without those that an earlier record has; and the new
/// record. What `now` has already is not recorded: it stays when ours go.
pub(super) fn put(ours: &str, now: &str, record: Option<&str>) -> Result<(String, String), Trouble> {
    let (ours, earlier) = (object(ours)?, object(record.unwrap_or_default())?);
    let base = without(object(now)?, &earlier);
    let (mut new, mut added) = (base.clone(), Object::new());
    for key in ours.keys() {
        let theirs = match base.get(key) {
            None => &[],
            Some(Value::Array(theirs)) => theirs.as_slice(),
            Some(other) => {
                let found = format!("expected a list as \"{key}\", found {other}");
                return Err(Trouble::Unreadable(found));
            }
        };
        let missing = list(&ours, key).iter().filter(|entry| !theirs.contains(entry));
        let missing: Vec<Value> = missing.cloned().collect();
        if !missing.is_empty() {
            let all = missing.iter().chain(theirs).cloned().collect();
            new.insert(key.clone(), Value::Array(all));
            added.insert(key.clone(), Value::Array(missing));
        }
    }
    let text = match new == object(now)? && !now.is_empty() {
        true => now.to_owned(),
        false => pretty(&new),
    };
    Ok((text, pretty(&added)))
}

/// `now` without what the record has; `None` if nothing was recorded. If that leaves what was there `before`, its
/// bytes; nothing at all if nothing was there.
pub(super) fn take(now: &str, before: Option<&str>, record: Option<&str>) -> Result<Option<String>, Trouble> {
    let Some(record) = record else { return Ok(None) };
    let left = without(object(now)?, &object(record)?);
    let before = before.unwrap_or_default();
    let as_written = put(record, before, None).is_ok_and(|(text, _)| text == now);
    if as_written || left == object(before)? {
        return Ok(Some(before.to_owned()));
    }
    Ok(Some(pretty(&left)))
}

/// Lists that are left empty go.
fn without(mut from: Object, gone: &Object) -> Object {
    for key in gone.keys() {
        let Some(Value::Array(entries)) = from.get_mut(key) else {
            continue;
        };
        entries.retain(|entry| !list(gone, key).contains(entry));
        if entries.is_empty() {
            from.remove(key);
        }
    }
    from
}

/// Four spaces, as Docker's own documents have it.
fn pretty(object: &Object) -> String {
    let text = serde_json::to_string_pretty(object).unwrap_or_default();
    let line = |line: &str| {
        let inner = line.trim_start_matches(' ');
        format!("{}{inner}\n", " ".repeat(2 * (line.len() - inner.len())))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_laid_out_anew_is_restored_to_the_byte() {
        let (ours, before) = ("{\"registry-mirrors\":[\"http://a\"]}", "{\"debug\":true}");
        let (now, record) = put(ours, before, None).unwrap();
        let anew = serde_json::to_string(&object(&now).unwrap()).unwrap();
        assert_ne!(anew, now);
        let left = take(&anew, Some(before), Some(&record)).unwrap();
        assert_eq!(left.as_deref(), Some(before));
    }
}
