package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Scene is something that goes wrong on an IPv6-only cluster, and what Sixgate does about it. Before and After return what a person
// would have seen, line by line; an error says what is not as it should be.
type Scene struct {
	Title         string
	Nginx         bool // needs it
	Before, After func(context.Context, *Stage) error
}

// A Stage is a namespace in which scenes are played.
type Stage struct {
	*Node
	namespace string
	lines     []string
}

// Before plays all scenes in namespace before, which is gone again at the end. It returns the lines of each.
func (n *Node) Before(ctx context.Context) ([][]string, error) {
	lines, err := n.play(ctx, "before", func(s Scene) func(context.Context, *Stage) error { return s.Before })
	if err != nil {
		return lines, err
	}
	_, err = n.Must(ctx, "", "delete", "namespace", "before", "--timeout=4m") // its host port
	return lines, err
}

// After plays all scenes in namespace after.
func (n *Node) After(ctx context.Context) ([][]string, error) {
	return n.play(ctx, "after", func(s Scene) func(context.Context, *Stage) error { return s.After })
}

func (n *Node) play(ctx context.Context, namespace string, act func(Scene) func(context.Context, *Stage) error) ([][]string, error) {
	if _, err := n.Must(ctx, "", "create", "namespace", namespace); err != nil {
		return nil, err
	}
	var all [][]string
	for _, scene := range Scenes() {
		s := &Stage{Node: n, namespace: namespace}
		if scene.Nginx && !slices.Contains(n.Images, nginxImage) {
			s.say("not shown: nginx is missing on this machine: apt-get install nginx-light")
		} else if err := act(scene)(ctx, s); err != nil {
			return all, fmt.Errorf("%s: namespace %s: %w; so far: %s", scene.Title, namespace, err, strings.Join(s.lines, "\n"))
		}
		all = append(all, s.lines)
	}
	return all, nil
}

// Scenes are in the order in which they are shown.
func Scenes() []Scene {
	return []Scene{
		{Title: "A Deployment whose Service asks for IPv4", Before: serviceBefore, After: serviceAfter},
		{Title: "A pod that asks the API server at KUBERNETES_SERVICE_HOST", Before: clientBefore, After: clientAfter},
		{Title: "nginx with listen 80;", Nginx: true, Before: nginxBefore, After: nginxAfter},
		{Title: "A host port on an IPv4 address", Before: hostPortBefore, After: hostPortAfter},
		{Title: "A headless Service, resolved by CoreDNS", Before: headlessBefore, After: headlessAfter},
	}
}

func (s *Stage) say(format string, args ...any) {
	s.lines = append(s.lines, strings.Split(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n")...)
}

// kubectl runs in the namespace of the stage, and its words are said.
func (s *Stage) kubectl(ctx context.Context, args ...string) (string, int, error) {
	out, stderr, code, err := s.Kubectl(ctx, "", append(args, "-n", s.namespace)...)
	text := strings.ReplaceAll(strings.TrimSpace(stderr+out), s.root+"/", "")
	s.say("$ kubectl %s", strings.ReplaceAll(strings.Join(args, " "), s.root+"/", ""))
	s.say("%s", text)
	return text, code, err
}

// apply applies a manifest that has to be taken, or refused, with words that have to be among kubectl's.
func (s *Stage) apply(ctx context.Context, name string, taken bool, words ...string) error {
	text, code, err := s.kubectl(ctx, "apply", "-f", filepath.Join(s.root, "e2e/node/testdata", name))
	if err != nil {
		return err
	}
	if taken != (code == 0) {
		return fmt.Errorf("apply %s: exit code %d: %s", name, code, text)
	}
	for _, want := range words {
		if !strings.Contains(text, want) {
			return fmt.Errorf("apply %s: %q is not in %s", name, want, text)
		}
	}
	return nil
}

// field waits until a field of an object has a value.
func (s *Stage) field(ctx context.Context, object, path string) (value string, err error) {
	err = s.Eventually(ctx, func() error {
		value, err = s.Must(ctx, "", "get", object, "-n", s.namespace, "-o", "jsonpath="+path)
		if err == nil && value == "" {
			err = fmt.Errorf("%s has no %s", object, path)
		}
		return err
	})
	return value, err
}

func (s *Stage) available(ctx context.Context, deployment string) error {
	_, err := s.Must(ctx, "", "rollout", "status", "deployment/"+deployment, "-n", s.namespace, "--timeout=4m")
	return err
}

// Get returns the body of a URL, from the node.
func Get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// answers waits until a URL answers.
func (s *Stage) answers(ctx context.Context, url string) error {
	var body string
	err := s.Eventually(ctx, func() (err error) { body, err = Get(ctx, url); return err })
	s.say("GET %s: %s", url, body)
	return err
}

// dead tells of a URL that refuses connections although its pod runs.
func (s *Stage) dead(ctx context.Context, pod, url string) error {
	if _, err := s.Must(ctx, "", "wait", "--for=condition=Ready", "pod", "-l", "app="+pod, "-n", s.namespace, "--timeout=4m"); err != nil {
		return err
	}
	_, err := Get(ctx, url)
	s.say("the pod is Running and Ready, but GET %s: %v", url, err)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("GET %s: %w, not: connection refused", url, err)
	}
	return nil
}

func serviceBefore(ctx context.Context, s *Stage) error {
	return s.apply(ctx, "service.yaml", false, `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`)
}

func serviceAfter(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "service.yaml", true, `changed "IPv4" to "IPv6"`); err != nil {
		return err
	}
	address, err := s.field(ctx, "service/web", "{.spec.clusterIP}")
	if err != nil {
		return err
	}
	return s.answers(ctx, URL(address, 80))
}

