package config

import (
	"strings"
	"sync"
)

func topKeys() []Key {
	return []Key{
		{Name: "model_list", Kind: List, Doc: "the deployments"},
		{Name: "litellm_settings", Kind: Map, Doc: "how providers are called"},
		{Name: "general_settings", Kind: Map, Doc: "the server, its keys and its database"},
		{Name: "router_settings", Kind: Map, Doc: "how a deployment is chosen"},
		{Name: "credential_list", Kind: List, Doc: "named credentials"},
		{Name: "environment_variables", Kind: Map, Doc: "variables that are set over those of the process"},
		{Name: "include", Kind: Texts, Doc: "further files, relative to this one: their lists are appended, other keys replace"},
		{Name: "compat", Kind: Map, Doc: "switches back to a behaviour that this product changes on purpose"},
		{Name: "settings", Kind: Map, Doc: "OpenGateLLM's: `monitoring_postgres_enabled: false` is `disable_spend_logs: true`"},
		{Name: "dependencies", Kind: Map, Doc: "OpenGateLLM's: of `postgres` count `url`, `pool_size` + `max_overflow`, `pool_timeout` and `connect_args`, where `general_settings` does not say otherwise"},
		{Name: "guardrails", Kind: List, Use: Guards, Doc: "requests are not guarded"},
		{Name: "policies", Kind: List, Use: Guards, Doc: "requests are not guarded"},
		{Name: "policy_attachments", Kind: List, Use: Guards, Doc: "requests are not guarded"},
		{Name: "files_settings", Kind: List, Use: Later},
		{Name: "finetune_settings", Kind: List, Use: Later},
		{Name: "assistant_settings", Kind: Map, Use: Later},
		{Name: "default_vertex_config", Kind: Map, Use: Later},
		{Name: "vector_store_registry", Kind: List, Use: Later},
		{Name: "search_tools", Kind: List, Use: Later},
		{Name: "mcp_servers", Kind: Map, Use: Later},
		{Name: "callback_settings", Kind: Map, Use: Later},
		{Name: "prompts", Kind: List, Use: Later},
		{Name: "worker_registry", Kind: List, Use: Later},
		{Name: "model_cost_map_url", Kind: Text, Use: Later},
	}
}

func entryKeys() []Key {
	return []Key{
		{Name: "model_name", Kind: Text, Doc: "the public name; `*` stands for any text"},
		{Name: "litellm_params", Kind: Map, Doc: "where the deployment is and how it is called"},
		{Name: "model_info", Kind: Map, Doc: "what is known about it"},
	}
}

func credentialKeys() []Key {
	return []Key{
		{Name: "credential_name", Kind: Text, Doc: "its name"},
		{Name: "credential_values", Kind: Map, Doc: "parameters that it gives to a deployment; the deployment's own win"},
		{Name: "credential_info", Kind: Map, Doc: "description and provider; shown only"},
	}
}

func compatKeys() []Key {
	return []Key{
		{Name: "lenient_json", Kind: Bool, Default: "false", Doc: "let requests with duplicate JSON keys through: the last one counts"},
		{Name: "budget_error_status", Kind: Int, Default: "429", Doc: "status of requests that a budget refuses: 429, or 400 as LiteLLM had it up to 1.83"},
		{Name: "short_custom_keys", Kind: Bool, Default: "false", Doc: "let administrators choose keys of fewer than 24 characters"},
	}
}

// requestParams are the parameters of a request that a deployment may give a
// default for.
const requestParams = `temperature top_p n max_tokens max_completion_tokens max_output_tokens presence_penalty
	frequency_penalty logit_bias logprobs top_logprobs stop seed stream stream_options response_format tools tool_choice
	parallel_tool_calls functions function_call user reasoning_effort reasoning verbosity service_tier store metadata modalities
	audio prediction web_search_options prompt_cache_key prompt_cache_retention safety_identifier suffix echo best_of
	dimensions encoding_format quality size style voice top_k min_p repetition_penalty thinking`

