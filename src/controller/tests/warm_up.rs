//! Requests before the verdict.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use futures::future::BoxFuture;
use serde_json::json;

use super::super::fake::{Stage, key};
use super::super::prober::Prober;
use super::*;
use crate::api::{ProbeResult, SmokeProbe};
use crate::probe::{Check, Number, Question};
use crate::release::action::{ProbeRun, SmokeRun};

type Answer = Box<dyn Fn(usize) -> (u64, Result<(), Failure>) + Send + Sync>;

/// Pods that note when they were asked, and answer as is said here for the first, the second, and so on of each: after how many milliseconds, and what.
struct Pods {
    asked: Mutex<HashMap<SocketAddr, Vec<Instant>>>,
    under_way: Mutex<HashMap<SocketAddr, usize>>,
    most: Mutex<usize>,
    most_of_all: Mutex<usize>,
    answer: Answer,
}

impl Prober for Pods {
    fn attempt<'a>(&'a self, _: &'a Check, address: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let number = {
                let mut asked = self.asked.lock().unwrap();
                let of_pod = asked.entry(address).or_default();
                of_pod.push(Instant::now());
                of_pod.len() - 1
            };
            {
                let mut under_way = self.under_way.lock().unwrap();
                *under_way.entry(address).or_default() += 1;
                let mut most = self.most.lock().unwrap();
                *most = under_way[&address].max(*most);
                let mut most_of_all = self.most_of_all.lock().unwrap();
                *most_of_all = under_way.values().sum::<usize>().max(*most_of_all);
            }
            let (millis, outcome) = (self.answer)(number);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            *self.under_way.lock().unwrap().get_mut(&address).unwrap() -= 1;
            outcome
        })
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody asks") })
    }

    fn read<'a>(&'a self, _: &'a str, _: &'a Number, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        Box::pin(async { panic!("nobody reads") })
    }

    fn tell<'a>(&'a self, _: &'a str, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody is told") })
    }
}

impl Pods {
    fn stage(answer: impl Fn(usize) -> (u64, Result<(), Failure>) + Send + Sync + 'static) -> (Arc<Self>, Stage) {
        let pods = Arc::new(Self {
            asked: Mutex::default(),
            under_way: Mutex::default(),
            most: Mutex::default(),
            most_of_all: Mutex::default(),
            answer: Box::new(answer),
        });
        let stage = Stage::with_pods(pods.clone());
        stage.context.tasks.at_home(stage.context.clone());
        (pods, stage)
    }

    /// How many were sent to one pod, and to all of them.
    fn sent(&self, number: u8) -> usize {
        self.asked.lock().unwrap().get(&address(number)).map_or(0, Vec::len)
    }

    fn all(&self) -> Vec<Instant> {
        let mut all: Vec<Instant> = self.asked.lock().unwrap().values().flatten().copied().collect();
        all.sort();
        all
    }
}

fn address(number: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, number), 80).into()
}

/// A probe with a warm-up of so many pods.
fn warmed(to_per_second: i32, over: i32, pods: u8) -> SmokeRun {
    let probe = json!({"name": "home", "httpGet": {"port": 80}, "warmUp": {"toPerSecond": to_per_second, "seconds": over}});
    let probe: SmokeProbe = serde_json::from_value(probe).unwrap();
    let run = |number: u8| ProbeRun {
        probe: probe.clone(),
        pod: Some(number.to_string()),
        target: format!("pod-{number}"),
        address: Some(address(number)),
        body: None,
    };
    SmokeRun { set_uid: "s".into(), probes: "h".into(), runs: (0..pods).map(run).collect(), persistent: false, endless: false }
}

fn begin(stage: &Stage, uid: &str, wanted: &SmokeRun) {
    stage.context.tasks.probe(&stage.context, &key(), uid, &[wanted]);
}

