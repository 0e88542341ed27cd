package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocs compares docs/config.md with the tables; -update writes it.
func TestDocs(t *testing.T) {
	golden(t, "../../docs/config.md", markdown())
}

func markdown() string {
	var b strings.Builder
	b.WriteString(docsHead)
	for _, s := range Sections() {
		title := "`" + s.Name + "`"
		if s.Name == "" {
			title = "Top level"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key | holds | default | |\n|---|---|---|---|\n", title, s.Doc)
		var without []string
		params := strings.Fields(requestParams)
		for _, k := range s.Keys {
			switch {
			case k.Use == Later:
				without = append(without, "`"+k.Name+"`")
			case s.Name == "model_list[].litellm_params" && slices.Contains(params, k.Name) && k.Kind == Any:
			default:
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, holds(k), k.Default, says(k))
			}
		}
		if s.Name == "model_list[].litellm_params" {
			fmt.Fprintf(&b, "\nDefaults of the request: `%s`.\n", strings.Join(params, "`, `"))
		}
		if len(without) > 0 {
			fmt.Fprintf(&b, "\nAccepted, without effect in this release: %s.\n", strings.Join(without, ", "))
		}
	}
	return b.String()
}

func holds(k Key) string {
	switch {
	case k.Kind == Secret:
		return "text, secret"
	case k.OneOf != nil:
		return strings.Join(k.OneOf, ", ")
	}
	return k.Kind.String()
}

func says(k Key) string {
	switch k.Use {
	case Guards:
		return "**No effect in this release, warned of:** " + k.Doc
	case Never:
		return "**Ignored, warned of:** " + k.Doc
	}
	return k.Doc
}

const docsHead = `# The configuration file

Written by ` + "`go test ./proxy/config -run TestDocs -update`" + ` from the tables in proxy/config; do not edit.

The file is that of a LiteLLM proxy. It is given by ` + "`--config`" + ` or ` + "`CONFIG_FILE_PATH`" + `; an example is
config.example.yaml. ` + "`proxy check --config FILE`" + ` says everything that is wrong with it, with file and line, and
exits with 0 or 78. Unknown keys are warnings, with the nearest key that is known; with ` + "`--strict`" + ` they are errors, and
so are a master or salt key that can be guessed.

Values may refer to variables: ` + "`os.environ/NAME`" + ` is the whole value (true and false become truth values; a variable
that is not set gives null and a warning; for the master key it is an error), ` + "`${NAME}`" + ` and ` + "`${NAME:-default}`" + ` may stand within a text, ` + "`$${`" + ` is a literal
` + "`${`" + `. A file ` + "`.env`" + ` in the working directory is read under the environment unless ` + "`LITELLM_MODE=PRODUCTION`" + `.
Variables that are referred to or hold secrets may be given as a file: ` + "`LITELLM_MASTER_KEY_FILE`" + ` names one, and so does
a systemd credential of the variable's name. See secrets.md.

A null is the same as an absent key. Numbers and truth values may be given as texts.
`

// TestTables checks that every field has a row, every row that is used and not
// read by hand a field, and that no row stands twice.
func TestTables(t *testing.T) {
	byHand := strings.Fields(requestParams + ` organization mock_response extra_headers headers extra_body ssl_verify
		configurable_clientside_auth_params model_alias_map model_group_alias default_litellm_params litellm_params model_info
		credential_name credential_values credential_info model_name turn_off_message_logging redact_messages_in_exceptions
		redact_user_api_key_info allowed_ips swagger_contact swagger_license_info default_key_generate_params
		upperbound_key_generate_params default_internal_user_params default_team_params timezone disable_adding_master_key_hash_to_db
		disable_master_key_return database_extra_connection_params
		cache_params cache_kwargs redis_startup_nodes sentinel_nodes tag_budget_config cost_discount_config cost_margin_config
		provider_budget_config`)
	structs := map[string]any{
		"model_list[].litellm_params": &Params{}, "model_list[].model_info": &Info{}, "litellm_settings": &LiteLLM{},
		"general_settings": &General{}, "router_settings": &Router{}, "compat": &Compat{},
	}
	for _, s := range Sections() {
		seen := map[string]bool{}
		fields := fieldsOf(structs[s.Name])
		for _, k := range s.Keys {
			if seen[k.Name] {
				t.Errorf("%s: %s stands twice", s.Name, k.Name)
			}
			seen[k.Name] = true
			_, bound := fields[k.Name]
			if into := structs[s.Name]; into != nil && k.Use == Used && !bound && !slices.Contains(byHand, k.Name) {
				t.Errorf("%s: %s is used but has no field", s.Name, k.Name)
			}
			if k.Use != Later && k.Doc == "" {
				t.Errorf("%s: %s says nothing", s.Name, k.Name)
			}
		}
		for name, field := range fields {
			k, ok := find(s.Keys, name)
			if !ok {
				t.Errorf("%s: the field of %s has no row", s.Name, name)
			}
			if (field.Type() == reflect.TypeFor[string]()) && k.Kind != Text && k.Kind != Window {
				t.Errorf("%s: %s is a text but its row says %s", s.Name, name, k.Kind)
			}
		}
	}
}

// TestUsedKeysAreRead keeps the documentation true: the field of a key that is
// said to be used is read by package app, or by a method here.
func TestUsedKeysAreRead(t *testing.T) {
	inHere := strings.Fields("Credential SupportedEnvironments Strategy IgnoreInvalid InferModelFromKeys SetVerbose RequestTimeout RedisURL ID StoredObjects DatabaseStatement DatabaseSocket " +
		"UserBudget UserDuration PreCallChecks")
	var source strings.Builder
	paths, err := filepath.Glob("../app/*.go")
	if err != nil || len(paths) == 0 {
		t.Fatalf("package app: %q, %v", paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(data)
	}
	for section, into := range map[string]any{
		"model_list[].litellm_params": Params{}, "model_list[].model_info": Info{}, "litellm_settings": LiteLLM{},
		"general_settings": General{}, "router_settings": Router{}, "compat": Compat{},
	} {
		var keys []Key
		for _, s := range Sections() {
			if s.Name == section {
				keys = s.Keys
			}
		}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(into)) {
			for name := range strings.SplitSeq(field.Tag.Get("cfg"), ",") {
				k, ok := find(keys, name)
				read := regexp.MustCompile(`\.` + field.Name + `\b`).MatchString(source.String())
				if ok && k.Use == Used && !read && !slices.Contains(inHere, field.Name) {
					t.Errorf("%s.%s is said to be used, but nothing reads %s", section, name, field.Name)
				}
			}
		}
	}
}
