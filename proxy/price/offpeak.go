package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/llm"
)

// offPeak is when a provider is cheaper: minutes of the day in UTC, by weekday.
type offPeak struct {
	windows []window
	zone    *time.Location // says which weekday it is
}

type window struct {
	days  uint8 // a bit for each weekday, Sunday the lowest
	spans []daySpan
}

// daySpan is a span of minutes of a day, [from, to).
type daySpan struct{ from, to int }

// OffPeak says whether a call that ends at this time has the prices of
// llm.TierOffPeak.
func (p *Price) OffPeak(at time.Time) bool {
	if p == nil || p.peak == nil {
		return false
	}
	at = at.UTC()
	minute, day := at.Hour()*60+at.Minute(), at.In(p.peak.zone).Weekday()
	for _, w := range p.peak.windows {
		if w.days>>day&1 == 0 {
			continue
		}
		for _, s := range w.spans {
			if minute >= s.from && minute < s.to {
				return true
			}
		}
	}
	return false
}

// Errors of hours that cannot be read.
var (
	errWindow = errors.New("windows: are not hours like 00:00-08:00 and weekdays from 1 (Monday) to 7, or their names")
	errHours  = errors.New("hours_utc: are not hours like 00:00-08:00")
	errZone   = errors.New("weekday_timezone: is not the name of a time zone")
)

// rule is a member of windows as it is written.
type rule struct {
	Hours    hours     `json:"hours_utc"`
	Weekdays []weekday `json:"weekdays,omitempty"`
}

// weekday is one from 1 (Monday) to 7.
type weekday int

var weekdays = [...]string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}

// UnmarshalJSON takes a number, or the name or the beginning of it.
func (d *weekday) UnmarshalJSON(b []byte) error {
	if !strings.HasPrefix(string(b), `"`) {
		return json.Unmarshal(b, (*int)(d))
	}
	var name string
	err := json.Unmarshal(b, &name)
	name = strings.ToLower(strings.TrimSpace(name))
	*d = 0 // none
	for i, full := range weekdays {
		if len(name) >= len("mon") && strings.HasPrefix(full, name) {
			*d = weekday(i + 1)
		}
	}
	return err
}

// hours are one text or a list of them.
type hours []string

func (h *hours) UnmarshalJSON(b []byte) error {
	if strings.HasPrefix(string(b), "[") {
		return json.Unmarshal(b, (*[]string)(h))
	}
	var one string
	err := json.Unmarshal(b, &one)
	*h = hours{one}
	return err
}

// offPeak takes the prices of some hours, and the hours.
func (c *compiler) offPeak(raw json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("is not an object: %w", err)
	}
	rules, o, err := peakHours(fields)
	if err != nil {
		return err
	}
	kept := map[string]json.RawMessage{}
	for name, value := range fields {
		p, ok := placeOf(name)
		if !ok || p.above != 0 || p.tier != llm.TierStandard {
			continue
		}
		r, text, err := rateOf(value)
		if err == nil {
			p.tier = llm.TierOffPeak
			err = c.set(p, r, "", nil)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		kept[name] = text
	}
	if len(kept) == 0 || len(o.windows) == 0 {
		return nil
	}
	if kept["windows"], err = json.Marshal(rules); err != nil {
		return err
	}
	if o.zone != time.UTC {
		kept["weekday_timezone"], _ = json.Marshal(o.zone.String())
	}
	c.price.peak = o
	return c.keep(offPeakField, kept)
}

// peakHours reads when a provider is cheaper: in the hours of every day and in
// those of windows, as one list of rules.
func peakHours(fields map[string]json.RawMessage) (rules []rule, o *offPeak, err error) {
	o = &offPeak{zone: time.UTC}
	if raw := fields["hours_utc"]; len(raw) > 0 && string(raw) != "null" {
		var daily rule
		if json.Unmarshal(raw, &daily.Hours) != nil {
			return nil, nil, errHours
		}
		rules = append(rules, daily)
	}
	flat := len(rules)
	if raw := fields["windows"]; len(raw) > 0 {
		var more []rule
		if json.Unmarshal(raw, &more) != nil {
			return nil, nil, errWindow
		}
		rules = append(rules, more...)
	}
	if raw := fields["weekday_timezone"]; len(raw) > 0 && string(raw) != "null" {
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return nil, nil, errZone
		}
		if o.zone, err = time.LoadLocation(strings.TrimSpace(name)); err != nil || o.zone == time.Local {
			return nil, nil, errZone
		}
	}
	for i, r := range rules {
		made := window{}
		for _, day := range r.Weekdays {
			if day < 1 || day > 7 {
				return nil, nil, errWindow
			}
			made.days |= 1 << (day % 7)
		}
		if len(r.Weekdays) == 0 {
			made.days = 1<<7 - 1
		}
		for _, text := range r.Hours {
			spans, ok := spansOf(text)
			switch {
			case !ok && i < flat:
				return nil, nil, errHours
			case !ok:
				return nil, nil, errWindow
			}
			made.spans = append(made.spans, spans...)
		}
		o.windows = append(o.windows, made)
	}
	return rules, o, nil
}

// spansOf reads hours of a day, which may go over midnight, or all around: they
// then hold the end and the beginning of the same weekday.
func spansOf(text string) ([]daySpan, bool) {
	from, to, ok := strings.Cut(text, "-")
	a, okA := minuteOf(from)
	b, okB := minuteOf(to)
	switch {
	case !ok || !okA || !okB:
		return nil, false
	case b == 0:
		b = 24 * 60
	}
	if a < b {
		return []daySpan{{a, b}}, true
	}
	return []daySpan{{a, 24 * 60}, {0, b}}, true
}

func minuteOf(text string) (int, bool) {
	hour, minute, _ := strings.Cut(strings.TrimSpace(text), ":")
	h, errH := strconv.Atoi(hour)
	m, errM := strconv.Atoi(minute)
	return h*60 + m, errH == nil && errM == nil && h >= 0 && h <= 24 && m >= 0 && m < 60 && h*60+m <= 24*60
}
