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
