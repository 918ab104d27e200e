#!/bin/sh
# Makes this clone a systemd service: units, settings, the command `weft`. Run it again after an
# update; what you changed in /etc/weft stays.
#
#   install.sh [--root DIRECTORY]           into DIRECTORY instead of /, without starting anything
#   install.sh --remove [--root DIRECTORY]  takes it away again; /etc/weft and /var/lib/weft stay
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
clone=$(CDPATH='' cd -- "$here/../.." && pwd -P)
root=
remove=
while [ $# -gt 0 ]; do
  case $1 in
    --root) root=${2:?--root needs a directory}; shift 2 ;;
    --remove) remove=yes; shift ;;
    *) echo "install.sh: unknown option $1: use --root DIRECTORY or --remove" >&2; exit 2 ;;
  esac
done
units=$root/etc/systemd/system
link=$root/usr/local/bin/weft

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
  echo "install.sh: writing units needs root: run it with sudo" >&2
  exit 1
fi

if [ -n "$remove" ]; then
  if [ -z "$root" ]; then
    systemctl disable --now weft.service || true
    mkdir -p /etc/weft/mesh
    "$clone/bin/weft.mjs" down --config /etc/weft/mesh --memory /var/lib/weft
  fi
  for unit in "$here"/weft*.service "$here"/weft*.slice; do
    rm -f "$units/$(basename "$unit")"
  done
  rm -f "$link"
  if [ -z "$root" ]; then systemctl daemon-reload; fi
  echo "weft is no service any more; /etc/weft and /var/lib/weft are as they were"
  exit 0
fi

case $clone in
  *[!A-Za-z0-9/._+-]*)
    echo "install.sh: systemd cannot name $clone in a unit: move the clone, to /opt/weft say" >&2
    exit 1 ;;
esac
if [ ! -d "$clone/node_modules" ] || [ ! -d "$clone/bpf/out" ]; then
  echo "install.sh: $clone is not set up: run \`npm run setup\` there first" >&2
  exit 1
fi

mkdir -p "$units" "$root/etc/weft/mesh" "$root/usr/local/bin"
chmod 700 "$root/etc/weft/mesh"
for unit in "$here"/weft*.service "$here"/weft*.slice; do
  sed "s#/opt/weft#$clone#g" "$unit" > "$units/.weft.new"
  mv "$units/.weft.new" "$units/$(basename "$unit")"
done
[ -e "$root/etc/weft/weft.env" ] || cp "$here/weft.env" "$root/etc/weft/weft.env"
ln -sfn "$clone/bin/weft.mjs" "$link"
if [ -z "$root" ]; then
  systemctl daemon-reload
  systemctl enable weft.service
fi
echo "weft is a service; put the mesh's configuration into /etc/weft/mesh, then run"
echo "  systemctl restart weft.service"
