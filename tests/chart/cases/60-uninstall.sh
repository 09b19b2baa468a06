# shellcheck shell=bash disable=SC2154,SC2034
title "Uninstall in the middle of an application's life"
drained() { equals "" field '.status.draining[*].revision'; }
eventually 60 "nothing drains any more" drained
# Then the old pods still end, and only after them the set before them leaves the history.
only_serving() { equals "2 2" bash -c "echo \$(kubectl --namespace team-a get pods --output name | wc -l) \$(kubectl --namespace team-a get replicasets --output name | wc -l)"; }
eventually 60 "two pods are left, and two ReplicaSets: the one that serves and one of history" only_serving
kept() { in_team get pods,replicasets,services,bluegreendeployments --output 'jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{"\n"}{end}'; }
before=$(kept)
selector=$(in_team get service shop --output 'jsonpath={.spec.selector}')
# Compared as text with times in microseconds: the whole second counts, or what came in the rest of it would seem to be earlier.
uninstalled=$(date --utc +%FT%T.000000Z)
holds "helm uninstall" helm uninstall "$release" --namespace "$system" --wait --timeout 60s
holds "the CRDs stay" kubectl get crd bluegreendeployments.bluegreen.dev connectionwatches.bluegreen.dev
none() { equals "" kubectl get "$1" --selector "app.kubernetes.io/instance=$release" --all-namespaces --output name; }
for kind in clusterroles clusterrolebindings validatingadmissionpolicies validatingadmissionpolicybindings roles rolebindings serviceaccounts deployments daemonsets; do
  holds "no $kind are left" none "$kind"
done
holds "BlueGreenDeployments, ReplicaSets, Services and pods are the same" equals "$before" kept
holds "the Service still selects the revision" equals "$selector" in_team get service shop --output 'jsonpath={.spec.selector}'
holds "v3 still answers" serves v3
holds "an application changes while no operator is there" ship v4
title "Install again"
reinstalled=$(date --utc +%FT%T.999999Z)
holds "helm install" install --wait --timeout 60s
eventually 40 "the change is released" ready
eventually 10 "v4 answers through the Service" serves v4
title "Helm's own rollback of the operator"
holds "helm upgrade with an image that does not exist fails" bash -c "! helm upgrade $release $chart --namespace $system --set image.tag=missing --wait --timeout 5s"
holds "the old controller goes on meanwhile" ship v5
eventually 40 "a release goes through" ready
holds "helm rollback" helm rollback "$release" 1 --namespace "$system" --wait --timeout 60s
eventually 10 "v5 still answers" serves v5
