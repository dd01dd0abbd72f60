package sockets

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
)

// captured is what cat printed of the four tables, on Linux 6, of one namespace with a socket of each kind.
func captured(t testing.TB) string {
	text, err := os.ReadFile("testdata/sockets.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRead(t *testing.T) {
	n, err := Read(strings.NewReader(captured(t)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range n.Listeners {
		got = append(got, fmt.Sprint(l.Protocol, " ", l.AddrPort(), " ", l.Inode))
	}
	want := []string{
		"TCP 0.0.0.0:8080 1013111", "TCP [::]:8081 1013112", "TCP [::]:8082 1013113",
		"TCP 127.0.0.1:8083 1013114", "TCP [::1]:8083 1013115", "TCP 0.0.0.0:8084 1013117",
		"TCP 0.0.0.0:8085 1013118", "TCP [::]:8085 1013119", "TCP 127.0.0.1:8086 1013120", "TCP 0.0.0.0:8087 1013121",
		"TCP [fd00:6:6::1]:8088 1013122", "TCP 0.0.0.0:8089 1013123", "TCP [::1]:8089 1013124",
		"TCP [fe80::6473:2aff:fefa:e839]:8090 1013128",
		"UDP 0.0.0.0:53 1013125", "UDP [::]:54 1013126", "UDP [::1]:55 1013127",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for port, want := range map[uint16]Reach{
		8080: IPv4Only, 8081: IPv6, 8082: IPv6, 8083: Loopback, 8084: IPv4Only, 8085: IPv6, 8086: Loopback, 8087: IPv4Only,
		8088: IPv6, 8089: IPv4Only, 8090: LinkLocal, 53: None, 54: None, 8079: None, 65535: None,
	} {
		if got := n.Reach(TCP, port); got != want {
			t.Errorf("TCP %d: %v, want %v", port, got, want)
		}
	}
	for port, want := range map[uint16]Reach{53: IPv4Only, 54: IPv6, 55: Loopback, 8080: None, 55097: None} {
		if got := n.Reach(UDP, port); got != want {
			t.Errorf("UDP %d: %v, want %v", port, got, want)
		}
	}
}

// TestMissing: what was not read is unknown; a kernel without IPv6 has neither of its tables.
func TestMissing(t *testing.T) {
	var tables []string // tcp, tcp6, udp, udp6
	for line := range strings.Lines(captured(t)) {
		if strings.HasPrefix(strings.TrimSpace(line), "sl") {
			tables = append(tables, "")
		}
		tables[len(tables)-1] += line
	}
	for _, c := range []struct {
		text             string
		tcp4, tcp6, udp4 Reach // of 8080, 8081 and 53
	}{
		{tables[2] + tables[3] + "\n" + tables[1] + tables[0], IPv4Only, IPv6, IPv4Only}, // captured without the last line feed
		{tables[0] + tables[2], IPv4Only, None, IPv4Only},
		{tables[0], Unknown, Unknown, Unknown},
		{tables[0] + tables[1], IPv4Only, IPv6, Unknown},
		{tables[0] + tables[1] + tables[2], IPv4Only, IPv6, Unknown},
		{tables[1] + tables[3], Unknown, IPv6, Unknown},
		{tables[0] + tables[2] + tables[3], Unknown, Unknown, IPv4Only},
	} {
		n, err := Read(strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if a, b, d := n.Reach(TCP, 8080), n.Reach(TCP, 8081), n.Reach(UDP, 53); a != c.tcp4 || b != c.tcp6 || d != c.udp4 {
			t.Errorf("%v %v %v, want %v %v %v of\n%s", a, b, d, c.tcp4, c.tcp6, c.udp4, c.text)
		}
	}
	for _, text := range []string{"", "cat: not found\n", tables[0][200:], strings.Repeat("x", 1<<20)} {
		if _, err := Read(strings.NewReader(text)); !errors.Is(err, ErrNoTable) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// endless repeats a text.
type endless struct {
	text, rest string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.text
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestLimits: an endless text has an end, and so has one without line feeds.
func TestLimits(t *testing.T) {
	for _, text := range []string{captured(t) + "\n", strings.Repeat("0", 1<<16)} {
		if _, err := Read(&endless{text: text}); err == nil || !strings.Contains(err.Error(), "MB") {
			t.Errorf("endless %.20q: %v", text, err)
		}
	}
	var many strings.Builder
	many.WriteString("  sl  local_address rem_address   st\n")
	for i := range maxListeners + 1 {
		fmt.Fprintf(&many, "0: %08X:1F90 00000000:0000 0A 0:0 0:0 0 0 0 %d\n", i, i)
	}
	if _, err := Read(strings.NewReader(many.String())); err == nil || !strings.Contains(err.Error(), "listeners") {
		t.Errorf("many listeners: %v", err)
	}
	if _, err := Read(io.MultiReader(strings.NewReader(captured(t)), errReader{})); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken: %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzRead(f *testing.F) {
	f.Add(captured(f))
	f.Add("  sl  local_address rem_address   st\n 0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, l := range n.Listeners {
			if !l.Address.IsValid() || l.Address.Is4In6() || l.Port == 0 {
				t.Errorf("%+v", l)
			}
			if reach := n.Reach(l.Protocol, l.Port); reach == None {
				t.Errorf("%+v: %v", l, reach)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := strings.Repeat(captured(b)+"\n", 1<<20/len(captured(b)))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Read(strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
