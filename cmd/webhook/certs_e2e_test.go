//go:build e2e

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m.Run)) }

// A certsEnv is one installation: a namespace, a Secret and two registrations of one name, used by
// replicas that may do no more than the RBAC below allows.
type certsEnv struct {
	*testing.T
	name    string
	admin   kubernetes.Interface
	replica kubernetes.Interface
	opts    certOptions
}

// newCertsEnv makes the namespace and grants what certificates need, and no more.
func newCertsEnv(t *testing.T, config *rest.Config, name string, createSecrets bool) *certsEnv {
	t.Helper()
	admin := kubernetes.NewForConfigOrDie(config)
	own := rest.CopyConfig(config)
	own.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + name + ":sixgate"}
	own.QPS = -1 // several replicas share this client
	e := &certsEnv{T: t, name: name, admin: admin, replica: kubernetes.NewForConfigOrDie(own), opts: certOptions{
		Namespace: name, Secret: "sixgate-ca", Mutating: name, Validating: name, DNSNames: []string{"localhost"},
		LeafDuration: 10 * time.Second, CADuration: time.Hour, Overlap: 4 * time.Second, PollInterval: 200 * time.Millisecond,
	}}
	meta := metav1.ObjectMeta{Name: name}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "sixgate", Namespace: name}}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"sixgate-ca"}, Verbs: []string{"get", "update"}}}}
	if createSecrets {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}})
	}
	ctx := t.Context()
	_, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{})
	e.must(err)
	_, err = admin.RbacV1().Roles(name).Create(ctx, role, metav1.CreateOptions{})
	e.must(err)
	_, err = admin.RbacV1().RoleBindings(name).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}, metav1.CreateOptions{})
	e.must(err)
	_, err = admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
			ResourceNames: []string{name}, Verbs: []string{"get", "patch"}}}}, metav1.CreateOptions{})
	e.must(err)
	_, err = admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}, metav1.CreateOptions{})
	e.must(err)
	return e
}

func (e *certsEnv) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// webhookURL is where nobody listens.
const webhookURL = "https://localhost:1/"

// register creates both registrations, for ConfigMaps labelled with the name of the installation.
func (e *certsEnv) register(mutatingURL, validatingURL string) {
	e.Helper()
	e.registerMutating(mutatingURL)
	e.registerValidating(validatingURL)
}

func configMapRules() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func (e *certsEnv) registerMutating(url string) {
	e.Helper()
	_, err := e.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(e.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: e.name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutate.sixgate.io", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url}, Rules: configMapRules(), FailurePolicy: new(admissionregistrationv1.Fail),
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"test": e.name}},
		}},
	}, metav1.CreateOptions{})
	e.must(err)
}

// registerValidating registers two webhooks, as generated registrations have several.
func (e *certsEnv) registerValidating(url string) {
	e.Helper()
	hook := admissionregistrationv1.ValidatingWebhook{
		Name: "validate.sixgate.io", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url}, Rules: configMapRules(), FailurePolicy: new(admissionregistrationv1.Fail),
		SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"test": e.name}},
	}
	second := hook
	second.Name = "second.sixgate.io"
	_, err := e.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(e.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: e.name},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{hook, second},
	}, metav1.CreateOptions{})
	e.must(err)
}

// bundles returns the caBundle of every webhook.
func (e *certsEnv) bundles(ctx context.Context) ([][]byte, error) {
	m, err := e.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	v, err := e.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	bundles := [][]byte{m.Webhooks[0].ClientConfig.CABundle}
	for _, w := range v.Webhooks {
		bundles = append(bundles, w.ClientConfig.CABundle)
	}
	return bundles, nil
}

// inAgreement returns nil if all webhooks carry the Secret's bundle of n certificates.
func (e *certsEnv) inAgreement(n int) error {
	s, err := e.admin.CoreV1().Secrets(e.name).Get(e.Context(), "sixgate-ca", metav1.GetOptions{})
	if err != nil {
		return err
	}
	bundles, err := e.bundles(e.Context())
	if err != nil {
		return err
	}
	for i, b := range bundles {
		if got := len(parseBundle(b)); !bytes.Equal(b, s.Data[bundleKey]) || got != n {
			return fmt.Errorf("webhook %d: bundle of %d certificates, want %d", i, got, n)
		}
	}
	state, faults := readState(s)
	if state.signing == nil || faults != nil {
		return fmt.Errorf("signing is %v, faults %q", state.signing, faults)
	}
	return nil
}

