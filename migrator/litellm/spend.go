package litellm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"sluice/proxy/store"
)

// dailyRow is a row of one of the LiteLLM_Daily…Spend tables.
type dailyRow struct {
	ID         text   `json:"id"`
	Day        text   `json:"date"`
	Token      text   `json:"api_key"`
	Model      text   `json:"model"`
	ModelGroup text   `json:"model_group"`
	Provider   text   `json:"custom_llm_provider"`
	Endpoint   text   `json:"endpoint"`
	Tool       text   `json:"mcp_namespaced_tool_name"`
	Prompt     count  `json:"prompt_tokens"`
	Completion count  `json:"completion_tokens"`
	CacheRead  count  `json:"cache_read_input_tokens"`
	CacheWrite count  `json:"cache_creation_input_tokens"`
	Spend      amount `json:"spend"`
	Requests   count  `json:"api_requests"`
	Successful count  `json:"successful_requests"`
	Failed     count  `json:"failed_requests"`

	User         text `json:"user_id"`
	Team         text `json:"team_id"`
	Organization text `json:"organization_id"`
	EndUser      text `json:"end_user_id"`
	Agent        text `json:"agent_id"`
	Tag          text `json:"tag"`
}

// isDay reports whether a text is a day that databases know.
func isDay(s string) bool {
	at, err := time.Parse(time.DateOnly, s)
	return err == nil && at.Year() > 0
}

func convertDaily(entity string, of func(d *dailyRow) text) func(r *row, d *dailyRow) error {
	return func(r *row, d *dailyRow) error {
		if !r.ids(d.ID) {
			return nil
		}
		if !isDay(string(d.Day)) {
			r.skip("date is no day")
			return nil
		}
		return r.c.Sink.Daily(store.DailySpend{
			EntityType: entity, RowID: string(d.ID), EntityID: r.name(entity, of(d)), Day: string(d.Day), Token: callerToken(d.Token),
			Model: r.name("model", d.Model), ModelGroup: r.name("model_group", d.ModelGroup), Provider: r.name("custom_llm_provider", d.Provider),
			Endpoint: r.name("endpoint", d.Endpoint), Tool: r.name("mcp_namespaced_tool_name", d.Tool),
			PromptTokens: d.Prompt.value, CompletionTokens: d.Completion.value, CacheReadTokens: d.CacheRead.value, CacheWriteTokens: d.CacheWrite.value,
			Spend: r.spent("spend", d.Spend), Requests: d.Requests.value, SuccessfulRequests: d.Successful.value, FailedRequests: d.Failed.value,
		})
	}
}

// callerToken is the digest of the key that was called with. LiteLLM wrote the
// key itself in a few cases: that is never kept.
func callerToken(t text) string {
	if len(t) > 3 && t[:3] == "sk-" {
		return hexDigest(string(t))
	}
	if len(t) > longestName {
		return ""
	}
	return string(t)
}

func hexDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func dailyTables() []Table {
	var out []Table
	for _, d := range []struct {
		table, entity, column string
		of                    func(d *dailyRow) text
	}{
		{"LiteLLM_DailyUserSpend", "user", "user_id", func(d *dailyRow) text { return d.User }},
		{"LiteLLM_DailyTeamSpend", "team", "team_id", func(d *dailyRow) text { return d.Team }},
		{"LiteLLM_DailyOrganizationSpend", "organization", "organization_id", func(d *dailyRow) text { return d.Organization }},
		{"LiteLLM_DailyEndUserSpend", "customer", "end_user_id", func(d *dailyRow) text { return d.EndUser }},
		{"LiteLLM_DailyAgentSpend", "agent", "agent_id", func(d *dailyRow) text { return d.Agent }},
		{"LiteLLM_DailyTagSpend", "tag", "tag", func(d *dailyRow) text { return d.Tag }},
	} {
		out = append(out, Table{
			Name: d.table, Key: []string{"id"}, Needs: []string{"id", "date", d.column},
			From: only(d.table, "id", "date", "api_key", "model", "model_group", "custom_llm_provider", "endpoint", "mcp_namespaced_tool_name",
				"prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "spend", "api_requests",
				"successful_requests", "failed_requests", d.column),
			Convert: converting(d.table, func(d *dailyRow) string { return string(d.ID) }, convertDaily(d.entity, d.of)),
		})
	}
	return out
}

// spendLogRow is a row of LiteLLM_SpendLogs without what was said and answered.
type spendLogRow struct {
	RequestID    text   `json:"request_id"`
	CallType     text   `json:"call_type"`
	Token        text   `json:"api_key"`
	Spend        amount `json:"spend"`
	Total        count  `json:"total_tokens"`
	Prompt       count  `json:"prompt_tokens"`
	Completion   count  `json:"completion_tokens"`
	Start        moment `json:"startTime"`
	End          moment `json:"endTime"`
	FirstByte    moment `json:"completionStartTime"`
	Model        text   `json:"model"`
	ModelID      text   `json:"model_id"`
	ModelGroup   text   `json:"model_group"`
	Provider     text   `json:"custom_llm_provider"`
	User         text   `json:"user"`
	Metadata     object `json:"metadata"`
	CacheHit     text   `json:"cache_hit"`
	Tags         raw    `json:"request_tags"`
	Team         text   `json:"team_id"`
	EndUser      text   `json:"end_user"`
	Address      text   `json:"requester_ip_address"`
	Session      text   `json:"session_id"`
	Status       text   `json:"status"`
	Organization text   `json:"organization_id"`
	CallID       text   `json:"litellm_call_id"`
}

// originalID is the field of the metadata that has the request's id as LiteLLM
// had it.
const originalID = "litellm_request_id"

