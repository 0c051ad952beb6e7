//! What was handed over and not answered: sequence numbers, bounds, fates. Pure; time comes from outside.

use std::collections::VecDeque;
use std::time::Instant;

use crate::account::Outcome;

/// Records and payload bytes of a delivery whose fate is decided together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) delivery: usize,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Unanswered batches of type `T`, in order of their sequence.
pub(super) struct Window<T> {
    entries: VecDeque<Entry<T>>,
    /// Entries before this one were sent on the present connection.
    sent: usize,
    next_sequence: u64,
    /// Highest sequence that was ever sent.
    sent_through: u64,
    bytes: u64,
    batches_max: usize,
    bytes_max: u64,
}

struct Entry<T> {
    sequence: u64,
    what: T,
    bytes: u64,
    parts: Vec<Part>,
    first_sent: Option<Instant>,
    rejected: bool,
}

impl<T: Clone> Window<T> {
    pub(super) fn new(batches_max: usize, bytes_max: u64) -> Window<T> {
        Window {
            entries: VecDeque::new(),
            sent: 0,
            next_sequence: 1,
            sent_through: 0,
            bytes: 0,
            batches_max,
            bytes_max,
        }
    }
    /// Whether one more batch may be put in; an empty window takes one of any size.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.batches_max && self.bytes < self.bytes_max
    }
    /// Bytes that a batch may have to stay within the bound, unless the window is empty.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max - self.bytes.min(self.bytes_max)
    }
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// Lowest sequence that is not settled.
    pub(super) fn first_sequence(&self) -> u64 {
        self.entries.front().map_or(self.next_sequence, |e| e.sequence)
    }
    /// Puts a batch in; `make` gets its sequence.
    pub(super) fn put(&mut self, bytes: u64, parts: Vec<Part>, make: impl FnOnce(u64) -> T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.bytes += bytes;
        let what = make(sequence);
        self.entries.push_back(Entry { sequence, what, bytes, parts, first_sent: None, rejected: false });
    }
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.entries.len()
    }
    /// The next batch to send on this connection.
    pub(super) fn send(&mut self, now: Instant) -> Option<T> {
        let e = self.entries.get_mut(self.sent)?;
        self.sent += 1;
        e.first_sent.get_or_insert(now);
        self.sent_through = self.sent_through.max(e.sequence);
        Some(e.what.clone())
    }
    /// A new connection knows nothing of what was sent on the one before.
    pub(super) fn reconnect(&mut self) {
        self.sent = 0;
    }
    /// When the oldest unanswered batch was first sent.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.entries.front().and_then(|e| e.first_sent)
    }
    /// Marks a batch as refused for good; it is settled when the acknowledgements reach it.
    pub(super) fn reject(&mut self, sequence: u64) {
        let first = self.first_sequence();
        if let Some(i) = sequence.checked_sub(first)
            && let Some(e) = self.entries.get_mut(i as usize)
        {
            e.rejected = true;
        }
    }
    /// Settles everything up to and including a sequence.
    ///
    /// # Errors
    /// The sequence was never sent; returns the highest one that was.
    pub(super) fn ack(&mut self, through: u64, mut settle: impl FnMut(Outcome, Part)) -> Result<(), u64> {
        if through > self.sent_through {
            return Err(self.sent_through);
        }
        while self.entries.front().is_some_and(|e| e.sequence <= through) {
            let rejected = self.entries[0].rejected;
            self.pop(if rejected { Outcome::Dropped } else { Outcome::Delivered }, &mut settle);
        }
        Ok(())
    }
    /// Gives up on what was first sent before an instant: nobody knows whether it arrived.
    pub(super) fn give_up(&mut self, before: Instant, mut settle: impl FnMut(Outcome, Part)) {
        while self.oldest().is_some_and(|t| t <= before) {
            self.pop(Outcome::Unknown, &mut settle);
        }
    }
    /// Settles everything: unknown where it was sent, dropped where it never was.
    pub(super) fn end(&mut self, mut settle: impl FnMut(Outcome, Part)) {
        while let Some(e) = self.entries.front() {
            self.pop(if e.first_sent.is_some() { Outcome::Unknown } else { Outcome::Dropped }, &mut settle);
        }
    }
    fn pop(&mut self, outcome: Outcome, settle: &mut impl FnMut(Outcome, Part)) {
        if let Some(e) = self.entries.pop_front() {
            self.sent = self.sent.saturating_sub(1);
            self.bytes -= e.bytes;
            e.parts.into_iter().for_each(|p| settle(outcome, p));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u64),
        Send,
        Ack(u64),
        Reject(u64),
        Break,
        GiveUp,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1u64..50).prop_map(Step::Put),
            4 => Just(Step::Send),
            3 => (0u64..40).prop_map(Step::Ack),
            1 => (0u64..40).prop_map(Step::Reject),
            1 => Just(Step::Break),
            1 => Just(Step::GiveUp),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn every_batch_is_settled_once_and_only_the_unanswered_are_sent_again(steps in steps()) {
            let start = Instant::now();
            let mut w = Window::new(4, 100);
            let (mut put, mut acked, mut last_sent) = (0u64, 0u64, 0u64);
            let mut fates: std::collections::BTreeMap<usize, Outcome> = Default::default();
            let mut twice = false;
            let mut settle = |o, p: Part| twice |= fates.insert(p.delivery, o).is_some();
            for (i, step) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(i as u64);
                match step {
                    Step::Put(bytes) if w.has_room() => {
                        put += 1;
                        let part = Part { delivery: put as usize, records: 1, bytes };
                        w.put(bytes, vec![part], |s| { assert_eq!(s, put); s });
                    }
                    Step::Put(_) => prop_assert!(w.entries.len() == 4 || w.bytes >= 100),
                    Step::Send => {
                        if let Some(s) = w.send(now) {
                            prop_assert!(s > acked, "{s} was answered and is sent again");
                            prop_assert!(last_sent == 0 || s > last_sent, "order");
                            last_sent = s;
                        }
                    }
                    Step::Ack(through) => match w.ack(through, &mut settle) {
                        Ok(()) => acked = acked.max(through),
                        Err(sent) => prop_assert!(through > sent),
                    },
                    Step::Reject(s) => w.reject(s),
                    Step::Break => {
                        w.reconnect();
                        last_sent = 0;
                    }
                    Step::GiveUp => {
                        w.give_up(now - Duration::from_secs(20), &mut settle);
                        acked = acked.max(w.first_sequence() - 1);
                    }
                }
                prop_assert!(w.entries.len() <= 4 && w.bytes < 100 + 50);
            }
            w.end(&mut settle);
            prop_assert!(w.is_empty() && w.bytes == 0 && !twice);
            prop_assert_eq!(fates.len() as u64, put);
        }
    }

    #[test]
    fn what_was_refused_is_dropped_and_what_was_never_sent_too() {
        let mut w = Window::new(9, 100);
        let now = Instant::now();
        for delivery in 0..4 {
            w.put(1, vec![Part { delivery, records: 1, bytes: 1 }], |s| s);
        }
        for _ in 0..3 {
            w.send(now);
        }
        let mut fates = vec![];
        w.reject(2);
        assert_eq!(w.ack(4, |o, p| fates.push((p.delivery, o))), Err(3));
        w.ack(2, |o, p| fates.push((p.delivery, o))).unwrap();
        w.end(|o, p| fates.push((p.delivery, o)));
        let expected = [Outcome::Delivered, Outcome::Dropped, Outcome::Unknown, Outcome::Dropped];
        assert_eq!(fates, expected.into_iter().enumerate().collect::<Vec<_>>());
    }
}
