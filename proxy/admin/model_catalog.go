package admin

import (
	"context"
	"encoding/json"
	"fmt"

	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/price"
	"sluice/proxy/seal"
)

// Catalog is the configuration in force, as the process that serves it knows
// it. It may be called concurrently. What it returns is not changed by anybody.
type Catalog interface {
	// Deployments are all that are served or could be: those of the file, in its
	// order, then those of the database that this process has taken over.
	Deployments() []Deployment

	// Means says whether a name stands for something in a list of models that
	// somebody may call: a model that serves everybody, a pattern that the name
	// meets, an alias, an access group of the deployments.
	Means(name string) bool

	// Check says what is wrong with a deployment before it is stored. It is the
	// judgement that the deployment meets when it is taken over, so what passes
	// is served. The values are plain, defaults and credential not merged in. A
	// problem of one field is a *FieldError.
	Check(name string, params, info identity.Fields) error

	// Credentials are those of the file. Secrets in their values are Masked.
	Credentials() []FileCredential

	// CheckConfig says what is wrong with a section of the configuration that
	// has these settings over those of the file. Settings that are not known are
	// a problem.
	CheckConfig(section string, settings identity.Fields) error

	// Settings are the settings that a section may have.
	Settings(section string) []Setting

	// Masked is the configuration in force as YAML, without secrets.
	Masked() string
}

// Deployment is one entry of the list of models.
type Deployment struct {
	ID       string
	Name     string // public; may hold "*"
	Provider string // the prefix by which it is called
	Model    string // the provider's name of it, without the prefix
	// Params and Info are litellm_params and model_info as they were given,
	// secrets left out of Params.
	Params  identity.Fields
	Info    identity.Fields
	TeamID  string // serves this team alone; "": everybody who may use Name
	Blocked bool
	DB      bool // kept in the database, else in the file
}

// FileCredential is one entry of credential_list.
type FileCredential struct {
	Name   string
	Values map[string]string
	Info   identity.Fields
}

// Setting is one setting of a section.
type Setting struct {
	Name    string
	Type    string          // "Integer", "String", …
	Summary string          // one line
	Default string          // in words
	Value   json.RawMessage // in force; nil: not set, or a secret
}

// FieldError is what is wrong with one field.
type FieldError struct {
	Field   string // litellm_params.rpm
	Problem string // "is 'many'"
	Allowed string // "a whole number from 0"; may be empty
}

// Error is a sentence without its end.
func (e *FieldError) Error() string {
	if e.Allowed == "" {
		return fmt.Sprintf("%s %s", e.Field, e.Problem)
	}
	return fmt.Sprintf("%s %s; allowed: %s", e.Field, e.Problem, e.Allowed)
}

// Keys are the keys that secrets are sealed with, which change while the API is
// served.
type Keys struct {
	// Ring is the ring of now; nil: nothing can be sealed, so nothing secret is
	// stored. A call takes it once for each thing that it stores.
	Ring func() *seal.Ring
	// Renew takes over which key is to be sealed with, when the store has refused
	// what was sealed with another one.
	Renew func(ctx context.Context) error
}

// ring is the ring of now; nil for none.
func (a *API) ring() *seal.Ring {
	if a.c.Models.Keys.Ring == nil {
		return nil
	}
	return a.c.Models.Keys.Ring()
}

// ModelConfig is what the API of models, credentials and settings is made from.
type ModelConfig struct {
	Catalog Catalog // nil: there are no deployments, and nothing is checked beyond its type
	Keys    Keys
	// MayUse says whether a caller may call a model: lists of models are cut down
	// to what it says. It is (*auth.Keys).CanUse; nil: by the list of the key alone.
	MayUse func(who *auth.Identity, m *auth.Model) bool
	// Prices and Adjustments are what calls cost; nil: by the embedded table alone.
	Prices      *price.Book
	Adjustments *price.Adjustments
	// TeamBases are the api_base that team admins may give to deployments of
	// their teams. Those of proxy admins need not be listed.
	TeamBases []string
}
