// Command pod is what runs in the pods of the tests: one static program for all of them.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		os.Args = append(os.Args, "")
	}
	switch os.Args[1] {
	case "pause":
		<-ctx.Done()
	case "serve":
		go func() { fmt.Fprintln(os.Stderr, serve(os.Args[2])); stop() }()
		<-ctx.Done()
	case "api":
		api(ctx)
	case "resolve":
		if err := resolve(ctx, os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: pod pause | serve ADDRESS | api | resolve NAME")
		os.Exit(2)
	}
}

// serve answers every request with the pod's name.
func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }))
}

// api asks the API server for its version in the ways that programs have of making an address of two variables.
func api(ctx context.Context) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	fmt.Println("KUBERNETES_SERVICE_HOST", host)
	ca, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	for _, way := range []struct{ name, address string }{
		{"host + ':' + port", host + ":" + port},
		{"net.JoinHostPort", net.JoinHostPort(host, port)},
	} {
		conn, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(ctx, "tcp", way.address)
		if err == nil {
			err = conn.Close()
		}
		fmt.Printf("dial %s: %s\n", way.name, answer(err))
		resp, err := client.Get("https://" + way.address + "/version")
		if err == nil {
			err = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s", resp.Status)
			}
		}
		fmt.Printf("https:// %s: %s\n", way.name, answer(err))
	}
}

func answer(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// resolve prints the addresses of a name, sorted.
func resolve(ctx context.Context, name string) error {
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	slices.Sort(addresses)
	fmt.Println(strings.Join(addresses, " "))
	return nil
}
