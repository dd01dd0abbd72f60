package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/e2e/node"
)

// runNode shows each scene of package node without Sixgate and with it, on pods that run.
func runNode(ctx context.Context, dir string) (err error) {
	say("Starting an IPv6-only cluster with a node (containerd, kubelet, kube-proxy, CoreDNS), in a network namespace whose only IPv4 address is 127.0.0.1 …")
	n, err := node.Start(ctx, cluster.Options{Dir: dir, Detach: true, Log: os.Stdout})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
		}
	}()
	scenes := node.Scenes()
	say(fmt.Sprintf("Trying %d things without Sixgate, about a minute …", len(scenes)))
	before, err := n.Before(ctx)
	if err != nil {
		return err
	}
	say("Installing Sixgate: helm install, two pods of the image of a release; the API server reaches them through their Service …")
	if _, err := n.InstallSixgate(ctx); err != nil {
		return err
	}
	say("Trying the same with Sixgate …")
	after, err := n.After(ctx)
	if err != nil {
		return err
	}
	for i, s := range scenes {
		fmt.Printf("\n%s\n", bold(s.Title))
		quote("without Sixgate", strings.Join(before[i], "\n"))
		quote("with Sixgate", strings.Join(after[i], "\n"))
	}
	fmt.Printf(`
The cluster is still running. Try it yourself:
    %[1]s get pods -A -o wide
    %[1]s apply -f YOUR.yaml              (images: %[2]s; nothing can be pulled)
    %[1]s -n sixgate-system logs -l app=sixgate-webhook
The network plugin (ptp) enforces no NetworkPolicy, so that of the chart has no effect here. To stop it:
    make demo-node-stop
`, filepath.Join(dir, "kubectl"), strings.Join(n.Images, ", "))
	return nil
}
