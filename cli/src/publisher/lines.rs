//! What waits to be sent: a line for each name.

use std::collections::VecDeque;

use tokio::time::Instant;

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// How many were made before it. Those for one name are sent in this order.
    pub(crate) number: u64,
    /// Its place among the names of the target.
    pub(crate) name: usize,
    pub(crate) payload: Vec<u8>,
    /// When it was refused first.
    pub(crate) refused: Option<Instant>,
    /// Whether a connection broke before the answer: it may be published already.
    pub(crate) is_uncertain: bool,
}

/// A line of messages for each name, and all together bounded: a name that nobody serves does not hold up the others
/// until then.
pub(crate) struct Lines {
    lines: Vec<VecDeque<Message>>,
    waiting: usize,
    bytes: usize,
    /// Whose turn it is to be sent first.
    turn: usize,
}

impl Lines {
    /// What may wait in all lines together. An even rate of 10,000 a second goes on for 10 s while one node of a cluster
    /// is away.
    const MESSAGES: usize = 100_000;
    const BYTES: usize = 64 << 20;

    /// Lines for so many names.
    pub(crate) fn new(names: usize) -> Self {
        Self { lines: vec![VecDeque::new(); names], waiting: 0, bytes: 0, turn: 0 }
    }

    /// Whether one more may join.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < Self::MESSAGES && self.bytes < Self::BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// A message joins the line of its name. The caller looked for room.
    pub(crate) fn join(&mut self, message: Message) {
        self.waiting += 1;
        self.bytes += message.payload.len();
        self.lines[message.name].push_back(message);
    }

    /// Messages that had left come back to their old places, room or not.
    pub(crate) fn come_back(&mut self, messages: Vec<Message>) {
        self.waiting += messages.len();
        for message in messages.into_iter().rev() {
            self.bytes += message.payload.len();
            let line = &mut self.lines[message.name];
            let at = line.partition_point(|waiting| waiting.number < message.number);
            line.insert(at, message);
        }
    }

    /// The names, of which another one is the first each time: nobody is always served last.
    pub(crate) fn in_turn(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (names, first) = (self.lines.len(), self.turn);
        self.turn = (first + 1) % names.max(1);
        (first..names).chain(0..first)
    }

    /// Whether nothing waits for this name.
    pub(crate) fn is_empty_of(&self, name: usize) -> bool {
        self.lines[name].is_empty()
    }

    /// The one that has waited longest for this name.
    pub(crate) fn leave(&mut self, name: usize) -> Option<Message> {
        let message = self.lines[name].pop_front()?;
        self.waiting -= 1;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// All that wait.
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
    fn who_comes_first_leaves_first_and_each_name_has_a_line_of_its_own() {
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
    fn what_comes_back_takes_its_old_place_also_from_several_pipelines() {
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