// start runs a replica until the test ends or the returned function is called.
func (e *certsEnv) start(name string) (*selfManaged, func()) {
	e.Helper()
	opts := e.opts
	opts.Log = funcr.New(func(prefix, args string) {
		if strings.Contains(args, "PRIVATE KEY") {
			e.Errorf("key material in the log of %s", name)
		}
		if !strings.Contains(args, "erving certificate") { // DynamicSource is wordy, and leaves are short here
			e.Log(time.Now().Format("05.000"), name, args)
		}
	}, funcr.Options{})
	m := newSelfManaged(e.replica, opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Start(ctx); err != nil {
			e.Errorf("%s ended: %v", name, err)
		}
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	e.Cleanup(stop)
	return m, stop
}

// allow is a webhook that allows everything, at a certificate source; it returns its URL. Each
// request makes a handshake, as connections are not kept.
func (e *certsEnv) allow(m certSource) string {
	e.Helper()
	l, err := net.Listen("tcp", "[::]:0")
	e.must(err)
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response, review.Request = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}, nil
		if err := json.NewEncoder(w).Encode(review); err != nil {
			e.Error(err)
		}
	})}
	server.SetKeepAlivesEnabled(false)
	go server.Serve(tls.NewListener(l, &tls.Config{GetCertificate: m.GetCertificate})) //nolint:errcheck // ends by Close
	e.Cleanup(func() { server.Close() })
	return fmt.Sprintf("https://localhost:%d/", l.Addr().(*net.TCPAddr).Port)
}

// request lets the API server call all webhooks.
func (e *certsEnv) request(ctx context.Context) error {
	_, err := e.admin.CoreV1().ConfigMaps(e.name).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "x-", Labels: map[string]string{"test": e.name}},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func handshake(url string, bundle []byte) error {
	roots := x509.NewCertPool()
	for _, c := range parseBundle(bundle) {
		roots.AddCert(c)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/")
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		return err
	}
	return conn.Close()
}

