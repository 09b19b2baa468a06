//! The cluster's certificates and kubeconfigs: one authority, made anew with each cluster and gone with it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::error::{Doing, Result};
use crate::layout::{API_PORT, API_SERVICE, Layout, node_address};

/// A client's certificate: file name, user and group. Groups and names as the Node and RBAC authorizers know them
/// (Kubernetes' documentation, "PKI certificates and requirements").
const CLIENTS: [(&str, &str, Option<&str>); 4] = [
    ("admin", "admin", Some("system:masters")),
    ("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kube-proxy", "system:kube-proxy", None),
];

/// The clients that also get a kubeconfig for use inside the cluster.
const CONFIGURED: [&str; 3] = ["admin", "kube-scheduler", "kube-proxy"];

/// Writes all certificates, keys and kubeconfigs; `port` is the API server's port on the host.
pub(crate) fn write(layout: &Layout, nodes: usize, port: u16) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name(&format!("{} authority", layout.name()), None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    put(&layout.pki("ca.crt"), &authority.pem())?;

    let mut names: Vec<String> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
        .map(String::from)
        .to_vec();
    names.extend([Ipv4Addr::LOCALHOST, API_SERVICE, node_address(1)].map(|address| address.to_string()));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name("kube-apiserver", None);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(layout, "apiserver", params, &authority)?;

    for (file, user, group) in CLIENTS {
        sign(layout, file, client(user, group)?, &authority)?;
    }
    let inside = format!("https://{}:{API_PORT}", node_address(1));
    for file in CONFIGURED {
        put_kubeconfig(layout, file, &inside, &layout.pki(&format!("{file}.kubeconfig")))?;
    }
    for node in 1..=nodes {
        let file = format!("kubelet-{node}");
        let user = format!("system:node:{}", layout.node_name(node));
        sign(layout, &file, client(&user, Some("system:nodes"))?, &authority)?;
        put_kubeconfig(layout, &file, &inside, &layout.pki(&format!("{file}.kubeconfig")))?;
    }
    put_kubeconfig(layout, "admin", &format!("https://127.0.0.1:{port}"), &layout.kubeconfig())?;

    let tokens = KeyPair::generate()?;
    put(&layout.pki("service-accounts.key"), &tokens.serialize_pem())?;
    put(&layout.pki("service-accounts.pub"), &tokens.public_key_pem())
}

fn client(user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name(user, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn sign(layout: &Layout, file: &str, mut params: CertificateParams, authority: &CertifiedIssuer<'_, KeyPair>) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    put(&layout.pki(&format!("{file}.crt")), &certificate.pem())?;
    put(&layout.pki(&format!("{file}.key")), &key.serialize_pem())
}

/// A kubeconfig that holds everything it needs, so that it can be copied to anywhere.
fn put_kubeconfig(layout: &Layout, client: &str, server: &str, path: &Path) -> Result<()> {
    let data = |file: String| -> Result<String> {
        let path = layout.pki(&file);
        Ok(STANDARD.encode(fs::read(&path).doing(|| format!("reading {}", path.display()))?))
    };
    let cluster = layout.name();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": data("ca.crt".into())?}}],
        "users": [{"name": client, "user": {
            "client-certificate-data": data(format!("{client}.crt"))?,
            "client-key-data": data(format!("{client}.key"))?,
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": client}}],
        "current-context": cluster,
    });
    // JSON is YAML.
    put(path, &format!("{config:#}\n"))
}

fn put(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).doing(|| format!("making {}", path.display()))?;
    file.write_all(text.as_bytes()).doing(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_kubeconfig_leads_to_the_host_port_and_holds_its_credentials() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path(), "demo").unwrap();
        layout.make_dirs(2).unwrap();
        write(&layout, 2, 40_123).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&fs::read(layout.kubeconfig()).unwrap()).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:40123");
        let key = STANDARD.decode(config["users"][0]["user"]["client-key-data"].as_str().unwrap()).unwrap();
        assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
        let mode = fs::metadata(layout.kubeconfig()).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else may read an administrator's key");
        assert!(layout.pki("kubelet-2.kubeconfig").exists());
        assert!(!layout.pki("kubelet-3.kubeconfig").exists());
    }
}
