package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Long: `Write the manual pages, one for each command, into a folder, which is made if need be. They carry the date of
$SOURCE_DATE_EPOCH where that is set.`,
		Example:           "  sixgate man /usr/local/share/man/man1",
		Args:              cobra.MatchAll(atLeastOne("a folder"), cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := os.MkdirAll(args[0], 0o755) // #nosec G301 -- manual pages are for everybody
			if err == nil {
				header := doc.GenManHeader{Section: "1", Source: "sixgate " + version(), Manual: "Sixgate"}
				cmd.Root().DisableAutoGenTag = true
				err = doc.GenManTree(cmd.Root(), &header, args[0])
			}
			if err != nil {
				return fmt.Errorf("write manual pages into %s: %w", args[0], cause(err))
			}
			return nil
		},
	}
}
