//! What is wrong, in words, with what the operator can do about it.

use super::words::{due, size};
use super::{BucketStatus, CacheStatus, Status, UpstreamStatus};

/// A budget with less than this part left is told of before it is used up.
const LOW: f64 = 0.1;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Clients are refused, or nothing new is kept.
    Wrong,
    /// It may come to that.
    Watch,
}

/// Something that is wrong, or about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How bad it is.
    pub gravity: Gravity,
    /// What it is, in a sentence.
    pub what: String,
    /// What to do about it, in a sentence.
    pub next: String,
}

impl Status {
    /// Everything that is wrong, the worst first; nothing if all is well.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        of_cache(&self.cache, &mut troubles);
        for upstream in &self.upstreams {
            of_upstream(upstream, self.now, &mut troubles);
        }
        troubles.sort_by_key(|trouble| trouble.gravity);
        troubles
    }
}

fn of_cache(cache: &CacheStatus, troubles: &mut Vec<Trouble>) {
    let mut add = |gravity, what: String, next: &str| {
        troubles.push(Trouble {
            gravity,
            what,
            next: next.to_owned(),
        });
    };
    if cache.disk.state != "ok" {
        let reason = cache.disk.reason.as_deref().unwrap_or("no error was told");
        let state = &cache.disk.state;
        add(
            Gravity::Wrong,
            format!(
                "Nothing new is kept: the cache's disk is {state} ({reason}). Clients are served all the same."
            ),
            cache
                .disk
                .next_step
                .as_deref()
                .unwrap_or("Look at the disk and at the log."),
        );
    }
    if cache.rebuilding {
        add(
            Gravity::Watch,
            "The cache directory is still being read: until it is known what it holds, nothing new is kept."
                .to_owned(),
            "Wait: it takes seconds to minutes, and clients are served meanwhile.",
        );
    } else if cache.capacity < cache.configured {
        let (capacity, configured, free) = (size(cache.capacity), size(cache.configured), size(cache.free));
        add(
            Gravity::Watch,
            format!("The cache takes {capacity} instead of {configured}: its file system has {free} left."),
            "Others fill this file system. Free some of it, or give the cache one of its own.",
        );
    }
    if let Some(shared) = &cache.shared
        && let Some(why) = &shared.why
    {
        let bucket = &shared.bucket;
        add(
            Gravity::Watch,
            format!("The shared shelf {bucket} is left alone: {why}."),
            "What is not held comes from the registries meanwhile. See whether this machine reaches the object store, and \
             whether its keys may read there; Seawall tries again by itself.",
        );
    }
    if cache.quarantined > 0 {
        let count = cache.quarantined;
        add(
            Gravity::Watch,
            format!("{count} damaged files were found and put aside. None was served."),
            "They are fetched anew when pulled. If there are more each day, the disk is dying: look at its SMART values.",
        );
    }
}

fn of_upstream(upstream: &UpstreamStatus, now: u64, troubles: &mut Vec<Trouble>) {
    let registry = &upstream.registry;
    if upstream.state == "failing" {
        let reason = upstream.reason.as_deref().unwrap_or("no error was told");
        troubles.push(Trouble {
            gravity: Gravity::Wrong,
            what: format!("{registry} does not answer: {reason}."),
            next: format!(
                "What is held goes on being served. See whether this machine reaches {registry}, and what its \
                 status page says; Seawall tries again by itself."
            ),
        });
    }
    for account in upstream
        .accounts
        .iter()
        .filter(|account| account.state == "parked")
    {
        let name = &account.name;
        troubles.push(Trouble {
            gravity: Gravity::Wrong,
            what: format!("{registry} refused the credentials of {name}."),
            next: format!(
                "See whether the password of {name} has changed or expired; then `seawall reload`.{}",
                again(account.until, now)
            ),
        });
    }
    for account in upstream
        .accounts
        .iter()
        .filter(|account| account.state == "failing")
    {
        let why = account.why.as_deref().unwrap_or("it did not say why");
        troubles.push(Trouble {
            gravity: Gravity::Wrong,
            what: format!("The credentials of {} for {registry} cannot be had: {why}.", account.name),
            next: "What it gave before is used as long as it is good; Seawall asks it again by itself. See whether it \
                   works by hand, with the same environment."
                .to_owned(),
        });
    }
    for bucket in &upstream.buckets {
        troubles.extend(of_bucket(bucket, upstream, now));
    }
}

