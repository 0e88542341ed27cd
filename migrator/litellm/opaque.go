package litellm

import (
	"strings"

	"sluice/proxy/identity"
)

// opaque are tables whose rows are kept as they are until something here
// understands them, and their primary keys.
var opaque = []struct{ table, key string }{
	{"LiteLLM_AgentsTable", "agent_id"},
	{"LiteLLM_AuditLog", "id"},
	{"LiteLLM_CacheConfig", "id"},
	{"LiteLLM_ConfigOverrides", "config_type"},
	{"LiteLLM_DeletedTeamTable", "id"},
	{"LiteLLM_DeletedVerificationToken", "id"},
	{"LiteLLM_GuardrailsTable", "guardrail_id"},
	{"LiteLLM_MCPServerOAuthClient", "server_id"},
	{"LiteLLM_MCPServerTable", "server_id"},
	{"LiteLLM_MCPToolsetTable", "toolset_id"},
	{"LiteLLM_MCPUserCredentials", "id"},
	{"LiteLLM_MCPUserEnvVars", "id"},
	{"LiteLLM_ManagedVectorStoreIndexTable", "id"},
	{"LiteLLM_ManagedVectorStoreTable", "id"},
	{"LiteLLM_ManagedVectorStoresTable", "vector_store_id"},
	{tableGroupBudgets, "access_group_name"},
	{tablePermissions, "object_permission_id"},
	{"LiteLLM_PolicyAttachmentTable", "attachment_id"},
	{"LiteLLM_PolicyTable", "policy_id"},
	{"LiteLLM_PromptTable", "id"},
	{"LiteLLM_SSOConfig", "id"},
	{"LiteLLM_SearchToolsTable", "search_tool_id"},
	{"LiteLLM_UISettings", "id"},
}

func opaqueTables() []Table {
	out := make([]Table, len(opaque))
	for i, o := range opaque {
		out[i] = Table{Name: o.table, Key: []string{o.key}, Needs: []string{o.key}, Opaque: true, From: whole(o.table), Convert: keepDocument(o.table, o.key)}
	}
	return out
}

// keepDocument keeps a row as it is. A secret in it that LiteLLM has encrypted
// stays as it is, which only LiteLLM's salt key opens; one in plain text is left
// out: nothing here needs it, and the source still has it.
func keepDocument(table, key string) func(*Converter, []byte) error {
	return func(c *Converter, doc []byte) error {
		var fields identity.Fields
		r := &row{c: c, table: table}
		if problem := decode(doc, &fields); problem != "" {
			r.skip(problem)
			return nil
		}
		id := text(textOf(fields[key]))
		if r.id = string(id); !r.ids(id) {
			return nil
		}
		if len(doc) > longestDocument {
			r.skip("is larger than 1 MiB")
			return nil
		}
		out, changed := eachSecret("", doc, func(s string) (string, bool) {
			if _, sealed, err := c.Open(s); sealed && (err == nil || marked(s)) {
				return "", false
			}
			return hidden, true
		})
		if changed {
			r.report("has secrets in plain text, which were left out")
		} else {
			out = doc
		}
		return c.Sink.Document(table, string(id), out)
	}
}

// spoken reports whether a text that stands in the place of a secret is none: a
// digest, or a name that shows the end of a key.
func spoken(s string) bool {
	return s == "" || s == hidden || takenToken(text(s)) || strings.HasPrefix(s, "sk-...")
}
