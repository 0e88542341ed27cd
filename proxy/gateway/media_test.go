package gateway

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// wav is so many seconds of silence, 16 bits at 8 kHz.
func wav(seconds int) []byte {
	b := append([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"), make([]byte, 20)...)
	binary.LittleEndian.PutUint32(b[24:], 8000)
	binary.LittleEndian.PutUint32(b[28:], 16_000)
	binary.LittleEndian.PutUint16(b[32:], 2)
	copy(b[36:], "data")
	return append(b, make([]byte, seconds*16_000)...)
}

// mp3 is so many frames of MPEG 1 at 128 kbit/s and 44.1 kHz: 417 bytes and 26.1
// ms each.
func mp3(frames int) []byte {
	frame := append([]byte{0xff, 0xfb, 0x90, 0x00}, make([]byte, 413)...)
	return []byte(strings.Repeat(string(frame), frames))
}

func TestSoundMillis(t *testing.T) {
	tagged := append([]byte("ID3\x04\x00\x00\x00\x00\x02\x00"), make([]byte, 256)...) // 256 bytes in seven bits a byte
	liar := append([]byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7f"), make([]byte, 7490)...)
	for _, c := range []struct {
		name        string
		sound       []byte
		least, most int64
	}{
		{"a WAV", wav(60), 60_000, 60_010},
		{"a WAV of one sample", wav(0), 0, 10},
		{"an MP3", mp3(1000), 26_122, 26_500},
		{"an MP3 with a tag", append(tagged, mp3(1000)...), 26_122, 26_500},
		{"an MP3 with something behind it", append(mp3(1000), make([]byte, 7500)...), 36_122, 36_500},
		{"a tag longer than all", liar, 10_000, 10_010},
		{"something else", append([]byte("OggS"), make([]byte, 74_996)...), 100_000, 100_010},
		{"a WAV of another coding", []byte(strings.Replace(string(wav(1)), "\x01\x00\x01\x00", "\x11\x00\x01\x00", 1)), 21_300, 21_500},
		{"a WAV that lasts for ever", []byte(strings.Replace(string(wav(1)), "\x40\x1f", "\x00\x00", 1)), 21_300, 21_500},
		{"nothing", nil, 0, 0},
	} {
		text := base64.StdEncoding.EncodeToString(c.sound)
		for _, text := range []string{text, "data:audio/x;base64," + text, strings.TrimRight(text, "=")} {
			if got := soundMillis([]byte(text)); got < c.least || got > c.most {
				t.Errorf("%s: %d ms, want %d to %d", c.name, got, c.least, c.most)
			}
		}
	}
	if got := soundMillis([]byte("https://example.org/a.mp3")); got != 0 {
		t.Errorf("an address lasts %d ms", got)
	}
}

func FuzzSoundMillis(f *testing.F) {
	for _, b := range [][]byte{wav(1), mp3(3), nil, []byte("ID3")} {
		f.Add(base64.StdEncoding.EncodeToString(b))
	}
	f.Add("data:audio/wav;base64,")
	f.Fuzz(func(t *testing.T, text string) {
		if n := soundMillis([]byte(text)); n < 0 {
			t.Errorf("%q lasts %d ms", text, n)
		}
	})
}

func TestMediaOfMessages(t *testing.T) {
	second := base64.StdEncoding.EncodeToString(wav(1))
	for _, c := range []struct {
		name, messages string
		pictures       int64
		seconds        int64
	}{
		{"text", `[{"role":"user","content":"image_url"}]`, 0, 0},
		{"text that speaks of them", `[{"role":"user","content":"{\"image_url\": {\"url\": 1}, \"type\": \"image\", \"input_audio\":{\"data\":\"` + second + `\"}}"}]`, 0, 0},
		{"a text that is a name", `[{"role":"type","content":"image"},{"role":"input_audio","content":"data"}]`, 0, 0},
		{"a picture", `[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}]}]`, 1, 0},
		{"a picture behind space", `[{"role":"user","content" :` + "\n\t [" + `{"type":"image_url","image_url":"a"}]}]`, 1, 0},
		{"a picture's address alone", `[{"role":"user","content":[{"type":"image_url","image_url":"data:image/png;base64,AAAA"}]}]`, 1, 0},
		{"two pictures", `[{"content":[{"image_url" : {"url":"a"}, "type":"image_url"}]},{"content":[{"type":"image","source":{"data":"AAAA"}}]}]`, 2, 0},
		{"an escaped name", `[{"content":[{"type":"im\u0061ge_url","im\u0061ge_\u0075rl":{"url":"a"}}]}]`, 1, 0},
		{"a sound", `[{"content":[{"type":"input_audio","input_audio":{"format":"wav","data":"` + second + `"}}]}]`, 0, 1},
		{"a sound by its address in data", `[{"content":[{"type":"audio_url","audio_url":{"url":"data:audio/wav;base64,` + second + `"}}]}]`, 0, 1},
		{"both, twice", strings.Repeat(`{"content":[{"input_audio":{"data":"`+second+`"}},{"image_url":{"url":"data:image/png;base64,`+second+`"}}]},`, 2), 2, 2},
		{"no string's end", `[{"content":"`, 0, 0},
		{"nothing", ``, 0, 0},
	} {
		var m media
		m.look([]byte(c.messages))
		if m.pictures != c.pictures || m.millis/1000 != c.seconds {
			t.Errorf("%s: %+v", c.name, m)
		}
	}
}

// TestMediaIsReserved: near its end a budget refuses a call whose pictures or
// sound may cost more than is left, before the provider sees it, and lets text
// pass, and the same call where the budget has room or the model's context does
// not hold so much.
func TestMediaIsReserved(t *testing.T) {
	const tail = `],"max_tokens":5}`
	head := `{"model":"mine","messages":[`
	text := head + `{"role":"user","content":"hi"}` + tail
	picture := head + `{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}]}` + tail
	sound := head + `{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"mp3","data":"` +
		base64.StdEncoding.EncodeToString(mp3(12_000)) + `"}}]}` + tail // 313 s
	for _, c := range []struct {
		name, body string
		dollars    int
		context    int64
		want       int
	}{
		// A token costs 0.1 cent: a picture is 16.384 dollars at most, a second of
		// sound 3.2 cents.
		{"text", text, 5, 0, 200},
		{"a picture", picture, 16, 0, 429},
		{"a picture that there is room for", picture, 17, 0, 200},
		{"a picture in a small context", picture, 5, 4000, 200},
		{"a sound", sound, 10, 0, 429},
		{"a sound that there is room for", sound, 14, 0, 200},
	} {
		ring := &keyring{}
		ring.add("sk-near", func(k *identity.Key) { k.MaxBudget = ptr(money.Nano(c.dollars) * money.Dollar) })
		b, d, _ := boundedBench(t, ring, func(cf *Config) { cf.Models[0].Info.MaxInput = c.context }, "mine=ok")
		status, typ, headers := b.answer(t, "sk-near", c.body)
		if status != c.want || c.want == 429 && typ != typeOverBudget {
			t.Errorf("%s: %d %s: %s", c.name, status, typ, headers["message"])
		}
		if calls := len(d.intents); c.want == 429 && calls > 0 || c.want == 200 && calls != 1 {
			t.Errorf("%s: %d calls", c.name, calls)
		}
	}
}

// TestMediaIsNotLookedFor: where no budget holds a call, nobody looks.
func TestMediaIsNotLookedFor(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-free", func(*identity.Key) {})
	b, d, _ := boundedBench(t, ring, nil, "mine=ok")
	if status, typ, _ := b.answer(t, "sk-free", request("mine", "", false, false)); status != 200 || b.last.media.known || len(d.intents) != 1 {
		t.Errorf("%d %s, looked: %t", status, typ, b.last.media.known)
	}
}

// BenchmarkMedia is what looking for pictures costs a call of text.
func BenchmarkMedia(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		text := []byte(`[{"role":"system","content":"be brief"},{"role":"user","content":"` + strings.Repeat("all work and no play \\n", size/24) + `"}]`)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var m media
				if m.look(text); m.pictures != 0 {
					b.Fatal(m)
				}
			}
		})
	}
}