fn of_bucket(bucket: &BucketStatus, upstream: &UpstreamStatus, now: u64) -> Option<Trouble> {
    let registry = &upstream.registry;
    let accounts = bucket.accounts.join(", ");
    let next = "Tags and images that are held go on being served; what is new has to wait. Credentials, or alternates \
                that have the same images, give more: see [[upstream]].";
    match bucket.state.as_str() {
        "exhausted" => Some(Trouble {
            gravity: Gravity::Wrong,
            what: format!(
                "The budget at {registry} is used up ({accounts}).{}",
                again(bucket.until, now)
            ),
            next: next.to_owned(),
        }),
        "parked" => Some(Trouble {
            gravity: Gravity::Wrong,
            what: format!(
                "{registry} asked to be left alone ({accounts}).{}",
                again(bucket.until, now)
            ),
            next: next.to_owned(),
        }),
        "known" if (bucket.remaining as f64) < bucket.limit as f64 * LOW => Some(Trouble {
            gravity: Gravity::Watch,
            what: format!(
                "The budget at {registry} is nearly used up: {} of {} requests are left ({accounts}).",
                bucket.remaining, bucket.limit
            ),
            next: next.to_owned(),
        }),
        _ => None,
    }
}

fn again(until: Option<u64>, now: u64) -> String {
    until.map_or_else(String::new, |until| {
        format!(" It is tried again {}.", due(until, now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{AccountStatus, DiskStatus};

    fn status() -> Status {
        let cache = CacheStatus {
            capacity: 100,
            configured: 100,
            ..CacheStatus::default()
        };
        Status {
            now: 1_000,
            cache,
            ..Status::default()
        }
    }

    fn upstream(change: impl FnOnce(&mut UpstreamStatus)) -> UpstreamStatus {
        let mut upstream = UpstreamStatus {
            registry: "docker.io".to_owned(),
            state: "used".to_owned(),
            accounts: vec![AccountStatus {
                name: "robot".to_owned(),
                state: "ok".to_owned(),
                ..AccountStatus::default()
            }],
            buckets: vec![BucketStatus {
                accounts: vec!["robot".to_owned()],
                state: "known".to_owned(),
                limit: 100,
                remaining: 50,
                ..BucketStatus::default()
            }],
            ..UpstreamStatus::default()
        };
        change(&mut upstream);
        upstream
    }

    fn told(status: &Status) -> Vec<(Gravity, String)> {
        let troubles = status.troubles();
        troubles
            .into_iter()
            .inspect(|trouble| assert!(trouble.next.ends_with('.'), "{trouble:?}"))
            .map(|trouble| (trouble.gravity, trouble.what))
            .collect()
    }

    #[test]
    fn nothing_is_wrong_where_all_is_well() {
        let mut well = status();
        well.upstreams = vec![
            upstream(|_| {}),
            upstream(|upstream| upstream.state = "offline".to_owned()),
        ];
        assert_eq!(told(&well), []);
    }

    #[test]
    fn what_is_wrong_is_told_in_words_and_the_worst_first() {
        let mut ill = status();
        ill.cache.quarantined = 3;
        ill.cache.capacity = 90;
        ill.cache.disk = DiskStatus {
            state: "read_only".to_owned(),
            reason: Some("EROFS".to_owned()),
            since: None,
            next_step: Some("Mount it for writing.".to_owned()),
        };
        ill.upstreams = vec![
            upstream(|upstream| upstream.buckets[0].remaining = 9),
            upstream(|upstream| {
                upstream.buckets[0].state = "exhausted".to_owned();
                upstream.buckets[0].until = Some(61_000);
            }),
            upstream(|upstream| {
                (upstream.state, upstream.reason) = ("failing".to_owned(), Some("no route".to_owned()));
            }),
            upstream(|upstream| upstream.accounts[0].state = "parked".to_owned()),
            upstream(|upstream| upstream.buckets[0].state = "parked".to_owned()),
            upstream(|upstream| {
                upstream.accounts[0].state = "failing".to_owned();
                upstream.accounts[0].why = Some("no such helper".to_owned());
            }),
        ];
        let told = told(&ill);
        let wrong = told
            .iter()
            .take_while(|(gravity, _)| *gravity == Gravity::Wrong)
            .count();
        assert_eq!((wrong, told.len()), (6, 9), "{told:#?}");
        for words in [
            "disk is read_only (EROFS)",
            "The budget at docker.io is used up (robot). It is tried again in 60 s.",
            "docker.io does not answer: no route.",
            "refused the credentials of robot",
            "The credentials of robot for docker.io cannot be had: no such helper.",
            "asked to be left alone (robot)",
            "9 of 100 requests are left",
            "3 damaged files",
            "takes 90 B instead of 100 B",
        ] {
            assert!(
                told.iter().any(|(_, what)| what.contains(words)),
                "{words}: {told:#?}"
            );
        }
    }
}
