package fakeprovider

import "bytes"

// asked is what the provider reads of a request's body.
type asked struct {
	object   bool // the body is a JSON object as far as the scan looks
	user     string
	cacheKey string // prompt_cache_key
	model    string
	stream   bool
	usage    bool // stream_options.include_usage
	messages bool
	limit    int // max_tokens or max_completion_tokens; 0 is none
}

// scan reads the top-level fields of a request. It looks at structure only:
// enough to serve, cheap enough to stand behind a benchmark.
func scan(body []byte) asked {
	var a asked
	i := space(body, 0)
	if i >= len(body) || body[i] != '{' {
		return a
	}
	i++
	for {
		i = space(body, i)
		if i >= len(body) {
			return asked{}
		}
		switch body[i] {
		case '}':
			a.object = space(body, i+1) == len(body)
			return a
		case ',':
			i++
			continue
		case '"':
		default:
			return asked{}
		}
		end := value(body, i)
		if end < 0 {
			return asked{}
		}
		key := body[i+1 : end-1]
		i = space(body, end)
		if i >= len(body) || body[i] != ':' {
			return asked{}
		}
		i = space(body, i+1)
		end = value(body, i)
		if end < 0 {
			return asked{}
		}
		a.field(string(key), body[i:end])
		i = end
	}
}

func (a *asked) field(key string, v []byte) {
	switch key {
	case "user":
		a.user = text(v)
	case "prompt_cache_key":
		a.cacheKey = text(v)
	case "model":
		a.model = text(v)
	case "stream":
		a.stream = string(v) == "true"
	case "messages":
		a.messages = v[0] == '['
	case "max_tokens", "max_completion_tokens":
		a.limit = number(v)
	case "stream_options":
		if k := bytes.Index(v, []byte(`"include_usage"`)); k >= 0 {
			rest := bytes.TrimLeft(v[k+len(`"include_usage"`):], " \t\r\n:")
			a.usage = bytes.HasPrefix(rest, []byte("true"))
		}
	}
}

func text(v []byte) string {
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	return string(v[1 : len(v)-1])
}

func number(v []byte) int {
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' || n > 1<<40 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// value returns the end of the value that begins at i, or -1.
func value(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = quoted(b, i); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return -1
			}
			if depth == 0 {
				return i + 1
			}
		default:
			if depth == 0 {
				end := i
				for end < len(b) && b[end] != ',' && b[end] != '}' && b[end] > ' ' {
					end++
				}
				if end == i {
					return -1
				}
				return end
			}
		}
		i++
	}
	return -1
}

// quoted returns the end of the string that begins at i, or -1.
func quoted(b []byte, i int) int {
	for i++; i < len(b); {
		k := bytes.IndexByte(b[i:], '"')
		if k < 0 {
			return -1
		}
		end, slashes := i+k, 0
		for end-1-slashes >= i && b[end-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return end + 1
		}
		i = end + 1
	}
	return -1
}
