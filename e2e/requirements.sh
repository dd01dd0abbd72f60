#!/bin/sh
# Installs what the tests on real components need, or says in one line what is missing and what is skipped without it.
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light; } >/dev/null 2>&1 && exit 0
fi
echo "nginx is missing, its tests are skipped: apt-get install nginx-light"
