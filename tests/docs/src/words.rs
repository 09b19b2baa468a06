//! What the schema can't say: what each reason, phase, command and key means. A test compares these lists with the code.

use bluegreen::api::keys::{self, command};
use bluegreen::api::{ConditionType, PhaseName};

/// One reason and what it means.
pub type Reason = (&'static str, &'static str);

/// One condition with its reasons, by status.
pub struct Meaning {
    /// Which.
    pub kind: ConditionType,
    /// What it is about.
    pub about: &'static str,
    /// Reasons while it is True.
    pub yes: &'static [Reason],
    /// Reasons while it is False.
    pub no: &'static [Reason],
    /// Reasons while it is Unknown.
    pub unknown: &'static [Reason],
    /// Where more of them are listed; empty if nowhere.
    pub more: &'static str,
}

/// Every condition.
pub const CONDITIONS: &[Meaning] = &[
    Meaning {
        kind: ConditionType::Ready,
        about: "The revision asked for serves everyone, or it can't be told whether old pods are still reached (the message says so). Old pods that drain don't hold it up.",
        yes: &[("Serving", "The Services select the revision of `spec.template`, and the move has taken effect or can't be measured.")],
        no: &[
            ("Releasing", "A release is under way; the message says how far it is."),
            ("Baking", "The revision serves everyone; `spec.bake` is not over."),
            ("NoReadyPods", "The active revision has no ready pod."),
        ],
        unknown: &[],
        more: "While False also every reason of `Stalled` = True and of `Converged` = False.",
    },
    Meaning {
        kind: ConditionType::Reconciling,
        about: "A release is under way.",
        yes: &[
            ("BringUp", "The incoming revision's pods are starting."),
            ("Smoke", "Its smoke probes run."),
            ("AwaitPromotion", "It waits for the annotation `bluegreen.dev/promote`, or for `promotion.afterSeconds` and `promotion.windows`."),
            ("WaitsForGroup", "It passed, may switch, and waits for other members of `promotion.group`; the message names them."),
            ("Switch", "The Services are being moved."),
            ("Bake", "The revision serves everyone; `spec.bake` is not over."),
            ("Paused", "A release is under way and `spec.paused` holds it."),
        ],
        no: &[("Complete", "Nothing is under way."), ("Stalled", "It can't go on by itself; see `Stalled`.")],
        unknown: &[],
        more: "While True also every reason of `Converged` = False.",
    },
    Meaning {
        kind: ConditionType::Stalled,
        about: "Somebody has to do something, or the release took longer than `spec.progressDeadlineSeconds`. The message names the field or object, and what to write instead.",
        yes: STALLED,
        no: &[("Progressing", "Nothing holds it up. A message, if any, is a hint about `spec.drain.ignorePeers`.")],
        unknown: &[],
        more: "",
    },
    Meaning {
        kind: ConditionType::Available,
        about: "The active revision has available pods: ready for `spec.minReadySeconds`.",
        yes: &[
            ("AllAvailable", "`spec.replicas` of them."),
            ("SomeAvailable", "Fewer than `spec.replicas`, but at least one."),
            ("ScaledToZero", "`spec.replicas` is 0: no pods are wanted."),
        ],
        no: &[
            ("NoneAvailable", "None."),
            ("ScalingFromZero", "None yet, since `spec.replicas` was raised from 0. This is no failure that takes traffic back to an old set."),
            ("NothingActive", "No revision serves yet."),
        ],
        unknown: &[],
        more: "",
    },
    Meaning {
        kind: ConditionType::SmokeTested,
        about: "The revision asked for passed its smoke probes.",
        yes: &[("Passed", "As many pods as the switch needs passed.")],
        no: &[(
            "SmokeFailed",
            "A probe failed `failureThreshold` times in a row; the message names probe, pod and answer. Or the Job of one failed.",
        )],
        unknown: &[
            ("Pending", "The revision is not up yet."),
            ("Running", "The probes run; the message counts the pods that passed."),
            ("NoProbes", "`spec.smokeProbes` is empty."),
        ],
        more: "",
    },
    Meaning {
        kind: ConditionType::Switched,
        about: "All Services select the revision asked for.",
        yes: &[("Moved", "They do."), ("NoServices", "The revision is active; `spec.traffic.services` is empty.")],
        no: &[
            ("Pending", "Another revision has the traffic, or none yet."),
            ("Switching", "The Services are being moved."),
            (
                "Overlapping",
                "With `traffic.cutover: Overlap`: the Services select both revisions; the message counts the new pods that have been endpoints for long enough.",
            ),
            ("ServiceMissing", "A Service does not exist. Created again, it is moved at once."),
            ("SelectorChanged", "Somebody else changed a selector."),
        ],
        unknown: &[],
        more: "",
    },
    Meaning {
        kind: ConditionType::Converged,
        about: "Endpoints have moved, and no old pod accepted an unexplained new connection for `spec.traffic.quietSeconds`.",
        yes: &[("Converged", "So it was observed. It is taken back if an old pod accepts a new connection before it has left.")],
        no: WAITING,
        unknown: &[("Pending", "No traffic was moved yet."), ("Headless", "A Service is headless: clients keep the addresses that DNS gave them.")],
        more: "While Unknown also the reasons of False, once `spec.traffic.convergenceTimeoutSeconds` are over, and the reasons why a pod [can't be measured](#reasons-of-a-drain). The release goes on then.",
    },
    Meaning {
        kind: ConditionType::Drained,
        about: "No old pods are left.",
        yes: &[
            ("NothingDraining", "None are."),
            ("KeptWarm", "They have drained, and stay at full size until `spec.drain.keepWarmSeconds` are over."),
        ],
        no: &[("Baking", "The revision that was left stays as it was until the bake is over.")],
        unknown: &[],
        more: "While False the reason of the first entry of `status.draining`, from the [next list](#reasons-of-a-drain).",
    },
];

