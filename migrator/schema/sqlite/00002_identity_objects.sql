-- +goose Up
-- The rest of who there is: projects, customers, tags, and what the management API keeps.

-- Old digests of regenerated keys: each works until revoke_at.
CREATE TABLE retired_keys (
    token TEXT NOT NULL PRIMARY KEY,
    active_token TEXT NOT NULL,
    revoke_at INTEGER NOT NULL,
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX retired_keys_active_token ON retired_keys (active_token);
CREATE INDEX retired_keys_revoke_at ON retired_keys (revoke_at);

CREATE TABLE organization_members (
    organization_id TEXT NOT NULL REFERENCES organizations(organization_id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    user_role TEXT,
    budget_id TEXT,
    spend INTEGER NOT NULL DEFAULT 0,
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (organization_id, user_id)
) STRICT;
CREATE INDEX organization_members_user_id ON organization_members (user_id);

CREATE TABLE projects (
    project_id TEXT NOT NULL PRIMARY KEY,
    project_alias TEXT,
    description TEXT,
    team_id TEXT,
    budget_id TEXT,
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    spend INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX projects_team_id ON projects (team_id);

-- Customers of the applications that call: what these send as user.
CREATE TABLE end_users (
    user_id TEXT NOT NULL PRIMARY KEY,
    alias TEXT,
    blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    allowed_model_region TEXT,
    default_model TEXT,
    budget_id TEXT,
    spend INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE tags (
    tag_name TEXT NOT NULL PRIMARY KEY,
    description TEXT,
    budget_id TEXT,
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    spend INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;

-- Named sets of models that keys and teams refer to by id.
CREATE TABLE access_groups (
    access_group_id TEXT NOT NULL PRIMARY KEY,
    access_group_name TEXT NOT NULL UNIQUE,
    description TEXT,
    models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(models)),
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;

-- Sections of the configuration that the API changed, laid over the file.
CREATE TABLE config_items (
    param_name TEXT NOT NULL PRIMARY KEY,
    param_value TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(param_value)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE invitations (
    invitation_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    is_accepted INTEGER NOT NULL DEFAULT 0 CHECK (is_accepted IN (0, 1)),
    accepted_at INTEGER,
    expires_at INTEGER NOT NULL,
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX invitations_user_id ON invitations (user_id);

-- The value of a claim bound to a key.
CREATE TABLE jwt_key_mappings (
    mapping_id TEXT NOT NULL PRIMARY KEY,
    jwt_issuer TEXT NOT NULL DEFAULT '', -- '': of any issuer
    jwt_claim_name TEXT NOT NULL,
    jwt_claim_value TEXT NOT NULL,
    token TEXT NOT NULL,
    description TEXT,
    is_active INTEGER NOT NULL DEFAULT 0 CHECK (is_active IN (0, 1)),
    change_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL DEFAULT '',
    UNIQUE (jwt_issuer, jwt_claim_name, jwt_claim_value)
) STRICT;
CREATE INDEX jwt_key_mappings_token ON jwt_key_mappings (token);

-- Lists and lookups of the management API.
CREATE INDEX keys_organization_id ON keys (organization_id);
CREATE INDEX keys_created_at ON keys (created_at);
CREATE INDEX keys_project_id ON keys (project_id);
CREATE INDEX users_created_at ON users (created_at);
CREATE INDEX teams_created_at ON teams (created_at);
CREATE INDEX models_team_id ON models (team_id);
CREATE INDEX keys_budget_id ON keys (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX users_budget_id ON users (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX team_members_budget_id ON team_members (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX end_users_budget_id ON end_users (budget_id) WHERE budget_id IS NOT NULL;

-- Who changed something: the record is asked for it.
CREATE INDEX changes_actor_number ON changes (actor, number);
CREATE INDEX changes_actor_key_number ON changes (actor_key, number);

PRAGMA user_version = 2;
