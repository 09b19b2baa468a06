#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::api::{PeerReport, PortReport};

const HEARTBEAT: Duration = Duration::from_secs(10);

fn pod(open: i64, zero_millis: Option<i64>, peers: &[(&str, i64)]) -> PodReport {
    let peers = peers.iter().map(|(address, arrivals)| PeerReport { address: (*address).into(), open: 0, arrivals: *arrivals }).collect();
    PodReport {
        uid: "a".into(),
        round: 1,
        samples: 1,
        zero_millis,
        ports: vec![PortReport { port: 80, open, arrivals: 0, peers }],
        ..PodReport::default()
    }
}

fn told(pod: &PodReport) -> Told {
    let mut told = Told::default();
    told.told(std::slice::from_ref(pod));
    told
}

#[test]
fn transitions_are_told_and_counts_are_not() {
    let unreadable = |pod: PodReport, why: &str| PodReport { unreadable: Some(why.into()), ..pod };
    let round = |round, pod: PodReport| PodReport { round, ..pod };
    for (what, before, now, expected) in [
        ("nothing", pod(0, Some(0), &[]), pod(0, Some(0), &[]), None),
        ("a longer zero", pod(0, Some(0), &[]), pod(0, Some(999), &[]), None),
        ("zero for a second", pod(0, Some(0), &[]), pod(0, Some(1000), &[]), Some(Why::ZeroForASecond)),
        ("for longer", pod(0, Some(1000), &[]), pod(0, Some(9000), &[]), None),
        ("zero begins again", pod(0, Some(1000), &[]), pod(0, Some(0), &[]), None),
        ("open", pod(0, Some(1000), &[]), pod(1, None, &[]), Some(Why::Open)),
        ("more open", pod(1, None, &[]), pod(7, None, &[]), None),
        ("zero", pod(7, None, &[]), pod(0, Some(0), &[]), Some(Why::Zero)),
        ("a peer", pod(0, Some(0), &[]), pod(0, Some(0), &[("10.0.0.1", 1)]), Some(Why::NewPeer)),
        ("its next connection", pod(0, Some(0), &[("10.0.0.1", 1)]), pod(0, Some(0), &[("10.0.0.1", 2)]), None),
        ("a peer without arrivals", pod(1, None, &[]), pod(1, None, &[("10.0.0.1", 0)]), None),
        ("which then has some", pod(1, None, &[("10.0.0.1", 0)]), pod(1, None, &[("10.0.0.1", 1)]), Some(Why::NewPeer)),
        ("unreadable", pod(0, Some(0), &[]), unreadable(pod(0, Some(0), &[]), "NoProcess"), Some(Why::Unreadable)),
        ("still", unreadable(pod(0, None, &[]), "NoProcess"), unreadable(pod(0, None, &[]), "NoProcess"), None),
        ("for another reason", unreadable(pod(0, None, &[]), "NoProcess"), unreadable(pod(0, None, &[]), "ReadFailed"), Some(Why::Unreadable)),
        ("readable", unreadable(pod(0, None, &[]), "NoProcess"), pod(0, None, &[]), Some(Why::Unreadable)),
        ("another round", pod(0, Some(5000), &[]), round(2, pod(0, Some(0), &[])), Some(Why::FirstOfRound)),
    ] {
        assert_eq!(told(&before).decide(&[now], Duration::ZERO, HEARTBEAT), expected, "{what}");
    }
    assert_eq!(Told::default().decide(&[pod(0, Some(0), &[])], Duration::ZERO, HEARTBEAT), Some(Why::FirstOfRound));
}

#[test]
fn a_heartbeat_comes_when_nothing_changes() {
    let now = pod(3, None, &[]);
    let told = told(&now);
    assert_eq!(told.decide(std::slice::from_ref(&now), HEARTBEAT - Duration::from_millis(1), HEARTBEAT), None);
    assert_eq!(told.decide(std::slice::from_ref(&now), HEARTBEAT, HEARTBEAT), Some(Why::Heartbeat));
    assert_eq!(told.decide(&[], HEARTBEAT, HEARTBEAT), Some(Why::Heartbeat));
}

