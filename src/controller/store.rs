//! A cache of one kind: what the watch delivered, and what this process itself wrote, whichever is newer.
//!
//! A controller that decides on a cache which has not yet seen its own last write does things twice. Resource versions of
//! one kind compare as numbers (KEP-5504), so the newer of both is known.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Deleted objects that are remembered, so that the late answer to a write does not bring one back.
const TOMBSTONES: usize = 4096;

/// Later than any version: the object was deleted by this process itself.
pub const GONE: &str = "18446744073709551615";

/// Objects by UID, in that order: what is done for several of them must not depend on a hasher's seed.
#[derive(Debug)]
pub struct Store<T> {
    entries: BTreeMap<String, Entry<T>>,
    /// The version at which an object went: it may come back with a later one, as a label that a watch selects by may.
    tombstones: HashMap<String, u64>,
    order: VecDeque<String>,
    relists: HashMap<String, HashSet<String>>,
    /// Written by this process, at a version of which no watch has told yet.
    unheard: HashSet<String>,
    synced: HashSet<String>,
}

#[derive(Debug)]
struct Entry<T> {
    version: u64,
    scope: String,
    value: T,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            tombstones: HashMap::new(),
            order: VecDeque::new(),
            relists: HashMap::new(),
            unheard: HashSet::new(),
            synced: HashSet::new(),
        }
    }
}

impl<T> Store<T> {
    /// Whether a first complete list of every scope is in. A scope is what one watch covers: a namespace, or everything (`""`).
    pub fn synced(&self, scopes: &[String]) -> bool {
        scopes.iter().all(|scope| self.synced.contains(scope))
    }

    /// Takes an object, from the watch or from the answer to a write, unless a newer one or its deletion is known.
    /// Returns the former value if this one was taken.
    pub fn insert(&mut self, uid: &str, version: &str, scope: &str, value: T) -> Option<Option<T>> {
        if let Some(seen) = self.relists.get_mut(scope) {
            seen.insert(uid.to_owned());
        }
        let version = number(version);
        if self.tombstones.get(uid).is_some_and(|gone| *gone >= version) {
            return None;
        }
        if self.entries.get(uid).is_some_and(|entry| entry.version > version) {
            return None;
        }
        self.unheard.remove(uid);
        Some(self.entries.insert(uid.to_owned(), Entry { version, scope: scope.to_owned(), value }).map(|entry| entry.value))
    }

    /// Whether this version of an object is news.
    pub fn lacks(&self, uid: &str, version: &str) -> bool {
        self.entries.get(uid).is_none_or(|entry| entry.version < number(version))
    }

    /// What was just taken is the answer to a write of this process, of which no watch has told yet.
    pub fn wrote(&mut self, uid: &str) {
        if self.entries.contains_key(uid) {
            self.unheard.insert(uid.to_owned());
        }
    }

    /// Forgets an object that went at this version, and everything of it up to then, unless something newer is known.
    pub fn remove(&mut self, uid: &str, version: &str) -> Option<T> {
        let gone = self.lose(uid, version);
        if !self.entries.contains_key(uid) {
            self.bury(uid, number(version));
        }
        gone
    }

    /// Forgets an object that does not belong here any more as it is at this version, unless something newer is known. It may come back.
    pub fn lose(&mut self, uid: &str, version: &str) -> Option<T> {
        if self.entries.get(uid)?.version > number(version) {
            return None;
        }
        self.unheard.remove(uid);
        self.entries.remove(uid).map(|entry| entry.value)
    }

