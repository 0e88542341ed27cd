package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

type spendExport struct {
	From   string `name:"from" required:"" placeholder:"DATE" help:"Attempts that began at this date or time (UTC) or later."`
	To     string `name:"to" required:"" placeholder:"DATE" help:"Attempts that began before this time; a date counts whole."`
	Format string `name:"format" enum:"csv,jsonl" default:"csv" help:"csv: a table with a line of columns; jsonl: one JSON object a line."`
	Out    string `name:"out" placeholder:"FILE" help:"Write into this file, which must not exist yet. Default: standard output."`
}

// exportedSpend is one row. Its fields are the columns of both formats, in this
// order; a later release may add some at the end.
type exportedSpend struct {
	RequestID         string          `json:"request_id"`
	Attempt           int64           `json:"attempt"`
	StartedAt         string          `json:"started_at"`
	FirstByteAt       string          `json:"first_byte_at"` // "" never
	EndedAt           string          `json:"ended_at"`
	Status            string          `json:"status"`
	HTTPStatus        int64           `json:"http_status"`
	ErrorKind         string          `json:"error_kind"`
	CallType          string          `json:"call_type"`
	Streamed          bool            `json:"streamed"`
	APIKey            string          `json:"api_key"` // digest
	UserID            string          `json:"user_id"`
	TeamID            string          `json:"team_id"`
	OrganizationID    string          `json:"organization_id"`
	ProjectID         string          `json:"project_id"`
	EndUser           string          `json:"end_user"`
	Model             string          `json:"model"`
	ModelID           string          `json:"model_id"`
	Provider          string          `json:"provider"`
	ProviderModel     string          `json:"provider_model"`
	ProviderRequestID string          `json:"provider_request_id"`
	CallID            string          `json:"call_id"`
	SessionID         string          `json:"session_id"`
	PromptTokens      int64           `json:"prompt_tokens"`
	CompletionTokens  int64           `json:"completion_tokens"`
	TotalTokens       int64           `json:"total_tokens"`
	CacheReadTokens   int64           `json:"cache_read_tokens"`
	CacheWriteTokens  int64           `json:"cache_write_tokens"`
	ReasoningTokens   int64           `json:"reasoning_tokens"`
	UsageDetail       json.RawMessage `json:"usage_detail"`
	Estimated         bool            `json:"estimated"`
	Cost              money.Nano      `json:"cost"` // dollars, to the nano-dollar
	PriceVersion      int64           `json:"price_version"`
	CacheHit          bool            `json:"cache_hit"`
	ClientAddress     string          `json:"client_address"`
	Host              string          `json:"host"`
	Sequence          int64           `json:"sequence"`
	Tags              json.RawMessage `json:"tags"`
	Metadata          json.RawMessage `json:"metadata"`
}

// exportColumns are the first line of a table.
var exportColumns = []string{
	"request_id", "attempt", "started_at", "first_byte_at", "ended_at", "status", "http_status", "error_kind", "call_type", "streamed",
	"api_key", "user_id", "team_id", "organization_id", "project_id", "end_user", "model", "model_id", "provider", "provider_model",
	"provider_request_id", "call_id", "session_id", "prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens",
	"cache_write_tokens", "reasoning_tokens", "usage_detail", "estimated", "cost", "price_version", "cache_hit", "client_address", "host",
	"sequence", "tags", "metadata",
}

func exportedOf(r *store.SpendRow) *exportedSpend {
	first := ""
	if r.FirstByteAt != nil {
		first = exportedAt(*r.FirstByteAt)
	}
	id := r.RequestID
	return &exportedSpend{
		RequestID: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), Attempt: r.Attempt,
		StartedAt: exportedAt(r.StartedAt), FirstByteAt: first, EndedAt: exportedAt(r.EndedAt), Status: r.Status, HTTPStatus: r.HTTPStatus,
		ErrorKind: r.ErrorKind, CallType: r.CallType, Streamed: r.Streamed, APIKey: r.Token, UserID: r.UserID, TeamID: r.TeamID,
		OrganizationID: r.OrganizationID, ProjectID: r.ProjectID, EndUser: r.EndUser, Model: r.Model, ModelID: r.ModelID, Provider: r.Provider,
		ProviderModel: r.ProviderModel, ProviderRequestID: r.ProviderRequestID, CallID: r.CallID, SessionID: r.SessionID,
		PromptTokens: r.PromptTokens, CompletionTokens: r.CompletionTokens, TotalTokens: r.TotalTokens, CacheReadTokens: r.CacheReadTokens,
		CacheWriteTokens: r.CacheWriteTokens, ReasoningTokens: r.ReasoningTokens, UsageDetail: r.UsageDetail, Estimated: r.Estimated, Cost: r.Cost,
		PriceVersion: r.PriceVersion, CacheHit: r.CacheHit, ClientAddress: r.ClientAddress, Host: r.Host, Sequence: r.Sequence, Tags: r.Tags,
		Metadata: r.Metadata,
	}
}

