//! The fence in a lane's hash. It also shows whether the hash is still the same one.
//!
//! A commit whose answer was lost must not be repeated if the number that would show it was deleted with the hash. As
//! long as no commit was confirmed, a missing number proves nothing, and the value 1 alone does not either:
//!
//! 1. The first commit is executed, and its answer is lost. The hash is deleted.
//! 2. A new connection creates the hash with the fence 1, and this answer is lost as well.
//! 3. The next connection finds the fence 2, as if the hash had been there all the time.
//!
//! So the fence has two parts. A lane that has seen one part increments only the other one. If the part it has seen is
//! 0, the hash was recreated since, however many answers were lost.

/// The part of the fence that the lane has seen in the hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// No connection has read the fence yet.
    #[default]
    Nothing,
    Low,
    High,
}

impl Seen {
    /// 1 in the high part. The low part does not reach it.
    const HIGH: i64 = 1 << 32;

    /// By how much the next connection increments the fence.
    pub(super) fn increment(self) -> i64 {
        match self {
            Self::Nothing | Self::High => 1,
            Self::Low => Self::HIGH,
        }
    }

    /// Handles the fence that a new connection has read after its increment. Returns whether the hash was recreated.
    pub(super) fn read(&mut self, fence: i64) -> bool {
        let recreated = match self {
            Self::Nothing => false,
            Self::Low => fence % Self::HIGH == 0,
            Self::High => fence < Self::HIGH,
        };
        if recreated || *self == Self::Nothing {
            *self = if self.increment() == 1 { Self::Low } else { Self::High };
        }
        recreated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash, and the lane that connects to it.
    #[derive(Default)]
    struct World {
        fence: i64,
        seen: Seen,
    }

    impl World {
        fn connects(&mut self) -> bool {
            self.loses_answer();
            self.seen.read(self.fence)
        }

        fn loses_answer(&mut self) {
            self.fence += self.seen.increment();
        }
    }

    #[test]
    fn a_hash_that_stays_is_the_same_one_however_many_answers_were_lost() {
        let mut world = World::default();
        world.loses_answer();
        for _ in 0..3 {
            assert!(!world.connects());
            world.loses_answer();
        }
    }

    #[test]
    fn each_deletion_is_noticed_once_however_many_answers_were_lost_since() {
        let mut world = World::default();
        assert!(!world.connects());
        for lost in 0..6 {
            world.fence = 0;
            (0..lost).for_each(|_| world.loses_answer());
            assert!(world.connects(), "{lost} lost answers");
            world.loses_answer();
            assert!(!world.connects());
        }
    }
}
