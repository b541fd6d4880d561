-- Periods.

CREATE FUNCTION svc_period_at(
    period text, anchor timestamptz, at timestamptz, timezone text DEFAULT 'UTC',
    OUT starts_at timestamptz, OUT ends_at timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_period_at';
COMMENT ON FUNCTION svc_period_at(text, timestamptz, timestamptz, text) IS
'The period [starts_at, ends_at) that an instant lies in: periods are hourly, daily, weekly, monthly, quarterly or yearly, and begin at anchor + n periods, each reckoned from the anchor, by the clock of the time zone, on the month''s last day where it has no such day; never has none (nulls). Null for a null argument. Raises 22023 for an unknown period or time zone, or an infinite instant.';

CREATE FUNCTION svc_period_start(period_type text, at timestamptz, timezone text DEFAULT 'UTC') RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_period_start';
COMMENT ON FUNCTION svc_period_start(text, timestamptz, text) IS
'When the period of usage that an instant is in begins: hour, day, week (ISO 8601, from Monday), month, quarter or year by the clock of the time zone. Hours are 3600 seconds from the beginning of the day, so that each is within one day. Null for a null argument. Raises 22023 for an unknown period type or time zone, or an infinite instant.';

CREATE FUNCTION svc_period_end(period_type text, at timestamptz, timezone text DEFAULT 'UTC') RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_period_end';
COMMENT ON FUNCTION svc_period_end(text, timestamptz, text) IS
'When the period of usage that an instant is in ends, which is when the next one begins; as svc_period_start.';
