package fakeprovider

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Script is what a path prefix asks the provider to do. A prefix is one or
// more segments, each a name with parameters: /slow,for=2s/s429,retry=7/v1.
// Several segments add up; the last behaviour named wins.
//
//	ok                      a good answer, streamed when asked (also: stream)
//	slow,for=5s             wait before the answer
//	first,n=2               what follows holds for the first n requests of an id; then ok
//	s500 s503 s401 s400 …   that status with OpenAI's error body
//	s429,retry=7            with Retry-After; the value is passed on as it is (escape it)
//	ctx                     400 context_length_exceeded
//	policy                  400 content_policy_violation
//	cut,at=300[,rst=1]      the connection ends after that many bytes of the body; at=-1 before the header,
//	                        at=id after as many as the id says behind its last hyphen
//	drop                    the connection ends once the request is read, without an answer
//	hang                    never answers
//	stall,at=300            stops after that many bytes and keeps the connection
//	drip,every=1ms          one byte of the body at a time
//	garbage html200 nothttp 200 with nonsense; with a HTML page; not even HTTP
//	redirect,to=/elsewhere  307
//	huge,bytes=1000000      a whole answer of that many bytes
//	endless                 never ends
//	length,off=10           Content-Length off by that much (negative: too small)
//	both                    Content-Length and Transfer-Encoding
//	badchunk                a chunk size that is no number
//	headers,bytes=1000000   that many bytes of header
//	informational,n=100     so many 1xx answers first
//	usage,kind=missing      or negative, absurd, float, text, null, cost (that the provider charges)
//	nodone                  a stream without [DONE]; chunks properly ended
//	errfirst errlater       an error object as first event; after half of the events
//	after                   bytes after the end of the answer
//	odd,kind=crlf           SSE as it may also be: cr, bom, comment, split, nospace, event, longline
//	echo                    the text of the answer is the request as it arrived
//	close                   ok, with Connection: close
//
// Parameters that go with any of them: body (bytes of a whole answer), n
// (content events), size (bytes of text an event), every (time between
// events), null=1, prompt (tokens that the prompt is said to have); n and size
// take a range 20-200, of which the id picks.
type Script struct {
	Name   string            // the behaviour
	Params map[string]string // its parameters
	Delay  time.Duration     // before the answer
	First  int               // > 0: only for that many requests of an id
	Shape  Shape
}

// ParseScript reads the segments of a path prefix, as in "slow,for=2s/ok".
func ParseScript(prefix string) (Script, error) {
	s := Script{Name: "ok", Shape: DefaultShape, Params: map[string]string{}}
	for segment := range strings.SplitSeq(strings.Trim(prefix, "/"), "/") {
		name, list, _ := strings.Cut(segment, ",")
		if name == "" {
			continue
		}
		params := map[string]string{}
		for pair := range strings.SplitSeq(list, ",") {
			if pair == "" {
				continue
			}
			k, v, _ := strings.Cut(pair, "=")
			v, err := url.PathUnescape(v)
			if err != nil {
				return s, fmt.Errorf("script %q: %w", segment, err)
			}
			params[k] = v
		}
		if err := s.add(name, params); err != nil {
			return s, fmt.Errorf("script %q: %w", segment, err)
		}
	}
	return s, nil
}

func (s *Script) add(name string, params map[string]string) error {
	var err error
	switch name {
	case "slow":
		s.Delay, err = duration(params, "for", 5*time.Second)
		return err
	case "first":
		s.First, err = integer(params, "n", 1)
		return err
	}
	if name == "stream" {
		name = "ok"
	}
	if behaviours[name] == nil {
		if status, err := strconv.Atoi(strings.TrimPrefix(name, "s")); err != nil || status < 200 || status > 599 {
			return fmt.Errorf("no behaviour has that name")
		}
	}
	s.Name, s.Params = name, params
	return s.shape(params)
}

func (s *Script) shape(params map[string]string) error {
	var err error
	if s.Shape.Body, err = integer(params, "body", s.Shape.Body); err != nil {
		return err
	}
	if s.Shape.Every, err = duration(params, "every", s.Shape.Every); err != nil {
		return err
	}
	if s.Shape.Events, err = span(params, "n", s.Shape.Events); err != nil {
		return err
	}
	if s.Shape.Size, err = span(params, "size", s.Shape.Size); err != nil {
		return err
	}
	if s.Shape.Prompt, err = integer(params, "prompt", s.Shape.Prompt); err != nil {
		return err
	}
	s.Shape.Null = s.Shape.Null || params["null"] != ""
	return nil
}

func (s *Script) integer(name string, otherwise int) int {
	n, err := integer(s.Params, name, otherwise)
	if err != nil {
		return otherwise
	}
	return n
}

func integer(params map[string]string, name string, otherwise int) (int, error) {
	v, ok := params[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}

func duration(params map[string]string, name string, otherwise time.Duration) (time.Duration, error) {
	v, ok := params[name]
	if !ok {
		return otherwise, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return d, nil
}

func span(params map[string]string, name string, otherwise Range) (Range, error) {
	v, ok := params[name]
	if !ok {
		return otherwise, nil
	}
	low, high, two := strings.Cut(v, "-")
	if !two || low == "" {
		low, high = v, v
	}
	a, err := strconv.Atoi(low)
	if err != nil {
		return Range{}, fmt.Errorf("read %s: %w", name, err)
	}
	b, err := strconv.Atoi(high)
	if err != nil {
		return Range{}, fmt.Errorf("read %s: %w", name, err)
	}
	return Range{a, b}, nil
}

// planCache remembers what paths mean; a run uses few.
type planCache struct {
	mu sync.RWMutex // guards m
	m  map[string]*Script
}

func (c *planCache) get(path string) (*Script, error) {
	c.mu.RLock()
	s := c.m[path]
	c.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	prefix := strings.TrimSuffix(path, "/chat/completions")
	parsed, err := ParseScript(strings.TrimSuffix(prefix, "/v1"))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) > 10_000 {
		c.m = map[string]*Script{}
	}
	c.m[path] = &parsed
	return &parsed, nil
}
