//! Texts kept once.

use std::collections::HashSet;

use crate::world::atlas::Text;

/// Texts seen so far.
#[derive(Clone, Default)]
pub(super) struct Share(HashSet<Text>);

impl Share {
    /// The shared copy of a text.
    pub(super) fn text(&mut self, text: &str) -> Text {
        if let Some(t) = self.0.get(text) {
            return t.clone();
        }
        let t: Text = text.into();
        self.0.insert(t.clone());
        t
    }
}
