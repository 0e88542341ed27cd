-- +goose Up
-- What calls cost: how a price was made, budgets that hosts lease, sums by day,
-- and how far the journals of the hosts have been read.

-- sequence is the number of the attempt in its host's journals.
ALTER TABLE spend ADD COLUMN project_id TEXT NOT NULL DEFAULT '';
ALTER TABLE spend ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;

-- What is kept of requests and answers where that was asked for. May be lost.
CREATE TABLE spend_bodies (
    request_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    messages TEXT CHECK (json_valid(messages)),
    response TEXT CHECK (json_valid(response)),
    metadata TEXT CHECK (json_valid(metadata)),
    PRIMARY KEY (request_id, attempt)
) STRICT, WITHOUT ROWID;

-- Every price that a row of spend was computed with: price_version is the first
-- 63 bits of the document's SHA-256. last_used_at is at most an hour behind.
CREATE TABLE price_versions (
    price_version INTEGER NOT NULL PRIMARY KEY,
    document TEXT NOT NULL CHECK (json_valid(document)),
    first_seen_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT;

-- Sums by day (UTC). entity_type is '' for the sums of all attempts; beside them
-- those of tags and customers, of which an attempt has none or several.
CREATE TABLE daily_spend (
    entity_type TEXT NOT NULL,
    day TEXT NOT NULL,
    entity_id TEXT NOT NULL DEFAULT '',
    token TEXT NOT NULL DEFAULT '',
    user_id TEXT NOT NULL DEFAULT '',
    team_id TEXT NOT NULL DEFAULT '',
    organization_id TEXT NOT NULL DEFAULT '',
    project_id TEXT NOT NULL DEFAULT '',
    model_group TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    endpoint TEXT NOT NULL DEFAULT '',
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    spend INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    successful_requests INTEGER NOT NULL DEFAULT 0,
    failed_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_type, day, entity_id, token, user_id, team_id, organization_id, project_id, model_group, model, provider, endpoint)
) STRICT, WITHOUT ROWID;

-- The start of the budget window that spend is of; NULL where it has no window,
-- or nothing was added since it has.
ALTER TABLE keys ADD COLUMN spend_from INTEGER;
ALTER TABLE users ADD COLUMN spend_from INTEGER;
ALTER TABLE teams ADD COLUMN spend_from INTEGER;
ALTER TABLE team_members ADD COLUMN spend_from INTEGER;
ALTER TABLE organizations ADD COLUMN spend_from INTEGER;
ALTER TABLE organization_members ADD COLUMN spend_from INTEGER;
ALTER TABLE projects ADD COLUMN spend_from INTEGER;
ALTER TABLE end_users ADD COLUMN spend_from INTEGER;
ALTER TABLE tags ADD COLUMN spend_from INTEGER;

-- A row per budget that was ever leased from. spend is what rows of spend have
-- come to in the window that began at window_start, leased what hosts hold
-- beside it: the sum of amount over budget_leases.
ALTER TABLE budget_windows ADD COLUMN leased INTEGER NOT NULL DEFAULT 0;

-- Who holds leases: one life of a host's table. released_at is set when its
-- journals were read to the end and what it held was given back.
CREATE TABLE lease_holders (
    holder TEXT NOT NULL PRIMARY KEY,
    host_id TEXT NOT NULL,
    host_name TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    released_at INTEGER
) STRICT;
CREATE INDEX lease_holders_host_id ON lease_holders (host_id);

CREATE TABLE budget_leases (
    holder TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    window_duration TEXT NOT NULL,
    amount INTEGER NOT NULL DEFAULT 0,
    taken_at INTEGER NOT NULL,
    PRIMARY KEY (holder, entity_type, entity_id, window_duration)
) STRICT;
CREATE INDEX budget_leases_entity ON budget_leases (entity_type, entity_id, window_duration);

-- How far the segments of journals have been read, in bytes. A row goes when
-- its segment does.
CREATE TABLE journal_cursors (
    segment TEXT NOT NULL PRIMARY KEY,
    host_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX journal_cursors_host_id ON journal_cursors (host_id);

PRAGMA user_version = 4;
