// Package route decides which deployments may answer a request, and in which
// order. A Table is built once per generation of the configuration and never
// changed; only its retry budgets count.
package route

import "time"

// Deployment is one place where a model is served.
type Deployment struct {
	Index     int    // its place in Config.Deployments
	ID        string // model_info.id, or what StableID made
	Group     string // model_name; may hold '*'
	Provider  string // prefix of the provider
	Model     string // the provider's name of the model; may hold '*'
	ModelName string // with the provider's prefix: openai/gpt-4o
	APIBase   string // as headers and metrics show it: no query, no credentials

	Weight, RPM, TPM int64 // 0: not set
	Order            int   // tier: lower ones first

	Timeout       time.Duration // 0: the router's
	StreamTimeout time.Duration // to the first event of a stream; 0: Timeout
	Retries       int           // negative: the router's

	Team         string   // serves this team alone; "": all
	AccessGroups []string // names that stand for this model in lists of models
	Limits       Limits
}

// Limits is what is known of a model for those who list it.
type Limits struct {
	Mode      string // chat, completion, embedding, …; "": not said
	MaxInput  int64  // tokens; 0: not said
	MaxOutput int64  // tokens; 0: not said
}

// widen makes l what the deployments of a group can do together.
func (l *Limits) widen(o Limits) {
	if l.Mode == "" {
		l.Mode = o.Mode
	}
	l.MaxInput, l.MaxOutput = max(l.MaxInput, o.MaxInput), max(l.MaxOutput, o.MaxOutput)
}

// ModelInfo is one entry of the list of models.
type ModelInfo struct {
	ID       string
	Created  int64 // unix seconds
	OwnedBy  string
	Wildcard bool // a pattern; listed only when asked for
	// Group is the model group behind an alias, and AccessGroups those of its
	// deployments.
	Group        string
	AccessGroups []string
	Limits
}

// Created is what every model of LiteLLM's list says about its age.
const modelCreated = 1677610602
