package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// dnsTarget is a running pod behind the cluster DNS Service, and the port on which it serves DNS over TCP.
func (c *Cluster) dnsTarget(ctx context.Context) (pod string, port int, err error) {
	pods, err := list[corev1.Pod](ctx, c.client, "/api/v1/namespaces/kube-system/pods", "k8s-app=kube-dns")
	if err != nil {
		return "", 0, unread("list", "pods of kube-system", err)
	}
	for _, p := range pods {
		if p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil {
			continue
		}
		for _, container := range p.Spec.Containers {
			for _, port := range container.Ports {
				if port.Protocol != corev1.ProtocolUDP && (port.Name == "dns-tcp" || port.ContainerPort == 53) {
					return p.Name, int(port.ContainerPort), nil
				}
			}
		}
	}
	return "", 0, errors.New("no running pod of kube-system with the label k8s-app=kube-dns serves DNS over TCP")
}

// forward connects to a port of a pod through the API server, as kubectl port-forward does: by WebSocket, or by SPDY where something on
// the way knows no WebSocket. The connection ends with ctx.
func (c *Cluster) forward(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	url := c.client.Post().AbsPath("/api/v1/namespaces/" + namespace + "/pods/" + pod + "/portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(websocket, spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, "POST", url), func(err error) bool {
		// kube-apiserver v1.37 wants the verb get for a WebSocket; create, as documented everywhere, is enough for SPDY.
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	type result struct {
		conn *forwarded
		err  error
	}
	done := make(chan result, 1)
	go func() { // a dialer knows no context
		connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		if err != nil {
			done <- result{err: err}
			return
		}
		context.AfterFunc(ctx, func() { _ = connection.Close() })
		conn, err := newForwarded(connection, port)
		done <- result{conn, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if apierrors.IsForbidden(r.err) {
			r.err = errors.New("forbidden; it needs the verb create on pods/portforward of " + namespace)
		}
		if r.err != nil {
			return nil, r.err
		}
		return r.conn, nil
	}
}

// A forwarded is a connection to a port of a pod. It has no deadlines: what ends it is the context of forward.
type forwarded struct {
	httpstream.Stream
	connection httpstream.Connection
	said       chan string // why the pod's port cannot be reached
}

func newForwarded(connection httpstream.Connection, port int) (*forwarded, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	errs, err := connection.CreateStream(headers)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	if err := errs.Close(); err != nil { // nothing is written there
		return nil, errors.Join(err, connection.Close())
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	f := &forwarded{data, connection, make(chan string, 1)}
	go func() {
		text, _ := io.ReadAll(io.LimitReader(errs, maxLine)) // it ends with the connection
		f.said <- oneLine(string(text))
		if len(text) > 0 {
			_ = data.Reset() // else who reads waits for ever
		}
	}()
	return f, nil
}

func (f *forwarded) Read(b []byte) (int, error) {
	n, err := f.Stream.Read(b)
	if err != nil {
		select {
		case said := <-f.said:
			f.said <- said
			if said != "" {
				err = errors.New(said)
			}
		default:
		}
	}
	return n, err
}

func (f *forwarded) Close() error { return errors.Join(f.Stream.Close(), f.connection.Close()) }

func (*forwarded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*forwarded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*forwarded) SetDeadline(time.Time) error      { return nil }
func (*forwarded) SetReadDeadline(time.Time) error  { return nil }
func (*forwarded) SetWriteDeadline(time.Time) error { return nil }

// askThroughAPIServer asks a pod of the cluster's DNS for the AAAA records of ipv4only.arpa; where says which.
func (c *Cluster) askThroughAPIServer(ctx context.Context) (_ dnsAnswer, err error) {
	pod, port, err := c.dnsTarget(ctx)
	if err != nil {
		return dnsAnswer{}, err
	}
	where := fmt.Sprintf("pod kube-system/%s through the API server", pod)
	answers, err := askIPv4Only(ctx, func(ctx context.Context, _ string) (net.Conn, error) {
		return c.forward(ctx, "kube-system", pod, port)
	})
	if err != nil {
		return dnsAnswer{}, fmt.Errorf("%s: %w", where, err)
	}
	return dnsAnswer{answers, where}, nil
}
