package admin

import (
	"fmt"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// longestPeriod is how long a period of sums may be.
const longestPeriod = 1100 * 24 * time.Hour

// period is a range of time that was asked for. A zero time is no bound.
type period struct {
	from, to time.Time // from ≤ t < to
}

// days are the first and the last day that a period has a part of.
func (p period) days() (first, last string) {
	return p.from.Format(time.DateOnly), p.to.Add(-time.Nanosecond).Format(time.DateOnly)
}

// given is true where both bounds were.
func (p period) given() bool { return !p.from.IsZero() && !p.to.IsZero() }

// period reads start_date and end_date. A date as the end counts whole.
func (c *Call) period() (p period, e *llm.Error) {
	for _, b := range []struct {
		name string
		at   *time.Time
	}{{"start_date", &p.from}, {"end_date", &p.to}} {
		text := strings.TrimSpace(c.Arg(b.name))
		if text == "" {
			continue
		}
		at, date := c.moment(b.name)
		if at.IsZero() {
			return p, badRequest(fmt.Sprintf("%s is no date: write it as in 2026-05-01, or a time as in 2026-05-01T12:00:00Z.", b.name), b.name)
		}
		if date && b.name == "end_date" {
			at = at.AddDate(0, 0, 1)
		}
		*b.at = at
	}
	if p.given() {
		e = p.check()
	}
	return p, e
}

func (p period) check() *llm.Error {
	switch {
	case !p.from.Before(p.to):
		return badRequest("end_date is before start_date.", "end_date")
	case p.to.Sub(p.from) > longestPeriod:
		return badRequest(fmt.Sprintf("The period is too long: start_date and end_date may be %d days from each other.", longestPeriod/(24*time.Hour)), "start_date")
	}
	return nil
}

// wholePeriod is a period that has to be given.
func (c *Call) wholePeriod() (p period, e *llm.Error) {
	if p, e = c.period(); e != nil || p.given() {
		return p, e
	}
	name := "start_date"
	if !p.from.IsZero() {
		name = "end_date"
	}
	return p, badRequest("Please provide start_date and end_date, days as in 2026-05-01.", name)
}

// latest is the period that was asked for. What has no beginning begins so many
// days before today, what has no end ends with it.
func (c *Call) latest(days int) (p period, e *llm.Error) {
	if p, e = c.period(); e != nil {
		return p, e
	}
	if p.to.IsZero() {
		p.to = c.Now.Truncate(24*time.Hour).AddDate(0, 0, 1)
	}
	if p.from.IsZero() {
		p.from = p.to.AddDate(0, 0, -days)
	}
	if !p.from.Before(p.to) {
		return p, badRequest("start_date is in the future.", "start_date")
	}
	return p, p.check()
}

// spendScope is whose spend the caller sees; nil is everybody's.
func (c *Call) spendScope() (*store.SpendScope, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return nil, e
	}
	route := c.Route.Path
	if route == "/team/spend/by_user" { // LiteLLM knows no permission of that name
		route = "/team/daily/activity"
	}
	r := access.Reached(access.SpendRead, who, route)
	if r.All {
		return nil, nil
	}
	return &store.SpendScope{UserID: r.UserID, Teams: r.Teams, TeamsNobody: r.TeamsNobody, Organizations: r.Organizations}, nil
}

// argKey is the digest of the api_key of the query, which is a key or a digest.
func (c *Call) argKey() string {
	if key := strings.TrimSpace(c.Arg("api_key")); key != "" {
		return digestOfKey(key)
	}
	return ""
}
