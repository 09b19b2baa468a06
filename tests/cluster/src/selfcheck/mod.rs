//! A check of all that this crate promises, on real clusters: two side by side, pods, DNS, Services, faults, and
//! interruptions in the middle of a start.

mod answer;
mod faults;
mod interrupted;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

pub use answer::answer;

use crate::cluster::{Cluster, Found, Options, succeeded};
use crate::error::{Doing, Error, Result};
use crate::helper;
use crate::image::Image;
use crate::leftovers::leftovers;
use crate::network;
use crate::process::Process;
use crate::progress::{Progress, Quiet};

const IMAGE: &str = "localhost/selfcheck:1";
const PORT: u16 = 8080;
const NODE_PORT: u16 = 30_080;
const SOON: Duration = Duration::from_secs(60);

/// The clusters it makes, and ends.
const FIRST: &str = "selfcheck-a";
const SECOND: &str = "selfcheck-b";
const INTERRUPTED: &str = "selfcheck-c";

/// Runs all of it: about two minutes. Ends its clusters also when a check fails.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn run(progress: &mut dyn Progress) -> Result<()> {
    let result = checks(progress);
    let cleared = [FIRST, SECOND, INTERRUPTED].into_iter().try_for_each(crate::cluster::down);
    result.and(cleared)
}

fn checks(progress: &mut dyn Progress) -> Result<()> {
    const STEPS: usize = 7;
    progress.step(1, STEPS, "two clusters side by side");
    crate::dist::build(&mut Quiet)?;
    let (first, second) = side_by_side()?;

    progress.step(2, STEPS, "an image, pods on both nodes, Helm");
    deploy(&first)?;
    helm_reaches(&first)?;

    progress.step(3, STEPS, "DNS, Services and NodePorts, and no way out");
    network_works(&first)?;
    nothing_gets_out(&first, &second)?;

    progress.step(4, STEPS, "the audit log");
    audit_log_counts(&first)?;

    progress.step(5, STEPS, "faults of components, links and nodes");
    faults::all(&first, progress)?;

    progress.step(6, STEPS, "starts that are interrupted");
    interrupted::all(progress)?;

    progress.step(7, STEPS, "ending without a trace");
    second.health()?;
    ending(first, second)
}

/// A program in a node's network, and nothing else of the node.
struct Guest(Child);

impl Guest {
    fn start(cluster: &Cluster, node: usize) -> Result<Self> {
        let program = helper::program()?;
        let argv = [program.as_os_str(), helper::ANSWER.as_ref(), "--port".as_ref(), "8090".as_ref()];
        let guest = Self(cluster.command_in_node(node, argv)?.spawn().doing(|| "starting a program in a node's network".into())?);
        let at = SocketAddr::from((cluster.node_address(node), 8090));
        eventually("an answer of a program in a node's network", || from_node(cluster, node, at, "/"))?;
        Ok(guest)
    }

    fn lives(&self) -> bool {
        Process::of(i32::try_from(self.0.id()).unwrap_or_default()).is_some()
    }

    fn is_told_of(&self) -> Result<bool> {
        let this = format!("process {} ", self.0.id());
        Ok(leftovers(&[])?.iter().any(|found| found.starts_with(&this)))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // `down` may have waited for it already.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Ends both clusters, in which programs run that are no part of them.
fn ending(first: Cluster, second: Cluster) -> Result<()> {
    let names = [FIRST, SECOND].map(String::from);
    for part in ["directory", "control group", "process"] {
        let found = leftovers(&names)?;
        let has = found.iter().any(|found| match part {
            "directory" => found.ends_with(&format!("/{FIRST} is there")),
            _ => found.starts_with(part) && found.contains(FIRST),
        });
        check(has, || format!("no {part} of a running cluster was found: {}", found.join("; ")))?;
    }
    let (guest, stray) = (Guest::start(&first, 1)?, Guest::start(&first, 2)?);
    check(!guest.is_told_of()?, || "a program in a running cluster's network was taken for a leftover".into())?;
    // Then nothing says any more whose network it was.
    first.kill_node(2)?;
    first.down()?;
    check(!guest.lives(), || "a program in a node's network outlived the cluster".into())?;
    check(stray.is_told_of()?, || "a program in the network of a cluster that is gone was not found".into())?;
    drop(stray);
    interrupted::nothing_left(FIRST)?;
    second.down()?;
    interrupted::nothing_left(SECOND)
}

fn side_by_side() -> Result<(Cluster, Cluster)> {
    let options = |name: &str, nodes, audit| Options { name: name.into(), nodes, audit };
    let (a, b) = (options(FIRST, 2, true), options(SECOND, 1, false));
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| Cluster::up(&a, &mut Quiet));
        let second = Cluster::up(&b, &mut Quiet);
        (first.join(), second)
    });
    let first = first.unwrap_or_else(|_| Err(Error::Check("starting a cluster panicked".into())))?.0;
    let (again, found) = Cluster::up(&a, &mut Quiet)?;
    check(found == Found::Running && again.kubeconfig() == first.kubeconfig(), || "a second `up` did not find the first".into())?;
    let other = Cluster::up(&options(FIRST, 1, true), &mut Quiet);
    check(matches!(other, Err(Error::OtherOptions { .. })), || "`up` with other options changed a running cluster".into())?;
    Ok((first, second?.0))
}