// logs of a pod that has ended well.
func (s *Stage) logs(ctx context.Context, pod string) (string, error) {
	if _, err := s.Must(ctx, "", "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+pod, "-n", s.namespace, "--timeout=2m"); err != nil {
		text, _, _, logErr := s.Kubectl(ctx, "", "logs", pod, "-n", s.namespace)
		return "", errors.Join(err, errors.New(text), logErr)
	}
	text, code, err := s.kubectl(ctx, "logs", pod)
	if err == nil && code != 0 {
		err = errors.New(text)
	}
	return text, err
}

func clientBefore(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "client.yaml", true); err != nil {
		return err
	}
	text, err := s.logs(ctx, "client")
	if err != nil {
		return err
	}
	for _, want := range []string{
		"KUBERNETES_SERVICE_HOST fd00:10:96::1\n", "dial host + ':' + port: dial tcp: address fd00:10:96::1:443: too many colons in address\n",
		"dial net.JoinHostPort: ok\n", "https:// net.JoinHostPort: ok",
	} {
		if !strings.Contains(text, want) {
			return fmt.Errorf("%q is not in %q", want, text)
		}
	}
	if strings.Contains(text, "https:// host + ':' + port: ok") {
		return fmt.Errorf("a URL with a bare literal works: %s", text)
	}
	return nil
}

func clientAfter(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "client.yaml", true); err != nil {
		return err
	}
	text, err := s.logs(ctx, "client")
	if err == nil && (!strings.Contains(text, "KUBERNETES_SERVICE_HOST kubernetes.default.svc.cluster.local\n") || strings.Count(text, ": ok") != 4) {
		err = fmt.Errorf("not all four ways work: %s", text)
	}
	return err
}

func nginxBefore(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "nginx.yaml", true); err != nil {
		return err
	}
	if err := s.available(ctx, "nginx"); err != nil {
		return err
	}
	// A Service without endpoints refuses connections, too: the pod itself is asked.
	address, err := s.field(ctx, "pods", `{.items[?(@.metadata.labels.app=="nginx")].status.podIP}`)
	if err != nil {
		return err
	}
	return s.dead(ctx, "nginx", URL(address, 80))
}

func nginxAfter(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "nginx.yaml", false, "denied the request", `add "listen [::]:80;" [listen-nginx]`); err != nil {
		return err
	}
	if err := s.apply(ctx, "nginx-repaired.yaml", true); err != nil {
		return err
	}
	address, err := s.field(ctx, "service/nginx", "{.spec.clusterIP}")
	if err != nil {
		return err
	}
	return s.answers(ctx, URL(address, 80))
}

func hostPortBefore(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "host-port.yaml", true); err != nil {
		return err
	}
	return s.dead(ctx, "metrics", URL(s.Address, 9100))
}

func hostPortAfter(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "host-port.yaml", false, "denied the request", "[host-port-ipv4]"); err != nil {
		return err
	}
	if err := s.apply(ctx, "host-port-repaired.yaml", true); err != nil {
		return err
	}
	return s.answers(ctx, URL(s.Address, 9100))
}

func headlessBefore(ctx context.Context, s *Stage) error {
	return s.apply(ctx, "headless.yaml", false, `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`)
}

func headlessAfter(ctx context.Context, s *Stage) error {
	if err := s.apply(ctx, "headless.yaml", true, `changed "IPv4" to "IPv6"`); err != nil {
		return err
	}
	if err := s.available(ctx, "db"); err != nil {
		return err
	}
	if address, err := s.field(ctx, "service/db", "{.spec.clusterIP}"); err != nil || address != "None" {
		return fmt.Errorf("the Service has cluster IP %q: %w", address, err)
	}
	pods, err := s.field(ctx, "pods", `{.items[?(@.metadata.labels.app=="db")].status.podIP}`)
	if err != nil {
		return err
	}
	want := strings.Fields(pods)
	slices.Sort(want)
	var said []string
	err = s.Eventually(ctx, func() error { // CoreDNS hears of the pods a little later
		s.lines, said = s.lines[:len(s.lines)-len(said)], nil
		before := len(s.lines)
		if _, err := s.Must(ctx, "", "delete", "pod", "resolve", "-n", s.namespace, "--ignore-not-found", "--now"); err != nil {
			return err
		}
		if _, err := s.Must(ctx, "", "run", "resolve", "-n", s.namespace, "--image="+podImage, "--image-pull-policy=Never", "--restart=Never", "--",
			"resolve", "db."+s.namespace+".svc.cluster.local"); err != nil {
			return err
		}
		text, err := s.logs(ctx, "resolve")
		said = s.lines[before:]
		if err == nil && (len(want) != 3 || text != strings.Join(want, " ")) {
			err = fmt.Errorf("DNS says %s, not %s", text, want)
		}
		return err
	})
	if err == nil {
		s.say("these are the addresses of the three pods; db.%s.svc.cluster.local was asked", s.namespace)
	}
	return err
}
