//! Commands in containers of pods, by `pods/exec`.
//!
//! It is a WebSocket through the API server to the pod's kubelet. Kubernetes ends no process when the connection does: what is still running when
//! its time is up goes on in its container. Of what a command writes nothing is kept.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams, AttachedProcess};
use kube::{Client, Error};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::api::Exec;
use crate::probe::Failure;

use super::prober::PodName;

/// Most bytes that a command may write, to keep a chatty one from going through API server and controller for as long as its timeout allows.
const MOST_BYTES: u64 = 64 * 1024;
const AWAY: &str = "the API server or the pod's kubelet could not be reached";

/// Runs a command once, and waits for its end. Exit code 0 is a pass.
///
/// # Errors
/// A [`Failure`] that holds the program's name, the container's, and an exit code at most.
pub async fn run(client: Option<&Client>, pod: PodName<'_>, exec: &Exec, timeout: Duration) -> Result<(), Failure> {
    let what = what(exec);
    let Some(client) = client else { return Err(Failure::NotTried { what, why: "this operator may not run commands in pods" }) };
    let deadline = Instant::now() + timeout;
    // One of the streams must be asked for; with both of them a command meets what it meets under a kubelet's probe.
    let params = AttachParams::default().stdout(true).stderr(true).stdin(false).container(&exec.container);
    let pods: Api<Pod> = Api::namespaced(client.clone(), pod.namespace);
    // That the API server is slow says nothing about the command.
    let Ok(begun) = tokio::time::timeout_at(deadline, pods.exec(pod.name, &exec.command, &params)).await else {
        return Err(Failure::NotTried { what, why: AWAY });
    };
    let process = begun.map_err(|error| refused(&what, &error))?;
    match tokio::time::timeout_at(deadline, ended(&what, process)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::NotEnded { what, after: timeout }),
    }
}

/// What it is called in sentences. Its arguments stay out: they are long, and may hold what is not for everybody.
fn what(exec: &Exec) -> String {
    format!("{} in container {}", exec.command.first().map(String::as_str).unwrap_or_default(), exec.container)
}

async fn ended(what: &str, mut process: AttachedProcess) -> Result<(), Failure> {
    let (out, err, status) = (process.stdout(), process.stderr(), process.take_status());
    let verdict = async {
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        judge(what, status.as_ref())
    };
    // Each by itself: while one of the streams is not read on, neither the other nor the verdict comes any more.
    tokio::try_join!(verdict, quiet(what, out), quiet(what, err)).map(drop)
}

/// Reads to the end, which must come before too much has.
async fn quiet(what: &str, stream: Option<impl AsyncRead + Unpin>) -> Result<(), Failure> {
    let Some(stream) = stream else { return Ok(()) };
    match tokio::io::copy(&mut stream.take(MOST_BYTES + 1), &mut tokio::io::sink()).await {
        Ok(read) if read > MOST_BYTES => Err(Failure::BadAnswer { what: what.to_owned(), why: "it wrote more than 64 KiB; send that elsewhere" }),
        // A stream that breaks leaves no verdict either, which is told as that.
        _ => Ok(()),
    }
}

/// What the kubelet says of the end (`v4.channel.k8s.io`: a Status, with the exit code among its causes).
fn judge(what: &str, status: Option<&Status>) -> Result<(), Failure> {
    let what = what.to_owned();
    let Some(status) = status else {
        return Err(Failure::NotTried { what, why: "the connection to the kubelet ended before the command did" });
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode")).find_map(|cause| cause.message.as_ref()?.parse().ok());
    match code {
        Some(code) => Err(Failure::Exit { what, code }),
        None => Err(Failure::BadAnswer { what, why: "it could not be started; is that program in the image, and executable?" }),
    }
}

/// Why it was not even begun. Only what lies in the probe or in the pod counts against the revision.
fn refused(what: &str, error: &Error) -> Failure {
    let what = what.to_owned();
    let why = match error {
        Error::Api(status) if status.code == 400 => {
            return Failure::BadAnswer { what, why: "the API server took no command for that container; has the pod one of that name?" };
        }
        Error::Api(status) if status.code == 403 => {
            "the API server refuses it; the right to pods/exec is missing, or a policy of the cluster forbids it"
        }
        Error::Api(status) if status.code == 404 => "the pod is gone",
        _ => AWAY,
    };
    Failure::NotTried { what, why }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn judged(status: serde_json::Value) -> Result<(), String> {
        judge("/app in container app", Some(&serde_json::from_value(status).unwrap())).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_exit_code_decides() {
        assert_eq!(judged(json!({"status": "Success"})), Ok(()));
        let code =
            |code: &str| json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": code}]}});
        assert_eq!(judged(code("137")), Err("/app in container app: ended with exit code 137".into()));
        let not_started = Err("/app in container app: it could not be started; is that program in the image, and executable?".into());
        assert_eq!(judged(code("many")), not_started);
        assert_eq!(judged(json!({"status": "Failure", "reason": "InternalError", "message": "secret"})), not_started);
        // What is not known does not pass, and is not held against the revision either.
        assert_eq!(judged(json!({})), not_started);
        assert!(judge("x", None).unwrap_err().undecided());
    }

    #[test]
    fn what_lies_in_the_cluster_is_not_held_against_the_revision() {
        let refusal = |code: u16| {
            let status = kube::core::Status { code, message: "secret".into(), ..kube::core::Status::default() };
            refused("/app in container app", &Error::Api(Box::new(status)))
        };
        for code in [401, 403, 404, 429, 500, 503] {
            let failure = refusal(code);
            assert!(failure.undecided() && !failure.to_string().contains("secret"), "{code}: {failure}");
        }
        assert!(!refusal(400).undecided());
    }

    #[tokio::test]
    async fn what_it_writes_is_bounded() {
        let much = |bytes: usize| async move { quiet("x", Some(&vec![0_u8; bytes][..])).await.is_ok() };
        assert!(much(0).await && much(65_536).await);
        assert!(!much(65_537).await);
        let endless = quiet("/app in container app", Some(tokio::io::repeat(b'y'))).await.unwrap_err();
        assert_eq!(endless.to_string(), "/app in container app: it wrote more than 64 KiB; send that elsewhere");
    }

    #[tokio::test]
    async fn without_leave_nothing_is_run() {
        let exec = Exec { command: vec!["/app".into(), "--key=secret".into()], container: "app".into() };
        let failure = run(None, PodName { namespace: "shop", name: "p" }, &exec, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(failure.to_string(), "/app in container app: could not try from here: this operator may not run commands in pods");
    }
}
