-- +goose Up
-- Which soft budget was told of last, and of which window: of many hosts one
-- tells. NULL where none was.
ALTER TABLE sluice.budget_windows
    ADD COLUMN told_from TIMESTAMPTZ,
    ADD COLUMN told_soft BIGINT;
