package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fixFolder runs sixgate fix on a folder.
func fixFolder(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"sixgate", "fix"}, args...), nil, &o, &e)
	return code, o.String(), e.String()
}

func writeTo(t *testing.T, path, text string, perm os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestFixStaysInFolder: whoever may add files to a folder cannot have files outside of it written: by symbolic links, by hard links or by
// what is no file. Permissions stay.
func TestFixStaysInFolder(t *testing.T) {
	top := t.TempDir()
	dir, outside := filepath.Join(top, "repo"), filepath.Join(top, "outside.yaml")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := strings.Replace(service("a"), "IPv4", "IPv6", 1)
	writeTo(t, outside, service("a"), 0o644)
	writeTo(t, filepath.Join(dir, "sub", "inside.yaml"), service("a"), 0o640)
	writeTo(t, filepath.Join(dir, "run.yaml"), service("a"), 0o755)
	for link, target := range map[string]string{
		"absolute.yaml": outside, "relative.yaml": "../outside.yaml", "chain.yaml": "relative.yaml", "through.yaml": "sub/../../outside.yaml",
		"inside.yaml": "sub/inside.yaml", "loop.yaml": "loop.yaml", "device.yaml": "/dev/zero", "folder.yaml": top,
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	hard := filepath.Join(dir, "hard.yaml")
	if err := os.Link(outside, hard); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}

	code, _, errs := fixFolder(t, dir)
	if code != exitError {
		t.Errorf("exit code %d", code)
	}
	for _, link := range []string{"absolute", "relative", "chain", "through"} {
		if want := filepath.Join(dir, link+".yaml") + ": is a symbolic link that leads out of the folder; name the file itself to repair it"; !strings.Contains(errs, want) {
			t.Errorf("%q is not in\n%s", want, errs)
		}
	}
	if got := content(t, outside); got != service("a") {
		t.Errorf("the file outside has changed:\n%s", got)
	}
	if got := content(t, hard); got != good {
		t.Errorf("the hard link is not repaired:\n%s", got)
	}
	for name, perm := range map[string]os.FileMode{"sub/inside.yaml": 0o640, "run.yaml": 0o755} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != perm || content(t, path) != good {
			t.Errorf("%s: %v %v\n%s", name, info.Mode(), err, content(t, path))
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "inside.yaml")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link inside is no link any more: %v %v", info.Mode(), err)
	}

	// Who names the link means the file.
	if code, _, errs := fixFolder(t, filepath.Join(dir, "absolute.yaml")); code != 0 || content(t, outside) != good {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// TestFixChanged: a file that somebody replaces between reading and writing stays as he left it.
func TestFixChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	for name, replace := range map[string]func() error{
		"other content": func() error { return os.WriteFile(path, []byte("new"), 0o600) },
		"a link":        func() error { return os.Symlink(os.DevNull, path) },
		"a folder":      func() error { return os.Mkdir(path, 0o700) },
		"a pipe":        func() error { return unix.Mkfifo(path, 0o600) },
		"nothing":       func() error { return nil },
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path) // nothing is nothing
		if err := writeFile(path, []byte("old"), []byte("repaired")); err == nil {
			t.Errorf("%s: overwritten", name)
		}
		after, err := os.Lstat(path)
		if before == nil != (after == nil) || before != nil && (before.Mode() != after.Mode() || !os.SameFile(before, after)) {
			t.Errorf("%s: is %v (%v), was %v", name, after, err, before)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 1 {
			t.Errorf("%s: left behind: %v %v", name, entries, err)
		}
	}
}

// mountedFolder is a folder on a file system of its own, 64 kB large, in a mount namespace that ends with the test.
func mountedFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and its namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Skipf("no mount namespace: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skipf("no private mounts: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// inMount runs the program in the mount namespace of this thread.
func inMount(t *testing.T, args ...string) (code int, errs string) {
	t.Helper()
	program, err := exec.LookPath("sixgate") // testscript.Main has put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	var e bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = &e
	_ = cmd.Run() // its exit code counts
	return cmd.ProcessState.ExitCode(), e.String()
}

// TestNoRoom: where there is no room, or nothing may be written, every file stays as it is, nothing is left behind, and it is said.
func TestNoRoom(t *testing.T) {
	dir := mountedFolder(t)
	manifest, filler := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "filler")
	text := service("a") + "# " + strings.Repeat("x", 8<<10) + "\n"
	writeTo(t, manifest, text, 0o644)
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for _, err = f.Write(make([]byte, 1<<10)); err == nil; _, err = f.Write(make([]byte, 1<<10)) {
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "b.yaml")
	writeTo(t, other, text, 0o644)
	check := func(what, want string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 || content(t, manifest) != text {
			t.Errorf("%s: %v %v", what, entries, err)
		}
		for _, args := range [][]string{
			{"fix", manifest}, {"audit", "-o", "json=" + filepath.Join(dir, "report.json"), other}, {"audit", "-o", "html=" + filepath.Join(dir, "report.html"), other},
			{"audit", "--write-baseline", filepath.Join(dir, "baseline.yaml"), other},
		} {
			if code, errs := inMount(t, args...); code != exitError || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("%s: sixgate %s: exit code %d, %q", what, strings.Join(args, " "), code, errs)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 || content(t, manifest) != text {
				t.Errorf("%s: sixgate %s: %v %v", what, strings.Join(args, " "), entries, err)
			}
		}
	}
	check("full", "no space left on device")
	if err := os.Truncate(filler, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	check("read-only", "read-only file system")
}
