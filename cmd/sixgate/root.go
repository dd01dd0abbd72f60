package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sixgate/sixgate/pkg/rules"
)

// newRoot returns the command tree; program is the path by which it was started, now is the clock by which exceptions end.
func newRoot(program string, now func() time.Time) *cobra.Command {
	root := &cobra.Command{
		Use:   "sixgate",
		Short: "Find what fails on an IPv6-only Kubernetes cluster",
		Long: `Sixgate finds what fails on an IPv6-only Kubernetes cluster.

Exit codes: 0 nothing found, 1 findings at or above --fail-on, 3 could not run or could not read all of the input.`,
		SilenceUsage: true, SilenceErrors: true,
		Annotations: map[string]string{},
	}
	name := "sixgate"
	if strings.TrimSuffix(filepath.Base(program), ".exe") == "kubectl-sixgate" {
		name = "kubectl sixgate"
		root.Annotations[cobra.CommandDisplayNameAnnotation] = name
	}
	group(root, newAudit(name, now), newFix(name, now), newKRM(name, now), newDiff(name, now), newExplain(), newPolicy(name, now), newProbe(name),
		newExport(name), newMan(), newVersion())
	root.SetFlagErrorFunc(flagError)
	completeFlags(root)
	return root
}

// completeFlags tells shells the words that flags take; a flag for a FILE is left to them.
func completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete := cobra.NoFileCompletions
		what, _ := pflag.UnquoteUsage(f)
		v, ok := f.Value.(interface{ words() []string })
		switch {
		case ok:
			complete = cobra.FixedCompletions(v.words(), cobra.ShellCompDirectiveNoFileComp)
		case f.Name == "policy":
			complete = completeFiles("yaml", "yml")
		case what == "FILE":
			return
		case what == "DIR":
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		if _, own := cmd.GetFlagCompletionFunc(f.Name); !own {
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc(f.Name, complete)) // fails for flags of others only
		}
	})
	for _, c := range cmd.Commands() {
		completeFlags(c)
	}
}

// completeFiles offers files by their extension, and folders.
func completeFiles(extensions ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(extensions, cobra.ShellCompDirectiveFilterFileExt)
}

// group makes a command whose work is done by others: alone it prints its help.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) {
	cmd.AddCommand(subcommands...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, c := range cmd.Commands() {
			names = append(names, c.Name())
		}
		return fmt.Errorf("unknown command %q%s", args[0], hint(cmd, args[0], names))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// hint names the word that was meant, or else where to read on.
func hint(cmd *cobra.Command, word string, names []string) string {
	if s := rules.Suggest(word, names); s != "" {
		return s
	}
	return fmt.Sprintf("; see %q", cmd.CommandPath()+" --help")
}

func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return fmt.Errorf("%w%s", err, hint(cmd, "--"+unknown.GetSpecifiedName(), names))
}

// atLeastOne refuses a command line without arguments, and says what belongs there.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return nil
		}
		return fmt.Errorf("name %s; see %q", what, cmd.CommandPath()+" --help")
	}
}

// A choice is a flag that takes one of some words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string  { return c.value }
func (c *choice) words() []string { return c.allowed }
func (c *choice) Type() string    { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be one of %s%s", strings.Join(c.allowed, ", "), rules.Suggest(s, c.allowed))
	}
	c.value = s
	return nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// released is set by the linker (tools/release), so that a release says the same of itself wherever it is built.
var released string

// version is that of the release, or what the build recorded: a tag, or the commit.
func version() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
