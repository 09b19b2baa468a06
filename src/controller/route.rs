//! The way of wakes: to the queue and to the sweep while this process leads, and nowhere before.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::context::Wake;
use super::world::{Key, World};

/// Throws wakes away for as long as `waiting` lasts. A process that does not lead watches all the same, perhaps for weeks; what
/// it has missed is in the caches when it leads.
pub async fn discard<W, T>(wakes: &mut UnboundedReceiver<W>, waiting: impl Future<Output = T>) -> T {
    let outcome = {
        let thrown = async { while wakes.recv().await.is_some() {} };
        let mut waiting = std::pin::pin!(waiting);
        tokio::select! {
            outcome = &mut waiting => outcome,
            // Nobody wakes any more: then only this is waited for.
            () = thrown => waiting.await,
        }
    };
    while wakes.try_recv().is_ok() {}
    outcome
}

/// Has everything looked at that there is: this process begins to lead.
pub fn begin(world: &World, look: &UnboundedSender<Key>, orphan: &UnboundedSender<(String, String)>) {
    for key in world.keys() {
        look.send(key).ok();
    }
    for service in world.orphaned() {
        orphan.send(service).ok();
    }
}

/// Passes wakes on, for as long as the controller runs.
pub async fn run(mut wakes: UnboundedReceiver<Wake>, look: UnboundedSender<Key>, orphan: UnboundedSender<(String, String)>) {
    while let Some(wake) = wakes.recv().await {
        match wake {
            Wake::Look(key) => look.send(key).is_ok(),
            Wake::Orphan(namespace, name) => orphan.send((namespace, name)).is_ok(),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::controller::api::Resource;

    fn key() -> Key {
        Key { namespace: "n".into(), name: "shop".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_wakes_while_another_process_leads_is_not_kept() {
        let (wake, mut wakes) = unbounded_channel();
        let held = Arc::new(());
        for _ in 0..100 {
            wake.send(held.clone()).unwrap();
        }
        let (last, counted) = (wake.clone(), held.clone());
        let waiting = async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let kept = Arc::strong_count(&counted) - 2;
            last.send(counted).unwrap();
            kept
        };
        assert_eq!(discard(&mut wakes, waiting).await, 0, "thrown away while it waits, and not only in the end");
        assert!(wakes.try_recv().is_err(), "nor is what came in the last moment");
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_new_leader_looks_at_everything_and_at_every_service_left_behind() {
        let mut world = World::new(vec![], true);
        let at = Duration::ZERO;
        let object = json!({"apiVersion": "bluegreen.dev/v1alpha1", "kind": "BlueGreenDeployment",
            "metadata": {"name": "shop", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": {}}});
        let service = |name: &str, owner: &str| json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "2", "annotations": {"bluegreen.dev/owner": owner}}, "spec": {}});
        world.insert(Resource::BlueGreenDeployment, &object, at);
        world.insert(Resource::Service, &service("shop", "shop/u"), at);
        world.insert(Resource::Service, &service("left", "gone/x"), at);
        let (look, mut looks) = unbounded_channel();
        let (orphan, mut orphans) = unbounded_channel();
        begin(&world, &look, &orphan);
        assert_eq!(looks.try_recv(), Ok(key()));
        assert_eq!(orphans.try_recv(), Ok(("n".to_owned(), "left".to_owned())));
        assert!(looks.try_recv().is_err() && orphans.try_recv().is_err());
    }
}