/// Two pods, one a node, as strict as pods can be: no root, no capabilities, read-only, default seccomp profile.
fn deploy(cluster: &Cluster) -> Result<()> {
    let archive = cluster.scratch_dir().join("selfcheck.tar");
    let program = helper::program()?;
    Image::new(IMAGE).file(program, "/cluster").entrypoint(["/cluster", helper::ANSWER]).user("65532:65532").write(&archive)?;
    cluster.load_image(&archive)?;
    apply(
        cluster,
        &json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }),
    )?;
    let labels = json!({"app": "answer"});
    apply(
        cluster,
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "answer", "namespace": "strict"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": labels},
                }],
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "answer", "image": IMAGE, "imagePullPolicy": "Never",
                    "args": ["--port", PORT.to_string()],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                    },
                }],
            }}},
        }),
    )?;
    apply(
        cluster,
        &json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "answer", "namespace": "strict"},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": PORT, "nodePort": NODE_PORT}]},
        }),
    )?;
    kubectl(cluster, &["-n", "strict", "rollout", "status", "deployment/answer", "--timeout=60s"]).map(|_| ())
}

fn helm_reaches(cluster: &Cluster) -> Result<()> {
    let output = std::process::Command::new(cluster.tools_dir().join("helm"))
        .args(["list", "--all-namespaces"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .doing(|| "starting helm".into())?;
    succeeded("helm list", &output)
}

fn network_works(cluster: &Cluster) -> Result<()> {
    let pods = pods(cluster)?;
    let nodes: std::collections::BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    check(pods.len() == 2 && nodes.len() == 2, || format!("not one pod on each node: {pods:?}"))?;
    let service = service_address(cluster)?;
    for node in 1..=2 {
        // kube-proxy on the other node may be a moment behind.
        for to in [(IpAddr::V4(cluster.node_address(1)), NODE_PORT), (IpAddr::V4(cluster.node_address(2)), NODE_PORT), (service, 80)] {
            eventually(&format!("an answer of {to:?} to node {node}"), || from_node(cluster, node, to.into(), "/"))?;
        }
    }
    for pod in &pods {
        let at = SocketAddr::new(pod.address, PORT);
        let resolved = eventually("the Service's name", || from_node(cluster, 1, at, "/resolve/answer.strict.svc.cluster.local"))?;
        check(resolved == service.to_string(), || format!("DNS in pod {} gives {resolved}, not {service}", pod.name))?;
        // By the short name, both from the pod that serves on the same node and from the other. The node's kube-proxy may know of one of them
        // before it knows of the other.
        let mut seen = std::collections::BTreeSet::new();
        eventually(&format!("answers of both pods to pod {} through the Service", pod.name), || {
            seen.insert(from_node(cluster, 1, at, "/fetch/answer:80")?);
            check(seen.len() == 2, || format!("only of {seen:?}"))
        })?;
    }
    Ok(())
}

fn nothing_gets_out(first: &Cluster, second: &Cluster) -> Result<()> {
    let pods = pods(first)?;
    let Some(pod) = pods.first() else {
        return Err(Error::Check("no pods".into()));
    };
    let at = SocketAddr::new(pod.address, PORT);
    check(from_node(second, 1, at, "/").is_err(), || "a pod is reached from the other cluster, which has the same addresses".into())?;
    check(answer::fetch(at, "/").is_err(), || "a pod is reached from the host".into())?;
    // 192.0.2.0/24 is for documentation (RFC 5737). The error comes from the routing table, before any packet.
    let outside = SocketAddr::from(([192, 0, 2, 1], 80));
    let message = from_node(first, 1, outside, "/").err().map(|error| error.to_string()).unwrap_or_default();
    check(message.contains("unreachable"), || format!("the way out is not closed: {message:?}"))?;
    check(from_node(first, 1, at, "/fetch/192.0.2.1:80").is_err(), || "a pod reaches the outside".into())?;
    let inits = [1, 2].map(|node| Process::recorded(&first.layout.init(node)));
    for namespace in inits.into_iter().chain([crate::hub::running(&first.layout)]).flatten() {
        let table = network::inside(namespace, || std::fs::read_to_string("/proc/thread-self/net/route").doing(|| "reading a routing table".into()))?;
        let default = table.lines().any(|line| line.split_ascii_whitespace().nth(1) == Some("00000000"));
        check(!default, || format!("there is a default route:\n{table}"))?;
    }
    Ok(())
}

fn audit_log_counts(cluster: &Cluster) -> Result<()> {
    let log = cluster.audit_log().ok_or_else(|| Error::Check("no audit log".into()))?;
    kubectl(cluster, &["get", "configmaps", "-n", "strict"])?;
    eventually("kubectl's request in the audit log", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let found = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|event| {
            let says = |key: &str, word: &str| event.get(key).and_then(Value::as_str).is_some_and(|value| value.contains(word));
            says("requestURI", "/namespaces/strict/configmaps") && says("userAgent", "kubectl")
        });
        if found { Ok(()) } else { Err(Error::Check(format!("not in {}", log.display()))) }
    })
}

