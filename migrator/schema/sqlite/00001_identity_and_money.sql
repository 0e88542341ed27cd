-- +goose Up
-- What identity and money need first. Times are microseconds since 1970, UTC; money is nano-dollars.
-- settings holds the fields of an object that no query asks for.
-- change_number is the number of the change that last wrote the row.

-- What is known about the database as a whole.
CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Budgets as objects that keys, members and organizations refer to.
CREATE TABLE budgets (
    budget_id TEXT NOT NULL PRIMARY KEY,
    max_budget INTEGER,
    soft_budget INTEGER,
    budget_duration TEXT,
    budget_reset_at INTEGER,
    max_parallel_requests INTEGER,
    tpm_limit INTEGER,
    rpm_limit INTEGER,
    model_max_budget TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(model_max_budget)),
    allowed_models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(allowed_models)),
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE organizations (
    organization_id TEXT NOT NULL PRIMARY KEY,
    organization_alias TEXT NOT NULL,
    budget_id TEXT,
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    spend INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX organizations_organization_alias ON organizations (organization_alias);

CREATE TABLE teams (
    team_id TEXT NOT NULL PRIMARY KEY,
    team_alias TEXT,
    organization_id TEXT,
    budget_id TEXT,
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    spend INTEGER NOT NULL DEFAULT 0,
    max_budget INTEGER,
    soft_budget INTEGER,
    budget_duration TEXT,
    budget_reset_at INTEGER,
    max_parallel_requests INTEGER,
    tpm_limit INTEGER,
    rpm_limit INTEGER,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX teams_organization_id ON teams (organization_id);
CREATE INDEX teams_team_alias ON teams (team_alias);

CREATE TABLE users (
    user_id TEXT NOT NULL PRIMARY KEY,
    user_alias TEXT,
    user_email TEXT,
    sso_user_id TEXT UNIQUE,
    user_role TEXT,
    password TEXT,
    organization_id TEXT,
    budget_id TEXT,
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    spend INTEGER NOT NULL DEFAULT 0,
    max_budget INTEGER,
    soft_budget INTEGER,
    budget_duration TEXT,
    budget_reset_at INTEGER,
    max_parallel_requests INTEGER,
    tpm_limit INTEGER,
    rpm_limit INTEGER,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX users_lower_user_email ON users (lower(user_email));

-- Spend is of the running budget window, total_spend of all time.
CREATE TABLE team_members (
    team_id TEXT NOT NULL REFERENCES teams(team_id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'user')),
    budget_id TEXT,
    spend INTEGER NOT NULL DEFAULT 0,
    total_spend INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (team_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_members_user_id ON team_members (user_id);

-- Virtual keys. token is the lower-case hex SHA-256 of the whole key string;
-- the key itself is nowhere. Owners carry no foreign key: a key may outlive its
-- owner, and imported ones may name owners that never existed.
CREATE TABLE keys (
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
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    aliases TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(aliases)),
    allowed_routes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(allowed_routes)),
    permissions TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(permissions)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    expires INTEGER,
    last_active INTEGER,
    spend INTEGER NOT NULL DEFAULT 0,
    max_budget INTEGER,
    soft_budget INTEGER,
    budget_duration TEXT,
    budget_reset_at INTEGER,
    model_max_budget TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(model_max_budget)),
    max_parallel_requests INTEGER,
    tpm_limit INTEGER,
    rpm_limit INTEGER,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX keys_key_alias ON keys (key_alias);
CREATE INDEX keys_user_id_team_id ON keys (user_id, team_id);
CREATE INDEX keys_team_id ON keys (team_id);

-- Deployments. Strings inside params are sealed; sealed_with names the ring
-- entry, so that an entry in use is never retired.
CREATE TABLE models (
    model_id TEXT NOT NULL PRIMARY KEY,
    model_name TEXT NOT NULL,
    team_id TEXT,
    params TEXT NOT NULL CHECK (json_valid(params)),
    info TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(info)),
    sealed_with TEXT NOT NULL DEFAULT '',
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX models_model_name ON models (model_name);

-- Provider credentials. The values are sealed as those of models are.
CREATE TABLE credentials (
    credential_id TEXT NOT NULL PRIMARY KEY,
    credential_name TEXT NOT NULL UNIQUE,
    credential_values TEXT NOT NULL CHECK (json_valid(credential_values)),
    credential_info TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(credential_info)),
    sealed_with TEXT NOT NULL DEFAULT '',
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;

-- One row: the number of the newest change. Whoever changes identity data raises
-- it first; the row lock is held to the commit, so that the order of numbers is
-- the order of commits, without gaps.
CREATE TABLE change_head (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL
) STRICT;

-- The record of changes, and the feed that hosts poll by number. actor is the
-- authenticated caller, claimed_actor what the caller says about itself. Values
-- hold digests instead of secrets and are kept to the letter.
CREATE TABLE changes (
    number INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    actor_key TEXT NOT NULL DEFAULT '',
    claimed_actor TEXT NOT NULL DEFAULT '',
    action TEXT NOT NULL,
    object_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    before_value TEXT CHECK (json_valid(before_value)),
    after_value TEXT CHECK (json_valid(after_value)),
    source TEXT NOT NULL DEFAULT '',
    request_id TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX changes_object_type_object_id_number ON changes (object_type, object_id, number);
CREATE INDEX changes_at ON changes (at);

-- One row per attempt at a provider, inserted if absent. request_id is a UUIDv7:
-- the primary key is in order of time and serves ranges of time, so there is no
-- second index to pay for.
CREATE TABLE spend (
    request_id BLOB NOT NULL CHECK (length(request_id) = 16),
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,
    http_status INTEGER NOT NULL DEFAULT 0,
    error_kind TEXT NOT NULL DEFAULT '',
    call_type TEXT NOT NULL,
    streamed INTEGER NOT NULL DEFAULT 0 CHECK (streamed IN (0, 1)),
    started_at INTEGER NOT NULL,
    first_byte_at INTEGER,
    ended_at INTEGER NOT NULL,
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
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    usage_detail TEXT CHECK (json_valid(usage_detail)),
    estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1)),
    cost INTEGER NOT NULL DEFAULT 0,
    price_version INTEGER NOT NULL DEFAULT 0,
    cache_hit INTEGER NOT NULL DEFAULT 0 CHECK (cache_hit IN (0, 1)),
    client_address TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    tags TEXT CHECK (json_valid(tags)),
    metadata TEXT CHECK (json_valid(metadata)),
    PRIMARY KEY (request_id, attempt)
) STRICT, WITHOUT ROWID;

INSERT INTO change_head (id, number) VALUES (1, 0);
INSERT INTO meta (name, value, updated_at) VALUES ('database_id', lower(hex(randomblob(16))), unixepoch() * 1000000);
PRAGMA user_version = 1;
