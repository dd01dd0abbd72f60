//go:build e2e

// Package html tests the HTML report in a real browser: headless Chromium.
package html

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// screenshotsEnv names a folder that TestScreenshots writes to: `make screenshots` has them made for the documentation.
const screenshotsEnv = "SIXGATE_SCREENSHOTS"

// sixgate is the program under test, built once.
var sixgate = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sixgate-html-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "sixgate")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/sixgate/sixgate/cmd/sixgate").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := sixgate(); err == nil {
		if err := os.RemoveAll(filepath.Dir(program)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// report audits manifests, by path below the working directory, and returns where the page is.
func report(t *testing.T, args []string, manifests map[string]string) string {
	t.Helper()
	program, err := sixgate()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range manifests {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, append([]string{"audit", "-o", "html=" + filepath.Join(dir, "report.html"), "--fail-on", "none", "."}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GITHUB_WORKSPACE=", "GITHUB_SERVER_URL=", "CI_PROJECT_DIR=", "CI_PROJECT_URL=")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // broken documents give exit code 3
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "report.html")
}

// A browser is one tab, and everything that went wrong in it.
type browser struct {
	context.Context
	t        *testing.T
	mu       sync.Mutex
	requests []string
	problems []string
}

// open shows a file. Whatever the page loads, logs, throws or asks fails the test at its end.
func open(t *testing.T, file string) *browser {
	t.Helper()
	found := false
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if _, err := exec.LookPath(name); err == nil {
			found = true
		}
	}
	if !found {
		t.Skip("chromium is missing, the HTML report is not tested: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1400, 1000)) // root has no sandbox
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	b := &browser{t: t}
	ctx, cancelTab := chromedp.NewContext(ctx, chromedp.WithListener(b.listen))
	b.Context = ctx
	t.Cleanup(func() {
		cancelTab()
		cancelAllocator()
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, r := range b.requests {
			if !strings.HasPrefix(r, "file:") && !strings.HasPrefix(r, "data:") {
				t.Errorf("the page loads %s", r)
			}
		}
		for _, p := range b.problems {
			t.Errorf("the browser says: %s", p)
		}
	})
	if _, err := chromedp.Call(b, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(b, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	b.scheme("light")
	b.do(chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String()), chromedp.WaitReady(chromedp.CSS("#status")))
	return b
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *cdplog.EventEntryAdded: // also what the page's policy refuses
		b.problems = append(b.problems, e.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		b.problems = append(b.problems, "console."+string(e.Type))
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.problems = append(b.problems, "dialog: "+e.Message)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns what an expression gives, as JSON.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	out, err := chromedp.Run(b, chromedp.Evaluate[any](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	var data strings.Builder
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSuffix(data.String(), "\n")
}

// scheme is light or dark. Scrolling takes no time: a click goes where its target was.
func (b *browser) scheme(name string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}
	if _, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
}

// wants waits until an expression gives something: filters wait for the next key.
func (b *browser) wants(expression, want string) {
	b.t.Helper()
	var got string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = b.eval(expression); got == want {
			return
		}
	}
	b.t.Fatalf("%s: %s, want %s", expression, got, want)
}

const (
	status = `document.getElementById("status").textContent`
	rows   = `document.querySelectorAll("#rows tbody tr").length`
)

// shop are a few faults of several kinds in two namespaces.
func shop() map[string]string {
	return map[string]string{"shop/all.yaml": `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ipFamilies: [IPv4], selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: monitoring}
spec: {containers: [{name: agent, image: agent, ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: fine, namespace: shop, annotations: {sixgate.io/ignore.host-port-ipv4: "tested by hand"}}
spec: {containers: [{name: fine, image: fine}]}
`}
}

// many are 10,000 findings in 30 namespaces.
func many() map[string]string {
	files := map[string]string{}
	for i := range 100 {
		var b strings.Builder
		for j := range 100 {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: service-%d-%d, namespace: team-%d}\nspec:\n  ipFamilies: [IPv4]\n  selector: {app: a%d}\n  ports: [{port: 80}]\n", i, j, (i+j)%30, i)
			if j%10 == 0 {
				fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app-%d-%d, namespace: team-%d}\nspec: {template: {metadata: {labels: {app: a%d}}, spec: {containers: [{name: a, image: a}]}}}\n", i, j, (i+j)%30, i+j%20)
			}
		}
		files[fmt.Sprintf("team/file-%d.yaml", i)] = b.String()
	}
	return files
}

func TestReport(t *testing.T) {
	b := open(t, report(t, []string{"--source-url", "https://git.example/shop/blob/main/{file}#L{line}"}, shop()))
	b.wants(status, `"2 findings"`)
	b.wants(`document.querySelector("h1").textContent`, `"2 faults on an IPv6-only cluster"`)
	b.wants(`document.querySelector(".lead").textContent`, `"1 of 3 workloads is ready; 1 more after sixgate fix; 1 needs a person"`)
	b.wants(`document.querySelector(".donut .big").textContent`, `"33 %"`)
	b.wants(`document.querySelector("#rows .place a").href`, `"https://git.example/shop/blob/main/shop/all.yaml#L4"`)
	b.wants(`document.querySelector("#rows pre").textContent`, `"spec: {ipFamilies: [IPv4], selector: {app: web}, ports: [{port: 80}]}\n                    ^"`)
	b.wants(`document.querySelector("details td:nth-child(3)").textContent`, `"tested by hand"`)
	// A row of a chart is a filter.
	b.do(chromedp.Click(chromedp.CSS(`[data-rule="host-port-ipv4"]`)))
	b.wants(status, `"1 of 2 findings match"`)
	b.do(chromedp.Click(chromedp.CSS("#reset")))
	b.wants(status, `"2 findings"`)
	b.do(chromedp.Click(chromedp.CSS(`[data-namespace="shop"]`)))
	b.wants(`[...document.querySelectorAll("#rows tbody .kind")].map((e) => e.textContent)`, `["Service"]`)
	// A filter is in the address: it survives a reload, and can be sent to somebody.
	b.wants(`location.hash`, `"#?namespace=shop"`)
	b.do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("#status")))
	b.wants(status, `"1 of 2 findings match"`)
	b.do(chromedp.Click(chromedp.CSS("#reset")))
	for filter, want := range map[string]string{"person": `["host-port-ipv4"]`, "fix": `["service-ip-family"]`, "webhook": `["service-ip-family"]`} {
		b.do(chromedp.SetValue(chromedp.CSS("#repair"), filter))
		b.eval(`document.getElementById("repair").onchange()`)
		b.wants(`[...document.querySelectorAll("#rows .meta a")].map((e) => e.textContent)`, want)
	}
}

// TestKeyboard uses nothing but keys.
func TestKeyboard(t *testing.T) {
	b := open(t, report(t, nil, shop()))
	focus := `document.activeElement.id || document.activeElement.className || document.activeElement.dataset.rule || document.activeElement.dataset.sort`
	b.do(chromedp.KeyEvent(kb.Tab))
	b.wants(focus, `"skip"`)
	b.wants(`getComputedStyle(document.activeElement).left`, `"12px"`) // it can be seen
	b.do(chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
	b.wants(focus, `"q"`)
	b.do(chromedp.KeyEvent("AGENT host"))
	b.wants(status, `"1 of 2 findings match"`)
	for _, next := range []string{"level", "rule", "namespace", "repair", "reset"} {
		b.do(chromedp.KeyEvent(kb.Tab))
		b.wants(focus, `"`+next+`"`)
		b.wants(`getComputedStyle(document.activeElement).outlineStyle`, `"solid"`)
	}
	b.do(chromedp.KeyEvent(" "))
	b.wants(status, `"2 findings"`)
	b.do(chromedp.KeyEvent(kb.Tab))
	b.wants(`document.activeElement.dataset.sort`, `"level"`)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.wants(`document.activeElement.parentElement.ariaSort`, `"ascending"`)
	b.wants(`document.querySelector("#rows .kind").textContent`, `"Pod"`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.wants(`document.activeElement.parentElement.ariaSort`, `"descending"`)
	b.wants(`document.querySelector("#rows .kind").textContent`, `"Service"`)
	// Everything that can be used has a name.
	b.wants(`[...document.querySelectorAll("button, input, select, a")].filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length`, `0`)
}

// TestMany: 10,000 findings are shown page by page.
func TestMany(t *testing.T) {
	b := open(t, report(t, nil, many()))
	b.wants(status, `"1–50 of 10,000 findings"`)
	b.wants(rows, `50`)
	b.do(chromedp.Click(chromedp.CSS("#next")))
	b.wants(status, `"51–100 of 10,000 findings"`)
	b.do(chromedp.Click(chromedp.CSS("#last")))
	b.wants(status, `"9,951–10,000 of 10,000 findings"`)
	b.wants(`[document.getElementById("next").disabled, document.getElementById("previous").disabled]`, `[true,false]`)
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "service-99-99"))
	b.wants(status, `"1 of 10,000 findings match"`)
	b.do(chromedp.Click(chromedp.CSS("#reset")))
	b.wants(status, `"1–50 of 10,000 findings"`)
	b.wants(`document.querySelectorAll(".more").length`, `18`)
	b.do(chromedp.Click(chromedp.CSS("#more")))
	b.wants(`getComputedStyle(document.querySelector(".more")).display`, `"table-row"`)
	b.eval(`document.querySelector("[data-namespace=team-29]").click()`)
	b.wants(`/^1–50 of 33\d of 10,000 findings match$/.test(`+status+`)`, `true`)
	b.do(chromedp.Click(chromedp.CSS("#reset")))
	b.wants(status, `"1–50 of 10,000 findings"`)
	// On paper there is more than one page of the list, but not all.
	b.eval(`window.dispatchEvent(new Event("beforeprint"))`)
	b.wants(rows, `2000`)
	b.wants(status, `"The first 2,000 of 10,000 findings"`)
	b.eval(`window.dispatchEvent(new Event("afterprint"))`)
	b.wants(rows, `50`)
}

// TestHostile: texts of a manifest stay texts.
func TestHostile(t *testing.T) {
	const bad = `</script><script>alert(1)</script><img src=x onerror=alert(2)>`
	b := open(t, report(t, nil, map[string]string{"a<b>&.yaml": `apiVersion: v1
kind: Service
metadata: {name: "` + bad + `", namespace: "` + bad + `"}
spec: {ipFamilies: [IPv4]} # ` + bad + `
---
apiVersion: v1
kind: Service
metadata: {name: "</textarea></style>{{.}}", annotations: {sixgate.io/ignore.service-ip-family: "` + bad + `"}}
---
apiVersion: v1
 kind: "` + bad + `"
`}))
	b.wants(status, `"1 finding"`)
	b.wants(`[document.scripts.length, document.images.length, document.querySelectorAll("style").length]`, `[2,0,1]`)
	b.wants(`document.querySelector("#rows .kind + span").textContent`, fmt.Sprintf("%q", bad+"/"+bad))
	b.wants(`document.querySelectorAll(".errors li").length`, `1`)
}

// TestContrast: text stands out from its ground by 4.5 to 1 at least (WCAG 2.2, 1.4.3), in light and in dark.
func TestContrast(t *testing.T) {
	file := report(t, nil, shop())
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			b := open(t, file)
			b.scheme(scheme)
			b.wants(`(() => {
				const rgb = (s) => s.match(/[\d.]+/g).map(Number);
				const luminance = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
					.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
				const ground = (e) => {
					for (; e; e = e.parentElement) {
						const c = rgb(getComputedStyle(e).backgroundColor);
						if (c.length === 3 || c[3] > 0) return c;
					}
					return [255, 255, 255];
				};
				const bad = [];
				for (const e of document.querySelectorAll("body *")) {
					if (e.closest("svg, script, style, noscript, .skip, .sr") || !e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
					if (e.disabled) continue;
					const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
					if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.tagName + "." + e.className + " " + e.textContent.trim().slice(0, 30));
				}
				return bad;
			})()`, `[]`)
		})
	}
}

