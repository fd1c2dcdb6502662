//! A list that forgets its oldest entries.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Entries in the order they came, at most as many as the pusher allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ring<T>(VecDeque<T>);

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Ring<T> {
    pub(crate) fn push(&mut self, entry: T, keep: usize) {
        self.0.push_back(entry);
        while self.0.len() > keep {
            self.0.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.0.iter_mut()
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.0.back_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
