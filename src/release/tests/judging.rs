//! Judging raw counts: what is a new connection, what explains it, and what is known of a pod.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::fixtures::*;
use crate::api::{PeerReport, PodReport, PortReport};
use crate::release::judge::{self, PodState, Quiet, judge, quiet};
use crate::release::metric::{About, Reading};
use crate::release::view::View;
use crate::release::*;

/// A pod that is being left, its port named by the switch, with kubelet probes every `periods` seconds.
fn scene(periods: &[i32]) -> (Snapshot, Pod) {
    let mut snapshot = snapshot("v2", &json!({}));
    let mut pod = pod("old", "set-old");
    pod.own_probes = periods.iter().map(|period| OwnProbe { port: PORT, period: *period }).collect();
    snapshot.object.status.switch = Some(
        serde_json::from_value(json!({
            "to": "new", "attempt": 1, "startedAt": "2027-01-15T08:00:00Z", "services": [{"name": "shop", "targetPorts": ["http"]}]
        }))
        .unwrap(),
    );
    snapshot.pods.push(pod.clone());
    (snapshot, pod)
}

fn verdict(snapshot: &Snapshot, pod: &Pod, samples: &[Sample], seconds: f64) -> Quiet {
    quiet(&View::new(snapshot, at(seconds), snapshot.object.status.switch.as_ref(), None), pod, samples)
}

fn state(snapshot: &Snapshot, pod: &Pod, seconds: f64) -> PodState {
    judge(&View::new(snapshot, at(seconds), snapshot.object.status.switch.as_ref(), None), pod)
}

/// Two reports, ten seconds apart: the counters before and after.
fn between(periods: &[i32], before: &PodReport, after: &PodReport) -> Quiet {
    let (snapshot, pod) = scene(periods);
    verdict(&snapshot, &pod, &[sample(0.0, before.clone()), sample(10.0, after.clone())], 10.0)
}

#[test]
fn a_new_connection_is_explained_by_probes_from_one_address_only() {
    let none = report("pod-old", 0, &[], Some(0));
    for (periods, arrivals, expected) in [
        (&[][..], &[][..], Quiet::Yes),
        (&[], &[("10.9.0.1", 1)], Quiet::No),
        // One probe every ten seconds explains two connections in ten seconds, and no third.
        (&[10], &[("10.9.0.1", 2)], Quiet::Yes),
        (&[10], &[("10.9.0.1", 3)], Quiet::No),
        (&[1], &[("10.9.0.1", 11)], Quiet::Yes),
        (&[1], &[("10.9.0.1", 12)], Quiet::No),
        // Two probes share one address.
        (&[10, 5], &[("10.9.0.1", 5)], Quiet::Yes),
        (&[10, 5], &[("10.9.0.1", 6)], Quiet::No),
        // A second peer is nobody's probe, whatever the numbers.
        (&[10], &[("10.9.0.1", 1), ("10.9.0.2", 1)], Quiet::No),
        (&[1], &[("10.9.0.1", 10), ("10.9.0.2", 1)], Quiet::No),
    ] {
        assert_eq!(between(periods, &none, &report("pod-old", 0, arrivals, Some(0))), expected, "{periods:?} {arrivals:?}");
    }
}

