# shellcheck shell=bash disable=SC2154
title "What the API server saw"
# Between uninstall and install the controller, on its way out, may find that its Role has gone before it.
# Requests of the checks themselves, made with --as or with an agent's token, come from kubectl.
requests() { jq --raw-output --slurp "[.[] | select(.user.username | startswith(\"system:serviceaccount:$system:\")) | select(.userAgent // \"\" | startswith(\"kubectl\") | not)] | $1" "$audit"; }
holds "nothing the controller or an agent asked for was forbidden" equals "" requests ".[] | select(.responseStatus.code == 403) | select((.requestReceivedTimestamp < \"$uninstalled\") or (.requestReceivedTimestamp > \"$reinstalled\")) | \"\(.user.username) \(.verb) \(.requestURI)\""
# Each right of the chart was used by this run, or is named here with the reason why it is there.
requests '[.[] | [(.user.username | split(":")[3]), .verb, .objectRef.resource + (if .objectRef.subresource then "/" + .objectRef.subresource else "" end)] | join(" ")] | unique | .[]' >"$scratch/used"
helm template "$release" "$chart" --namespace "$system" --set crds.install=false --output-dir "$scratch/rendered" >/dev/null
cat >"$scratch/explained" <<'REASONS'
bluegreen-operator get bluegreendeployments        an owner is looked up live before its ReplicaSet or Service is taken over
bluegreen-operator get replicasets                 read live where a name is taken, and between two writes of a retirement
bluegreen-operator get pods                        read live before they leave one by one (drain.scaleDown: PerPod), which no release here asks for
bluegreen-operator patch pods                      the same; rights-check takes these away one by one
bluegreen-operator delete pods                     the same
bluegreen-operator create poddisruptionbudgets     the budget (spec.disruptionBudget), which no release here asks for
bluegreen-operator patch poddisruptionbudgets      the budget (spec.disruptionBudget), which no release here asks for
bluegreen-operator delete poddisruptionbudgets     the budget (spec.disruptionBudget), which no release here asks for
bluegreen-operator get jobs                        hooks (spec.hooks), which no release here has
bluegreen-operator create jobs                     the same
bluegreen-operator delete jobs                     the same
bluegreen-operator patch connectionwatches         a second release drains on the same node
bluegreen-operator update bluegreendeployments/finalizers   asked for by OwnerReferencesPermissionEnforcement only
REASONS
rights() { # FILE SERVICEACCOUNT
  kubectl create --dry-run=client --filename "$scratch/rendered/$release/templates/$1" --output json |
    jq --raw-output --slurp --arg who "$2" '[.. | objects | select(.rules?) | .rules[] | .verbs[] as $verb | .resources[] as $resource | "\($who) \($verb) \($resource)"] | unique | .[]'
}
{ rights controller-rbac.yaml "$release"; rights agent-rbac.yaml "$release-agent"; } | sort >"$scratch/granted"
# A watch begins with a list of its own (sendInitialEvents); the list is what the client falls back to.
{ cat "$scratch/used"; cut -d ' ' -f 1-3 "$scratch/explained"; } | sort -u >"$scratch/known"
comm -23 "$scratch/granted" "$scratch/known" | while read -r who verb resource; do
  [ "$verb" = list ] && grep -q "^$who watch $resource$" "$scratch/known" || echo "$who $verb $resource"
done >"$scratch/unused"
holds "every right that is granted was used" equals "" cat "$scratch/unused"
