//! Groups: BlueGreenDeployments of one namespace that switch together.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who switches together.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Every BlueGreenDeployment of the namespace with this name here is a member.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What is to be released. None of them switches before all name the same; one that has nothing new holds nobody up. Absent: whoever has a new revision at that time goes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub release: Option<String>,
}

/// Where a member stands, and what it has promised the others.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Name of the group.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How far it is.
    #[serde(default)]
    pub state: GroupState,
    /// The revision to which it could switch at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether it has borne its last common switch for long enough, as far as it is concerned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub borne: bool,
    /// The call of another member that it follows, whatever happens to it, until that is decided or withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<GroupPledge>,
    /// Its own call to all that are ready, which it may still withdraw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<GroupMove>,
    /// The number of its last call.
    #[serde(default)]
    pub called: i64,
    /// When it called last: not all may follow, and nobody is to wait for that for long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub called_at: Option<Timestamp>,
}

/// How far a member is.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum GroupState {
    /// Its revision is not ready to take over.
    #[default]
    Preparing,
    /// It waits for nothing but the others.
    Ready,
    /// It has nothing to switch: the revision of its template serves.
    Idle,
}

/// Members that switch together: as a call, or as the decision.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupMove {
    /// UID of the member that calls.
    pub by: String,
    /// Counts its calls.
    pub number: i64,
    /// Who goes where; absent in a move back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub members: Vec<GroupMember>,
}

impl GroupMove {
    /// Whether a decision can be the one by which a member came to where it is. An older operator in between moves it and leaves the decision.
    pub fn led(&self, uid: &str, to: &str) -> bool {
        self.members.is_empty() || self.members.iter().any(|member| member.uid == uid && member.revision == to)
    }
}

/// One member of a call.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupMember {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The revision to which it switches.
    pub revision: String,
}

/// The promise to follow a call.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPledge {
    /// UID of the member that calls.
    pub by: String,
    /// The number of its call.
    pub number: i64,
    /// The revision to which this one then switches.
    pub revision: String,
}
