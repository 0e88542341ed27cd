package litellm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/identity"
)

// configRow is a row of LiteLLM_Config.
type configRow struct {
	Name  text   `json:"param_name"`
	Value object `json:"param_value"`
}

// environmentItem is the row of the variables that LiteLLM sets for itself.
const environmentItem = "environment_variables"

// sections are the rows that are laid over the configuration file.
var sections = []string{"general_settings", "litellm_settings", "router_settings"}

func convertConfig(r *row, i *configRow) error {
	name := string(i.Name)
	switch {
	case slices.Contains(sections, name):
		return r.section(name, i.Value)
	case name == environmentItem:
		return r.environment(i.Value)
	}
	r.skip("a schedule or a counter of LiteLLM's own")
	return nil
}

// section takes the settings that may come from the database. Secrets and names
// of variables belong into the file or the environment here.
func (r *row) section(name string, value object) error {
	out := &identity.ConfigItem{Name: name, Value: identity.Fields{}}
	fields := r.object("param_value", value)
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		v := fields[field]
		if string(v) == "null" {
			continue
		}
		at := &row{c: r.c, table: r.table, id: name + "." + field}
		switch {
		case fixed(name, field):
			at.report("says which database, cache or key is used, and how: set it in the configuration file or the environment")
		case secretIn(field, v), r.encrypted(v):
			at.report("is or holds a secret, which is set in the configuration file or the environment")
		case strings.Contains(string(v), "os.environ/"):
			at.report("names a variable of the environment, which is possible in the configuration file alone: set it there")
		default:
			out.Value[field] = v
		}
	}
	if len(out.Value) == 0 {
		r.skip("has nothing that can come over")
		return nil
	}
	return r.c.Sink.Object(out)
}

// fixed reports whether a setting is read before there is a database to read it
// from.
func fixed(section, name string) bool {
	switch section {
	case "general_settings":
		return strings.HasPrefix(name, "database_") || slices.Contains([]string{
			"master_key", "salt_key", "store_model_in_db", "supported_db_objects", "disable_prisma_schema_update",
		}, name)
	case "router_settings":
		return strings.HasPrefix(name, "redis_")
	}
	return false
}

// encrypted reports whether a text of LiteLLM's encrypted forms is inside a value
// and opens.
func (r *row) encrypted(v json.RawMessage) bool {
	open := &unlocker{r: r}
	open.value("", v)
	return open.open > 0 || open.broken != nil
}

// environment takes the variables, sealed. None of them is in force: the
// environment belongs to whoever starts the gateway, and the report names them.
func (r *row) environment(value object) error {
	out := &identity.ConfigItem{Name: environmentItem, Value: identity.Fields{}, SealedWith: r.c.Ring.ID()}
	open := &unlocker{r: r}
	plain := open.fields(r.object("param_value", value))
	if err := open.verdict(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		at := &row{c: r.c, table: r.table, id: environmentItem + "." + name}
		if upper := strings.ToUpper(name); strings.Contains(upper, "MASTER_KEY") || strings.Contains(upper, "SALT_KEY") || strings.Contains(upper, "DATABASE_URL") {
			at.report("was left out: keys of the gateway and addresses of its database are never kept in the database")
			continue
		}
		sealed, err := r.c.Ring.SealJSON(out.Kind().Table(), out.Name, name, plain[name])
		if err != nil {
			return fmt.Errorf("seal a variable: %w", err)
		}
		out.Value[name] = sealed
		at.report("is kept, sealed, and not in force: set the variable where Sluice is started")
	}
	if len(out.Value) == 0 {
		r.skip("has nothing that can come over")
		return nil
	}
	return r.c.Sink.Object(out)
}
