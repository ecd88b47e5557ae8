#!/usr/bin/env bash
# A certificate authority of the federation's own, and certificates for its servers.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: certificates.sh --out FOLDER [OPTION...] HOST...
       certificates.sh --out FOLDER --renew [OPTION...] [HOST...]

Makes ca.key and ca.crt in FOLDER where there are none, and server.key and server.crt, signed by them, that are valid
for the HOSTs: DNS names, IPv4 and IPv6 addresses, just as the nodes will write them. No key is ever overwritten.

  --out FOLDER     where the files are, or shall be
  --name NAME      make NAME.key and NAME.crt instead of server.key and server.crt
  --renew          sign a new NAME.crt for the NAME.key that is there; the old one is kept as NAME.crt.SERIAL.
                   Without HOSTs for those that the old one names
  --days N         how long the certificate is valid (397)
  --ca-days N      how long a new authority is valid (3650)
  --owner USER     give NAME.key to this user, as chown takes it (10001 in containers); only root can
  --help           show this

ca.key signs certificates and nothing else needs it: keep it away from the server. ca.crt goes to every machine.
TEXT
}

fail() {
  echo "certificates.sh: $*" >&2
  exit 2
}

need_value() {
  [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value; see --help"
}

days_of() {
  [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || fail "$1: found '$2'; expected a number of days from 1 to 99999"
}

out='' name=server renew=no days=397 ca_days=3650 owner=''
hosts=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --out) need_value "$@"; out=$2; shift 2 ;;
    --name) need_value "$@"; name=$2; shift 2 ;;
    --days) need_value "$@"; days=$2; shift 2 ;;
    --ca-days) need_value "$@"; ca_days=$2; shift 2 ;;
    --owner) need_value "$@"; owner=$2; shift 2 ;;
    --renew) renew=yes; shift ;;
    --help | -h) usage; exit 0 ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *) hosts+=("$1"); shift ;;
  esac
done

[[ -n $out ]] || fail "--out is missing: the folder for the files"
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ && $name != ca ]] ||
  fail "--name: found '$name'; expected letters, digits, '.', '_' and '-', and not 'ca'"
days_of --days "$days"
days_of --ca-days "$ca_days"
[[ -z $owner || $EUID -eq 0 ]] || fail "--owner: only root can give files away"
command -v openssl >/dev/null || fail "openssl is not installed"

ca_key=$out/ca.key ca_crt=$out/ca.crt key=$out/$name.key crt=$out/$name.crt

# One subjectAltName of a host: DNS:name or IP:address.
alternative() {
  local octet='(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])'
  if [[ $1 =~ ^$octet(\.$octet){3}$ || ($1 == *:*:* && $1 =~ ^[0-9A-Fa-f:.]+$) ]]; then
    echo "IP:$1"
  elif [[ $1 =~ ^[0-9.]+$ ]]; then
    fail "host '$1' is no IPv4 address"
  elif [[ $1 =~ ^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]]; then
    echo "DNS:$1"
  else
    fail "host '$1': expected a DNS name or an IP address, without a port and without brackets"
  fi
}

if [[ $renew == yes ]]; then
  for file in "$ca_key" "$ca_crt" "$key" "$crt"; do
    [[ -f $file ]] || fail "--renew: $file is missing"
  done
  if [[ ${#hosts[@]} -eq 0 ]]; then
    mapfile -t hosts < <(openssl x509 -in "$crt" -noout -ext subjectAltName |
      grep -Eo '(DNS|IP Address):[^, ]+' | sed -E 's/^(DNS|IP Address)://')
  fi
elif [[ -e $key || -e $crt ]]; then
  fail "$([[ -e $key ]] && echo "$key" || echo "$crt") is there already; --renew signs a new certificate for it," \
    "--name NAME makes another"
fi
[[ ${#hosts[@]} -gt 0 ]] || fail "no HOST is given: the names and addresses that the nodes will connect to"
[[ -e $ca_key || ! -e $ca_crt ]] || fail "$ca_crt is there and its ca.key is not: bring it here to sign with it"
[[ ! -e $ca_key || -e $ca_crt ]] || fail "$ca_key is there and its ca.crt is not: bring it here, or move ca.key away"
alternatives=''
for host in "${hosts[@]}"; do
  alternatives+=,$(alternative "$host")
done
alternatives=${alternatives#,}

umask 077
mkdir -p "$out"
work=$(mktemp -d "$out/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT

# What openssl says is shown when it fails, and only then.
run_openssl() {
  openssl "$@" 2>"$work/said" || {
    cat "$work/said" >&2
    fail "openssl $1 failed, and says above why"
  }
}

new_key() {
  run_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$1"
}

if [[ ! -e $ca_key ]]; then
  new_key "$work/ca.key"
  run_openssl req -new -x509 -sha384 -key "$work/ca.key" -days "$ca_days" -subj "/CN=fedsec federation CA" \
    -addext "basicConstraints=critical,CA:true,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -out "$work/ca.crt"
  authority=$work
else
  authority=$out
fi
# A certificate that outlives its authority is worth nothing after that.
openssl x509 -in "$authority/ca.crt" -noout -checkend "$((days * 86400))" >/dev/null ||
  fail "ca.crt ends before a certificate of $days days would; give fewer --days, or make a new authority"

if [[ $renew == yes ]]; then
  cp "$key" "$work/$name.key"
else
  new_key "$work/$name.key"
fi
cat >"$work/extensions" <<TEXT
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $alternatives
TEXT
run_openssl req -new -sha384 -key "$work/$name.key" -subj "/CN=fedsec $name" -out "$work/request"
run_openssl x509 -req -sha384 -in "$work/request" -CA "$authority/ca.crt" -CAkey "$authority/ca.key" \
  -set_serial "0x$(openssl rand -hex 16)" -days "$days" -extfile "$work/extensions" -out "$work/$name.crt"
run_openssl verify -CAfile "$authority/ca.crt" -purpose sslserver "$work/$name.crt" >/dev/null

chmod 644 "$work/$name.crt"
if [[ $authority == "$work" ]]; then
  chmod 644 "$work/ca.crt"
  mv -n "$work/ca.key" "$work/ca.crt" "$out/"
fi
if [[ $renew == yes ]]; then
  cp -p "$crt" "$crt.$(openssl x509 -in "$crt" -noout -serial | cut -d= -f2)"
else
  [[ -z $owner ]] || chown "$owner" "$work/$name.key"
  mv -n "$work/$name.key" "$out/"
fi
mv -f "$work/$name.crt" "$crt"
echo "$crt: for ${alternatives//,/, }"
openssl x509 -in "$crt" -noout -enddate | sed "s/notAfter=/valid until /"
