//! Container images out of files, without a container engine: one layer, in the archive format of `docker save`, which
//! containerd imports. The same files give the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::{Doing, Result};

/// An image to be written.
#[derive(Debug, Clone)]
pub struct Image {
    tag: String,
    files: Vec<(PathBuf, String)>,
    entrypoint: Vec<String>,
    env: Vec<String>,
    user: String,
}

impl Image {
    /// An empty image called `tag`, such as `localhost/shop:v1`.
    #[must_use]
    pub fn new(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), files: Vec::new(), entrypoint: Vec::new(), env: Vec::new(), user: String::new() }
    }

    /// Puts the host's file `from` at the absolute path `to`. Its permission bits stay.
    #[must_use]
    pub fn file(mut self, from: impl Into<PathBuf>, to: impl Into<String>) -> Self {
        self.files.push((from.into(), to.into()));
        self
    }

    /// The program to run, with its first arguments.
    #[must_use]
    pub fn entrypoint(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// The user, such as `65532:65532`; without one, root. A number lets `runAsNonRoot` check it.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Writes the archive to `path`, whole or not at all.
    ///
    /// # Errors
    /// When a file can't be read or the archive can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let layer = self.layer()?;
        let layer_digest = hex(&Sha256::digest(&layer));
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": self.entrypoint, "Env": self.env, "User": self.user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
            "history": [{"created_by": "cluster image"}],
        })
        .to_string();
        let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
        let layer_name = format!("{layer_digest}/layer.tar");
        let manifest = json!([{"Config": config_name, "RepoTags": [self.tag], "Layers": [layer_name]}]).to_string();

        let temporary = path.with_extension(format!("tmp{}", std::process::id()));
        let doing = || format!("writing {}", temporary.display());
        let mut archive = tar::Builder::new(fs::File::create(&temporary).doing(doing)?);
        for (name, content) in
            [(&config_name, config.as_bytes()), (&layer_name, layer.as_slice()), (&"manifest.json".to_string(), manifest.as_bytes())]
        {
            append(&mut archive, name, content, 0o644).doing(doing)?;
        }
        archive.into_inner().and_then(|mut file| file.flush()).doing(doing)?;
        fs::rename(&temporary, path).doing(|| format!("renaming {} to {}", temporary.display(), path.display()))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut made = BTreeSet::new();
        for (from, to) in &self.files {
            use std::os::unix::fs::PermissionsExt;
            let doing = || format!("putting {} into image {}", from.display(), self.tag);
            let content = fs::read(from).doing(doing)?;
            let mode = fs::metadata(from).doing(doing)?.permissions().mode() & 0o777;
            let to = to.trim_start_matches('/');
            let parents: Vec<&Path> = Path::new(to).ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
            for dir in parents.into_iter().rev() {
                if made.insert(dir.to_path_buf()) {
                    let mut header = header(0, 0o755);
                    header.set_entry_type(tar::EntryType::Directory);
                    layer.append_data(&mut header, dir, std::io::empty()).doing(doing)?;
                }
            }
            append(&mut layer, to, &content, mode).doing(doing)?;
        }
        layer.into_inner().doing(|| format!("ending the layer of image {}", self.tag))
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, content: &[u8], mode: u32) -> std::io::Result<()> {
    archive.append_data(&mut header(content.len() as u64, mode), name, content)
}

/// The machine's architecture as images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn entries(bytes: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(bytes);
        let mut all = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            all.insert(name, (entry.header().mode().unwrap(), content));
        }
        all
    }

    #[test]
    fn an_archive_holds_what_docker_save_would_write() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "#!").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let out = dir.path().join("i.tar");
        let image =
            Image::new("localhost/shop:v1").file(&program, "/opt/app/shop").entrypoint(["/opt/app/shop", "serve"]).user("65532").env("A", "b");
        image.write(&out).unwrap();
        let bytes = fs::read(&out).unwrap();

        let archive = entries(&bytes);
        let manifest: serde_json::Value = serde_json::from_slice(&archive["manifest.json"].1).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["localhost/shop:v1"]));
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config_text = &archive[config_name].1;
        assert_eq!(config_name, format!("{}.json", hex(&Sha256::digest(config_text))), "named by its own digest");
        let config: serde_json::Value = serde_json::from_slice(config_text).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/opt/app/shop", "serve"]));
        assert_eq!(config["config"]["User"], "65532");
        assert_eq!(config["config"]["Env"], json!(["A=b"]));
        let layer = &archive[manifest[0]["Layers"][0].as_str().unwrap()].1;
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", hex(&Sha256::digest(layer)))]));
        let files = entries(layer);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["opt", "opt/app", "opt/app/shop"]);
        assert_eq!(files["opt/app/shop"], (0o755, b"#!".to_vec()));

        let again = dir.path().join("j.tar");
        image.write(&again).unwrap();
        assert_eq!(fs::read(&again).unwrap(), bytes, "the same files give the same bytes");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Image::new("a:b").file("/nowhere/x", "/x").write(Path::new("/tmp/never")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/x"), "{error}");
    }
}
