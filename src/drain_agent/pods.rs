//! Finds the processes of pods: through their control groups, whose names hold the pod's UID.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::proc::{Namespace, Proc, ProcError, Process};

/// One process for each network namespace of a pod, the oldest one.
///
/// That is one namespace, the sandbox's, for nearly all pods; a pod that makes more (a nested container engine, a VPN)
/// may serve from any of them, so all are counted together: a count may then be too high, never too low.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodProcesses {
    by_namespace: BTreeMap<u64, Process>,
}

impl PodProcesses {
    /// Whether the pod has no process at all.
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    /// Reads all network namespaces of the pod.
    ///
    /// # Errors
    /// If one of them could not be read: half a pod is not a sample.
    pub fn sample(&self, proc: &Proc) -> Result<Vec<Namespace>, ProcError> {
        if self.is_empty() {
            return Err(ProcError::Ended);
        }
        self.by_namespace.iter().map(|(id, process)| proc.sample(*process, *id)).collect()
    }

    fn add(&mut self, namespace: u64, process: Process) {
        let oldest = self.by_namespace.entry(namespace).or_insert(process);
        *oldest = process.min(*oldest);
    }
}

/// Looks once through all processes for those of the pods asked for. Pods without any are absent from the answer.
///
/// # Errors
/// If `/proc` cannot be listed.
pub fn scan(proc: &Proc, wanted: &BTreeSet<String>) -> io::Result<BTreeMap<String, PodProcesses>> {
    let mut found: BTreeMap<String, PodProcesses> = BTreeMap::new();
    for pid in proc.pids()? {
        let Some(uid) = proc.cgroup(pid).and_then(|text| pod_of(&text, wanted)) else {
            continue;
        };
        // Whatever ends between these reads was about to end anyway.
        let Some(process) = proc.process(pid) else {
            continue;
        };
        let Some(namespace) = proc.namespace_of(pid) else {
            continue;
        };
        found.entry(uid).or_default().add(namespace, process);
    }
    Ok(found)
}

/// Which of the `wanted` pods a process belongs to, from the text of its `/proc/PID/cgroup`.
///
/// The kubelet names a pod's control group `pod<uid>` (cgroupfs driver) or `kubepods-burstable-pod<uid>.slice` with `_`
/// for `-` (systemd driver); below another slice, names gain its prefix (`kubelet-kubepods-...`). On cgroup v1 there is a
/// line for each hierarchy, on v2 one, and a reader in a cgroup namespace of its own sees `/../` in front.
fn pod_of(cgroup: &[u8], wanted: &BTreeSet<String>) -> Option<String> {
    let mut uid = String::new();
    for line in cgroup.split(|byte| *byte == b'\n') {
        // hierarchy:controllers:path
        let Some(path) = line.splitn(3, |byte| *byte == b':').nth(2) else {
            continue;
        };
        for name in path.split(|byte| *byte == b'/') {
            let name = name.strip_suffix(b".slice").unwrap_or(name);
            let Some(text) = after_pod(name) else {
                continue;
            };
            uid.clear();
            uid.extend(text.iter().map(|byte| if *byte == b'_' { '-' } else { char::from(*byte) }));
            if wanted.contains(&uid) {
                return Some(uid);
            }
        }
    }
    None
}

/// What follows `pod` at the start of a name or the last `-pod` in it.
fn after_pod(name: &[u8]) -> Option<&[u8]> {
    if let Some(uid) = name.strip_prefix(b"pod") {
        return Some(uid);
    }
    let at = name.windows(4).rposition(|window| window == b"-pod")?;
    name.get(at + 4..)
}

#[cfg(test)]
#[path = "tests/pods.rs"]
mod tests;
