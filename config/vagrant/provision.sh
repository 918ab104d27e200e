#!/bin/sh
# Makes one of the virtual machines of the Vagrantfile a node of the mesh. Run again, it does only
# what has changed.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -q
# Debian's own Node is enough for set-up, which brings the Node that weft runs on.
apt-get install -y -q --no-install-recommends git nodejs npm curl nginx-light

cd /opt/weft
npm run setup
config/systemd/install.sh

# The root that the machine which runs Vagrant made for both.
install -d -m 700 /etc/weft/ca
install -m 600 /tmp/weft-root/root.key /tmp/weft-root/root.crt /etc/weft/ca/
rm -rf /tmp/weft-root
sed -i 's#^WEFT_ARGS=.*#WEFT_ARGS=--ca /etc/weft/ca#' /etc/weft/weft.env

systemctl restart weft.service
