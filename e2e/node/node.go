// Package node adds a real node to the control plane of package cluster: containerd, kubelet, kube-proxy, CNI plugins and a scheduler,
// with IPv6 only, and CoreDNS and Sixgate as pods. It needs Linux, root and Debian's packages: [Missing] says what is not there.
package node

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

const (
	podImage     = "sixgate.test/pod:local"
	nginxImage   = "sixgate.test/nginx:local"
	corednsImage = "sixgate.test/coredns:local"
	dnsAddress   = "fd00:10:96::a"
)

// limit is for machines with one busy core.
const limit = 5 * time.Minute

// A Node is a running cluster with one node.
type Node struct {
	*cluster.Cluster
	Tools  cluster.Tools
	Image  string   // of Sixgate, as containerd has it
	Images []string // for other pods
	root   string
}

// plugins is where CNI plugins may be.
var plugins = []string{"/usr/lib/cni", "/opt/cni/bin"}

// Missing says in one line why this machine cannot run a node, or nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "root is needed to run pods"
	}
	for _, program := range []string{"containerd", "ctr", "runc", "nft", "ip6tables", "mount", "bash"} {
		if _, err := find(program); err != nil {
			return program + " is missing: apt-get install containerd runc containernetworking-plugins nftables iptables"
		}
	}
	if _, err := pluginDir(); err != nil {
		return err.Error()
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return err.Error()
	}
	groups := false
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasPrefix(f[2], "cgroup") && slices.Contains(strings.Split(f[3], ","), "rw") {
			groups = true
		}
	}
	if !groups {
		return "no cgroup file system is mounted for writing"
	}
	return ""
}

// find looks where root's programs are, too.
func find(program string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", program, exec.ErrNotFound)
}

