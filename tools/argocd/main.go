// Command argocd compares and applies one manifest as the application controller of Argo CD does, by Argo CD's own packages, for the
// tests in e2e/gitops: what an Application with these options shows for objects that an admission webhook changes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	kubeutil "github.com/argoproj/argo-cd/v3/util/kube"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/sync/resource"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/yaml"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig `FILE`")
	application := flag.String("application", "", "Application `FILE` whose options count")
	flag.Parse()
	if err := run(*kubeconfig, *application, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "argocd:", err)
		os.Exit(1)
	}
}

// run does what the verb says with the object on standard input: sync applies it; diff prints what is compared as
// {"outOfSync": bool, "predicted": object, "live": object}.
func run(kubeconfig, application, verb string) error {
	var app v1alpha1.Application
	if err := read(application, &app); err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	target := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &target.Object); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	kubectl := kubeutil.NewKubectl()
	schema, parser, err := kubectl.LoadOpenAPISchema(config)
	if err != nil {
		return err
	}
	ctx := context.Background()
	serverSide := app.Spec.SyncPolicy != nil && app.Spec.SyncPolicy.SyncOptions.HasOption("ServerSideApply=true")
	if verb == "sync" {
		ops, cleanup, err := kubectl.ManageResources(config, schema)
		if err != nil {
			return err
		}
		defer cleanup()
		message, err := ops.ApplyResource(ctx, target, cmdutil.DryRunNone, false, true, serverSide, common.ArgoCDSSAManager)
		fmt.Println(strings.TrimSpace(message))
		return err
	}
	if verb != "diff" {
		return errors.New("say sync or diff")
	}

	// As controller/state.go of Argo CD has it, in CompareAppState.
	option := func(o string) bool { return resource.HasAnnotationOption(&app, common.AnnotationCompareOptions, o) }
	b := argodiff.NewDiffConfigBuilder().
		WithDiffSettings(app.Spec.IgnoreDifferences, nil, false, normalizers.IgnoreNormalizerOpts{}).
		WithTracking(common.LabelKeyAppInstance, string(v1alpha1.TrackingMethodAnnotation)).
		WithNoCache().WithGVKParser(parser).WithManager(common.ArgoCDSSAManager).
		WithServerSideDiff(option("ServerSideDiff=true")).
		WithStructuredMergeDiff(serverSide)
	if option("IncludeMutationWebhook=true") {
		b.WithIgnoreMutationWebhook(false)
	}
	if option("ServerSideDiff=true") {
		applier, cleanup, err := kubeutil.ManageServerSideDiffDryRuns(config, schema, func(string) (kube.CleanupFunc, error) { return func() {}, nil })
		if err != nil {
			return err
		}
		defer cleanup()
		b.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier))
	}
	settings, err := b.Build()
	if err != nil {
		return err
	}
	live, err := kubectl.GetResource(ctx, config, target.GroupVersionKind(), target.GetName(), target.GetNamespace())
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	result, err := argodiff.StateDiff(live, target, settings)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"outOfSync": result.Modified, "predicted": json.RawMessage(result.PredictedLive), "live": json.RawMessage(result.NormalizedLive),
	})
}

func read(file string, into any) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(text, into)
}
