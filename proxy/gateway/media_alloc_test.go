//go:build !race

package gateway

import (
	"encoding/base64"
	"testing"
)

func TestMediaAllocates(t *testing.T) {
	for name, text := range map[string]string{
		"text":      `[{"role":"user","content":"what is \"data\": of \\ this"}]`,
		"a picture": `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}]}]`,
		"a sound":   `[{"content":[{"type":"input_audio","input_audio":{"format":"mp3","data":"` + base64.StdEncoding.EncodeToString(mp3(100)) + `"}}]}]`,
	} {
		b := []byte(text)
		if n := testing.AllocsPerRun(100, func() {
			var m media
			m.look(b)
		}); n != 0 {
			t.Errorf("%s: %.0f allocations", name, n)
		}
	}
}
