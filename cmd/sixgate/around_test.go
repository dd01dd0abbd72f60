//go:build !e2e

package main

import "github.com/rogpeppe/go-internal/testscript"

// aroundTests is for the tests that need a cluster.
func aroundTests(m testscript.TestingM) testscript.TestingM { return m }
