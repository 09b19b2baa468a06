//! The configuration files of a node's programs. All but containerd's and CoreDNS' are JSON, which is YAML too.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::dist::{Dist, PAUSE_IMAGE};
use crate::error::{Doing, Result};
use crate::layout::{DNS_SERVICE, Layout, PODS, node_address, pod_network};

/// Writes a node's configuration.
pub(crate) fn write(layout: &Layout, dist: &Dist, node: usize) -> Result<()> {
    for (path, text) in files(layout, dist, node) {
        fs::write(&path, text).doing(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A node's configuration: paths and texts.
pub(crate) fn files(layout: &Layout, dist: &Dist, node: usize) -> [(PathBuf, String); 6] {
    let etc = layout.node(node, "etc");
    [
        (etc.join("containerd.toml"), containerd(layout, dist, node)),
        (etc.join("kubelet.json"), kubelet(layout, node).to_string()),
        (etc.join("resolv.conf"), String::new()),
        (etc.join("kube-proxy.json"), kube_proxy(layout, node).to_string()),
        (etc.join("Corefile"), corefile(layout)),
        (layout.node(node, "cni-conf").join("10-pods.conflist"), pod_networking(node).to_string()),
    ]
}

/// Every request, once it is answered, without bodies: enough to count who asks what.
pub(crate) fn write_audit_policy(layout: &Layout) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    let path = layout.audit_policy();
    fs::write(&path, policy.to_string()).doing(|| format!("writing {}", path.display()))
}

fn kubelet(layout: &Layout, node: usize) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE.to_string()],
        "resolvConf": layout.node(node, "etc").join("resolv.conf"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // The disk and the memory are the machine's, which is not this cluster's to judge.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // The settings it wants are shown to it; it must not write them for the whole machine.
        "protectKernelDefaults": true,
        "makeIPTablesUtilChains": false,
        // Lower than the machine's own needs a capability that containers often lack.
        "oomScoreAdj": 0,
        // Status and lease every second: a node is Ready seconds earlier, and missed seconds earlier.
        "nodeStatusUpdateFrequency": "1s",
        "nodeLeaseDurationSeconds": 4,
        "syncFrequency": "10s",
        "serializeImagePulls": false,
        "maxPods": 200,
    })
}

fn kube_proxy(layout: &Layout, node: usize) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS,
        "hostnameOverride": layout.node_name(node),
        // With 0.0.0.0 it waits, with growing pauses, for its Node to tell the address.
        "bindAddress": node_address(node).to_string(),
        "clientConnection": {"kubeconfig": layout.pki("kube-proxy.kubeconfig")},
        "oomScoreAdj": 0,
        // The table's size is the whole machine's; leave it.
        "conntrack": {"maxPerCore": 0, "min": 0},
    })
}

/// A routed link for each pod (the `ptp` plugin) rather than a bridge: every packet between pods then passes the node's
/// rules, so Services work between pods of one node whether or not the kernel filters bridges.
fn pod_networking(node: usize) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{"subnet": pod_network(node)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"},
        ],
    })
}

fn containerd(layout: &Layout, dist: &Dist, node: usize) -> String {
    let root = layout.node(node, "containerd");
    let cni_conf = layout.node(node, "cni-conf");
    let (root, cni_conf, cni) = (root.display(), cni_conf.display(), dist.cni());
    let (cni, runc) = (cni.display(), dist.runtime_bin().join("runc"));
    let runc = runc.display();
    format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"
oom_score = 0

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
max_container_log_line_size = -1

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{cni_conf}"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "{runc}"
"#
    )
}

fn corefile(layout: &Layout) -> String {
    let (address, kubeconfig) = (node_address(1), layout.pki("admin.kubeconfig"));
    let kubeconfig = kubeconfig.display();
    format!(
        ".:53 {{\n    errors\n    ready {address}:8181\n    \
         kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        kubeconfig {kubeconfig}\n        pods insecure\n        \
         fallthrough in-addr.arpa ip6.arpa\n    }}\n    cache 5\n}}\n"
    )
}

/// The objects that lead pods to CoreDNS, which is a program of node 1 and no pod: paths and bodies.
pub(crate) fn dns_objects() -> [(&'static str, Value); 2] {
    let ports = json!([
        {"name": "dns", "protocol": "UDP", "port": 53},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53},
    ]);
    let labels = json!({"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"});
    [
        (
            "/api/v1/namespaces/kube-system/services",
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
                "spec": {"clusterIP": DNS_SERVICE.to_string(), "ports": ports.clone()},
            }),
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {
                    "kubernetes.io/service-name": "kube-dns",
                    "endpointslice.kubernetes.io/managed-by": "cluster",
                }},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": [node_address(1).to_string()], "conditions": {"ready": true}}],
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use std::path::Path;

    #[test]
    fn a_nodes_files_name_its_own_directories_and_network() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path(), "demo").unwrap();
        layout.make_dirs(2).unwrap();
        write(&layout, &Dist::at(Path::new("/c"), Path::new("/r")), 2).unwrap();
        let read = |file: &str| fs::read_to_string(layout.node(2, file)).unwrap();
        assert!(read("cni-conf/10-pods.conflist").contains("198.18.17.0/24"));
        let toml = read("etc/containerd.toml");
        assert!(toml.contains(&format!("root = \"{}\"", layout.node(2, "containerd").display())), "{toml}");
        assert!(toml.contains("BinaryName = \"/r/bin/runc\""), "{toml}");
        let kubelet: Value = serde_json::from_str(&read("etc/kubelet.json")).unwrap();
        assert_eq!(kubelet["clusterDNS"][0], "198.19.0.10");
        assert!(read("etc/Corefile").contains("ready 198.18.0.1:8181\n"));
    }

    #[test]
    fn the_dns_slice_belongs_to_the_dns_service() {
        let [(_, service), (_, slice)] = dns_objects();
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], service["metadata"]["name"]);
        assert!(service["spec"].get("selector").is_none(), "a selector would empty the slice");
        assert_eq!(slice["ports"][0], json!({"name": "dns", "protocol": "UDP", "port": 53}));
    }
}
