#!/bin/bash
# The node: process 1 of a process namespace, in a mount namespace of its own. When it ends, the kernel ends all processes and takes
# away all mounts.
# usage: node.sh DIRECTORY CONTAINERD KUBELET KUBE-PROXY ADDRESS
set -eu
dir=$1 containerd=$2 kubelet=$3 proxy=$4 address=$5
PATH=$PATH:/usr/sbin:/sbin
read -r pid _ </proc/self/stat # as others see it: /proc is still theirs
mount --make-rprivate /
mount -t proc proc /proc
for name in /run /var/log /var/lib/cni /var/lib/kubelet; do
	mkdir -p $name
	mount -t tmpfs tmpfs $name
done
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
group=
while read -r _ path type _; do
	case $type in
	cgroup) group=yes && mkdir -p "$path/sixgate-$pid" ;;
	cgroup2) unified=$path ;;
	esac
done </proc/mounts
[ "$group" ] || mkdir "$unified/sixgate-$pid"

trap 'exit 0' TERM
run() { # a component; the log of the node says how it ended
	name=$(basename "$1")
	"$@" >"$dir/$name.log" 2>&1 || true
	echo "$name ended: $(tail -n 3 "$dir/$name.log")"
}
run "$containerd" --config "$dir/containerd.toml" &
until ctr -a "$dir/containerd.sock" version >/dev/null 2>&1; do
	sleep 0.1
	kill -0 $! || exit 1
done
run "$kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubeconfig" --root-dir="$dir/kubelet" --cert-dir="$dir/kubelet/pki" \
	--node-ip="$address" --hostname-override=node --cgroup-root="/sixgate-$pid" &
run "$proxy" --config="$dir/kube-proxy.yaml" --hostname-override=node &
wait -n # none of them ends by itself
exit 1
