//! What a watch that fails means.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::fake::Stage;
use super::*;

/// Events of the watch of pods, each after so many seconds.
async fn heard(stage: &Stage, events: Vec<(u64, Result<Event<DynamicObject>, watcher::Error>)>) {
    let watch = all(&[String::new()], "system", None, false, Snapshots::None).into_iter().find(|watch| watch.resource == Resource::Pod).unwrap();
    let clock = stage.clock.clone();
    let events = futures::stream::iter(events).map(move |(seconds, event)| {
        clock.pass(Duration::from_secs(seconds));
        event
    });
    drive(&stage.context, &watch, Box::pin(events)).await;
}

fn fails() -> Result<Event<DynamicObject>, watcher::Error> {
    Err(watcher::Error::NoResourceVersion)
}

fn unread(stage: &Stage) -> Vec<String> {
    stage.context.world().unread("n")
}

fn stage() -> Stage {
    let stage = Stage::new();
    stage.feed();
    stage
}

#[tokio::test]
async fn a_watch_that_fails_for_long_is_told_of_until_it_has_listed_anew() {
    let stage = stage();
    heard(&stage, vec![(0, Ok(Event::Init)), (0, Ok(Event::InitDone)), (100, fails()), (10, fails()), (15, fails())]).await;
    assert!(unread(&stage).is_empty(), "not yet");
    heard(&stage, vec![(0, fails()), (20, fails()), (20, fails())]).await;
    assert_eq!(unread(&stage), ["Pods"]);
    // A list that begins proves nothing; one that is complete does.
    heard(&stage, vec![(1, Ok(Event::Init)), (1, fails())]).await;
    assert_eq!(unread(&stage), ["Pods"]);
    heard(&stage, vec![(1, Ok(Event::Init)), (0, Ok(Event::InitDone))]).await;
    assert!(unread(&stage).is_empty());
}

#[tokio::test]
async fn a_watch_that_is_interrupted_now_and_then_is_trusted() {
    let stage = stage();
    // Resumed each time, which is not said.
    heard(&stage, vec![(0, Ok(Event::InitDone)), (0, fails()), (1, fails()), (300, fails()), (300, fails()), (1, fails())]).await;
    assert!(unread(&stage).is_empty());
}

#[tokio::test]
async fn a_watch_that_has_failed_for_long_begins_anew() {
    let stage = stage();
    let events = vec![(0, Ok(Event::InitDone)), (0, fails()), (40, fails()), (0, Ok(Event::InitDone))];
    heard(&stage, events).await;
    assert_eq!(unread(&stage), ["Pods"], "the last event belongs to a stream that was given up: it would have resumed in silence");
}

#[test]
fn configuration_is_watched_only_where_it_may_be_copied_and_without_what_is_nobodys() {
    let kinds = |allowed: Snapshots| {
        let watches = all(&[String::new()], "system", None, false, allowed).into_iter();
        watches.filter(|watch| [Resource::ConfigMap, Resource::Secret].contains(&watch.resource)).collect::<Vec<_>>()
    };
    assert!(kinds(Snapshots::None).is_empty());
    assert_eq!(kinds(Snapshots::ConfigMaps).iter().map(|watch| watch.resource).collect::<Vec<_>>(), [Resource::ConfigMap]);
    let both = kinds(Snapshots::ConfigMapsAndSecrets);
    assert_eq!(both.iter().map(|watch| watch.resource).collect::<Vec<_>>(), [Resource::ConfigMap, Resource::Secret]);
    assert!(both[0].fields.as_deref().unwrap().contains("kube-root-ca.crt") && both[1].fields.as_deref().unwrap().contains("helm.sh/release.v1"));
}
