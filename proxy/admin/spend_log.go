package admin

import (
	"encoding/json"
	"fmt"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// spendLog is a row as LiteLLM's spend logs have it. There is one row for each
// attempt at a provider: those of one request have the same request_id and are
// told apart by metadata.attempt. model is the provider's model and model_group
// the one that was asked for.
type spendLog struct {
	RequestID       string          `json:"request_id"`
	CallType        string          `json:"call_type"`
	APIKey          string          `json:"api_key"`
	Spend           money.Nano      `json:"spend"`
	TotalTokens     int64           `json:"total_tokens"`
	PromptTokens    int64           `json:"prompt_tokens"`
	Completion      int64           `json:"completion_tokens"`
	StartTime       isoZ            `json:"startTime"`
	EndTime         isoZ            `json:"endTime"`
	Duration        int64           `json:"request_duration_ms"`
	CompletionStart *isoZ           `json:"completionStartTime"`
	Model           string          `json:"model"`
	ModelID         string          `json:"model_id"`
	ModelGroup      string          `json:"model_group"`
	Provider        string          `json:"custom_llm_provider"`
	APIBase         string          `json:"api_base"` // not kept
	User            string          `json:"user"`
	Metadata        identity.Fields `json:"metadata"`
	CacheHit        string          `json:"cache_hit"`
	CacheKey        *string         `json:"cache_key"` // not kept
	RequestTags     json.RawMessage `json:"request_tags"`
	TeamID          *string         `json:"team_id"`
	OrganizationID  *string         `json:"organization_id"`
	EndUser         string          `json:"end_user"`
	Address         *string         `json:"requester_ip_address"`
	Messages        json.RawMessage `json:"messages"`
	Response        json.RawMessage `json:"response"`
	SessionID       *string         `json:"session_id"`
	Status          string          `json:"status"` // success or failure; metadata.status tells more

	key store.SpendKey
}

var emptyObject = json.RawMessage("{}")

func newSpendLog(r *store.SpendRow, k *identity.Key) spendLog {
	id := r.RequestID
	out := spendLog{
		RequestID: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), CallType: callType(r.CallType), APIKey: r.Token,
		Spend: r.Cost, TotalTokens: r.TotalTokens, PromptTokens: r.PromptTokens, Completion: r.CompletionTokens,
		StartTime: isoZ(r.StartedAt), EndTime: isoZ(r.EndedAt), Duration: r.EndedAt.Sub(r.StartedAt).Milliseconds(), CompletionStart: zulu(r.FirstByteAt),
		Model: r.ProviderModel, ModelID: r.ModelID, ModelGroup: r.Model, Provider: r.Provider, User: r.UserID, Metadata: rowMetadata(r, k),
		CacheHit: "False", RequestTags: r.Tags, TeamID: null(r.TeamID), OrganizationID: null(r.OrganizationID), EndUser: r.EndUser,
		Address: null(r.ClientAddress), Messages: emptyObject, Response: emptyObject, SessionID: null(r.SessionID), Status: "failure",
		key: store.SpendKey{RequestID: r.RequestID, Attempt: r.Attempt},
	}
	if r.CacheHit {
		out.CacheHit = "True"
	}
	if r.Status == "success" {
		out.Status = "success"
	}
	if r.Tags == nil {
		out.RequestTags = json.RawMessage("[]")
	}
	if out.Model == "" {
		out.Model = r.Model
	}
	return out
}

// rowMetadata is what LiteLLM keeps beside a row. What a client sent as metadata
// is in requester_metadata; a row that came from LiteLLM has its fields as they
// were there.
func rowMetadata(r *store.SpendRow, k *identity.Key) identity.Fields {
	out := identity.Fields{}
	if r.Host == "" {
		_ = json.Unmarshal(r.Metadata, &out) // an object, or nothing
		if out == nil {
			out = identity.Fields{}
		}
	} else if len(r.Metadata) > 0 {
		out["requester_metadata"] = json.RawMessage(r.Metadata)
	}
	set := func(name string, v any) { out[name] = quoted(v) }
	set("user_api_key", r.Token)
	set("user_api_key_user_id", null(r.UserID))
	set("user_api_key_team_id", null(r.TeamID))
	set("user_api_key_org_id", null(r.OrganizationID))
	set("user_api_key_project_id", null(r.ProjectID))
	if k != nil {
		set("user_api_key_alias", null(k.Alias))
	}
	set("status", r.Status)
	set("litellm_call_id", null(r.CallID))
	set("attempt", r.Attempt)
	set("streamed", r.Streamed)
	set("estimated", r.Estimated)
	set("price_version", r.PriceVersion)
	set("provider_request_id", null(r.ProviderRequestID))
	usage := identity.Fields{}
	_ = json.Unmarshal(r.UsageDetail, &usage) // an object, or nothing
	if usage == nil {
		usage = identity.Fields{}
	}
	for name, n := range map[string]int64{
		"prompt_tokens": r.PromptTokens, "completion_tokens": r.CompletionTokens, "total_tokens": r.TotalTokens,
		"cache_read_input_tokens": r.CacheReadTokens, "cache_creation_input_tokens": r.CacheWriteTokens, "reasoning_tokens": r.ReasoningTokens,
	} {
		usage[name] = quoted(n)
	}
	out["usage_object"] = quoted(usage)
	if r.Status != "success" {
		set("error_information", map[string]string{"error_code": fmt.Sprint(r.HTTPStatus), "error_class": r.ErrorKind, "llm_provider": r.Provider})
	}
	return out
}

// show adds what was kept of the request and its answer; nil is nothing.
func (l *spendLog) show(body *store.SpendBody) {
	if body == nil {
		return
	}
	if body.Messages != nil {
		l.Messages = body.Messages
	}
	if body.Response != nil {
		l.Response = body.Response
	}
	if body.Metadata != nil {
		l.Metadata["requester_metadata"] = body.Metadata
	}
}
