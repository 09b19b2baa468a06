//! Counters against a small kernel that lets connections come and go and knows the truth.

use proptest::prelude::*;

use super::super::*;
use crate::drain_agent::fixture::{listen, row};

/// A connection as the kernel has it; `port` is the server's.
#[derive(Clone, Debug)]
struct Live {
    row: Row,
    watched: bool,
    /// Both ends are in the table.
    loopback: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody connects: on a watched port or not, over loopback or not, from one of a few client ports.
    Connect {
        watched: bool,
        loopback: bool,
        client: u16,
    },
    /// The application accepts, the peer closes, and so on: the connection at this place gets a step older.
    Age {
        which: usize,
        server_first: bool,
    },
    /// TIME_WAIT runs out, or a reset.
    Vanish {
        which: usize,
    },
    /// The pod itself connects to somebody.
    Outgoing {
        client: u16,
    },
    Fail,
    Sample {
        after: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..8_usize;
    prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.3), 1..12_u16)
            .prop_map(|(watched, loopback, client)| Step::Connect { watched, loopback, client }),
        4 => (which.clone(), any::<bool>()).prop_map(|(which, server_first)| Step::Age { which, server_first }),
        2 => which.prop_map(|which| Step::Vanish { which }),
        1 => (1..12_u16).prop_map(|client| Step::Outgoing { client }),
        1 => Just(Step::Fail),
        5 => (1..2000_u64).prop_map(|after| Step::Sample { after }),
    ]
}

#[derive(Default)]
struct Kernel {
    live: Vec<Live>,
    outgoing: Vec<Row>,
    passive_opens: u64,
    inode: u64,
    /// Accepted since the round began, on watched ports and elsewhere.
    accepted: (i64, i64),
}

impl Kernel {
    fn connect(&mut self, watched: bool, loopback: bool, client: u16) {
        let (local, peer) = if loopback { ("127.0.0.1", "127.0.0.1") } else { ("10.0.0.1", "10.0.1.1") };
        let port = if watched { 8080 } else { 9090 };
        let row = row(&format!("{local}:{port}"), &format!("{peer}:{}", 40_000 + client), State::Established);
        let same = |live: &Live| live.row.local == row.local && live.row.local_port == row.local_port && live.row.remote_port == row.remote_port;
        if self.live.iter().any(|live| same(live) && live.row.state != State::TimeWait) {
            return;
        }
        self.live.retain(|live| !same(live));
        self.live.push(Live { row: Row { inode: 0, ..row }, watched: watched && !loopback, loopback });
        self.passive_opens += 1;
        if watched && !loopback { self.accepted.0 += 1 } else { self.accepted.1 += 1 }
    }

    fn age(&mut self, which: usize, server_first: bool) {
        self.inode += 1;
        let fresh = self.inode;
        let Some(live) = self.live.get_mut(which) else {
            return;
        };
        let row = &mut live.row;
        match row.state {
            State::Established if row.inode == 0 => row.inode = fresh,
            State::Established if server_first => *row = Row { state: State::FinWait1, inode: 0, tx_queue: 9, ..*row },
            State::Established => row.state = State::CloseWait,
            State::CloseWait => *row = Row { state: State::LastAck, inode: 0, tx_queue: 1, ..*row },
            State::FinWait1 => *row = Row { state: State::FinWait2, tx_queue: 0, ..*row },
            State::FinWait2 => row.state = State::TimeWait,
            _ => self.vanish(which),
        }
    }

    fn vanish(&mut self, which: usize) {
        if which < self.live.len() {
            self.live.remove(which);
        }
    }

    fn namespace(&self) -> Namespace {
        let mut rows = vec![listen(8080), listen(9090)];
        for live in &self.live {
            rows.push(live.row);
            if live.loopback && live.row.state != State::TimeWait {
                let Row { local, local_port, remote, remote_port, state, .. } = live.row;
                rows.push(Row { local: remote, local_port: remote_port, remote: local, remote_port: local_port, state, tx_queue: 0, inode: 1 });
            }
        }
        rows.extend(&self.outgoing);
        Namespace { id: 1, passive_before: self.passive_opens, passive_after: self.passive_opens, rows }
    }

