#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::drain_agent::fixture::{Tree, listen, row};
use crate::drain_agent::table::State;

const UID: &str = "6f0c2a4e-91d3-4f0e-8f5b-0a1b2c3d4e5f";
const OTHER: &str = "11111111-2222-4333-8444-555555555555";

fn group(uid: &str) -> String {
    format!("0::/kubepods/pod{uid}/x\n")
}

fn watched() -> BTreeSet<String> {
    BTreeSet::from([UID.to_owned(), OTHER.to_owned()])
}

/// Samples both pods: the number of rows, or why not.
fn sample(sampler: &mut Sampler) -> BTreeMap<String, Result<usize, Unreadable>> {
    let due: Vec<String> = watched().into_iter().collect();
    sampler
        .sample(&due, &watched())
        .into_iter()
        .map(|sampled| (sampled.uid, sampled.result.map(|all| all.iter().map(|namespace| namespace.rows.len()).sum())))
        .collect()
}

#[test]
fn a_pod_that_moves_to_another_process_is_followed() {
    let tree = Tree::new();
    tree.process(10, 50, &group(UID));
    tree.sockets(10, &[listen(80)], 1);
    tree.process(20, 50, &group(OTHER));
    let mut sampler = Sampler::new(Proc::new(tree.path()), Instant::now());
    assert_eq!(sample(&mut sampler), BTreeMap::from([(UID.into(), Ok(1)), (OTHER.into(), Ok(0))]));

    // The process ends while another one keeps the namespace.
    tree.process(11, 60, &group(UID));
    tree.sockets(11, &[listen(80), row("10.0.0.1:80", "10.0.0.2:4000", State::Established)], 1);
    tree.end(10);
    assert_eq!(sample(&mut sampler)[UID], Ok(2));

    tree.end(11);
    assert_eq!(sample(&mut sampler), BTreeMap::from([(UID.into(), Err(Unreadable::NoProcess)), (OTHER.into(), Ok(0))]));
    std::fs::write(tree.net(20, "tcp"), "nonsense\n").unwrap();
    assert_eq!(sample(&mut sampler)[OTHER], Err(Unreadable::ReadFailed));
}

#[test]
fn a_pod_without_processes_is_searched_less_and_less() {
    let tree = Tree::new();
    tree.process(20, 50, &group(OTHER));
    // A clock that began long ago, so that nothing but the search is due.
    let mut sampler = Sampler::new(Proc::new(tree.path()), Instant::now());
    assert_eq!(sample(&mut sampler)[UID], Err(Unreadable::NoProcess));
    let (first, wait) = sampler.absent[UID];
    assert!(first >= SEARCH_AGAIN && wait == SEARCH_AGAIN * 2);

    // Not before the second is over, and then found.
    tree.process(10, 50, &group(UID));
    assert_eq!(sample(&mut sampler)[UID], Err(Unreadable::NoProcess));
    sampler.absent.insert(UID.into(), (Duration::ZERO, wait));
    assert_eq!(sample(&mut sampler)[UID], Ok(0));
    assert!(!sampler.absent.contains_key(UID));

    tree.end(10);
    for _ in 0..8 {
        let wait = sampler.absent.get(UID).map_or(SEARCH_AGAIN, |(_, wait)| *wait);
        sampler.absent.insert(UID.into(), (Duration::ZERO, wait));
        sample(&mut sampler);
    }
    assert_eq!(sampler.absent[UID].1, SCAN_EVERY);
}

#[test]
fn another_namespace_of_a_pod_is_found_in_time() {
    let tree = Tree::new();
    tree.process(10, 50, &group(UID));
    tree.process(20, 50, &group(OTHER));
    let mut sampler = Sampler::new(Proc::new(tree.path()), Instant::now());
    assert_eq!(sample(&mut sampler)[UID], Ok(0));
    tree.process(11, 60, &group(UID));
    tree.sockets(11, &[listen(80)], 1);
    assert_eq!(sample(&mut sampler)[UID], Ok(0));
    sampler.start -= SCAN_EVERY;
    assert_eq!(sample(&mut sampler)[UID], Ok(1));
}

#[test]
fn processes_that_cannot_be_listed_are_not_absent() {
    let tree = Tree::new();
    let mut sampler = Sampler::new(Proc::new(tree.path().join("missing")), Instant::now());
    assert_eq!(sample(&mut sampler)[UID], Err(Unreadable::ReadFailed));
}

#[test]
fn pods_not_watched_any_more_are_forgotten() {
    let tree = Tree::new();
    tree.process(10, 50, &group(UID));
    let mut sampler = Sampler::new(Proc::new(tree.path()), Instant::now());
    sample(&mut sampler);
    assert!(sampler.known.contains_key(UID) && sampler.absent.contains_key(OTHER));
    sampler.sample(&[], &BTreeSet::new());
    assert!(sampler.known.is_empty() && sampler.absent.is_empty());
}
