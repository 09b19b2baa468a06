#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::drain_agent::fixture::{listen, row};

fn pod() -> WatchedPod {
    WatchedPod { uid: "pod-a".into(), round: 3, ports: vec![8080, 8443], ignore: vec!["10.9.0.0/16".into()] }
}

fn counter() -> Counter {
    Counter::new(pod())
}

fn namespace(id: u64, passive_opens: u64, rows: &[Row]) -> Namespace {
    let mut all = vec![listen(8080), listen(8443), listen(9090)];
    all.extend(rows);
    Namespace { id, passive_before: passive_opens, passive_after: passive_opens, rows: all }
}

impl Counter {
    /// A sample of one namespace at a time in milliseconds.
    fn sample(&mut self, at: u64, passive_opens: u64, rows: &[Row]) -> PodReport {
        self.add(Duration::from_millis(at), &[namespace(1, passive_opens, rows)]);
        self.report().unwrap()
    }
}

fn established(peer: &str) -> Row {
    row("10.0.0.1:8080", peer, State::Established)
}

/// open, arrivals of port 8080; elsewhere; passive opens
fn counts(report: &PodReport) -> (i64, i64, i64, i64) {
    (report.ports[0].open, report.ports[0].arrivals, report.elsewhere, report.passive_opens)
}

#[test]
fn nothing_to_report_before_the_first_sample() {
    let mut counter = counter();
    assert_eq!(counter.report(), None);
    let report = counter.sample(100, 7, &[]);
    assert_eq!((report.uid.as_str(), report.round, report.samples), ("pod-a", 3, 1));
    assert_eq!((report.zero_millis, report.oldest_millis), (Some(0), None));
    assert_eq!(report.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [8080, 8443]);
}

#[test]
fn what_is_open_when_a_round_begins_is_not_new() {
    let mut counter = counter();
    let old = [established("10.0.1.1:4000"), row("10.0.0.1:8080", "10.0.1.1:3999", State::TimeWait)];
    assert_eq!(counts(&counter.sample(0, 100, &old)), (1, 0, 0, 0));
    let report = counter.sample(500, 101, &[old[0], old[1], established("10.0.1.2:4000")]);
    assert_eq!(counts(&report), (2, 1, 0, 1));
    assert_eq!(report.oldest_millis, Some(500));
    assert_eq!(report.zero_millis, None);
    let peers: Vec<_> = report.ports[0].peers.iter().map(|peer| (peer.address.as_str(), peer.open, peer.arrivals)).collect();
    assert_eq!(peers, [("10.0.1.2", 1, 1), ("10.0.1.1", 1, 0)]);
}

#[test]
fn a_connection_half_made_when_a_round_begins_is_new_once_made() {
    let mut counter = counter();
    let half = row("10.0.0.1:8080", "10.0.1.1:4000", State::SynRecv);
    let report = counter.sample(0, 100, &[half]);
    assert_eq!((counts(&report), report.zero_millis), ((1, 0, 0, 0), None));
    assert_eq!(counts(&counter.sample(500, 101, &[established("10.0.1.1:4000")])), (1, 1, 0, 1));
    // In a later sample it is new at once, and stays the same connection.
    assert_eq!(
        counts(&counter.sample(1000, 101, &[established("10.0.1.1:4000"), row("10.0.0.1:8080", "10.0.1.1:4001", State::SynRecv)])),
        (2, 2, 0, 1)
    );
    assert_eq!(counts(&counter.sample(1500, 102, &[established("10.0.1.1:4000"), established("10.0.1.1:4001")])), (2, 2, 0, 2));
}

#[test]
fn brief_connections_are_seen_by_what_they_leave() {
    let mut counter = counter();
    counter.sample(0, 0, &[]);
    let left = row("10.0.0.1:8080", "10.0.1.1:4000", State::TimeWait);
    let report = counter.sample(500, 1, &[left]);
    assert_eq!((counts(&report), report.zero_millis), ((0, 1, 0, 1), Some(500)));
    assert_eq!(counts(&counter.sample(1000, 1, &[left])), (0, 1, 0, 1));
    // The client uses its port again.
    assert_eq!(counts(&counter.sample(1500, 2, &[established("10.0.1.1:4000")])), (1, 2, 0, 2));
    assert_eq!(counts(&counter.sample(2000, 2, &[left])), (0, 2, 0, 2));
    // Gone and here again is new; gone without a trace only shows in passiveOpens.
    counter.sample(2500, 2, &[]);
    assert_eq!(counts(&counter.sample(3000, 3, &[established("10.0.1.1:4000")])), (1, 3, 0, 3));
    assert_eq!(counts(&counter.sample(3500, 5, &[])), (0, 3, 0, 5));
}

