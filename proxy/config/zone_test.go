package config

import (
	"strings"
	"testing"
)

func TestTimezone(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "litellm_settings: {timezone: Europe/Berlin}": "Europe/Berlin", "litellm_settings: {timezone: null}": "", "litellm_settings: {timezone: UTC}": "UTC",
	} {
		f := must(t, text, environ())
		got := ""
		if f.LiteLLM.Zone != nil {
			got = f.LiteLLM.Zone.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, name := range []string{"Mars/Olympus", "../../etc/passwd", "[UTC]"} {
		f, problems := loadText(t, "litellm_settings: {timezone: "+name+"}", environ())
		if f != nil || !strings.Contains(problems.String(), "litellm_settings.timezone") {
			t.Errorf("%s: %v\n%s", name, f != nil, problems)
		}
	}
}
