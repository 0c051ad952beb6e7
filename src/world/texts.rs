//! Text that the world made and that is still referred to: command lines, paths, names.
//!
//! A slab of strings with reference counts. Freed slots keep their memory, so that in steady state nothing is
//! allocated; the slab is plain data and is saved with the cell.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rng::purpose;
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
    /// Index into [`ROOM`] of what its memory holds; beyond it for a text that is longer than all of these.
    class: u8,
    /// Found by [`Texts::keep_once`].
    once: bool,
    text: String,
}

/// Bytes that slots have room for: a short text does not keep the memory of a long one before it.
const ROOM: [usize; 9] = [32, 48, 64, 96, 128, 192, 256, 384, 512];

/// Makes room for one more by an eighth: what a cell's slabs hold is many and stays.
pub fn by_eighths<T>(v: &mut Vec<T>) {
    if v.len() == v.capacity() {
        v.reserve_exact(v.len() / 8 + 16);
    }
}

/// The texts of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Texts {
    slots: Vec<Slot>,
    /// Free slots by class.
    free: [Vec<u32>; ROOM.len() + 1],
    /// Slots of the texts that are kept once, by a hash of the text.
    once: BTreeMap<u64, u32>,
    #[serde(skip)]
    fixed: Arc<[Text]>,
}

impl Default for Texts {
    fn default() -> Texts {
        let empty = Slot { uses: 1, ..Slot::default() };
        Texts { slots: vec![empty], free: Default::default(), once: BTreeMap::new(), fixed: Arc::new([]) }
    }
}

impl Texts {
    /// Keeps a text; the caller owns one use of it.
    pub fn keep(&mut self, text: &str) -> TextId {
        if text.is_empty() {
            return TextId::EMPTY;
        }
        let class = ROOM.partition_point(|room| *room < text.len());
        let i = match self.free[class].pop() {
            Some(i) => i,
            None => {
                by_eighths(&mut self.slots);
                self.slots.push(Slot { class: class as u8, ..Slot::default() });
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[i as usize];
        slot.uses = 1;
        if slot.text.capacity() < text.len() {
            slot.text.reserve_exact(ROOM.get(class).copied().unwrap_or(text.len()));
        }
        slot.text.push_str(text);
        TextId(i)
    }
    /// Keeps a text that others are likely to hold as well, as long as a process lives: all of them hold one. It takes longer
    /// than [`Texts::keep`].
    pub fn keep_once(&mut self, text: &str) -> TextId {
        let hash = purpose(text);
        match self.once.get(&hash) {
            Some(i) if self.slots[*i as usize].text == text => self.retain(TextId(*i)),
            // another text of the same hash
            Some(_) => self.keep(text),
            None => {
                let id = self.keep(text);
                if id.counted() {
                    self.slots[id.0 as usize].once = true;
                    self.once.insert(hash, id.0);
                }
                id
            }
        }
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
            if std::mem::take(&mut slot.once) {
                self.once.remove(&purpose(&slot.text));
            }
            // the longest ones are rare and give their memory back
            if slot.class as usize == ROOM.len() {
                slot.text = String::new();
            }
            slot.text.clear();
            self.free[slot.class as usize].push(id.0);
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
            + self.free.iter().map(|f| f.capacity() * 4).sum::<usize>()
            + self.once.len() * 16
    }
    /// Texts in use.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.iter().map(Vec::len).sum::<usize>() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_once_is_one_text_until_its_last_use() {
        let mut t = Texts::default();
        let (a, other, b) = (t.keep_once("svchost"), t.keep("svchost"), t.keep_once("svchost"));
        assert_eq!((a, t.live()), (b, 2));
        assert_ne!(a, other);
        t.release(a);
        assert_eq!(t.get(b), "svchost");
        t.release(b);
        assert_eq!(t.live(), 1);
        let c = t.keep_once("svchost");
        assert_eq!(t.get(c), "svchost");
        assert_eq!(t.keep_once(""), TextId::EMPTY);
    }

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
        let (long, longest) = ("x".repeat(500), "y".repeat(5_000));
        for text in [&*long, &*longest, "z"] {
            let id = t.keep(text);
            assert_eq!(t.get(id), text);
            t.release(id);
        }
        assert!(t.bytes() < 1_200, "the longest text is forgotten: {} bytes", t.bytes());
    }
}
