//! Groups: who looks at whom.

use std::collections::BTreeSet;

use super::{Key, World};
use crate::api::BlueGreenDeployment;
use crate::release::Peer;

impl World {
    /// Others that have to do with the groups of an object, by name.
    pub fn peers(&self, key: &Key) -> Vec<Peer> {
        let Some(own) = self.object(key).and_then(Peer::of) else {
            return vec![];
        };
        self.objects_of(&own, key).filter_map(|(_, object)| Peer::of(object)).collect()
    }

    /// Whom a change of an object concerns beside itself: those of its groups, if what they look at has changed. A status is written many times
    /// in a release, and most of that is nobody else's business.
    pub(super) fn keys_beside(&self, key: &Key, before: Option<&Peer>, now: Option<&Peer>) -> BTreeSet<Key> {
        if before == now {
            return BTreeSet::new();
        }
        before.into_iter().chain(now).flat_map(|peer| self.objects_of(peer, key)).map(|(key, _)| key.clone()).collect()
    }

    fn objects_of<'a>(&'a self, peer: &Peer, key: &'a Key) -> impl Iterator<Item = (&'a Key, &'a BlueGreenDeployment)> + use<'a> {
        let groups: BTreeSet<&str> = peer.groups().collect();
        let tied = peer.status.as_ref().and_then(|status| status.joined.as_ref()).map(|joined| joined.by.as_str());
        let concerns = |other: &Peer| tied == Some(other.uid.as_str()) || other.groups().any(|name| groups.contains(name));
        let uids = self.by_key.iter().filter(|(known, _)| known.namespace == key.namespace && *known != key);
        let mut objects: Vec<_> = uids.filter_map(|(known, uid)| Some((known, self.objects.get(uid)?))).collect();
        objects.retain(|(_, object)| Peer::of(object).is_some_and(|other| concerns(&other)));
        objects.sort_by_key(|(key, _)| *key);
        objects.into_iter()
    }
}
