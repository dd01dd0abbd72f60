package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is "nonroot" of distroless images: a number, so that runAsNonRoot can be checked without /etc/passwd.
const user = "65532:65532"

// image writes the image of all architectures as an OCI layout, folder image, and the same as image.tar, with an SBOM for each. It holds
// both commands and no other program: the webhook is its entrypoint, /sixgate audits the cluster from a CronJob.
func (r release) image(scratch string) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	annotations := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		p := platform{"linux", arch}
		webhook, err := r.build(scratch, "webhook", p)
		if err != nil {
			return err
		}
		cli, err := r.build(scratch, "sixgate", p)
		if err != nil {
			return err
		}
		img, err := r.oneImage(webhook, cli, arch)
		if err != nil {
			return fmt.Errorf("make image for %s: %w", p, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
		if err := r.sbom("image_"+p.String(), p, webhook, cli); err != nil {
			return err
		}
		annotations["org.opencontainers.image.ref.name"] = r.tag()
		annotations["io.containerd.image.name"] = r.repository + ":" + r.tag()
	}
	dir := filepath.Join(r.out, "image")
	p, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = p.AppendIndex(index, layout.WithAnnotations(annotations))
	}
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", annotations["io.containerd.image.name"], digest)
	return r.imageTar(dir)
}

func (r release) oneImage(webhook, cli *binary, arch string) (v1.Image, error) {
	licence, err := read("licenses/LICENSE", filepath.Join(r.root, "LICENSE"), 0o444)
	if err != nil {
		return nil, err
	}
	notices, err := read("licenses/THIRD_PARTY_NOTICES", filepath.Join(r.root, "THIRD_PARTY_NOTICES"), 0o444)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{
		"org.opencontainers.image.title":    "Sixgate",
		"org.opencontainers.image.source":   "https://github.com/sixgate/sixgate",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  r.source.version,
		"org.opencontainers.image.revision": r.source.revision,
	}
	created := v1.Time{Time: r.source.time}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	// A layer for each command: who updates one version to the next fetches what has changed.
	for _, b := range []*binary{webhook, cli} {
		program, err := read(b.name, b.path, 0o555)
		if err != nil {
			return nil, err
		}
		content := []file{program}
		if b == webhook {
			content = append(content, licence, notices)
		}
		var plain bytes.Buffer
		if err := writeTar(&plain, created.Time, content); err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(plain.Bytes())), nil
		}, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: created, CreatedBy: "tools/release " + b.name},
		})
		if err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, created
	config.Config = v1.Config{User: user, Entrypoint: []string{"/webhook"}, WorkingDir: "/", Labels: labels}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(img, labels).(v1.Image), nil
}

// imageTar writes the layout as one file, for `ctr images import`, `podman load`, `skopeo copy oci-archive:` and `kind load image-archive`.
func (r release) imageTar(dir string) error {
	var files []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := read(filepath.ToSlash(name), path, 0o644)
		files = append(files, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	out, err := os.Create(filepath.Join(r.out, "image.tar"))
	if err != nil {
		return fmt.Errorf("write image.tar: %w", err)
	}
	if err := errors.Join(writeTar(out, time.Unix(0, 0).UTC(), files), out.Close()); err != nil {
		return fmt.Errorf("write image.tar: %w", err)
	}
	return nil
}
