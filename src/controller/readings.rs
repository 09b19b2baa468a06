//! Reading the numbers of pods that are being left, on and on.

use std::sync::Arc;
use std::time::Duration;

use crate::probe::Number;
use crate::release::metric::{LONGEST, Reading, Reads};

use super::attempt::number;
use super::tasks::{Found, Home, Turns};
use super::world::Key;

/// Reads one pod's number until it is dropped.
pub async fn poll(home: Arc<dyn Home>, turns: Turns, key: Key, uid: String, reads: Reads) {
    let metric = &reads.about.metric;
    let number = number(metric);
    let period = Duration::from_secs(u64::try_from(metric.period_seconds).unwrap_or(1).max(1));
    let mut before: Option<Reading> = None;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = match &number {
            Some(number) => read(home.as_ref(), &turns, number, &reads, period.min(LONGEST)).await,
            None => Err("spec.drain.metric: it can't be read what is asked".into()),
        };
        let reading = Reading::after(before.as_ref(), reads.about.clone(), home.now().mono, outcome);
        let known = |before: &Reading| before.outcome == reading.outcome && (before.good == reading.good || reading.enough() && before.enough());
        let news = !before.as_ref().is_some_and(known);
        home.report(&uid, &key, Found::Reading(reads.pod.clone(), reading.clone(), news));
        before = Some(reading);
    }
}

async fn read(home: &dyn Home, turns: &Turns, number: &Number, reads: &Reads, timeout: Duration) -> Result<f64, String> {
    let _turn = turns.take().await;
    home.prober().read(&reads.about.metric.path, number, reads.address, timeout).await.map_err(|failure| failure.to_string())
}

#[cfg(test)]
#[path = "tests/readings.rs"]
mod tests;
