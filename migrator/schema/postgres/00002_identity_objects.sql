-- +goose Up
-- The rest of who there is: projects, customers, tags, and what the management API keeps.

-- Names and ids are compared by their bytes: as SQLite does, whatever the locale
-- of the database is, and unharmed by a new version of the C library. Nothing
-- was ever written into these tables by an earlier release.
ALTER TABLE sluice.budgets
    ALTER COLUMN budget_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_duration TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.organizations
    ALTER COLUMN organization_id TYPE TEXT COLLATE "C",
    ALTER COLUMN organization_alias TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_id TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.teams
    ALTER COLUMN team_id TYPE TEXT COLLATE "C",
    ALTER COLUMN team_alias TYPE TEXT COLLATE "C",
    ALTER COLUMN organization_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_duration TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.users
    ALTER COLUMN user_id TYPE TEXT COLLATE "C",
    ALTER COLUMN user_alias TYPE TEXT COLLATE "C",
    ALTER COLUMN user_email TYPE TEXT COLLATE "C",
    ALTER COLUMN sso_user_id TYPE TEXT COLLATE "C",
    ALTER COLUMN user_role TYPE TEXT COLLATE "C",
    ALTER COLUMN organization_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_duration TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.team_members
    ALTER COLUMN team_id TYPE TEXT COLLATE "C",
    ALTER COLUMN user_id TYPE TEXT COLLATE "C",
    ALTER COLUMN role TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_id TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.keys
    ALTER COLUMN token TYPE TEXT COLLATE "C",
    ALTER COLUMN key_name TYPE TEXT COLLATE "C",
    ALTER COLUMN key_alias TYPE TEXT COLLATE "C",
    ALTER COLUMN key_type TYPE TEXT COLLATE "C",
    ALTER COLUMN user_id TYPE TEXT COLLATE "C",
    ALTER COLUMN team_id TYPE TEXT COLLATE "C",
    ALTER COLUMN organization_id TYPE TEXT COLLATE "C",
    ALTER COLUMN project_id TYPE TEXT COLLATE "C",
    ALTER COLUMN agent_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_id TYPE TEXT COLLATE "C",
    ALTER COLUMN budget_duration TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.models
    ALTER COLUMN model_id TYPE TEXT COLLATE "C",
    ALTER COLUMN model_name TYPE TEXT COLLATE "C",
    ALTER COLUMN team_id TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.credentials
    ALTER COLUMN credential_id TYPE TEXT COLLATE "C",
    ALTER COLUMN credential_name TYPE TEXT COLLATE "C",
    ALTER COLUMN created_by TYPE TEXT COLLATE "C",
    ALTER COLUMN updated_by TYPE TEXT COLLATE "C";
ALTER TABLE sluice.changes
    ALTER COLUMN actor TYPE TEXT COLLATE "C",
    ALTER COLUMN actor_key TYPE TEXT COLLATE "C",
    ALTER COLUMN action TYPE TEXT COLLATE "C",
    ALTER COLUMN object_type TYPE TEXT COLLATE "C",
    ALTER COLUMN object_id TYPE TEXT COLLATE "C";

-- Old digests of regenerated keys: each works until revoke_at.
CREATE TABLE sluice.retired_keys (
    token TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    active_token TEXT COLLATE "C" NOT NULL,
    revoke_at TIMESTAMPTZ NOT NULL,
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX retired_keys_active_token ON sluice.retired_keys (active_token);
CREATE INDEX retired_keys_revoke_at ON sluice.retired_keys (revoke_at);

CREATE TABLE sluice.organization_members (
    organization_id TEXT COLLATE "C" NOT NULL REFERENCES sluice.organizations(organization_id) ON DELETE CASCADE,
    user_id TEXT COLLATE "C" NOT NULL,
    user_role TEXT COLLATE "C",
    budget_id TEXT COLLATE "C",
    spend BIGINT NOT NULL DEFAULT 0,
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_members_user_id ON sluice.organization_members (user_id);

CREATE TABLE sluice.projects (
    project_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_alias TEXT COLLATE "C",
    description TEXT COLLATE "C",
    team_id TEXT COLLATE "C",
    budget_id TEXT COLLATE "C",
    models JSONB NOT NULL DEFAULT '[]',
    metadata JSONB NOT NULL DEFAULT '{}',
    blocked BOOLEAN NOT NULL DEFAULT false,
    spend BIGINT NOT NULL DEFAULT 0,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX projects_team_id ON sluice.projects (team_id);

-- Customers of the applications that call: what these send as user.
CREATE TABLE sluice.end_users (
    user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    alias TEXT COLLATE "C",
    blocked BOOLEAN NOT NULL DEFAULT false,
    allowed_model_region TEXT COLLATE "C",
    default_model TEXT COLLATE "C",
    budget_id TEXT COLLATE "C",
    spend BIGINT NOT NULL DEFAULT 0,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE sluice.tags (
    tag_name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    description TEXT COLLATE "C",
    budget_id TEXT COLLATE "C",
    models JSONB NOT NULL DEFAULT '[]',
    spend BIGINT NOT NULL DEFAULT 0,
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);

-- Named sets of models that keys and teams refer to by id.
CREATE TABLE sluice.access_groups (
    access_group_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    access_group_name TEXT COLLATE "C" NOT NULL UNIQUE,
    description TEXT COLLATE "C",
    models JSONB NOT NULL DEFAULT '[]',
    settings JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);

-- Sections of the configuration that the API changed, laid over the file.
CREATE TABLE sluice.config_items (
    param_name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    param_value JSONB NOT NULL DEFAULT '{}',
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE sluice.invitations (
    invitation_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    is_accepted BOOLEAN NOT NULL DEFAULT false,
    accepted_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ NOT NULL,
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX invitations_user_id ON sluice.invitations (user_id);

-- The value of a claim bound to a key.
CREATE TABLE sluice.jwt_key_mappings (
    mapping_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    jwt_issuer TEXT COLLATE "C" NOT NULL DEFAULT '', -- '': of any issuer
    jwt_claim_name TEXT COLLATE "C" NOT NULL,
    jwt_claim_value TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C",
    is_active BOOLEAN NOT NULL DEFAULT false,
    change_number BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    updated_at TIMESTAMPTZ NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    UNIQUE (jwt_issuer, jwt_claim_name, jwt_claim_value)
);
CREATE INDEX jwt_key_mappings_token ON sluice.jwt_key_mappings (token);

-- Lists and lookups of the management API.
CREATE INDEX keys_organization_id ON sluice.keys (organization_id);
CREATE INDEX keys_created_at ON sluice.keys (created_at);
CREATE INDEX keys_project_id ON sluice.keys (project_id);
CREATE INDEX users_created_at ON sluice.users (created_at);
CREATE INDEX teams_created_at ON sluice.teams (created_at);
CREATE INDEX models_team_id ON sluice.models (team_id);
CREATE INDEX keys_budget_id ON sluice.keys (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX users_budget_id ON sluice.users (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX team_members_budget_id ON sluice.team_members (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX end_users_budget_id ON sluice.end_users (budget_id) WHERE budget_id IS NOT NULL;

-- Who changed something: the record is asked for it.
CREATE INDEX changes_actor_number ON sluice.changes (actor, number);
CREATE INDEX changes_actor_key_number ON sluice.changes (actor_key, number);
