package config

func litellmKeys() []Key {
	keys := []Key{
		{Name: "request_timeout", Kind: Seconds, Default: "600", Doc: "longest time of a call to a provider, unless the router or the deployment has a `timeout`; also `REQUEST_TIMEOUT` and `--request_timeout`"},
		{Name: "num_retries", Kind: Int, Doc: "further attempts; `router_settings` wins"},
		{Name: "set_verbose", Kind: Bool, Default: "false", Doc: "log more"},
		{Name: "json_logs", Kind: Bool, Default: "false", Doc: "log lines are JSON objects; also `JSON_LOGS`"},
		{Name: "drop_params", Kind: Bool, Default: "false", Doc: "leave out what a provider does not support; else such a request is refused"},
		{Name: "ssl_verify", Kind: Switch, Default: "true", Doc: "check certificates of providers; a path is a file of authorities; also `SSL_VERIFY`"},
		{Name: "ssl_certificate", Kind: Text, Doc: "file with the client's certificate and key; also `SSL_CERTIFICATE`"},
		{Name: "force_ipv4", Kind: Bool, Default: "false", Doc: "connect to providers over IPv4 only"},
		{Name: "model_alias_map", Kind: Map, Doc: "names that are rewritten before anything else looks at them"},
		{Name: "require_auth_for_metrics_endpoint", Kind: Bool, Default: "true", Doc: "`/metrics` of the proxy's port wants the master key"},
		{Name: "prometheus_latency_buckets", Kind: Numbers, Doc: "bounds of latency histograms, in seconds"},
		{Name: "default_key_generate_params", Kind: Map, Doc: "what `/key/generate` takes for fields that are not sent"},
		{Name: "upperbound_key_generate_params", Kind: Map, Doc: "bounds of `/key/generate` and `/key/update`: more is refused, what is not sent becomes the bound"},
		{Name: "default_internal_user_params", Kind: Map, Doc: "what `/user/new` takes for fields that are not sent"},
		{Name: "default_team_params", Kind: Map, Doc: "what `/team/new` takes for fields that are not sent"},
		{Name: "key_generation_settings", Kind: Map, Use: Guards, Doc: "who may make keys is decided by roles alone"},
		{Name: "callbacks", Kind: Texts, Use: Later},
		{Name: "success_callback", Kind: Texts, Use: Later},
		{Name: "failure_callback", Kind: Texts, Use: Later},
		{Name: "service_callbacks", Kind: Texts, Use: Later},
		{Name: "service_callback", Kind: Texts, Use: Later},
		{Name: "audit_log_callbacks", Kind: Texts, Use: Later},
		{Name: "cache", Kind: Bool, Use: Later},
		{Name: "cache_params", Kind: Map, Doc: "where `cache` is on and `type` is redis: how Redis is reached, see `cache_kwargs` of `router_settings`. Answers are not cached in this release"},
		{Name: "enable_redis_auth_cache", Kind: Bool, Use: Later},
		{Name: "allowed_fails", Kind: Int, Use: Later},
		{Name: "cooldown_time", Kind: Seconds, Use: Later},
		{Name: "fallbacks", Kind: List, Use: Later},
		{Name: "context_window_fallbacks", Kind: List, Use: Later},
		{Name: "content_policy_fallbacks", Kind: List, Use: Later},
		{Name: "default_fallbacks", Kind: Texts, Use: Later},
		{Name: "retry_policy", Kind: Map, Use: Later},
		{Name: "prompt_injection_params", Kind: Map, Use: Guards, Doc: "requests are not guarded"},
		{Name: "blocked_user_list", Kind: Any, Use: Guards, Doc: "nobody is blocked"},
		{Name: "banned_keywords_list", Kind: Any, Use: Guards, Doc: "nothing is refused"},
		{Name: "redact_messages_in_exceptions", Kind: Bool, Doc: "messages are never shown in errors", Default: "true"},
		{Name: "redact_user_api_key_info", Kind: Bool, Doc: "keys are never logged", Default: "true"},
		{Name: "timezone", Kind: Text, Doc: "zone of the calendar that the windows of budgets follow, as in Europe/Berlin", Default: "UTC"},
		{Name: "custom_provider_map", Kind: List, Use: Never, Doc: "foreign code never runs in this process"},
		{Name: "telemetry", Kind: Bool, Use: Later},
	}
	keys = append(keys, budgetKeys()...)
	keys = append(keys, rows(Later, Bool, "", `log_raw_request_response return_response_headers 
		allow_dynamic_callback_disabling forward_traceparent_to_llm_provider modify_params enable_preview_features
		enable_json_schema_validation disable_end_user_cost_tracking_prometheus_only
		enable_end_user_cost_tracking_prometheus_only enable_key_alias_format_validation
		store_audit_logs add_user_information_to_llm_headers enable_loadbalancing_on_batch_endpoints
		enable_model_config_credential_overrides enable_caching_on_provider_specific_optional_params skip_system_message_in_guardrail
		use_chat_completions_url_for_anthropic_messages route_all_chat_openai_to_responses reasoning_auto_summary
		prometheus_initialize_budget_metrics prometheus_emit_stream_label network_mock enable_azure_ad_token_refresh
		disable_add_transform_inline_image_block disable_hf_tokenizer_download check_provider_endpoint
		disable_token_counter suppress_debug_info disable_cooldowns`)...)
	keys = append(keys, rows(Later, Any, "", `langfuse_default_tags s3_callback_params aws_sqs_callback_params dynamodb_table_name
		datadog_llm_observability_params argilla_transformation_object langsmith_batch_size cold_storage_custom_logger
		ssl_security_level ssl_ecdh_curve 
		max_ui_session_budget default_team_settings priority_reservation
		priority_reservation_settings model_group_settings llm_guard_mode llamaguard_model_name google_moderation_confidence_threshold
		azure_content_safety_params prometheus_metrics_config custom_prometheus_metadata_labels custom_prometheus_tags mcp_aliases
		mcp_semantic_tool_filter logged_real_time_event_types vertex_ai_safety_settings default_in_memory_ttl default_redis_ttl
		default_redis_batch_cache_expiry ui_theme_config public_model_groups public_model_groups_links`)...)
	return keys
}