/// Reasons of `Stalled` = True.
pub const STALLED: &[Reason] = &[
    ("TemplateRefused", "The API server refuses `spec.template`; its words are in the message."),
    ("QuotaExceeded", "A ResourceQuota refuses the ReplicaSet or its change."),
    ("Forbidden", "The operator's rights, or an admission rule, refuse a write."),
    ("Refused", "The API server refuses another write as invalid."),
    ("HostPort", "A container has a `hostPort`, which bypasses the Service."),
    ("PortUnknown", "A probe or `spec.drain` names a port that does not exist."),
    (
        "PathInvalid",
        "`spec.drain.begin.http.path` or `spec.drain.metric.path` does not begin with `/`, or a path in `jsonPointer` of a smoke probe is no JSON pointer.",
    ),
    ("MetricInvalid", "`spec.drain.metric` names a series or a place in JSON that can't be one."),
    ("UrlInvalid", "The URL of a Prometheus query or a webhook is none, or has a user or a query."),
    ("UrlNotAllowed", "A Prometheus query or a webhook goes to where this operator may not ask (`allowedUrls`, `allowedWebhooks` of its chart)."),
    ("ExecNotAllowed", "A command is to be run in pods, which this operator may not (`allowExec` of its chart)."),
    ("ProxyNotAllowed", "A probe is to go through the API server, which this operator may not do (`allowProxy` of its chart)."),
    ("ContainerUnknown", "A command is to be run in a container that the template does not have."),
    ("SnapshotsNotAllowed", "`spec.configSnapshots` names a kind that this operator may not copy (`configSnapshots` of its chart)."),
    ("ConfigMissing", "A ConfigMap or Secret that `spec.configSnapshots` names does not exist."),
    (
        "ConfigUnreadable",
        "The ConfigMaps or Secrets that `spec.configSnapshots` names can't be read. No release begins before they can; what serves goes on.",
    ),
    ("ConfigUnused", "`spec.configSnapshots` names a ConfigMap or Secret that the template does not refer to."),
    ("ConfigIsCopy", "`spec.configSnapshots` names a copy that an operator made."),
    (
        "ConfigLost",
        "Somebody deleted the copy of a ConfigMap or Secret that the revision needs which serves or is returned to, and it can't be made again: its source holds something else now.",
    ),
    ("HeaderInvalid", "A header of a smoke probe can't be sent, or can't be in any answer."),
    ("WindowInvalid", "A window of `spec.promotion` can't be read, or never opens."),
    (
        "LocalPolicyGap",
        "A Service with `internalTrafficPolicy` or `externalTrafficPolicy` `Local` would lose what arrives at a node that has a ready pod of the active revision and none of the new one. The switch waits; `spec.traffic.allowLocalGap` takes the loss.",
    ),
    (
        "PodsAddressed",
        "By an annotation of a Service a load balancer sends its traffic to pods themselves, and would have no target for some seconds after a move in one write. `spec.traffic.cutover` says what is wanted.",
    ),
    ("BudgetTaken", "With `spec.disruptionBudget`: a PodDisruptionBudget of the object's name is somebody else's."),
    ("BudgetBeside", "With `spec.disruptionBudget`: another PodDisruptionBudget matches the same pods, which then can't be evicted at all."),
    (
        "BudgetDeleting",
        "With `spec.disruptionBudget`: the object's PodDisruptionBudget is being deleted and does not go, as something holds it by a finalizer.",
    ),
    ("BudgetUnreadable", "With `spec.disruptionBudget`: the PodDisruptionBudgets of the namespace can't be read."),
    ("ServiceMissing", "A declared Service does not exist."),
    ("ServiceUnsuitable", "A Service is of type ExternalName, has endpoints not made from a selector, or is headless where an address is needed."),
    ("ServiceOwnedBy", "Another BlueGreenDeployment moves this Service."),
    ("ServiceSelectsOther", "A Service's selector has a label that the template has not."),
    ("ServiceServesOthers", "A Service already serves pods of something else."),
    ("SelectorOwnedBy", "Somebody applies the Service with `spec.selector` by server-side apply, which would remove the revision at every sync."),
    ("ExposedElsewhere", "A Service that is not declared selects the pods of every revision, untested ones too."),
    (
        "Contended",
        "Somebody changes a Service's selector again and again. It is put back with growing pauses; no new switch begins, and untested pods are scaled to zero.",
    ),
    ("SelectorChanged", "Somebody changed a selector while `spec.paused` is true; it stays so."),
    ("IntentLost", "What was recorded contradicts itself; a person must decide which revision serves."),
    ("Unreadable", "Something could not be read; nothing is changed until that works again."),
    ("NoReadyPods", "An interrupted move waits: neither side has enough ready pods."),
    ("RevisionGone", "The revision to return to no longer exists."),
    ("ScaledToZero", "`spec.replicas` is 0, so there are no pods to test."),
    (
        "ProgressDeadlineExceeded",
        "The revision did not become available, its pods did not become endpoints beside the old ones, or a probe of the bake came to no verdict, in time. It goes on by itself when the cause is gone.",
    ),
    ("SmokeFailed", "The revision was rejected by a smoke probe."),
    ("HookFailed", "The revision was rejected, since the Job of a hook before the switch failed; the message says how to run it once more."),
    ("HookRefused", "The Job of a hook or of a probe can't be what it is to be; the message names the field. Asked before the first pod starts."),
    ("Aborted", "The revision was given up by the command abort."),
    ("RolledBack", "A person rolled back; the template asked for is not the one that serves."),
    ("LostAllReadyPods", "After the switch the revision lost its last ready pod, and traffic went back."),
    (
        "BakeFailed",
        "A probe of the bake failed `failureThreshold` times in a row, and traffic went back. If it could not, the message says why, and it goes back as soon as it can.",
    ),
    (
        "GroupWentBack",
        "Another member of `promotion.group`, which had switched together with this one, went back, and so did this one. If it could not, the message says why.",
    ),
];

