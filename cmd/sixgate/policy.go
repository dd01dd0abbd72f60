package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/rules"
)

func newPolicy() *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "Work with policy files"}
	group(policy, &cobra.Command{
		Use:               "check FILE...",
		Short:             "Read policy files strictly, as the webhook does",
		Args:              atLeastOne("a policy file"),
		ValidArgsFunction: completeFiles("yaml", "yml"),
		RunE: func(cmd *cobra.Command, files []string) error {
			var errs []error
			for _, file := range files {
				if _, err := readPolicy(file); err != nil {
					errs = append(errs, err)
				} else if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", file); err != nil {
					return err
				}
			}
			return errors.Join(errs...)
		},
	})
	return policy
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
