package provider

// Renames that many vendors share.
var (
	toMaxTokens      = []pair{{"max_completion_tokens", "max_tokens"}}
	toMaxCompletion  = []pair{{"max_tokens", "max_completion_tokens"}}
	reasoningOpenAI  = []quirk{{models: []string{"o1", "o3", "o4", "gpt-5"}, rename: toMaxCompletion}}
	reasoningGitHub  = []quirk{{models: []string{"o1", "o3", "o4", "gpt-5", "openai/o", "openai/gpt-5"}, rename: toMaxCompletion}}
	openRouterTitles = []envLine{{"HTTP-Referer", "OR_SITE_URL"}, {"X-Title", "OR_APP_NAME"}}
)

// vendors are the providers that speak OpenAI's format. One row each.
var vendors = []openai{
	{
		name: "openai", base: "https://api.openai.com/v1", bases: []string{"OPENAI_BASE_URL", "OPENAI_API_BASE"},
		keys: []string{"OPENAI_API_KEY"}, byModel: reasoningOpenAI, sendWith: []envLine{{"OpenAI-Organization", "OPENAI_ORGANIZATION"}},
	},
	{name: "custom_openai", bases: []string{"CUSTOM_OPENAI_API_BASE"}, keys: []string{"CUSTOM_OPENAI_API_KEY"}, keyless: true},
	{name: "openai_like", bases: []string{"OPENAI_LIKE_API_BASE"}, keys: []string{"OPENAI_LIKE_API_KEY"}, keyless: true},
	{
		name: "azure_ai", bases: []string{"AZURE_AI_API_BASE"}, keys: []string{"AZURE_AI_API_KEY"}, header: "api-key",
		path: "/models/chat/completions", rename: toMaxTokens,
	},
	{
		name: "mistral", base: "https://api.mistral.ai/v1", bases: []string{"MISTRAL_API_BASE"}, keys: []string{"MISTRAL_API_KEY"},
		rename: []pair{{"max_completion_tokens", "max_tokens"}, {"seed", "random_seed"}},
		drop:   []string{"logit_bias", "logprobs", "top_logprobs", "user", "service_tier", "store"}, noUsage: true,
	},
	{
		name: "groq", base: "https://api.groq.com/openai/v1", bases: []string{"GROQ_API_BASE"}, keys: []string{"GROQ_API_KEY"},
		rename: toMaxTokens, drop: []string{"logit_bias", "logprobs", "top_logprobs"},
	},
	{
		name: "deepseek", base: "https://api.deepseek.com/beta", bases: []string{"DEEPSEEK_API_BASE"}, keys: []string{"DEEPSEEK_API_KEY"},
		rename: toMaxTokens,
	},
	{
		name: "xai", base: "https://api.x.ai/v1", bases: []string{"XAI_API_BASE"}, keys: []string{"XAI_API_KEY"},
		rename: toMaxTokens, drop: []string{"logit_bias"},
	},
	{
		name: "together_ai", base: "https://api.together.xyz/v1", bases: []string{"TOGETHERAI_API_BASE"}, rename: toMaxTokens,
		keys: []string{"TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"},
	},
	{
		name: "fireworks_ai", base: "https://api.fireworks.ai/inference/v1", bases: []string{"FIREWORKS_API_BASE"}, rename: toMaxTokens,
		keys:   []string{"FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"},
		prefix: "accounts/fireworks/models/",
	},
	{
		name: "openrouter", base: "https://openrouter.ai/api/v1", bases: []string{"OPENROUTER_API_BASE"},
		keys: []string{"OPENROUTER_API_KEY", "OR_API_KEY"}, sendWith: openRouterTitles,
	},
	{
		name: "perplexity", base: "https://api.perplexity.ai", bases: []string{"PERPLEXITY_API_BASE"}, noUsage: true,
		keys: []string{"PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"}, rename: toMaxTokens,
	},
	{name: "deepinfra", base: "https://api.deepinfra.com/v1/openai", bases: []string{"DEEPINFRA_API_BASE"}, keys: []string{"DEEPINFRA_API_KEY"}, rename: toMaxTokens},
	{name: "anyscale", base: "https://api.endpoints.anyscale.com/v1", bases: []string{"ANYSCALE_API_BASE"}, keys: []string{"ANYSCALE_API_KEY"}, rename: toMaxTokens},
	{name: "cerebras", base: "https://api.cerebras.ai/v1", bases: []string{"CEREBRAS_API_BASE"}, keys: []string{"CEREBRAS_API_KEY"}, rename: toMaxTokens},
	{name: "sambanova", base: "https://api.sambanova.ai/v1", bases: []string{"SAMBANOVA_API_BASE"}, keys: []string{"SAMBANOVA_API_KEY"}, rename: toMaxTokens},
	{name: "nvidia_nim", base: "https://integrate.api.nvidia.com/v1", bases: []string{"NVIDIA_NIM_API_BASE"}, keys: []string{"NVIDIA_NIM_API_KEY"}, rename: toMaxTokens},
	{name: "hosted_vllm", bases: []string{"HOSTED_VLLM_API_BASE"}, keys: []string{"HOSTED_VLLM_API_KEY"}, keyless: true},
	{name: "lm_studio", bases: []string{"LM_STUDIO_API_BASE"}, keys: []string{"LM_STUDIO_API_KEY"}, keyless: true, rename: toMaxTokens},
	{name: "llamafile", base: "http://127.0.0.1:8080/v1", bases: []string{"LLAMAFILE_API_BASE"}, keyless: true, rename: toMaxTokens},
	{name: "xinference", base: "http://127.0.0.1:9997/v1", bases: []string{"XINFERENCE_API_BASE"}, keys: []string{"XINFERENCE_API_KEY"}, keyless: true, rename: toMaxTokens},
	{name: "docker_model_runner", bases: []string{"DOCKER_MODEL_RUNNER_API_BASE"}, keys: []string{"DOCKER_MODEL_RUNNER_API_KEY"}, keyless: true, rename: toMaxTokens},
	{name: "lemonade", bases: []string{"LEMONADE_API_BASE"}, keyless: true, rename: toMaxTokens},
	{name: "litellm_proxy", bases: []string{"LITELLM_PROXY_API_BASE"}, keys: []string{"LITELLM_PROXY_API_KEY"}, keyless: true},
	{
		name: "github", base: "https://models.inference.ai.azure.com", bases: []string{"GITHUB_API_BASE"}, keys: []string{"GITHUB_API_KEY"},
		byModel: reasoningGitHub,
	},
	{name: "meta_llama", base: "https://api.llama.com/compat/v1", bases: []string{"LLAMA_API_BASE"}, keys: []string{"LLAMA_API_KEY"}},
	{name: "ai21", base: "https://api.ai21.com/studio/v1", bases: []string{"AI21_API_BASE"}, keys: []string{"AI21_API_KEY"}, rename: toMaxTokens},
	{name: "ai21_chat", base: "https://api.ai21.com/studio/v1", bases: []string{"AI21_API_BASE"}, keys: []string{"AI21_API_KEY"}, rename: toMaxTokens},
	{name: "volcengine", base: "https://ark.cn-beijing.volces.com/api/v3", bases: []string{"VOLCENGINE_API_BASE"}, keys: []string{"VOLCENGINE_API_KEY", "ARK_API_KEY"}, rename: toMaxTokens},
	{name: "dashscope", base: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", bases: []string{"DASHSCOPE_API_BASE"}, keys: []string{"DASHSCOPE_API_KEY"}, rename: toMaxTokens},
	{name: "moonshot", base: "https://api.moonshot.ai/v1", bases: []string{"MOONSHOT_API_BASE"}, keys: []string{"MOONSHOT_API_KEY"}, rename: toMaxTokens},
	{name: "minimax", base: "https://api.minimax.io/v1", bases: []string{"MINIMAX_API_BASE"}, keys: []string{"MINIMAX_API_KEY"}, rename: toMaxTokens},
	{name: "zai", base: "https://api.z.ai/api/paas/v4", bases: []string{"ZAI_API_BASE"}, keys: []string{"ZAI_API_KEY"}, rename: toMaxTokens},
	{name: "novita", base: "https://api.novita.ai/v3/openai", bases: []string{"NOVITA_API_BASE"}, keys: []string{"NOVITA_API_KEY"}, rename: toMaxTokens},
	{name: "nebius", base: "https://api.studio.nebius.ai/v1", bases: []string{"NEBIUS_API_BASE"}, keys: []string{"NEBIUS_API_KEY"}, rename: toMaxTokens},
	{name: "nscale", base: "https://inference.api.nscale.com/v1", bases: []string{"NSCALE_API_BASE"}, keys: []string{"NSCALE_API_KEY"}, rename: toMaxTokens},
	{name: "featherless_ai", base: "https://api.featherless.ai/v1", bases: []string{"FEATHERLESS_API_BASE"}, keys: []string{"FEATHERLESS_AI_API_KEY"}, rename: toMaxTokens},
	{name: "friendliai", base: "https://api.friendli.ai/serverless/v1", bases: []string{"FRIENDLI_API_BASE"}, keys: []string{"FRIENDLI_TOKEN", "FRIENDLIAI_API_KEY"}, rename: toMaxTokens},
	{name: "galadriel", base: "https://api.galadriel.com/v1", bases: []string{"GALADRIEL_API_BASE"}, keys: []string{"GALADRIEL_API_KEY"}, rename: toMaxTokens},
	{name: "hyperbolic", base: "https://api.hyperbolic.xyz/v1", bases: []string{"HYPERBOLIC_API_BASE"}, keys: []string{"HYPERBOLIC_API_KEY"}, rename: toMaxTokens},
	{name: "lambda_ai", base: "https://api.lambda.ai/v1", bases: []string{"LAMBDA_API_BASE"}, keys: []string{"LAMBDA_API_KEY"}, rename: toMaxTokens},
	{name: "v0", base: "https://api.v0.dev/v1", bases: []string{"V0_API_BASE"}, keys: []string{"V0_API_KEY"}, rename: toMaxTokens},
	{name: "morph", base: "https://api.morphllm.com/v1", bases: []string{"MORPH_API_BASE"}, keys: []string{"MORPH_API_KEY"}, rename: toMaxTokens},
	{name: "vercel_ai_gateway", base: "https://ai-gateway.vercel.sh/v1", bases: []string{"VERCEL_AI_GATEWAY_API_BASE"}, keys: []string{"VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"}, rename: toMaxTokens},
	{name: "wandb", base: "https://api.inference.wandb.ai/v1", bases: []string{"WANDB_API_BASE"}, keys: []string{"WANDB_API_KEY"}, rename: toMaxTokens},
	{name: "baseten", base: "https://inference.baseten.co/v1", bases: []string{"BASETEN_API_BASE"}, keys: []string{"BASETEN_API_KEY"}, rename: toMaxTokens},
	{name: "aiml", base: "https://api.aimlapi.com/v2", bases: []string{"AIML_API_BASE"}, keys: []string{"AIML_API_KEY"}, rename: toMaxTokens},
	{name: "cometapi", base: "https://api.cometapi.com/v1", bases: []string{"COMETAPI_BASE_URL", "COMETAPI_API_BASE"}, keys: []string{"COMETAPI_KEY"}, rename: toMaxTokens},
	{name: "ovhcloud", base: "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", bases: []string{"OVHCLOUD_API_BASE"}, keys: []string{"OVHCLOUD_API_KEY"}, rename: toMaxTokens},
	{name: "clarifai", base: "https://api.clarifai.com/v2/ext/openai/v1", bases: []string{"CLARIFAI_API_BASE"}, keys: []string{"CLARIFAI_API_KEY"}, rename: toMaxTokens},
	{name: "compactifai", base: "https://api.compactif.ai/v1", bases: []string{"COMPACTIFAI_API_BASE"}, keys: []string{"COMPACTIFAI_API_KEY"}, rename: toMaxTokens},
	{name: "empower", base: "https://app.empower.dev/api/v1", bases: []string{"EMPOWER_API_BASE"}, keys: []string{"EMPOWER_API_KEY"}, rename: toMaxTokens},
	{name: "gradient_ai", base: "https://inference.do-ai.run/v1", bases: []string{"GRADIENT_AI_AGENT_ENDPOINT", "GRADIENT_AI_API_BASE"}, keys: []string{"GRADIENT_AI_API_KEY"}, rename: toMaxTokens},
	{name: "heroku", base: "https://us.inference.heroku.com", bases: []string{"HEROKU_API_BASE"}, keys: []string{"HEROKU_API_KEY"}, path: "/v1/chat/completions", rename: toMaxTokens},
	{name: "amazon_nova", base: "https://api.nova.amazon.com/v1", bases: []string{"AMAZON_NOVA_API_BASE"}, keys: []string{"AMAZON_NOVA_API_KEY"}, rename: toMaxTokens},
	{name: "bedrock_mantle", base: "https://bedrock-mantle.{region}.api.aws/v1", bases: []string{"BEDROCK_MANTLE_API_BASE"}, keys: []string{"BEDROCK_MANTLE_API_KEY"}},
	{name: "datarobot", bases: []string{"DATAROBOT_API_BASE", "DATAROBOT_ENDPOINT"}, keys: []string{"DATAROBOT_API_KEY"}, rename: toMaxTokens},
	{name: "ragflow", bases: []string{"RAGFLOW_API_BASE"}, keys: []string{"RAGFLOW_API_KEY"}, rename: toMaxTokens},
	{name: "publicai", base: "https://api.publicai.co/v1", bases: []string{"PUBLICAI_API_BASE"}, keys: []string{"PUBLICAI_API_KEY"}, rename: toMaxTokens},
	{name: "helicone", base: "https://ai-gateway.helicone.ai", bases: []string{"HELICONE_API_BASE"}, keys: []string{"HELICONE_API_KEY"}, rename: toMaxTokens},
	{name: "veniceai", base: "https://api.venice.ai/api/v1", bases: []string{"VENICE_AI_API_BASE"}, keys: []string{"VENICE_AI_API_KEY"}, rename: toMaxTokens},
	{name: "xiaomi_mimo", base: "https://api.xiaomimimo.com/v1", bases: []string{"XIAOMI_MIMO_API_BASE"}, keys: []string{"XIAOMI_MIMO_API_KEY"}},
	{name: "scaleway", base: "https://api.scaleway.ai/v1", bases: []string{"SCALEWAY_API_BASE"}, keys: []string{"SCW_SECRET_KEY"}, rename: toMaxTokens},
	{name: "synthetic", base: "https://api.synthetic.new/openai/v1", bases: []string{"SYNTHETIC_API_BASE"}, keys: []string{"SYNTHETIC_API_KEY"}, rename: toMaxTokens},
	{name: "apertis", base: "https://api.stima.tech/v1", bases: []string{"STIMA_API_BASE"}, keys: []string{"STIMA_API_KEY"}, rename: toMaxTokens},
	{name: "nano-gpt", base: "https://nano-gpt.com/api/v1", bases: []string{"NANOGPT_API_BASE"}, keys: []string{"NANOGPT_API_KEY"}, rename: toMaxTokens},
	{name: "poe", base: "https://api.poe.com/v1", bases: []string{"POE_API_BASE"}, keys: []string{"POE_API_KEY"}, rename: toMaxTokens},
	{name: "chutes", base: "https://llm.chutes.ai/v1", bases: []string{"CHUTES_API_BASE"}, keys: []string{"CHUTES_API_KEY"}, rename: toMaxTokens},
	{name: "abliteration", base: "https://api.abliteration.ai/v1", bases: []string{"ABLITERATION_API_BASE"}, keys: []string{"ABLITERATION_API_KEY"}, rename: toMaxTokens},
	{name: "llamagate", base: "https://api.llamagate.dev/v1", bases: []string{"LLAMAGATE_API_BASE"}, keys: []string{"LLAMAGATE_API_KEY"}, rename: toMaxTokens},
	{name: "gmi", base: "https://api.gmi-serving.com/v1", bases: []string{"GMI_API_BASE"}, keys: []string{"GMI_API_KEY"}, rename: toMaxTokens},
	{name: "sarvam", base: "https://api.sarvam.ai/v1", bases: []string{"SARVAM_API_BASE"}, keys: []string{"SARVAM_API_KEY"}, header: "api-subscription-key", rename: toMaxTokens},
	{name: "assemblyai", base: "https://llm-gateway.assemblyai.com/v1", bases: []string{"ASSEMBLYAI_API_BASE"}, keys: []string{"ASSEMBLYAI_API_KEY"}, rename: toMaxTokens},
	{name: "aihubmix", base: "https://aihubmix.com/v1", bases: []string{"AIHUBMIX_API_BASE"}, keys: []string{"AIHUBMIX_API_KEY"}},
	{name: "salad_cloud", base: "https://ai.salad.cloud/v1", bases: []string{"SALAD_CLOUD_API_BASE"}, keys: []string{"SALAD_CLOUD_API_KEY"}, rename: toMaxTokens},
	{name: "crusoe", base: "https://managed-inference-api-proxy.crusoecloud.com/v1", bases: []string{"CRUSOE_API_BASE"}, keys: []string{"CRUSOE_API_KEY"}, rename: toMaxTokens},
}
