#!/usr/bin/env bash
# Key pairs that SuperNodes prove who they are with: ECDSA on P-384, in OpenSSH's format.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: node_key.sh --out FOLDER [--owner USER] NAME...

Makes NAME.key (private, mode 600) and NAME.key.pub (public) in FOLDER for each NAME. Nothing is ever overwritten:
where one of the files is there already, none is made.

  --out FOLDER     where the files shall be
  --owner USER     give NAME.key to this user, as chown takes it (10001 in containers); only root can
  --help           show this

Best made on the node's own machine: the private key never has to leave it. The public one goes to whoever runs the
server, for register_node.sh.
TEXT
}

fail() {
  echo "node_key.sh: $*" >&2
  exit 2
}

out='' owner=''
names=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --out | --owner)
      [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value; see --help"
      if [[ $1 == --out ]]; then out=$2; else owner=$2; fi
      shift 2
      ;;
    --help | -h) usage; exit 0 ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *) names+=("$1"); shift ;;
  esac
done

[[ -n $out ]] || fail "--out is missing: the folder for the keys"
[[ ${#names[@]} -gt 0 ]] || fail "no NAME is given: what the node is called, such as hospital-1"
[[ -z $owner || $EUID -eq 0 ]] || fail "--owner: only root can give files away"
command -v ssh-keygen >/dev/null || fail "ssh-keygen is not installed; it comes with OpenSSH's client"
for name in "${names[@]}"; do
  [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
    fail "name '$name': expected letters, digits, '.', '_' and '-'"
  for file in "$out/$name.key" "$out/$name.key.pub"; do
    [[ ! -e $file ]] || fail "$file is there already; a node that needs a new key needs a new name, or the old key moved away"
  done
done

umask 077
mkdir -p "$out"
for name in "${names[@]}"; do
  ssh-keygen -q -t ecdsa -b 384 -N '' -C "$name" -f "$out/$name.key"
  chmod 644 "$out/$name.key.pub"
  [[ -z $owner ]] || chown "$owner" "$out/$name.key"
  echo "$out/$name.key.pub: $(ssh-keygen -l -f "$out/$name.key.pub" | cut -d' ' -f2)"
done
