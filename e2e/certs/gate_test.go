//go:build e2e

package certs

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A gate stands between the API server and one replica. It can end the connections that the API server keeps open, which then makes
// new ones, with new handshakes.
type gate struct {
	listener net.Listener
	accepted atomic.Int64
	mu       sync.Mutex
	open     map[*net.TCPConn]chan struct{} // closed when the API server has closed its side
}

func newGate(listen, replica string) (*gate, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	g := &gate{listener: l, open: map[*net.TCPConn]chan struct{}{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.accepted.Add(1)
			go g.carry(conn.(*net.TCPConn), replica)
		}
	}()
	return g, nil
}

func (g *gate) carry(conn *net.TCPConn, replica string) {
	defer conn.Close()
	to, err := net.Dial("tcp", replica)
	if err != nil {
		return // as where nobody listens
	}
	defer to.Close()
	ended := make(chan struct{})
	g.mu.Lock()
	g.open[conn] = ended
	g.mu.Unlock()
	go func() {
		_, _ = io.Copy(conn, to)
		_ = conn.CloseWrite()
	}()
	_, _ = io.Copy(to, conn) // until the API server closes
	g.mu.Lock()
	delete(g.open, conn)
	g.mu.Unlock()
	close(ended)
}

// cut ends all connections, and returns when the API server has noticed. No request may be under way.
func (g *gate) cut() error {
	g.mu.Lock()
	var ended []chan struct{}
	for conn, e := range g.open {
		_ = conn.CloseWrite()
		ended = append(ended, e)
	}
	g.mu.Unlock()
	for _, e := range ended {
		select {
		case <-e:
		case <-time.After(time.Minute):
			return fmt.Errorf("a connection to %s does not end", g.listener.Addr())
		}
	}
	return nil
}

func (g *gate) close() { _ = g.listener.Close() }
