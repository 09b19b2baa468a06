//! What the operator's processes take: memory and CPU time, from the host's /proc.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use demo::failure::Result;
use demo::install::SYSTEM;

/// The kernel's clock ticks a second: USER_HZ, which is 100 on every architecture that Kubernetes runs on (proc_pid_stat(5)).
const TICKS: f64 = 100.0;

/// What processes take together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory of the largest process, in MiB.
    pub memory: f64,
    /// CPU time of all of them since they started.
    pub cpu: Duration,
}

/// What the pods of a component (`controller` or `agent`) take.
///
/// # Errors
/// As the API server says.
pub async fn usage(client: &Client, component: &str) -> Result<Usage> {
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
    let pods = Api::<Pod>::namespaced(client.clone(), SYSTEM).list(&labels).await?;
    let uids: Vec<String> = pods.items.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    let mut all = Usage::default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let read = |name: &str| fs::read_to_string(process.path().join(name)).ok();
        // A process may end at any time, and what is no process has no such files.
        let Some(cgroup) = read("cgroup").filter(|text| uids.iter().any(|uid| text.contains(uid))) else {
            continue;
        };
        let (Some(status), Some(stat)) = (read("status"), read("stat")) else {
            continue;
        };
        // The pause process of the pod is no part of the operator.
        if cgroup.is_empty() || !status.starts_with("Name:\tbluegreen") {
            continue;
        }
        all.memory = all.memory.max(memory(&status).unwrap_or_default());
        all.cpu += cpu(&stat).unwrap_or_default();
    }
    Ok(all)
}

/// VmRSS of /proc/PID/status, in MiB.
fn memory(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Fields 14 and 15 (utime, stime) of /proc/PID/stat. The second field may hold spaces, so they are counted from its end.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(ticks / TICKS).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn proc_files_are_read() {
        assert_eq!(memory("Name:\tbluegreen\nVmRSS:\t    2048 kB\n"), Some(2.0));
        assert_eq!(memory("Name:\tkthread\n"), None);
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("12"), None);
    }
}
