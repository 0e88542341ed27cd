-- Tables of LiteLLM that are read here, with their columns.
CREATE TABLE "LiteLLM_VerificationToken" (
    token TEXT NOT NULL, key_name TEXT, key_alias TEXT, soft_budget_cooldown BOOLEAN DEFAULT false NOT NULL,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, expires TIMESTAMP(3), models TEXT[], aliases JSONB DEFAULT '{}' NOT NULL,
    config JSONB DEFAULT '{}' NOT NULL, user_id TEXT, team_id TEXT, permissions JSONB DEFAULT '{}' NOT NULL,
    max_parallel_requests INTEGER, metadata JSONB DEFAULT '{}' NOT NULL, blocked BOOLEAN, tpm_limit BIGINT, rpm_limit BIGINT,
    max_budget DOUBLE PRECISION, budget_duration TEXT, budget_reset_at TIMESTAMP(3), allowed_cache_controls TEXT[] DEFAULT '{}',
    model_spend JSONB DEFAULT '{}' NOT NULL, model_max_budget JSONB DEFAULT '{}' NOT NULL, budget_id TEXT, organization_id TEXT,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP, created_by TEXT, updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP,
    updated_by TEXT, allowed_routes TEXT[] DEFAULT '{}', object_permission_id TEXT, auto_rotate BOOLEAN DEFAULT false,
    key_rotation_at TIMESTAMP(3), last_rotation_at TIMESTAMP(3), rotation_count INTEGER DEFAULT 0, rotation_interval TEXT,
    project_id TEXT, router_settings JSONB DEFAULT '{}', policies TEXT[] DEFAULT '{}', access_group_ids TEXT[] DEFAULT '{}',
    last_active TIMESTAMP(3), agent_id TEXT, budget_limits JSONB, budget_fallbacks JSONB DEFAULT '{}' NOT NULL, key_type TEXT,
    settings_updated_at TIMESTAMP(3), tpd_limit BIGINT, total_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, PRIMARY KEY (token)
);
CREATE TABLE "LiteLLM_DeprecatedVerificationToken" (
    id TEXT NOT NULL, token TEXT NOT NULL, active_token_id TEXT NOT NULL, revoke_at TIMESTAMP(3) NOT NULL,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_UserTable" (
    user_id TEXT NOT NULL, user_alias TEXT, team_id TEXT, sso_user_id TEXT, organization_id TEXT, password TEXT,
    teams TEXT[] DEFAULT '{}', user_role TEXT, max_budget DOUBLE PRECISION, spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    user_email TEXT, models TEXT[], metadata JSONB DEFAULT '{}' NOT NULL, max_parallel_requests INTEGER, tpm_limit BIGINT,
    rpm_limit BIGINT, budget_duration TEXT, budget_reset_at TIMESTAMP(3), allowed_cache_controls TEXT[] DEFAULT '{}',
    model_spend JSONB DEFAULT '{}' NOT NULL, model_max_budget JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP, object_permission_id TEXT,
    policies TEXT[] DEFAULT '{}', password_reset_required BOOLEAN, last_breach_check_at TIMESTAMP(3), PRIMARY KEY (user_id)
);
CREATE TABLE "LiteLLM_TeamTable" (
    team_id TEXT NOT NULL, team_alias TEXT, organization_id TEXT, admins TEXT[], members TEXT[],
    members_with_roles JSONB DEFAULT '{}' NOT NULL, metadata JSONB DEFAULT '{}' NOT NULL, max_budget DOUBLE PRECISION,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, models TEXT[], max_parallel_requests INTEGER, tpm_limit BIGINT, rpm_limit BIGINT,
    budget_duration TEXT, budget_reset_at TIMESTAMP(3), blocked BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL,
    model_spend JSONB DEFAULT '{}' NOT NULL, model_max_budget JSONB DEFAULT '{}' NOT NULL, model_id INTEGER,
    team_member_permissions TEXT[] DEFAULT '{}', object_permission_id TEXT, router_settings JSONB DEFAULT '{}',
    policies TEXT[] DEFAULT '{}', allow_team_guardrail_config BOOLEAN DEFAULT false NOT NULL, soft_budget DOUBLE PRECISION,
    access_group_ids TEXT[] DEFAULT '{}', budget_limits JSONB, default_team_member_models TEXT[] DEFAULT '{}', tpd_limit BIGINT,
    PRIMARY KEY (team_id)
);
CREATE TABLE "LiteLLM_ModelTable" (
    id INTEGER NOT NULL, aliases JSONB, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_TeamMembership" (
    user_id TEXT NOT NULL, team_id TEXT NOT NULL, spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, budget_id TEXT,
    total_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, PRIMARY KEY (user_id, team_id)
);
CREATE TABLE "LiteLLM_OrganizationTable" (
    organization_id TEXT NOT NULL, organization_alias TEXT NOT NULL, budget_id TEXT NOT NULL, metadata JSONB DEFAULT '{}' NOT NULL,
    models TEXT[], spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, model_spend JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT NOT NULL, object_permission_id TEXT,
    PRIMARY KEY (organization_id)
);
CREATE TABLE "LiteLLM_OrganizationMembership" (
    user_id TEXT NOT NULL, organization_id TEXT NOT NULL, user_role TEXT, spend DOUBLE PRECISION DEFAULT 0.0, budget_id TEXT,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (user_id, organization_id)
);
CREATE TABLE "LiteLLM_ProjectTable" (
    project_id TEXT NOT NULL, project_alias TEXT, team_id TEXT, budget_id TEXT, metadata JSONB DEFAULT '{}' NOT NULL, models TEXT[],
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, model_spend JSONB DEFAULT '{}' NOT NULL, blocked BOOLEAN DEFAULT false NOT NULL,
    object_permission_id TEXT, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT NOT NULL, description TEXT,
    model_rpm_limit JSONB DEFAULT '{}' NOT NULL, model_tpm_limit JSONB DEFAULT '{}' NOT NULL, PRIMARY KEY (project_id)
);
CREATE TABLE "LiteLLM_EndUserTable" (
    user_id TEXT NOT NULL, alias TEXT, spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, allowed_model_region TEXT, default_model TEXT,
    budget_id TEXT, blocked BOOLEAN DEFAULT false NOT NULL, object_permission_id TEXT, models TEXT[] DEFAULT '{}',
    PRIMARY KEY (user_id)
);
CREATE TABLE "LiteLLM_BudgetTable" (
    budget_id TEXT NOT NULL, max_budget DOUBLE PRECISION, soft_budget DOUBLE PRECISION, max_parallel_requests INTEGER,
    tpm_limit BIGINT, rpm_limit BIGINT, model_max_budget JSONB, budget_duration TEXT, budget_reset_at TIMESTAMP(3),
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT NOT NULL, allowed_models TEXT[] DEFAULT '{}',
    tpd_limit BIGINT, temp_budget_increase DOUBLE PRECISION, temp_budget_expiry TIMESTAMP(3), PRIMARY KEY (budget_id)
);
CREATE TABLE "LiteLLM_BudgetWindowSpend" (
    entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, window_duration TEXT NOT NULL, window_start TIMESTAMP(3) NOT NULL,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP(3) NOT NULL, PRIMARY KEY (entity_type, entity_id, window_duration)
);
CREATE TABLE "LiteLLM_TagTable" (
    tag_name TEXT NOT NULL, description TEXT, models TEXT[], model_info JSONB, spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    budget_id TEXT, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, PRIMARY KEY (tag_name)
);
CREATE TABLE "LiteLLM_AccessGroupTable" (
    access_group_id TEXT NOT NULL, access_group_name TEXT NOT NULL, description TEXT, access_mcp_server_ids TEXT[] DEFAULT '{}',
    access_agent_ids TEXT[] DEFAULT '{}', assigned_team_ids TEXT[] DEFAULT '{}', assigned_key_ids TEXT[] DEFAULT '{}',
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT, access_model_names TEXT[] DEFAULT '{}',
    PRIMARY KEY (access_group_id)
);
CREATE TABLE "LiteLLM_ModelAccessGroupBudgetTable" (
    access_group_name TEXT NOT NULL, spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, budget_id TEXT,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT, PRIMARY KEY (access_group_name)
);
CREATE TABLE "LiteLLM_ObjectPermissionTable" (
    object_permission_id TEXT NOT NULL, mcp_servers TEXT[] DEFAULT '{}', vector_stores TEXT[] DEFAULT '{}',
    mcp_access_groups TEXT[] DEFAULT '{}', mcp_tool_permissions JSONB, agents TEXT[] DEFAULT '{}',
    agent_access_groups TEXT[] DEFAULT '{}', blocked_tools TEXT[] DEFAULT '{}', models TEXT[] DEFAULT '{}',
    mcp_toolsets TEXT[] DEFAULT '{}', search_tools TEXT[] DEFAULT '{}', mcp_tool_search_enabled BOOLEAN, skills TEXT[] DEFAULT '{}',
    PRIMARY KEY (object_permission_id)
);
CREATE TABLE "LiteLLM_ProxyModelTable" (
    model_id TEXT NOT NULL, model_name TEXT NOT NULL, litellm_params JSONB NOT NULL, model_info JSONB,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT NOT NULL, blocked BOOLEAN DEFAULT false NOT NULL,
    PRIMARY KEY (model_id)
);
CREATE TABLE "LiteLLM_CredentialsTable" (
    credential_id TEXT NOT NULL, credential_name TEXT NOT NULL, credential_values JSONB NOT NULL, credential_info JSONB,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT NOT NULL, display_name TEXT,
    PRIMARY KEY (credential_id)
);
CREATE TABLE "LiteLLM_Config" (
    param_name TEXT NOT NULL, param_value JSONB, last_run_at TIMESTAMP(3), reload_revision BIGINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (param_name)
);
CREATE TABLE "LiteLLM_JWTKeyMapping" (
    id TEXT NOT NULL, jwt_claim_name TEXT NOT NULL, jwt_claim_value TEXT NOT NULL, token TEXT NOT NULL, description TEXT,
    is_active BOOLEAN DEFAULT true NOT NULL, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, created_by TEXT,
    updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_by TEXT, jwt_issuer TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_InvitationLink" (
    id TEXT NOT NULL, user_id TEXT NOT NULL, is_accepted BOOLEAN DEFAULT false NOT NULL, accepted_at TIMESTAMP(3),
    expires_at TIMESTAMP(3) NOT NULL, created_at TIMESTAMP(3) NOT NULL, created_by TEXT NOT NULL, updated_at TIMESTAMP(3) NOT NULL,
    updated_by TEXT NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_SpendLogs" (
    request_id TEXT NOT NULL, call_type TEXT NOT NULL, api_key TEXT DEFAULT '' NOT NULL,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, total_tokens INTEGER DEFAULT 0 NOT NULL, prompt_tokens INTEGER DEFAULT 0 NOT NULL,
    completion_tokens INTEGER DEFAULT 0 NOT NULL, "startTime" TIMESTAMP(3) NOT NULL, "endTime" TIMESTAMP(3) NOT NULL,
    "completionStartTime" TIMESTAMP(3), model TEXT DEFAULT '' NOT NULL, model_id TEXT DEFAULT '', model_group TEXT DEFAULT '',
    custom_llm_provider TEXT DEFAULT '', api_base TEXT DEFAULT '', "user" TEXT DEFAULT '', metadata JSONB DEFAULT '{}',
    cache_hit TEXT DEFAULT '', cache_key TEXT DEFAULT '', request_tags JSONB DEFAULT '[]', team_id TEXT, end_user TEXT,
    requester_ip_address TEXT, messages JSONB DEFAULT '{}', response JSONB DEFAULT '{}', proxy_server_request JSONB DEFAULT '{}',
    session_id TEXT, status TEXT, mcp_namespaced_tool_name TEXT, organization_id TEXT, agent_id TEXT, request_duration_ms INTEGER,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL,
    litellm_call_id TEXT, billing_agent_id TEXT, PRIMARY KEY (request_id)
);
CREATE TABLE "LiteLLM_DailyUserSpend" (
    id TEXT NOT NULL, user_id TEXT, date TEXT NOT NULL, api_key TEXT NOT NULL, model TEXT, model_group TEXT,
    custom_llm_provider TEXT, prompt_tokens BIGINT DEFAULT 0 NOT NULL, completion_tokens BIGINT DEFAULT 0 NOT NULL,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP(3) NOT NULL, api_requests BIGINT DEFAULT 0 NOT NULL, failed_requests BIGINT DEFAULT 0 NOT NULL,
    successful_requests BIGINT DEFAULT 0 NOT NULL, cache_creation_input_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_read_input_tokens BIGINT DEFAULT 0 NOT NULL, mcp_namespaced_tool_name TEXT, endpoint TEXT,
    compression_saved_tokens BIGINT DEFAULT 0 NOT NULL, compression_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    prompt_caching_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    autorouter_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    gateway_injected_caching_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, total_response_time_ms BIGINT DEFAULT 0 NOT NULL,
    timed_requests BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_DailyTagSpend" (
    id TEXT NOT NULL, tag TEXT, date TEXT NOT NULL, api_key TEXT NOT NULL, model TEXT, model_group TEXT, custom_llm_provider TEXT,
    prompt_tokens BIGINT DEFAULT 0 NOT NULL, completion_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_read_input_tokens BIGINT DEFAULT 0 NOT NULL, cache_creation_input_tokens BIGINT DEFAULT 0 NOT NULL,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, api_requests BIGINT DEFAULT 0 NOT NULL,
    successful_requests BIGINT DEFAULT 0 NOT NULL, failed_requests BIGINT DEFAULT 0 NOT NULL,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_at TIMESTAMP(3) NOT NULL, mcp_namespaced_tool_name TEXT,
    request_id TEXT, endpoint TEXT, compression_saved_tokens BIGINT DEFAULT 0 NOT NULL,
    compression_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    prompt_caching_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    autorouter_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL,
    gateway_injected_caching_savings_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, total_response_time_ms BIGINT DEFAULT 0 NOT NULL,
    timed_requests BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_GuardrailsTable" (
    guardrail_id TEXT NOT NULL, guardrail_name TEXT NOT NULL, litellm_params JSONB NOT NULL, guardrail_info JSONB,
    created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, updated_at TIMESTAMP(3) NOT NULL, team_id TEXT,
    reviewed_at TIMESTAMP(3), status TEXT DEFAULT 'active' NOT NULL, submitted_at TIMESTAMP(3), PRIMARY KEY (guardrail_id)
);
CREATE TABLE "LiteLLM_AuditLog" (
    id TEXT NOT NULL, updated_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, changed_by TEXT DEFAULT '' NOT NULL,
    changed_by_api_key TEXT DEFAULT '' NOT NULL, action TEXT NOT NULL, table_name TEXT NOT NULL, object_id TEXT NOT NULL,
    before_value JSONB, updated_values JSONB, PRIMARY KEY (id)
);
CREATE TABLE "LiteLLM_DeletedVerificationToken" (
    id TEXT NOT NULL, token TEXT NOT NULL, key_name TEXT, key_alias TEXT, soft_budget_cooldown BOOLEAN DEFAULT false NOT NULL,
    spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, expires TIMESTAMP(3), models TEXT[], aliases JSONB DEFAULT '{}' NOT NULL,
    config JSONB DEFAULT '{}' NOT NULL, user_id TEXT, team_id TEXT, permissions JSONB DEFAULT '{}' NOT NULL,
    max_parallel_requests INTEGER, metadata JSONB DEFAULT '{}' NOT NULL, blocked BOOLEAN, tpm_limit BIGINT, rpm_limit BIGINT,
    max_budget DOUBLE PRECISION, budget_duration TEXT, budget_reset_at TIMESTAMP(3), allowed_cache_controls TEXT[] DEFAULT '{}',
    allowed_routes TEXT[] DEFAULT '{}', model_spend JSONB DEFAULT '{}' NOT NULL, model_max_budget JSONB DEFAULT '{}' NOT NULL,
    budget_id TEXT, organization_id TEXT, object_permission_id TEXT, created_at TIMESTAMP(3), created_by TEXT,
    updated_at TIMESTAMP(3), updated_by TEXT, rotation_count INTEGER DEFAULT 0, auto_rotate BOOLEAN DEFAULT false,
    rotation_interval TEXT, last_rotation_at TIMESTAMP(3), key_rotation_at TIMESTAMP(3),
    deleted_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP NOT NULL, deleted_by TEXT, deleted_by_api_key TEXT, litellm_changed_by TEXT,
    router_settings JSONB DEFAULT '{}', policies TEXT[] DEFAULT '{}', access_group_ids TEXT[] DEFAULT '{}',
    last_active TIMESTAMP(3), project_id TEXT, agent_id TEXT, budget_fallbacks JSONB DEFAULT '{}' NOT NULL, key_type TEXT,
    settings_updated_at TIMESTAMP(3), tpd_limit BIGINT, total_spend DOUBLE PRECISION DEFAULT 0.0 NOT NULL, PRIMARY KEY (id)
);
