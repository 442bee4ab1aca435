//! Which of many small records go when they need too much room: whoever has most of it gives way, the oldest first.
//!
//! What is written down because somebody asked (lists, verdicts, first sights) is written for whoever asks, so that one
//! repository could push out what is known of all others. So the room is divided between groups: those that need less
//! than an equal part keep everything, and the others keep the newest of theirs.

use std::cmp::Reverse;

use crate::clock::Time;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose part of the room it needs.
    pub group: usize,
    /// When it was made.
    pub made: Time,
    /// How much room it needs, in bytes.
    pub weight: u64,
}

/// For each of these records, whether it stays: those that do need no more than `room`, in bytes.
pub fn stays(rows: &[Row], room: u64) -> Vec<bool> {
    let mut stays = vec![false; rows.len()];
    let mut left = room;
    let equal = equal_part(rows, room);
    let mut newest_first: Vec<usize> = (0..rows.len()).collect();
    newest_first.sort_by_key(|index| Reverse(rows[*index].made));
    let mut used = vec![0_u64; groups(rows)];
    for index in &newest_first {
        let Row { group, weight, .. } = rows[*index];
        // Once one does not fit, none that is older does.
        used[group] = used[group].saturating_add(weight);
        if used[group] <= equal {
            stays[*index] = true;
            left = left.saturating_sub(weight);
        }
    }
    // Where parts are smaller than records, the newest of all have what would be left.
    for index in newest_first {
        if !stays[index] {
            let Some(rest) = left.checked_sub(rows[index].weight) else {
                break;
            };
            stays[index] = true;
            left = rest;
        }
    }
    stays
}

fn groups(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.group + 1).max().unwrap_or(0)
}

/// The most that each group may have so that all together fit: what the small ones do not need is the large ones'.
fn equal_part(rows: &[Row], room: u64) -> u64 {
    let mut needs = vec![0_u64; groups(rows)];
    for row in rows {
        needs[row.group] = needs[row.group].saturating_add(row.weight);
    }
    needs.sort_unstable();
    let (mut left, mut sharing) = (room, needs.len() as u64);
    for need in needs {
        let part = left / sharing;
        if need > part {
            return part;
        }
        left -= need;
        sharing -= 1;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(group: usize, made: u64, weight: u64) -> Row {
        Row {
            group,
            made: Time::from_millis(made),
            weight,
        }
    }

    #[test]
    fn who_has_most_gives_way_and_the_oldest_of_it_goes() {
        let rows = [
            row(0, 9, 10),
            row(1, 1, 10),
            row(0, 7, 10),
            row(0, 8, 10),
            row(2, 2, 10),
            row(0, 6, 10),
        ];
        assert_eq!(stays(&rows, 60), [true; 6]);
        assert_eq!(stays(&rows, 45), [true, true, false, true, true, false]);
        // There is no room for one of each: the newest stay.
        assert_eq!(stays(&rows, 25), [true, false, false, true, false, false]);
        assert_eq!(stays(&rows, 0), [false; 6]);
        assert!(stays(&[], 0).is_empty());
    }

    proptest! {
        #[test]
        fn what_stays_fits_and_small_groups_lose_nothing_and_nothing_outlives_what_is_newer(
            rows in prop::collection::vec((0_usize..6, 0_u64..50, 1_u64..20), 0..40), room in 0_u64..400,
        ) {
            let rows: Vec<Row> = rows.iter().map(|(group, made, weight)| row(*group, *made, *weight)).collect();
            let stay = stays(&rows, room);
            let weight = |keep: &dyn Fn(usize) -> bool| -> u64 {
                (0..rows.len()).filter(|index| keep(*index)).map(|index| rows[index].weight).sum()
            };
            let all = weight(&|_| true);
            prop_assert!(weight(&|index| stay[index]) <= room);
            prop_assert!(all > room || stay.iter().all(|stays| *stays));
            let groups = (0..6).filter(|group| rows.iter().any(|row| row.group == *group)).count() as u64;
            for group in 0..6 {
                let mine = weight(&|index| rows[index].group == group);
                let kept = weight(&|index| rows[index].group == group && stay[index]);
                prop_assert!(kept == mine || mine > room / groups, "{group} lost of {mine} in {room}");
                // A group that lost some has no less than what others have been left, but for one record.
                let most = (0..6).filter(|other| *other != group).map(|other| {
                    weight(&|index| rows[index].group == other && stay[index])
                });
                prop_assert!(kept == mine || kept + 20 * groups >= most.max().unwrap_or(0).min(room / groups));
            }
            for (index, kept) in stay.iter().enumerate().filter(|(_, stays)| **stays) {
                let newer = |other: &Row| other.group == rows[index].group && other.made > rows[index].made;
                let lost = rows.iter().zip(&stay).any(|(other, stays)| newer(other) && !stays);
                prop_assert!(!lost && *kept, "{index} outlives what is newer");
            }
        }
    }
}
