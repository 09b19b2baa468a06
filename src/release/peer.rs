//! A peer: what a member of a group looks at in another one. Trimmed to that, so that only a change of it concerns the others.

use crate::api::{BlueGreenDeployment, ConditionStatus, ConditionType, Group, GroupMove, GroupState, GroupStatus, PhaseName, keys};

/// Another BlueGreenDeployment of the same group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.promotion.group`.
    pub group: Option<Group>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is being given to a Deployment.
    pub ejecting: bool,
    /// Whether its status is about its spec as it is now.
    pub current: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Where its release stands.
    pub phase: Option<PhaseName>,
    /// Why its revision was given up, in one word.
    pub rejected: Option<String>,
    /// Why it does not go on, in one word.
    pub stalled: Option<String>,
    /// What it tells the group.
    pub status: Option<GroupStatus>,
    /// Where its traffic is, and by which decision.
    pub moved: Option<Moved>,
}

/// Where the traffic of a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The revision.
    pub to: String,
    /// The decision of the group by which it came there, or left from there.
    pub group: Option<GroupMove>,
    /// Whether it has borne it for long enough.
    pub baked: bool,
}

impl Peer {
    /// What is to be seen of an object; `None` for one that has nothing to do with groups.
    pub fn of(object: &BlueGreenDeployment) -> Option<Self> {
        let status = object.status.as_ref();
        let group = object.spec.promotion.group.clone();
        let told = status.and_then(|status| status.group.clone());
        if group.is_none() && told.is_none() {
            return None;
        }
        let stalled = status.and_then(|status| status.conditions.iter().find(|condition| condition.kind == ConditionType::Stalled));
        Some(Self {
            name: object.metadata.name.clone()?,
            uid: object.metadata.uid.clone()?,
            group,
            deleting: object.metadata.deletion_timestamp.is_some(),
            ejecting: object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(keys::EJECTING)),
            current: status.is_some_and(|status| Some(status.observed_generation) == object.metadata.generation),
            paused: object.spec.paused,
            phase: status.and_then(|status| status.phase),
            rejected: status.and_then(|status| status.rejected.as_ref()).map(|rejected| rejected.reason.clone()),
            stalled: stalled.filter(|condition| condition.status == ConditionStatus::True).map(|condition| condition.reason.clone()),
            status: told,
            moved: status.and_then(|status| status.switch.as_ref()).map(|switch| Moved {
                to: switch.to.clone(),
                group: switch.group.clone().filter(|decision| object.metadata.uid.as_ref().is_some_and(|uid| decision.led(uid, &switch.to))),
                baked: switch.baked_at.is_some_and(|at| at >= switch.started_at),
            }),
        })
    }

    /// Names of the groups with which it has to do: that of its spec, and that of its status while it still is in another one.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let named = self.group.as_ref().map(|group| group.name.as_str());
        named.into_iter().chain(self.status.as_ref().map(|status| status.name.as_str()))
    }

    /// Whether it is a member: one that leaves for good is none any more.
    pub fn member(&self, group: &str) -> bool {
        !self.deleting && !self.ejecting && self.group.as_ref().is_some_and(|own| own.name == group)
    }

    /// How far it is, if that is known of its spec as it is now.
    pub fn state(&self, group: &str) -> Option<GroupState> {
        self.status.as_ref().filter(|status| self.current && status.name == group).map(|status| status.state)
    }

    /// What it does, in a few words.
    pub fn says(&self, group: &str) -> String {
        if let Some(reason) = &self.rejected {
            return format!("given up, {reason}: apply another template there, or retry");
        }
        match self.state(group) {
            None => return "not looked at since it was changed".into(),
            Some(GroupState::Ready) => return "ready".into(),
            Some(GroupState::Idle) => return "nothing to switch".into(),
            Some(GroupState::Preparing) => {}
        }
        if self.paused {
            return "spec.paused is true there".into();
        }
        if let Some(reason) = &self.stalled {
            return format!("stalled, {reason}");
        }
        match self.phase {
            None | Some(PhaseName::BringUp) => "its pods start",
            Some(PhaseName::Smoke) => "smoke probes are running",
            Some(PhaseName::AwaitPromotion) => "its own promotion or hooks",
            Some(PhaseName::Switch) => "its Services are being moved",
            Some(PhaseName::Rejected) => "given up",
            Some(_) => "its release is not ready",
        }
        .into()
    }
}