#[test]
fn readings_of_a_number_explain_connections_from_one_more_address() {
    let none = report("pod-old", 0, &[], Some(0));
    let metric = |port: i32| json!({"source": "Metric", "metric": {"port": port, "series": "sessions", "periodSeconds": 10}});
    for (port, periods, arrivals, expected) in [
        (PORT, &[][..], &[("10.9.0.1", 2)][..], Quiet::Yes),
        (PORT, &[], &[("10.9.0.1", 3)], Quiet::No),
        (PORT, &[], &[("10.9.0.1", 1), ("10.9.0.2", 1)], Quiet::No),
        (PORT, &[10], &[("10.9.0.1", 2), ("10.9.0.2", 2)], Quiet::Yes),
        (PORT, &[10], &[("10.9.0.1", 2), ("10.9.0.2", 3)], Quiet::No),
        (PORT, &[10], &[("10.9.0.1", 1), ("10.9.0.2", 1), ("10.9.0.3", 1)], Quiet::No),
        // On another port they explain nothing here.
        (PORT + 1, &[], &[("10.9.0.1", 1)], Quiet::No),
    ] {
        let (mut snapshot, pod) = scene(periods);
        let drain: crate::api::Drain = serde_json::from_value(metric(port)).unwrap();
        let about = About { attempt: 1, metric: drain.metric.clone().unwrap(), converged: true, left: true, told: true };
        snapshot.object.spec.drain = drain;
        let samples = [sample(0.0, none.clone()), sample(10.0, report("pod-old", 0, &[("10.9.0.1", 1)], Some(0)))];
        let explained = port == PORT && !periods.is_empty();
        assert!(verdict(&snapshot, &pod, &samples, 10.0) == Quiet::No || explained, "nobody reads yet");
        snapshot.readings.insert(pod.uid.clone(), Reading::after(None, about, at(9.0).mono, Ok(0.0)));
        let samples = [sample(0.0, none.clone()), sample(10.0, report("pod-old", 0, arrivals, Some(0)))];
        assert_eq!(verdict(&snapshot, &pod, &samples, 10.0), expected, "{port} {periods:?} {arrivals:?}");
        // What was too short to be seen is known by number only, on whatever port.
        let mut accepted = none.clone();
        accepted.passive_opens = 2;
        let samples = [sample(0.0, none.clone()), sample(10.0, accepted)];
        assert_eq!(verdict(&snapshot, &pod, &samples, 10.0), Quiet::Yes, "{port}");
    }
}

#[test]
fn only_what_came_in_the_window_counts() {
    let before = report("pod-old", 0, &[("10.9.0.1", 500)], Some(0));
    assert_eq!(between(&[], &before, &before), Quiet::Yes);
    assert_eq!(between(&[], &before, &report("pod-old", 0, &[("10.9.0.1", 501)], Some(0))), Quiet::No);
}

#[test]
fn connections_that_nobody_saw_are_known_by_number() {
    let none = report("pod-old", 0, &[], Some(0));
    let after = |passive_opens, elsewhere| PodReport { passive_opens, elsewhere, ..none.clone() };
    assert_eq!(between(&[], &none, &after(1, 0)), Quiet::No);
    assert_eq!(between(&[], &none, &after(1, 1)), Quiet::Yes, "seen elsewhere");
    assert_eq!(between(&[10], &none, &after(2, 0)), Quiet::Yes, "brief probes");
    assert_eq!(between(&[10], &none, &after(3, 0)), Quiet::No);
    // What was elsewhere before the window explains nothing in it.
    let before = PodReport { elsewhere: 5, passive_opens: 5, ..none.clone() };
    assert_eq!(between(&[], &before, &after(6, 5)), Quiet::No);
}

#[test]
fn a_probe_of_another_port_explains_nothing_on_this_one() {
    let (mut snapshot, mut pod) = scene(&[]);
    pod.own_probes = vec![OwnProbe { port: 9000, period: 1 }];
    snapshot.pods = vec![pod.clone()];
    let samples = [sample(0.0, report("pod-old", 0, &[], Some(0))), sample(10.0, report("pod-old", 0, &[("10.9.0.1", 1)], Some(0)))];
    assert_eq!(verdict(&snapshot, &pod, &samples, 10.0), Quiet::No);
}

