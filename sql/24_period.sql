-- Periods.

CREATE FUNCTION svc_period_at(
    period text, anchor timestamptz, at timestamptz, timezone text DEFAULT 'UTC',
    OUT starts_at timestamptz, OUT ends_at timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_period_at';
COMMENT ON FUNCTION svc_period_at(text, timestamptz, timestamptz, text) IS
'The period [starts_at, ends_at) that an instant lies in: periods are hourly, daily, weekly, monthly, quarterly or yearly, and begin at anchor + n periods, each reckoned from the anchor, by the clock of the time zone, on the month''s last day where it has no such day; never has none (nulls). Null for a null argument. Raises 22023 for an unknown period or time zone, or an infinite instant.';
