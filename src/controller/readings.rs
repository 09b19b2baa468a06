//! Reading the numbers of pods that are being left, on and on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::release::metric::{LONGEST, Reading, Reads, oldest};

use super::attempt::number;
use super::tasks::{Found, Home, Turns};
use super::world::Key;

/// Time between two looks at numbers that say the same.
const LOOK: Duration = Duration::from_secs(5);

/// Reads one pod's number until it is dropped.
pub async fn poll(home: Arc<dyn Home>, turns: Turns, key: Key, uid: String, reads: Reads) {
    let metric = &reads.about.metric;
    let number = number(metric);
    let period = Duration::from_secs(u64::try_from(metric.period_seconds).unwrap_or(1).max(1));
    let mut before: Option<Reading> = None;
    let (mut looked, mut shown) = (Instant::now(), None);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let turn = turns.take().await;
        let at = home.now().mono;
        let outcome = match &number {
            Some(number) => home.prober().read(&metric.path, number, reads.address, period.min(LONGEST)).await.map_err(|failure| failure.to_string()),
            None => Err("spec.drain.metric: it can't be read what is asked".into()),
        };
        drop(turn);
        let reading = Reading::after(before.as_ref(), reads.about.clone(), at, outcome);
        let same = |before: &Reading| reading.says() == before.says() && at.saturating_sub(before.at) <= oldest(metric);
        // Another number that says the same is looked at now and then.
        let other = shown.as_ref() != Some(&reading.outcome) && looked.elapsed() >= LOOK;
        let news = !before.as_ref().is_some_and(same) || other;
        if news {
            (looked, shown) = (Instant::now(), Some(reading.outcome.clone()));
        }
        home.report(&uid, &key, Found::Reading(reads.pod.clone(), reading.clone(), news));
        before = Some(reading);
    }
}

#[cfg(test)]
#[path = "tests/readings.rs"]
mod tests;