#[test]
fn peers_told_of_stay_known_and_five_are_enough() {
    let name = |number: i32| format!("10.0.0.{number}");
    let with = |numbers: &[i32]| {
        let names: Vec<String> = numbers.iter().map(|number| name(*number)).collect();
        pod(0, Some(0), &names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>())
    };
    let mut told = told(&with(&[1, 2, 3]));
    // Peer 1 is shown no more, then again.
    told.told(&[with(&[2, 3, 4])]);
    assert_eq!(told.decide(&[with(&[1, 2, 3])], Duration::ZERO, HEARTBEAT), None);
    assert_eq!(told.decide(&[with(&[1, 2, 5])], Duration::ZERO, HEARTBEAT), Some(Why::NewPeer));
    told.told(&[with(&[5])]);
    assert_eq!(told.decide(&[with(&[6, 7, 8])], Duration::ZERO, HEARTBEAT), None);
    // A new round knows nobody.
    told.told(&[PodReport { round: 2, ..with(&[]) }]);
    assert_eq!(told.decide(&[PodReport { round: 2, ..with(&[1]) }], Duration::ZERO, HEARTBEAT), Some(Why::NewPeer));
}

#[test]
fn the_first_of_more_connections_is_told_the_next_ride_on_the_heartbeat() {
    let counted = |arrivals, passive_opens, elsewhere| {
        let mut pod = pod(0, Some(0), &[]);
        pod.ports[0].arrivals = arrivals;
        PodReport { passive_opens, elsewhere, ..pod }
    };
    let mut told = told(&counted(0, 10, 10));
    let decide = |told: &Told, now: PodReport| told.decide(&[now], Duration::ZERO, HEARTBEAT);
    assert_eq!(decide(&told, counted(0, 15, 15)), None, "explained");
    assert_eq!(decide(&told, counted(1, 11, 10)), Some(Why::Arrival), "seen");
    assert_eq!(decide(&told, counted(0, 11, 10)), Some(Why::Arrival), "only counted");
    assert_eq!(decide(&told, counted(1, 0, 0)), Some(Why::Arrival), "half-open");
    told.told(&[counted(0, 11, 10)]);
    assert_eq!(decide(&told, counted(0, 19, 10)), None, "they keep coming");
    told.told(&[counted(0, 19, 10)]);
    told.told(&[counted(0, 19, 10)]);
    assert_eq!(decide(&told, counted(0, 20, 10)), Some(Why::Arrival), "again after a quiet report");
}

#[test]
fn transitions_have_an_allowance() {
    let mut allowance = Allowance::new();
    let mut sent = Vec::new();
    // A pod that goes to zero and back with every sample, ten times a second.
    for tenth in 0..100_u64 {
        let now = Duration::from_millis(tenth * 100);
        if allowance.take(Why::Open, now) {
            sent.push(tenth);
        }
    }
    assert_eq!(sent[..4], [0, 3, 6, 9], "four in the first second, never closer than a quarter of one");
    assert!((12..=14).contains(&sent.len()), "then one a second: {sent:?}");
    // A heartbeat goes out in any case.
    assert!(allowance.take(Why::Heartbeat, Duration::from_millis(9_950)));
    assert!(!allowance.take(Why::Zero, Duration::from_millis(10_000)));
    // After a quiet time there is a burst again.
    let late = (0..20).filter(|step| allowance.take(Why::Open, Duration::from_millis(60_000 + step * 250))).count();
    assert!((7..=9).contains(&late), "{late}");
}

proptest! {
    #[test]
    fn heartbeats_keep_to_a_fifth(seconds in -5..100_000_i32, random in any::<u64>()) {
        let asked = f64::from(seconds.clamp(1, 3600));
        let got = heartbeat(seconds, random).as_secs_f64();
        prop_assert!((asked * 0.7999..=asked * 1.2001).contains(&got));
    }

    #[test]
    fn back_off_doubles_up_to_the_report_time(failures in any::<u32>(), seconds in -5..100_000_i32, random in any::<u64>()) {
        let got = back_off(failures, seconds, random).as_secs_f64();
        let most = f64::from(seconds.clamp(1, 3600));
        let doubled = if failures > 13 { most } else { 2_f64.powi(failures.saturating_sub(1) as i32).min(most) };
        prop_assert!((doubled * 0.4999..=doubled * 1.0001).contains(&got), "{got} {doubled}");
    }
}

#[test]
fn random_numbers_spread() {
    assert_eq!(unit(0), 0.0);
    assert!(unit(u64::MAX) > 0.999_999 && unit(u64::MAX) <= 1.0);
}
