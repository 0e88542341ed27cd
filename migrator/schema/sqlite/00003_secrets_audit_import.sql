-- +goose Up
-- Keys that secrets are sealed with, the chain over the record of changes, and
-- what is taken over from other systems.

-- Every key that this database was sealed with. seal_check opens under this key
-- alone. audit_key is the key of the chain that is derived from it, sealed under
-- the key that sealed_with names: rows verify after the key itself is gone.
CREATE TABLE sealing_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    seal_check TEXT NOT NULL,
    audit_key TEXT NOT NULL DEFAULT '',
    sealed_with TEXT NOT NULL DEFAULT '',
    promoted_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;

-- Hosts that work on this database, and with which keys: sealing_keys is an
-- object of id and fingerprint, writes_with the id that this host seals with.
CREATE TABLE hosts (
    host_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL DEFAULT '',
    sealing_keys TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(sealing_keys)),
    writes_with TEXT NOT NULL DEFAULT '',
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;

ALTER TABLE config_items ADD COLUMN sealed_with TEXT NOT NULL DEFAULT '';

-- The chain: chain_mac is the HMAC of the row and of the chain_mac before it,
-- under the chain key of the sealing key chain_key. change_head has the mac of
-- the row numbered chained, the last one that has one: rows of the previous
-- release come without, and the next change of this one chains them.
ALTER TABLE changes ADD COLUMN chain_key TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN chain_mac BLOB;
ALTER TABLE change_head ADD COLUMN chained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE change_head ADD COLUMN chain_mac BLOB;

-- What /audit is asked for alone.
CREATE INDEX changes_action_number ON changes (action, number);
CREATE INDEX changes_claimed_actor_number ON changes (claimed_actor, number) WHERE claimed_actor <> '';
CREATE INDEX changes_source_number ON changes (source, number) WHERE source <> '';
CREATE INDEX changes_request_id_number ON changes (request_id, number) WHERE request_id <> '';

-- Stretches of the record that were moved to files, oldest first. mac is of the
-- other columns, under the chain key of chain_key.
CREATE TABLE change_stretches (
    first_number INTEGER NOT NULL PRIMARY KEY,
    last_number INTEGER NOT NULL,
    before_mac BLOB,
    last_mac BLOB NOT NULL,
    file_name TEXT NOT NULL,
    file_digest BLOB NOT NULL,
    archived_at INTEGER NOT NULL,
    chain_key TEXT NOT NULL,
    mac BLOB NOT NULL
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER changes_keep_rows BEFORE UPDATE ON changes
WHEN OLD.chain_mac IS NOT NULL OR NEW.chain_mac IS NULL
    OR OLD.number IS NOT NEW.number OR OLD.at IS NOT NEW.at OR OLD.actor IS NOT NEW.actor OR OLD.actor_key IS NOT NEW.actor_key
    OR OLD.claimed_actor IS NOT NEW.claimed_actor OR OLD.action IS NOT NEW.action OR OLD.object_type IS NOT NEW.object_type
    OR OLD.object_id IS NOT NEW.object_id OR OLD.before_value IS NOT NEW.before_value OR OLD.after_value IS NOT NEW.after_value
    OR OLD.source IS NOT NEW.source OR OLD.request_id IS NOT NEW.request_id OR OLD.host IS NOT NEW.host OR OLD.reason IS NOT NEW.reason
BEGIN SELECT RAISE(ABORT, 'changes is insert-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER changes_keep BEFORE DELETE ON changes
WHEN NOT EXISTS (SELECT 1 FROM change_stretches s WHERE OLD.number BETWEEN s.first_number AND s.last_number)
BEGIN SELECT RAISE(ABORT, 'changes is insert-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER change_stretches_keep_rows BEFORE UPDATE ON change_stretches
BEGIN SELECT RAISE(ABORT, 'change_stretches is insert-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER change_stretches_keep BEFORE DELETE ON change_stretches
BEGIN SELECT RAISE(ABORT, 'change_stretches is insert-only'); END;
-- +goose StatementEnd

-- Imports from other systems: one row each. cursors is an object of source table
-- and the last key that was taken, report what is told at the end.
CREATE TABLE imports (
    system TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done')),
    run INTEGER NOT NULL,
    cursors TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(cursors)),
    report TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(report)),
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

-- What was taken, and the number of the change that did: an object with another
-- number was changed here since, one that is missing was deleted here. spend is
-- the part of the object's spend that came from there, digest the SHA-256 of
-- what was taken.
CREATE TABLE imported (
    object_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    change_number INTEGER NOT NULL,
    spend INTEGER NOT NULL DEFAULT 0,
    total_spend INTEGER NOT NULL DEFAULT 0,
    digest BLOB NOT NULL,
    PRIMARY KEY (object_type, object_id)
) STRICT;

-- Rows that nothing here understands yet, kept to the letter.
CREATE TABLE imported_documents (
    source_table TEXT NOT NULL,
    object_id TEXT NOT NULL,
    document TEXT NOT NULL CHECK (json_valid(document)),
    PRIMARY KEY (source_table, object_id)
) STRICT;

-- Daily sums of the time before: entity_type is what entity_id names.
CREATE TABLE historic_daily_spend (
    entity_type TEXT NOT NULL,
    row_id TEXT NOT NULL,
    entity_id TEXT NOT NULL DEFAULT '',
    day TEXT NOT NULL,
    token TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    model_group TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    endpoint TEXT NOT NULL DEFAULT '',
    tool TEXT NOT NULL DEFAULT '',
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    spend INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    successful_requests INTEGER NOT NULL DEFAULT 0,
    failed_requests INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_type, row_id)
) STRICT;
CREATE INDEX historic_daily_spend_entity ON historic_daily_spend (entity_type, entity_id, day);
CREATE INDEX historic_daily_spend_day ON historic_daily_spend (day);

-- Spend of budget windows that were running when it was taken over.
CREATE TABLE budget_windows (
    entity_type TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    window_duration TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    spend INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_type, entity_id, window_duration)
) STRICT;
PRAGMA user_version = 3;
