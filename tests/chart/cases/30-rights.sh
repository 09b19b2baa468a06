# shellcheck shell=bash disable=SC2154
title "The rights: what is not needed is not there"
controller="system:serviceaccount:$system:$release"
agent="$controller-agent"
may() { kubectl auth can-i "$@" >/dev/null; }
# Only a "no" counts: a misspelt resource or an API server that is away is not a right that is missing.
may_not() {
  local said
  said=$(kubectl auth can-i "$@" 2>&1) || true
  # Before the answer kubectl may warn, such as of a resource without namespaces.
  [[ ${said##*$'\n'} == no* && $said != *"doesn't have a resource type"* ]] || { echo "$said"; return 1; }
}
for right in "create secrets" "get secrets" "list secrets" "get configmaps" "create pods" "create pods --subresource exec" "create services" \
  "delete services" "delete bluegreendeployments" "create bluegreendeployments" "patch deployments" "list jobs" "patch jobs" "create cronjobs" "impersonate serviceaccounts" \
  "create serviceaccounts --subresource token" "patch nodes" "create rolebindings" "patch validatingadmissionpolicies"; do
  # shellcheck disable=SC2086
  holds "the controller may not $right" may_not $right --as "$controller" --namespace team-a
done
for right in "list connectionwatches" "patch leases" "list daemonsets"; do
  # shellcheck disable=SC2086
  holds "the controller may $right only in its own namespace" may_not $right --as "$controller" --namespace team-a
done
holds "nor touch another lease there" may_not patch leases/other --as "$controller" --namespace "$system"
for right in "create connectionwatches" "patch connectionwatches" "delete connectionwatches" "get pods" "get secrets" "list nodes" "get leases" "list bluegreendeployments"; do
  # shellcheck disable=SC2086
  holds "the agent may not $right" may_not $right --as "$agent" --namespace "$system"
done
holds "the agent may not read reports elsewhere" may_not get connectionwatches --as "$agent" --namespace team-a
for group in view edit admin; do
  kubectl create rolebinding "$group-er" --clusterrole "$group" --user "$group-er" --namespace team-b >/dev/null
done
holds "who may view a namespace may view its BlueGreenDeployments" may list bluegreendeployments --as view-er --namespace team-b
holds "and not change them" may_not patch bluegreendeployments --as view-er --namespace team-b
holds "who may edit it may create them" may create bluegreendeployments --as edit-er --namespace team-b
holds "and scale them" may patch bluegreendeployments --subresource scale --as edit-er --namespace team-b
holds "and not write their status" may_not patch bluegreendeployments --subresource status --as edit-er --namespace team-b
holds "who administers it may delete them" may delete bluegreendeployments --as admin-er --namespace team-b
