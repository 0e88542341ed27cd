-- +goose Up
-- What identity and money need first. Times are UTC, money is nano-dollars.
-- settings holds the fields of an object that no query asks for.
-- change_number is the number of the change that last wrote the row.

-- What is known about the database as a whole.
CREATE TABLE sluice.meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- Budgets as objects that keys, members and organizations refer to.
CREATE TABLE sluice.budgets (
    budget_id TEXT NOT NULL PRIMARY KEY,
    max_budget BIGINT,
    soft_budget BIGINT,
    budget_duration TEXT,
    budget_reset_at TIMESTAMPTZ,
    max_parallel_requests BIGINT,
    tpm_limit BIGINT,
    rpm_limit BIGINT,
    model_max_budget JSONB NOT NULL DEFAULT '{}',
    allowed_models JSONB NOT NULL DEFAULT '[]',
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);

CREATE TABLE sluice.organizations (
    organization_id TEXT NOT NULL PRIMARY KEY,
    organization_alias TEXT NOT NULL,
    budget_id TEXT,
    models JSONB NOT NULL DEFAULT '[]',
    metadata JSONB NOT NULL DEFAULT '{}',
    spend BIGINT NOT NULL DEFAULT 0,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX organizations_organization_alias ON sluice.organizations (organization_alias);

CREATE TABLE sluice.teams (
    team_id TEXT NOT NULL PRIMARY KEY,
    team_alias TEXT,
    organization_id TEXT,
    budget_id TEXT,
    models JSONB NOT NULL DEFAULT '[]',
    metadata JSONB NOT NULL DEFAULT '{}',
    blocked BOOLEAN NOT NULL DEFAULT false,
    spend BIGINT NOT NULL DEFAULT 0,
    max_budget BIGINT,
    soft_budget BIGINT,
    budget_duration TEXT,
    budget_reset_at TIMESTAMPTZ,
    max_parallel_requests BIGINT,
    tpm_limit BIGINT,
    rpm_limit BIGINT,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX teams_organization_id ON sluice.teams (organization_id);
CREATE INDEX teams_team_alias ON sluice.teams (team_alias);

CREATE TABLE sluice.users (
    user_id TEXT NOT NULL PRIMARY KEY,
    user_alias TEXT,
    user_email TEXT,
    sso_user_id TEXT UNIQUE,
    user_role TEXT,
    password TEXT,
    organization_id TEXT,
    budget_id TEXT,
    models JSONB NOT NULL DEFAULT '[]',
    metadata JSONB NOT NULL DEFAULT '{}',
    blocked BOOLEAN NOT NULL DEFAULT false,
    spend BIGINT NOT NULL DEFAULT 0,
    max_budget BIGINT,
    soft_budget BIGINT,
    budget_duration TEXT,
    budget_reset_at TIMESTAMPTZ,
    max_parallel_requests BIGINT,
    tpm_limit BIGINT,
    rpm_limit BIGINT,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX users_lower_user_email ON sluice.users (lower(user_email));

-- Spend is of the running budget window, total_spend of all time.
CREATE TABLE sluice.team_members (
    team_id TEXT NOT NULL REFERENCES sluice.teams(team_id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'user')),
    budget_id TEXT,
    spend BIGINT NOT NULL DEFAULT 0,
    total_spend BIGINT NOT NULL DEFAULT 0,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX team_members_user_id ON sluice.team_members (user_id);

-- Virtual keys. token is the lower-case hex SHA-256 of the whole key string;
-- the key itself is nowhere. Owners carry no foreign key: a key may outlive its
-- owner, and imported ones may name owners that never existed.
CREATE TABLE sluice.keys (
    token TEXT NOT NULL PRIMARY KEY,
    key_name TEXT,
    key_alias TEXT,
    key_type TEXT NOT NULL DEFAULT 'default',
    user_id TEXT,
    team_id TEXT,
    organization_id TEXT,
    project_id TEXT,
    agent_id TEXT,
    budget_id TEXT,
    models JSONB NOT NULL DEFAULT '[]',
    aliases JSONB NOT NULL DEFAULT '{}',
    allowed_routes JSONB NOT NULL DEFAULT '[]',
    permissions JSONB NOT NULL DEFAULT '{}',
    metadata JSONB NOT NULL DEFAULT '{}',
    blocked BOOLEAN NOT NULL DEFAULT false,
    expires TIMESTAMPTZ,
    last_active TIMESTAMPTZ,
    spend BIGINT NOT NULL DEFAULT 0,
    max_budget BIGINT,
    soft_budget BIGINT,
    budget_duration TEXT,
    budget_reset_at TIMESTAMPTZ,
    model_max_budget JSONB NOT NULL DEFAULT '{}',
    max_parallel_requests BIGINT,
    tpm_limit BIGINT,
    rpm_limit BIGINT,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX keys_key_alias ON sluice.keys (key_alias);
CREATE INDEX keys_user_id_team_id ON sluice.keys (user_id, team_id);
CREATE INDEX keys_team_id ON sluice.keys (team_id);

-- Deployments. Strings inside params are sealed; sealed_with names the ring
-- entry, so that an entry in use is never retired.
CREATE TABLE sluice.models (
    model_id TEXT NOT NULL PRIMARY KEY,
    model_name TEXT NOT NULL,
    team_id TEXT,
    params JSONB NOT NULL,
    info JSONB NOT NULL DEFAULT '{}',
    sealed_with TEXT NOT NULL DEFAULT '',
    blocked BOOLEAN NOT NULL DEFAULT false,
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX models_model_name ON sluice.models (model_name);

-- Provider credentials. The values are sealed as those of models are.
CREATE TABLE sluice.credentials (
    credential_id TEXT NOT NULL PRIMARY KEY,
    credential_name TEXT NOT NULL UNIQUE,
    credential_values JSONB NOT NULL,
    credential_info JSONB NOT NULL DEFAULT '{}',
    sealed_with TEXT NOT NULL DEFAULT '',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
);

-- One row: the number of the newest change. Whoever changes identity data raises
-- it first; the row lock is held to the commit, so that the order of numbers is
-- the order of commits, without gaps.
CREATE TABLE sluice.change_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL
);

-- The record of changes, and the feed that hosts poll by number. actor is the
-- authenticated caller, claimed_actor what the caller says about itself. Values
-- hold digests instead of secrets and are kept to the letter.
CREATE TABLE sluice.changes (
    number BIGINT NOT NULL PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    actor_key TEXT NOT NULL DEFAULT '',
    claimed_actor TEXT NOT NULL DEFAULT '',
    action TEXT NOT NULL,
    object_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    before_value JSON,
    after_value JSON,
    source TEXT NOT NULL DEFAULT '',
    request_id TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX changes_object_type_object_id_number ON sluice.changes (object_type, object_id, number);
CREATE INDEX changes_at ON sluice.changes (at);

-- One row per attempt at a provider, inserted if absent. request_id is a UUIDv7:
-- the primary key is in order of time and serves ranges of time, so there is no
-- second index to pay for.
CREATE TABLE sluice.spend (
    request_id UUID NOT NULL,
    attempt BIGINT NOT NULL,
    status TEXT NOT NULL,
    http_status BIGINT NOT NULL DEFAULT 0,
    error_kind TEXT NOT NULL DEFAULT '',
    call_type TEXT NOT NULL,
    streamed BOOLEAN NOT NULL DEFAULT false,
    started_at TIMESTAMPTZ NOT NULL,
    first_byte_at TIMESTAMPTZ,
    ended_at TIMESTAMPTZ NOT NULL,
    token TEXT NOT NULL DEFAULT '',
    user_id TEXT NOT NULL DEFAULT '',
    team_id TEXT NOT NULL DEFAULT '',
    organization_id TEXT NOT NULL DEFAULT '',
    end_user TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    model_id TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    provider_model TEXT NOT NULL DEFAULT '',
    provider_request_id TEXT NOT NULL DEFAULT '',
    call_id TEXT NOT NULL DEFAULT '',
    session_id TEXT NOT NULL DEFAULT '',
    prompt_tokens BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    total_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens BIGINT NOT NULL DEFAULT 0,
    cache_write_tokens BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens BIGINT NOT NULL DEFAULT 0,
    usage_detail JSONB,
    estimated BOOLEAN NOT NULL DEFAULT false,
    cost BIGINT NOT NULL DEFAULT 0,
    price_version BIGINT NOT NULL DEFAULT 0,
    cache_hit BOOLEAN NOT NULL DEFAULT false,
    client_address TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    tags JSONB,
    metadata JSONB,
    PRIMARY KEY (request_id, attempt)
);

INSERT INTO sluice.change_head (id, number) VALUES (1, 0);
INSERT INTO sluice.meta (name, value, updated_at) VALUES ('database_id', gen_random_uuid()::text, now());