// verify makes handshakes and requests until stop is called, none of which may fail. Each handshake
// is verified with the bundle of now and with those of the overlap before: what an API server may have cached.
func (e *certsEnv) verify(urls ...string) (stop func()) {
	type sample struct {
		at      time.Time
		bundles [][]byte
	}
	ctx, cancel := context.WithCancel(context.Background())
	var handshakes, requests, old atomic.Int64
	var group sync.WaitGroup
	group.Go(func() {
		var seen []sample
		for ctx.Err() == nil {
			at := time.Now() // before the read
			bundles, err := e.bundles(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				e.Error(err)
				return
			}
			seen = append(seen, sample{at, bundles})
			seen = slices.DeleteFunc(seen, func(s sample) bool { return time.Since(s.at) > e.opts.Overlap })
			for _, s := range []sample{seen[0], seen[len(seen)-1]} {
				for _, bundle := range s.bundles {
					for _, url := range urls {
						err := handshake(url, bundle)
						if age := time.Since(s.at); age > e.opts.Overlap {
							continue // a slow machine: too old to be promised
						} else if err != nil {
							e.Errorf("%s: handshake with the bundle of %v ago: %v", time.Now().Format("05.000"), age, err)
						} else if age > e.opts.Overlap/2 {
							old.Add(1)
						}
						handshakes.Add(1)
					}
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	group.Go(func() {
		for ctx.Err() == nil {
			if err := e.request(ctx); err != nil && ctx.Err() == nil {
				e.Errorf("%s: request: %v", time.Now().Format("05.000"), err)
			}
			requests.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		group.Wait()
		e.Logf("%d handshakes, %d with an old bundle, %d requests", handshakes.Load(), old.Load(), requests.Load())
		if old.Load() == 0 || requests.Load() == 0 {
			e.Error("nothing was verified")
		}
	}
}

func (e *certsEnv) ready(replicas ...*selfManaged) {
	e.Helper()
	for _, m := range replicas {
		eventually(e.T, "ready", m.Ready)
	}
}

// signer returns the key id of the CA of the certificate that is served.
func signer(m *selfManaged) string {
	cert, err := m.GetCertificate(nil)
	if err != nil {
		return err.Error()
	}
	return string(cert.Leaf.AuthorityKeyId)
}

// rotated waits until all replicas serve certificates of one CA that is not the old one, and the old one is dropped.
func (e *certsEnv) rotated(old string, replicas ...*selfManaged) {
	e.Helper()
	eventually(e.T, "rotation", func() error {
		for _, m := range replicas {
			if signer(m) == old || signer(m) != signer(replicas[0]) {
				return errors.New("a replica serves a certificate of the old CA")
			}
		}
		return e.inAgreement(1)
	})
}

func TestCertificates(t *testing.T) {
	c, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			c.Stop() //nolint:errcheck // the test has failed for another reason
		}
	}()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1

	t.Run("group", func(t *testing.T) {
		t.Run("rotation", func(t *testing.T) { t.Parallel(); testRotation(t, config) })
		t.Run("secret deleted", func(t *testing.T) { t.Parallel(); testSecretDeleted(t, config) })
		t.Run("first start of many", func(t *testing.T) { t.Parallel(); testFirstStart(t, config) })
		t.Run("drift", func(t *testing.T) { t.Parallel(); testDrift(t, config) })
		t.Run("broken secret", func(t *testing.T) { t.Parallel(); testBrokenSecret(t, config) })
		t.Run("registration missing", func(t *testing.T) { t.Parallel(); testRegistrationMissing(t, config) })
		t.Run("forbidden", func(t *testing.T) { t.Parallel(); testForbidden(t, config) })
	})

	t.Run("API server gone", func(t *testing.T) {
		e := newCertsEnv(t, config, "gone", true)
		e.register(webhookURL, webhookURL)
		m, _ := e.start("a")
		e.ready(m)
		stopped = true
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the CA is not used blindly", func() error {
			key, err := e.opts.newKeyPair(time.Now())
			if err != nil {
				return err
			}
			if _, err = m.authority.Sign(&x509.Certificate{PublicKey: key.key.Public()}); err == nil {
				return errors.New("signs")
			}
			return nil
		})
		// The last leaf lives for some seconds here, days in earnest; until then nothing is wrong.
		if leaf, _ := m.Certificates(); time.Now().Before(leaf.NotAfter) {
			if err := m.Ready(); err != nil && time.Now().Before(leaf.NotAfter) {
				t.Errorf("ready: %v", err)
			}
		}
		if !m.Stale() {
			t.Error("not stale, though no certificate can be renewed")
		}
		eventually(t, "expired", func() error {
			if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "expired") {
				return fmt.Errorf("ready: %v", err)
			}
			return nil
		})
	})
}

// testRotation lets a CA come of age, with the empty Secret that the manifests hold and no right to create one.
func testRotation(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "rotation", false)
	e.opts.CADuration = 45 * time.Second
	_, err := e.admin.CoreV1().Secrets(e.name).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "sixgate-ca", Labels: map[string]string{"app": "sixgate"}}}, metav1.CreateOptions{})
	e.must(err)
	a, _ := e.start("a")
	b, _ := e.start("b")
	urlA, urlB := e.allow(a), e.allow(b)
	e.register(urlA, urlB)
	e.ready(a, b)
	eventually(t, "API server trusts", func() error { return e.request(t.Context()) })
	old := signer(a)
	if signer(b) != old {
		t.Error("two CAs at the first start")
	}
	if leaf, ca := a.Certificates(); leaf == nil || !ca.NotAfter.After(leaf.NotAfter) {
		t.Errorf("leaf %v, CA %v", leaf, ca)
	}

	stop := e.verify(urlA, urlB)
	e.rotated(old, a, b)
	stop()
	e.ready(a, b)
	s, err := e.admin.CoreV1().Secrets(e.name).Get(t.Context(), "sixgate-ca", metav1.GetOptions{})
	e.must(err)
	if s.Labels["app"] != "sixgate" {
		t.Errorf("labels of others are gone: %v", s.Labels)
	}
}