/// Reasons of `Converged` = False, and, in time, of Unknown.
pub const WAITING: &[Reason] = &[
    ("Switching", "The Services are being moved."),
    ("EndpointsNotMoved", "A Service still has old pods among its endpoints, or no endpoints yet."),
    ("SelectorChanged", "Somebody else changed a selector."),
    ("QuietTime", "No new connection on old pods was seen; the quiet time is not over."),
    ("NewConnectionOnOld", "An old pod accepted a new connection that nothing explains."),
    ("NoReportYet", "The drain agent has not reported about a pod yet."),
    ("AgentSilent", "The drain agent of a node is silent."),
    ("SocketsUnreadable", "The drain agent can't read a pod's sockets."),
];

/// Reasons of `status.draining[].reason` for pods that are measured.
pub const DRAINING: &[Reason] = &[
    ("OpenConnections", "Connections are open on the watched ports."),
    ("MetricTooHigh", "With source Metric: the number of a pod is greater than `spec.drain.metric.atMost`."),
    (
        "MetricUnreadable",
        "With source Metric: a pod's number can't be read; `message` says which, and why. Unknown is not zero: such a pod stays until the deadline.",
    ),
    ("MetricNotRead", "With source Metric: the number of a pod was not read yet, or not for some time."),
    ("NewConnections", "None is open, but unexplained new ones came within the quiet time."),
    ("Settling", "None is open, or the number is low enough; not seen for long enough to be sure."),
    ("Drained", "All pods have drained; the scale-down follows."),
    ("MinimumTime", "All pods have drained; `spec.drain.minimumSeconds` are not over, or the 60 s for which old pods of a headless Service stay."),
    (
        "StillSelected",
        "All pods have drained, or the deadline is over; a Service of `spec.traffic.services` could still lead to them: it contradicts no label of their ReplicaSet's selector. They stay until it does; where it can't be moved the condition Stalled says why.",
    ),
    (
        "StillEndpoint",
        "All pods have drained, or the deadline is over; Kubernetes' controllers have not taken them out of the endpoints of a Service yet, or did less than 3 s ago, so users may still be sent there. They stay until then.",
    ),
    ("KeptWarm", "All pods have drained; they stay at full size until `spec.drain.keepWarmSeconds` are over, for a way back."),
    ("NotToldYet", "All pods have drained; not all of them have got the request of `spec.drain.begin` yet."),
    ("NeverServed", "The pod was made after its set had been left, or never got a node: it never was an endpoint."),
    ("NodeLost", "The node is gone, and the connections with it."),
    ("NoReportYet", "The drain agent has not reported about the pod yet: unknown, so it waits."),
    ("AgentSilent", "The drain agent was heard but is silent now: unknown, so it waits."),
    ("SocketsUnreadable", "The drain agent can't read the pod's sockets: unknown, so it waits."),
];

