#!/usr/bin/env bash
# Nodes that may join: their public keys, made known to the SuperLink.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: register_node.sh [--superlink NAME] [--list FILE] PUBLIC_KEY...

Registers each PUBLIC_KEY (made by node_key.sh, NAME.key.pub) with the SuperLink, under the name of its file, and notes
node id, name and fingerprint in a list, because Flower does not show later which node has which key.

  --superlink NAME    the [superlink.NAME] of Flower's config.toml (remote)
  --list FILE         the list (nodes-NAME.tsv beside Flower's config.toml)
  --help              show this
TEXT
}

fail() {
  echo "register_node.sh: $*" >&2
  exit 2
}

superlink=remote list=''
keys=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --superlink | --list)
      [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value; see --help"
      if [[ $1 == --list ]]; then list=$2; else superlink=$2; fi
      shift 2
      ;;
    --help | -h) usage; exit 0 ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *) keys+=("$1"); shift ;;
  esac
done
list=${list:-${FLWR_HOME:-$HOME/.flwr}/nodes-$superlink.tsv}

[[ ${#keys[@]} -gt 0 ]] || fail "no PUBLIC_KEY is given: the nodes' .key.pub files"
for program in flwr ssh-keygen python3; do
  command -v "$program" >/dev/null || fail "$program is not installed, or not on the PATH"
done
for key in "${keys[@]}"; do
  [[ -f $key ]] || fail "$key: no such file"
  head -n 1 "$key" | grep -q '^ecdsa-sha2-nistp' ||
    fail "$key: expected a public key of OpenSSH's, ecdsa-sha2-nistp384 as node_key.sh makes them; is it the private one?"
  name=$(basename "$key" .pub) && name=${name%.key}
  [[ ! -f $list ]] || ! cut -f 2 "$list" | grep -qxF "$name" ||
    fail "a node called $name is in $list already; remove_node.sh removes it, or give the key's file another name"
done

for key in "${keys[@]}"; do
  name=$(basename "$key" .pub) && name=${name%.key}
  answer=$(flwr supernode register "$key" "$superlink" --name "$name" --format json) || true
  # Flower exits with 0 when it refuses, too: only its answer tells.
  node_id=$(python3 -c '
import json, sys
try:
    answer = json.loads(sys.argv[1])
except ValueError:
    sys.exit("Flower did not answer: " + sys.argv[1].strip())
if not answer["success"]:
    sys.exit(answer["error-message"].strip().splitlines()[-1])
print(answer["node-id"])' "$answer") || fail "$name is not registered with $superlink (above)"
  mkdir -p "$(dirname "$list")"
  printf '%s\t%s\t%s\n' "$node_id" "$name" "$(ssh-keygen -l -f "$key" | cut -d' ' -f2)" >>"$list"
  echo "$name: registered as node $node_id"
done
