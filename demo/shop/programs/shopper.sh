#!/bin/sh
# The shopper, in shell: asks the web for both pages, over and over, each time on a new connection.
# Usage: shopper.sh HOST:PORT COUNT
i=0
while [ "$i" -lt "$2" ]; do
  for page in products cart; do
    curl -sS -o /dev/null --max-time 20 \
      -w '{"edge":"shopper web","status":%{http_code},"seconds":"%{time_total}"}\n' "http://$1/$page"
  done
  i=$((i + 1))
done
