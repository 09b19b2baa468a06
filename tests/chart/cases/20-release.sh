# shellcheck shell=bash disable=SC2154
title "A release, with the rights of the chart"
holds "a Service without a selector and a BlueGreenDeployment are taken" ship v1
eventually 40 "it becomes ready" ready
eventually 5 "v1 answers through the Service" serves v1
first=$(field .status.active.revision)
# A connection that outlives the switch: the old set must wait for it.
address=$(in_team get service shop --output 'jsonpath={.spec.clusterIP}')
mkfifo "$scratch/hold"
"$cluster" exec --name "$name" --node 2 --network-only -- bash -c "exec 3<>/dev/tcp/$address/9000; cat" <"$scratch/hold" >/dev/null &
holder=$!
# Its input is this script's: it ends with it, whatever happens.
exec 9>"$scratch/hold"
held() { "$cluster" exec --name "$name" --node 2 --network-only -- ss -Htn state established "dst $address" | grep -q 9000; }
eventually 10 "a client holds a connection" held
holds "the next version is taken" ship v2
eventually 40 "it becomes ready" ready
# A node's kube-proxy follows a change within a second or so, here and wherever a release has just become ready.
eventually 10 "v2 answers through the Service" serves v2
measured() { equals "1 Sockets" field '.status.draining[0].openConnections} {.status.draining[0].source'; }
eventually 20 "the agent counts the one connection to the old pods" measured
holds "the old pods are all there" equals 2 in_team get replicasets --selector "bluegreen.dev/revision=$first" --output 'jsonpath={.items[0].spec.replicas}'
exec 9>&-
wait "$holder" || true
left() { equals 0 in_team get replicasets --selector "bluegreen.dev/revision=$first" --output 'jsonpath={.items[0].spec.replicas}'; }
eventually 30 "once it is closed, the old pods go" left
in_team annotate bgd shop "bluegreen.dev/promote=$first" >/dev/null
taken_off() { equals "" field '.metadata.annotations.bluegreen\.dev/promote'; }
eventually 10 "a command that comes too late is removed" taken_off
holds "Events tell about it" says "bluegreen-operator" in_team get events.events.k8s.io --output 'jsonpath={.items[*].reportingController}'
