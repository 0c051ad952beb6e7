//! An activity as the world keeps it from the moment it happens until the last record of it is written.
//!
//! Everything that may change or go away meanwhile is captured by value; what never changes stays an index.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::activity::{Field, Kind};
use crate::time::Time;
use crate::world::atlas::AccountId;
use crate::world::host::{Luid, Parent, Snap};
use crate::world::texts::{TextId, Texts, by_eighths};

/// A captured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Val {
    /// A number.
    Uint(u64),
    /// A text; the fact owns one use of it.
    Text(TextId),
    /// A truth value.
    Bool(bool),
    /// An instant of logical time, printed by the host's clock.
    Time(Time),
    /// A GUID in printed order.
    Guid([u8; 16]),
    /// An address.
    Ip(Ipv4Addr),
    /// An address of the other kind.
    Ip6(Ipv6Addr),
}

/// No module.
pub const NO_MODULE: u32 = u32::MAX;

/// An activity, captured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// What happened.
    pub kind: Kind,
    /// Index into the cell's hosts.
    pub host: u32,
    /// When, in logical time.
    pub time: Time,
    /// Truth: index into the cell's tags, 0 for none.
    pub tag: u32,
    /// Who did it.
    pub proc: Snap,
    /// Its parent.
    pub parent: Snap,
    /// The parent's parent, where a process started.
    pub grand: Parent,
    /// The process acted on.
    pub target: Snap,
    /// Subject that is not the process's own account (logon events: who asked for it).
    pub subject: AccountId,
    /// Its session.
    pub subject_luid: Luid,
    /// Account acted on or logged on.
    pub account: AccountId,
    /// Loaded module (index into the atlas), or [`NO_MODULE`].
    pub module: u32,
    /// Seed of what nobody else needs to know: thread ids, handle values, filter ids.
    pub draw: u64,
    /// Whatever else is known.
    pub extra: Vec<(Field, Val)>,
    /// Records that still have to be written.
    pub uses: u32,
    /// Made by fill.
    pub fill: bool,
}

impl Fact {
    /// An empty one.
    pub fn blank() -> Fact {
        Fact {
            kind: Kind::ProcessStart,
            host: 0,
            time: Time(0),
            tag: 0,
            proc: Snap::default(),
            parent: Snap::default(),
            grand: Parent::default(),
            target: Snap::default(),
            subject: AccountId::NOBODY,
            subject_luid: 0,
            account: AccountId::NOBODY,
            module: NO_MODULE,
            draw: 0,
            extra: Vec::new(),
            uses: 0,
            fill: false,
        }
    }
    /// The value of a field beyond the fixed ones.
    #[inline]
    pub fn find(&self, field: Field) -> Option<Val> {
        self.extra.iter().find(|(f, _)| *f == field).map(|(_, v)| *v)
    }
    /// Takes one use of every text it names.
    pub fn retain(&self, texts: &mut Texts) {
        for s in [&self.proc, &self.parent, &self.target] {
            texts.retain(s.command_line);
            texts.retain(s.directory);
            texts.retain(s.path);
        }
        texts.retain(self.grand.path);
    }
    /// Gives back every text it names; `extra` is emptied.
    pub fn release(&mut self, texts: &mut Texts) {
        for s in [&self.proc, &self.parent, &self.target] {
            texts.release(s.command_line);
            texts.release(s.directory);
            texts.release(s.path);
        }
        texts.release(self.grand.path);
        for (_, v) in self.extra.drain(..) {
            if let Val::Text(t) = v {
                texts.release(t);
            }
        }
    }
}

/// Facts with records still to be written; freed ones keep their memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    slots: Vec<Fact>,
    free: Vec<u32>,
}

impl Facts {
    /// A blank fact and its index.
    pub fn add(&mut self) -> (u32, &mut Fact) {
        let i = match self.free.pop() {
            Some(i) => i,
            None => {
                by_eighths(&mut self.slots);
                self.slots.push(Fact::blank());
                self.slots.len() as u32 - 1
            }
        };
        let f = &mut self.slots[i as usize];
        let extra = std::mem::take(&mut f.extra);
        *f = Fact { extra, ..Fact::blank() };
        (i, f)
    }
    /// A fact.
    #[inline]
    pub fn get(&self, i: u32) -> &Fact {
        &self.slots[i as usize]
    }
    /// A fact.
    #[inline]
    pub fn get_mut(&mut self, i: u32) -> &mut Fact {
        &mut self.slots[i as usize]
    }
    /// Frees a fact and its texts.
    pub fn free(&mut self, i: u32, texts: &mut Texts) {
        self.slots[i as usize].release(texts);
        self.free.push(i);
    }
    /// One record of it was written; the last one frees it.
    pub fn written(&mut self, i: u32, texts: &mut Texts) {
        let f = &mut self.slots[i as usize];
        f.uses -= 1;
        if f.uses == 0 {
            self.free(i, texts);
        }
    }
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|f| f.extra.capacity() * std::mem::size_of::<(Field, Val)>()).sum::<usize>()
            + self.slots.capacity() * std::mem::size_of::<Fact>()
            + self.free.capacity() * 4
    }
    /// Facts in use.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
