//! What waits to be sent: a line for each name.

use std::collections::VecDeque;

use tokio::time::Instant;
use uuid::Uuid;

/// A message. Only its payload is made when it is sent, so that many can wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// Its place among the names of the target.
    pub(crate) name: usize,
    pub(crate) id: Uuid,
    /// Since when nobody takes it: it was refused, or first in line when it was looked in vain for who serves its name.
    pub(crate) stuck: Option<Instant>,
}

/// A line of messages for each name, and all together bounded: a name that nobody serves does not hold up the others
/// until then.
pub(crate) struct Lines {
    lines: Vec<VecDeque<Message>>,
    waiting: usize,
    limit: usize,
    /// Whose turn it is to be sent first.
    turn: usize,
}

impl Lines {
    /// Lines for so many names. `limit` is what may wait in all of them together.
    pub(crate) fn new(names: usize, limit: usize) -> Self {
        Self { lines: vec![VecDeque::new(); names], waiting: 0, limit, turn: 0 }
    }

    /// How many more may join.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.waiting)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// A message joins the line of its name. The caller looked for room.
    pub(crate) fn join(&mut self, message: Message) {
        self.lines[message.name].push_back(message);
        self.waiting += 1;
    }

    /// Messages that had left come back, in front of all that wait, room or not. So what was refused in several pipelines is
    /// not in its old order any more.
    pub(crate) fn come_back(&mut self, messages: Vec<Message>) {
        self.waiting += messages.len();
        for message in messages.into_iter().rev() {
            self.lines[message.name].push_front(message);
        }
    }

    /// The names, of which another one is the first each time: nobody is always served last.
    pub(crate) fn in_turn(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (names, first) = (self.lines.len(), self.turn);
        self.turn = (first + 1) % names.max(1);
        (first..names).chain(0..first)
    }

    /// The one that has waited longest for this name.
    pub(crate) fn first(&mut self, name: usize) -> Option<&mut Message> {
        self.lines[name].front_mut()
    }

    /// Up to so many for this name, first come, first served.
    pub(crate) fn leave(&mut self, name: usize, at_most: usize) -> impl Iterator<Item = Message> {
        let line = &mut self.lines[name];
        let leaving = at_most.min(line.len());
        self.waiting -= leaving;
        line.drain(..leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: usize, number: u128) -> Message {
        Message { name, id: Uuid::from_u128(number), stuck: None }
    }

    fn numbers(messages: impl Iterator<Item = Message>) -> Vec<u128> {
        messages.map(|message| message.id.as_u128()).collect()
    }

    #[test]
    fn who_comes_first_leaves_first_and_each_name_has_a_line_of_its_own() {
        let mut lines = Lines::new(2, 100);
        for number in 0..10 {
            lines.join(message(number as usize % 2, number));
        }
        assert_eq!(numbers(lines.leave(1, 3)), [1, 3, 5]);
        assert_eq!(numbers(lines.leave(0, 100)), [0, 2, 4, 6, 8]);
        assert_eq!(lines.first(0).map(|message| message.id), None);
        assert_eq!(numbers(lines.leave(1, 100)), [7, 9]);
        assert!(lines.is_empty());
    }

    #[test]
    fn who_comes_back_stands_in_front_in_the_order_of_before() {
        let mut lines = Lines::new(2, 100);
        (0..4).for_each(|number| lines.join(message(0, number)));
        let left: Vec<_> = lines.leave(0, 2).chain([message(1, 9)]).collect();
        lines.come_back(left);
        assert_eq!(numbers(lines.leave(0, 3)), [0, 1, 2]);
        assert_eq!(numbers(lines.leave(1, 3)), [9]);
        assert_eq!(lines.waiting(), 1);
    }

    #[test]
    fn all_lines_together_are_bounded_but_who_comes_back_is_let_in() {
        let mut lines = Lines::new(3, 4);
        assert_eq!(lines.room(), 4);
        (0..4).for_each(|number| lines.join(message(number as usize % 3, number)));
        assert_eq!(lines.room(), 0);
        lines.come_back(vec![message(0, 7), message(0, 8)]);
        assert_eq!((lines.room(), lines.waiting()), (0, 6));
        assert_eq!(lines.leave(0, 100).count(), 4);
        assert_eq!((lines.room(), lines.waiting()), (2, 2));
    }

    #[test]
    fn each_name_is_the_first_one_in_its_turn() {
        let mut lines = Lines::new(3, 4);
        let turns: Vec<Vec<_>> = (0..4).map(|_| lines.in_turn().collect()).collect();
        assert_eq!(turns, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
