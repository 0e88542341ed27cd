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
type offPeak struct{ windows []window }

type window struct {
	days  uint8 // a bit for each weekday, Sunday the lowest
	spans []daySpan
}

// daySpan is a span of minutes of a day, [from, to).
type daySpan struct{ from, to int }

// OffPeak says whether a call that begins at this time has the prices of
// llm.TierOffPeak. It is UTC that counts.
func (p *Price) OffPeak(at time.Time) bool {
	if p == nil || p.peak == nil {
		return false
	}
	at = at.UTC()
	minute := at.Hour()*60 + at.Minute()
	for _, w := range p.peak.windows {
		if w.days>>at.Weekday()&1 == 0 {
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

// errWindow is that of hours that cannot be read.
var errWindow = errors.New("windows: are not hours like 00:00-08:00 and weekdays from 1 (Monday) to 7")

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
	var windows []struct {
		Hours    hours `json:"hours_utc"`
		Weekdays []int `json:"weekdays,omitempty"`
	}
	if json.Unmarshal(fields["windows"], &windows) != nil {
		return errWindow
	}
	o := &offPeak{}
	for _, w := range windows {
		made := window{}
		for _, day := range w.Weekdays {
			if day < 1 || day > 7 {
				return errWindow
			}
			made.days |= 1 << (day % 7)
		}
		if len(w.Weekdays) == 0 {
			made.days = 1<<7 - 1
		}
		for _, text := range w.Hours {
			spans, ok := spansOf(text)
			if !ok {
				return errWindow
			}
			made.spans = append(made.spans, spans...)
		}
		o.windows = append(o.windows, made)
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
	text, err := json.Marshal(windows)
	if err != nil {
		return err
	}
	kept["windows"] = text
	c.price.peak = o
	return c.keep(offPeakField, kept)
}

// spansOf reads hours of a day, which may go over midnight: they then hold the
// end and the beginning of the same weekday.
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
