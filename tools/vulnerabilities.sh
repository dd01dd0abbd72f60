#!/bin/sh
# govulncheck on the two commands. Its database is at https://vuln.go.dev: where that is out of reach, one line says so and nothing is checked.
out=$(go tool -modfile=tools/vulnerabilities/go.mod govulncheck ./cmd/... 2>&1)
code=$?
case $out in
*"fetching vulnerabilities"*)
	echo "vulnerabilities are not checked: the database https://vuln.go.dev is out of reach"
	exit 0
	;;
esac
echo "$out"
exit $code
