# shellcheck shell=bash disable=SC2154
title "An application leaves the operator"
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
