# shellcheck shell=bash disable=SC2154
title "An agent writes its own node's report and nothing else"
mine="$name-n1"
other="$name-n2"
pod=$(in_system get pods --selector app.kubernetes.io/component=agent --field-selector "spec.nodeName=$mine" --output 'jsonpath={.items[0].metadata.name}')
# What the kubelet gives the pod, and what a person with the right to make tokens gets.
kubeconfig_for "$(in_system create token "$release-agent" --bound-object-kind Pod --bound-object-name "$pod")" "$scratch/on-node"
kubeconfig_for "$(in_system create token "$release-agent")" "$scratch/nowhere"
on_node() { KUBECONFIG="$scratch/on-node" in_system "$@"; }
watch_of() { printf '{"apiVersion":"bluegreen.dev/v1alpha1","kind":"ConnectionWatch","metadata":{"name":"%s","namespace":"%s"},"spec":{"reportSeconds":10,"pods":[]}}' "$1" "$system"; }
idle() { equals "" in_system get connectionwatches --output name; }
eventually 30 "the operator asks for nothing, since nothing drains" idle
for node in "$mine" "$other"; do watch_of "$node" | kubectl create --filename - >/dev/null; done
# kubectl would read the object first, and an agent has no right to that.
server=$(kubectl config view --raw --minify --output 'jsonpath={.clusters[0].cluster.server}')
report_as() { # WHO NODE
  local answer
  answer=$(curl --silent --show-error --cacert "$scratch/$1.ca" --header "Authorization: Bearer $(cat "$scratch/$1.token")" --header 'Content-Type: application/merge-patch+json' \
    --request PATCH --data "$report" "$server/apis/bluegreen.dev/v1alpha1/namespaces/$system/connectionwatches/$2/status")
  [ "$(jq --raw-output .kind <<<"$answer")" = ConnectionWatch ] || { jq --raw-output .message <<<"$answer"; return 1; }
}
report='{"status":{"bootId":"made-up","sequence":1,"pods":[]}}'
holds "its own node's report: taken" report_as on-node "$mine"
refused "another node's: refused" "an agent may only write its own node's report" report_as on-node "$other"
refused "with a token that names no node: refused" "an agent may only write its own node's report" report_as nowhere "$mine"
refused "its own spec, by RBAC" "forbidden" on_node patch connectionwatch "$mine" --type merge --patch '{"spec":{"reportSeconds":5}}'
in_system apply --filename tests/chart/objects/agent-everything.yaml >/dev/null
title "The same with every right RBAC can give: the policy holds by itself"
# Until the API server has heard of them, it is still RBAC that refuses.
eventually 10 "RBAC lets all of it through" may delete connectionwatches --as "$agent" --namespace "$system"
refused "its own spec" "an agent may only report status" on_node patch connectionwatch "$mine" --type merge --patch '{"spec":{"reportSeconds":5}}'
refused "deleting its own" "an agent may only report status" on_node delete connectionwatch "$mine"
refused "deleting another's" "an agent may only write its own node's report" on_node delete connectionwatch "$other"
refused "deleting all" "an agent may only write its own node's report" on_node delete connectionwatches --all
in_system delete connectionwatch "$mine" --ignore-not-found >/dev/null
watch_of "$mine" >"$scratch/mine.json"
refused "creating its own" "an agent may only report status" on_node create --filename "$scratch/mine.json"
refused "another node's report" "an agent may only write its own node's report" report_as on-node "$other"
in_system delete --filename tests/chart/objects/agent-everything.yaml >/dev/null
holds "the operator itself is not held up by the policy" kubectl --as "system:serviceaccount:$system:$release" --namespace "$system" delete connectionwatch "$other"
