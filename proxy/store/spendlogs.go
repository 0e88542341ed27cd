package store

import (
	"slices"
	"time"

	"sluice/proxy/money"
)

// SpendLog is one attempt at a provider: a row of the spend table.
type SpendLog struct {
	RequestID         [16]byte // a UUID
	Attempt           int64
	Status            string
	HTTPStatus        int64
	ErrorKind         string
	CallType          string
	Streamed          bool
	StartedAt         time.Time
	FirstByteAt       *time.Time
	EndedAt           time.Time
	Token             string // digest of the key
	UserID            string
	TeamID            string
	OrganizationID    string
	EndUser           string
	Model             string
	ModelID           string
	Provider          string
	ProviderModel     string
	ProviderRequestID string
	CallID            string
	SessionID         string

	PromptTokens, CompletionTokens, TotalTokens        int64
	CacheReadTokens, CacheWriteTokens, ReasoningTokens int64

	UsageDetail   []byte // JSON; nil: none
	Estimated     bool
	Cost          money.Nano
	PriceVersion  int64
	CacheHit      bool
	ClientAddress string
	Host          string
	Tags          []byte // a JSON list; nil: none
	Metadata      []byte // a JSON object; nil: none
}

var spendNames = []string{
	"request_id", "attempt", "status", "http_status", "error_kind", "call_type", "streamed", "started_at", "first_byte_at", "ended_at",
	"token", "user_id", "team_id", "organization_id", "end_user", "model", "model_id", "provider", "provider_model",
	"provider_request_id", "call_id", "session_id", "prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens",
	"cache_write_tokens", "reasoning_tokens", "usage_detail", "estimated", "cost", "price_version", "cache_hit", "client_address",
	"host", "tags", "metadata",
}

var spendSorts = []sort{
	asUUID, asInt, asText, asInt, asText, asText, asBool, asTime, asTime, asTime,
	asText, asText, asText, asText, asText, asText, asText, asText, asText,
	asText, asText, asText, asInt, asInt, asInt, asInt,
	asInt, asInt, asJSON, asBool, asInt, asInt, asBool, asText,
	asText, asJSON, asJSON,
}

// wholeRows is the table that has all columns of spend: on SQLite spend itself is
// a view.
func (d dialect) wholeRows() string {
	if d.sqlite {
		return "spend_whole"
	}
	return "sluice.spend"
}

// TakeSpendLogs writes rows of the spend table that are not there yet, and
// returns how many it wrote.
func (t *Tx) TakeSpendLogs(rows []SpendLog) (written int, err error) {
	d := t.tx.dialect()
	for part := range slices.Chunk(rows, mostRows) {
		b := &bulk{names: spendNames, sorts: spendSorts}
		for i := range part {
			r := &part[i]
			for _, doc := range [][]byte{r.UsageDetail, r.Tags, r.Metadata} {
				if err := checkDocument("metadata", string(doc)); err != nil {
					return written, err
				}
			}
			first, err := d.value(r.FirstByteAt, false)
			if err != nil {
				return written, err
			}
			b.add(r.RequestID[:], r.Attempt, r.Status, r.HTTPStatus, r.ErrorKind, r.CallType, d.bool(r.Streamed), d.time(r.StartedAt), first,
				d.time(r.EndedAt), r.Token, r.UserID, r.TeamID, r.OrganizationID, r.EndUser, r.Model, r.ModelID, r.Provider, r.ProviderModel,
				r.ProviderRequestID, r.CallID, r.SessionID, r.PromptTokens, r.CompletionTokens, r.TotalTokens, r.CacheReadTokens,
				r.CacheWriteTokens, r.ReasoningTokens, jsonArgument(r.UsageDetail), d.bool(r.Estimated), int64(r.Cost), r.PriceVersion,
				d.bool(r.CacheHit), r.ClientAddress, r.Host, jsonArgument(r.Tags), jsonArgument(r.Metadata))
		}
		n, err := b.put(t, d.wholeRows(), true, "request_id", "attempt")
		if err != nil {
			return written, err
		}
		written += int(n)
	}
	return written, nil
}
