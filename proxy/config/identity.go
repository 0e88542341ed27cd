package config

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"
	_ "time/tzdata" // zones on machines that have no database of them

	"sluice/internal/env"
)

// Access is the part of general_settings that says who may call and what is
// kept in the database.
type Access struct {
	UnavailableModels   []string      `cfg:"db_unavailable_models"` // nil: all
	UnavailableRPM      int           `cfg:"db_unavailable_rpm"`
	StaleMax            time.Duration `cfg:"auth_stale_max"`
	CacheTTL            time.Duration `cfg:"user_api_key_cache_ttl"`
	MaxKeyDays          int           `cfg:"auth_key_max_expiration_days,auth_max_token_expiration_days"` // 0: no bound
	StoreModels         bool          `cfg:"store_model_in_db"`
	StoredObjects       []string      `cfg:"supported_db_objects"` // nil: all
	DefaultTeamDisabled bool          `cfg:"default_team_disabled"`
	AllowedRoutes       []string      `cfg:"allowed_routes"` // nil: all
	AdminRoutes         []string      `cfg:"admin_only_routes"`
	TeamAdminFields     []string      `cfg:"team_admin_editable_team_fields"`
	TeamBases           []string      `cfg:"team_admin_api_bases"`
	DisabledRouters     []string      `cfg:"disabled_routers"`
	HiddenRouters       []string      `cfg:"hidden_routers"`

	AllowedIPs   []netip.Prefix // of allowed_ips; nil: all
	SaltKey      env.Secret     // LITELLM_SALT_KEY; "": the master key takes its place
	OldMasterKey env.Secret     // SLUICE_OLD_MASTER_KEY: what is sealed with it is opened, and sealed anew
	KeyringFile  string         // SLUICE_KEYRING_FILE: path of the keys that seal; "": the salt key alone
	AdminUser    string         // PROXY_ADMIN_ID: whom the master key acts as; "": default_user_id
	KeyLength    int            // LENGTH_OF_LITELLM_GENERATED_KEY, bytes; 0: our own
}

// Docs says how the API documents itself.
type Docs struct {
	Title       string `cfg:"app_title,swagger_title"`
	Version     string `cfg:"swagger_version"`
	Summary     string `cfg:"swagger_summary"`
	Description string `cfg:"swagger_description"`
	Terms       string `cfg:"swagger_terms_of_service"`
	SpecURL     string `cfg:"swagger_openapi_url"` // "": not served
	URL         string `cfg:"swagger_docs_url"`    // "": not served
	RootURL     string // ROOT_REDIRECT_URL: where / leads

	Contact json.RawMessage // nil where not given
	License json.RawMessage
}

// Objects is a map of the file as JSON, by the names of its keys.
type Objects map[string]json.RawMessage

func objects(v *value) Objects {
	if v == nil || v.is != mapping {
		return nil
	}
	out := make(Objects, len(v.entries))
	for _, e := range v.entries {
		if e.value.is != null {
			out[e.name] = e.value.appendJSON(nil)
		}
	}
	return out
}

// Stored reports whether objects of a kind, such as "models", are taken from
// the database.
func (a *Access) Stored(kind string) bool {
	if !a.StoreModels || a.StoredObjects == nil {
		return a.StoreModels
	}
	for _, o := range a.StoredObjects {
		if o == kind {
			return true
		}
	}
	return false
}

const (
	defaultUnavailableRPM = 600
	defaultStaleMax       = time.Hour
	defaultCacheTTL       = time.Minute
)