#[test]
fn a_list_of_peers_that_was_cut_off_explains_less_never_more() {
    // Eight peers with ten connections each; only five stand in the list, and the prober is not among them before.
    let listed: Vec<(&str, i64)> = vec![("a", 10), ("b", 10), ("c", 10), ("d", 10), ("e", 10)];
    let cut = |listed: &[(&str, i64)], arrivals: i64| {
        let mut report = report("pod-old", 0, listed, Some(0));
        report.ports[0].arrivals = arrivals;
        report.passive_opens = arrivals;
        report
    };
    let before = cut(&listed, 80);
    assert_eq!(between(&[10], &before, &cut(&listed, 80)), Quiet::Yes);
    // A peer that stood in both lists: its share is known.
    let mut one_more = listed.clone();
    one_more[0].1 = 11;
    assert_eq!(between(&[10], &before, &cut(&one_more, 81)), Quiet::Yes);
    // One that was not in the first list may have had all of its number before.
    let mut other = listed.clone();
    other[0] = ("f", 11);
    assert_eq!(between(&[10], &before, &cut(&other, 81)), Quiet::No);
}

#[test]
fn a_window_must_be_full_before_it_is_quiet_and_may_be_loud_at_once() {
    let (snapshot, pod) = scene(&[]);
    let none = report("pod-old", 0, &[], Some(0));
    let one = report("pod-old", 0, &[("10.9.0.1", 1)], Some(0));
    assert_eq!(verdict(&snapshot, &pod, &[], 0.0), Quiet::TooShort);
    assert_eq!(verdict(&snapshot, &pod, &[sample(0.0, none.clone())], 100.0), Quiet::TooShort);
    assert_eq!(verdict(&snapshot, &pod, &[sample(0.0, none.clone()), sample(9.9, none.clone())], 9.9), Quiet::TooShort);
    assert_eq!(verdict(&snapshot, &pod, &[sample(0.0, none.clone()), sample(3.0, one.clone())], 3.0), Quiet::No);
    // The window trails: what came eleven seconds ago is forgotten.
    let samples = [sample(0.0, none.clone()), sample(1.0, one.clone()), sample(11.5, one.clone())];
    assert_eq!(verdict(&snapshot, &pod, &samples, 11.5), Quiet::Yes);
    let samples = [sample(0.0, none), sample(2.0, one.clone()), sample(11.5, one)];
    assert_eq!(verdict(&snapshot, &pod, &samples, 11.5), Quiet::No);
}

