// Command flux compares and applies one manifest as Flux's kustomize-controller does, by Flux's own package, for the tests in e2e/gitops.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `FILE`")
	flag.Parse()
	if err := run(*kubeconfig, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "flux:", err)
		os.Exit(1)
	}
}

// run does what the verb says with the object on standard input and prints the action that Flux would report, apply having taken it:
// {"action": "created", "configured", "unchanged", …}.
func run(kubeconfig, verb string) error {
	objects, err := utils.ReadObjects(os.Stdin)
	if err != nil {
		return err
	}
	if len(objects) != 1 {
		return fmt.Errorf("%d objects, want one", len(objects))
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return err
	}
	// As kustomize-controller has it; its owner labels are added too.
	m := ssa.NewResourceManager(c, nil, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	m.SetOwnerLabels(objects, "shop", "flux-system")
	if err := normalize.UnstructuredList(objects); err != nil {
		return err
	}
	var entry *ssa.ChangeSetEntry
	switch verb {
	case "apply":
		entry, err = m.Apply(context.Background(), objects[0], ssa.DefaultApplyOptions())
	case "diff":
		entry, _, _, err = m.Diff(context.Background(), objects[0], ssa.DefaultDiffOptions())
	default:
		err = errors.New("say apply or diff")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{"action": string(entry.Action)})
}