fn seen(stage: &Stage) -> (ProbeResult, String) {
    stage.context.remember("u", |remembered| remembered.probes.first().map(|known| (known.result, known.message.clone()))).unwrap()
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn refused() -> Result<(), Failure> {
    Err(Failure::ConnectionRefused { what: "GET /".into() })
}

#[tokio::test(start_paused = true)]
async fn requests_come_at_a_rising_rate_and_then_the_probe_decides() {
    let (pods, mut stage) = Pods::stage(|_| (2, Ok(())));
    begin(&stage, "u", &warmed(50, 20, 1));
    let mut before = 0;
    for (second, most) in (1..=20).zip((1..).map(|second: usize| 4 + 5 * second / 2)) {
        pass(1.0).await;
        let sent = pods.sent(0);
        assert!((most - 5..=most).contains(&(sent - before)), "{} in second {second}", sent - before);
        before = sent;
        if second == 11 {
            // Said at ten seconds, and not since.
            assert_eq!(seen(&stage), (ProbeResult::Running, "warming up: 133 of 510 requests".into()));
        }
    }
    assert_eq!(before, 511);
    // Looked at, and with that written, every five seconds.
    let looks = std::iter::from_fn(|| stage.wakes.try_recv().ok()).count();
    assert!((3..=5).contains(&looks), "{looks}");
    pass(4.0).await;
    assert_eq!((pods.sent(0), seen(&stage)), (513, (ProbeResult::Passed, String::new())));
    assert_eq!(stage.context.remember("u", |remembered| remembered.probes[0].attempts), 3);
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_is_a_failure_and_the_warm_up_begins_anew() {
    let (pods, stage) = Pods::stage(|number| (2, if number == 30 { refused() } else { Ok(()) }));
    begin(&stage, "u", &warmed(10, 10, 1));
    pass(7.5).await;
    let (result, message) = seen(&stage);
    assert_eq!((result, pods.sent(0)), (ProbeResult::Running, 31));
    assert!(message.starts_with("while it was warmed up, after 30 good answers: GET /: connection refused"), "{message}");
    pass(20.0).await;
    assert_eq!((pods.sent(0), seen(&stage).0), (31 + 55 + 3, ProbeResult::Passed));

    // However many answers are good in between.
    let (pods, stage) = Pods::stage(|number| (2, if number % 31 == 30 { refused() } else { Ok(()) }));
    begin(&stage, "u", &warmed(10, 10, 1));
    pass(60.0).await;
    assert_eq!((pods.sent(0), seen(&stage).0), (3 * 31, ProbeResult::Failed));
    assert_eq!(stage.context.remember("u", |remembered| remembered.probes[0].attempts), 3);
}

/// What could not be tried from here is tried again, and the rest goes on from there.
#[tokio::test(start_paused = true)]
async fn what_is_missing_here_is_not_held_against_a_pod() {
    let missing = || Err(Failure::NotTried { what: "GET /".into(), why: "no file descriptor is free; raise the controller's limit" });
    let (pods, stage) = Pods::stage(move |number| (2, if (20..40).contains(&number) { missing() } else { Ok(()) }));
    begin(&stage, "u", &warmed(10, 10, 1));
    pass(11.0).await;
    let (result, message) = seen(&stage);
    assert!(result == ProbeResult::Running && message.contains("of 55 requests; GET /: could not try from here"), "{message}");
    pass(60.0).await;
    assert_eq!((pods.sent(0), seen(&stage)), (55 + 20 + 3, (ProbeResult::Passed, String::new())));
}

#[tokio::test(start_paused = true)]
async fn a_slow_pod_is_warmed_up_at_its_own_pace() {
    let (pods, stage) = Pods::stage(|_| (1000, Ok(())));
    begin(&stage, "u", &warmed(100, 10, 1));
    pass(20.0).await;
    assert_eq!((*pods.most.lock().unwrap(), seen(&stage).0), (OF_POD, ProbeResult::Running));
    pass(30.0).await;
    assert_eq!((pods.sent(0), seen(&stage).0), (505 + 3, ProbeResult::Passed));
}

/// With hundreds of pods the controller sends no more than it can bear, and other probes of the same object are not kept from their turn.
#[tokio::test(start_paused = true)]
async fn the_sum_of_all_requests_is_bounded() {
    let (pods, stage) = Pods::stage(|_| (20, Ok(())));
    let begun = Instant::now();
    for object in 0..5 {
        begin(&stage, &format!("u{object}"), &warmed(200, 10, 50));
    }
    // Held by two pods of each object.
    pass(9.0).await;
    assert_eq!(pods.asked.lock().unwrap().len(), 2);
    let mut plain = warmed(1, 1, 201);
    plain.probes = "plain".into();
    plain.runs.drain(..200);
    plain.runs[0].probe.warm_up = None;
    let warming = warmed(200, 10, 50);
    stage.context.tasks.probe(&stage.context, &key(), "u0", &[&warming, &plain]);
    pass(5.0).await;
    assert_eq!(pods.sent(200), 3, "a probe without a warm-up has waited");
    pass(10.0).await;
    let all = pods.all();
    for second in 0..24 {
        let from = begun + Duration::from_secs(second);
        let sent = all.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(at)).count();
        assert!(sent <= 1001, "{sent} in second {second}");
    }
    // Its fill is used: 20 s of 1000 a second, less what the rise leaves free.
    assert!(all.len() > 12_000, "{}", all.len());
    // Objects that end leave nothing behind.
    stage.context.tasks.end();
    pass(1.0).await;
    let sent = pods.all().len();
    pass(10.0).await;
    assert_eq!(pods.all().len(), sent);
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_object_take_turns() {
    let (pods, stage) = Pods::stage(|_| (5, Ok(())));
    begin(&stage, "u", &warmed(200, 10, 6));
    for (after, reached) in [(9.0, 2), (10.0, 4), (11.0, 6)] {
        pass(after).await;
        assert_eq!(pods.asked.lock().unwrap().len(), reached);
    }
    let (_, message) = stage.context.remember("u", |remembered| {
        let waits = remembered.probes.iter().find(|known| known.message.contains("after other pods"));
        (waits.is_some(), remembered.probes.iter().map(|known| known.message.clone()).collect::<Vec<_>>())
    });
    pass(10.0).await;
    assert!((0..6).all(|number| pods.sent(number) == 1005 + 3), "{message:?}");
}

/// Pods that are slow all together leave turns to other probes of the same object.
#[tokio::test(start_paused = true)]
async fn slow_pods_do_not_take_all_turns() {
    let (pods, stage) = Pods::stage(|_| (4000, Ok(())));
    let warming = warmed(20, 10, 20);
    begin(&stage, "u", &warming);
    pass(30.0).await;
    assert_eq!(*pods.most_of_all.lock().unwrap(), OF_ONE);
    let mut plain = warmed(1, 1, 201);
    plain.probes = "plain".into();
    plain.runs.drain(..200);
    plain.runs[0].probe.warm_up = None;
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&warming, &plain]);
    pass(0.1).await;
    assert_eq!(pods.sent(200), 1);
}
