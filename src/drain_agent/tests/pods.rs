#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::drain_agent::fixture::{Tree, listen};

const UID: &str = "6f0c2a4e-91d3-4f0e-8f5b-0a1b2c3d4e5f";

fn wanted() -> BTreeSet<String> {
    BTreeSet::from([UID.to_owned(), "0123456789abcdef0123456789abcdef".to_owned()])
}

#[test]
fn control_groups_of_all_kinds() {
    let dashed = UID;
    let underscored = UID.replace('-', "_");
    let container = "4f".repeat(32);
    for (what, text) in [
        (
            "v1, cgroupfs",
            format!(
                "12:pids:/kubepods/burstable/pod{dashed}/{container}\n11:cpu,cpuacct:/kubepods/burstable/pod{dashed}/{container}\n1:name=systemd:/kubepods/burstable/pod{dashed}/{container}\n"
            ),
        ),
        ("v1, cgroupfs, guaranteed", format!("12:pids:/kubepods/pod{dashed}/{container}\n")),
        ("v1, hybrid, root elsewhere", format!("9:name=systemd:/\n8:pids:/kubelet/kubepods/besteffort/pod{dashed}/{container}\n0::/\n")),
        (
            "v1, systemd",
            format!(
                "4:memory:/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/cri-containerd-{container}.scope\n"
            ),
        ),
        (
            "v2, systemd",
            format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/crio-{container}.scope/container\n"),
        ),
        ("v2, systemd, guaranteed", format!("0::/kubepods.slice/kubepods-pod{underscored}.slice/cri-containerd-{container}.scope\n")),
        ("v2, cgroupfs", format!("0::/kubepods/besteffort/pod{dashed}/{container}\n")),
        ("v2, seen from a cgroup namespace", format!("0::/../../kubepods-besteffort-pod{underscored}.slice/cri-containerd-{container}.scope\n")),
        (
            "v2, kubelet below a slice",
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{underscored}.slice/cri-containerd-{container}.scope\n"
            ),
        ),
        (
            "v2, a node that is itself a pod",
            format!("0::/kubepods/pod11111111-2222-3333-4444-555555555555/{container}/kubepods/pod{dashed}/{container}\n"),
        ),
    ] {
        assert_eq!(pod_of(text.as_bytes(), &wanted()).as_deref(), Some(UID), "{what}: {text}");
    }
    let static_pod = "0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/x\n";
    assert_eq!(pod_of(static_pod.as_bytes(), &wanted()).unwrap(), "0123456789abcdef0123456789abcdef");
    for text in ["", "0::/\n", "0::/user.slice/user-0.slice\n", "0::/kubepods/pod99999999-2222-3333-4444-555555555555/x\n", "no colons\n", "0:/pod\n"]
    {
        assert_eq!(pod_of(text.as_bytes(), &wanted()), None, "{text}");
    }
    // A part of a UID is not the UID.
    assert_eq!(pod_of(format!("0::/kubepods/pod{UID}a/x").as_bytes(), &wanted()), None);
    assert_eq!(pod_of(format!("0::/kubepods/pod{}/x", &UID[1..]).as_bytes(), &wanted()), None);
}

#[test]
fn the_oldest_process_of_each_network_namespace() {
    let tree = Tree::new();
    let group = format!("0::/kubepods/pod{UID}/x\n");
    tree.process(10, 50, &group);
    tree.process_beside(11, 40, &group, 10);
    tree.process_beside(12, 60, &group, 10);
    tree.process(13, 70, &group);
    tree.process(20, 1, "0::/init.scope\n");
    tree.sockets(10, &[listen(80)], 3);
    tree.sockets(13, &[listen(81), listen(82)], 4);
    let proc = Proc::new(tree.path());
    let found = scan(&proc, &wanted()).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [UID]);
    let mut pids: Vec<u32> = found[UID].by_namespace.values().map(|process| process.pid).collect();
    pids.sort_unstable();
    assert_eq!(pids, [11, 13]);
    let sample = found[UID].sample(&proc).unwrap();
    assert_eq!(sample.iter().map(|namespace| namespace.rows.len()).sum::<usize>(), 3);

    // Half a pod is no sample.
    tree.end(13);
    assert!(matches!(found[UID].sample(&proc), Err(ProcError::Ended)));
    assert!(matches!(PodProcesses::default().sample(&proc), Err(ProcError::Ended)));
}

#[test]
fn a_zombie_is_no_process() {
    let tree = Tree::new();
    tree.process(10, 50, &format!("0::/kubepods/pod{UID}/x\n"));
    std::fs::write(tree.path().join("10/stat"), format!("10 (x) Z {}50 0\n", "0 ".repeat(18))).unwrap();
    assert!(scan(&Proc::new(tree.path()), &wanted()).unwrap().is_empty());
    assert!(scan(&Proc::new(tree.path().join("missing")), &wanted()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_belong_to_a_wanted_pod_or_none(text in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(pod_of(&text, &wanted()).is_none_or(|uid| wanted().contains(&uid)));
        let mut path = b"0::/kubepods/pod".to_vec();
        path.extend(&text);
        prop_assert!(pod_of(&path, &wanted()).is_none_or(|uid| wanted().contains(&uid)));
    }
}
