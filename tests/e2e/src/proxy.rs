//! Kills a controller right after its k-th write was stored, before the controller hears of it.
//!
//! The controller runs as a child of this program, which forwards its requests to the API server and counts those that
//! change something. Leases and Events do not count: neither takes part in a decision.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::failure::{Failure, Result, io};

struct Proxy {
    client: Client,
    writes: AtomicU64,
    kill_after: u64,
    kill: Notify,
}

/// Whether a request changes something that a decision may depend on.
fn counts(method: &Method, path: &str, query: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let aside = ["/leases", "/events", "/connectionwatches"].iter().any(|part| path.contains(part));
    !reads && !aside && !query.contains("dryRun")
}

/// Runs the controller until it is killed, or until standard input ends. Says `killed <writes> <method> <path>` when it did.
///
/// # Errors
/// When the API server can't be reached or the controller does not start.
pub async fn run(kill_after: u64, kubeconfig: &Path, server: &str, controller: &[String]) -> Result {
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        cluster.server = Some(server.to_owned());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let proxy = Arc::new(Proxy { client: Client::try_from(config)?, writes: AtomicU64::new(0), kill_after, kill: Notify::new() });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(io("opening the proxy's port"))?;
    let address = listener.local_addr().map_err(io("reading the proxy's port"))?;
    let router = Router::new().fallback(forward).with_state(proxy.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let file = std::env::temp_dir().join(format!("e2e-proxy-{}.kubeconfig", std::process::id()));
    let mine = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    });
    std::fs::write(&file, mine.to_string()).map_err(io("writing the proxy's kubeconfig"))?;
    let me = std::env::current_exe().map_err(io("finding this program"))?;
    // Bound to this thread, which is the first and lives as long as this program: a proxy that is killed leaves no controller.
    let mut child = Command::new(me)
        .args(["bound", "--"])
        .args(controller)
        .env("KUBECONFIG", &file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(io("starting the controller"))?;
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whoever started this program holds the other end, and tells the end by closing it.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let outcome = tokio::select! {
        () = proxy.kill.notified() => {
            // SIGKILL: it gets no chance to end in order.
            child.kill().await.map_err(io("killing the controller"))
        }
        status = child.wait() => Err(Failure::Claim(format!("the controller ended by itself: {status:?}"))),
        _ = end => child.kill().await.map_err(io("killing the controller")),
        told = crate::told_to_end() => match child.kill().await {
            Ok(()) => told,
            Err(error) => Err(io("killing the controller")(error)),
        },
    };
    let _ = std::fs::remove_file(&file);
    outcome
}

/// Becomes a program that is killed when the thread that started this one ends.
///
/// # Errors
/// When the program can't be started; otherwise this never returns.
pub fn bound(program: &[String]) -> Result<bool> {
    let (name, words) = program.split_first().ok_or_else(|| Failure::Claim("no program".into()))?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(|errno| io("binding the program")(errno.into()))?;
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(name).args(words));
    Err(io(format!("starting {name}"))(error))
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let about = format!("{} {}", parts.method, parts.uri.path());
    let counted = counts(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(&error),
    };
    let mut request = Request::builder().method(parts.method).uri(parts.uri);
    for name in ["content-type", "accept"] {
        if let Some(value) = parts.headers.get(name) {
            request = request.header(name, value);
        }
    }
    let request = match request.body(kube::client::Body::from(body.to_vec())) {
        Ok(request) => request,
        Err(error) => return refuse(&error),
    };
    let answer = match proxy.client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return refuse(&error),
    };
    if counted && answer.status().is_success() {
        let number = proxy.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if number == proxy.kill_after {
            let mut output = std::io::stdout();
            // Whoever reads it may be gone; then nobody needs it.
            let _ = writeln!(output, "killed {number} {about}").and_then(|()| output.flush());
            proxy.kill.notify_one();
            // The answer never arrives.
            std::future::pending::<()>().await;
        }
        if proxy.kill_after > 0 && number > proxy.kill_after {
            std::future::pending::<()>().await;
        }
    }
    answer.map(Body::new).into_response()
}

fn refuse(error: &dyn std::fmt::Display) -> Response {
    (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn only_what_decides_counts() {
        assert!(counts(&Method::PATCH, "/apis/apps/v1/namespaces/a/replicasets/b", "fieldManager=x"));
        assert!(!counts(&Method::GET, "/apis/apps/v1/namespaces/a/replicasets/b", ""));
        assert!(!counts(&Method::POST, "/apis/apps/v1/namespaces/a/replicasets", "dryRun=All"));
        assert!(!counts(&Method::PATCH, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", ""));
        assert!(!counts(&Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events", ""));
    }
}
