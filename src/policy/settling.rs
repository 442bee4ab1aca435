//! When what is written elsewhere has come to rest.
//!
//! A file is seen half written, and several files are changed one after the other. So a change counts once what is
//! seen is the same twice in a row; what comes back to how it was is none.

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is another.
    Still,
    /// Something is; it may still change.
    Changing,
    /// Something is, and has come to rest: it holds from now on.
    Settled,
}

/// What was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling<T> {
    holds: T,
    coming: Option<T>,
}

impl<T: PartialEq> Settling<T> {
    /// This holds.
    pub const fn new(holds: T) -> Self {
        Self { holds, coming: None }
    }

    /// This is seen now.
    pub fn look(&mut self, seen: T) -> Step {
        if seen == self.holds {
            self.coming = None;
            return Step::Still;
        }
        if self.coming.as_ref() != Some(&seen) {
            self.coming = Some(seen);
            return Step::Changing;
        }
        *self = Self::new(seen);
        Step::Settled
    }

    /// What holds.
    pub const fn holds(&self) -> &T {
        &self.holds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_seen_twice_in_a_row_has_come_to_rest() {
        let mut settling = Settling::new(1);
        let steps = [1, 2, 3, 3, 3, 4, 3, 5, 5].map(|seen| settling.look(seen));
        use Step::{Changing, Settled, Still};
        assert_eq!(
            steps,
            [
                Still, Changing, Changing, Settled, Still, Changing, Still, Changing, Settled
            ]
        );
    }

    proptest! {
        /// Whatever was seen before, what stays is found within two looks, and once.
        #[test]
        fn what_stays_is_found_once(before in prop::collection::vec(0..4_u8, 0..20), last in 0..4_u8) {
            let mut settling = Settling::new(0);
            for seen in before {
                settling.look(seen);
            }
            let held = *settling.holds() == last;
            let steps: Vec<Step> = (0..4).map(|_| settling.look(last)).collect();
            let settled = steps.iter().filter(|step| **step == Step::Settled).count();
            prop_assert_eq!(settled, usize::from(!held));
            prop_assert_eq!(&steps[2..], &[Step::Still, Step::Still]);
        }
    }
}
