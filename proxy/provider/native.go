package provider

// native are the prefixes of providers with a format of their own. They are
// known, so that a configuration that names one gets a precise error.
var native = []string{
	"anthropic", "bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "sagemaker_nova", "vertex_ai", "vertex_ai_beta",
	"gemini", "azure", "azure_text", "cohere", "cohere_chat", "ollama", "ollama_chat", "huggingface", "replicate",
	"watsonx", "watsonx_text", "databricks", "voyage", "jina_ai", "infinity", "nlp_cloud", "predibase", "petals",
	"aleph_alpha", "maritalk", "cloudflare", "triton", "gigachat", "oci", "sap", "bytez", "oobabooga",
	"deepgram", "elevenlabs", "aws_polly", "stability", "black_forest_labs", "recraft", "fal_ai", "runwayml", "topaz",
	"milvus", "pg_vector", "s3_vectors", "custom", "text-completion-openai", "text-completion-codestral", "codestral",
	"vllm", "github_copilot", "chatgpt", "snowflake", "auto_router",
}

// families tell the provider of a bare model name. The first match counts.
var families = []struct{ name, provider string }{
	{"gpt-", "openai"},
	{"chatgpt-", "openai"},
	{"o1", "openai"},
	{"o3", "openai"},
	{"o4", "openai"},
	{"ft:gpt-", "openai"},
	{"text-embedding-", "openai"},
	{"claude-", "anthropic"},
	{"gemini-", "vertex_ai"},
	{"command-", "cohere"},
}

// Pattern is a wildcard route that follows from the environment.
type Pattern struct {
	Group string // what clients ask for: openai/*
	Model string // what is called: openai/*
}

// Patterns lists a wildcard route for each provider whose key is set, in the
// order of the table, and for bare names of its families.
func Patterns(lookup Lookup) []Pattern {
	var ps []Pattern
	for i := range vendors {
		v := &vendors[i]
		if v.keyOf(lookup) == "" || v.baseOf(lookup) == "" {
			continue
		}
		ps = append(ps, Pattern{Group: v.name + "/*", Model: v.name + "/*"})
		for _, f := range families {
			if f.provider == v.name {
				ps = append(ps, Pattern{Group: f.name + "*", Model: v.name + "/" + f.name + "*"})
			}
		}
	}
	return ps
}

// KeyVariable names the variables that hold a provider's key.
type KeyVariable struct {
	Prefix string
	Names  []string
}

// KeyVariables lists the providers that need a key, in the order of the table.
func KeyVariables() []KeyVariable {
	var ks []KeyVariable
	for i := range vendors {
		if v := &vendors[i]; len(v.keys) > 0 && !v.keyless {
			ks = append(ks, KeyVariable{Prefix: v.name, Names: v.keys})
		}
	}
	return ks
}