func exportedAt(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000Z") }

// cells is the row as a line of a table.
func (e *exportedSpend) cells() []string {
	n := func(n int64) string { return strconv.FormatInt(n, 10) }
	yes := strconv.FormatBool
	return []string{
		e.RequestID, n(e.Attempt), e.StartedAt, e.FirstByteAt, e.EndedAt, cell(e.Status), n(e.HTTPStatus), cell(e.ErrorKind), cell(e.CallType),
		yes(e.Streamed), cell(e.APIKey), cell(e.UserID), cell(e.TeamID), cell(e.OrganizationID), cell(e.ProjectID), cell(e.EndUser), cell(e.Model),
		cell(e.ModelID), cell(e.Provider), cell(e.ProviderModel), cell(e.ProviderRequestID), cell(e.CallID), cell(e.SessionID), n(e.PromptTokens),
		n(e.CompletionTokens), n(e.TotalTokens), n(e.CacheReadTokens), n(e.CacheWriteTokens), n(e.ReasoningTokens), string(e.UsageDetail),
		yes(e.Estimated), e.Cost.String(), n(e.PriceVersion), yes(e.CacheHit), cell(e.ClientAddress), cell(e.Host), n(e.Sequence), string(e.Tags),
		string(e.Metadata),
	}
}

// cell is a text that a spreadsheet shows and does not run: callers choose what
// stands in some columns, and = + - @ would begin a formula.
func cell(text string) string {
	if text == "" {
		return ""
	}
	switch text[0] {
	case '=', '+', '-', '@', '\t', '\r':
		return "'" + text
	}
	return text
}

// period reads the bounds of an export.
func (e *spendExport) period() (from, to time.Time, err error) {
	if from, _, err = moment("from", e.From); err != nil {
		return from, to, err
	}
	to, date, err := moment("to", e.To)
	if err != nil {
		return from, to, err
	}
	if date {
		to = to.AddDate(0, 0, 1)
	}
	if !from.Before(to) {
		return from, to, boot.Exit(fleet.ExitConfig, fmt.Errorf("--from %s is not before --to %s: there is nothing between them", e.From, e.To))
	}
	return from, to, nil
}

// exportSpend writes the rows of a period, in the order in which their requests
// were admitted. A file appears under its name when it is whole.
func exportSpend(ctx context.Context, p *boot.Process, args *spendExport, s *store.Store) (err error) {
	from, to, err := args.period()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	target := p.Stdout
	if args.Out != "" {
		if _, err := os.Lstat(args.Out); err == nil {
			return boot.Exit(fleet.ExitConfig, fmt.Errorf("--out %s exists already: name a new file", args.Out))
		}
		part := args.Out + ".part"
		f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return boot.Exit(fleet.ExitConfig, fmt.Errorf("open the export: %w", err))
		}
		defer func() {
			_ = f.Close()
			_ = os.Remove(part) // gone where it was renamed
		}()
		rows, err := writeSpend(ctx, p.Stderr, args.Format, f, s, from, to)
		if err != nil {
			return err
		}
		if err := finishExport(f, args.Out); err != nil {
			return fmt.Errorf("finish the export: %w", err)
		}
		_, err = fmt.Fprintf(p.Stdout, "%d rows are in %s\n", rows, args.Out)
		return err
	}
	_, err = writeSpend(ctx, p.Stderr, args.Format, target, s, from, to)
	return err
}

// finishExport gives a file its name, once the disk has it.
func finishExport(f *os.File, name string) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// Rows that are read at once, and how often it is told how far an export is.
const (
	exportPage  = 5000
	exportTells = 2 * time.Second
)

// writeSpend reads page by page, so that neither the database nor this program
// holds more than one.
func writeSpend(ctx context.Context, tell io.Writer, format string, to io.Writer, s *store.Store, from, until time.Time) (rows int64, err error) {
	out := bufio.NewWriterSize(to, 1<<16)
	table, lines := csv.NewWriter(out), json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if format == "csv" {
		if err := table.Write(exportColumns); err != nil {
			return 0, fmt.Errorf("write the export: %w", err)
		}
	}
	f := store.SpendFilter{From: from, To: until, Oldest: true, Limit: exportPage}
	for told := time.Now(); ; {
		page := make([]*store.SpendRow, 0, exportPage)
		err := s.EachSpend(ctx, f, func(r *store.SpendRow) error {
			page = append(page, r)
			return nil
		})
		if err != nil {
			return rows, storeExit(err)
		}
		for _, r := range page {
			if format == "csv" {
				err = table.Write(exportedOf(r).cells())
			} else {
				err = lines.Encode(exportedOf(r))
			}
			if err != nil {
				return rows, fmt.Errorf("write the export: %w", err)
			}
		}
		rows += int64(len(page))
		if len(page) < exportPage {
			break
		}
		last := page[len(page)-1]
		f.After = &store.SpendKey{RequestID: last.RequestID, Attempt: last.Attempt}
		if time.Since(told) >= exportTells {
			told = time.Now()
			_, _ = fmt.Fprintf(tell, "%d rows, up to %s (%d %%)\n", rows, exportedAt(last.StartedAt), portion(from, until, last.StartedAt))
		}
	}
	table.Flush()
	if err := errors.Join(table.Error(), out.Flush()); err != nil {
		return rows, fmt.Errorf("write the export: %w", err)
	}
	_, _ = fmt.Fprintf(tell, "%d rows, done\n", rows)
	return rows, nil
}

// portion is how much of a period is behind, in percent.
func portion(from, to, at time.Time) int64 {
	if whole := to.Sub(from) / 100; whole > 0 {
		return min(max(int64(at.Sub(from)/whole), 0), 99)
	}
	return 0
}