#[test]
fn what_is_known_of_a_pod() {
    let quiet_for = |millis| {
        let report = report("pod-old", 0, &[], Some(millis));
        vec![sample(0.0, report.clone()), sample(20.0, report)]
    };
    type Change = Box<dyn Fn(&mut Snapshot)>;
    let table: Vec<(&str, PodState, Change)> = vec![
        ("quiet", PodState::Drained, Box::new(|_| {})),
        (
            "one sample without a connection",
            PodState::Settling,
            Box::new(move |snapshot| drop(snapshot.reports.insert("pod-old".into(), quiet_for(999)))),
        ),
        ("a connection", PodState::Open, Box::new(|snapshot| snapshot.reports.get_mut("pod-old").unwrap()[1].report.ports[0].open = 1)),
        ("a visitor", PodState::NewConnections, Box::new(|snapshot| snapshot.reports.get_mut("pod-old").unwrap()[1].report.passive_opens = 1)),
        ("a window too short", PodState::Settling, Box::new(|snapshot| drop(snapshot.reports.get_mut("pod-old").unwrap().remove(0)))),
        ("no report", PodState::Unknown("NoReportYet"), Box::new(|snapshot| snapshot.reports.clear())),
        (
            "unreadable",
            PodState::Unknown("SocketsUnreadable"),
            Box::new(|snapshot| snapshot.reports.get_mut("pod-old").unwrap()[1].report.unreadable = Some("NoProcess".into())),
        ),
        ("silent", PodState::Unknown("AgentSilent"), Box::new(|snapshot| snapshot.reports.get_mut("pod-old").unwrap()[1].heard = at(13.9).mono)),
        ("just not silent", PodState::Drained, Box::new(|snapshot| snapshot.reports.get_mut("pod-old").unwrap()[1].heard = at(14.0).mono)),
        ("node gone", PodState::NodeLost, Box::new(|snapshot| snapshot.nodes.get_mut("node-1").unwrap().exists = false)),
        ("node unreachable only", PodState::Drained, Box::new(|snapshot| snapshot.nodes.get_mut("node-1").unwrap().unreachable = true)),
        ("never scheduled", PodState::NeverServed, Box::new(|snapshot| snapshot.pods[0].node = None)),
        (
            "born late, not reported",
            PodState::NeverServed,
            Box::new(|snapshot| {
                snapshot.late_pods.insert("pod-old".into());
                snapshot.reports.clear();
            }),
        ),
        (
            "born late, and yet connected",
            PodState::Open,
            Box::new(|snapshot| {
                snapshot.late_pods.insert("pod-old".into());
                snapshot.reports.get_mut("pod-old").unwrap()[1].report.ports[0].open = 1;
            }),
        ),
        (
            "born late, never visited, and silent",
            PodState::NeverServed,
            Box::new(|snapshot| {
                snapshot.late_pods.insert("pod-old".into());
                snapshot.reports.get_mut("pod-old").unwrap()[1].heard = at(13.9).mono;
            }),
        ),
        (
            "born late, visited between two samples, and silent",
            PodState::Unknown("AgentSilent"),
            Box::new(|snapshot| {
                snapshot.late_pods.insert("pod-old".into());
                let latest = &mut snapshot.reports.get_mut("pod-old").unwrap()[1];
                (latest.heard, latest.report.passive_opens) = (at(13.9).mono, 1);
            }),
        ),
        ("no agent installed", PodState::NotMeasured("AgentDisabled"), Box::new(|snapshot| snapshot.agents.enabled = false)),
        ("timer", PodState::NotMeasured("TimerRequested"), Box::new(|snapshot| snapshot.object.spec.drain.source = crate::api::DrainSource::Timer)),
        ("host network", PodState::NotMeasured("HostNetwork"), Box::new(|snapshot| snapshot.pods[0].host_network = true)),
        ("sandbox", PodState::NotMeasured("SandboxedRuntime"), Box::new(|snapshot| snapshot.pods[0].runtime_class = Some("gvisor".into()))),
        (
            "known runtime class",
            PodState::Drained,
            Box::new(|snapshot| {
                snapshot.pods[0].runtime_class = Some("nvidia".into());
                snapshot.agents.runtime_classes.insert("nvidia".into());
            }),
        ),
        ("windows", PodState::NotMeasured("NodeNotLinux"), Box::new(|snapshot| snapshot.nodes.get_mut("node-1").unwrap().linux = false)),
        (
            "a node the DaemonSet does not want",
            PodState::NotMeasured("NoAgentOnNode"),
            Box::new(|snapshot| {
                snapshot.agents.nodes.remove("node-1");
            }),
        ),
        (
            "a DaemonSet that has not settled",
            PodState::Drained,
            Box::new(|snapshot| {
                snapshot.agents.nodes.remove("node-1");
                snapshot.agents.settled = false;
            }),
        ),
        ("no port", PodState::NotMeasured("NoPortsToWatch"), Box::new(|snapshot| snapshot.object.status.switch.as_mut().unwrap().services.clear())),
    ];
    for (name, expected, how) in table {
        let (mut snapshot, _) = scene(&[]);
        snapshot.reports.insert("pod-old".into(), quiet_for(1000));
        how(&mut snapshot);
        let pod = snapshot.pods[0].clone();
        assert_eq!(state(&snapshot, &pod, 20.0), expected, "{name}");
    }
}

