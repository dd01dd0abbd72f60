// Package sockets reads what the processes of a network namespace listen on, from the text of /proc/net/tcp, tcp6, udp and udp6,
// and says who can reach a port. It knows nothing of programs and nothing of Kubernetes.
//
// The format is that of Documentation/networking/proc_net_tcp.rst of Linux: addresses are the memory of the kernel as 32-bit
// words in hexadecimal. This package reads those of little-endian machines. On a big-endian one (s390x) wildcard addresses and
// ports are read right, others are not.
package sockets

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
)

// A Protocol has sockets and ports of its own.
type Protocol string

// The protocols that are read.
const (
	TCP Protocol = "TCP"
	UDP Protocol = "UDP"
)

// A Listener is a socket that takes what comes from anywhere: a TCP socket that listens, a UDP socket that is bound and not
// connected. UDP knows no listening, so a client that waits for an answer looks the same.
type Listener struct {
	Protocol Protocol
	Address  netip.Addr // unspecified: any; IPv4 where it takes IPv4 only, in whichever table it stood
	Port     uint16
	Inode    uint64 // as in /proc/PID/fd ("socket:[N]"), 0 where the kernel gives none
}

// AddrPort is the address and port as netip writes them.
func (l Listener) AddrPort() netip.AddrPort { return netip.AddrPortFrom(l.Address, l.Port) }

// Reach says who can reach a port.
type Reach int

// Reaches, each more than the one before.
const (
	Unknown   Reach = iota // the tables that would tell are missing
	None                   // nothing listens
	Loopback               // the processes of the same network namespace
	LinkLocal              // also those of the same link, which no Service and no probe uses
	IPv4Only               // others over IPv4, surely not over IPv6
	IPv6                   // others over IPv6; over IPv4 too, unless the socket is IPv6 only, which the tables do not tell
)

func (r Reach) String() string {
	switch r {
	case None:
		return "none"
	case Loopback:
		return "loopback"
	case LinkLocal:
		return "link-local"
	case IPv4Only:
		return "IPv4"
	case IPv6:
		return "IPv6"
	default:
		return "unknown"
	}
}

// Limits of what is read of one namespace. A busy proxy has a hundred thousand connections, 20 MB of text, and some dozens of
// listeners.
const (
	maxBytes     = 256 << 20
	maxListeners = 1 << 16
)

// ErrNoTable is the error where none of the texts was such a table.
var ErrNoTable = errors.New("no socket table in it")

type table struct {
	protocol Protocol
	v6       bool
}

// A Namespace is what listens in one network namespace.
type Namespace struct {
	Listeners []Listener // by protocol, port and address, none twice
	tables    map[table]bool
}

// Read reads the tables, one after the other in any order, as cat prints them: each begins with its header line, which tells
// which one it is. Lines that it does not understand are passed over. The errors are those of reading, [ErrNoTable], and that
// there is more than any namespace has.
func Read(text io.Reader) (*Namespace, error) {
	n := &Namespace{tables: map[table]bool{}}
	limited := &io.LimitedReader{R: text, N: maxBytes + 1}
	in := bufio.NewReaderSize(limited, 1<<16)
	seen := map[Listener]bool{}
	var current table
	for {
		line, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull) // no line of a table: its pieces are not read as lines either
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		if limited.N <= 0 {
			return nil, fmt.Errorf("read sockets: more than %d MB", maxBytes>>20)
		}
		if !long {
			if t, ok := header(line); ok {
				current = t
				n.tables[t] = true
			} else if l, ok := listener(current, line); ok && !seen[Listener{l.Protocol, l.Address, l.Port, 0}] {
				// SO_REUSEPORT: many sockets, one answer.
				seen[Listener{l.Protocol, l.Address, l.Port, 0}] = true
				if n.Listeners = append(n.Listeners, l); len(n.Listeners) > maxListeners {
					return nil, fmt.Errorf("read sockets: more than %d listeners", maxListeners)
				}
			}
		}
		if err != nil {
			break
		}
	}
	if len(n.tables) == 0 {
		return nil, fmt.Errorf("read sockets: %w", ErrNoTable)
	}
	slices.SortFunc(n.Listeners, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address))
	})
	return n, nil
}

