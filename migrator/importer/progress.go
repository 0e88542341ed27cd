package importer

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Paces of what is told while it goes on.
const (
	lineEvery = 200 * time.Millisecond // a line on a terminal is rewritten
	logEvery  = 5 * time.Second
)

// Step is how far an import is.
type Step struct {
	What  string // what is being done, or the table
	Done  int64  // rows of the table
	Of    int64  // about
	Speed float64
}

// String is the step in one line.
func (s Step) String() string {
	if s.Of <= 0 {
		return s.What
	}
	return fmt.Sprintf("%s %d of %d rows, %.0f a second", s.What, s.Done, max(s.Of, s.Done), s.Speed)
}

// progress tells how far it is: on a terminal in a line that is rewritten, else
// in the log every few seconds, and to whoever else wants to know.
type progress struct {
	terminal io.Writer // nil: none
	log      *slog.Logger
	told     func(Step)
	now      func() time.Time

	what     string
	of       int64
	began    time.Time // with this table
	from     int64     // rows that were done when it began
	lastLine time.Time
	lastLog  time.Time
	wide     int // what stands on the terminal's line
}

// start begins with a table or another piece of work.
func (p *progress) start(what string, done, of int64) {
	p.what, p.of, p.began, p.from = what, of, p.now(), done
	p.lastLine = time.Time{}
	if p.lastLog.IsZero() {
		p.lastLog = p.began
	}
	p.at(done)
}

// at says how many rows are done.
func (p *progress) at(done int64) {
	now := p.now()
	if now.Sub(p.lastLine) < lineEvery {
		return
	}
	p.lastLine = now
	s := Step{What: p.what, Done: done, Of: p.of}
	if spent := now.Sub(p.began).Seconds(); spent > 0 {
		s.Speed = float64(done-p.from) / spent
	}
	if p.told != nil {
		p.told(s)
	}
	if p.terminal != nil {
		text := s.String()
		_, _ = fmt.Fprintf(p.terminal, "\r%s%s", text, strings.Repeat(" ", max(0, p.wide-len(text))))
		p.wide = len(text)
		return
	}
	if now.Sub(p.lastLog) >= logEvery {
		p.lastLog = now
		p.log.Info("importing", slog.String("table", s.What), slog.Int64("rows", s.Done), slog.Int64("of_about", s.Of),
			slog.Int64("rows_per_second", int64(s.Speed)))
	}
}

// end leaves the terminal's line empty for what comes next.
func (p *progress) end() {
	if p.terminal != nil && p.wide > 0 {
		_, _ = fmt.Fprintf(p.terminal, "\r%s\r", strings.Repeat(" ", p.wide))
		p.wide = 0
	}
}
