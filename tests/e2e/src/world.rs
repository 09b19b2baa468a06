//! A cluster with the operator on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cluster::image::Image;
use cluster::progress::Quiet;
use cluster::{Cluster, Options};
use k8s_openapi::api::coordination::v1::Lease;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::diagnosis;
use crate::failure::{Failure, Result, io};
use crate::manifest::APP_IMAGE;

/// Secret with the key that webhooks are signed with.
pub const WEBHOOK_KEY: &str = "webhook-key";
/// Namespace of the operator.
pub const SYSTEM: &str = "bluegreen-system";
/// Helm release, and by the chart's rules the name of the Deployment.
pub const RELEASE: &str = "bluegreen-operator";
/// The operator's image, as every cluster of a run has it.
const IMAGE: &str = "localhost/bluegreen-operator";
/// Tag of the image that is tested.
pub const TAG: &str = "e2e";

/// A cluster with the operator on it.
#[derive(Clone)]
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// A client with all rights.
    pub client: Client,
}

/// A program that lies beside this one.
pub fn beside(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().map_err(io("finding this program"))?;
    let path = here.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::Claim(format!("{} is not built: run `make build`", path.display())))
}

/// The root of the sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl World {
    /// Brings up a new cluster, loads the images and installs the operator. What an earlier run left under this name is
    /// removed: nobody knows what a run that was killed in the middle of a fault has left in it.
    pub async fn up(name: &str, nodes: usize, values: &[&str]) -> Result<Self> {
        block_in_place(|| cluster::down(name))?;
        let options = Options { name: name.into(), nodes, audit: true };
        let (cluster, _) = block_in_place(|| Cluster::up(&options, &mut Quiet))?;
        let config = Kubeconfig::read_from(cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let world = Self { cluster, client: Client::try_from(config)? };
        world.install(values)?;
        Ok(world)
    }

    /// Loads the images and installs the operator with Helm.
    fn install(&self, values: &[&str]) -> Result {
        self.load_operator("bluegreen", TAG)?;
        let app = beside("app")?;
        let load = beside("load")?;
        self.load_image(&Image::new(APP_IMAGE).file(&app, "/app").file(&load, "/load").entrypoint(["/app"]).user("65532:65532"))?;
        let chart = sources().join("charts/bluegreen-operator");
        let chart = chart.to_string_lossy();
        let (repository, tag) = (format!("image.repository={IMAGE}"), format!("image.tag={TAG}"));
        // Made here: no key is in the sources.
        let key = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(io("reading random digits"))?;
        self.kubectl_apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}))?;
        self.kubectl_apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": WEBHOOK_KEY, "namespace": SYSTEM}, "stringData": {"key": key.trim()},
        }))?;
        let signed = format!("webhookKey.secret={WEBHOOK_KEY}");
        let mut words = vec!["install", RELEASE, &chart, "--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "90s"];
        for value in [repository.as_str(), &tag, "image.pullPolicy=Never", &signed].iter().chain(values) {
            words.extend(["--set", value]);
        }
        self.helm(&words).map(drop).map_err(|error| match error {
            // Helm only says that it waited.
            Failure::Command { command, output } => Failure::Command { command, output: format!("{output}\n{}", diagnosis::of_operator(self)) },
            other => other,
        })
    }

    /// Loads a build of the operator, which lies beside this program, as an image with a tag of its own.
    pub fn load_operator(&self, program: &str, tag: &str) -> Result {
        let program = beside(program)?;
        self.load_image(&Image::new(format!("{IMAGE}:{tag}")).file(&program, "/bluegreen").entrypoint(["/bluegreen"]).user("64320:64320"))
    }

    fn load_image(&self, image: &Image) -> Result {
        // In the cluster's own directory, which goes with the cluster, whatever happens here.
        let path = self.cluster.kubeconfig().with_file_name("e2e-image.tar");
        block_in_place(|| image.write(&path).and_then(|()| self.cluster.load_image(&path)))?;
        std::fs::remove_file(&path).map_err(io("removing an image archive"))
    }

    /// Runs Helm.
    pub fn helm(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(self.cluster.tools_dir().join("helm"));
        command.env("KUBECONFIG", self.cluster.kubeconfig()).args(words);
        said(&format!("helm {}", words.join(" ")), &run(command)?)
    }

    /// Runs kubectl.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        said(&format!("kubectl {}", words.join(" ")), &self.kubectl_output(words)?)
    }

    /// Applies an object with kubectl.
    pub fn kubectl_apply(&self, object: &Value) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], object)
    }

    /// Runs kubectl with an object for its standard input.
    pub fn kubectl_with(&self, words: &[&str], object: &Value) -> Result<String> {
        let mut command = self.cluster.kubectl();
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = block_in_place(|| {
            let mut child = command.spawn()?;
            // Closed at once, which is the end of what kubectl reads.
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(object.to_string().as_bytes()))?;
            child.wait_with_output()
        });
        said(&format!("kubectl {}", words.join(" ")), &output.map_err(io("running kubectl"))?)
    }

    /// Runs kubectl, whatever comes of it.
    pub fn kubectl_output(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.cluster.kubectl();
        command.args(words);
        run(command)
    }

    /// Ends the cluster.
    pub fn down(self) -> Result {
        Ok(block_in_place(|| self.cluster.down())?)
    }
}

/// The process that leads, by the name of its pod.
pub async fn leader(world: &World) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), SYSTEM);
    Ok(leases.get(RELEASE).await?.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}

/// Processes on this machine with a word in their command line and a variable, such as `NODE_NAME=n1`, in their environment.
pub fn processes(word: &str, variable: &str) -> Result<Vec<i32>> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").map_err(io("listing processes"))?.filter_map(std::result::Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let has = |file: &str, wanted: &str| {
            let text = std::fs::read(entry.path().join(file)).unwrap_or_default();
            text.split(|byte| *byte == 0).any(|part| part == wanted.as_bytes())
        };
        if has("cmdline", word) && has("environ", variable) {
            found.push(pid);
        }
    }
    if found.is_empty() {
        return Err(Failure::Claim(format!("there is no process `{word}` with {variable}")));
    }
    Ok(found)
}

fn run(mut command: Command) -> Result<Output> {
    block_in_place(|| command.stdin(Stdio::null()).output()).map_err(io(format!("starting {command:?}")))
}

fn said(command: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(Failure::Command { command: command.into(), output: String::from_utf8_lossy(&text).trim().into() })
}