/// Why a pod can't be measured at all; `spec.drain.fallbackSeconds` decide then.
pub const NOT_MEASURED: &[Reason] = &[
    ("TimerRequested", "`spec.drain.source` is `Timer`."),
    ("AgentDisabled", "The operator runs without the drain agent."),
    ("NoAgentOnNode", "The agent's DaemonSet does not want a pod on that node."),
    ("NodeNotLinux", "The node runs another operating system."),
    ("SandboxedRuntime", "The pod's `runtimeClassName` is not in the chart's `runtimeClasses`: in a sandbox the agent would see nothing."),
    ("HostNetwork", "The pod shares its node's network."),
    ("TooManyPorts", "The Services target more than 64 TCP ports of the pod; name those that matter in `spec.drain.ports`."),
    ("NoPortsToWatch", "No Service targeted a TCP port of the pod, and `spec.drain.ports` is empty."),
];

/// `status.rejected.reason`.
pub const REJECTED: &[&str] = &["SmokeFailed", "HookFailed", "Aborted", "RolledBack", "LostAllReadyPods", "BakeFailed", "GroupWentBack"];

/// Events, besides those that repeat a condition.
pub const EVENTS: &[(&str, &str, &str)] = &[
    ("Normal", "Releasing", "A release reached bring-up, smoke, the wait for promotion or the bake, or is paused."),
    ("Normal", "SmokePassed", "`SmokeTested` became True."),
    ("Warning", "SmokeFailed", "`SmokeTested` became False."),
    ("Normal", "Switched", "`Switched` became True."),
    ("Normal", "Converged", "`Converged` became True."),
    ("Warning", "NotConverged", "`Converged` became Unknown, or was taken back because an old pod accepted a new connection."),
    ("Normal", "Ready", "`Ready` became True."),
    (
        "Normal",
        "Draining",
        "Old pods have open connections, or a metric that is too high. A Warning if the drain agent is silent, can't read, a metric can't be read, or a node was lost.",
    ),
    ("Normal", "Drained", "The last old pods are gone, or have drained and are kept warm."),
    ("Warning", "Stalled", "`Stalled` became True, or has another reason."),
    (
        "Warning",
        "Panicked",
        "A bug of the operator: looking at this object panicked. It is tried again after a growing pause, 30 s at most; other objects go on.",
    ),
    (
        "Warning",
        "PodMetadataRefused",
        "What belongs to a pod's role could not be written on it (`spec.podMetadata`, or the annotations of a draining pod). Nothing else waits for that; it is tried again every 30 s.",
    ),
    ("Normal", "HookSucceeded", "The Job of a hook is complete."),
    ("Warning", "HookSkipped", "A hook did not run, as there was no place for it any more; the message says why."),
    ("Warning", "HookFailed", "The Job of a hook failed, or was deleted before it ended; the message says where its logs are."),
    ("Warning", "SelectorRepaired", "Somebody else changed a selector, named by field manager; it was put back."),
    ("Normal", "ServiceReleased", "A Service is no longer declared and was given back."),
    ("Warning", "PeersUnread", "The pods that `spec.drain.ignorePeers[].podLabels` names can't be looked up; none of them is ignored."),
    ("Warning", "NodeLost", "Old pods were lost with their node, and the connections to them."),
    ("Warning", "DrainDeadline", "Old pods were ended at `spec.drain.deadlineSeconds`, with what was still open."),
    ("Warning", "DrainFinished", "Old pods were ended by the command finish-drain, with what was still open."),
    ("Normal", "Restarting", "The active revision is started anew, under the name that the message has."),
    ("Warning", "CommandIgnored", "A command names another revision than the one it can be for."),
    ("Warning", "NothingToRollBackTo", "There is no such earlier revision."),
];