#[test]
fn ports_are_those_the_services_targeted_then_or_those_asked_for() {
    let (mut snapshot, mut pod) = scene(&[]);
    let ports =
        |snapshot: &Snapshot, pod: &Pod| judge::watched_ports(&View::new(snapshot, at(0.0), snapshot.object.status.switch.as_ref(), None), pod);
    assert_eq!(ports(&snapshot, &pod), [PORT]);
    pod.mesh_ports = vec![15006, 15008];
    assert_eq!(ports(&snapshot, &pod), [PORT, 15006, 15008]);
    snapshot.object.spec.drain.ports = serde_json::from_value(json!([9090, "http", "unknown", 9090])).unwrap();
    assert_eq!(ports(&snapshot, &pod), [PORT, 9090]);
}

fn counters() -> impl Strategy<Value = Vec<(u8, u8)>> {
    // Per second: which peer, and how many connections.
    prop::collection::vec((0u8..4, 0u8..4), 11..30)
}

/// Reports that follow from a history of arrivals, with the list of peers cut off after `listed`.
fn history(arrivals: &[(u8, u8)], listed: usize) -> Vec<Sample> {
    let mut total = [0i64; 4];
    let mut samples = vec![];
    for (second, (peer, number)) in arrivals.iter().enumerate() {
        total[usize::from(*peer)] += i64::from(*number);
        let mut peers: Vec<PeerReport> =
            total.iter().enumerate().map(|(index, sum)| PeerReport { address: format!("10.9.0.{index}"), open: 0, arrivals: *sum }).collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.arrivals));
        peers.truncate(listed);
        let mut report = report("pod-old", 0, &[], Some(0));
        report.ports = vec![PortReport { port: PORT, open: 0, arrivals: total.iter().sum(), peers }];
        report.passive_opens = total.iter().sum();
        samples.push(sample(f64::from(u32::try_from(second).unwrap()), report));
    }
    samples
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    /// Whatever is cut off, a pod is never called quiet that is not, by the whole truth.
    #[test]
    fn quiet_is_never_claimed_wrongly(arrivals in counters(), listed in 0usize..5, period in 1i32..20) {
        let (snapshot, pod) = scene(&[period]);
        let end = arrivals.len() - 1;
        let samples = history(&arrivals, listed);
        let said = verdict(&snapshot, &pod, &samples, f64::from(u32::try_from(end).unwrap()));
        let mut truth = [0i64; 4];
        for (peer, number) in &arrivals[end - 9..] {
            truth[usize::from(*peer)] += i64::from(*number);
        }
        let sum: i64 = truth.iter().sum();
        let probes = i64::from((10 + period - 1) / period + 1);
        let explained = truth.iter().max().copied().unwrap().min(probes);
        prop_assert!(said != Quiet::TooShort);
        if said == Quiet::Yes {
            prop_assert!(sum <= explained, "{truth:?} with {probes} probes");
        }
        // With the whole list nothing is called loud that is explained.
        if listed == 4 && sum <= explained {
            prop_assert_eq!(said, Quiet::Yes);
        }
    }

    /// More connections never make a pod quieter.
    #[test]
    fn more_connections_are_never_quieter(arrivals in counters(), more in 1u8..9, second in 0usize..10) {
        let (snapshot, pod) = scene(&[10]);
        let end = f64::from(u32::try_from(arrivals.len() - 1).unwrap());
        let before = verdict(&snapshot, &pod, &history(&arrivals, 4), end);
        let mut louder = arrivals.clone();
        let place = louder.len() - 1 - second;
        louder[place].1 += more + 12;
        let after = verdict(&snapshot, &pod, &history(&louder, 4), end);
        prop_assert!(after == Quiet::No, "{before:?} {after:?}");
    }

    /// Without a new connection every full window is quiet, and what came before it does not matter.
    #[test]
    fn silence_is_quiet(before in counters(), seconds in 11u32..40) {
        let (snapshot, pod) = scene(&[]);
        let mut arrivals = before.clone();
        arrivals.extend((0..seconds).map(|_| (0, 0)));
        let end = f64::from(u32::try_from(arrivals.len() - 1).unwrap());
        prop_assert_eq!(verdict(&snapshot, &pod, &history(&arrivals, 2), end), Quiet::Yes);
    }
}
