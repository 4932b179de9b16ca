//! The keys of one list of ids.

use uuid::Uuid;

use crate::slot::beside;

/// The list `consumer:ids` and the keys beside it, all in one slot.
///
/// The keys beside it exist while any process has a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// List: the ids of the living consumers, oldest first. The only key that users read.
    pub(crate) ids: String,
    /// Sorted set: process → when its lease expires, in ms of the server's clock.
    pub(crate) leases: String,
    /// Hash: process → what it works on and which keys it leaves behind, as JSON (see `About`).
    pub(crate) processes: String,
}

impl Names {
    pub(crate) fn new(ids: &str) -> Self {
        Self { ids: ids.to_owned(), leases: beside(ids, "leases"), processes: beside(ids, "processes") }
    }

    /// Set: the ids that `process` has put into the list. They are removed when its lease ends.
    pub(crate) fn held_by(&self, process: Uuid) -> String {
        beside(&self.ids, &format!("lease:{process}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_stand_beside_the_list() {
        let names = Names::new("consumer:ids");
        assert_eq!(names.ids, "consumer:ids");
        assert_eq!(names.leases, "{consumer:ids}:leases");
        assert_eq!(names.processes, "{consumer:ids}:processes");
        assert_eq!(names.held_by(Uuid::nil()), "{consumer:ids}:lease:00000000-0000-0000-0000-000000000000");
    }
}
