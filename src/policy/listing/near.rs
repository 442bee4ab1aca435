//! Names that look like the one that was not found.

/// Most names told.
const MAX_NEAR: usize = 3;
/// Longest name compared letter by letter, in bytes.
const MAX_COMPARED: usize = 300;

/// The names most like `wanted`, the nearest first: those that contain it or its last part, and those a few
/// letters away.
pub fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted_last = last(wanted);
    let measure = |name: &str| {
        if name.contains(wanted) || (!wanted_last.is_empty() && last(name) == wanted_last) {
            return Some(0);
        }
        let (whole, part) = (distance(wanted, name), distance(&wanted_last, &last(name)));
        let allowed = (wanted_last.len() / 3).max(1);
        (whole.min(part) <= allowed).then_some(whole.min(part + 1))
    };
    let mut found: Vec<(usize, &str)> = names.filter_map(|name| Some((measure(name)?, name))).collect();
    found.sort_unstable();
    found.truncate(MAX_NEAR);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Letters to add, take away or change (Levenshtein).
fn distance(one: &str, two: &str) -> usize {
    if one.len() > MAX_COMPARED || two.len() > MAX_COMPARED {
        return usize::MAX / 2;
    }
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (line, left) in one.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = line + 1;
        for (column, right) in two.bytes().enumerate() {
            let changed = corner + usize::from(left != right);
            corner = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(corner + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_few_letters_away_are_near_and_others_are_not() {
        let names = [
            "docker.io/library/alpine",
            "docker.io/library/debian",
            "ghcr.io/owner/alpine",
            "quay.io/team/app",
        ];
        let near = |wanted| near(wanted, names.into_iter());
        assert_eq!(
            near("docker.io/library/alpin"),
            ["docker.io/library/alpine", "ghcr.io/owner/alpine"]
        );
        assert_eq!(near("docker.io/library/debain"), ["docker.io/library/debian"]);
        assert_eq!(near("docker.io/owner/alpine").len(), 2);
        assert_eq!(near("quay.io/team/ap"), ["quay.io/team/app"]);
        assert!(near("docker.io/library/postgres").is_empty());
    }

    #[test]
    fn the_distance_counts_letters() {
        for (one, two, expected) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, two), expected);
        }
    }
}
