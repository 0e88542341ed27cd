package price

import (
	"regexp"
	"strconv"
	"strings"
)

// sized are the names that the table has for a provider's models by their size, in
// thousands of millions of parameters: it does not name all of them.
type sized struct {
	experts []sizeStep // of a mixture: 8x7b
	plain   []sizeStep
}

type sizeStep struct {
	most int
	name string
}

const anySize = 1 << 30

var bySize = map[string]sized{
	"together_ai": {plain: []sizeStep{
		{4, "together-ai-up-to-4b"},
		{8, "together-ai-4.1b-8b"},
		{21, "together-ai-8.1b-21b"},
		{41, "together-ai-21.1b-41b"},
		{80, "together-ai-41.1b-80b"},
		{110, "together-ai-81.1b-110b"},
	}},
	"fireworks_ai": {
		experts: []sizeStep{{56, "fireworks-ai-moe-up-to-56b"}, {176, "fireworks-ai-56b-to-176b"}},
		plain:   []sizeStep{{4, "fireworks-ai-up-to-4b"}, {16, "fireworks-ai-4.1b-to-16b"}, {anySize, "fireworks-ai-above-16b"}},
	},
}

var (
	parameters = regexp.MustCompile(`(\d+)b`)
	mixture    = regexp.MustCompile(`(\d+)x(\d+)b`)
)

// sizeName is the name of the prices of a model's size; "" where there is none. The
// first size in its name counts, as in LiteLLM.
func sizeName(model, provider string) string {
	s, ok := bySize[provider]
	if !ok {
		return ""
	}
	model = strings.ToLower(model)
	pick := func(steps []sizeStep, size int) string {
		for _, step := range steps {
			if size <= step.most {
				return step.name
			}
		}
		return ""
	}
	if m := mixture.FindStringSubmatch(model); m != nil {
		n, errN := strconv.ParseInt(m[1], 10, 16)
		each, errEach := strconv.ParseInt(m[2], 10, 16)
		if name := pick(s.experts, int(n)*int(each)); errN == nil && errEach == nil && name != "" {
			return name
		}
	}
	if m := parameters.FindStringSubmatch(model); m != nil {
		if n, err := strconv.ParseInt(m[1], 10, 16); err == nil {
			return pick(s.plain, int(n))
		}
	}
	return ""
}
