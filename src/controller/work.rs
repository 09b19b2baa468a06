//! What runs while a process leads: the queue of objects, and the parts that write what all objects share.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::release::action::Notice;

use super::api::ApiServer;
use super::context::{self, Context, Wake};
use super::keeper::{self, Wanted};
use super::queue::{self, Panicked};
use super::world::Key;
use super::{reconcile, route, sweep};

/// Objects that are looked at at the same time.
const AT_ONCE: usize = 8;
/// Longest time for work under way to come to its end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Longest time for the last Events to be written after that.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The other ends of [`super::context::Outlets`].
pub struct Inlets {
    /// What is to be looked at.
    pub wakes: UnboundedReceiver<Wake>,
    /// What is to be measured.
    pub wishes: UnboundedReceiver<Wanted>,
    /// What is to be told as an Event.
    pub told: UnboundedReceiver<(Value, Notice)>,
}

/// Work under way; ends with whoever holds it.
pub struct Work {
    parts: JoinSet<()>,
    queue: JoinHandle<()>,
    herald: JoinHandle<()>,
    end: watch::Sender<bool>,
    hush: watch::Sender<bool>,
}

impl Work {
    /// Begins with everything there is.
    pub fn start<A: ApiServer>(context: &Arc<Context<A>>, namespace: &str, inlets: Inlets) -> Self {
        let Inlets { wakes, wishes, told } = inlets;
        let (look, looks) = unbounded_channel();
        let (orphan, orphans) = unbounded_channel();
        route::begin(&context.world(), &look, &orphan);
        let mut parts = JoinSet::new();
        parts.spawn(route::run(wakes, look, orphan));
        parts.spawn(keeper::run(context.clone(), namespace.to_owned(), wishes));
        parts.spawn(sweep::run(context.clone(), orphans));
        let (hush, hushed) = watch::channel(false);
        let herald = tokio::spawn(context::herald(context.clone(), told, signalled(hushed)));
        let (end, ended) = watch::channel(false);
        let work = {
            let context = context.clone();
            move |key| {
                let context = context.clone();
                async move { reconcile::reconcile(&context, &key).await }
            }
        };
        let tell = {
            let context = context.clone();
            move |key: &Key, panicked: &Panicked| reconcile::panicked(&context, key, panicked)
        };
        let queue = tokio::spawn(queue::run(looks, AT_ONCE, work, tell, signalled(ended)));
        Self { parts, queue, herald, end, hush }
    }

    /// Comes back when a part of it has ended, which none should.
    pub async fn broken(&mut self) {
        tokio::select! {
            Some(_) = self.parts.join_next() => {}
            _ = &mut self.queue => {}
            _ = &mut self.herald => {}
        }
    }

    /// Begins nothing new, lets what is under way come to its end, and tells what has happened.
    pub async fn finish(&mut self) {
        self.end.send(true).ok();
        if tokio::time::timeout(FAREWELL, &mut self.queue).await.is_err() {
            tracing::warn!("work under way did not end in {} s and is cut off; the next leader goes on from there", FAREWELL.as_secs());
        }
        self.hush.send(true).ok();
        if tokio::time::timeout(LAST_WORDS, &mut self.herald).await.is_err() {
            tracing::warn!("the last Events could not be written in {} s and are lost", LAST_WORDS.as_secs());
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.queue.abort();
        self.herald.abort();
    }
}

/// Ends when the signal is given, or can't be given any more.
async fn signalled(mut signal: watch::Receiver<bool>) {
    signal.wait_for(|given| *given).await.ok();
}

#[cfg(test)]
#[path = "tests/work.rs"]
mod tests;
