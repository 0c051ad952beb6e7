//! Text that the world made and that is still referred to: command lines, paths, names.
//!
//! A slab of strings with reference counts. Freed slots keep their memory, so that in steady state nothing is
//! allocated; the slab is plain data and is saved with the cell.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::world::atlas::Text;

/// Refers to a text in [`Texts`]; 0 is the empty text and never freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TextId(u32);

/// Ids from here on are texts that all cells share; nobody counts their uses.
const FIXED: u32 = 1 << 31;

impl TextId {
    /// The empty text.
    pub const EMPTY: TextId = TextId(0);
    /// A text that all cells share, by its index.
    pub fn fixed(index: u32) -> TextId {
        TextId(FIXED | index)
    }
    fn counted(self) -> bool {
        self.0 != 0 && self.0 < FIXED
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Slot {
    uses: u32,
    text: String,
}

/// The texts of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Texts {
    slots: Vec<Slot>,
    free: Vec<u32>,
    #[serde(skip)]
    fixed: Arc<[Text]>,
}

/// A freed slot that once held a longer text gives its memory back.
const KEPT_BYTES_MAX: usize = 512;

impl Default for Texts {
    fn default() -> Texts {
        Texts { slots: vec![Slot { uses: 1, text: String::new() }], free: vec![], fixed: Arc::new([]) }
    }
}

impl Texts {
    /// Keeps a text; the caller owns one use of it.
    pub fn keep(&mut self, text: &str) -> TextId {
        if text.is_empty() {
            return TextId::EMPTY;
        }
        let i = match self.free.pop() {
            Some(i) => i,
            None => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[i as usize];
        slot.uses = 1;
        slot.text.push_str(text);
        TextId(i)
    }
    /// One more use.
    #[inline]
    pub fn retain(&mut self, id: TextId) -> TextId {
        if id.counted() {
            self.slots[id.0 as usize].uses += 1;
        }
        id
    }
    /// One use less; the last one frees it.
    #[inline]
    pub fn release(&mut self, id: TextId) {
        if !id.counted() {
            return;
        }
        let slot = &mut self.slots[id.0 as usize];
        debug_assert!(slot.uses > 0, "a text is released once too often");
        slot.uses -= 1;
        if slot.uses == 0 {
            if slot.text.capacity() > KEPT_BYTES_MAX {
                slot.text = String::new();
            }
            slot.text.clear();
            self.free.push(id.0);
        }
    }
    /// The text.
    #[inline]
    pub fn get(&self, id: TextId) -> &str {
        if id.0 >= FIXED { &self.fixed[(id.0 - FIXED) as usize] } else { &self.slots[id.0 as usize].text }
    }
    /// Attaches the texts that all cells share.
    pub fn attach(&mut self, fixed: Arc<[Text]>) {
        self.fixed = fixed;
    }
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|s| s.text.capacity()).sum::<usize>()
            + self.slots.capacity() * std::mem::size_of::<Slot>()
            + self.free.capacity() * 4
    }
    /// Texts in use.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lives_as_long_as_its_uses() {
        let mut t = Texts::default();
        let a = t.keep("one");
        t.retain(a);
        t.release(a);
        assert_eq!(t.get(a), "one");
        t.release(a);
        assert_eq!(t.live(), 0);
        let b = t.keep("two");
        assert_eq!((t.get(b), t.live()), ("two", 1));
    }
}
