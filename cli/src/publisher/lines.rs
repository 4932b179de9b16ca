//! Messages that wait to be sent: a line (queue) for each name.

use std::collections::VecDeque;

use tokio::time::Instant;

/// A message that waits or was sent, until it is confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Its position in the order of creation, from 1. Messages for one name are sent in this order.
    pub(crate) number: u64,
    /// The index of its name in the target.
    pub(crate) name: usize,
    pub(crate) payload: Vec<u8>,
    /// When it was first refused.
    pub(crate) refused: Option<Instant>,
    /// Whether its connection broke before the reply: it may already be published.
    pub(crate) is_uncertain: bool,
}

/// A line of messages for each name, with one bound for all lines. A name without a node does not block the other names
/// until the bound is reached.
pub(crate) struct Lines {
    lines: Vec<VecDeque<Message>>,
    waiting: usize,
    bytes: usize,
    /// The name that comes first next time.
    turn: usize,
}

impl Lines {
    /// The bound of all lines together: with one node of a cluster down, an even rate of 10,000 a second goes on for 10
    /// s.
    const MESSAGES: usize = 100_000;
    const BYTES: usize = 64 << 20;

    /// Lines for this many names.
    pub(crate) fn new(names: usize) -> Self {
        Self { lines: vec![VecDeque::new(); names], waiting: 0, bytes: 0, turn: 0 }
    }

    /// Whether there is room for one more message.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < Self::MESSAGES && self.bytes < Self::BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Appends a message to the line of its name. The caller has checked for room.
    pub(crate) fn join(&mut self, message: Message) {
        self.waiting += 1;
        self.bytes += message.payload.len();
        self.lines[message.name].push_back(message);
    }

    /// Puts messages that had left back into their old places, even without room.
    pub(crate) fn come_back(&mut self, messages: Vec<Message>) {
        self.waiting += messages.len();
        for message in messages.into_iter().rev() {
            self.bytes += message.payload.len();
            let line = &mut self.lines[message.name];
            let at = line.partition_point(|waiting| waiting.number < message.number);
            line.insert(at, message);
        }
    }

    /// The names, starting with another one each time, so that none is always last.
    pub(crate) fn in_turn(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (names, first) = (self.lines.len(), self.turn);
        self.turn = (first + 1) % names.max(1);
        (first..names).chain(0..first)
    }

    /// Whether nothing waits for this name.
    pub(crate) fn is_empty_of(&self, name: usize) -> bool {
        self.lines[name].is_empty()
    }

    /// Takes the oldest message for this name.
    pub(crate) fn leave(&mut self, name: usize) -> Option<Message> {
        let message = self.lines[name].pop_front()?;
        self.waiting -= 1;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// All messages that wait.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Message> {
        self.lines.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: usize, number: u64) -> Message {
        Message { number, name, payload: b"12345".to_vec(), refused: None, is_uncertain: false }
    }

    fn leave(lines: &mut Lines, name: usize, at_most: usize) -> Vec<u64> {
        (0..at_most).map_while(|_| lines.leave(name)).map(|message| message.number).collect()
    }

    #[test]
    fn messages_leave_in_order_and_each_name_has_its_own_line() {
        let mut lines = Lines::new(2);
        for number in 0..10 {
            lines.join(message(number as usize % 2, number));
        }
        assert_eq!(leave(&mut lines, 1, 3), [1, 3, 5]);
        assert_eq!(leave(&mut lines, 0, 100), [0, 2, 4, 6, 8]);
        assert!(lines.is_empty_of(0) && !lines.is_empty());
        assert_eq!(leave(&mut lines, 1, 100), [7, 9]);
        assert!(lines.is_empty());
    }

    #[test]
    fn messages_that_come_back_take_their_old_place_even_from_several_pipelines() {
        let mut lines = Lines::new(2);
        (0..4).for_each(|number| lines.join(message(0, number)));
        let first: Vec<_> = (0..2).filter_map(|_| lines.leave(0)).collect();
        let second: Vec<_> = lines.leave(0).into_iter().chain([message(1, 9)]).collect();
        lines.come_back(first);
        lines.come_back(second);
        assert_eq!(leave(&mut lines, 0, 100), [0, 1, 2, 3]);
        assert_eq!(leave(&mut lines, 1, 100), [9]);
    }

    #[test]
    fn all_lines_together_are_bounded_but_what_comes_back_is_let_in() {
        let mut lines = Lines::new(3);
        (0..Lines::MESSAGES as u64).for_each(|number| lines.join(message(number as usize % 3, number)));
        assert!(!lines.has_room());
        lines.come_back(vec![message(0, 7), message(0, 8)]);
        assert_eq!(lines.all().count(), Lines::MESSAGES + 2);
        assert_eq!(leave(&mut lines, 0, 3).len(), 3);
        assert!(lines.has_room());
        lines.join(Message { payload: vec![0; Lines::BYTES], ..message(1, 9) });
        assert!(!lines.has_room(), "the bytes count as well");
    }

    #[test]
    fn each_name_is_the_first_one_in_its_turn() {
        let mut lines = Lines::new(3);
        let turns: Vec<Vec<_>> = (0..4).map(|_| lines.in_turn().collect()).collect();
        assert_eq!(turns, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
