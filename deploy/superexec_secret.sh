#!/usr/bin/env bash
# The secret that a flower-superexec shows to its SuperLink or SuperNode before it is given any work.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: superexec_secret.sh --out FILE [--owner USER]

Writes 32 random bytes to FILE (mode 600). One secret for each machine: the SuperLink and its superexec read the same
file, so do a SuperNode and its superexec. It never leaves the machine, and an existing FILE is never overwritten.

  --owner USER     give FILE to this user, as chown takes it (10001 in containers); only root can
  --help           show this
TEXT
}

fail() {
  echo "superexec_secret.sh: $*" >&2
  exit 2
}

out='' owner=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --out | --owner)
      [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value; see --help"
      if [[ $1 == --out ]]; then out=$2; else owner=$2; fi
      shift 2
      ;;
    --help | -h) usage; exit 0 ;;
    *) fail "unknown argument '$1'; see --help" ;;
  esac
done

[[ -n $out ]] || fail "--out is missing: the file for the secret"
[[ ! -e $out ]] || fail "$out is there already; move it away to make a new one, and restart both processes that read it"
[[ -z $owner || $EUID -eq 0 ]] || fail "--owner: only root can give files away"

umask 077
mkdir -p "$(dirname "$out")"
head -c 32 /dev/urandom >"$out"
[[ -z $owner ]] || chown "$owner" "$out"
echo "$out"