// header tells the tables apart: only those of UDP count drops, and those of IPv6 spell the second address out
// (net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c, net/ipv4/udp.c, net/ipv6/datagram.c of Linux).
func header(line []byte) (table, bool) {
	f := bytes.Fields(line)
	if len(f) < 4 || string(f[0]) != "sl" || string(f[1]) != "local_address" {
		return table{}, false
	}
	t := table{protocol: TCP, v6: string(f[2]) == "remote_address"}
	if string(f[len(f)-1]) == "drops" {
		t.protocol = UDP
	}
	return t, t.v6 || string(f[2]) == "rem_address"
}

// States of include/net/tcp_states.h.
const (
	stateListen = "0A"
	stateClose  = "07" // that of a UDP socket which is not connected
)

func listener(t table, line []byte) (Listener, bool) {
	f := bytes.Fields(line)
	if len(f) < 10 {
		return Listener{}, false
	}
	if state := string(f[3]); t.protocol == TCP && state != stateListen || t.protocol == UDP && state != stateClose || t.protocol == "" {
		return Listener{}, false
	}
	digits := 8
	if t.v6 {
		digits = 32
	}
	host, port, ok := bytes.Cut(f[1], []byte(":"))
	if !ok || len(host) != digits {
		return Listener{}, false
	}
	number, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil || number == 0 {
		return Listener{}, false
	}
	var words [16]byte
	size, err := hex.Decode(words[:], host)
	if err != nil {
		return Listener{}, false
	}
	for i := 0; i < size; i += 4 { // to network order
		binary.BigEndian.PutUint32(words[i:], binary.LittleEndian.Uint32(words[i:]))
	}
	address, _ := netip.AddrFromSlice(words[:size])
	inode, err := strconv.ParseUint(string(f[9]), 10, 64)
	if err != nil {
		return Listener{}, false
	}
	return Listener{Protocol: t.protocol, Address: address.Unmap(), Port: uint16(number), Inode: inode}, true
}

// HasIPv6 reports whether the kernel knows IPv6: without it there are no tables of IPv6.
func (n *Namespace) HasIPv6() bool { return n.tables[table{TCP, true}] || n.tables[table{UDP, true}] }

// At returns the listeners on a port.
func (n *Namespace) At(p Protocol, port uint16) []Listener {
	from, _ := slices.BinarySearchFunc(n.Listeners, Listener{Protocol: p, Port: port}, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	to := from
	for to < len(n.Listeners) && n.Listeners[to].Protocol == p && n.Listeners[to].Port == port {
		to++
	}
	return n.Listeners[from:to]
}

// Reach says who can reach a port by the addresses of its sockets. What filters and redirects packets (netfilter, eBPF,
// SO_BINDTODEVICE) is not in the tables.
func (n *Namespace) Reach(p Protocol, port uint16) Reach {
	reach := None
	for _, l := range n.At(p, port) {
		one := IPv6
		switch {
		case l.Address.IsLoopback():
			one = Loopback
		case l.Address.Is4():
			one = IPv4Only
		case l.Address.IsLinkLocalUnicast(), l.Address.IsMulticast():
			one = LinkLocal
		}
		reach = max(reach, one)
	}
	if reach == IPv6 {
		return reach
	}
	// Both tables of IPv6 are missing where the kernel has none, one alone was not read.
	v6 := n.tables[table{p, true}] || !n.HasIPv6() && n.tables[table{TCP, false}] && n.tables[table{UDP, false}]
	if !v6 || !n.tables[table{p, false}] {
		return Unknown
	}
	return reach
}
