//! Which probes run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::super::fake::{Stage, key};
use super::*;
use crate::api::{ProbeResult, SmokeProbe};
use crate::probe::{Check, Number, Question};

fn run(address: &str) -> SmokeRun {
    let probe: SmokeProbe = serde_json::from_value(serde_json::json!({"name": "up", "tcpSocket": {"port": 9}, "target": "PreviewService"})).unwrap();
    let run =
        ProbeRun { probe, pod: None, target: "preview".into(), address: Some(std::net::SocketAddr::new(address.parse().unwrap(), 9)), body: None };
    SmokeRun { set_uid: "s".into(), probes: "h".into(), runs: vec![run], persistent: false, endless: false }
}

#[tokio::test(start_paused = true)]
async fn a_probe_follows_a_service_that_was_made_again() {
    let (_, stage) = holding();
    let where_to = || {
        let all = stage.context.tasks.probes.lock().unwrap();
        all["u"].keys().map(|(_, address)| address.unwrap().ip().to_string()).collect::<Vec<_>>()
    };
    for address in ["10.0.0.7", "10.0.0.7", "10.0.0.8"] {
        stage.context.tasks.probe(&stage.context, &key(), "u", &[&run(address)]);
        assert_eq!(where_to(), [address]);
    }
    stage.context.tasks.probe(&stage.context, &key(), "u", &[]);
    assert!(stage.context.tasks.probes.lock().unwrap().is_empty());
}

/// Pods that hold every attempt and call until they are let go, and how many were there at once.
#[derive(Default)]
struct Holding {
    asked: Mutex<Vec<SocketAddr>>,
    now: Mutex<HashMap<SocketAddr, usize>>,
    most: AtomicUsize,
    go: Notify,
}

