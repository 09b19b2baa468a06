//! `ConnectionWatch`: what the controller asks a node's drain agent to count, and the raw counts it answers with.
//!
//! One object a node, named like the node, in the operator's namespace, and only while something there drains. The
//! agent counts, the controller judges: nothing in `status` says "drained".

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which pods of this node are being left, and how often to report.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "bluegreen.dev",
    version = "v1alpha1",
    kind = "ConnectionWatch",
    plural = "connectionwatches",
    shortname = "cwatch",
    namespaced,
    status = "ConnectionWatchStatus",
    derive = "PartialEq",
    doc = "What one node's drain agent counts while pods there are being left. Written by the operator; nothing to edit."
)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionWatchSpec {
    /// Longest time between two reports, in seconds. Transitions (to and from zero, unreadable, a new peer) are reported at once.
    pub report_seconds: i32,
    /// The pods to count, at most 110.
    #[schemars(length(max = 110))]
    pub pods: Vec<WatchedPod>,
}

/// One pod to count.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedPod {
    /// `metadata.uid` of the pod.
    pub uid: String,
    /// Raised by the controller whenever older counts must not be used any more; all counters start again. Echoed in the report.
    pub round: i64,
    /// Container ports that count as open connections, at most 64.
    #[schemars(length(max = 64))]
    pub ports: Vec<i32>,
    /// Networks (CIDR) whose connections never count.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub ignore: Vec<String>,
}

/// The agent's latest report.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionWatchStatus {
    /// Random, made when the agent process starts: a new one means that its history is lost.
    pub boot_id: String,
    /// Rises with every report of this `bootId`.
    pub sequence: i64,
    /// One entry for every pod of `spec` that the agent has sampled in its current round.
    #[schemars(length(max = 110))]
    pub pods: Vec<PodReport>,
}

/// Raw counters of one pod, cumulative since its round began (the first sample taken after the agent saw the round).
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// `metadata.uid` of the pod.
    pub uid: String,
    /// The round these counters belong to.
    pub round: i64,
    /// Samples taken in this round.
    pub samples: i64,
    /// Why the latest sample could not be taken: `NoProcess` or `ReadFailed`. The counters are then those of the last good sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Milliseconds between the first and the last of the latest unbroken run of samples without an open connection on any watched port; absent while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_millis: Option<i64>,
    /// Milliseconds for which the oldest connection that is now open has been seen, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_millis: Option<i64>,
    /// `PassiveOpens` of the pod's network namespace since the round began (RFC 1213 tcpPassiveOpens; /proc/PID/net/snmp): every accepted connection, on any port, loopback included.
    pub passive_opens: i64,
    /// New connections seen that are explained without the watched ports: other ports, loopback, ignored networks.
    pub elsewhere: i64,
    /// One entry a watched port, in the order of the spec.
    #[schemars(length(max = 64))]
    pub ports: Vec<PortReport>,
}

/// Raw counters of one watched port.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    /// The container port.
    pub port: i32,
    /// Open connections now: ESTABLISHED, CLOSE_WAIT, SYN_RECV, FIN_WAIT2 while the application still holds the socket, and FIN_WAIT1, CLOSING, LAST_ACK with unsent or unacknowledged data.
    pub open: i64,
    /// Connections first seen in this round (by peer address and port, in any state, TIME_WAIT included). Those open when the round began are not new.
    pub arrivals: i64,
    /// The peers with most open connections, then with most arrivals; at most five.
    #[schemars(length(max = 5))]
    pub peers: Vec<PeerReport>,
}

/// One peer of a watched port.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// IP address; IPv4 also where the socket is an IPv6 one.
    pub address: String,
    /// Its open connections now.
    pub open: i64,
    /// Its connections first seen in this round.
    pub arrivals: i64,
}
