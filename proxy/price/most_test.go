package price

import (
	"testing"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// TestMostOfMedia: whatever is used of pictures and sound up to what a model is
// known to take them for, no more was reserved.
func TestMostOfMedia(t *testing.T) {
	p := compiled(t, `{"input_cost_per_token":2.5e-06,"input_cost_per_audio_token":4e-05,"input_cost_per_image_token":5e-06,"cache_read_input_token_cost":1e-06,
		"input_cost_per_image":0.001,"output_cost_per_token":1e-05,"input_cost_per_token_above_200k_tokens":5e-06}`)
	ask := Ask{Prompt: 100, Output: 10, Pictures: 2, Sound: 1500}
	const pictures, sound = 2 * 16_384, 48
	want := money.Nano(110*2500 + pictures*5000 + sound*40_000 + 2*1_000_000 + 10*10_000)
	if got := p.Most(ask); got != want {
		t.Errorf("%d, want %d", got, want)
	}
	for _, u := range []llm.Usage{
		{Input: 110 + pictures + sound, ImageIn: pictures, AudioIn: sound, Output: 10},
		{Input: 110 + pictures + sound, ImagesIn: 2, AudioIn: sound, Output: 10},
		{Input: 110 + sound, AudioIn: sound, CachedIn: sound, CachedAudio: sound, Output: 10},
	} {
		if got, _ := p.Cost(&u); got > want {
			t.Errorf("%+v costs %d, at most %d", u, got, want)
		}
	}
	if text := p.Most(Ask{Prompt: 100, Output: 10}); text != 110*2500+10*10_000 {
		t.Errorf("text alone %d", text)
	}
	// Many pictures make a prompt a long one.
	if many := p.Most(Ask{Pictures: 13}); many != 13*(16_384*5000+1_000_000) {
		t.Errorf("many pictures %d", many)
	}
	long := compiled(t, `{"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06}`)
	if near, far := long.Most(Ask{Pictures: 12}), long.Most(Ask{Pictures: 13}); near != 12*16_384*1000 || far != 13*16_384*2000 {
		t.Errorf("before the threshold %d, beyond it %d", near, far)
	}
	// A model does not take more than its context holds.
	if got, want := p.Most(Ask{Pictures: 100, Sound: 10_000, Context: 8000}), money.Nano(320*40_000+(8000-320)*5000+100*1_000_000); got != want {
		t.Errorf("in a context %d, want %d", got, want)
	}
	if got := p.Most(Ask{Pictures: 1 << 62, Sound: 1 << 62}); got <= 0 {
		t.Error(got)
	}
	if got := p.Most(Ask{Pictures: -1, Sound: -1}); got != 0 {
		t.Error(got)
	}
	// What hears by the second is billed by it.
	if got := compiled(t, `{"input_cost_per_second":0.001}`).Most(Ask{Sound: 2500}); got != 2_500_000 {
		t.Errorf("2.5 s cost %d", got)
	}
}

// TestAppetite: what a picture is taken for goes by the model that the price is
// of, also where two models cost the same.
func TestAppetite(t *testing.T) {
	b, err := NewBook("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		model, provider      string
		perPicture, perSound int64
	}{
		{"gpt-4o-mini", "openai", 48_169, 10},
		{"gpt-4o-mini-2024-07-18", "azure", 48_169, 10},
		{"gpt-4o-audio-preview", "openai", 4096, 10},
		{"gpt-5", "openai", 16_384, 10},
		{"us.anthropic.claude-sonnet-4-20250514-v1:0", "bedrock", 5000, 32},
		{"anthropic/claude-sonnet-4", "openrouter", 5000, 32},
		{"gemini-2.5-pro", "gemini", 16_384, 32},
	} {
		p, err := b.Price(c.model, c.provider, Adjustment{}, fieldsOf(t, `{"input_cost_per_token":"1e-06","output_cost_per_token":"1e-06"}`))
		if err != nil || p == nil {
			t.Fatal(c.model, err)
		}
		if got, want := p.Most(Ask{Pictures: 1}), c.perPicture*1000; int64(got) < want || p.perPicture != c.perPicture || p.perSecond != c.perSound {
			t.Errorf("%s: %d tokens a picture, %d a second, %d", c.model, p.perPicture, p.perSecond, got)
		}
	}
	one, _ := b.Price("a", "x", Adjustment{}, fieldsOf(t, `{"input_cost_per_token":1}`))
	two, _ := b.Price("claude-a", "x", Adjustment{}, fieldsOf(t, `{"input_cost_per_token":1}`))
	if one == two || one.Version() != two.Version() {
		t.Error("a price of two models is not told apart, or its version is another")
	}
}
