//go:build e2e

package certs

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// TestSelfManaged renews by three replicas that have no leader: certificates, the CA by its age, and the CA when somebody wants it,
// while the replica that began is killed.
func TestSelfManaged(t *testing.T) {
	in := newInstallation(t)
	in.release("install", "--create-namespace")
	in.serve(cluster.SixgateOptions{Replicas: 3, Args: []string{
		"--certificate-duration=20s", "--ca-duration=80s", "--ca-overlap=6s", "--ca-poll-interval=500ms"}})
	signing := func() []byte { return in.secretData("sixgate-webhook-ca")["tls.crt"] }
	// signed returns nil once the replicas serve certificates of a CA that is not the old one, which nobody trusts any more.
	signed := func(old []byte) error {
		now := signing()
		if len(now) == 0 || bytes.Equal(now, old) {
			return errors.New("the CA that signs is the old one")
		}
		ca := in.parse(now)[0]
		for i := range in.sixgate.Replicas {
			cert, err := in.served(i)
			if err == nil {
				err = cert.CheckSignatureFrom(ca)
			}
			if err != nil {
				return fmt.Errorf("replica %d: %w", i, err)
			}
		}
		for i, b := range in.bundles() {
			if !bytes.Equal(b, now) {
				return fmt.Errorf("webhook %d trusts others beside the CA that signs", i)
			}
		}
		return nil
	}

	in.lossless("certificates renewed", func() {
		for i := range in.sixgate.Replicas {
			before, err := in.served(i)
			in.must(err)
			in.eventually("another certificate", func() error {
				if now, err := in.served(i); err != nil || now.Equal(before) {
					return fmt.Errorf("replica %d serves as before: %v", i, err)
				}
				return nil
			})
		}
	})

	in.lossless("CA rotated, and the replica that began it killed", func() {
		old := signing()
		const began = "restored the signing CA from memory and created the next"
		in.kubectl("", "patch", "secret", "sixgate-webhook-ca", "-n", namespace, "--type=merge", "-p", `{"data":null}`)
		killed := -1
		in.eventually("a replica begins", func() error {
			for i := range in.sixgate.Replicas {
				if in.logged(i, began) > 0 {
					killed = i
					return nil
				}
			}
			return errors.New("none has")
		})
		// As when its node is lost and the endpoints controller has seen it: what is lost before that is no matter of certificates.
		in.patchEndpoint(killed, "/endpoints/0/conditions/ready", "false")
		in.unused(killed)
		in.must(in.sixgate.Kill(killed))
		t.Logf("replica %d was killed while %d CAs were trusted, old one signing: %v", killed, len(in.parse(in.bundles()[0])), bytes.Equal(old, signing()))
		in.eventually("the others finish", func() error {
			if now := signing(); bytes.Equal(now, old) {
				return errors.New("the CA that signs is the old one")
			}
			return nil
		})
		in.must(in.sixgate.Start(killed))
		in.must(in.sixgate.WaitReady(t.Context()))
		in.patchEndpoint(killed, "/endpoints/0/conditions/ready", "true")
		in.eventually("rotated", func() error { return signed(old) })
	})

	in.lossless("CA rotated by its age", func() {
		old := signing()
		in.eventually("rotated", func() error { return signed(old) })
	})

	l := in.underLoad("caBundle overwritten by hand", func() {
		in.setBundles(encode(in.newCA("of somebody else").cert))
		in.eventually("a replica repairs it", func() error { return in.trusted(in.parse(signing())[0]) })
	})
	t.Logf("lost for %v, with a poll interval of 500ms", l.last.Sub(l.first))
	in.lossless("and after it", func() { in.more(&in.writes, 100) })

	for i := range in.sixgate.Replicas {
		in.eventually("metrics", func() error {
			leaf, err := in.served(i)
			if err != nil {
				return err
			}
			series := `sixgate_certificate_expiry_timestamp_seconds{certificate="serving"}`
			if got := in.metric(i, series); got != float64(leaf.NotAfter.Unix()) {
				return fmt.Errorf("replica %d: %s is %.0f, not %d", i, series, got, leaf.NotAfter.Unix())
			}
			series = `sixgate_certificate_expiry_timestamp_seconds{certificate="ca"}`
			if got, ca := in.metric(i, series), in.parse(signing())[0]; got != float64(ca.NotAfter.Unix()) {
				return fmt.Errorf("replica %d: %s is %.0f, not %d", i, series, got, ca.NotAfter.Unix())
			}
			if got := in.metric(i, "sixgate_certificate_stale"); got != 0 {
				return fmt.Errorf("replica %d is stale", i)
			}
			return nil
		})
	}
}

// unused returns once the API server has asked the other replicas a hundred times, and this one never.
func (in *installation) unused(replica int) {
	in.Helper()
	counts := func() (this, others int64) {
		for i, g := range in.gates {
			if n := g.accepted.Load(); i == replica {
				this = n
			} else {
				others += n
			}
		}
		return this, others
	}
	this, others := counts()
	in.eventually(fmt.Sprintf("replica %d is not asked", replica), func() error {
		nowThis, nowOthers := counts()
		if nowThis != this {
			this, others = nowThis, nowOthers
		}
		if nowOthers-others < 100 {
			return errors.New("it may be")
		}
		return nil
	})
}
