//! One object as it changes.

use std::pin::Pin;

use bluegreen::controller::api::Resource;
use futures::{Stream, StreamExt};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;

use crate::cluster::{Cluster, failed, value};
use crate::failure::Result;

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<DynamicObject>>> + Send>>;

/// One BlueGreenDeployment as it changes.
pub struct Follow {
    events: Events,
    /// Whether the list that a watch begins with had it.
    listed: bool,
}

/// What has become of it.
pub enum Seen {
    /// It is so now.
    Object(Value),
    /// It was deleted.
    Gone,
}

impl Follow {
    /// Begins to watch.
    pub fn new(cluster: &Cluster, name: &str) -> Self {
        let api = cluster.api(&Resource::BlueGreenDeployment.api_resource());
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        Self { events: watcher(api, config).default_backoff().boxed(), listed: false }
    }

    /// The next change. A watch that breaks off is begun again.
    ///
    /// # Errors
    /// If it may not be watched.
    pub async fn next(&mut self) -> Result<Seen> {
        loop {
            match self.events.next().await {
                Some(Ok(Event::Init)) => self.listed = false,
                Some(Ok(Event::InitApply(object))) => {
                    self.listed = true;
                    return value(object).map(Seen::Object);
                }
                Some(Ok(Event::Apply(object))) => return value(object).map(Seen::Object),
                Some(Ok(Event::InitDone)) if self.listed => {}
                Some(Ok(Event::InitDone | Event::Delete(_))) | None => return Ok(Seen::Gone),
                Some(Err(
                    watcher::Error::InitialListFailed(kube::Error::Api(status)) | watcher::Error::WatchStartFailed(kube::Error::Api(status)),
                )) if status.code == 401 || status.code == 403 => {
                    return Err(failed("the BlueGreenDeployment can't be watched", status.message.clone()));
                }
                // It goes on when the API server is back.
                Some(Err(_)) => {}
            }
        }
    }
}