// TestPrint: Chromium makes a PDF of it.
func TestPrint(t *testing.T) {
	b := open(t, report(t, nil, shop()))
	pdf, err := chromedp.Run(b, chromedp.PrintToPDF(chromedp.PDFPrintBackground()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Errorf("%.20q", pdf)
	}
}

// TestScreenshots makes the pictures of the documentation; nothing is compared, as fonts differ.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv(screenshotsEnv)
	if dir == "" {
		t.Skip(screenshotsEnv + " names no folder, no screenshots are made")
	}
	examples, err := filepath.Glob("../../examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := shop()
	for _, e := range examples {
		data, err := os.ReadFile(e)
		if err != nil {
			t.Fatal(err)
		}
		files["examples/"+filepath.Base(e)] = string(data)
	}
	for _, scheme := range []string{"light", "dark"} {
		b := open(t, report(t, nil, files))
		b.do(chromedp.EmulateViewport(1400, 1100))
		b.scheme(scheme)
		png, err := chromedp.Run(b, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "html-"+scheme+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(t.TempDir(), "terminal.html")
	if err := os.WriteFile(page, []byte(terminal(t, "service-ipv4.yaml", "listen-gunicorn.yaml", "nginx-ipv4-only.yaml", "ip-variable.yaml")), 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t, page)
	b.do(chromedp.EmulateViewport(1500, 900))
	png, err := chromedp.Run(b, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "terminal.png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// terminal is what an audit of examples looks like on a terminal, as a page.
func terminal(t *testing.T, examples ...string) string {
	t.Helper()
	program, err := sixgate()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{"audit", "--color", "always", "--policy", "policy.yaml"}, examples...)...)
	cmd.Dir = "../../examples"
	out, _ := cmd.Output() // findings are exit code 1
	text := "$ sixgate audit " + strings.Join(examples, " ") + "\n" + string(out)
	styles := map[string]string{"1": "font-weight:bold;color:#fff", "1;31": "color:#ff6b68", "1;33": "color:#e5c07b", "1;36": "color:#56c8d8", "1;32": "color:#98c379", "2": "opacity:.6", "0": ""}
	text = regexp.MustCompile("\x1b\\[([0-9;]*)m").ReplaceAllStringFunc(html.EscapeString(text), func(code string) string {
		return `</span><span style="` + styles[strings.Trim(code, "\x1b[m")] + `">`
	})
	return `<!DOCTYPE html><meta charset="utf-8"><body id="status" style="margin:0;background:#16181d"><pre style="margin:0;padding:20px;color:#c8ccd4;font:14px/1.45 monospace;white-space:pre-wrap"><span>` + text + `</span></pre>`
}