#[derive(Debug)]
struct Pod {
    name: String,
    node: String,
    address: IpAddr,
}

/// The running pods of the check.
fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let list = get(cluster, "/api/v1/namespaces/strict/pods")?;
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).map(String::from);
    Ok(items
        .iter()
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
        .filter_map(|pod| {
            Some(Pod { name: text(pod, "/metadata/name")?, node: text(pod, "/spec/nodeName")?, address: text(pod, "/status/podIP")?.parse().ok()? })
        })
        .collect())
}

fn service_address(cluster: &Cluster) -> Result<IpAddr> {
    let service = get(cluster, "/api/v1/namespaces/strict/services/answer")?;
    service
        .pointer("/spec/clusterIP")
        .and_then(Value::as_str)
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| Error::Check(format!("the Service has no address: {service}")))
}

fn get(cluster: &Cluster, path: &str) -> Result<Value> {
    cluster.api()?.get(path).ok_or_else(|| Error::Check(format!("no answer to GET {path}")))
}

fn from_node(cluster: &Cluster, node: usize, to: SocketAddr, path: &str) -> Result<String> {
    let init = Process::recorded(&cluster.layout.init(node)).ok_or_else(|| Error::Check(format!("node {node} is not running")))?;
    network::inside(init, || answer::fetch(to, path).doing(|| format!("fetching {path} from {to} on node {node}")))
}

fn apply(cluster: &Cluster, object: &Value) -> Result<()> {
    let mut child = cluster
        .kubectl()
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| "starting kubectl".into())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(object.to_string().as_bytes()).doing(|| "writing to kubectl".into())?;
    }
    succeeded("kubectl apply", &child.wait_with_output().doing(|| "waiting for kubectl".into())?)
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.kubectl().args(arguments).output().doing(|| "starting kubectl".into())?;
    succeeded(&format!("kubectl {}", arguments.join(" ")), &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(right: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if right { Ok(()) } else { Err(Error::Check(otherwise())) }
}

/// Tries until it succeeds; after a minute, what the last try said.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = String::new();
    let found = crate::process::wait_for(SOON, Duration::from_millis(100), || match attempt() {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            last = error.to_string();
            Ok(None)
        }
    })?;
    found.ok_or_else(|| Error::Check(format!("{what}: not within {} s; last: {last}", SOON.as_secs())))
}

/// The status of a node's Ready condition.
fn node_ready(cluster: &Cluster, node: usize) -> Result<String> {
    let object = get(cluster, &format!("/api/v1/nodes/{}", cluster.node_name(node)))?;
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.get("type").is_some_and(|kind| kind == "Ready"));
    Ok(ready.and_then(|ready| ready.get("status")?.as_str().map(String::from)).unwrap_or_default())
}
