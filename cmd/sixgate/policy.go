package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sixgate/sixgate/cmd/internal/live"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// newPolicy returns the command; program is the name that its examples use.
func newPolicy(program string, now func() time.Time) *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "Draft policy files and check them"}
	group(policy, newPolicyInit(program), newPolicyCheck(program, now))
	return policy
}

// A clusterFlag is which cluster a policy is held against, if any.
type clusterFlag struct {
	use                 bool
	kubeconfig, context string
}

func (c *clusterFlag) add(flags *pflag.FlagSet, usage string) {
	flags.BoolVar(&c.use, "cluster", false, usage)
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; none: as kubectl, else as a pod of the cluster")
	flags.StringVar(&c.context, "context", "", "`CONTEXT` of the kubeconfig")
}

func (c *clusterFlag) read(ctx context.Context, dns64 bool) (*live.Cluster, error) {
	config, _, err := live.LoadConfig(c.kubeconfig, c.context, "")
	if clientcmd.IsEmptyConfig(errors.Unwrap(err)) {
		if c.kubeconfig != "" {
			return nil, fmt.Errorf("read kubeconfig: %s names no cluster; check its current-context", c.kubeconfig)
		}
		return nil, errors.New("read kubeconfig: there is none; name one with --kubeconfig")
	} else if err != nil {
		return nil, oneLineError(err)
	}
	config.UserAgent = "sixgate"
	return live.Read(ctx, config, dns64)
}

// oneLineError: the errors of a kubeconfig come with line breaks.
func oneLineError(err error) error { return errors.New(oneLine(err)) }

func newPolicyInit(program string) *cobra.Command {
	var from clusterFlag
	var output string
	cmd := &cobra.Command{
		Use:   "init --cluster",
		Short: "Draft a policy from a live cluster",
		Long: `Draft a policy from a live cluster: families of Services and nodes, CNI, cluster DNS, NAT64, address pools, and a host of the API
server that its certificate names. Each value comes with a comment that says by what it is known. What cannot be read is named in a
comment and left out. Nothing is changed in the cluster.`,
		Example: "  " + program + " policy init --cluster -o policy.yaml\n" +
			"  " + program + " policy init --cluster --context production",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !from.use {
				return errors.New("say what to draft from: --cluster")
			}
			if output != "" {
				if _, err := os.Lstat(output); err == nil {
					return fmt.Errorf("write policy %s: it exists; remove it or name another file", output)
				}
			}
			cluster, err := from.read(cmd.Context(), true)
			if err != nil {
				return err
			}
			text, err := draft(cluster)
			if err != nil {
				return err
			}
			if output == "" {
				_, err = io.WriteString(cmd.OutOrStdout(), text)
				return err
			}
			return writeNew(output, text)
		},
	}
	from.add(cmd.Flags(), "read the cluster of the kubeconfig")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to `FILE`, which must not exist; none: standard output")
	return cmd
}

// writeNew writes a file that is not there yet: an edited policy is not drafted over.
func writeNew(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // #nosec G302 -- a policy is no secret
	if err == nil {
		_, err = io.WriteString(f, text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write policy %s: %w", file, cause(err))
	}
	return nil
}

func newPolicyCheck(program string, now func() time.Time) *cobra.Command {
	var against clusterFlag
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Read policy files strictly, as the webhook does",
		Long: `Read policy files strictly, as the webhook does, and list exceptions that have ended or whose rule is off. Such a policy is
good all the same; which exceptions silence nothing is known by who audits the objects: sixgate audit --policy FILE. With --cluster, also hold what they say against a live cluster: each difference is
one line. Exit code 1: there are differences; 3: a file is bad, or the cluster could not be read where a file says something.`,
		Example: "  " + program + " policy check policy.yaml\n" +
			"  " + program + " policy check --cluster policy.yaml",
		Args:              atLeastOne("a policy file"),
		ValidArgsFunction: completeFiles("yaml", "yml"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if !against.use && (cmd.Flags().Changed("kubeconfig") || cmd.Flags().Changed("context")) {
				return errors.New("--kubeconfig and --context go with --cluster")
			}
			return checkPolicies(cmd, files, &against, now)
		},
	}
	against.add(cmd.Flags(), "hold the files against the cluster of the kubeconfig, too")
	return cmd
}

