package listen

import "slices"

// rows is the table of programs. To add one: a row here, and a file with what reads its configuration.
func rows() []Program {
	return slices.Concat([]Program{
		{Name: nginxProgram, Rule: "listen-nginx", Ran: "nginx 1.22.1", Gist: []string{"server"}, Files: Nginx, Folder: true, Cases: nginxCases},
	}, webRows(), languageRows(), dataRows(), runtimeRows(), daemonRows())
}
