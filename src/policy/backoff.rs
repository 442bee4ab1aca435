//! How long to leave something alone that refused or failed again and again.

use std::time::Duration;

/// The pause after `count` earlier ones: `first`, doubled each time, `longest` at most.
pub fn doubled(first: Duration, longest: Duration, count: u32) -> Duration {
    // Twenty doublings make a second twelve days: no pause here is longer.
    first.saturating_mul(1 << count.min(20)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_overflow() {
        let pause = |count| doubled(Duration::from_secs(2), Duration::from_secs(15), count).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 4, 63, u32::MAX].map(pause),
            [2, 4, 8, 15, 15, 15, 15]
        );
        assert_eq!(doubled(Duration::MAX, Duration::MAX, 7), Duration::MAX);
    }
}
