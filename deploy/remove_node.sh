#!/usr/bin/env bash
# A node that may not join any more.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: remove_node.sh [--superlink NAME] [--list FILE] NODE...

Unregisters each NODE from the SuperLink. NODE is its name, its public key's file, or its node id as `flwr supernode
list` shows it. Its SuperNode ends within seconds, and is refused when it comes again. Flower never takes the key of a
removed node again: a node that shall come back needs a new one.

  --superlink NAME    the [superlink.NAME] of Flower's config.toml (remote)
  --list FILE         the list that register_node.sh keeps (nodes-NAME.tsv beside Flower's config.toml)
  --help              show this
TEXT
}

fail() {
  echo "remove_node.sh: $*" >&2
  exit 2
}

superlink=remote list=''
nodes=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --superlink | --list)
      [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value; see --help"
      if [[ $1 == --list ]]; then list=$2; else superlink=$2; fi
      shift 2
      ;;
    --help | -h) usage; exit 0 ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *) nodes+=("$1"); shift ;;
  esac
done
list=${list:-${FLWR_HOME:-$HOME/.flwr}/nodes-$superlink.tsv}

[[ ${#nodes[@]} -gt 0 ]] || fail "no NODE is given: names, public keys' files, or node ids"
for program in flwr ssh-keygen python3; do
  command -v "$program" >/dev/null || fail "$program is not installed, or not on the PATH"
done

# The node id of a name or of a public key, from the list; a number is one already.
id_of() {
  local column=2 wanted=$1 found=''
  if [[ $1 =~ ^[0-9]{10,}$ ]]; then
    echo "$1"
    return
  fi
  if [[ -f $1 ]]; then
    column=3 wanted=$(ssh-keygen -l -f "$1" | cut -d' ' -f2)
  fi
  [[ ! -f $list ]] || found=$(awk -F '\t' -v c="$column" -v w="$wanted" '$c == w { print $1 }' "$list" | tail -n 1)
  [[ -n $found ]] || fail "no node '$1' in $list; give the node id that flwr supernode list $superlink shows"
  echo "$found"
}

ids=()
for node in "${nodes[@]}"; do
  id=$(id_of "$node")
  ids+=("$id")
done

for i in "${!ids[@]}"; do
  answer=$(flwr supernode unregister "${ids[i]}" "$superlink" --format json) || true
  # Flower exits with 0 when it refuses, too: only its answer tells.
  python3 -c '
import json, sys
try:
    answer = json.loads(sys.argv[1])
except ValueError:
    sys.exit("Flower did not answer: " + sys.argv[1].strip())
if not answer["success"]:
    sys.exit(answer["error-message"].strip().splitlines()[-1])' "$answer" ||
    fail "${nodes[i]} (node ${ids[i]}) is not removed from $superlink (above)"
  if [[ -f $list ]]; then
    rest=$(mktemp "$list.XXXXXX")
    awk -F '\t' -v id="${ids[i]}" '$1 != id' "$list" >"$rest"
    mv -f "$rest" "$list"
  fi
  echo "${nodes[i]}: node ${ids[i]} is removed"
done