impl Holding {
    async fn hold(&self, address: SocketAddr) -> Result<(), Failure> {
        let gone = self.go.notified();
        self.asked.lock().unwrap().push(address);
        let sum = {
            let mut now = self.now.lock().unwrap();
            *now.entry(address).or_default() += 1;
            now.values().sum()
        };
        self.most.fetch_max(sum, Ordering::Relaxed);
        gone.await;
        *self.now.lock().unwrap().get_mut(&address).unwrap() -= 1;
        Err(Failure::ConnectionRefused { what: "TCP".into() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Prober for Holding {
    fn attempt<'a>(&'a self, _: &'a Check, address: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.hold(address))
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody asks") })
    }

    fn read<'a>(&'a self, _: &'a str, _: &'a Number, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        Box::pin(async { panic!("nobody reads") })
    }

    fn tell<'a>(&'a self, _: &'a str, address: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.hold(address))
    }
}

fn holding() -> (Arc<Holding>, Stage) {
    let pods = Arc::new(Holding::default());
    let stage = Stage::with_pods(pods.clone());
    stage.context.tasks.at_home(stage.context.clone());
    (pods, stage)
}

#[tokio::test(start_paused = true)]
async fn a_probe_through_a_service_waits_until_nodes_have_followed() {
    let (pods, stage) = holding();
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&run("10.0.0.7")]);
    tokio::time::sleep(FOLLOW - Duration::from_millis(100)).await;
    assert_eq!(pods.asked(), 0, "a pod of the former revision might have answered");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(pods.asked(), 1);
    // Nobody listens there, and that is told, too.
    pods.go.notify_waiters();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stage.context.remember("u", |remembered| remembered.probes.len()), 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_pod_can_be_nothing_is_sent_and_that_is_said_once() {
    let (pods, mut stage) = holding();
    let probes = |stage: &Stage| stage.context.remember("u", |remembered| remembered.probes.clone());
    for (address, pod) in [("169.254.169.254", Some("p".to_owned())), ("127.0.0.1", None)] {
        let mut wanted = run(address);
        wanted.runs[0].pod = pod;
        for _ in 0..3 {
            stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let [known] = probes(&stage).try_into().unwrap();
        assert_eq!((known.result, known.attempts), (ProbeResult::Running, 0));
        assert!(known.message.starts_with("nothing is sent there: ") && known.message.contains(address), "{}", known.message);
        assert_eq!(std::iter::from_fn(|| stage.wakes.try_recv().ok()).count(), 1);
    }
    // What was wrong is put right: the pod has an address now.
    let mut wanted = run("10.0.0.7");
    wanted.runs[0].pod = Some("p".into());
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(pods.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_to_drain_where_no_pod_can_be() {
    let (pods, stage) = holding();
    let call = |address: &str| BeginCall {
        pod: address.into(),
        name: "p".into(),
        how: Telling::Post { address: address.parse().unwrap(), port: 10250, path: "/run".into() },
    };
    let wanted = ["127.0.0.1", "::ffff:169.254.169.254", "10.0.0.7"].map(call);
    stage.context.tasks.begin(&stage.context, &key(), "u", &wanted);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*pods.asked.lock().unwrap(), ["10.0.0.7:10250".parse().unwrap()]);
    let begun = stage.context.remember("u", |remembered| remembered.begun.clone());
    assert_eq!(begun.keys().collect::<Vec<_>>(), ["127.0.0.1", "::ffff:169.254.169.254"]);
    assert!(begun.values().all(|outcome| matches!(outcome, Begun::Failed(why) if why.starts_with("nothing is sent there"))), "{begun:?}");
}

/// What was installed may differ from what the preflight knew.
#[tokio::test(start_paused = true)]
async fn no_command_is_run_where_none_may_be() {
    let exec = crate::api::Exec { command: vec!["/app".into()], container: "app".into() };
    for allowed in [false, true] {
        let ran = Arc::new(Runs::default());
        let mut stage = Stage::with_pods(ran.clone());
        Arc::get_mut(&mut stage.context).unwrap().installation.allowed_exec = Some(allowed);
        stage.context.tasks.at_home(stage.context.clone());
        let mut wanted = run("10.0.0.7");
        wanted.runs[0].address = None;
        wanted.runs[0].pod = Some("uid".into());
        wanted.runs[0].target = "pod".into();
        wanted.runs[0].probe.tcp_socket = None;
        wanted.runs[0].probe.exec = Some(exec.clone());
        wanted.runs[0].probe.success_threshold = 1;
        stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
        let call = BeginCall { pod: "old".into(), name: "old-pod".into(), how: Telling::Run(exec.clone()) };
        stage.context.tasks.begin(&stage.context, &key(), "u", &[call]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = stage.context.remember("u", |remembered| remembered.begun.get("old").cloned()).unwrap();
        let mut names = ran.0.lock().unwrap().clone();
        names.sort();
        if allowed {
            assert_eq!(
                (names, seen(&stage).0, begun),
                (vec![(key().namespace, "old-pod".into()), (key().namespace, "pod".to_owned())], ProbeResult::Passed, Begun::Told)
            );
        } else {
            assert_eq!(names, []);
            let why = "nothing is run: this operator may not run commands in pods";
            assert_eq!((seen(&stage), begun), ((ProbeResult::Running, why.to_owned()), Begun::Failed(why.into())));
        }
    }
}

/// A verdict of a command rests on what was seen of late: who may not run it any more has none.
#[tokio::test(start_paused = true)]
async fn a_command_that_is_not_tried_any_more_has_not_passed() {
    let why = "the API server refuses it";
    let ran = Arc::new(Runs(Mutex::default(), Mutex::new(vec![Ok(()), Err(Failure::NotTried { what: "/app".into(), why })])));
    let mut stage = Stage::with_pods(ran.clone());
    Arc::get_mut(&mut stage.context).unwrap().installation.allowed_exec = Some(true);
    stage.context.tasks.at_home(stage.context.clone());
    let mut wanted = run("10.0.0.7");
    wanted.endless = true;
    wanted.runs[0].address = None;
    wanted.runs[0].probe.tcp_socket = None;
    wanted.runs[0].probe.exec = Some(crate::api::Exec { command: vec!["/app".into()], container: "app".into() });
    (wanted.runs[0].probe.success_threshold, wanted.runs[0].probe.failure_threshold) = (1, 3);
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!((ran.0.lock().unwrap().len(), seen(&stage).0), (3, ProbeResult::Passed));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (result, message) = seen(&stage);
    assert!(result == ProbeResult::Running && message.contains(why), "{result:?} {message}");
}

/// It goes on in its container: to begin it again would be to tell the pod twice.
#[tokio::test(start_paused = true)]
async fn a_pod_whose_command_takes_long_is_told_once() {
    let endless = Err(Failure::NotEnded { what: "/app".into(), after: Duration::from_secs(5) });
    let ran = Arc::new(Runs(Mutex::default(), Mutex::new(vec![endless])));
    let mut stage = Stage::with_pods(ran.clone());
    Arc::get_mut(&mut stage.context).unwrap().installation.allowed_exec = Some(true);
    stage.context.tasks.at_home(stage.context.clone());
    let exec = crate::api::Exec { command: vec!["/app".into()], container: "app".into() };
    let call = BeginCall { pod: "old".into(), name: "old-pod".into(), how: Telling::Run(exec) };
    stage.context.tasks.begin(&stage.context, &key(), "u", &[call]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ran.0.lock().unwrap().len(), 1);
    assert_eq!(stage.context.remember("u", |remembered| remembered.begun.get("old").cloned()), Some(Begun::Told));
}

/// What the API server says of itself is no verdict, and takes one back that rested on what was seen long ago.
#[tokio::test(start_paused = true)]
async fn a_probe_goes_through_the_api_server_where_it_may() {
    for allowed in [false, true] {
        let why = "the API server could not be reached";
        let away = || Err(Failure::NotTried { what: "GET /".into(), why });
        let asked = Arc::new(Runs(Mutex::default(), Mutex::new(vec![away(), Ok(()), away()])));
        let mut stage = Stage::with_pods(asked.clone());
        Arc::get_mut(&mut stage.context).unwrap().installation.allowed_proxy = Some(allowed);
        stage.context.tasks.at_home(stage.context.clone());
        let probe = serde_json::json!({"name": "home", "httpGet": {"port": 9}, "through": "ApiServer", "successThreshold": 1, "failureThreshold": 3});
        let mut wanted = run("10.0.0.7");
        wanted.endless = true;
        wanted.runs[0].probe = serde_json::from_value(probe).unwrap();
        wanted.runs[0].pod = Some("uid".into());
        wanted.runs[0].target = "pod".into();
        stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        if !allowed {
            let why = "nothing is sent: this operator may not send anything through the API server";
            assert_eq!((asked.0.lock().unwrap().len(), seen(&stage)), (0, (ProbeResult::Running, why.to_owned())));
            continue;
        }
        assert_eq!((asked.0.lock().unwrap().clone(), seen(&stage).0), (vec![(key().namespace, "pod".to_owned()); 3], ProbeResult::Passed));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (result, message) = seen(&stage);
        assert!(result == ProbeResult::Running && message.contains(why), "{result:?} {message}");
        // Where no pod can be, the API server is not sent either.
        wanted.runs[0].address = Some("169.254.169.254:80".parse().unwrap());
        stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
        let before = asked.0.lock().unwrap().len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(asked.0.lock().unwrap().len(), before);
    }
}

/// Runs commands, and passes requests on: answers with what stands here, one after the other, and then with the last; without any it passes.
#[derive(Default)]
struct Runs(Mutex<Vec<(String, String)>>, Mutex<Vec<Result<(), Failure>>>);

impl Runs {
    fn next(&self, pod: PodName<'_>) -> BoxFuture<'static, Result<(), Failure>> {
        self.0.lock().unwrap().push((pod.namespace.to_owned(), pod.name.to_owned()));
        let mut left = self.1.lock().unwrap();
        let next = if left.len() > 1 { left.remove(0) } else { left.first().cloned().unwrap_or(Ok(())) };
        Box::pin(async move { next })
    }
}

impl Prober for Runs {
    fn attempt<'a>(&'a self, _: &'a Check, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("it is a command") })
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("it is a command") })
    }

    fn read<'a>(&'a self, _: &'a str, _: &'a Number, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        Box::pin(async { panic!("it is a command") })
    }

    fn run<'a>(&'a self, pod: PodName<'a>, _: &'a crate::api::Exec, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        self.next(pod)
    }

    fn through<'a>(&'a self, pod: PodName<'a>, _: &'a crate::probe::HttpCheck, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        self.next(pod)
    }

    fn tell<'a>(&'a self, _: &'a str, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("it is a command") })
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_asks_for_thousands_of_attempts_gets_some_at_a_time_and_others_go_on() {
    let (pods, stage) = holding();
    let many = |network: u8| {
        let mut wanted = run("10.0.0.7");
        let one = wanted.runs.pop().unwrap();
        wanted.runs = (0..200)
            .map(|number: u8| ProbeRun {
                pod: Some(number.to_string()),
                address: Some((std::net::Ipv4Addr::new(10, network, 0, number), 9).into()),
                ..one.clone()
            })
            .collect();
        wanted
    };
    stage.context.tasks.probe(&stage.context, &key(), "greedy", &[&many(1)]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(pods.asked(), OF_ONE);
    let mut small = many(2);
    small.runs.truncate(3);
    stage.context.tasks.probe(&stage.context, &key(), "small", &[&small]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(pods.asked(), OF_ONE + 3);
    // Whoever waits has its turn.
    for _ in 0..20 {
        pods.go.notify_waiters();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let reached = pods.asked.lock().unwrap().iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!((reached, pods.most.load(Ordering::Relaxed)), (203, OF_ONE + 3));
    // Twenty greedy ones together get no more than there is for all.
    for network in 3..23 {
        stage.context.tasks.probe(&stage.context, &key(), &network.to_string(), &[&many(network)]);
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(pods.most.load(Ordering::Relaxed), OF_ALL);
    stage.context.tasks.end();
    assert!(stage.context.tasks.turns.lock().unwrap().is_empty());
}

/// Pods that answer, each time a little later than the time before.
#[derive(Default)]
struct Late(AtomicUsize);

impl Prober for Late {
    fn attempt<'a>(&'a self, _: &'a Check, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        let took = 501 + u128::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap();
        Box::pin(async move { Err(Failure::TooSlow { what: "GET /".into(), got: 200, took, most: 500 }) })
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody asks") })
    }

    fn read<'a>(&'a self, _: &'a str, _: &'a Number, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        Box::pin(async { panic!("nobody reads") })
    }

    fn tell<'a>(&'a self, _: &'a str, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_late_again_and_again_are_looked_at_once() {
    let pods = Arc::new(Late::default());
    let mut stage = Stage::with_pods(pods.clone());
    stage.context.tasks.at_home(stage.context.clone());
    let mut wanted = run("10.0.0.7");
    wanted.runs[0].pod = Some("p".into());
    wanted.runs[0].probe.failure_threshold = 1000;
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&wanted]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(pods.0.load(Ordering::Relaxed) > 20);
    assert_eq!(std::iter::from_fn(|| stage.wakes.try_recv().ok()).count(), 1);
    // What is written when it is looked at for another reason is the latest.
    let [known] = stage.context.remember("u", |remembered| remembered.probes.clone()).try_into().unwrap();
    assert_ne!(known.message, "GET /: answered 200 after 501 ms, expected at most 500 ms");
}

/// Pods that answer well or not, as they are told.
#[derive(Default)]
struct Changing(std::sync::atomic::AtomicBool);

impl Prober for Changing {
    fn attempt<'a>(&'a self, _: &'a Check, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        let ill = self.0.load(Ordering::Relaxed);
        Box::pin(async move { if ill { Err(Failure::ConnectionRefused { what: "TCP".into() }) } else { Ok(()) } })
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody asks") })
    }

    fn read<'a>(&'a self, _: &'a str, _: &'a Number, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        Box::pin(async { panic!("nobody reads") })
    }

    fn tell<'a>(&'a self, _: &'a str, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_a_bake_goes_on_whatever_it_has_shown() {
    let pods = Arc::new(Changing::default());
    let mut stage = Stage::with_pods(pods.clone());
    stage.context.tasks.at_home(stage.context.clone());
    let smoke = run("10.0.0.7");
    let bake = SmokeRun { probes: "bake.h".into(), persistent: true, endless: true, ..run("10.0.0.7") };
    let shown = |probes: &str| {
        let known = |remembered: &mut crate::controller::memory::Remembered| {
            remembered.probes.iter().find(|known| known.probes == probes).map(|known| known.result)
        };
        stage.context.remember("u", known)
    };
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&smoke, &bake]);
    for (ill, wanted) in [(false, ProbeResult::Passed), (true, ProbeResult::Failed), (false, ProbeResult::Passed)] {
        pods.0.store(ill, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((shown("bake.h"), shown("h")), (Some(wanted), Some(ProbeResult::Passed)), "the smoke probe has its verdict");
        // Each reconcile asks for the same again.
        stage.context.tasks.probe(&stage.context, &key(), "u", &[&smoke, &bake]);
    }
    // Looked at when it shows something new, and not at each attempt.
    let looks = std::iter::from_fn(|| stage.wakes.try_recv().ok()).count();
    assert!((3..=8).contains(&looks), "{looks}");
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&smoke]);
    assert_eq!(shown("bake.h"), None);
}

