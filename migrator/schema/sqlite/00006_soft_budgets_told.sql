-- +goose Up
-- Which soft budget was told of last, and of which window: of many hosts one
-- tells. NULL where none was.
ALTER TABLE budget_windows ADD COLUMN told_from INTEGER;
ALTER TABLE budget_windows ADD COLUMN told_soft INTEGER;

PRAGMA user_version = 6;
