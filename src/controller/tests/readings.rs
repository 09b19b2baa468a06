//! Which numbers are read, and what becomes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Mutex;

use futures::future::BoxFuture;
use serde_json::json;

use super::super::fake::{Stage, key};
use super::super::prober::Prober;
use super::*;
use crate::probe::{Check, Failure, Number, Question};
use crate::release::metric::About;

/// A pod whose number is what stands here; none where it does not answer.
struct Pod(Mutex<Option<f64>>);

impl Prober for Pod {
    fn attempt<'a>(&'a self, _: &'a Check, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody tests") })
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody asks") })
    }

    fn read<'a>(&'a self, path: &'a str, _: &'a Number, address: SocketAddr, timeout: Duration) -> BoxFuture<'a, Result<f64, Failure>> {
        assert_eq!((path, address.port(), timeout), ("/left", 9, Duration::from_secs(2)));
        let number = *self.0.lock().unwrap();
        Box::pin(async move { number.ok_or(Failure::ConnectionRefused { what: "GET /left".into() }) })
    }

    fn tell<'a>(&'a self, _: &'a str, _: SocketAddr, _: Duration) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { panic!("nobody tells") })
    }
}

fn stage(number: f64) -> (Arc<Pod>, Stage) {
    let pod = Arc::new(Pod(Mutex::new(Some(number))));
    let stage = Stage::with_pods(pod.clone());
    stage.context.tasks.at_home(stage.context.clone());
    (pod, stage)
}

fn reads(address: &str, attempt: i64, series: &str) -> Reads {
    let metric = serde_json::from_value(json!({"port": 9, "path": "/left", "series": series, "periodSeconds": 2})).unwrap();
    let address = SocketAddr::new(address.parse().unwrap(), 9);
    Reads { pod: "p".into(), name: "shop-p".into(), address, about: About { attempt, metric, converged: true, left: true, told: true } }
}

fn read(stage: &Stage) -> Option<(Result<f64, String>, bool)> {
    stage.context.remember("u", |remembered| remembered.readings.get("p").map(|reading| (reading.outcome.clone(), reading.enough())))
}

fn looks(stage: &mut Stage) -> usize {
    std::iter::from_fn(|| stage.wakes.try_recv().ok()).count()
}

#[tokio::test(start_paused = true)]
async fn a_number_is_read_on_and_on_and_looked_at_when_it_says_something_new() {
    let (pod, mut stage) = stage(3.0);
    let wanted = [reads("10.0.0.7", 1, "left")];
    let context = stage.context.clone();
    context.tasks.read(&context, &key(), "u", &wanted);
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!((read(&stage), looks(&mut stage)), (Some((Ok(3.0), false)), 1));
    for (number, enough) in [(Some(2.0), false), (None, false), (Some(0.0), true)] {
        *pod.0.lock().unwrap() = number;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (outcome, good) = read(&stage).unwrap();
        assert_eq!((outcome.ok(), good), (number, enough));
        // Each reconcile asks for the same again.
        context.tasks.read(&context, &key(), "u", &wanted);
    }
    assert_eq!(looks(&mut stage), 4, "2, nothing, and 0 once and twice");
    // Numbers that say the same are looked at now and then.
    for number in 10..40 {
        *pod.0.lock().unwrap() = Some(f64::from(number));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let seen = looks(&mut stage);
    assert!((5..=15).contains(&seen), "{seen}");
    context.tasks.read(&context, &key(), "u", &[]);
    assert_eq!(read(&stage), None);
}

#[tokio::test(start_paused = true)]
async fn one_zero_is_not_enough_and_another_question_begins_anew() {
    let (_, stage) = stage(0.0);
    let tasks = &stage.context.tasks;
    tasks.read(&stage.context, &key(), "u", &[reads("10.0.0.7", 1, "left")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(read(&stage), Some((Ok(0.0), false)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(read(&stage), Some((Ok(0.0), true)));
    for (attempt, series) in [(2, "left"), (2, "more")] {
        tasks.read(&stage.context, &key(), "u", &[reads("10.0.0.7", attempt, series)]);
        assert_eq!(read(&stage), None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(read(&stage), Some((Ok(0.0), false)));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    tasks.end_of("u");
    let before = stage.context.remember("u", |remembered| remembered.readings["p"].at);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(stage.context.remember("u", |remembered| remembered.readings["p"].at), before, "nobody reads any more");
}

#[tokio::test(start_paused = true)]
async fn what_no_pod_has_for_an_address_is_not_asked_and_that_is_said_once() {
    let (_, mut stage) = stage(0.0);
    for _ in 0..3 {
        stage.context.tasks.read(&stage.context, &key(), "u", &[reads("169.254.169.254", 1, "left")]);
    }
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(read(&stage).unwrap().0.unwrap_err().contains("nothing is sent there"));
    assert_eq!(looks(&mut stage), 1);
}
