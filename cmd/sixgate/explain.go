package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/rules"
)

func newExplain() *cobra.Command {
	var object objectExplanation
	cmd := &cobra.Command{
		Use:               "explain [RULE|KIND/NAME]",
		Short:             "List the rules, explain one, or say what was changed on an object of a cluster",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRule,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listRules(cmd.OutOrStdout())
			}
			if strings.Contains(args[0], "/") {
				return object.run(cmd.Context(), cmd.OutOrStdout(), args[0])
			}
			for _, r := range rules.All() {
				if r.ID == args[0] {
					return explainRule(cmd.OutOrStdout(), r)
				}
			}
			return fmt.Errorf("unknown rule %q%s", args[0], hint(cmd, args[0], rules.IDs()))
		},
	}
	object.addFlags(cmd)
	return cmd
}

// completeRule offers the rules, with what shells show beside them.
func completeRule(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, r := range rules.All() {
		if len(args) == 0 && strings.HasPrefix(r.ID, word) {
			out = append(out, cobra.CompletionWithDesc(r.ID, r.Title))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func listRules(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RULE\tLEVEL\tMUTATE\tTITLE")
	for _, r := range rules.All() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.ID, r.Level, yesNo(r.Mutate), r.Title)
	}
	return t.Flush()
}

func explainRule(w io.Writer, r *rules.Rule) error {
	_, err := fmt.Fprintf(w, "%s: %s\nlevel: %s  mutate: %s  since: %s\n\n%s\n",
		r.ID, r.Title, r.Level, yesNo(r.Mutate), r.Since, strings.TrimSpace(rules.Doc(r.ID)))
	if err != nil {
		return err
	}
	return explainCharts(w, r.ID)
}

// explainCharts lists the values of stock charts that repair what a rule finds.
func explainCharts(w io.Writer, rule string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading := "\n## Where to change it in stock charts\n\nCHART\tVALUES\n"
	for _, v := range rules.ChartValues() {
		if v.Rule == rule {
			fmt.Fprintf(t, "%s%s\t%s\n", heading, v.Chart, strings.Join(v.Values, ", "))
			heading = ""
		}
	}
	return t.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