#[test]
fn the_run_of_zeros() {
    let mut counter = counter();
    let open = [established("10.0.1.1:4000")];
    assert_eq!(counter.sample(0, 0, &open).zero_millis, None);
    assert_eq!(counter.sample(500, 0, &[]).zero_millis, Some(0));
    assert_eq!(counter.sample(1600, 0, &[]).zero_millis, Some(1100));
    // Any of the ports ends it.
    let other = [row("10.0.0.1:8443", "10.0.1.1:4000", State::CloseWait)];
    assert_eq!(counter.sample(2000, 0, &other).zero_millis, None);
    assert_eq!(counter.sample(2500, 0, &[]).zero_millis, Some(0));
    // A sample that failed ends it too, and what was counted stays.
    assert_eq!(counter.sample(3000, 0, &[]).zero_millis, Some(500));
    counter.failed(Unreadable::ReadFailed);
    let report = counter.report().unwrap();
    assert_eq!((report.unreadable.as_deref(), report.zero_millis, report.samples), (Some("ReadFailed"), Some(500), 6));
    counter.failed(Unreadable::NoProcess);
    assert_eq!(counter.report().unwrap().unreadable.as_deref(), Some("NoProcess"));
    let report = counter.sample(4000, 0, &[]);
    assert_eq!((report.unreadable, report.zero_millis, report.samples), (None, Some(0), 7));
}

#[test]
fn a_pod_never_read_is_reported_as_that() {
    let mut counter = counter();
    counter.failed(Unreadable::NoProcess);
    let report = counter.report().unwrap();
    assert_eq!((report.samples, report.zero_millis, report.unreadable.as_deref()), (0, None, Some("NoProcess")));
}

#[test]
fn what_does_not_count_explains_passive_opens() {
    let mut counter = counter();
    let mut rows = vec![
        established("127.0.0.1:4000"),
        row("10.0.0.1:8080", "10.0.0.1:4001", State::Established),
        established("10.9.1.1:4002"),
        row("10.0.0.1:9090", "10.0.1.1:4003", State::Established),
        row("10.0.0.1:9090", "10.0.1.1:4004", State::TimeWait),
    ];
    counter.sample(0, 0, &[]);
    let report = counter.sample(500, 5, &rows);
    assert_eq!((counts(&report), report.zero_millis), ((0, 0, 5, 5), Some(500)));
    assert!(report.ports[0].peers.is_empty());
    // None of these was accepted by the pod.
    rows.push(row("10.0.0.1:45000", "10.0.1.9:5432", State::Established));
    rows.push(row("10.0.0.1:9090", "10.0.1.1:4005", State::SynRecv));
    rows.push(row("10.0.0.1:45001", "10.0.1.9:5432", State::SynSent));
    assert_eq!(counts(&counter.sample(1000, 5, &rows)), (0, 0, 5, 5));
    rows[6].state = State::Established;
    assert_eq!(counts(&counter.sample(1500, 6, &rows)), (0, 0, 6, 6));
}

#[test]
fn a_loopback_connection_explains_one_whichever_end_is_seen() {
    let server = |port: u16, state| row("127.0.0.1:9090", &format!("127.0.0.1:{port}"), state);
    let client = |port: u16, state| row(&format!("127.0.0.1:{port}"), "127.0.0.1:9090", state);
    let mut counter = counter();
    counter.sample(0, 0, &[server(4000, State::SynRecv)]);
    assert_eq!(counts(&counter.sample(250, 0, &[server(4000, State::SynRecv)])), (0, 0, 0, 0));
    let both = [client(4000, State::Established), Row { inode: 5, ..server(4000, State::Established) }];
    assert_eq!(counts(&counter.sample(500, 1, &both)), (0, 0, 1, 1));
    assert_eq!(counts(&counter.sample(1000, 1, &[both[1], both[0]])), (0, 0, 1, 1));
    // Only the client's end is left, of that one and of one never seen before.
    let left = [client(4000, State::TimeWait), client(4001, State::TimeWait)];
    assert_eq!(counts(&counter.sample(1500, 2, &left)), (0, 0, 2, 2));
    assert_eq!(counts(&counter.sample(2000, 2, &left)), (0, 0, 2, 2));
    assert_eq!(counts(&counter.sample(2500, 3, &[client(4000, State::Established)])), (0, 0, 3, 3));
}

#[test]
fn connections_count_after_the_listener_has_gone() {
    let mut counter = counter();
    counter.sample(0, 0, &[]);
    let alone = |passive_opens, rows: &[Row]| [Namespace { id: 1, passive_before: passive_opens, passive_after: passive_opens, rows: rows.to_vec() }];
    counter.add(Duration::from_millis(500), &alone(1, &[established("10.0.1.1:4000")]));
    assert_eq!(counts(&counter.report().unwrap()), (1, 1, 0, 1));
}

#[test]
fn what_is_accepted_while_the_first_sample_is_taken_is_not_lost() {
    let mut counter = counter();
    counter.add(Duration::ZERO, &[Namespace { passive_before: 10, ..namespace(1, 12, &[]) }]);
    assert_eq!(counts(&counter.report().unwrap()), (0, 0, 0, 2));
    assert_eq!(counts(&counter.sample(500, 13, &[])), (0, 0, 0, 3));
}

