#!/bin/sh
# Runs every fuzz target of some packages, one after the other: fuzz.sh TIME PACKAGE... Inputs that fail are written to the package's testdata/fuzz,
# and run with every go test from then on.
set -e
time=$1
shift
for package in $(go list "$@"); do
	dir=$(go list -f '{{.Dir}}' "$package")
	for target in $(cat "$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p'); do
		echo "$target $package"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 3x "$package" >"${TMPDIR:-/tmp}/sixgate-fuzz.$$" 2>&1 || {
			cat "${TMPDIR:-/tmp}/sixgate-fuzz.$$"
			exit 1
		}
	done
done
rm -f "${TMPDIR:-/tmp}/sixgate-fuzz.$$"