/// What a phase means.
pub fn phase(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Blocked => "Nothing can be done before something is corrected; `Stalled` says what.",
        PhaseName::BringUp => "The incoming revision's pods are starting.",
        PhaseName::Smoke => "Its smoke probes run.",
        PhaseName::AwaitPromotion => "It passed and waits for a person's word, a time, or its group.",
        PhaseName::Switch => "The Services are being moved.",
        PhaseName::Converge => "The Services are moved; old pods may still be reached.",
        PhaseName::Bake => "The revision serves everyone; the old one stays as it was until `spec.bake` is over.",
        PhaseName::Drain => "Old pods end their connections.",
        PhaseName::Complete => "The revision asked for serves, and nothing is left to do.",
        PhaseName::Rejected => "The revision asked for was given up; the earlier one serves.",
        PhaseName::Paused => "A release is under way and `spec.paused` holds it.",
    }
}

/// Commands: key, value, and what it does.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    (
        command::PROMOTE,
        "`<revision>`",
        "Lets the revision take the traffic (`promotion.mode: Manual`, or before `promotion.afterSeconds` are over and a window is open). Set early it waits until the probes passed. Removed when the revision is active.",
    ),
    (
        command::ABORT,
        "`<revision>`",
        "Gives the revision up. Before the switch traffic is not touched and its pods stay for `onFailure.keepSeconds`; after it traffic goes back to the revision it left.",
    ),
    (command::RETRY, "`<revision>`", "Tries a rejected revision again."),
    (
        command::ROLLBACK,
        "`<from>-<to>`",
        "Leaves the active revision `from` for the earlier revision `to`. If `to` is scaled to zero its pods are started and tested first.",
    ),
    (
        command::RESTART,
        "`<revision>`",
        "Starts the active revision anew: new pods of the same template, under a new name, released like any other revision. Waits while `spec.paused` is true.",
    ),
    (
        command::FINISH_DRAIN,
        "`<revision>`",
        "Ends the drain of the revision now, and the time for which it is kept warm; what is still open is cut. Waits while the revision may have to take over again.",
    ),
];