func generalKeys() []Key {
	keys := []Key{
		{Name: "master_key", Kind: Secret, Default: "`LITELLM_MASTER_KEY`", Doc: "key of the administrator; begins with `sk-`. Without one a key is made at the first start"},
		{Name: "allow_requests_on_db_unavailable", Kind: Bool, Default: "false", Doc: "start and serve while the database is away: keys that nobody knows yet are admitted to model calls then. Private networks only"},
		{Name: "always_include_stream_usage", Kind: Bool, Default: "false", Doc: "streams end with a chunk that holds the usage, asked for or not"},
		{Name: "max_request_size_mb", Kind: Megabyte, Doc: "larger requests are refused"},
		{Name: "max_response_size_mb", Kind: Megabyte, Doc: "larger answers of a provider are refused"},
		{Name: "litellm_key_header_name", Kind: Text, Default: "Authorization", Doc: "a further header that keys are read from"},
		{Name: "use_x_forwarded_for", Kind: Bool, Default: "true where `SLUICE_TRUSTED_PROXIES` or a listener names trusted proxies", Doc: "take the address of the client from X-Forwarded-For; believed of trusted proxies alone"},
		{Name: "forward_client_headers_to_llm_api", Kind: Bool, Default: "false", Doc: "pass the client's `x-*` and `anthropic-beta` headers on to providers; not those that carry a credential, that are meant for the gateway (`x-litellm-*`), or that proxies and SDKs add (`x-forwarded-*`, `x-real-ip`, `x-stainless-*`). A header of the deployment's own wins"},
		{Name: "forward_openai_org_id", Kind: Bool, Default: "false", Doc: "pass the client's OpenAI-Organization header on, in place of the deployment's"},
		{Name: "allow_client_side_credentials", Kind: Bool, Default: "false", Doc: "let every client send `api_key` and `api_base` (`base_url`) for every deployment; this machine's own addresses and those of cloud metadata are refused"},
		{Name: "dangerously_allow_mock_testing_request_params", Kind: Bool, Default: "false", Doc: "let administrators send `mock_response`, `mock_delay`, `mock_timeout` and `mock_testing_*` in requests; of others they are ignored"},
		{Name: "completion_model", Kind: Text, Doc: "the model of chat completions, whatever the client asks for"},
		{Name: "disable_prisma_schema_update", Kind: Bool, Use: Guards, Default: "false", Doc: "migrations run all the same; set `DISABLE_SCHEMA_UPDATE`"},
		{Name: "infer_model_from_keys", Kind: Bool, Default: "false", Doc: "also serve every provider whose key is in the environment, under its prefix"},
		{Name: "custom_auth", Kind: Text, Use: Never, Doc: "foreign code never runs in this process; keys are checked as usual"},
		{Name: "custom_key_generate", Kind: Text, Use: Never, Doc: "foreign code never runs in this process"},
		{Name: "custom_sso", Kind: Text, Use: Never, Doc: "foreign code never runs in this process"},
		{Name: "custom_ui_sso_sign_in_handler", Kind: Text, Use: Never, Doc: "foreign code never runs in this process"},
		{Name: "litellm_license", Kind: Secret, Use: Later},
		{Name: "enable_jwt_auth", Kind: Bool, Use: Guards, Doc: "keys alone are accepted"},
		{Name: "enable_oauth2_auth", Kind: Bool, Use: Guards, Doc: "keys alone are accepted"},
		{Name: "enable_oauth2_proxy_auth", Kind: Bool, Use: Guards, Doc: "keys alone are accepted"},
		{Name: "enforce_rbac", Kind: Bool, Use: Guards, Doc: "roles are not enforced"},
		{Name: "enforce_user_param", Kind: Bool, Use: Guards, Doc: "`user` may be absent"},
		{Name: "enforced_params", Kind: Texts, Use: Guards, Doc: "parameters may be absent"},
		{Name: "key_management_system", Kind: Text, Use: Guards, Doc: "secrets are read from the environment alone"},
		{Name: "ui_access_mode", Kind: Any, Use: Later},
	}
	keys = append(keys, databaseKeys()...)
	keys = append(keys, identityKeys()...)
	keys = append(keys, spendKeys()...)
	keys = append(keys, rows(Later, Bool, "", `use_redis_transaction_buffer
		store_prompts_in_cold_storage
		custom_auth_run_common_checks disable_retry_on_max_parallel_request_limit_error
		background_health_checks health_check_details use_shared_health_check enable_health_check_routing
		health_check_ignore_transient_errors forward_llm_provider_auth_headers use_client_credentials_pass_through_routes
		disable_responses_id_security
		use_azure_key_vault use_google_kms auto_redirect_ui_login_to_sso block_robots enable_mcp_registry
		require_end_user_mcp_access_defined`)...)
	keys = append(keys, rows(Later, Seconds, "", `
		proxy_batch_polling_interval alerting_threshold
		health_check_interval health_check_staleness_threshold`)...)
	keys = append(keys, rows(Later, Any, "", `
		alerting alert_types alerting_args
		alert_to_webhook_url alert_type_config spend_report_frequency custom_auth_settings litellm_jwtauth role_permissions
		oauth2_config_mappings user_header_name user_header_mappings service_account_settings health_check_concurrency
		pass_through_endpoints key_management_settings encryption_algorithm control_plane_url
		user_mcp_management_mode mcp_client_side_auth_header_name mcp_internal_ip_ranges mcp_trusted_proxy_ranges mcp_required_fields
		search_tools embedding_model image_generation_model moderation_model database_type otel proxy_config_reload_interval
		proxy_batch_polling_enabled`)...)
	return keys
}

