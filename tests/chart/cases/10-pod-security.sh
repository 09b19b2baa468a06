# shellcheck shell=bash disable=SC2154
title "Install where the pod security level is restricted"
kubectl create namespace "$system" >/dev/null
kubectl label namespace "$system" pod-security.kubernetes.io/enforce=restricted >/dev/null
kubectl create namespace team-a >/dev/null
kubectl create namespace team-b >/dev/null
holds "helm install" install
holds "the notes say that the agent cannot start, and how it can" says "pod-security.kubernetes.io/enforce=privileged" cat "$scratch/notes"
eventually 30 "the controller starts even so: it keeps the restricted level" settled "deployment/$release"
refused_agent() { says "violates PodSecurity" in_system get events --field-selector "reason=FailedCreate,involvedObject.kind=DaemonSet" --output 'jsonpath={.items[*].message}'; }
eventually 20 "the agent is refused for hostPID" refused_agent
# Reasons follow each other in one message, so the only one also ends it.
other_reasons() { in_system get events --field-selector "reason=FailedCreate,involvedObject.kind=DaemonSet" --output 'jsonpath={range .items[*]}{.message}{"\n"}{end}' | grep --invert-match ': host namespaces (hostPID=true)$' || true; }
holds "and for nothing but hostPID" equals "" other_reasons
kubectl label namespace "$system" pod-security.kubernetes.io/enforce=privileged --overwrite >/dev/null
in_system rollout restart "daemonset/$release-agent" >/dev/null
eventually 30 "with the level privileged an agent runs on every node" agents_ready
holds "helm install again is quiet about it" install --wait --timeout 60s
holds "the notes have nothing more to say about it" bash -c "! grep -q 'CANNOT START' '$scratch/notes'"
