#!/bin/sh
# Installs what the tests on real components need, or says in one line what is missing and what is skipped without it.
# usage: requirements.sh [node]; node: only for a node with pods
need() { # PACKAGE WHAT-IS-SKIPPED PROGRAM...
	package=$1 skipped=$2
	shift 2
	for program; do
		command -v "$program" >/dev/null && return
	done
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		[ -n "$updated" ] || apt-get update -qq >/dev/null 2>&1
		updated=yes
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 && return
	fi
	echo "$1 is missing, $skipped: apt-get install $package"
}
updated=
need nginx-light "its tests are skipped" nginx /usr/sbin/nginx
if [ "$1" != node ]; then
	need libxml2-utils "JUnit reports are not validated" xmllint
	need chromium "the HTML report is not tested" chromium chromium-browser google-chrome
	need prometheus "the alerts are not tested" promtool
fi
node="the tests on a node with pods are skipped"
need containerd "$node" ctr
need runc "$node" runc /usr/sbin/runc
need containernetworking-plugins "$node" /usr/lib/cni/ptp /opt/cni/bin/ptp
need nftables "$node" nft /usr/sbin/nft
need iptables "$node" ip6tables /usr/sbin/ip6tables
