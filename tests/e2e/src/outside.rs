//! A controller outside the cluster, behind a proxy that may kill it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::failure::{Failure, Result, io};
use crate::stage::Stage;
use crate::wait::{wait_for, when};
use crate::world::{RELEASE, SYSTEM, World, beside};

/// So many controllers are in the cluster from now on; waits until the last one is gone where that is none.
pub async fn inside(world: &World, replicas: u32) -> Result {
    world.kubectl(&["scale", "-n", SYSTEM, &format!("deployment/{RELEASE}"), &format!("--replicas={replicas}")])?;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), SYSTEM);
    wait_for("the controller's pods are those that are wanted", 60, || async {
        let parameters = ListParams::default().labels("app.kubernetes.io/component=controller");
        let there: Vec<String> = pods.list(&parameters).await?.items.iter().map(ResourceExt::name_any).collect();
        Ok(when(u32::try_from(there.len()) == Ok(replicas), || format!("{there:?}")))
    })
    .await
}

/// A controller outside the cluster, behind the proxy that may kill it.
pub struct Controller {
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
    /// Starts it inside node 1's network. It is killed after so many writes; 0: never.
    pub fn start(stage: &Stage, kill_after: usize) -> Result<Self> {
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
    pub fn killed(&self) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// A failure, with the end of what the controller wrote: it is in no pod's log.
    pub fn explain(&self, about: &str, error: &Failure) -> Failure {
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