    fn bury(&mut self, uid: &str, version: u64) {
        if let Some(known) = self.tombstones.get_mut(uid) {
            *known = version.max(*known);
            return;
        }
        self.tombstones.insert(uid.to_owned(), version);
        self.order.push_back(uid.to_owned());
        if self.order.len() > TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.tombstones.remove(&oldest);
        }
    }

    /// A new list begins.
    pub fn relist(&mut self, scope: &str) {
        self.relists.insert(scope.to_owned(), HashSet::new());
    }

    /// The list is complete: what it did not hold, and was not written meanwhile, is gone. What this process wrote just before may be
    /// missing only because the list was made earlier still: it leaves the cache, but not for good.
    pub fn relisted(&mut self, scope: &str) -> Vec<T> {
        self.synced.insert(scope.to_owned());
        let Some(seen) = self.relists.remove(scope) else {
            return vec![];
        };
        let lacking = |(uid, entry): &(&String, &Entry<T>)| entry.scope == scope && !seen.contains(*uid);
        let gone: Vec<String> = self.entries.iter().filter(lacking).map(|(uid, _)| uid.clone()).collect();
        gone.iter()
            .filter_map(|uid| {
                let entry = self.entries.remove(uid)?;
                if !self.unheard.remove(uid) {
                    self.bury(uid, entry.version);
                }
                Some(entry.value)
            })
            .collect()
    }

    /// One object.
    pub fn get(&self, uid: &str) -> Option<&T> {
        self.entries.get(uid).map(|entry| &entry.value)
    }

    /// All objects, by UID.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|entry| &entry.value)
    }
}

fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_version_stays() {
        let mut store = Store::default();
        assert!(store.insert("u", "10", "", "written").is_some());
        assert!(store.insert("u", "9", "", "watched late").is_none());
        assert_eq!(store.get("u"), Some(&"written"));
        assert_eq!(store.insert("u", "11", "", "watched"), Some(Some("written")));
    }

    #[test]
    fn a_late_answer_does_not_bring_a_deleted_object_back() {
        let mut store = Store::default();
        store.insert("u", "10", "", 1);
        assert_eq!(store.remove("u", "11"), Some(1));
        assert!(store.insert("u", "10", "", 1).is_none());
        assert!(store.get("u").is_none());
        store.insert("here", "20", "", 1);
        store.remove("here", GONE);
        assert!(store.insert("here", "21", "", 1).is_none(), "deleted by this process itself: there is no later version");
    }

    #[test]
    fn an_object_that_left_the_watch_and_came_back_is_seen_again() {
        let mut store = Store::default();
        store.insert("u", "10", "", 1);
        assert_eq!(store.remove("u", "11"), Some(1));
        assert_eq!(store.insert("u", "12", "", 2), Some(None));
        // The watch is late: what it saw go has been back for long.
        assert_eq!(store.remove("u", "11"), None);
        assert_eq!(store.get("u"), Some(&2));
    }

    #[test]
    fn what_does_not_belong_any_more_is_lost_but_not_buried() {
        let mut store = Store::default();
        store.insert("u", "10", "", 1);
        assert_eq!(store.lose("u", "9"), None, "that was before");
        assert_eq!(store.lose("u", "11"), Some(1));
        assert_eq!(store.insert("u", "11", "", 2), Some(None));
    }

    #[test]
    fn a_new_list_removes_what_it_lacks_but_not_what_was_written_meanwhile() {
        let mut store = Store::default();
        store.insert("old", "1", "", 1);
        store.insert("kept", "2", "", 2);
        assert!(!store.synced(&[String::new()]));
        store.relist("");
        store.insert("kept", "2", "", 2);
        store.insert("written", "7", "", 3);
        assert_eq!(store.relisted(""), vec![1]);
        assert!(store.synced(&[String::new()]) && store.get("kept").is_some() && store.get("written").is_some());
    }

    #[test]
    fn what_was_written_before_the_list_began_but_after_it_was_made_comes_back() {
        let mut store = Store::default();
        store.insert("new", "7", "", 1);
        store.wrote("new");
        store.insert("old", "5", "", 0);
        store.relist("");
        let mut gone = store.relisted("");
        gone.sort_unstable();
        assert_eq!(gone, [0, 1]);
        // The watch goes on from where the list was made, and tells of the write.
        assert!(store.lacks("new", "7") && store.insert("new", "7", "", 1).is_some());
        assert!(store.insert("old", "5", "", 0).is_none());
        // Now the watch knows it, and a list without it means that it is gone.
        store.relist("");
        assert_eq!(store.relisted(""), vec![1]);
        assert!(store.insert("new", "7", "", 1).is_none());
    }

    #[test]
    fn a_list_of_one_namespace_says_nothing_about_another() {
        let mut store = Store::default();
        store.insert("a", "1", "one", 1);
        store.insert("b", "1", "two", 2);
        store.relist("one");
        assert_eq!(store.relisted("one"), vec![1]);
        assert!(store.get("b").is_some() && !store.synced(&["one".into(), "two".into()]));
    }
}