// paramKeys is the table of litellm_params: made once, because every deployment
// asks for it.
var paramKeys = sync.OnceValue(newParamKeys)

func newParamKeys() []Key {
	keys := []Key{
		{Name: "model", Kind: Text, Doc: "provider prefix and the provider's name of the model, as in `openai/gpt-4o`"},
		{Name: "api_key", Kind: Secret, Default: "the provider's variable", Doc: "key of the provider"},
		{Name: "api_base", Kind: Text, Default: "the provider's", Doc: "base URL of the provider"},
		{Name: "base_url", Kind: Text, Doc: "the same as `api_base`"},
		{Name: "api_version", Kind: Text, Doc: "version of the provider's interface, for those that want one"},
		{Name: "custom_llm_provider", Kind: Text, Default: "the prefix of `model`", Doc: "provider, whatever `model` says"},
		{Name: "organization", Kind: Texts, Doc: "organization; of several, each makes a deployment"},
		{Name: "timeout", Kind: Seconds, Default: "the router's", Doc: "longest time of a call"},
		{Name: "stream_timeout", Kind: Seconds, Default: "`timeout`", Doc: "longest time to the first event of a stream"},
		{Name: "max_retries", Kind: Int, Default: "the router's", Doc: "further attempts"},
		{Name: "num_retries", Kind: Int, Default: "the router's", Doc: "further attempts; wins over `max_retries`"},
		{Name: "rpm", Kind: Int, Doc: "requests per minute: the weight where there is no `weight`; a limit with `enforce_model_rate_limits`"},
		{Name: "tpm", Kind: Int, Doc: "tokens per minute: the weight where there is neither `weight` nor `rpm`; a limit likewise"},
		{Name: "weight", Kind: Amount, Doc: "share of the load"},
		{Name: "order", Kind: Int, Doc: "tier: the lowest is tried first"},
		{Name: "mock_response", Kind: Any, Doc: "answer with this text; no provider is called"},
		{Name: "mock_delay", Kind: Seconds, Default: "0", Doc: "wait before the answer of `mock_response`"},
		{Name: "extra_headers", Kind: Map, Doc: "headers added to calls"},
		{Name: "headers", Kind: Map, Doc: "the same as `extra_headers`"},
		{Name: "extra_body", Kind: Map, Doc: "fields added to the body of calls"},
		{Name: "drop_params", Kind: Bool, Default: "that of `litellm_settings`", Doc: "leave out what the provider does not support"},
		{Name: "additional_drop_params", Kind: Texts, Doc: "parameters that are left out"},
		{Name: "allowed_openai_params", Kind: Texts, Doc: "parameters that are passed on although the provider is not known to support them"},
		{Name: "configurable_clientside_auth_params", Kind: List, Doc: "of `api_key` and `api_base`, what a client may send itself, as names or as `{name: pattern}`; the pattern matches the whole value. With an `api_base` of its own a client sends its own key too; the deployment's key, headers and certificate never go there"},
		{Name: "litellm_credential_name", Kind: Text, Doc: "an entry of `credential_list`"},
		{Name: "ssl_verify", Kind: Switch, Default: "that of `litellm_settings`", Doc: "check the provider's certificate; a path is a file of authorities"},
		{Name: "ssl_certificate", Kind: Text, Doc: "file with the client's certificate"},
		{Name: "ssl_certificate_key", Kind: Text, Default: "`ssl_certificate`", Doc: "file with its key"},
		{Name: "ssl_server_name", Kind: Text, Default: "the host of `api_base`", Doc: "name that the provider's certificate must have"},
		{Name: "force_ipv4", Kind: Bool, Default: "that of `litellm_settings`", Doc: "connect over IPv4 only"},
		{Name: "proxy_url", Kind: Secret, Default: "`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`", Doc: "forward proxy; `direct` for none"},
		{Name: "unix_socket", Kind: Text, Doc: "connect to this socket in place of the host of `api_base`"},
		{Name: "max_parallel_requests", Kind: Int, Default: "the router's", Doc: "calls at once; more go to another deployment, or get 429"},
		{Name: "cooldown_time", Kind: Seconds, Use: Later},
		{Name: "max_budget", Kind: Dollars, Doc: "what the deployment may cost, in dollars; then another one is taken, or the request gets 429"},
		{Name: "budget_duration", Kind: Window, Default: "for all time", Doc: "the window of `max_budget`"},
		{Name: "default_api_key_tpm_limit", Kind: Int, Doc: "tokens a minute of each key that has no `model_tpm_limit` for the model"},
		{Name: "default_api_key_rpm_limit", Kind: Int, Doc: "requests a minute likewise"},
		{Name: "guardrails", Kind: Texts, Use: Guards, Doc: "requests are not guarded"},
		{Name: "tags", Kind: Texts, Use: Later},
		{Name: "tag_regex", Kind: Texts, Use: Later},
		{Name: "region_name", Kind: Text, Use: Guards, Doc: "requests are not kept within a region"},
		{Name: "max_file_size_mb", Kind: Amount, Use: Later},
		{Name: "merge_reasoning_content_in_choices", Kind: Bool, Use: Later},
		{Name: "keepalive_seconds", Kind: Amount, Use: Later},
	}
	keys = append(keys, rows(Used, Any, "default of the request; the client's value wins", requestParams)...)
	keys = append(keys, rows(Later, Int, "", "itpm otpm")...)
	keys = append(keys, rows(Later, Bool, "", "use_in_pass_through use_chat_completions_api use_litellm_proxy")...)
	keys = append(keys, rows(Later, Any, "", `azure_ad_token tenant_id client_id client_secret azure_scope azure_username azure_password
		base_model aws_access_key_id aws_secret_access_key aws_session_token aws_region_name aws_profile_name aws_role_name
		aws_session_name aws_web_identity_token aws_sts_endpoint aws_external_id aws_bedrock_runtime_endpoint model_id
		s3_bucket_name s3_region_name vertex_project vertex_location vertex_credentials gcs_bucket_name watsonx_region_name
		project_id space_id token auto_router_config_path auto_router_default_model auto_router_embedding_model`)...)
	return keys
}

