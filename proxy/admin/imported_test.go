package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// TestImportedFields: what came over from LiteLLM without a column of its own is
// shown as LiteLLM showed it.
func TestImportedFields(t *testing.T) {
	settings := func(doc string) (f identity.Fields) {
		t.Helper()
		if err := json.Unmarshal([]byte(doc), &f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	shown := func(v any) string {
		t.Helper()
		doc, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(doc)
	}
	k := &identity.Key{Spend: money.Dollar, Settings: settings(`{"total_spend": 7.5, "soft_budget_cooldown": true}`)}
	for _, part := range []string{`"spend":1.0`, `"total_spend":7.5`, `"soft_budget_cooldown":true`} {
		if doc := shown(newKeyRow(k, nil, zulu)); !strings.Contains(doc, part) {
			t.Errorf("no %s in %s", part, doc)
		}
	}
	k.Spend, k.Settings = 9*money.Dollar, nil
	if doc := shown(newKeyRow(k, nil, zulu)); !strings.Contains(doc, `"total_spend":9.0`) || !strings.Contains(doc, `"soft_budget_cooldown":false`) {
		t.Error(doc)
	}
	u := &identity.User{Settings: settings(`{"team_id": "t", "password_reset_required": false, "last_breach_check_at": "2026-02-03T00:00:00Z"}`)}
	for _, part := range []string{`"team_id":"t"`, `"password_reset_required":false`, `"last_breach_check_at":"2026-02-03T00:00:00Z"`} {
		if doc := shown(newUserFields(u, nil)); !strings.Contains(doc, part) {
			t.Errorf("no %s in %s", part, doc)
		}
	}
}
