//! By what it is known that a repository has some content, and whether that is enough to serve what is held as its own.

/// By what it is known that a repository has some content; the better proof is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// A manifest of it lists the content: whoever may write there chooses what that lists.
    Listed,
    /// Its upstream has said so, or has given it.
    Said,
}

impl Proof {
    /// True if what is held may be served as the repository's. What came for a repository that not everybody may see
    /// (`is_closed`, which is asked only if that matters) takes the upstream's word; what came for everybody tells
    /// nobody anything new.
    pub fn suffices(self, is_closed: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Said => true,
            Self::Listed => !is_closed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s065_a_list_is_no_proof_for_what_came_for_others_and_the_upstreams_word_is() {
        assert!(Proof::Listed.suffices(|| false));
        assert!(!Proof::Listed.suffices(|| true));
        assert!(Proof::Said.suffices(|| panic!("that does not matter")));
        assert_eq!(Proof::Listed.max(Proof::Said), Proof::Said);
    }
}