/// Labels and annotations: key, on what, and what it says.
pub const KEYS: &[(&str, &str, &str)] = &[
    (keys::REVISION, "label of ReplicaSets and pods, key of Service selectors", "The revision; `none` in a selector parks a Service on nobody."),
    (keys::COLOR, "label of ReplicaSets", "`blue` or `green`, in turn."),
    (keys::NAME, "label of ReplicaSets, Jobs and copies of configuration", "The BlueGreenDeployment's name."),
    (keys::COPY_OF, "annotation of ConfigMaps and Secrets", "What it is a copy of (`spec.configSnapshots`)."),
    (keys::HOOK, "label of Jobs", "The field of `spec.hooks` that it is of."),
    (
        keys::ROLE,
        "annotation of ReplicaSets",
        "`serving@n`, `retiring@n` or `retired@n`: the fence between two controllers. `n` is the attempt of `status.switch`.",
    ),
    (
        keys::SWITCH,
        "annotation of Services and ReplicaSets",
        "The move that takes traffic to a revision, as it began: JSON as in `status.switch`, which takes over when the move is done.",
    ),
    (
        keys::WITHDRAWN,
        "annotation of Services",
        "Revisions, space separated, to which the Service is not moved before their ReplicaSet has been fenced: those that are, or were, given up.",
    ),
    (keys::PROOF, "annotation of ReplicaSets", "Which pods passed which smoke probes, and how many pods the switch needs."),
    (keys::TEMPLATE_HASHES, "annotation of ReplicaSets", "Hashes of templates that are known to mean this revision."),
    (keys::RESTARTS, "annotation of ReplicaSets", "How often the template had been started anew when the ReplicaSet was made."),
    (keys::DRAIN_BEGUN, "annotation of ReplicaSets", "UIDs of pods that were told to drain; such pods never serve again."),
    (
        keys::ISSUE,
        "label of ReplicaSets and their pods",
        "Which ReplicaSet of its revision it is, from the second on: the successor of one whose pods leave one by one.",
    ),
    (
        keys::SERVING,
        "label of pods, and in the selector of Services",
        "The move in which two revisions serve together (`spec.traffic.cutover: Overlap`): `<revision>.<number>`. What is left of an earlier move means nothing.",
    ),
    (
        keys::METADATA,
        "annotation of pods",
        "Which labels and annotations the operator has put on the pod because of its role (`spec.podMetadata`), to be taken off with it.",
    ),
    (
        keys::LEFT,
        "annotation of pods",
        "What must be known of the ReplicaSet that the pod leaves (`drain.scaleDown: PerPod`); then its revision's label begins with `left.`.",
    ),
    (
        keys::ADOPTING,
        "annotation of BlueGreenDeployments",
        "`kubectl bluegreen adopt` has made it and is not finished with it; the UID of the Deployment. Until a revision serves, the operator waits and complains of nothing.",
    ),
    (
        keys::EJECTING,
        "annotation of BlueGreenDeployments and Deployments",
        "`kubectl bluegreen eject` is not finished; the UID of the BlueGreenDeployment. The operator does nothing about such an object; `kubectl bluegreen resume` takes it back.",
    ),
    (keys::OWNER, "annotation of Services", "`<name>/<uid>` of the BlueGreenDeployment that moves it."),
    (
        keys::SELECTED,
        "annotation of Services",
        "`<revision>@<attempt>`: what the operator last selected, written in the same request as the selector.",
    ),
];