// laterParam reports whether an unlisted parameter belongs to something that is
// not served yet: credentials of other clouds. Such are never sent to a
// provider.
func laterParam(name string) bool {
	for _, prefix := range []string{"aws_", "azure_", "vertex_", "watsonx_", "s3_", "gcs_", "auto_router_", "complexity_router_", "litellm_", "mock_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func infoKeys() []Key {
	return []Key{
		{Name: "id", Kind: Text, Default: "a digest of the deployment", Doc: "identity, in headers and metrics"},
		{Name: "mode", Kind: Text, Doc: "what it does: chat, completion, embedding, rerank, …; shown by `/v1/models`"},
		{Name: "base_model", Kind: Text, Doc: "the model whose prices and limits hold"},
		{Name: "access_groups", Kind: Texts, Doc: "names that stand for this model in lists of what a key may use"},
		{Name: "supported_environments", Kind: Texts, Doc: "served only where `LITELLM_ENVIRONMENT` is one of these"},
		{Name: "max_tokens", Kind: Int, Doc: "the same as `max_output_tokens`, which wins"},
		{Name: "max_input_tokens", Kind: Int, Doc: "longest prompt, shown by `/v1/models`; of a group, the longest of its deployments"},
		{Name: "max_output_tokens", Kind: Int, Doc: "longest answer, shown likewise"},
		{Name: "team_id", Kind: Text, Doc: "the team whose keys alone may use the deployment"},
		{Name: "team_public_model_name", Kind: Text, Use: Later},
		{Name: "blocked", Kind: Bool, Default: "false", Doc: "the deployment is not used"},
	}
}
