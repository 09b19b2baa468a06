# shellcheck shell=bash disable=SC2154
title "An application leaves the operator"
# Pods that leave by themselves would be counted against it.
eventually 60 "nothing drains any more" drained
only_pods() { equals 2 bash -c "kubectl --namespace team-a get pods --output name | wc -l"; }
eventually 60 "only the pods that serve are left" only_pods
before=$(in_team get pods --output 'jsonpath={.items[*].metadata.uid}')
in_team delete bgd shop --cascade=orphan >/dev/null
holds "with --cascade=orphan its pods stay" equals "$before" in_team get pods --output 'jsonpath={.items[*].metadata.uid}'
holds "and serve" serves v5
in_team delete replicasets --all >/dev/null
key() { in_team get service shop --output 'jsonpath={.spec.selector.bluegreen\.dev/revision}{.metadata.annotations.bluegreen\.dev/owner}'; }
eventually 30 "once they are gone the Service is given back" equals "" key
in_team delete service shop >/dev/null
holds "it comes back as a new one" ship v5
eventually 40 "it becomes ready" ready
