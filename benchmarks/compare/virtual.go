package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// limited are fields of a key or team that no load of ours comes near to.
const limited = `,"tpm_limit":1000000000,"rpm_limit":1000000000,"max_budget":1000000`

// withVirtualKey is a contender whose load comes with a key as an operator
// hands it out: of a user, in a team of an organization, with lists of models
// on each. Limits are further fields of the key and its team, as JSON.
func withVirtualKey(c contender, limits string) contender {
	c.virtual = func(ctx context.Context, p *process) (string, error) {
		var key string
		own := strconv.FormatInt(time.Now().UnixNano(), 36) // a database may have been used before
		for _, step := range [][2]string{
			{"/organization/new", `{"organization_id":"` + own + `","organization_alias":"bench","models":["bench","bench-stream","bench-slow"]}`},
			{"/team/new", `{"team_id":"` + own + `","team_alias":"bench","organization_id":"` + own + `","models":["bench","bench-stream","bench-slow"]` + limits + `}`},
			{"/user/new", `{"user_id":"` + own + `","user_email":"` + own + `@example.org","user_role":"internal_user","auto_create_key":false}`},
			{"/team/member_add", `{"team_id":"` + own + `","member":{"role":"user","user_id":"` + own + `"}}`},
			{"/key/generate", `{"key_alias":"` + own + `","user_id":"` + own + `","team_id":"` + own + `","models":["bench","bench-stream","bench-slow"],"duration":"30d"` + limits + `,"metadata":{"cost_center":"4711"}}`},
		} {
			var answer struct {
				Key string `json:"key"`
			}
			if err := p.manage(ctx, step[0], step[1], &answer); err != nil {
				return "", err
			}
			key = answer.Key
		}
		if key == "" {
			return "", fmt.Errorf("%s made no key", p.name)
		}
		return key, nil
	}
	return c
}

// manage makes a management call with the master key.
func (p *process) manage(ctx context.Context, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", p.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", p.name, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s with %d: %.300s", p.name, path, res.StatusCode, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", p.name, err)
	}
	return nil
}
