//go:build e2e

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestAbuse: what strangers do to the port does not keep an API server from its answers, and all of it ends.
func TestAbuse(t *testing.T) {
	service := review("Service", "CREATE", benchService(), nil)
	dial := func(t *testing.T, r *running, protocols ...string) *tls.Conn {
		t.Helper()
		c := r.client.Clone()
		c.NextProtos = protocols
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", r.addr, c)
		if err != nil {
			t.Error(err)
			return nil
		}
		return conn
	}
	// slowly sends first, and then a byte at a time, until the webhook ends the connection.
	slowly := func(t *testing.T, r *running, first, rest string) {
		t.Helper()
		conn := dial(t, r, "http/1.1")
		if conn == nil {
			return
		}
		defer conn.Close()
		done := make(chan error, 1)
		go func() { done <- ended(conn) }()
		_, err := io.WriteString(conn, first)
		for ; err == nil && rest != ""; rest = rest[1:] {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				return
			case <-time.After(100 * time.Millisecond):
				_, err = io.WriteString(conn, rest[:1])
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	post := func(length string) string {
		return "POST /mutate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + length + "\r\n\r\n"
	}
	for _, c := range []struct {
		name  string
		abuse func(t *testing.T, r *running)
	}{
		{"200 connections that send headers a byte at a time", func(t *testing.T, r *running) {
			many(200, func(int) {
				text := post("X: " + strings.Repeat("x", 1000))
				slowly(t, r, text[:1], text[1:])
			})
		}},
		{"200 connections that announce 7 MB and send a byte at a time", func(t *testing.T, r *running) {
			many(200, func(int) {
				slowly(t, r, post("Content-Length: 7340032"), strings.Repeat("{", 1000))
			})
		}},
		{"20 bodies of 7 MB without their last byte", func(t *testing.T, r *running) {
			large := strings.Repeat("x", maxBody-1)
			many(20, func(int) {
				conn := dial(t, r, "http/1.1")
				if conn == nil {
					return
				}
				defer conn.Close()
				go func() { _, _ = io.WriteString(conn, post(fmt.Sprintf("Content-Length: %d", maxBody))+large) }()
				if err := ended(conn); err != nil {
					t.Error(err)
				}
			})
		}},
		{"bodies without end", func(t *testing.T, r *running) {
			many(20, func(int) {
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.client.Clone()}}
				defer client.CloseIdleConnections()
				resp, err := client.Post("https://"+r.addr+"/mutate", "application/json", endless{})
				if err != nil {
					return // the connection was cut while it was still sending
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusRequestEntityTooLarge && resp.StatusCode != http.StatusTooManyRequests {
					t.Errorf("status %d", resp.StatusCode)
				}
			})
		}},
		{"400 TLS handshakes that never finish", func(t *testing.T, r *running) {
			many(400, func(i int) {
				conn, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1}[:i%7]) // the start of a ClientHello, or nothing
				if err := ended(conn); err != nil {
					t.Error(err)
				}
			})
		}},
		{"3,000 connections that stay idle", func(t *testing.T, r *running) {
			var mu sync.Mutex
			var open []net.Conn
			many(30, func(int) {
				for range 100 {
					conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", r.addr, r.client)
					if err == nil { // else it was ended for a newer one
						mu.Lock()
						open = append(open, conn)
						mu.Unlock()
					}
				}
			})
			if n := r.conns.count(); n > mostConnections {
				t.Errorf("%d connections are open", n)
			}
			for _, conn := range open {
				_ = conn.Close()
			}
		}},
		{"HTTP/2 rapid reset: 20 connections, 5,000 streams each", func(t *testing.T, r *running) {
			many(20, func(int) {
				conn := dial(t, r) // no protocol is named, HTTP/2 is spoken all the same
				if conn == nil {
					return
				}
				defer conn.Close()
				_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
				_, _ = io.WriteString(conn, http2.ClientPreface)
				f := http2.NewFramer(conn, nil)
				for id := uint32(1); id < 10_000; id += 2 { // 0x83: POST, 0x87: https, 0x84: /
					if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x83, 0x87, 0x84}, EndHeaders: true}) != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
						return // it has ended the connection
					}
				}
				if err := ended(conn); err != nil {
					t.Error(err)
				}
			})
			c := r.client.Clone()
			c.NextProtos = []string{"h2"}
			if conn, err := tls.Dial("tcp", r.addr, c); err == nil {
				t.Errorf("HTTP/2 is negotiated: %q", conn.ConnectionState().NegotiatedProtocol)
			}
		}},
		{"garbage in place of JSON", func(t *testing.T, r *running) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.client.Clone()}}
			defer client.CloseIdleConnections()
			bodies := []string{
				"", "null", "[]", "{", "\x00", "\xff\xfe", strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<18), `{"request":{}}`, `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}`,
				`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":7}}`,
				`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"object":{},"spec":[` + strings.Repeat("{},", 1<<20) + `0]}}`,
			}
			many(20, func(i int) {
				for _, body := range bodies {
					resp, err := client.Post("https://"+r.addr+"/validate", "application/json", strings.NewReader(body))
					if err != nil {
						t.Errorf("%.40q: %v", body, err)
						continue
					}
					_ = resp.Body.Close()
					if c := resp.StatusCode; c != http.StatusBadRequest && c != http.StatusRequestEntityTooLarge && c != http.StatusTooManyRequests {
						t.Errorf("%.40q: status %d", body, c)
					}
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			r := startServer(t)
			client := apiServer(t, r, nil, nil)
			s := startSteady(client, service)
			c.abuse(t, r)
			s.report(t, client, service, c.name)
			closeIdle(client)
			r.stop()
			noLeak(t, before)
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestSaturation: far more than can be worked on is answered or turned away, nothing hangs, and an API server that asks again gets
// its answer as soon as there is room.
func TestSaturation(t *testing.T) {
	before := runtime.NumGoroutine()
	r := startServer(t)
	large := review("Pod", "CREATE", benchPod(420), nil)
	transport := &http.Transport{TLSClientConfig: r.client.Clone()}
	client := &http.Client{Transport: transport}
	var answered, shed atomic.Int64
	var mu sync.Mutex
	var worst time.Duration
	shedBefore := counter(t, requestsTotal.WithLabelValues("validate", "", "", "shed"))
	many(150, func(int) {
		for range 2 {
			begin := time.Now()
			resp, err := client.Post("https://"+r.addr+"/validate", "application/json", bytes.NewReader(large))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			mu.Lock()
			worst = max(worst, time.Since(begin))
			mu.Unlock()
			switch {
			case resp.StatusCode == http.StatusOK:
				answered.Add(1)
			case resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "1":
				shed.Add(1)
			default:
				t.Errorf("status %d", resp.StatusCode)
			}
		}
	})
	after := apiServer(t, r, nil, nil)
	begin := time.Now()
	if err := askReview(after, "/mutate", review("Service", "CREATE", benchService(), nil)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	t.Logf("| 150 clients with Pods of 1 MB | %d, %d of them turned away | 0 | %v | %v |", answered.Load()+shed.Load(), shed.Load(), worst.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	if answered.Load()+shed.Load() != 300 || answered.Load() == 0 {
		t.Errorf("%d answered, %d turned away", answered.Load(), shed.Load())
	}
	if n := counter(t, requestsTotal.WithLabelValues("validate", "", "", "shed")) - shedBefore; n != float64(shed.Load()) {
		t.Errorf("%v counted as shed, %d were", n, shed.Load())
	}
	transport.CloseIdleConnections()
	closeIdle(after)
	r.stop()
	noLeak(t, before)
}
