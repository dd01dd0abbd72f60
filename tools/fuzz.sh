#!/bin/sh
# Runs every fuzz target of some packages, one after the other: fuzz.sh TIME PACKAGE... Inputs that fail are written to the package's testdata/fuzz,
# and run with every go test from then on. Go's fuzzing engine fails at times without a finding ("context deadline exceeded", a worker that hangs
# at the end): such a target is repeated once.
set -e
time=$1
shift
out=$(mktemp)
trap 'rm -f "$out"' EXIT

fuzz() {
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 3x "$package" >"$out" 2>&1
}

# A finding is an input that was written down, or one of those that are there.
finding() {
	[ "$(ls "$dir/testdata/fuzz/$target" 2>/dev/null)" != "$before" ] || grep -qE 'Failing input written to|seed corpus entry' "$out"
}

for package in $(go list "$@"); do
	dir=$(go list -f '{{.Dir}}' "$package")
	for target in $(cat "$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p'); do
		echo "$target $package"
		before=$(ls "$dir/testdata/fuzz/$target" 2>/dev/null || true)
		fuzz && continue
		if ! finding; then
			cat "$out"
			echo "$target $package: it failed without an input; repeated once"
			fuzz && continue
		fi
		cat "$out"
		exit 1
	done
done
