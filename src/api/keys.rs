//! Labels and annotations. All begin with `bluegreen.dev/`; users never write them but for the commands.

/// Prefix of every key that belongs to the operator.
pub const PREFIX: &str = "bluegreen.dev/";

/// Label of ReplicaSets and pods, and key of Service selectors: the revision's name hash.
pub const REVISION: &str = "bluegreen.dev/revision";
/// Value of [`REVISION`] in the selector of a Service that must not serve anybody yet.
pub const REVISION_NONE: &str = "none";
/// Label of a ReplicaSet: `blue` or `green`, in turn. Never in a pod template, so that a colour never restarts a pod.
pub const COLOR: &str = "bluegreen.dev/color";
/// Label of a ReplicaSet, a Job or a copy of configuration: the name of its BlueGreenDeployment, for people (`kubectl get rs -l`).
pub const NAME: &str = "bluegreen.dev/name";
/// Label of a Job: the point of the release at which it runs, as the field of `spec.hooks`. Its pods do not have it.
pub const HOOK: &str = "bluegreen.dev/hook";

/// Annotation of a ReplicaSet: `serving@<attempt>` or `retiring@<attempt>`, the fence between two controllers that both believe they lead.
pub const ROLE: &str = "bluegreen.dev/role";
/// Annotation of a Service or of a ReplicaSet: a move as it began ([`crate::api::Switch`]). It is written in the same request as the selector
/// of each Service that is moved, or as the fence, and is the record of the intent until status has it too.
pub const SWITCH: &str = "bluegreen.dev/switch";
/// Annotation of a ReplicaSet: the proof that its smoke probes passed ([`crate::release::Proof`]).
pub const PROOF: &str = "bluegreen.dev/smoke-passed";
/// Annotation of a ReplicaSet: raw template hashes known to mean this revision, space separated.
pub const TEMPLATE_HASHES: &str = "bluegreen.dev/template-hashes";
/// Annotation of a ReplicaSet: UIDs of pods that were told to drain. Its presence makes the set cold: it never serves again with these pods.
pub const DRAIN_BEGUN: &str = "bluegreen.dev/drain-begun";

/// Annotation of a ReplicaSet: how often its template had been started anew by [`command::RESTART`] when it was made; absent from the first.
/// Of several ReplicaSets of one template the latest is what the template means.
pub const RESTARTS: &str = "bluegreen.dev/restarts";

/// Label of a ReplicaSet and its pods: which ReplicaSet of its revision it is; absent from the first. A set whose pods leave one by one has
/// a successor that keeps the template, and with this label in its selector never takes pods that are not its own.
pub const ISSUE: &str = "bluegreen.dev/issue";
/// Annotation of a pod that leaves its ReplicaSet ([`crate::release::Left`]).
pub const LEFT: &str = "bluegreen.dev/left";
/// What the value of [`REVISION`] begins with on a pod that has left its ReplicaSet: no Service that selects the revision leads to it.
pub const LEFT_PREFIX: &str = "left.";

/// Label of pods, and key of Service selectors, while two revisions serve (`traffic.cutover: Overlap`): `<revision>.<attempt>` of the move. Never in
/// a pod template. What is left of an earlier move means nothing.
pub const SERVING: &str = "bluegreen.dev/serving";

/// Annotation of a pod: what was written on it because of its role ([`crate::release::metadata::Record`]), to be taken off again.
pub const METADATA: &str = "bluegreen.dev/metadata";

/// Annotation of a copy of a ConfigMap or Secret: the name of what it is a copy of.
pub const COPY_OF: &str = "bluegreen.dev/copy-of";

/// Annotation of a Service: `<name>/<uid>` of the BlueGreenDeployment that moves it.
pub const OWNER: &str = "bluegreen.dev/owner";
/// Annotation of a Service: `<revision>@<attempt>`, what the owner last selected. It is written in the same request as the selector: where the two differ, somebody else wrote.
pub const SELECTED: &str = "bluegreen.dev/selected";

/// Annotation of a Service: revisions that it may not be moved to without the fence, space separated. A set that never served is scaled to
/// zero only after each Service of the object names it here: so a controller that knows less, and would move a Service to it, fails.
pub const WITHDRAWN: &str = "bluegreen.dev/withdrawn";

/// Annotation of a BlueGreenDeployment that `kubectl bluegreen adopt` has made and not yet finished with; the UID of the Deployment. Until
/// a revision serves, the operator waits and complains of nothing.
pub const ADOPTING: &str = "bluegreen.dev/adopting";
/// Annotation of a BlueGreenDeployment, and of the Deployment that is to follow it, while `kubectl bluegreen eject` is not finished; the UID
/// of the BlueGreenDeployment. The operator does nothing about an object that has it.
pub const EJECTING: &str = "bluegreen.dev/ejecting";
/// Label that the Deployment controller gives the pods of a ReplicaSet (k8s.io/api/apps/v1, `DefaultDeploymentUniqueLabelKey`).
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Commands: annotations of a BlueGreenDeployment whose value names the revision they are for.
pub mod command {
    /// Let the named revision take the traffic (`promotion.mode: Manual`).
    pub const PROMOTE: &str = "bluegreen.dev/promote";
    /// Give the named revision up: before the switch its pods go, after it the traffic goes back.
    pub const ABORT: &str = "bluegreen.dev/abort";
    /// Try the named, rejected revision again.
    pub const RETRY: &str = "bluegreen.dev/retry";
    /// `<from>-<to>`: leave the active revision `from` for the earlier one `to`.
    pub const ROLLBACK: &str = "bluegreen.dev/rollback";
    /// Start the named, active revision anew: new pods of the same template, released like any other revision.
    pub const RESTART: &str = "bluegreen.dev/restart";
    /// End the drain of the named revision now, with whatever is still connected.
    pub const FINISH_DRAIN: &str = "bluegreen.dev/finish-drain";
    /// All of them, in the order they are looked at: giving up goes before going on.
    pub const ALL: [&str; 6] = [ABORT, ROLLBACK, RETRY, PROMOTE, RESTART, FINISH_DRAIN];
}
