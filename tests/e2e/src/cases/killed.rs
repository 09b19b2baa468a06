//! A controller that is killed between any two of its writes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bluegreen::api::PhaseName;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::shop;
use crate::stage::{Stage, revision};
use crate::wait::{Look, wait_for, when};
use crate::world::{RELEASE, SYSTEM, beside};

/// A controller outside the cluster, behind the proxy that may kill it.
struct Controller {
    process: Child,
    /// What the proxy said: at most one line, when it killed.
    lines: Lines,
    /// What both wrote to standard error.
    errors: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

/// Collects lines in the background.
fn collect(output: Option<impl Read + Send + 'static>) -> Lines {
    let lines = Lines::default();
    if let Some(output) = output {
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }
    lines
}

impl Controller {
    fn start(stage: &Stage, kill_after: u64) -> Result<Self> {
        let me = std::env::current_exe().map_err(io("finding this program"))?;
        let operator = beside("bluegreen")?;
        let cluster = &stage.world.cluster;
        let kubeconfig = cluster.kubeconfig();
        let number = kill_after.to_string();
        let agent = format!("{RELEASE}-agent");
        let words: Vec<&std::ffi::OsStr> = vec![
            me.as_os_str(),
            "proxy".as_ref(),
            "--kill-after".as_ref(),
            number.as_ref(),
            "--kubeconfig".as_ref(),
            kubeconfig.as_os_str(),
            "--server".as_ref(),
            "https://198.19.0.1:443".as_ref(),
            "--".as_ref(),
            operator.as_os_str(),
            "controller".as_ref(),
            "--namespace".as_ref(),
            SYSTEM.as_ref(),
            "--identity".as_ref(),
            "outside".as_ref(),
            "--agent".as_ref(),
            agent.as_ref(),
            "--health-address".as_ref(),
            "127.0.0.1:0".as_ref(),
        ];
        let mut command = cluster.command_in_node(1, words)?;
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io("starting the proxy"))?;
        let (lines, errors) = (collect(process.stdout.take()), collect(process.stderr.take()));
        Ok(Self { process, lines, errors })
    }

    /// What it was killed after, if it was.
    fn killed(&self) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// A failure, with the end of what the controller wrote: it is in no pod's log.
    fn explain(&self, about: &str, error: &Failure) -> Failure {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let end: Vec<&str> = errors.iter().skip(errors.len().saturating_sub(30)).map(String::as_str).collect();
        Failure::Claim(format!("{about}{error}; the controller's log ends:\n{}", end.join("\n")))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // The proxy kills its child when its input ends.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A controller that is killed right after its k-th write was stored, for every k of a release: the next one ends the release, and nobody notices.
pub async fn killed_after_every_write(stage: Arc<Stage>) -> Result {
    stage.world.kubectl(&["scale", "-n", SYSTEM, &format!("deployment/{RELEASE}"), "--replicas=0"])?;
    let pods: Api<Pod> = Api::namespaced(stage.world.client.clone(), SYSTEM);
    wait_for("the controller's pods are gone", 40, || async {
        let left: Vec<String> = pods
            .list(&ListParams::default().labels("app.kubernetes.io/component=controller"))
            .await?
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        Ok(when(left.is_empty(), || format!("{left:?}")))
    })
    .await?;
    let quick = |version: String| {
        shop(&version).spec("/replicas", 1).spec("/traffic/quietSeconds", 1).spec("/drain/minimumSeconds", 0).spec("/revisionHistoryLimit", 2).told()
    };
    let controller = Controller::start(&stage, 0)?;
    stage.installed(&quick("v0".into())).await.map_err(|error| controller.explain("", &error))?;
    let users = stage.users_of("shop", &["--rate", "20", "--keepalive", "2"]).await?;
    drop(controller);
    let mut writes = vec![];
    for k in 1_u64..=60 {
        let controller = Controller::start(&stage, k)?;
        let manifest = quick(format!("v{k}"));
        stage.apply(&manifest).await?;
        let complete = wait_for(format!("write {k} or the end of the release"), 60, || async {
            if controller.killed().is_some() {
                return Ok(Look::Done(false));
            }
            let object = stage.shop().await?;
            let status = object.status.unwrap_or_default();
            let over = status.phase == Some(PhaseName::Complete) && status.observed_generation == object.metadata.generation.unwrap_or_default();
            Ok(if over { Look::Done(true) } else { Look::NotYet(format!("{:?}", status.phase)) })
        })
        .await
        .map_err(|error| controller.explain("", &error))?;
        if complete {
            // History is cut after that; a write may still come.
            let _ = wait_for("one more write", 2, || async { Ok(when(controller.killed().is_some(), String::new)) }).await;
        }
        let killed = controller.killed();
        drop(controller);
        let Some(line) = killed else {
            // A release takes more than that, so fewer would mean that the proxy did not count.
            claim!(writes.len() >= 8, "a release took only {writes:?}");
            stage.notes.say(format!("killed after each of {} writes", writes.len()));
            let summary = users.stop_clean()?;
            stage.notes.say(format!("{} requests, 0 failed", summary.ok));
            return Ok(());
        };
        writes.push(line);
        let controller = Controller::start(&stage, 0)?;
        let status = stage.complete(60).await.map_err(|error| controller.explain(&format!("after being {:?}: ", writes.last()), &error))?;
        let now = revision(&status)?;
        claim!(stage.selected("shop").await? == now, "after being {:?} the Service does not select {now}", writes.last());
        let failures = users.failures();
        claim!(failures.is_empty(), "after being {:?}: {:?}", writes.last(), failures.first());
        drop(controller);
    }
    Err(Failure::Claim(format!("a release takes more than 60 writes: {writes:?}")))
}
