//! When a mirror that is watched is written down, and when it is taken back.

/// Answers that must be missing in a row before the mirror is taken back: one lost packet is no outage, and a
/// connection that is refused costs the node nothing.
const MISSES: u32 = 3;

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Have the mirror in the configuration, whether it is there or not: somebody may have taken it out.
    Put,
    /// Take it out.
    Take,
    /// Leave everything as it is.
    Leave,
}

/// Whether the mirror answered lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    misses: u32,
}

impl Watch {
    /// What to do now that it `answers`, or not.
    pub const fn look(&mut self, answers: bool) -> Step {
        if answers {
            self.misses = 0;
            return Step::Put;
        }
        self.misses = self.misses.saturating_add(1);
        match self.misses >= MISSES {
            true => Step::Take,
            false => Step::Leave,
        }
    }
}
