package fakeprovider

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// AdminKey is the key that the report of costs is given for.
const AdminKey = "sk-admin-fake-0123456789abcdef"

// costsPath is where OpenAI's report of costs is, behind the base URL.
const costsPath = "/organization/costs"

// Charge is one line of what an organization was charged.
type Charge struct {
	Day     string // UTC, 2026-11-21
	Project string
	Amount  string // dollars as OpenAI writes them: a number of JSON, often with dozens of digits
}

// Charge adds to what GET /v1/organization/costs reports.
func (p *Provider) Charge(lines ...Charge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.charges = append(p.charges, lines...)
}

// costs answers as OpenAI's organization costs API does: buckets of a day, at
// most limit of them on a page, each with its sum where nothing is grouped. The
// sum is given line by line, so that whoever adds up is tested too. A script
// with a status answers with that.
func (p *Provider) costs(x *exchange) error {
	script, err := ParseScript(strings.TrimSuffix(strings.TrimSuffix(x.req.path, costsPath), "/v1"))
	if err != nil {
		return x.fault(400, "fake_script_error", "", "script", err.Error())
	}
	x.script = &script
	if do := behaviours[script.Name]; script.Name != "ok" {
		if do == nil {
			do = status
		}
		return do(x)
	}
	if !bytes.Contains(x.req.head, []byte("Authorization: Bearer "+AdminKey+"\r\n")) {
		return x.fault(401, "invalid_request_error", "", "invalid_api_key",
			"Incorrect API key provided: sk-fake*******cret. You can find your API key at https://platform.openai.com/account/api-keys.")
	}
	asked, err := url.ParseQuery(x.req.query)
	if err != nil {
		return x.fault(400, "invalid_request_error", "", "", "The query cannot be read.")
	}
	from, err1 := strconv.ParseInt(asked.Get("start_time"), 10, 64)
	to, err2 := strconv.ParseInt(asked.Get("end_time"), 10, 64)
	limit := 7
	if text := asked.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
	}
	if err != nil || err1 != nil || err2 != nil || limit < 1 || limit > 180 || asked.Get("bucket_width") != "1d" || from >= to {
		return x.fault(400, "invalid_request_error", "start_time", "", "A parameter is missing or invalid.")
	}
	if most := script.integer("page", limit); most < limit {
		limit = most
	}
	start := from
	if text := asked.Get("page"); text != "" {
		if start, err = strconv.ParseInt(strings.TrimPrefix(text, "page_"), 10, 64); err != nil {
			return x.fault(400, "invalid_request_error", "page", "", "The page is not known.")
		}
	}
	return x.answer(200, "application/json", p.appendCosts(nil, start, to, limit, asked["project_ids[]"]))
}

// appendCosts appends a page of buckets that begins at start.
func (p *Provider) appendCosts(b []byte, start, to int64, limit int, projects []string) []byte {
	const day = 86400
	p.mu.Lock()
	defer p.mu.Unlock()
	b = append(b, `{"object":"page","data":[`...)
	for n := 0; n < limit && start < to; n++ {
		if n > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"object":"bucket","start_time":%d,"end_time":%d,"results":[`, start, start+day)
		name, first := time.Unix(start, 0).UTC().Format(time.DateOnly), true
		for _, c := range p.charges {
			if c.Day != name || len(projects) > 0 && !strings.Contains(","+strings.Join(projects, ",")+",", ","+c.Project+",") {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = fmt.Appendf(b, `{"object":"organization.costs.result","amount":{"value":%s,"currency":"usd"},"line_item":null,"project_id":null,"organization_id":"org-fake"}`, c.Amount)
		}
		b = append(b, "]}"...)
		start += day
	}
	if start < to {
		return fmt.Appendf(b, `],"has_more":true,"next_page":"page_%d"}`, start)
	}
	return append(b, `],"has_more":false,"next_page":null}`...)
}
