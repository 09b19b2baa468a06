//! Conditions: kstatus-compatible, each with a closed list of reasons.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation about a BlueGreenDeployment, in the form of `metav1.Condition`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Why, in one CamelCase word; the list is in the API reference.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Why, in a sentence that needs no log beside it.
    #[schemars(length(max = 512))]
    pub message: String,
    /// The generation of the object that this is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

/// What a condition is about.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum ConditionType {
    /// The revision asked for serves everyone.
    Ready,
    /// A release is under way.
    Reconciling,
    /// The release can't go on by itself, or not as asked.
    Stalled,
    /// The active revision has available pods.
    Available,
    /// The revision asked for passed its smoke probes.
    SmokeTested,
    /// All Services select the revision asked for.
    Switched,
    /// Traffic no longer reaches old pods.
    Converged,
    /// No old pods are left to drain.
    Drained,
}

impl ConditionType {
    /// Every condition, in the order in which status lists them.
    pub const ALL: [ConditionType; 8] =
        [Self::Ready, Self::Reconciling, Self::Stalled, Self::Available, Self::SmokeTested, Self::Switched, Self::Converged, Self::Drained];

    /// The name in `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Available => "Available",
            Self::SmokeTested => "SmokeTested",
            Self::Switched => "Switched",
            Self::Converged => "Converged",
            Self::Drained => "Drained",
        }
    }
}

/// The value of a condition.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It can't be told.
    Unknown,
}
