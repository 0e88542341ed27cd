package litellm

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
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

// environment takes the variables, sealed. Models and credentials of the database
// find them there where they name one; for all else they are set where the
// gateway is started, so that the report names each.
func (r *row) environment(value object) error {
	out := &identity.ConfigItem{Name: environmentItem, Value: identity.Fields{}, SealedWith: r.c.Ring.ID()}
	open := &unlocker{r: r}
	plain := open.fields(r.object("param_value", value))
	if err := open.verdict(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		at := &row{c: r.c, table: r.table, id: environmentItem + "." + name}
		v := plain[name]
		switch {
		case !variableName.MatchString(name):
			r.report("has a name that no variable can have, which was left out")
			continue
		case ownVariable(name):
			at.report("was left out: variables of the gateway itself and of its databases are set where it is started")
			continue
		case v[0] == '{' || v[0] == '[' || strings.Contains(string(v), "os.environ/"):
			at.report("was left out: it is no text, or names another variable")
			continue
		case v[0] != '"':
			v = quoted(string(v))
		}
		sealed, err := r.c.Ring.SealJSON(out.Kind().Table(), out.Name, name, v)
		if err != nil {
			return fmt.Errorf("seal a variable: %w", err)
		}
		out.Value[name] = sealed
		at.report("is kept, sealed, for models and credentials that name it: set it where Sluice is started if anything else needs it")
	}
	if len(out.Value) == 0 {
		r.skip("has nothing that can come over")
		return nil
	}
	return r.c.Sink.Object(out)
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// ownVariable reports whether a variable is one of the gateway's or of its
// databases'. None is ever kept in a database.
func ownVariable(name string) bool {
	upper := strings.ToUpper(name)
	for _, begin := range []string{"LITELLM_", "SLUICE_", "DATABASE_", "DIRECT_URL", "REDIS_", "POSTGRES_", "PG"} {
		if strings.HasPrefix(upper, begin) {
			return true
		}
	}
	return strings.Contains(upper, "MASTER_KEY") || strings.Contains(upper, "SALT_KEY")
}
