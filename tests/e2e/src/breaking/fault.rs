//! What is broken, and where in a release.

use bluegreen::api::PhaseName;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing: what the others are compared with.
    Nothing,
    /// The leader is killed (-9).
    OperatorKilled,
    /// The leader is stopped (SIGSTOP) until another one leads, and then goes on where it was.
    OperatorStopped,
    /// Nobody answers for 30 s.
    ApiServerAway,
    /// The store is killed, and is back after 3 s.
    EtcdKilled,
    /// ReplicaSets, endpoints and nodes are looked after by nobody for 3 s.
    ControllersKilled,
    /// A kubelet is stopped (SIGSTOP) for 8 s.
    KubeletStopped,
    /// A node loses its power, and is back as soon as it can be: with new pods on it before the switch, with old pods after it.
    NodeKilled,
    /// The drain agent of one node is killed (-9).
    AgentKilled,
    /// Somebody takes the revision out of the Service's selector.
    SelectorEdited,
    /// Somebody takes the whole selector out of the Service.
    SelectorEmptied,
    /// `kubectl replace` of the Service by what stands in Git: a bare selector, and none of the operator's annotations.
    ServiceReplaced,
    /// The Service is deleted, and made again a second later without a selector.
    ServiceRemade,
    /// Somebody deletes an old pod, with the connection that it has.
    OldPodDeleted,
    /// Somebody deletes a new pod.
    NewPodDeleted,
    /// Somebody deletes the old ReplicaSet, with all its pods.
    OldSetDeleted,
    /// Somebody deletes the new ReplicaSet, with all its pods.
    NewSetDeleted,
}

/// Where the release stands when it happens.
pub const PHASES: [PhaseName; 5] = [PhaseName::BringUp, PhaseName::Smoke, PhaseName::AwaitPromotion, PhaseName::Converge, PhaseName::Drain];

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Nothing,
        Self::OperatorKilled,
        Self::OperatorStopped,
        Self::ApiServerAway,
        Self::EtcdKilled,
        Self::ControllersKilled,
        Self::KubeletStopped,
        Self::NodeKilled,
        Self::AgentKilled,
        Self::SelectorEdited,
        Self::SelectorEmptied,
        Self::ServiceReplaced,
        Self::ServiceRemade,
        Self::OldPodDeleted,
        Self::NewPodDeleted,
        Self::OldSetDeleted,
        Self::NewSetDeleted,
    ];

    /// Where it makes sense: whoever deletes all pods that serve cuts their users off, whatever an operator does.
    pub fn phases(self) -> Vec<PhaseName> {
        let served_by_new = |phase: &PhaseName| matches!(phase, PhaseName::Converge | PhaseName::Drain);
        let possible = |phase: &PhaseName| match self {
            Self::OldSetDeleted => served_by_new(phase),
            Self::NewSetDeleted => !served_by_new(phase),
            _ => true,
        };
        PHASES.into_iter().filter(possible).collect()
    }

    /// Whether it concerns the whole cluster, and so every release on it at once.
    pub fn of_the_cluster(self) -> bool {
        match self {
            Self::Nothing
            | Self::OperatorKilled
            | Self::OperatorStopped
            | Self::ApiServerAway
            | Self::EtcdKilled
            | Self::ControllersKilled
            | Self::KubeletStopped
            | Self::NodeKilled
            | Self::AgentKilled => true,
            Self::SelectorEdited
            | Self::SelectorEmptied
            | Self::ServiceReplaced
            | Self::ServiceRemade
            | Self::OldPodDeleted
            | Self::NewPodDeleted
            | Self::OldSetDeleted
            | Self::NewSetDeleted => false,
        }
    }

    /// Whether somebody else points the Service at other pods: until it is put back, they answer.
    pub fn moves_traffic(self) -> bool {
        matches!(self, Self::SelectorEdited | Self::SelectorEmptied | Self::ServiceReplaced)
    }

    /// Whether pods that serve are deleted: the sample app ends at once when it is told to, so these wait a moment before they are told.
    pub fn deletes_pods(self) -> bool {
        matches!(self, Self::OldPodDeleted | Self::NewPodDeleted | Self::OldSetDeleted | Self::NewSetDeleted)
    }
}

/// What a cell is called.
pub fn name(fault: Fault, phase: PhaseName) -> String {
    format!("{fault:?}/{phase:?}")
}
