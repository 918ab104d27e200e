#!/bin/sh
# The stock, in shell: reads an article, says how many there are. Run by socat for each connection.
read -r article
echo "7 of $article"
