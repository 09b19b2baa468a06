//! The queue: which object is looked at when. Never the same one twice at once, a bounded number at a time, and a panic in
//! one of them ends neither the others nor the controller.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::pause;
use super::world::Key;

#[derive(Debug, Default)]
struct Entry {
    running: bool,
    /// Woken while it ran.
    again: bool,
    due: Option<Instant>,
    panics: u32,
}

/// Serves `wakes` with `work` until `stop` ends, then lets what runs come to its end.
pub async fn run<W, F>(mut wakes: UnboundedReceiver<Key>, at_once: usize, work: W, stop: impl Future<Output = ()>)
where
    W: Fn(Key) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Duration>> + Send + 'static,
{
    let work = Arc::new(work);
    let mut entries: HashMap<Key, Entry> = HashMap::new();
    let mut ready: std::collections::VecDeque<Key> = std::collections::VecDeque::new();
    let mut timers: BinaryHeap<Reverse<(Instant, Key)>> = BinaryHeap::new();
    let mut running: JoinSet<()> = JoinSet::new();
    let (done, mut finished) = unbounded_channel::<(Key, Result<Option<Duration>, ()>)>();
    tokio::pin!(stop);
    loop {
        while running.len() < at_once
            && let Some(key) = ready.pop_front()
        {
            entries.entry(key.clone()).or_default().running = true;
            let (work, done) = (work.clone(), done.clone());
            running.spawn(async move {
                // In a task of its own, so that a panic ends only this one look.
                let outcome = tokio::spawn(work(key.clone())).await.map_err(
                    |error| tracing::error!(namespace = key.namespace, name = key.name, %error, "looking at this object panicked; this is a bug"),
                );
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
                    Err(()) => { entry.panics += 1; Some(pause(entry.panics + 4)) }
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
    entry.due = None;
    if entry.running {
        entry.again = true;
    } else if !ready.contains(&key) {
        ready.push_back(key);
    }
}

#[cfg(test)]
mod tests {
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
        run(wakes, 4, work, tokio::time::sleep(Duration::from_secs(1))).await;
        assert_eq!(looks.load(Ordering::SeqCst), 2, "once for the five, once for the one that came while it ran");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_survived_and_tried_again_after_a_pause() {
        let (send, wakes) = unbounded_channel();
        send.send(key("bad")).unwrap();
        send.send(key("good")).unwrap();
        let seen = Arc::new(Mutex::new(vec![]));
        let log = seen.clone();
        let work = move |key: Key| {
            let log = log.clone();
            async move {
                log.lock().unwrap().push(key.name.clone());
                assert!(key.name != "bad", "as it should");
                None
            }
        };
        run(wakes, 1, work, tokio::time::sleep(Duration::from_secs(5))).await;
        let seen = seen.lock().unwrap();
        assert!(seen.contains(&"good".to_owned()));
        let bad = seen.iter().filter(|name| *name == "bad").count();
        assert!((2..=4).contains(&bad), "{bad} tries in 5 s");
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
        run(wakes, 1, work, tokio::time::sleep(Duration::from_secs(35))).await;
        assert_eq!(looks.load(Ordering::SeqCst), 4);
    }
}