func pluginDir() (string, error) {
	for _, dir := range plugins {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the CNI plugin ptp is missing: apt-get install containernetworking-plugins")
}

// Prepare builds what a node and its pods need: Kubernetes and CoreDNS once, Sixgate's image and the tests' program at each call. It must run
// outside a network namespace.
func Prepare(ctx context.Context, progress io.Writer) error {
	if _, err := cluster.FindNode(ctx, progress); err != nil {
		return err
	}
	if _, err := cluster.FindTools(ctx, progress); err != nil {
		return err
	}
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-C", root, "build", "-o", "bin/pod", "./e2e/node/pod"},
		{"-C", filepath.Join(root, "tools/release"), "run", ".", "-root", root, "-out", filepath.Join(root, "bin/image"), "image"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

//go:embed node.sh
var script []byte

// configs are the files of the node's components. Pods have no way out, so the node forwards no names. kube-proxy hears of endpoints as late as in
// a large cluster.
var configs = map[string]string{
	"containerd.toml": `version = 2
root = "{{.Dir}}/containerd"
state = "/run/containerd"
[grpc]
address = "{{.Dir}}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{{.Image}}"
restrict_oom_score_adj = true
stream_server_address = "::1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{{.Plugins}}"
conf_dir = "{{.Dir}}/cni"
`,
	"cni/10-node.conflist": `{"cniVersion": "0.4.0", "name": "node", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "fd00:10:244::/112"}]], "routes": [{"dst": "::/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`,
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "::"
healthzBindAddress: "::1"
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: {{.Dir}}/ca.crt}}
containerRuntimeEndpoint: unix://{{.Dir}}/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
syncFrequency: 5s
clusterDNS: ["{{.DNS}}"]
clusterDomain: cluster.local
resolvConf: ""
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%}
`,
	"kube-proxy.yaml": `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
nftables: {minSyncPeriod: 3s}
bindAddress: "::"
healthzBindAddress: "[::1]:10256"
metricsBindAddress: "[::1]:10249"
clientConnection: {kubeconfig: {{.Dir}}/kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`,
}

// Start starts a control plane with a node that is ready for pods, and CoreDNS on it. It must run in [cluster.Isolate]'s namespace, after
// [Prepare] outside of it.
func Start(ctx context.Context, o cluster.Options) (_ *Node, err error) {
	if !cluster.Isolated() {
		return nil, errors.New("start node: this is not a network namespace of its own; call cluster.Main")
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	o.ControllerManager = true
	// As most clusters do it: the API server reaches webhooks by their cluster IP, through kube-proxy.
	o.ExtraAPIServerArgs = append(slices.Clone(o.ExtraAPIServerArgs), "--enable-aggregator-routing=false", "--kubelet-preferred-address-types=InternalIP")
	n := &Node{}
	if n.root, err = cluster.Root(); err != nil {
		return nil, err
	}
	assets, err := cluster.FindNode(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	if n.Tools, err = cluster.FindTools(ctx, o.Log); err != nil {
		return nil, err
	}
	if n.Cluster, err = cluster.Start(ctx, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := n.start(ctx, assets, o.Log); err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, assets cluster.NodeAssets, log io.Writer) error {
	begin := time.Now()
	ready := func(name string) {
		fmt.Fprintf(log, "%s after %.1f s\n", name, time.Since(begin).Seconds())
	}
	if err := n.writeConfigs(); err != nil {
		return err
	}
	containerd, err := find("containerd")
	if err != nil {
		return err
	}
	if err := n.Run(0, assets.Scheduler, "--kubeconfig="+n.Kubeconfig, "--bind-address=::1", "--leader-elect=false"); err != nil {
		return err
	}
	if err := n.Run(syscall.CLONE_NEWNS|syscall.CLONE_NEWPID, n.path("node.sh"), n.Dir, containerd, assets.Kubelet, assets.Proxy, n.Address); err != nil {
		return err
	}
	if err := n.importImages(ctx, assets); err != nil {
		return err
	}
	ready("containerd has the images")
	if err := n.Eventually(ctx, func() error {
		_, err := n.Must(ctx, "", "wait", "--for=condition=Ready", "node/node", "--timeout=5s")
		return err
	}); err != nil {
		return err
	}
	ready("the node is ready")
	if _, err := n.Must(ctx, "", "apply", "-f", filepath.Join(n.root, "e2e/node/testdata/coredns.yaml")); err != nil {
		return err
	}
	if _, err := n.Must(ctx, "", "rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=4m"); err != nil {
		return err
	}
	ready("CoreDNS is ready")
	return nil
}

func (n *Node) path(name string) string { return filepath.Join(n.Dir, name) }

func (n *Node) writeConfigs() error {
	dir, err := pluginDir()
	if err != nil {
		return err
	}
	data := map[string]string{"Dir": n.Dir, "Image": podImage, "Plugins": dir, "DNS": dnsAddress}
	for name, text := range configs {
		var out bytes.Buffer
		t, err := template.New(name).Parse(text)
		if err == nil {
			err = t.Execute(&out, data)
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(n.path(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(n.path(name), out.Bytes(), 0o644)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return os.WriteFile(n.path("node.sh"), script, 0o755)
}

// importImages gives containerd the images; nothing is pulled.
func (n *Node) importImages(ctx context.Context, assets cluster.NodeAssets) error {
	index, err := os.ReadFile(filepath.Join(n.root, "bin/image/image/index.json"))
	if err != nil {
		return fmt.Errorf("read image of Sixgate: %w; call Prepare", err)
	}
	var layout struct {
		Manifests []struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(index, &layout); err != nil || len(layout.Manifests) != 1 {
		return fmt.Errorf("read image of Sixgate: %d images, not one: %w", len(layout.Manifests), err)
	}
	n.Image = layout.Manifests[0].Annotations["io.containerd.image.name"]
	images := []image{
		// Of a pod's sandbox it is told nothing.
		{name: podImage, command: []string{"/pod"}, arguments: []string{"pause"}, files: map[string]string{"pod": filepath.Join(n.root, "bin/pod")}},
		{name: corednsImage, command: []string{"/coredns"}, files: map[string]string{"coredns": assets.CoreDNS}},
	}
	if program, err := find("nginx"); err == nil {
		i, err := nginx(program)
		if err != nil {
			return err
		}
		images = append(images, i)
	}
	files := []string{filepath.Join(n.root, "bin/image/image.tar")}
	for i, img := range images {
		file := n.path(fmt.Sprintf("image-%d.tar", i))
		if err := img.write(file); err != nil {
			return err
		}
		n.Images = append(n.Images, img.name)
		defer os.Remove(file)
		files = append(files, file)
	}
	return n.Eventually(ctx, func() error { // containerd has to be there first
		if err := n.Running(); err != nil {
			return err
		}
		if len(files) > 0 {
			out, err := exec.CommandContext(ctx, "ctr", "-a", n.path("containerd.sock"), "-n", "k8s.io", "images", "import", files[0]).CombinedOutput()
			if err != nil {
				return fmt.Errorf("import %s: %w: %s", files[0], err, out)
			}
			files = files[1:]
			if len(files) > 0 {
				return errors.New("more images")
			}
		}
		return nil
	})
}

// Eventually polls until f returns nil, a component ends or ctx does.
func (n *Node) Eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ended := n.Running(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, at last: %w", ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// InstallSixgate does what a user does, helm install, with two replicas of the image of a release, and waits for them. The pods cannot
// pull, so the image is the one that containerd has.
func (n *Node) InstallSixgate(ctx context.Context, args ...string) (string, error) {
	return n.Helm(ctx, append([]string{"install", "sixgate", filepath.Join(n.root, "charts/sixgate"), "--namespace", "sixgate-system", "--create-namespace", "--wait",
		"--timeout", "4m"}, append(n.Values(), args...)...)...)
}

// Values are those of the chart for this cluster.
func (n *Node) Values() []string {
	i := strings.LastIndexByte(n.Image, ':')
	return []string{"--set", "image.repository=" + n.Image[:i] + ",image.tag=" + n.Image[i+1:] + ",image.pullPolicy=Never",
		"--set-file", "policy=" + filepath.Join(n.root, "e2e/node/testdata/policy.yaml")}
}

// Helm runs Helm 4 as administrator.
func (n *Node) Helm(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.Tools.Helm4, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.Dir, "KUBECONFIG=" + n.Kubeconfig}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("helm %s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// Stop ends the cluster with all its pods, and leaves nothing behind.
func (n *Node) Stop() error {
	err := n.Cluster.Stop()
	return errors.Join(err, removeTraces())
}

// StopDetached is that of package cluster, for a cluster with a node or without.
func StopDetached(dir string) error {
	if err := cluster.StopDetached(dir); err != nil || os.Geteuid() != 0 {
		return err
	}
	return removeTraces()
}

// removeTraces removes what a namespace's end does not: the cgroups of nodes that are gone.
func removeTraces() error {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return err
	}
	others := false // nodes that run
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup" && f[2] != "cgroup2" {
			continue
		}
		groups, err := filepath.Glob(filepath.Join(f[1], "sixgate-[0-9]*"))
		if err != nil {
			return err
		}
		for _, group := range groups {
			// Of a process that has ended and that nobody has waited for, the command line is empty.
			command, _ := os.ReadFile(filepath.Join("/proc", strings.TrimPrefix(filepath.Base(group), "sixgate-"), "cmdline"))
			if len(command) > 0 {
				others = true
				continue
			}
			if err := removeGroup(group); err != nil {
				return fmt.Errorf("remove cgroup: %w", err)
			}
		}
	}
	if others {
		return nil // they would lose what is mounted there
	}
	// node.sh makes them as places to mount on.
	for _, dir := range []string{"/var/lib/cni", "/var/lib/kubelet"} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// removeGroup removes a cgroup and those below it. They stay busy for a moment after their last process.
func removeGroup(group string) error {
	var groups []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(groups) {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := syscall.Rmdir(path)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// URL is of a port of an address in the cluster.
func URL(address string, port int) string {
	return "http://" + net.JoinHostPort(address, strconv.Itoa(port)) + "/"
}
