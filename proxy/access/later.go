package access

import "strings"

// Any method, and any path below one: how the routes of releases to come stand
// in the table.
const (
	AnyMethod = "*"
	AnyBelow  = "/*" // at the end of a path: the path itself too
)

// families are the routes of LiteLLM that a release to come will serve, by what
// their paths begin with.
var families = []struct{ sentence, paths string }{
	{
		"Provisioning over SCIM is not part of this release. Make users and teams with /user/new and /team/new.",
		"/scim",
	},
	{
		"Single sign-on and the login of the user interface are not part of this release. Call the API with a key.",
		"/sso /login /v2/login /v3/login /fallback/login /session /onboarding /authorize /callback /introspect /register /revoke /token",
	},
	{
		"The user interface and its settings are not part of this release.",
		"/ui /get /update /upload /model_hub /settings /user/filter /user/available_users /router/fields /email /.well-known/litellm-ui-config " +
			"/litellm /public /management /v2/organization /lens /moyai /claude-code /v1/skills /usage",
	},
	{
		"Guardrails are not part of this release.",
		"/guardrails /v2/guardrails /apply_guardrail /utils/test_policies_and_guardrails",
	},
	{"Policies are not part of this release.", "/policies /policy /compliance"},
	{"Prompt management is not part of this release.", "/prompts /utils/dotprompt_json_converter"},
	{
		"The MCP gateway is not part of this release.",
		"/mcp /v1/mcp /mcp-rest /toolset /v1/tool /.well-known/oauth-authorization-server /.well-known/oauth-protected-resource",
	},
	{
		"Vector stores are not part of this release.",
		"/vector_store /v1/vector_store /vector_stores /v1/vector_stores /v1/indexes /rag /v1/rag",
	},
	{"Agents are not part of this release.", "/v1/agents /v1beta/agents /agent /a2a /v1/a2a /v1/memory /v1/workflows"},
	{"Search tools are not part of this release.", "/search_tools /search /v1/search"},
	{
		"Pass-through routes are not part of this release; they can neither be listed nor configured.",
		"/config/pass_through_endpoint",
	},
	{
		"Callbacks are not part of this release; none can be listed or configured.",
		"/get/config/callbacks /config/callback /callbacks /active/callbacks /cloudzero /vantage /health/services",
	},
	{
		"The response cache is not part of this release; there is nothing to look at, to configure or to empty.",
		"/cache /coordination_redis",
	},
	{
		"This report of what was spent is not part of this release; /spend/logs, /global/spend and /user/daily/activity and what is like it are served.",
		"/global /spend /user/daily /team/daily /organization/daily /tag/daily /customer/daily /end_user/daily " +
			"/agent/daily /gateway/daily /tag/dau /tag/wau /tag/mau /tag/distinct /tag/summary /tag/user-agent /user_agent",
	},
	{
		"Settings of discount and margin cannot be changed by this API; set cost_discount_config and cost_margin_config in the configuration file.",
		"/config/cost_discount_config /config/cost_margin_config",
	},
	{
		"Of the reports of what calls would cost, /cost/estimate and /spend/calculate are served; the others are not part of this release.",
		"/cost /cost_optimization /config/block_requests_for_models_without_pricing",
	},
	{
		"Settings of secret managers are not part of this release; name secrets in the configuration file.",
		"/config_overrides /credentials/migrate-encryption",
	},
	{
		"Fallbacks and router settings cannot be changed by this API in this release; set them in the configuration file.",
		"/fallback /auto_router /adaptive_router /router",
	},
	{
		"The list of allowed addresses cannot be changed by this API; set allowed_ips in the configuration file.",
		"/add/allowed_ip /delete/allowed_ip",
	},
}

// laterRoutes are the routes of releases to come. They ask for a key like all
// others and do nothing.
func laterRoutes() []Route {
	var out []Route
	for _, f := range families {
		for _, p := range strings.Fields(f.paths) {
			out = append(out, Route{
				Method: AnyMethod, Path: p + AnyBelow, Tag: "later", Group: GroupManagement, Later: f.sentence, Hidden: true, NoDatabase: true,
			})
		}
	}
	return out
}
