-- +goose Up
-- Keys that secrets are sealed with, the chain over the record of changes, and
-- what is taken over from other systems.

-- Every key that this database was sealed with. seal_check opens under this key
-- alone. audit_key is the key of the chain that is derived from it, sealed under
-- the key that sealed_with names: rows verify after the key itself is gone.
CREATE TABLE sluice.sealing_keys (
    key_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seal_check TEXT NOT NULL,
    audit_key TEXT NOT NULL DEFAULT '',
    sealed_with TEXT COLLATE "C" NOT NULL DEFAULT '',
    promoted_at TIMESTAMPTZ NOT NULL,
    retired_at TIMESTAMPTZ
);

-- Hosts that work on this database, and with which keys: sealing_keys is an
-- object of id and fingerprint, writes_with the id that this host seals with.
CREATE TABLE sluice.hosts (
    host_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL DEFAULT '',
    sealing_keys JSONB NOT NULL DEFAULT '{}',
    writes_with TEXT COLLATE "C" NOT NULL DEFAULT '',
    started_at TIMESTAMPTZ NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL
);

ALTER TABLE sluice.config_items ADD COLUMN sealed_with TEXT COLLATE "C" NOT NULL DEFAULT '';

-- The chain: chain_mac is the HMAC of the row and of the chain_mac before it,
-- under the chain key of the sealing key chain_key. change_head has the mac of
-- the row numbered chained, the last one that has one: rows of the previous
-- release come without, and the next change of this one chains them.
ALTER TABLE sluice.changes
    ADD COLUMN chain_key TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN chain_mac BYTEA;
ALTER TABLE sluice.change_head
    ADD COLUMN chained BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN chain_mac BYTEA;

-- What /audit is asked for alone.
CREATE INDEX changes_action_number ON sluice.changes (action, number);
CREATE INDEX changes_claimed_actor_number ON sluice.changes (claimed_actor, number) WHERE claimed_actor <> '';
CREATE INDEX changes_source_number ON sluice.changes (source, number) WHERE source <> '';
CREATE INDEX changes_request_id_number ON sluice.changes (request_id, number) WHERE request_id <> '';

-- Stretches of the record that were moved to files, oldest first. mac is of the
-- other columns, under the chain key of chain_key.
CREATE TABLE sluice.change_stretches (
    first_number BIGINT NOT NULL PRIMARY KEY,
    last_number BIGINT NOT NULL,
    before_mac BYTEA,
    last_mac BYTEA NOT NULL,
    file_name TEXT NOT NULL,
    file_digest BYTEA NOT NULL,
    archived_at TIMESTAMPTZ NOT NULL,
    chain_key TEXT COLLATE "C" NOT NULL,
    mac BYTEA NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION sluice.keep_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'changes' THEN
        IF OLD.chain_mac IS NULL AND NEW.chain_mac IS NOT NULL
            AND (OLD.number, OLD.at, OLD.actor, OLD.actor_key, OLD.claimed_actor, OLD.action, OLD.object_type, OLD.object_id,
                 OLD.before_value::text, OLD.after_value::text, OLD.source, OLD.request_id, OLD.host, OLD.reason)
            IS NOT DISTINCT FROM
                (NEW.number, NEW.at, NEW.actor, NEW.actor_key, NEW.claimed_actor, NEW.action, NEW.object_type, NEW.object_id,
                 NEW.before_value::text, NEW.after_value::text, NEW.source, NEW.request_id, NEW.host, NEW.reason)
        THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'changes' THEN
        IF EXISTS (SELECT 1 FROM sluice.change_stretches s WHERE OLD.number BETWEEN s.first_number AND s.last_number) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'sluice.% is insert-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER keep_rows BEFORE UPDATE OR DELETE ON sluice.changes FOR EACH ROW EXECUTE FUNCTION sluice.keep_changes();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON sluice.changes FOR EACH STATEMENT EXECUTE FUNCTION sluice.keep_changes();
CREATE TRIGGER keep_rows BEFORE UPDATE OR DELETE ON sluice.change_stretches FOR EACH ROW EXECUTE FUNCTION sluice.keep_changes();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON sluice.change_stretches FOR EACH STATEMENT EXECUTE FUNCTION sluice.keep_changes();

-- Imports from other systems: one row each. cursors is an object of source table
-- and the last key that was taken, report what is told at the end.
CREATE TABLE sluice.imports (
    system TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done')),
    run BIGINT NOT NULL,
    cursors JSONB NOT NULL DEFAULT '{}',
    report JSONB NOT NULL DEFAULT '{}',
    started_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ
);

-- What was taken, and the number of the change that did: an object with another
-- number was changed here since, one that is missing was deleted here. spend is
-- the part of the object's spend that came from there, digest the SHA-256 of
-- what was taken.
CREATE TABLE sluice.imported (
    object_type TEXT COLLATE "C" NOT NULL,
    object_id TEXT COLLATE "C" NOT NULL,
    change_number BIGINT NOT NULL,
    spend BIGINT NOT NULL DEFAULT 0,
    total_spend BIGINT NOT NULL DEFAULT 0,
    digest BYTEA NOT NULL,
    PRIMARY KEY (object_type, object_id)
);

-- Rows that nothing here understands yet, kept to the letter.
CREATE TABLE sluice.imported_documents (
    source_table TEXT COLLATE "C" NOT NULL,
    object_id TEXT COLLATE "C" NOT NULL,
    document JSON NOT NULL,
    PRIMARY KEY (source_table, object_id)
);

-- Daily sums of the time before: entity_type is what entity_id names.
CREATE TABLE sluice.historic_daily_spend (
    entity_type TEXT COLLATE "C" NOT NULL,
    row_id TEXT COLLATE "C" NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    day DATE NOT NULL,
    token TEXT COLLATE "C" NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    model_group TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    endpoint TEXT NOT NULL DEFAULT '',
    tool TEXT NOT NULL DEFAULT '',
    prompt_tokens BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens BIGINT NOT NULL DEFAULT 0,
    cache_write_tokens BIGINT NOT NULL DEFAULT 0,
    spend BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL DEFAULT 0,
    successful_requests BIGINT NOT NULL DEFAULT 0,
    failed_requests BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_type, row_id)
);
CREATE INDEX historic_daily_spend_entity ON sluice.historic_daily_spend (entity_type, entity_id, day);
CREATE INDEX historic_daily_spend_day ON sluice.historic_daily_spend (day);

-- Spend of budget windows that were running when it was taken over.
CREATE TABLE sluice.budget_windows (
    entity_type TEXT COLLATE "C" NOT NULL,
    entity_id TEXT COLLATE "C" NOT NULL,
    window_duration TEXT COLLATE "C" NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    spend BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_type, entity_id, window_duration)
);