// testSecretDeleted is the forced rotation: it overlaps too.
func testSecretDeleted(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "deleted", true)
	a, _ := e.start("a")
	b, _ := e.start("b")
	urlA, urlB := e.allow(a), e.allow(b)
	e.register(urlA, urlB)
	e.ready(a, b)
	eventually(t, "API server trusts", func() error { return e.request(t.Context()) })
	old := signer(a)

	stop := e.verify(urlA, urlB)
	e.must(e.admin.CoreV1().Secrets(e.name).Delete(t.Context(), "sixgate-ca", metav1.DeleteOptions{}))
	e.rotated(old, a, b)
	stop()
}

func testFirstStart(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "first", true)
	e.register(webhookURL, webhookURL)
	var replicas []*selfManaged
	for i := range 6 {
		m, _ := e.start(fmt.Sprint(i))
		replicas = append(replicas, m)
	}
	e.ready(replicas...)
	for i, m := range replicas {
		if signer(m) != signer(replicas[0]) {
			t.Errorf("replica %d has a CA of its own", i)
		}
	}
	e.must(e.inAgreement(1))
}

func testDrift(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "drift", true)
	e.register(webhookURL, webhookURL)
	a, _ := e.start("a")
	e.ready(a)
	validating := e.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	before, err := validating.Get(t.Context(), e.name, metav1.GetOptions{})
	e.must(err)
	foreign := encodeBundle([]*x509.Certificate{newCA(t, time.Now()).cert})
	for name, bundle := range map[string][]byte{"empty": nil, "foreign": foreign, "garbage": []byte("garbage"), "added": slices.Concat(before.Webhooks[0].ClientConfig.CABundle, foreign)} {
		eventually(t, "change", func() error { // a conflict is possible
			v, err := validating.Get(t.Context(), e.name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			v.Webhooks[1].ClientConfig.CABundle = bundle
			_, err = validating.Update(t.Context(), v, metav1.UpdateOptions{})
			return err
		})
		eventually(t, name, func() error { return e.inAgreement(1) })
	}
	if a.Stale() {
		t.Error("stale, though the CA is published")
	}
	e.must(validating.Delete(t.Context(), e.name, metav1.DeleteOptions{}))
	e.registerValidating(webhookURL)
	eventually(t, "created again", func() error { return e.inAgreement(1) })
	e.ready(a)
	after, err := validating.Get(t.Context(), e.name, metav1.GetOptions{})
	e.must(err)
	for _, v := range []*admissionregistrationv1.ValidatingWebhookConfiguration{before, after} {
		v.ObjectMeta = metav1.ObjectMeta{}
	}
	if b, a := mustJSON(t, before), mustJSON(t, after); b != a {
		t.Errorf("more than caBundle changed:\n%s\n%s", b, a)
	}

	// Whoever changes nothing writes nothing.
	version := func() string {
		v, err := validating.Get(t.Context(), e.name, metav1.GetOptions{})
		e.must(err)
		s, err := e.admin.CoreV1().Secrets(e.name).Get(t.Context(), "sixgate-ca", metav1.GetOptions{})
		e.must(err)
		return v.ResourceVersion + " " + s.ResourceVersion
	}
	quiet := version()
	for range 5 {
		if again, err := a.authority.round(t.Context()); again || err != nil {
			t.Errorf("round at rest: again %v, %v", again, err)
		}
	}
	if now := version(); now != quiet {
		t.Errorf("written at rest: versions %s, then %s", quiet, now)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func testBrokenSecret(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "broken", true)
	e.register(webhookURL, webhookURL)
	now := time.Now()
	a, b, expired := newCA(t, now), newCA(t, now), newCA(t, now.Add(-400*day))
	leafCert, leafKey := leafOf(t, a)
	secrets := e.admin.CoreV1().Secrets(e.name)
	for name, data := range map[string]map[string][]byte{
		"garbage":  {"tls.crt": []byte("garbage"), "tls.key": []byte("garbage"), "ca.crt": []byte("garbage"), "next.crt": []byte("garbage")},
		"mismatch": {"tls.crt": a.certPEM, "tls.key": b.keyPEM, "ca.crt": a.certPEM},
		"expired":  {"tls.crt": expired.certPEM, "tls.key": expired.keyPEM, "ca.crt": expired.certPEM},
		"leaf":     {"tls.crt": leafCert, "tls.key": leafKey, "ca.crt": leafCert},
		"no key":   {"tls.crt": a.certPEM, "tls.key": nil, "ca.crt": a.certPEM},
	} {
		// At the start there is nothing in memory to go on with.
		err := secrets.Delete(t.Context(), "sixgate-ca", metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		_, err = secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sixgate-ca"}, Type: corev1.SecretTypeTLS, Data: data}, metav1.CreateOptions{})
		e.must(err)
		m, stop := e.start(name)
		e.ready(m)

		if name != "garbage" {
			stop()
			continue
		}

		// Later there is.
		old := signer(m)
		eventually(t, "break again", func() error {
			s, err := secrets.Get(t.Context(), "sixgate-ca", metav1.GetOptions{})
			if err != nil {
				return err
			}
			s.Data = data
			_, err = secrets.Update(t.Context(), s, metav1.UpdateOptions{})
			return err
		})
		e.rotated(old, m)
		e.ready(m)
		stop()
	}
}

func testRegistrationMissing(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "missing", true)
	m, _ := e.start("a")
	ready := func(want string) {
		t.Helper()
		eventually(t, want, func() error {
			if err := m.Ready(); err == nil || err.Error() != want {
				return fmt.Errorf("ready: %v", err)
			}
			return nil
		})
	}
	ready("MutatingWebhookConfiguration missing, ValidatingWebhookConfiguration missing: not found; apply config/webhook")
	e.registerMutating(webhookURL)
	ready("ValidatingWebhookConfiguration missing: not found; apply config/webhook")
	e.registerValidating(webhookURL)
	e.ready(m)
	e.must(e.inAgreement(1))
	e.must(e.admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), e.name, metav1.DeleteOptions{}))
	ready("MutatingWebhookConfiguration missing: not found; apply config/webhook")
	e.registerMutating(webhookURL)
	e.ready(m)
}