// identity completes what general_settings says of identity, once the section
// is read.
func (f *File) identity(r *report, v *value) {
	f.General.StoreModels = f.storesModels()
	f.General.AllowedIPs = networks(r, "general_settings.allowed_ips", v.get("allowed_ips"))
	if contact := v.get("swagger_contact"); contact != nil && contact.is == mapping {
		f.General.Contact = contact.appendJSON(nil)
	}
	if license := v.get("swagger_license_info"); license != nil && license.is == mapping {
		f.General.License = license.appendJSON(nil)
	}
	for _, p := range []struct {
		key string
		url *string
	}{{"swagger_openapi_url", &f.General.SpecURL}, {"swagger_docs_url", &f.General.URL}} {
		if at := v.get(p.key); at != nil && !docsPath(*p.url) {
			r.errorf(at.at, "general_settings."+p.key, "a path such as /docs", "is %s", quote(*p.url))
		}
	}
	litellm := f.root.get("litellm_settings")
	f.LiteLLM.KeyDefaults = objects(litellm.get("default_key_generate_params"))
	f.LiteLLM.KeyBounds = objects(litellm.get("upperbound_key_generate_params"))
	f.LiteLLM.UserDefaults = objects(litellm.get("default_internal_user_params"))
	f.LiteLLM.TeamDefaults = objects(litellm.get("default_team_params"))
	f.LiteLLM.Zone = zone(r, litellm.get("timezone"))
}

// zone reads the name of a time zone; nil for none. The names are built in, so
// that a machine without the system's database knows them too.
func zone(r *report, v *value) *time.Location {
	if v == nil || !checkKind(Key{Kind: Text}, v) {
		return nil
	}
	out, err := time.LoadLocation(v.text)
	if err != nil {
		r.errorf(v.at, "litellm_settings.timezone", "the name of a time zone, as in Europe/Berlin", "is %s", quote(v.text))
		return nil
	}
	return out
}

func docsPath(path string) bool {
	return path == "" || strings.HasPrefix(path, "/") && !strings.ContainsAny(path, "?#{}%\\ ")
}

// networks reads addresses and networks.
func networks(r *report, path string, v *value) []netip.Prefix {
	if v == nil || !checkKind(Key{Kind: Texts}, v) {
		return nil
	}
	var out []netip.Prefix
	for _, text := range asTexts(v) {
		text = strings.TrimSpace(text)
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		} else if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			a = a.Unmap()
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		} else {
			r.errorf(v.at, path, "addresses such as 10.0.0.7 and networks such as 10.0.0.0/8", "%s is neither", quote(text))
		}
	}
	return out
}

// identityEnviron takes from the environment what the file does not say.
func (f *File) identityEnviron(r *report, secret func(*env.Secret, string)) {
	s := setting{report: r, environ: f.Environ}
	secret(&f.General.SaltKey, "LITELLM_SALT_KEY")
	checkWeak(r, Pos{File: "LITELLM_SALT_KEY"}, "", f.General.SaltKey)
	secret(&f.General.OldMasterKey, "SLUICE_OLD_MASTER_KEY")
	f.General.KeyringFile = f.Environ.SecretPath("SLUICE_KEYRING")
	f.General.AdminUser = f.Environ.Get("PROXY_ADMIN_ID")
	f.General.KeyLength = s.whole(0, 16, 256, nil, "", "LENGTH_OF_LITELLM_GENERATED_KEY", "")
	general := f.root.get("general_settings")
	if general.get("store_model_in_db") == nil {
		f.General.StoreModels = s.bool("STORE_MODEL_IN_DB")
	}
	if general.get("default_team_disabled") == nil {
		f.General.DefaultTeamDisabled = s.bool("PROXY_DEFAULT_TEAM_DISABLED")
	}
	for _, t := range []struct {
		into     *string
		variable string
		key      string
	}{
		{&f.General.Title, "DOCS_TITLE", "app_title"},
		{&f.General.Description, "DOCS_DESCRIPTION", "swagger_description"},
		{&f.General.URL, "DOCS_URL", "swagger_docs_url"},
		{&f.General.SpecURL, "OPENAPI_URL", "swagger_openapi_url"},
	} {
		if v := f.Environ.Get(t.variable); v != "" && general.get(t.key) == nil {
			*t.into = v
		}
	}
	for variable, path := range map[string]*string{"DOCS_URL": &f.General.URL, "OPENAPI_URL": &f.General.SpecURL} {
		if !docsPath(*path) {
			r.errorf(Pos{File: variable}, "", "a path such as /docs", "is %s", quote(*path))
		}
	}
	f.General.RootURL = f.Environ.Get("ROOT_REDIRECT_URL")
	if s.bool("NO_DOCS") {
		f.General.URL = ""
	}
	if s.bool("NO_OPENAPI") {
		f.General.URL, f.General.SpecURL = "", ""
	}
}
