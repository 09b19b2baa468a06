//! The whole agent but for its command line: a made-up `/proc`, the real client, and a small API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "fake_api.rs"]
mod fake_api;

use axum::http::StatusCode;
use tokio::task::JoinHandle;

use super::*;
use crate::api::{ConnectionWatchSpec, WatchedPod};
use crate::drain_agent::fixture::{Tree, listen, row};
use crate::drain_agent::table::{Row, State};
use fake_api::{FakeApi, NAMESPACE, NODE, Report};

const UID: &str = "6f0c2a4e-91d3-4f0e-8f5b-0a1b2c3d4e5f";
const OTHER: &str = "11111111-2222-4333-8444-555555555555";

struct Stage {
    tree: Tree,
    api: FakeApi,
    client: kube::Client,
    running: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Stage {
    async fn new() -> Self {
        let tree = Tree::new();
        tree.process(10, 50, &group(UID));
        tree.sockets(10, &[listen(8080)], 100);
        let (api, client) = FakeApi::start().await;
        let running = start(&tree, &client);
        Self { tree, api, client, running }
    }

    /// The agent's process ends and another one starts.
    fn restart(&mut self) {
        self.running.abort();
        self.running = start(&self.tree, &self.client);
    }

    /// Waits for a report after the first `after` ones that is as wanted.
    async fn report(&self, what: &str, after: usize, mut wanted: impl FnMut(&PodReport) -> bool) -> (usize, Report) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let reports = self.api.reports();
            let found = reports.iter().enumerate().skip(after).find(|(_, report)| report.status.pods.iter().any(&mut wanted));
            if let Some((place, report)) = found {
                return (place + 1, report.clone());
            }
            assert!(Instant::now() < deadline, "not within 20 s: {what}; reports: {reports:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until(&self, what: &str, mut condition: impl FnMut(&FakeApi) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition(&self.api) {
            assert!(Instant::now() < deadline, "not within 20 s: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn start(tree: &Tree, client: &kube::Client) -> JoinHandle<()> {
    let start = Instant::now();
    let node = NodeWatch::new(client.clone(), NAMESPACE, NODE);
    tokio::spawn(Agent::new(node, Proc::new(tree.path()), Pulse::new(start), start).run())
}

fn group(uid: &str) -> String {
    format!("0::/kubepods.slice/kubepods-pod{}.slice/cri-containerd-1.scope\n", uid.replace('-', "_"))
}

fn asked(report_seconds: i32, pods: &[(&str, i64)]) -> ConnectionWatchSpec {
    let pod = |(uid, round): &(&str, i64)| WatchedPod { uid: (*uid).into(), round: *round, ports: vec![8080], ignore: vec![] };
    ConnectionWatchSpec { report_seconds, pods: pods.iter().map(pod).collect() }
}

fn connection(state: State) -> Row {
    row("10.0.0.1:8080", "10.0.1.1:40000", state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transitions_are_reported_at_once() {
    let stage = Stage::new().await;
    // A heartbeat far away: every report here has a reason.
    stage.api.ask("object-1", &asked(3600, &[(UID, 1)]));
    let (seen, first) = stage.report("the round's first", 0, |pod| pod.round == 1).await;
    let pod = &first.status.pods[0];
    assert_eq!((pod.uid.as_str(), pod.ports[0].open, pod.passive_opens), (UID, 0, 0));
    let (seen, second) = stage.report("a second without", seen, |pod| pod.zero_millis.is_some_and(|millis| millis >= 1000)).await;
    assert!(second.status.sequence > first.status.sequence && second.status.boot_id == first.status.boot_id);

    stage.tree.sockets(10, &[listen(8080), connection(State::Established)], 101);
    let (seen, report) = stage.report("open", seen, |pod| pod.ports[0].open == 1).await;
    let pod = &report.status.pods[0];
    assert_eq!((pod.zero_millis, pod.ports[0].arrivals, pod.passive_opens), (None, 1, 1));
    assert_eq!((pod.ports[0].peers[0].address.as_str(), pod.ports[0].peers[0].arrivals), ("10.0.1.1", 1));

    stage.tree.sockets(10, &[listen(8080), connection(State::TimeWait)], 101);
    let (seen, report) = stage.report("zero", seen, |pod| pod.ports[0].open == 0).await;
    assert_eq!(report.status.pods[0].ports[0].arrivals, 1);

    stage.api.ask("object-1", &asked(3600, &[(UID, 2)]));
    let (seen, report) = stage.report("another round", seen, |pod| pod.round == 2).await;
    assert_eq!((report.status.pods[0].ports[0].arrivals, report.status.pods[0].passive_opens), (0, 0));

    stage.tree.end(10);
    let (seen, _) = stage.report("no process", seen, |pod| pod.unreadable.as_deref() == Some("NoProcess")).await;
    stage.tree.process(11, 60, &group(UID));
    let (seen, _) = stage.report("found again", seen, |pod| pod.unreadable.is_none()).await;

    // A pod more: the other one's counters go on.
    stage.tree.process(20, 50, &group(OTHER));
    stage.api.ask("object-1", &asked(3600, &[(UID, 2), (OTHER, 7)]));
    let (_, report) = stage.report("both", seen, |pod| pod.uid == OTHER).await;
    assert_eq!(report.status.pods.len(), 2);
    let pod = report.status.pods.iter().find(|pod| pod.uid == UID).unwrap();
    assert!(pod.samples > 1);
    let sequences: Vec<i64> = stage.api.reports().iter().map(|report| report.status.sequence).collect();
    assert!(sequences.is_sorted_by(|one, other| one < other), "{sequences:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_comes_without_a_change_and_only_while_asked() {
    let mut stage = Stage::new().await;
    stage.api.ask("object-1", &asked(1, &[(UID, 1)]));
    stage.report("the first", 0, |_| true).await;
    stage.until("ten reports", |api| api.reports().len() >= 10).await;
    let reports = stage.api.reports();
    // The last ones have no other reason than the time: 1 s, a fifth less at least, on the average over some.
    let last = &reports[3..10];
    let mean = (last[6].at - last[0].at) / 6;
    assert!(mean >= Duration::from_millis(700), "{mean:?}");
    assert!(last.is_sorted_by(|one, other| one.status.sequence < other.status.sequence));

    // A new process is a new history.
    stage.restart();
    let boot_id = reports[0].status.boot_id.clone();
    stage.until("a report of another process", |api| api.reports().last().is_some_and(|report| report.status.boot_id != boot_id)).await;
    let restarted = stage.api.reports().into_iter().find(|report| report.status.boot_id != boot_id).unwrap();
    assert_eq!((restarted.status.sequence, restarted.status.pods[0].samples), (1, 1));

    stage.api.delete();
    // One may have been on its way. Two heartbeats later there is still none.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let until_now = (stage.api.reports().len(), stage.api.refused().len());
    tokio::time::sleep(Duration::from_millis(2600)).await;
    assert_eq!((stage.api.reports().len(), stage.api.refused().len()), until_now);

    // An object made anew is told everything, with the counters of a new history. From the second one on there is no
    // heartbeat that could have told it anyway.
    let mut seen = until_now.0;
    for object in ["object-2", "object-3"] {
        stage.api.ask(object, &asked(3600, &[(UID, 1)]));
        let report;
        (seen, report) = stage.report("the new object's first", seen, |_| true).await;
        // Not the first sample if two reports would come too close to each other.
        assert!(report.status.pods[0].samples <= 3, "{report:?}");
        // Nothing is under way when the object goes: the report before this one has been answered.
        (seen, _) = stage.report("a second without", seen, |pod| pod.zero_millis.is_some_and(|millis| millis >= 1000)).await;
        stage.api.delete();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_reports_are_tried_again_less_and_less() {
    let stage = Stage::new().await;
    stage.api.refuse(Some(StatusCode::FORBIDDEN));
    stage.api.ask("object-1", &asked(3600, &[(UID, 1)]));
    stage.until("four tries", |api| api.refused().len() >= 4).await;
    let tries = stage.api.refused();
    // Half of the doubled waiting time at least.
    for (pair, least) in tries.windows(2).zip([500, 1000, 2000]) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Duration::from_millis(least), "{gap:?}");
    }
    assert!(stage.api.reports().is_empty());
    stage.api.refuse(None);
    let (_, report) = stage.report("accepted at last", 0, |pod| pod.round == 1).await;
    assert!(report.status.sequence > tries[3].status.sequence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_api_server_does_not_stop_the_counting() {
    let stage = Stage::new().await;
    stage.api.hang(true);
    stage.api.ask("object-1", &asked(3600, &[(UID, 1)]));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Comes and goes while no report gets through.
    stage.tree.sockets(10, &[listen(8080), connection(State::Established)], 101);
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.tree.sockets(10, &[listen(8080)], 101);
    stage.api.hang(false);
    let (_, report) = stage.report("after the time limit", 0, |pod| pod.samples >= 5).await;
    let pod = &report.status.pods[0];
    assert_eq!((pod.ports[0].arrivals, pod.passive_opens), (1, 1));
}

#[tokio::test]
async fn a_report_never_lands_in_an_object_made_anew() {
    let (api, client) = FakeApi::start().await;
    api.ask("object-2", &asked(3600, &[(UID, 1)]));
    let node = NodeWatch::new(client, NAMESPACE, NODE);
    let status = ConnectionWatchStatus { boot_id: "b".into(), sequence: 1, pods: vec![] };
    let late = node.clone().report("object-1".into(), status.clone()).await;
    assert!(matches!(late, Err(ReportError::Gone)), "{late:?}");
    assert!(api.reports().is_empty());
    node.report("object-2".into(), status).await.unwrap();
    assert_eq!(api.reports().len(), 1);
}
