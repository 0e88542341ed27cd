package dialect

import "sluice/proxy/llm"

// extra says what the gateway does with a field of its own in a body.
type extra uint8

const (
	extraConsumed      extra = iota // taken out, without effect on the call
	extraTimeout                    // seconds
	extraStreamTimeout              // seconds to the first event
	extraRetries
	extraMock
	extraMockDelay
	extraMockTimeout
	extraMockFail // the gateway fails in the way that the name says
	extraDrop     // leave out what the provider does not support
	extraAllow
	extraDropAlso
	extraCredential // the client's own credential or address: refused unless allowed
)

// extras are the fields of a chat request that are meant for the gateway and
// never forwarded (LiteLLM's names).
var extras = map[string]extra{
	"metadata": extraConsumed, "litellm_metadata": extraConsumed, "tags": extraConsumed, "cache": extraConsumed,
	"guardrails": extraConsumed, "fallbacks": extraConsumed, "context_window_fallbacks": extraConsumed,
	"content_policy_fallbacks": extraConsumed, "disable_fallbacks": extraConsumed, "drop_params": extraDrop,
	"allowed_openai_params": extraAllow, "additional_drop_params": extraDropAlso, "priority": extraConsumed,
	"no-log": extraConsumed, "litellm_request_debug": extraConsumed, "litellm_session_id": extraConsumed,
	"litellm_trace_id": extraConsumed, "litellm_call_id": extraConsumed, "vector_store_ids": extraConsumed,
	"prompt_id": extraConsumed, "prompt_variables": extraConsumed, "prompt_version": extraConsumed,
	"secret_fields": extraConsumed, "proxy_server_request": extraConsumed, "fastest_response": extraConsumed,
	"mock_response": extraMock, "mock_timeout": extraMockTimeout, "mock_delay": extraMockDelay,
	"mock_testing_fallbacks": extraMockFail, "mock_testing_context_fallbacks": extraMockFail,
	"mock_testing_context_window_fallbacks": extraMockFail, "mock_testing_content_policy_fallbacks": extraMockFail,
	"mock_testing_rate_limit_error": extraMockFail,

	"timeout": extraTimeout, "request_timeout": extraTimeout, "stream_timeout": extraStreamTimeout,
	"num_retries": extraRetries, "max_retries": extraRetries,

	"api_key": extraCredential, "api_base": extraCredential, "base_url": extraCredential, "user_config": extraCredential,
}

// mockKinds are the failures that a client may ask for.
var mockKinds = map[string]llm.Kind{
	"mock_testing_fallbacks": llm.KindUpstream, "mock_testing_context_fallbacks": llm.KindContextWindow,
	"mock_testing_context_window_fallbacks": llm.KindContextWindow, "mock_testing_content_policy_fallbacks": llm.KindContentPolicy,
	"mock_testing_rate_limit_error": llm.KindRateLimit,
}

// Whole families of names that are the gateway's too.
var (
	reserved = []byte("user_api_key")
	mocking  = []byte("mock_testing_")
)
