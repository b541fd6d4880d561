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
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_sync_segment(text, text, bigint) IS
'Action sync of a customer segment: active to the same status. Returns the new status; each call that is allowed makes an event. Recounts the members, and what the row says about them. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_archive_segment(segment_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_archive_segment(text, text, bigint) IS
'Action archive of a customer segment: active, inactive to archived. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_add_segment_customer(segment_id text, customer_id text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_add_segment_customer';
COMMENT ON FUNCTION svc_add_segment_customer(text, text) IS
'Makes a customer a member of a segment and returns the segment''s status; who is a member stays one, without an event. The event''s changes name the customer. Raises SV008 when one of them does not exist, SV001 when the segment is archived. Locks the segment.';

CREATE FUNCTION svc_remove_segment_customer(segment_id text, customer_id text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_remove_segment_customer';
COMMENT ON FUNCTION svc_remove_segment_customer(text, text) IS
'Ends a customer''s membership of a segment and returns the segment''s status; nothing happens to who is none. Raises SV008 when the segment does not exist, SV001 when it is archived. Locks the segment.';

CREATE FUNCTION svc_segment_of(customer_id text) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_segment_of';
COMMENT ON FUNCTION svc_segment_of(text) IS
'The customer''s segment: of those that are active and that it is a member of, the one with the greatest priority, then the smallest id; null when there is none.';

CREATE FUNCTION svc_criteria_sql(criteria svc_criteria) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_criteria_sql';
COMMENT ON FUNCTION svc_criteria_sql(svc_criteria) IS
'Criteria as an SQL condition over svc_customer, to stand behind WHERE: comparisons of columns, for which indexes apply, and the rest as one @~ on svc_customer_document(). Null for null. An unknown column is one that is always missing.';