#[test]
fn a_new_sandbox_has_only_new_connections() {
    let rows = [established("10.0.1.1:4000")];
    for (what, id, passive_opens) in [("another namespace", 2, 120), ("the number of the old one", 1, 4)] {
        let mut counter = counter();
        counter.sample(0, 100, &rows);
        counter.sample(500, 100, &[]);
        assert_eq!(counter.sample(1000, 100, &[]).zero_millis, Some(500));
        counter.add(Duration::from_millis(1500), &[namespace(id, passive_opens, &[])]);
        let report = counter.report().unwrap();
        assert_eq!((report.passive_opens, report.zero_millis), (passive_opens as i64, Some(0)), "{what}");
    }
    for (what, id) in [("another namespace", 2), ("the number of the old one", 1)] {
        let mut counter = counter();
        counter.sample(0, 100, &rows);
        counter.add(Duration::from_millis(500), &[namespace(id, 1, &rows)]);
        let report = counter.report().unwrap();
        assert_eq!((counts(&report), report.oldest_millis), ((1, 1, 0, 1), Some(0)), "{what}");
    }
}

#[test]
fn namespaces_of_a_pod_are_counted_together() {
    let mut counter = counter();
    let one = [established("10.0.1.1:4000")];
    counter.add(Duration::ZERO, &[namespace(1, 10, &one), namespace(2, 20, &one)]);
    assert_eq!(counts(&counter.report().unwrap()), (2, 0, 0, 0));
    // One goes, and later one appears: what it counted before it was found counts.
    counter.add(Duration::from_millis(500), &[namespace(1, 11, &[])]);
    assert_eq!(counter.report().unwrap().zero_millis, Some(0));
    counter.add(Duration::from_millis(1000), &[namespace(1, 11, &[]), namespace(3, 2, &[])]);
    let report = counter.report().unwrap();
    assert_eq!((counts(&report), report.zero_millis), ((0, 0, 0, 3), Some(500)));
}

#[test]
fn a_row_that_stands_twice_counts_once() {
    let mut counter = counter();
    counter.sample(0, 0, &[]);
    let twice = [established("10.0.1.1:4000"), established("10.0.1.1:4000"), row("10.0.0.1:8080", "10.0.1.1:4000", State::TimeWait)];
    assert_eq!(counts(&counter.sample(500, 1, &twice)), (1, 1, 0, 1));
}

#[test]
fn a_round_starts_all_counters_again_but_ages_go_on() {
    let mut counter = counter();
    let rows = [established("10.0.1.1:4000")];
    counter.sample(0, 0, &[]);
    counter.sample(500, 1, &rows);
    let mut counter = counter.next_round(WatchedPod { round: 4, ports: vec![8080], ..pod() });
    assert_eq!(counter.report(), None);
    let report = counter.sample(2000, 5, &rows);
    assert_eq!((report.round, report.samples, report.ports.len()), (4, 1, 1));
    assert_eq!((counts(&report), report.oldest_millis), ((1, 0, 0, 0), Some(1500)));
}

#[test]
fn ports_that_are_none_are_left_out_and_double_ones_are_the_same() {
    let mut counter = Counter::new(WatchedPod { ports: vec![70_000, 8080, -1, 8080], ..pod() });
    let report = counter.sample(0, 0, &[established("10.0.1.1:4000")]);
    assert_eq!(report.ports.iter().map(|port| (port.port, port.open)).collect::<Vec<_>>(), [(8080, 1), (8080, 1)]);
}

#[test]
fn many_arrivals_make_it_busy_for_a_while() {
    let mut counter = counter();
    counter.sample(0, 0, &[established("10.0.1.1:1"), established("10.0.1.1:2"), established("10.0.1.1:3")]);
    assert!(!counter.is_busy());
    counter.sample(500, 1, &[established("10.0.1.1:4")]);
    assert!(!counter.is_busy());
    // Seen in no table, only in the counter.
    counter.sample(1000, 5, &[]);
    assert!(counter.is_busy());
    counter.sample(5000, 5, &[]);
    assert!(!counter.is_busy());
    // Explained ones do not make it busy.
    let local: Vec<Row> = (1..9).map(|port| established(&format!("127.0.0.1:{port}"))).collect();
    counter.sample(5500, 13, &local);
    assert!(!counter.is_busy());
}

#[test]
fn many_connections_take_milliseconds() {
    let rows: Vec<Row> = (0..10_000_u32).map(|i| established(&format!("10.1.{}.{}:{}", i / 250 % 250, i % 250, 1024 + i))).collect();
    let mut counter = counter();
    counter.sample(0, 0, &[]);
    let start = std::time::Instant::now();
    counter.sample(500, 10_000, &rows);
    let first = start.elapsed();
    let report = counter.sample(1000, 10_000, &rows);
    println!("10,000 new connections: {first:?}; the same again: {:?}", start.elapsed() - first);
    assert_eq!(counts(&report), (10_000, 10_000, 0, 10_000));
    assert!(start.elapsed().as_millis() < 400, "{:?}", start.elapsed());
}

#[path = "count_properties.rs"]
mod properties;
