-- Customer segments.

CREATE FUNCTION svc_create_segment(properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_create_segment(jsonb) IS
'Creates a customer segment from an object of properties, which are columns of svc_customer_segment, and returns its id; id and what else has a default may be left out. Raises 22004 for null, SV009 for an unknown property, SV010 for a value of the wrong JSON type, SV001 for a status that a new row cannot have, 23502 for a missing property, 23505 when the id exists.';

CREATE FUNCTION svc_update_segment(segment_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_segment(text, jsonb, bigint) IS
'Changes the columns of a customer segment that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_sync_segment(segment_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_sync_segment';
COMMENT ON FUNCTION svc_sync_segment(text, text, bigint) IS
'Makes the members of an active customer segment those that its criteria match, less those that were taken out by hand and with those that were put in, all within its parent; then reckons customer_count and the other figures. Returns the status. Up to 100 changes make an event customerAdded or customerRemoved each; event synced tells how many it were. reason: kept with that event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when it is not active, 25000 unless at READ COMMITTED. Locks the customers whose membership changes, and the row.';

CREATE FUNCTION svc_archive_segment(segment_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_archive_segment(text, text, bigint) IS
'Action archive of a customer segment: active, inactive to archived. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_add_segment_customer(segment_id text, customer_id text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_add_segment_customer';
COMMENT ON FUNCTION svc_add_segment_customer(text, text) IS
'Puts a customer into a segment by hand, whatever its criteria say, and returns the segment''s status; who is a member stays one, without an event. The event''s changes name the customer. Raises SV008 when one of them does not exist, SV001 when the segment is archived, or the customer merged or deleted, SV023 when the customer is not in the segment''s parent. Locks the customer''s memberships, and the segment.';

CREATE FUNCTION svc_remove_segment_customer(segment_id text, customer_id text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_remove_segment_customer';
COMMENT ON FUNCTION svc_remove_segment_customer(text, text) IS
'Takes a customer out of a segment by hand, whatever its criteria say, and returns the segment''s status; who is no member gets none, without an event. Raises SV008 when the segment does not exist, SV001 when it is archived. Locks the customer''s memberships, and the segment.';

CREATE FUNCTION svc_clear_segment_override(segment_id text, customer_id text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_clear_segment_override';
COMMENT ON FUNCTION svc_clear_segment_override(text, text) IS
'Forgets that a customer was put into a segment or taken out of it by hand: its criteria decide, at once. Returns the segment''s status. Raises SV008 when the segment does not exist, SV001 when it is archived. Locks the customer''s memberships, and the segment.';

CREATE FUNCTION svc_segment_of(customer_id text) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_segment_of';
COMMENT ON FUNCTION svc_segment_of(text) IS
'The customer''s segment: of those that are active and that it is a member of, the one with the greatest priority, then the smallest id; null when there is none.';

CREATE FUNCTION svc_segments_of(
    customer_id text, OUT segment_id text, OUT name text, OUT since timestamptz, OUT by text)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
    AS 'MODULE_PATHNAME', 'svc_segments_of';
COMMENT ON FUNCTION svc_segments_of(text) IS
'The active segments that a customer is in, those with the greatest priority first: since when, and whether by "criteria" or by "hand". Empty when there are none; raises 22004 for a null id.';

CREATE FUNCTION svc_preview_segment(
    criteria svc_criteria, sample integer DEFAULT 10,
    OUT customer_count bigint, OUT percent_of_total numeric, OUT customer_ids text[])
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_preview_segment';
COMMENT ON FUNCTION svc_preview_segment(svc_criteria, integer) IS
'How many customers a segment with these criteria would have, how many percent of all that is, and the ids of the first so many of them (0 to 1000). Raises SV022 for criteria that no segment can have, 22004 for null, 22023 for another number.';

-- The deferred triggers after which segments in real time are right; their WHEN.
CREATE FUNCTION svc_watch() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_watch';
COMMENT ON FUNCTION svc_watch() IS
'Deferred trigger on customers, entitlements, subscriptions and segments: brings the members of segments in real time up to date, once at the end of a transaction. Made by svc_install().';
CREATE FUNCTION svc_watch_begins() RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'svc_watch_begins';
COMMENT ON FUNCTION svc_watch_begins() IS
'For the triggers that call svc_watch(): is this a change that they are to fire for? Who calls it himself cannot commit what he changes after that.';

CREATE FUNCTION svc_criteria_sql(criteria svc_criteria) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_criteria_sql';
COMMENT ON FUNCTION svc_criteria_sql(svc_criteria) IS
'Criteria as an SQL condition over svc_customer, to stand behind WHERE: comparisons of columns, for which indexes apply, and the rest as one @~ on svc_customer_document(). Null for null. An unknown column is one that is always missing.';