/// Answers queries with what stands here, one after the other, and then with the last.
struct Answers(Mutex<Vec<Result<(), Failure>>>, AtomicUsize);

impl Prober for Answers {
    fn attempt<'a>(&'a self, _: &'a Check, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("it is a query") })
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut left = self.0.lock().unwrap();
        let next = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
        Box::pin(async move { next })
    }

    fn read<'a>(&'a self, _: &'a str, _: &'a Number, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        Box::pin(async { panic!("nobody reads") })
    }

    fn tell<'a>(&'a self, _: &'a str, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("it is a query") })
    }
}

fn asked(url: &str, endless: bool) -> SmokeRun {
    let probe =
        serde_json::json!({"name": "errors", "prometheus": {"url": url, "query": "1", "atMost": "1"}, "successThreshold": 2, "failureThreshold": 3});
    let run = ProbeRun { probe: serde_json::from_value(probe).unwrap(), pod: None, target: "p".into(), address: None, body: None };
    SmokeRun { set_uid: "s".into(), probes: "h".into(), runs: vec![run], persistent: endless, endless }
}

fn answering(answers: Vec<Result<(), Failure>>, allowed: &str) -> (Arc<Answers>, Stage) {
    let prober = Arc::new(Answers(Mutex::new(answers), AtomicUsize::new(0)));
    let mut stage = Stage::with_pods(prober.clone());
    let context = Arc::get_mut(&mut stage.context).unwrap();
    context.installation.allowed_urls = Some(vec![crate::probe::Endpoint::parse(allowed).unwrap()]);
    stage.context.tasks.at_home(stage.context.clone());
    (prober, stage)
}