func testForbidden(t *testing.T, config *rest.Config) {
	e := newCertsEnv(t, config, "forbidden", false)
	e.register(webhookURL, webhookURL)
	m, _ := e.start("a")
	eventually(t, "reason", func() error {
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "write Secret forbidden/sixgate-ca: ") || !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "\n") {
			return fmt.Errorf("ready: %v", err)
		}
		return nil
	})
	if leaf, ca := m.Certificates(); leaf != nil || ca != nil || !m.Stale() {
		t.Errorf("a CA that could not be kept is used: %v, %v, stale %v", leaf, ca, m.Stale())
	}
	_, err := e.admin.CoreV1().Secrets(e.name).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sixgate-ca"}}, metav1.CreateOptions{})
	e.must(err)
	e.ready(m)

	// A replica that may not see the registrations any more goes on with what is published.
	e.must(e.admin.RbacV1().ClusterRoleBindings().Delete(t.Context(), e.name, metav1.DeleteOptions{}))
	eventually(t, "forbidden", func() error {
		if _, err := m.authority.round(t.Context()); !apierrors.IsForbidden(err) {
			return fmt.Errorf("round: %v", err)
		}
		return nil
	})
	since := time.Now()
	eventually(t, "leaf renewed", func() error {
		if leaf, _ := m.Certificates(); leaf.NotAfter.Before(since.Add(e.opts.LeafDuration + 2*e.opts.Overlap)) {
			return fmt.Errorf("leaf expires at %v", leaf.NotAfter)
		}
		return m.Ready()
	})
}