func routerKeys() []Key {
	keys := []Key{
		{Name: "model_group_alias", Kind: Map, Doc: "further names of models, as `alias: name` or `alias: {model: name, hidden: true}`"},
		{Name: "num_retries", Kind: Int, Default: "2", Doc: "further attempts"},
		{Name: "retry_after", Kind: Seconds, Default: "0", Doc: "least wait before a deployment is tried again; another one is tried at once"},
		{Name: "timeout", Kind: Seconds, Default: "`request_timeout`", Doc: "longest time of a call"},
		{Name: "stream_timeout", Kind: Seconds, Default: "`timeout`", Doc: "longest time to the first event of a stream"},
		{Name: "default_litellm_params", Kind: Map, Doc: "parameters of every deployment that does not give them itself"},
		{
			Name: "routing_strategy", Kind: Text, Default: "simple-shuffle", Doc: "how a deployment is chosen; all but simple-shuffle are served as it",
			OneOf: []string{"simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing", "usage-based-routing-v2", "cost-based-routing", "provider-budget-routing"},
		},
		{Name: "ignore_invalid_deployments", Kind: Bool, Default: "errors of the file stop the start; an unknown provider or credential is left out", Doc: "true: a deployment that cannot be read is left out with a warning; false: what could be left out stops the start too"},
		{Name: "set_verbose", Kind: Bool, Use: Later},
		{Name: "debug_level", Kind: Text, Use: Later},
		{Name: "routing_strategy_args", Kind: Map, Use: Later},
		{Name: "retry_policy", Kind: Map, Use: Later},
		{Name: "model_group_retry_policy", Kind: Map, Use: Later},
		{Name: "allowed_fails", Kind: Int, Use: Later},
		{Name: "allowed_fails_policy", Kind: Map, Use: Later},
		{Name: "cooldown_time", Kind: Seconds, Use: Later},
		{Name: "disable_cooldowns", Kind: Bool, Use: Later},
		{Name: "fallbacks", Kind: List, Use: Later},
		{Name: "context_window_fallbacks", Kind: List, Use: Later},
		{Name: "content_policy_fallbacks", Kind: List, Use: Later},
		{Name: "default_fallbacks", Kind: Texts, Use: Later},
		{Name: "max_fallbacks", Kind: Int, Use: Later},
		{Name: "provider_budget_config", Kind: Map, Doc: "budgets of providers, as `openai: {budget_limit: dollars, time_period: 1d}`"},
		{Name: "optional_pre_call_checks", Kind: Texts, Doc: "of these `enforce_model_rate_limits` has an effect: `rpm` and `tpm` of a deployment are limits then, beside being weights"},
		{Name: "default_max_parallel_requests", Kind: Int, Default: "that of `general_settings`", Doc: "calls at once of each deployment that has no `max_parallel_requests` itself"},
		{Name: "enable_tag_filtering", Kind: Bool, Use: Guards, Doc: "tags do not choose deployments"},
	}
	keys = append(keys, redisKeys()...)
	keys = append(keys, rows(Later, Bool, "", `enable_pre_call_checks enable_pre_call_check tag_filtering_match_any cache_responses
		enable_health_check_routing health_check_ignore_transient_errors`)...)
	keys = append(keys, rows(Later, Any, "", `deployment_affinity_ttl_seconds model_group_affinity_config
		default_priority polling_interval caching_groups client_ttl search_tools guardrail_list
		assistants_config alerting_config router_general_settings health_check_interval health_check_staleness_threshold
		health_check_timeout`)...)
	return keys
}
