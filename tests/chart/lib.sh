# What install-check is written with: conditions with a deadline, and one line for each thing that holds.
# shellcheck shell=bash

started=$(date +%s%N)
failures=0

since() { # MARK: seconds since it, with one decimal
  local tenths=$((($(date +%s%N) - $1) / 100000000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

title() { printf '\n%s (%s s)\n' "$1" "$(since "$started")"; }
pass() { printf '  ok    %s\n' "$1"; }
fail() {
  printf '  FAIL  %s\n' "$1"
  [ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/        /' | tail -n 15
  failures=$((failures + 1))
}

# holds WHAT COMMAND...: it must succeed now.
holds() {
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then pass "$what"; else fail "$what" "$said"; fi
}

# refused WHAT TEXT COMMAND...: it must fail, and say TEXT.
refused() {
  local what=$1 text=$2 said
  shift 2
  if said=$("$@" 2>&1); then
    fail "$what: was let through" "$said"
  elif [[ $said != *"$text"* ]]; then
    fail "$what: refused, but not with: $text" "$said"
  else
    pass "$what"
  fi
}

# eventually SECONDS WHAT COMMAND...: it must succeed before the deadline.
eventually() {
  local deadline=$(($(date +%s) + $1)) what=$2 begun said
  shift 2
  begun=$(date +%s%N)
  while ! said=$("$@" 2>&1); do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      fail "$what" "$said"
      return
    fi
    sleep 0.2
  done
  pass "$what (after $(since "$begun") s)"
}

equals() { # EXPECTED COMMAND...
  local expected=$1 found
  shift
  found=$("$@") || return 1
  [ "$found" = "$expected" ] || { echo "expected: $expected, found: $found"; return 1; }
}

says() { # TEXT COMMAND...
  local text=$1 found
  shift
  found=$("$@" 2>&1) || { echo "$found"; return 1; }
  [[ $found == *"$text"* ]] || { echo "does not say: $text"; echo "$found"; return 1; }
}

# A kubeconfig for one token: with a client certificate beside it, the certificate would win.
kubeconfig_for() { # TOKEN FILE
  local server
  server=$(kubectl config view --raw --minify --output 'jsonpath={.clusters[0].cluster.server}')
  kubectl config view --raw --minify --output 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$2.ca"
  (umask 077 && printf '%s' "$1" >"$2.token")
  kubectl config --kubeconfig "$2" set-cluster it --server "$server" --certificate-authority "$2.ca" --embed-certs >/dev/null
  kubectl config --kubeconfig "$2" set-credentials it --token "$1" >/dev/null
  kubectl config --kubeconfig "$2" set-context it --cluster it --user it >/dev/null
  kubectl config --kubeconfig "$2" use-context it >/dev/null
}
