//! Which probes run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::fake::{Stage, key};
use super::*;

fn run(address: &str) -> SmokeRun {
    let probe: SmokeProbe = serde_json::from_value(serde_json::json!({"name": "up", "tcpSocket": {"port": 9}, "target": "PreviewService"})).unwrap();
    let run = ProbeRun { probe, pod: None, target: "preview".into(), address: address.parse().unwrap(), port: 9 };
    SmokeRun { set_uid: "s".into(), probes: "h".into(), runs: vec![run], persistent: false }
}

#[tokio::test(start_paused = true)]
async fn a_probe_follows_a_service_that_was_made_again() {
    let stage = Stage::new();
    stage.context.tasks.at_home(stage.context.clone());
    let where_to = || {
        let all = stage.context.tasks.probes.lock().unwrap();
        all["u"].keys().map(|(_, address)| address.ip().to_string()).collect::<Vec<_>>()
    };
    for address in ["127.0.0.1", "127.0.0.1", "127.0.0.2"] {
        stage.context.tasks.smoke(&stage.context, &key(), "u", Some(&run(address)));
        assert_eq!(where_to(), [address]);
    }
    stage.context.tasks.smoke(&stage.context, &key(), "u", None);
    assert!(stage.context.tasks.probes.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_probe_through_a_service_waits_until_nodes_have_followed() {
    let stage = Stage::new();
    stage.context.tasks.at_home(stage.context.clone());
    let tried = || stage.context.remember("u", |remembered| remembered.probes.len());
    stage.context.tasks.smoke(&stage.context, &key(), "u", Some(&run("127.0.0.1")));
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(tried(), 0, "a pod of the former revision might have answered");
    // Nobody listens there, and that is told, too.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(tried(), 1);
}
