//go:build image

package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"testing"
)

// image is an image in memory, as the archive of `docker save` has it: a
// configuration and layers, both as they lie in the file.
type image struct {
	config []byte
	layers []string          // names of blobs, the lowest first
	blobs  map[string][]byte // by name
}

// dockerManifest is manifest.json of such an archive.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readImage reads an archive.
func readImage(file string) (*image, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blobs, links := map[string][]byte{}, map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if blobs[h.Name], err = io.ReadAll(r); err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
		case tar.TypeSymlink: // a layer that is there once and named twice
			links[h.Name] = path.Join(path.Dir(h.Name), h.Linkname)
		}
	}
	for name, to := range links {
		blobs[name] = blobs[to]
	}
	var manifests []dockerManifest
	if err := json.Unmarshal(blobs["manifest.json"], &manifests); err != nil || len(manifests) == 0 {
		return nil, fmt.Errorf("%s: no manifest.json of `docker save` in it (%w)", file, err)
	}
	i := &image{config: blobs[manifests[0].Config], layers: manifests[0].Layers, blobs: map[string][]byte{}}
	for _, layer := range i.layers {
		if i.blobs[layer] = blobs[layer]; len(blobs[layer]) == 0 {
			return nil, fmt.Errorf("%s: layer %s is missing", file, layer)
		}
	}
	return i, nil
}

// with is the image with files (path without the first slash → content) laid
// over it, executable by all.
func (i *image) with(files map[string][]byte) (*image, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	var config map[string]any
	if err := json.Unmarshal(i.config, &config); err != nil {
		return nil, fmt.Errorf("the configuration of the image: %w", err)
	}
	fs, _ := config["rootfs"].(map[string]any)
	ids, ok := fs["diff_ids"].([]any)
	if !ok {
		return nil, errors.New("the configuration of the image names no layers")
	}
	fs["diff_ids"] = append(ids, "sha256:"+digest(layer.Bytes()))
	if history, ok := config["history"].([]any); ok {
		config["history"] = append(history, map[string]any{"created_by": "test"})
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	name := digest(layer.Bytes()) + "/layer.tar"
	out := &image{config: text, layers: append(slices.Clone(i.layers), name), blobs: maps.Clone(i.blobs)}
	out.blobs[name] = layer.Bytes()
	return out, nil
}

// write writes the archive under a name (repository:tag).
func (i *image) write(file, tag string) error {
	config := digest(i.config) + ".json"
	manifest, err := json.Marshal([]dockerManifest{{Config: config, RepoTags: []string{tag}, Layers: i.layers}})
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	write := func(name string, content []byte) {
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
		}
		if err == nil {
			_, err = w.Write(content)
		}
	}
	write(config, i.config)
	for _, layer := range slices.Compact(slices.Sorted(slices.Values(i.layers))) {
		write(layer, i.blobs[layer])
	}
	write("manifest.json", manifest)
	if err == nil {
		err = w.Close()
	}
	return err
}

// link is where a path leads in the image: the target of a symbolic link in its
// layers, or the path itself.
func (i *image) link(t testing.TB, name string) string {
	t.Helper()
	for n := len(i.layers) - 1; n >= 0; n-- {
		var r io.Reader = bytes.NewReader(i.blobs[i.layers[n]])
		if z, err := gzip.NewReader(bytes.NewReader(i.blobs[i.layers[n]])); err == nil {
			r = z
		}
		for entries := tar.NewReader(r); ; {
			h, err := entries.Next()
			if err != nil {
				break
			}
			if path.Clean(h.Name) == name && h.Typeflag == tar.TypeSymlink {
				return path.Join(path.Dir(name), h.Linkname)
			}
		}
	}
	return name
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
