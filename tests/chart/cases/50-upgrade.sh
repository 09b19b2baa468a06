# shellcheck shell=bash disable=SC2154
title "Upgrade: two controllers, another log level"
before=$(in_team get pods --output 'jsonpath={.items[*].metadata.uid}')
lease_holder() { in_system get lease "$release" --output 'jsonpath={.spec.holderIdentity}'; }
old=$(lease_holder)
holds "helm upgrade" install --set replicas=2 --set log.level=debug --set log.format=json --wait --timeout 60s
another() { local now; now=$(lease_holder); [ -n "$now" ] && [ "$now" != "$old" ]; }
eventually 10 "another controller leads" another
eventually 10 "a PodDisruptionBudget keeps one of the two" equals 1 in_system get poddisruptionbudget "$release" --output 'jsonpath={.status.disruptionsAllowed}'
holds "they are on different nodes" equals 2 bash -c "kubectl --namespace $system get pods --selector app.kubernetes.io/component=controller --output 'jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}' | sort -u | wc -l"
holds "they log JSON" bash -c "kubectl --namespace $system logs deployment/$release --tail 1 | jq -e .level"
holds "no pod of the application was touched" equals "$before" in_team get pods --output 'jsonpath={.items[*].metadata.uid}'
leads() { [ -n "$(lease_holder)" ]; }
eventually 10 "somebody leads" leads
old=$(lease_holder)
holds "the leader's pod is deleted" in_system delete pod "$old" --wait=false
eventually 10 "the other leads at once" another
holds "the next version is released by the new leader" ship v3
eventually 40 "it becomes ready" ready
eventually 10 "v3 answers through the Service" serves v3
