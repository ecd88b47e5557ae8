#!/usr/bin/env bash
# A gate before the SuperLink, which lets in what nodes need and nothing else.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: gate.sh --listen ADDRESS:PORT --superlink HOST:PORT --ca FILE --certificate FILE --key FILE --state FOLDER

Prints a configuration of nginx, to be run with: nginx -c FILE

A SuperLink of Flower 1.41 serves its nodes, the start and the end of runs, and the registration of nodes on one port,
and asks nobody who he is before it starts a run: whoever reaches the port has the machines of all nodes. So let the
SuperLink listen where only its own machine comes (127.0.0.1), and this gate where the nodes come. It passes on
/v1/fleet/, where every request carries a registered node's signature, and answers all else with 404.

  --listen ADDRESS:PORT  where nodes come
  --superlink NAME:PORT  where the SuperLink listens. Its certificate must hold the NAME, such as localhost: nginx
                         compares names only, no addresses
  --ca FILE              the authority's certificate, by which the gate knows the SuperLink
  --certificate FILE     the certificate that is shown to nodes
  --key FILE             its key
  --state FOLDER         for what nginx writes while it runs
  --largest SIZE         of one request, as nginx writes sizes (16m). Flower cuts arrays into pieces of 5 MiB
  --help                 show this
TEXT
}

fail() {
  echo "gate.sh: $*" >&2
  exit 2
}

declare -A given=([largest]=16m)
while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --listen | --superlink | --ca | --certificate | --key | --state | --largest)
      (($# > 1)) || fail "$1: a value is missing"
      given[${1#--}]=$2
      shift 2
      ;;
    *) fail "$1: unknown option; see --help" ;;
  esac
done
for option in listen superlink ca certificate key state; do
  [[ -n ${given[$option]:-} ]] || fail "--$option is missing; see --help"
done
for option in listen superlink; do
  [[ ${given[$option]} =~ ^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]+$ ]] ||
    fail "--$option: found '${given[$option]}'; expected HOST:PORT"
done
for option in ca certificate key; do
  [[ -r ${given[$option]} ]] || fail "--$option: there is no file '${given[$option]}' that can be read"
  given[$option]=$(realpath "${given[$option]}")
done
[[ -d ${given[state]} ]] || fail "--state: there is no folder '${given[state]}'"
given[state]=$(realpath "${given[state]}")
for option in ca certificate key state; do
  [[ ${given[$option]} =~ ^[A-Za-z0-9._/@+-]+$ ]] ||
    fail "--$option: found '${given[$option]}'; expected a path of letters, digits and ._/@+-"
done
[[ ${given[largest]} =~ ^[0-9]+[kmKM]?$ ]] || fail "--largest: found '${given[largest]}'; expected a size such as 16m"
name=${given[superlink]%:*}
[[ $name =~ [A-Za-z] && $name != *:* ]] ||
  fail "--superlink: found the address '$name'; expected a name that is in the SuperLink's certificate, such as localhost"

cat <<CONF
daemon off;
worker_processes auto;
pid ${given[state]}/nginx.pid;
error_log stderr warn;

events {}

http {
  access_log off;
  server_tokens off;
  client_body_temp_path ${given[state]}/body;
  proxy_temp_path ${given[state]}/proxy;
  fastcgi_temp_path ${given[state]}/fastcgi;
  uwsgi_temp_path ${given[state]}/uwsgi;
  scgi_temp_path ${given[state]}/scgi;

  # A request is refused before it is in memory or on disk.
  client_max_body_size ${given[largest]};
  client_header_timeout 20s;
  client_body_timeout 60s;
  limit_conn_zone \$binary_remote_addr zone=nodes:1m;
  limit_conn nodes 64;

  upstream superlink {
    server ${given[superlink]};
    keepalive 32;
  }

  server {
    listen ${given[listen]} ssl;
    ssl_certificate ${given[certificate]};
    ssl_certificate_key ${given[key]};
    ssl_protocols TLSv1.2 TLSv1.3;

    location /v1/fleet/ {
      proxy_pass https://superlink;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host \$host;
      proxy_ssl_trusted_certificate ${given[ca]};
      proxy_ssl_verify on;
      proxy_ssl_name ${name};
      proxy_ssl_server_name on;
      proxy_read_timeout 120s;
      proxy_next_upstream off;
    }

    location = /gate { return 204; }
    location / { return 404; }
  }
}
CONF
