//! The world in memory ([`super::simulator`]), as far as sets are taken apart in it: the writes, and the garbage collector.

use super::fixtures::*;
use super::simulator::{Conflict, World};
use crate::api::keys;
use crate::release::action::{Action, PodRef};
use crate::release::*;

impl World {
    /// A write by which a set is taken apart.
    pub fn part(&mut self, action: &Action) -> Result<(), Conflict> {
        match action {
            Action::Part { set, attempt, services, issue } => {
                self.guarded(&set.uid, &set.resource_version)?;
                let place = self.snapshot.sets.iter().position(|known| known.uid == set.uid).unwrap();
                self.snapshot.sets[place].role = Some(Role::retiring(*attempt));
                self.unreached(services, &set.revision)?;
                self.killed()?;
                let first = self.snapshot.sets[place].clone();
                let name = format!("{SHOP}-{}-{issue}", first.revision);
                if !self.snapshot.sets.iter().any(|set| set.name == name) {
                    self.number += 1;
                    self.snapshot.sets.push(Set {
                        name,
                        uid: format!("set-{}", self.number),
                        created: self.now().wall,
                        issue: *issue,
                        desired: 0,
                        replicas: 0,
                        marks: Marks::default(),
                        role: Some(Role::retired(*attempt)),
                        switch: None,
                        proof: None,
                        drain_begun: None,
                        ..first
                    });
                }
            }
            Action::Mark { pod, left } => {
                let pod = self.pod_mut(pod).filter(|pod| pod.set_uid == left.set && pod.control == Control::Set).ok_or(Conflict)?;
                pod.left = Some(left.clone());
            }
            Action::Orphan { set, services, .. } => {
                self.unreached(services, &set.revision)?;
                self.guarded(&set.uid, &set.resource_version)?;
                self.snapshot.sets.retain(|known| known.uid != set.uid);
                self.orphaned.insert(set.uid.clone());
            }
            Action::Own { pod, left } => {
                let pod = self.pod_mut(pod).filter(|pod| matches!(pod.control, Control::Nobody(_))).ok_or(Conflict)?;
                (pod.control, pod.left) = (Control::Object(UID.into()), Some(left.clone()));
            }
            Action::DeletePod { pod, services, notice, revision } => {
                self.unreached(services, &format!("{}{revision}", keys::LEFT_PREFIX))?;
                self.pod_mut(pod).filter(|pod| matches!(pod.control, Control::Object(_))).ok_or(Conflict)?;
                self.snapshot.pods.retain(|known| known.uid != pod.uid);
                self.notices.extend(notice.clone());
            }
            _ => panic!("not by this: {action:?}"),
        }
        Ok(())
    }

    fn pod_mut(&mut self, pod: &PodRef) -> Option<&mut Pod> {
        self.snapshot.pods.iter_mut().find(|known| known.uid == pod.uid)
    }

    fn unreached(&self, services: &[String], revision: &str) -> Result<(), Conflict> {
        let selects = |service: &Service| services::may_lead(&service.selector, &selector(revision));
        if services.iter().filter_map(|name| self.snapshot.services.get(name)).any(selects) { Err(Conflict) } else { Ok(()) }
    }

    /// What a controller makes of pods that have lost their set.
    pub fn regroup(&mut self) {
        let now = self.now().wall;
        let snapshot = &mut self.snapshot;
        snapshot.sets.retain(|set| set.loose.is_none());
        snapshot.pods.append(&mut self.nobodys);
        let all = snapshot.pods.clone();
        let selectors: Vec<_> = snapshot.services.values().map(|service| &service.selector).collect();
        part::regroup(
            &mut snapshot.sets,
            &mut snapshot.pods,
            &snapshot.object.spec.selector.match_labels,
            &selectors,
            snapshot.object.status.switch.as_ref(),
            now,
        );
        let known = |pod: &Pod| snapshot.pods.iter().any(|known| known.uid == pod.uid);
        self.nobodys = all.into_iter().filter(|pod| !known(pod)).collect();
    }

    /// Pods go with their set, unless it was deleted without them, or the object owns them, too.
    pub fn garbage_collector(&mut self) -> bool {
        let snapshot = &mut self.snapshot;
        let there = |uid: &String| snapshot.sets.iter().any(|set| set.uid == *uid && set.loose.is_none());
        let before = snapshot.pods.clone();
        if !self.littered {
            snapshot
                .pods
                .retain(|pod| there(&pod.set_uid) || pod.left.is_some() || self.orphaned.contains(&pod.set_uid) || pod.control != Control::Set);
            for pod in snapshot.pods.iter_mut().filter(|pod| pod.control == Control::Set && !there(&pod.set_uid)) {
                let known = snapshot.sets.iter().find(|set| set.uid == pod.set_uid).map(|set| set.revision.clone());
                let revision = pod.left.as_ref().map(|left| left.revision.clone()).or(known).unwrap_or_default();
                pod.control = Control::Nobody(selector(&revision));
            }
        }
        before != snapshot.pods
    }

    /// Pods of a version that have lost their set.
    pub fn loose(&self, version: &str) -> Vec<&Pod> {
        let revision = revision(version);
        self.snapshot
            .pods
            .iter()
            .filter(|pod| pod.control != Control::Set && pod.left.as_ref().is_some_and(|left| left.revision == revision))
            .collect()
    }
}