fn seen(stage: &Stage) -> (ProbeResult, String) {
    stage.context.remember("u", |remembered| remembered.probes.first().map(|known| (known.result, known.message.clone()))).unwrap()
}

/// A spec may be changed after the preflight has passed: it is looked at once more when it is asked.
#[tokio::test(start_paused = true)]
async fn a_query_goes_nowhere_but_where_it_may() {
    for (url, why) in [("http://elsewhere:9090", "this operator may not ask elsewhere:9090"), ("prometheus:9090", "its URL can't be read")] {
        let (prober, stage) = answering(vec![Ok(())], "http://prometheus:9090");
        stage.context.tasks.probe(&stage.context, &key(), "u", &[&asked(url, true)]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(prober.1.load(Ordering::Relaxed), 0);
        let (result, message) = seen(&stage);
        assert!(result == ProbeResult::Running && message.contains(why), "{result:?} {message}");
    }
    let (prober, stage) = answering(vec![Ok(())], "http://prometheus:9090");
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&asked("http://prometheus:9090/base", false)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((prober.1.load(Ordering::Relaxed), seen(&stage).0), (2, ProbeResult::Passed));
}

#[tokio::test(start_paused = true)]
async fn no_data_is_no_verdict_and_takes_an_old_one_back() {
    let none = || Err(Failure::NoDataYet { what: "q".into() });
    // Alone it decides nothing, however often.
    let (prober, stage) = answering(vec![none()], "http://p:1");
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&asked("http://p:1", false)]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(prober.1.load(Ordering::Relaxed) > 20);
    assert_eq!(seen(&stage), (ProbeResult::Running, "q: answered no data yet".into()));
    // A pass of long ago is none.
    let (_, stage) = answering(vec![Ok(()), Ok(()), none()], "http://p:1");
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&asked("http://p:1", true)]);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(seen(&stage).0, ProbeResult::Passed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(seen(&stage), (ProbeResult::Running, "q: answered no data yet".into()));
}

/// Numbers differ at each attempt, and a gap comes between: neither is worth a look, nor hides why it failed.
#[tokio::test(start_paused = true)]
async fn a_failed_query_is_told_once() {
    let none = || Err(Failure::NoDataYet { what: "q".into() });
    let bad = |got: u32| Err(Failure::Value { what: "q".into(), got: got.to_string(), wanted: "at most 1".into() });
    let mut answers = vec![bad(2), bad(3), bad(4)];
    answers.extend((0..40).map(|number| if number % 2 == 0 { none() } else { bad(number) }));
    let (_, mut stage) = answering(answers, "http://p:1");
    stage.context.tasks.probe(&stage.context, &key(), "u", &[&asked("http://p:1", true)]);
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(seen(&stage).0, ProbeResult::Failed);
    while stage.wakes.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(stage.wakes.try_recv().is_err(), "it was looked at again");
    let (result, message) = seen(&stage);
    assert!(result == ProbeResult::Failed && message.contains("expected at most 1"), "{message}");
}
