//! What has to be written down: in pages, so that no moment under the lock grows with how much there is.

use std::collections::VecDeque;

use crate::policy::eviction::{Content, Facts, Index};

/// Most that is noted on a page, and taken at a time: some 100 us.
pub(super) const PAGE: usize = 1024;

/// Names of what came or went, the longest noted first.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pages: VecDeque<Vec<Content>>,
    /// Everything is noted from this page of the index on.
    all_from: Option<usize>,
}

impl Noted {
    /// Notes one. One that is noted already may be written down twice.
    pub(super) fn push(&mut self, content: Content) {
        match self.pages.back_mut() {
            Some(page) if page.len() < PAGE => page.push(content),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(content);
                self.pages.push_back(page);
            }
        }
    }

    /// Notes everything that the index knows.
    pub(super) fn all(&mut self) {
        self.all_from = Some(0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.all_from.is_none()
    }

    /// Takes a page, each name with what the index knows of it by now; nothing if nothing is noted.
    pub(super) fn take(&mut self, index: &Index) -> Vec<(Content, Option<Facts>)> {
        while let Some(number) = self.all_from {
            let Some(page) = index.page(number) else {
                self.all_from = None;
                break;
            };
            self.all_from = Some(number + 1);
            let taken: Vec<_> = page.map(|(content, facts)| (*content, Some(*facts))).collect();
            if !taken.is_empty() {
                return taken;
            }
        }
        let page = self.pages.pop_front().unwrap_or_default();
        page.into_iter()
            .map(|content| (content, index.facts(&content)))
            .collect()
    }
}
