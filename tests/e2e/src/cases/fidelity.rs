//! The API server that the simulation keeps in memory, beside a real one.

use std::sync::Arc;

use bluegreen::controller::api::KubeApi;
use cluster::{Component, Signal};
use k8s_openapi::api::core::v1::ServiceAccount;
use simulation::fidelity::play;
use simulation::store::verbs::Prompt;
use tokio::task::block_in_place;

use crate::claim;
use crate::failure::{Failure, Result};
use crate::stage::Stage;
use crate::wait::{wait_for, when};

/// The same requests get the same answers. Nobody else writes meanwhile: there is no operator, and the controllers are stopped.
pub async fn simulated_api_server(stage: Arc<Stage>) -> Result {
    // Without it no pod is taken, and one of the controllers makes it, a moment after the namespace.
    wait_for("the namespace's ServiceAccount", 30, || async {
        let there = stage.api::<ServiceAccount>().get_opt("default").await?.is_some();
        Ok(when(there, || "there is none".into()))
    })
    .await?;
    block_in_place(|| stage.world.cluster.stop(Component::KubeControllerManager, 1, Signal::SIGKILL))?;
    let failed = Failure::Claim;
    let real = play(KubeApi::new(stage.world.client.clone(), "fidelity"), &stage.namespace).await.map_err(failed)?;
    let simulated = play(Prompt::default(), &stage.namespace).await.map_err(failed)?;
    let differ: Vec<String> = simulated
        .lines
        .iter()
        .zip(&real.lines)
        .filter(|(simulated, real)| simulated != real)
        .map(|(simulated, real)| format!("simulated {simulated}\n     real {real}"))
        .collect();
    claim!(differ.is_empty(), "{} of {} answers differ:\n{}", differ.len(), real.lines.len(), differ.join("\n"));
    claim!(simulated.lines.len() == real.lines.len(), "{} answers simulated, {} real", simulated.lines.len(), real.lines.len());
    stage.notes.say(format!("{} answers compared, of {} kinds", real.lines.len(), real.kinds.len()));
    Ok(())
}
