# shellcheck shell=bash disable=SC2154
title "Confined to one namespace"
refused "a namespace that does not exist is named by Helm" '"nowhere" not found' install --set 'watchNamespaces={nowhere}' --wait --timeout 20s
holds "helm upgrade with watchNamespaces" install --set 'watchNamespaces={team-a}' --wait --timeout 60s
controller="system:serviceaccount:$system:$release"
holds "it may work in the namespace" may patch services --as "$controller" --namespace team-a
for right in "list services" "patch services" "create replicasets" "list pods" "list bluegreendeployments"; do
  # shellcheck disable=SC2086
  holds "it may not $right elsewhere" may_not $right --as "$controller" --namespace team-b
done
holds "it reads Nodes, for the agent" may list nodes --as "$controller"
sed s/@VERSION@/v1/ tests/chart/objects/shop.yaml | kubectl --namespace team-b apply --filename - >/dev/null
holds "the next version is taken" ship v6
eventually 40 "it is released" ready
eventually 10 "v6 answers through the Service" serves v6
holds "nothing happens in another namespace" equals "" kubectl --namespace team-b get replicasets --output name
title "Confined, and without the agent"
holds "helm upgrade without the agent" install --set 'watchNamespaces={team-a}' --set agent.enabled=false --wait --timeout 60s
for kind in clusterrolebindings daemonsets validatingadmissionpolicies; do
  holds "no $kind are left" none "$kind"
done
holds "it reads no Nodes" may_not list nodes --as "$controller"
holds "the next version is taken" ship v7
eventually 40 "it is released" ready
timed() { equals "Timer" field '.status.draining[0].source'; }
eventually 20 "old pods leave by the timer" timed
gone() { equals "" field '.status.draining[*].revision'; }
eventually 40 "and are gone" gone
