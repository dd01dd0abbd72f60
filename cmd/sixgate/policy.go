package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

func newPolicy(now func() time.Time) *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "Work with policy files"}
	group(policy, &cobra.Command{
		Use:   "check FILE...",
		Short: "Read policy files strictly, as the webhook does",
		Long: `Read policy files strictly, as the webhook does, and list exceptions that have ended or whose rule is off. Such a policy is
good all the same. Which exceptions silence nothing is known by who audits the objects: sixgate audit --policy FILE.`,
		Args:              atLeastOne("a policy file"),
		ValidArgsFunction: completeFiles("yaml", "yml"),
		RunE: func(cmd *cobra.Command, files []string) error {
			var errs []error
			for _, file := range files {
				p, err := readPolicy(file)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n%s", file, endedExceptions(file, p, now)); err != nil {
					return err
				}
			}
			return errors.Join(errs...)
		},
	})
	return policy
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