    fn open(&self) -> i64 {
        self.live.iter().filter(|live| live.watched && live.row.is_open()).count() as i64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn counters_keep_to_the_truth(steps in prop::collection::vec(step(), 1..80)) {
        let mut kernel = Kernel::default();
        let mut counter = Counter::new(WatchedPod { uid: "a".into(), round: 1, ports: vec![8080], ignore: vec![] });
        let mut now = Duration::ZERO;
        let mut last: Option<PodReport> = None;
        let mut broken = true;
        for step in steps {
            match step {
                Step::Connect { watched, loopback, client } => kernel.connect(watched, loopback, client),
                Step::Age { which, server_first } => kernel.age(which, server_first),
                Step::Vanish { which } => kernel.vanish(which),
                Step::Outgoing { client } => {
                    let out = row(&format!("10.0.0.1:{}", 50_000 + client), "10.0.1.9:5432", State::Established);
                    kernel.outgoing.retain(|other| other.local_port != out.local_port);
                    kernel.outgoing.push(out);
                }
                Step::Fail => {
                    counter.failed(Unreadable::ReadFailed);
                    broken = true;
                }
                Step::Sample { after } => {
                    now += Duration::from_millis(after);
                    counter.add(now, &[kernel.namespace()]);
                    let report = counter.report().unwrap();
                    if last.is_none() {
                        kernel.accepted = (0, 0);
                    }
                    let port = &report.ports[0];
                    prop_assert_eq!(port.open, kernel.open());
                    prop_assert_eq!(report.passive_opens, kernel.accepted.0 + kernel.accepted.1);
                    // Some come and go between two samples, but what is said to have come has come.
                    prop_assert!(port.arrivals <= kernel.accepted.0, "{:?} {:?}", report, kernel.accepted);
                    prop_assert!(report.elsewhere <= kernel.accepted.1, "{:?} {:?}", report, kernel.accepted);
                    prop_assert_eq!(report.zero_millis.is_some(), port.open == 0);
                    prop_assert_eq!(report.oldest_millis.is_some(), port.open > 0);
                    prop_assert_eq!(port.peers.iter().map(|peer| peer.open).sum::<i64>(), port.open);
                    prop_assert_eq!(port.peers.iter().map(|peer| peer.arrivals).sum::<i64>(), port.arrivals);
                    if let Some(last) = &last {
                        prop_assert!(port.arrivals >= last.ports[0].arrivals && report.elsewhere >= last.elsewhere);
                        prop_assert_eq!(report.samples, last.samples + 1);
                        let expected = match (last.zero_millis, port.open) {
                            (_, 1..) => None,
                            (Some(before), _) if !broken => Some(before + after as i64),
                            _ => Some(0),
                        };
                        prop_assert_eq!(report.zero_millis, expected);
                    }
                    broken = false;
                    last = Some(report);
                }
            }
        }
    }

    /// Whatever stands in the tables, nothing overflows and nothing falls.
    #[test]
    fn counters_never_fall(samples in prop::collection::vec(prop::collection::vec((0..4_u8, 0..4_u8, 0..12_u8, 0..3_u64), 0..20), 1..12), passive in prop::collection::vec(any::<u64>(), 12)) {
        let states = [State::Established, State::SynSent, State::SynRecv, State::FinWait1, State::FinWait2, State::TimeWait, State::Close, State::CloseWait, State::LastAck, State::Listen, State::Closing, State::Unknown];
        let addresses = ["10.0.0.1:8080", "127.0.0.1:9090", "10.0.1.1:8080", "[fd00::1]:9090"];
        let mut counter = Counter::new(WatchedPod { uid: "a".into(), round: 1, ports: vec![8080], ignore: vec!["10.0.1.0/24".into()] });
        let mut last = (0, 0, 0);
        for (number, (rows, passive)) in samples.iter().zip(&passive).enumerate() {
            let rows = rows.iter().map(|(local, remote, state, inode)| Row { inode: *inode, ..row(addresses[usize::from(*local)], addresses[usize::from(*remote)], states[usize::from(*state)]) }).collect();
            counter.add(Duration::from_millis(number as u64), &[Namespace { id: 1, passive_before: *passive, passive_after: *passive, rows }]);
            let report = counter.report().unwrap();
            let now = (report.ports[0].arrivals, report.elsewhere, report.passive_opens);
            prop_assert!(now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2);
            last = now;
        }
    }
}
