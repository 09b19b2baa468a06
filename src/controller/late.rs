//! Pods that were born after their set had been left: they never were an endpoint, and need not be waited for.

use std::collections::HashSet;

use jiff::Timestamp;

/// What was seen of the pods of a set that is being left, in one move.
#[derive(Debug, Default)]
pub struct Presence {
    attempt: i64,
    there: HashSet<String>,
    late: HashSet<String>,
}

impl Presence {
    /// Looks at the pods once more: which of these (UID and creation) were born after the set had been left, at `left`. `None` where a pod
    /// that is new to us may be an old one: while the Services are still being moved, and once the set is gone.
    ///
    /// Late is what was not there when the set was first seen being left, and was created after that, too: a leader that has just begun
    /// hears of the pods in no order with the rest, and would take one that serves users for a new one.
    pub fn late<'a>(&mut self, attempt: i64, left: Option<Timestamp>, pods: impl Iterator<Item = (&'a str, Timestamp)>) -> Vec<&'a str> {
        let first = self.attempt != attempt;
        if first {
            *self = Self { attempt, ..Self::default() };
        }
        let mut late = vec![];
        for (uid, created) in pods {
            if self.late.contains(uid) {
                late.push(uid);
            } else if !self.there.contains(uid) {
                // By the API server's clock and to the second: rounded down, so that what is later is later.
                if !first && left.is_some_and(|left| created > left) {
                    self.late.insert(uid.to_owned());
                    late.push(uid);
                } else {
                    self.there.insert(uid.to_owned());
                }
            }
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn late<'a>(seen: &mut Presence, attempt: i64, left: Option<i64>, pods: &[(&'a str, i64)]) -> Vec<&'a str> {
        seen.late(attempt, left.map(at), pods.iter().map(|(uid, created)| (*uid, at(*created))))
    }

    #[test]
    fn a_pod_born_after_the_switch_is_late_and_one_that_was_there_is_not() {
        let seen = &mut Presence::default();
        assert!(late(seen, 2, None, &[("a", 1)]).is_empty());
        assert!(late(seen, 2, None, &[("a", 1), ("b", 9)]).is_empty(), "the Services were still being moved");
        assert_eq!(late(seen, 2, Some(10), &[("a", 1), ("c", 11)]), ["c"]);
        // Its set is deleted without its pods: what is known of them stays.
        assert_eq!(late(seen, 2, None, &[("a", 1), ("c", 11)]), ["c"]);
        // Left again by a later move: whoever is there now may have been an endpoint.
        assert!(late(seen, 4, Some(20), &[("a", 1), ("c", 11)]).is_empty());
    }

    #[test]
    fn a_pod_that_is_heard_of_late_is_not_late() {
        let seen = &mut Presence::default();
        assert!(late(seen, 2, Some(10), &[("a", 1)]).is_empty());
        // An old pod, of which a watch that lags has told only now.
        assert!(late(seen, 2, Some(10), &[("a", 1), ("b", 9)]).is_empty());
        // Of a set that is gone every pod is an old one, whatever clocks say.
        assert!(late(seen, 2, None, &[("a", 1), ("b", 9), ("c", 30)]).is_empty());
        assert!(late(seen, 2, Some(10), &[("c", 30)]).is_empty());
    }
}