func convertSpendLog(r *row, l *spendLogRow) error {
	switch {
	case l.RequestID == "":
		r.skip("a part of its key is empty")
		return nil
	case !l.Start.given:
		r.skip("startTime is no moment")
		return nil
	}
	out := store.SpendLog{
		RequestID: requestID(string(l.RequestID), l.Start.at), Attempt: 1, Status: "success", CallType: r.name("call_type", l.CallType),
		StartedAt: l.Start.at, FirstByteAt: l.FirstByte.pointer(), EndedAt: l.End.at, Token: callerToken(l.Token), UserID: r.name("user", l.User),
		TeamID: r.name("team_id", l.Team), OrganizationID: r.name("organization_id", l.Organization), EndUser: r.name("end_user", l.EndUser),
		Model: r.name("model_group", l.ModelGroup), ModelID: r.name("model_id", l.ModelID), Provider: r.name("custom_llm_provider", l.Provider),
		ProviderModel: r.name("model", l.Model), CallID: r.name("litellm_call_id", l.CallID), SessionID: r.name("session_id", l.Session),
		PromptTokens: l.Prompt.value, CompletionTokens: l.Completion.value, TotalTokens: l.Total.value,
		Cost: r.spent("spend", l.Spend), CacheHit: l.CacheHit == "True" || l.CacheHit == "true", ClientAddress: r.name("requester_ip_address", l.Address),
	}
	if out.Model == "" {
		out.Model = out.ProviderModel
	}
	if !l.End.given {
		out.EndedAt = out.StartedAt
	}
	if out.CallID == "" {
		out.CallID = r.name("request_id", l.RequestID)
	}
	out.Tags = tagsOf(l.Tags)
	r.logMetadata(&out, l)
	return r.c.Sink.SpendLog(out)
}

// requestID is a UUIDv7 that is the same whenever a row is taken: the
// milliseconds of its start, then digits of the digest of its id.
func requestID(id string, start time.Time) (out [16]byte) {
	sum := sha256.Sum256([]byte("litellm spend log " + id))
	copy(out[:], sum[:16])
	ms := uint64(max(start.UnixMilli(), 0))
	for i := range 6 {
		out[i] = byte(ms >> (40 - 8*i))
	}
	out[6] = out[6]&0x0f | 0x70
	out[8] = out[8]&0x3f | 0x80
	return out
}

// tagsOf is a JSON list of texts, nil for anything else.
func tagsOf(v raw) []byte {
	var tags []string
	if len(v) == 0 || len(v) > longestDocument || json.Unmarshal(v, &tags) != nil || len(tags) == 0 {
		return nil
	}
	return quoted(tags)
}

// logUsage is what the metadata of a row says of its usage.
type logUsage struct {
	Prompt struct {
		Cached  count `json:"cached_tokens"`
		Written count `json:"cache_creation_tokens"`
	} `json:"prompt_tokens_details"`
	Completion struct {
		Reasoning count `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
	CacheRead  count `json:"cache_read_input_tokens"`
	CacheWrite count `json:"cache_creation_input_tokens"`
}

// logFailure is what the metadata of a row says of its failure.
type logFailure struct {
	Code  text `json:"error_code"`
	Class text `json:"error_class"`
}

// kept are the fields of the metadata that come over: none that holds what was
// said.
var kept = []string{
	"user_api_key_alias", "user_api_key_team_alias", "user_api_key_user_email", "spend_logs_metadata", "applied_guardrails", "cost_breakdown",
	"additional_usage_values", "attempted_retries",
}

// logMetadata reads what is asked for by name out of the metadata, and keeps some
// of the rest.
func (r *row) logMetadata(out *store.SpendLog, l *spendLogRow) {
	fields := l.Metadata.fields
	meta := map[string]json.RawMessage{originalID: quoted(string(l.RequestID))}
	for _, name := range kept {
		if v := fields[name]; !empty(v) && !secretIn("", v) {
			meta[name] = v
		}
	}
	if doc := quoted(meta); len(doc) <= longestDocument {
		out.Metadata = doc
	}
	var usage logUsage
	if v := fields["usage_object"]; len(v) > 0 && json.Unmarshal(v, &usage) == nil {
		out.CacheReadTokens = max(usage.CacheRead.value, usage.Prompt.Cached.value)
		out.CacheWriteTokens = max(usage.CacheWrite.value, usage.Prompt.Written.value)
		out.ReasoningTokens = usage.Completion.Reasoning.value
		if len(v) <= longestDocument {
			out.UsageDetail = v
		}
	}
	if l.Status != "failure" && textOf(fields["status"]) != "failure" {
		return
	}
	out.Status = "failure"
	var failure logFailure
	if v := fields["error_information"]; len(v) > 0 && json.Unmarshal(v, &failure) == nil {
		out.ErrorKind = r.name("error_class", failure.Class)
		var code count
		if code.UnmarshalJSON([]byte(failure.Code)) == nil && code.value > 0 && code.value < 1000 {
			out.HTTPStatus = code.value
		}
	}
}

func spendLogTables() []Table {
	return []Table{{
		Name: tableSpendLogs, Key: []string{"request_id"}, Needs: []string{"request_id", "startTime", "spend"}, Since: "startTime",
		From: only(tableSpendLogs, "request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens", "completion_tokens", "startTime",
			"endTime", "completionStartTime", "model", "model_id", "model_group", "custom_llm_provider", "user", "metadata", "cache_hit", "request_tags",
			"team_id", "end_user", "requester_ip_address", "session_id", "status", "organization_id", "litellm_call_id"),
		Convert: converting(tableSpendLogs, func(l *spendLogRow) string { return string(l.RequestID) }, convertSpendLog),
	}}
}
