//! The queue: which object is looked at when. Never the same one twice at once, a bounded number at a time, and a panic in
//! one of them ends neither the others nor the controller. That object alone is left in peace for a while, longer each time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::context::pause;
use super::world::Key;

#[cfg(not(panic = "unwind"))]
compile_error!("a panic while one object is looked at must not end the process: build with panic = \"unwind\"");

#[derive(Debug, Default)]
struct Entry {
    running: bool,
    /// Woken while it ran.
    again: bool,
    due: Option<Instant>,
    /// Panics in a row.
    panics: u32,
}

/// A look that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// What the panic said.
    pub words: String,
    /// In how many looks in a row it has panicked now.
    pub in_a_row: u32,
    /// Until the next look, whatever happens: 1.6 s at first, 30 s at most.
    pub pause: Duration,
}

/// What is behind the shortest pause after a panic: it is nothing that passes in milliseconds.
const AS_AFTER: u32 = 4;

/// Serves `wakes` with `work` until `stop` ends, then lets what runs come to its end. `tell` hears of panics.
pub async fn run<W, F>(mut wakes: UnboundedReceiver<Key>, at_once: usize, work: W, tell: impl Fn(&Key, &Panicked), stop: impl Future<Output = ()>)
where
    W: Fn(Key) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Duration>> + Send + 'static,
{
    let work = Arc::new(work);
    let mut entries: HashMap<Key, Entry> = HashMap::new();
    let mut ready: std::collections::VecDeque<Key> = std::collections::VecDeque::new();
    let mut timers: BinaryHeap<Reverse<(Instant, Key)>> = BinaryHeap::new();
    let mut running: JoinSet<()> = JoinSet::new();
    let (done, mut finished) = unbounded_channel::<(Key, Result<Option<Duration>, JoinError>)>();
    tokio::pin!(stop);
    loop {
        while running.len() < at_once
            && let Some(key) = ready.pop_front()
        {
            entries.entry(key.clone()).or_default().running = true;
            let (work, done) = (work.clone(), done.clone());
            running.spawn(async move {
                // In a task of its own, so that a panic ends only this one look.
                let look = key.clone();
                let outcome = tokio::spawn(async move { work(look).await }).await;
                done.send((key, outcome)).ok();
            });
        }
        let next = timers.peek().map(|Reverse((at, _))| *at);
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = running.join_next() => {}
            Some((key, outcome)) = finished.recv() => {
                let entry = entries.entry(key.clone()).or_default();
                entry.running = false;
                let wait = match outcome {
                    Ok(wait) => { entry.panics = 0; wait }
                    Err(error) => {
                        entry.panics = entry.panics.saturating_add(1);
                        let pause = pause(entry.panics.saturating_add(AS_AFTER));
                        tell(&key, &Panicked { words: words(error), in_a_row: entry.panics, pause });
                        Some(pause)
                    }
                };
                if std::mem::take(&mut entry.again) && entry.panics == 0 {
                    entry.due = None;
                    ready.push_back(key);
                } else if let Some(wait) = wait {
                    let at = Instant::now() + wait;
                    entry.due = Some(at);
                    timers.push(Reverse((at, key)));
                } else {
                    entries.remove(&key);
                }
            }
            Some(key) = wakes.recv() => wake(&mut entries, &mut ready, key),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some(Reverse((at, key))) = timers.pop() {
                    // A timer that was set again since is not this one.
                    if entries.get(&key).is_some_and(|entry| entry.due == Some(at)) {
                        wake(&mut entries, &mut ready, key);
                    }
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

fn wake(entries: &mut HashMap<Key, Entry>, ready: &mut std::collections::VecDeque<Key>, key: Key) {
    let entry = entries.entry(key.clone()).or_default();
    // What it wrote before it panicked wakes it, too: without the pause it would spin.
    if entry.panics > 0 && entry.due.is_some_and(|due| due > Instant::now()) {
        return;
    }
    entry.due = None;
    if entry.running {
        entry.again = true;
    } else if !ready.contains(&key) {
        ready.push_back(key);
    }
}

/// What a panic said, in a line of bounded length.
fn words(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was ended from outside".into() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_is_never_looked_at_twice_at_once_and_never_forgotten() {
        let (send, wakes) = unbounded_channel();
        let inside = Arc::new(AtomicUsize::new(0));
        let looks = Arc::new(AtomicUsize::new(0));
        let (i, l) = (inside.clone(), looks.clone());
        for _ in 0..5 {
            send.send(key("a")).unwrap();
        }
        let late = send.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            late.send(key("a")).unwrap();
        });
        let work = move |_| {
            let (i, l) = (i.clone(), l.clone());
            async move {
                assert_eq!(i.fetch_add(1, Ordering::SeqCst), 0);
                tokio::time::sleep(Duration::from_millis(10)).await;
                i.fetch_sub(1, Ordering::SeqCst);
                l.fetch_add(1, Ordering::SeqCst);
                None
            }
        };
        run(wakes, 4, work, |_, _| {}, tokio::time::sleep(Duration::from_secs(1))).await;
        assert_eq!(looks.load(Ordering::SeqCst), 2, "once for the five, once for the one that came while it ran");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_stops_nobody_else_and_holds_its_own_object_back_longer_each_time() {
        let (send, wakes) = unbounded_channel();
        send.send(key("bad")).unwrap();
        send.send(key("good")).unwrap();
        let seen = Arc::new(Mutex::new(vec![]));
        let begun = Instant::now();
        let log = seen.clone();
        let work = move |key: Key| {
            let (log, again) = (log.clone(), send.clone());
            async move {
                log.lock().unwrap().push((key.name.clone(), begun.elapsed()));
                // As a write of its own would, and everything that happens to its pods.
                again.send(key.clone()).unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                assert!(key.name != "bad" || begun.elapsed() > Duration::from_secs(120), "as\n  it should");
                None
            }
        };
        let told = Mutex::new(vec![]);
        let tell = |key: &Key, panicked: &Panicked| told.lock().unwrap().push((key.name.clone(), panicked.clone()));
        run(wakes, 1, work, tell, tokio::time::sleep(Duration::from_secs(150))).await;
        let seen = seen.lock().unwrap();
        assert!(seen.iter().filter(|(name, _)| name == "good").count() > 500, "the other one goes on");
        let looks: Vec<Duration> = seen.iter().filter(|(name, at)| name == "bad" && *at < Duration::from_secs(120)).map(|(_, at)| *at).collect();
        let pauses: Vec<u64> = looks.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(pauses, [1, 3, 6, 12, 25, 30, 30]);
        let told = told.lock().unwrap();
        let rows: Vec<u32> = told.iter().map(|(_, panicked)| panicked.in_a_row).collect();
        assert_eq!(rows, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(told.iter().all(|(name, panicked)| name == "bad" && panicked.words == "as it should"), "{told:?}");
        assert!(seen.iter().filter(|(name, at)| name == "bad" && *at > Duration::from_secs(120)).count() > 10, "and then it is as any other");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_kept() {
        let (send, wakes) = unbounded_channel();
        send.send(key("a")).unwrap();
        let looks = Arc::new(AtomicUsize::new(0));
        let l = looks.clone();
        let work = move |_| {
            let l = l.clone();
            async move {
                l.fetch_add(1, Ordering::SeqCst);
                Some(Duration::from_secs(10))
            }
        };
        run(wakes, 1, work, |_, _| {}, tokio::time::sleep(Duration::from_secs(35))).await;
        assert_eq!(looks.load(Ordering::SeqCst), 4);
    }
}
