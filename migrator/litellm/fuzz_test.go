package litellm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
)

// FuzzConvert: no document makes a conversion panic or fail in another way than
// it says, and neither what is told nor an error holds what only the row has.
func FuzzConvert(f *testing.F) {
	tables := Tables()
	var names []string
	for _, t := range tables {
		if t.Convert != nil {
			names = append(names, t.Name)
		}
	}
	for i := range names {
		for _, doc := range []string{fullKey, fullTeam, fullLog, `{}`, `{"param_name":"general_settings","param_value":{"x":"` + canary + `"}}`} {
			f.Add(i, strings.Replace(doc, "mock", canary, 1))
		}
	}
	f.Fuzz(func(t *testing.T, i int, doc string) {
		if i < 0 || i >= len(names) {
			return
		}
		c, s := converter(t)
		c.Sink = &checking{sink: s, t: t}
		err := tableNamed(t, names[i]).Convert(c, []byte(doc))
		var sealed *SealedError
		if err != nil && !errors.As(err, &sealed) {
			t.Errorf("%s: %v", names[i], err)
		}
		if strings.Contains(doc, `"`+canary+`"`) && names[i] != tableSpendLogs {
			for _, line := range append(s.reports, s.skips...) {
				// An id is told, and a name of a field or of a variable.
				if _, told, _ := strings.Cut(line, ": "); strings.Contains(told, canary) && !strings.Contains(line, canary+":") {
					t.Errorf("%s tells %s", names[i], line)
				}
			}
		}
	})
}

// checking is a sink that looks whether what comes out can be stored.
type checking struct {
	*sink
	t *testing.T
}

func (c *checking) Object(o identity.Object) error {
	if k, ok := o.(*identity.Key); ok {
		if !takenToken(text(k.Token)) || k.Spend < 0 || k.MaxBudget != nil && *k.MaxBudget < 0 {
			c.t.Errorf("%+v", k)
		}
		if k.Expires != nil && (k.Expires.Year() > 9999 || k.Expires.Location() != time.UTC) {
			c.t.Errorf("expires %s", k.Expires)
		}
	}
	return c.sink.Object(o)
}

func BenchmarkKey(b *testing.B) {
	c, _ := converter(b)
	c.Sink = nowhere{}
	convert := tableNamed(b, tableKeys).Convert
	for name, doc := range map[string]string{
		"full": fullKey,
		"plain": `{"token":"dd65e03569cfa4fa17f41cc914529f60fa210b46a7ee8647c7c2f1ed5844a3ea","key_name":"sk-...-sWQ","key_alias":"key-1","soft_budget_cooldown":false,` +
			`"spend":0.25,"expires":null,"models":["gpt-4o"],"aliases":{},"config":{},"user_id":"user-1","team_id":"team-1","permissions":{},` +
			`"max_parallel_requests":null,"metadata":{"a": 1},"blocked":null,"tpm_limit":1000,"rpm_limit":60,"max_budget":5,"budget_duration":null,` +
			`"budget_reset_at":null,"allowed_cache_controls":[],"model_spend":{},"model_max_budget":{},"budget_id":null,"organization_id":null,` +
			`"created_at":"2026-11-21T07:19:09.054","created_by":"default_user_id","updated_at":"2026-11-21T07:19:09.054","updated_by":"default_user_id",` +
			`"allowed_routes":[],"object_permission_id":null,"auto_rotate":false,"key_rotation_at":null,"last_rotation_at":null,"rotation_count":0,` +
			`"rotation_interval":null,"project_id":null,"router_settings":{},"policies":[],"access_group_ids":[],"last_active":null,"agent_id":null,` +
			`"budget_limits":null,"budget_fallbacks":{},"key_type":"default","settings_updated_at":null,"tpd_limit":null,"total_spend":0}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if err := convert(c, []byte(doc)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// nowhere takes everything and keeps nothing.
type nowhere struct{ failing }

func (nowhere) Object(identity.Object) error { return nil }