func checkPolicies(cmd *cobra.Command, files []string, against *clusterFlag, now func() time.Time) error {
	var errs []error
	policies, dns64 := map[string]*rules.Policy{}, false
	for _, file := range files {
		p, err := readPolicy(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		policies[file] = p
		dns64 = dns64 || p.Cluster.NAT64.Prefix != ""
	}
	var cluster *live.Cluster
	if against.use && len(policies) > 0 {
		var err error
		if cluster, err = against.read(cmd.Context(), dns64); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	code := 0
	for _, file := range files {
		p := policies[file]
		if p == nil {
			continue
		}
		var c comparison
		if cluster != nil {
			c.compare(cmd.Context(), p, cluster)
		}
		lines := c.differences
		if len(lines) == 0 && len(c.unread) == 0 {
			lines = []string{"ok"}
		}
		for _, line := range lines {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", file, report.Printable(line)); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), endedExceptions(file, p, now)); err != nil {
			return err
		}
		for _, line := range c.unknown {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: not compared: %s\n", file, report.Printable(line))
		}
		for _, line := range c.unread {
			errs = append(errs, fmt.Errorf("%s: not compared: %s", file, line))
		}
		if len(c.differences) > 0 {
			code = exitFindings
		}
	}
	if len(errs) == 0 && code != 0 {
		return exitCode(code)
	}
	return errors.Join(errs...)
}

// endedExceptions lists the exceptions that are good for nothing, whatever the objects are, one line each.
func endedExceptions(file string, p *rules.Policy, now func() time.Time) string {
	r := report.New()
	r.AddExceptions(file, rules.NewSetAt(p, now))
	var b strings.Builder
	for i := range r.Exceptions {
		e := &r.Exceptions[i]
		message := e.String()
		if message == "" && p.Rules[e.Rule].Level == rules.Off {
			e.State, message = report.ExceptionUnused, fmt.Sprintf("exception of %s: %s is off anyway; remove it", e.Owner, e.Rule)
		}
		if message != "" {
			b.WriteString(report.Printable(fmt.Sprintf("%s:%d: %s: %s", file, e.Line, e.State, message)) + "\n")
		}
	}
	return b.String()
}

// policyOf is the policy of a file, or the default one without, for a cluster with IPv6 only unless the file says otherwise.
func policyOf(file string, levels ruleLevels) (*rules.Policy, error) {
	policy := rules.DefaultPolicy("IPv6")
	if file != "" {
		var err error
		if policy, err = readPolicy(file); err != nil {
			return nil, err
		}
		ipv6Only(policy)
	}
	return policy, levels.apply(policy)
}

// ipv6Only sets the families where the policy says none.
func ipv6Only(policy *rules.Policy) *rules.Policy {
	if policy.Cluster.Families == nil {
		policy.Cluster.Families = []string{"IPv6"}
	}
	return policy
}

// warnInactive says why there will be no finding, where that is so.
func warnInactive(w io.Writer, policy *rules.Policy) {
	if !policy.Cluster.IPv6Only() {
		fmt.Fprintf(w, "sixgate: no rule is active: cluster.families of the policy is %v, not IPv6 only\n", policy.Cluster.Families)
	}
}

// readPolicy reads a policy file. Each problem in it is one line of the error.
func readPolicy(file string) (*rules.Policy, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", file, cause(err))
	}
	return parsePolicy(file, data)
}

// parsePolicy reads a policy that comes from somewhere.
func parsePolicy(from string, data []byte) (*rules.Policy, error) {
	p, err := rules.ReadPolicy(data)
	if err == nil {
		return p, nil
	}
	var errs []error
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, fmt.Errorf("read policy %s: %s", from, strings.TrimSpace(line)))
	}
	return nil, errors.Join(errs...)
}

// cause is why a file could not be read, without its name, which the caller writes.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
