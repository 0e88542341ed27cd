package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Answer is an HTTP answer, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// text is the answer in one line; a nil one is none.
func (r *Answer) text() string {
	if r == nil {
		return "no answer"
	}
	return fmt.Sprintf("%d %.400s", r.Status, r.Body)
}

// JSON reads the body into v.
func (r *Answer) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("read answer %d: %w: %.200s", r.Status, err, r.Body)
	}
	return nil
}

// Do sends one request to the gateway, as it is: no key, no content type but
// those in header. It follows no redirect and asks for no compression.
func (a *Appliance) Do(method, path, body string, header map[string]string) (*Answer, error) {
	return a.do(a.URL()+path, method, body, header)
}

// Health asks healthd.
func (a *Appliance) Health(path string) (*Answer, error) {
	return a.do(a.HealthURL()+path, http.MethodGet, "", nil)
}

// Chat sends a chat completion with the master key.
func (a *Appliance) Chat(body string) (*Answer, error) {
	return a.Do(http.MethodPost, "/v1/chat/completions", body, map[string]string{
		"Authorization": "Bearer " + a.Key, "Content-Type": "application/json",
	})
}

func (a *Appliance) do(url, method, body string, header map[string]string) (*Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: b}, err
}
