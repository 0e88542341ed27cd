-- +goose Up
-- What calls cost: how a price was made, budgets that hosts lease, sums by day,
-- and how far the journals of the hosts have been read.

-- sequence is the number of the attempt in its host's journals.
ALTER TABLE sluice.spend
    ADD COLUMN project_id TEXT NOT NULL DEFAULT '',
    ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;

-- What is kept of requests and answers where that was asked for. May be lost.
CREATE TABLE sluice.spend_bodies (
    request_id UUID NOT NULL,
    attempt BIGINT NOT NULL,
    messages JSON,
    response JSON,
    metadata JSON,
    PRIMARY KEY (request_id, attempt)
);

-- Every price that a row of spend was computed with: price_version is the first
-- 63 bits of the document's SHA-256. last_used_at is at most an hour behind.
CREATE TABLE sluice.price_versions (
    price_version BIGINT NOT NULL PRIMARY KEY,
    document JSON NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL
);

-- Sums by day (UTC). entity_type is '' for the sums of all attempts; beside them
-- those of tags and customers, of which an attempt has none or several.
CREATE TABLE sluice.daily_spend (
    entity_type TEXT COLLATE "C" NOT NULL,
    day DATE NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    token TEXT COLLATE "C" NOT NULL DEFAULT '',
    user_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    team_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    organization_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    project_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    model_group TEXT COLLATE "C" NOT NULL DEFAULT '',
    model TEXT COLLATE "C" NOT NULL DEFAULT '',
    provider TEXT COLLATE "C" NOT NULL DEFAULT '',
    endpoint TEXT COLLATE "C" NOT NULL DEFAULT '',
    prompt_tokens BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens BIGINT NOT NULL DEFAULT 0,
    cache_write_tokens BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens BIGINT NOT NULL DEFAULT 0,
    spend BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL DEFAULT 0,
    successful_requests BIGINT NOT NULL DEFAULT 0,
    failed_requests BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_type, day, entity_id, token, user_id, team_id, organization_id, project_id, model_group, model, provider, endpoint)
);

-- The start of the budget window that spend is of; NULL where it has no window,
-- or nothing was added since it has.
ALTER TABLE sluice.keys ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.users ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.teams ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.team_members ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.organizations ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.organization_members ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.projects ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.end_users ADD COLUMN spend_from TIMESTAMPTZ;
ALTER TABLE sluice.tags ADD COLUMN spend_from TIMESTAMPTZ;

-- A row per budget that was ever leased from. spend is what rows of spend have
-- come to in the window that began at window_start, leased what hosts hold
-- beside it: the sum of amount over budget_leases.
ALTER TABLE sluice.budget_windows ADD COLUMN leased BIGINT NOT NULL DEFAULT 0;

-- Who holds leases: one life of a host's table. released_at is set when its
-- journals were read to the end and what it held was given back.
CREATE TABLE sluice.lease_holders (
    holder TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    host_id TEXT COLLATE "C" NOT NULL,
    host_name TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    released_at TIMESTAMPTZ
);
CREATE INDEX lease_holders_host_id ON sluice.lease_holders (host_id);

CREATE TABLE sluice.budget_leases (
    holder TEXT COLLATE "C" NOT NULL,
    entity_type TEXT COLLATE "C" NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL,
    window_duration TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL DEFAULT 0,
    taken_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (holder, entity_type, entity_id, window_duration)
);
CREATE INDEX budget_leases_entity ON sluice.budget_leases (entity_type, entity_id, window_duration);

-- How far the segments of journals have been read, in bytes. A row goes when
-- its segment does.
CREATE TABLE sluice.journal_cursors (
    segment TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    host_id TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX journal_cursors_host_id ON sluice.journal_cursors (host_id);
