-- +goose Up
-- Rows of spend as shipping writes them from here on: what is of one call alone,
-- and the number of what it has in common with others. spend is a view of both,
-- and of the rows that were there before: they stay where they are until they
-- are too old to be kept, so this takes no longer on a large database.

-- What many calls have in common. Clients choose nothing of it freely. digest is
-- the first half of the SHA-256 of the columns behind it; no row with an id behind
-- last_request_id names the context.
CREATE TABLE spend_contexts (
    context_id INTEGER NOT NULL PRIMARY KEY,
    last_request_id BLOB NOT NULL CHECK (length(last_request_id) = 16),
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 16),
    status TEXT NOT NULL,
    http_status INTEGER NOT NULL,
    error_kind TEXT NOT NULL,
    call_type TEXT NOT NULL,
    streamed INTEGER NOT NULL CHECK (streamed IN (0, 1)),
    token TEXT NOT NULL,
    user_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    model TEXT NOT NULL,
    model_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_model TEXT NOT NULL,
    estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    price_version INTEGER NOT NULL,
    cache_hit INTEGER NOT NULL CHECK (cache_hit IN (0, 1)),
    host TEXT NOT NULL
) STRICT;
CREATE INDEX spend_contexts_last_request_id ON spend_contexts (last_request_id);

-- What is of one call alone. first_byte_after and ended_after are microseconds
-- since started_at. call_id is NULL where it is the request id as text. extra is
-- a JSON object of what most calls have not, by the names of the columns of
-- spend; its documents are texts, kept to the letter. Every check here is paid
-- for each row, so there are few.
CREATE TABLE spend_calls (
    request_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    context_id INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    first_byte_after INTEGER,
    ended_after INTEGER,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cost INTEGER NOT NULL,
    sequence INTEGER,
    provider_request_id TEXT,
    call_id TEXT,
    client_address TEXT,
    extra TEXT,
    PRIMARY KEY (request_id, attempt)
) STRICT, WITHOUT ROWID;

-- Rows as a whole: those from before, imported ones, and those for which there
-- was no more room for contexts. A row is here or there, never in both.
ALTER TABLE spend RENAME TO spend_whole;

-- +goose StatementBegin
CREATE TRIGGER spend_whole_once BEFORE INSERT ON spend_whole
WHEN EXISTS (SELECT 1 FROM spend_calls WHERE request_id = NEW.request_id AND attempt = NEW.attempt)
BEGIN
    SELECT RAISE(IGNORE);
END;
-- +goose StatementEnd

-- Who remembers numbers of contexts looks here first.
INSERT INTO meta (name, value, updated_at) VALUES ('spend_contexts_deleted', '0', unixepoch() * 1000000);
-- +goose StatementBegin
CREATE TRIGGER spend_contexts_deleted AFTER DELETE ON spend_contexts
BEGIN
    UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT), updated_at = unixepoch() * 1000000 WHERE name = 'spend_contexts_deleted';
END;
-- +goose StatementEnd

-- Both halves have the same types, column by column: only then does SQLite read
-- them in the order of their keys, without sorting. Calls come first in the join,
-- whatever a condition names.
CREATE VIEW spend AS
SELECT request_id, attempt, status, http_status, error_kind, call_type, streamed, started_at, first_byte_at, ended_at,
    token, user_id, team_id, organization_id, end_user, model, model_id, provider, provider_model,
    provider_request_id, call_id, session_id, prompt_tokens, completion_tokens, total_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, usage_detail, estimated, cost, price_version, cache_hit, client_address,
    host, tags, metadata, project_id, sequence
FROM spend_whole
UNION ALL
SELECT r.request_id, r.attempt, c.status, c.http_status, c.error_kind, c.call_type, c.streamed, r.started_at,
    CAST(r.started_at + r.first_byte_after AS INTEGER), CAST(r.started_at + r.ended_after AS INTEGER),
    c.token, c.user_id, c.team_id, c.organization_id, CAST(coalesce(r.extra ->> 'end_user', '') AS TEXT),
    CAST(coalesce(r.extra ->> 'model', c.model) AS TEXT), c.model_id, c.provider, c.provider_model,
    CAST(coalesce(r.provider_request_id, '') AS TEXT),
    CAST(coalesce(r.call_id, lower(hex(substr(r.request_id, 1, 4)) || '-' || hex(substr(r.request_id, 5, 2)) || '-' ||
        hex(substr(r.request_id, 7, 2)) || '-' || hex(substr(r.request_id, 9, 2)) || '-' || hex(substr(r.request_id, 11)))) AS TEXT),
    CAST(coalesce(r.extra ->> 'session_id', '') AS TEXT), r.prompt_tokens, r.completion_tokens,
    CAST(coalesce(r.extra ->> 'total_tokens', r.prompt_tokens + r.completion_tokens) AS INTEGER),
    CAST(coalesce(r.extra ->> 'cache_read_tokens', 0) AS INTEGER), CAST(coalesce(r.extra ->> 'cache_write_tokens', 0) AS INTEGER),
    CAST(coalesce(r.extra ->> 'reasoning_tokens', 0) AS INTEGER), CAST(r.extra ->> 'usage_detail' AS TEXT), c.estimated, r.cost,
    c.price_version, c.cache_hit, CAST(coalesce(r.client_address, '') AS TEXT), c.host, CAST(r.extra ->> 'tags' AS TEXT),
    CAST(r.extra ->> 'metadata' AS TEXT), c.project_id, r.sequence
FROM spend_calls r CROSS JOIN spend_contexts c ON c.context_id = r.context_id;

-- +goose StatementBegin
CREATE TRIGGER spend_delete INSTEAD OF DELETE ON spend
BEGIN
    DELETE FROM spend_whole WHERE request_id = OLD.request_id AND attempt = OLD.attempt;
    DELETE FROM spend_calls WHERE request_id = OLD.request_id AND attempt = OLD.attempt;
END;
-- +goose StatementEnd

PRAGMA user_version = 5;
