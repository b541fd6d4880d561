-- Customers.

CREATE FUNCTION svc_new_id(prefix text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_new_id';
COMMENT ON FUNCTION svc_new_id(text) IS
'A new id: prefix (1 to 63 characters a-z and _), an underscore and 128 time-ordered bits (TypeID, UUID version 7 of RFC 9562). Ids made by one session ascend in collation "C". Null gives null; another prefix raises 22023.';

CREATE FUNCTION svc_create_customer(properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_create_customer(jsonb) IS
'Creates a customer from an object of properties, which are columns of svc_customer, and returns its id; id and what else has a default may be left out. Raises 22004 for null, SV009 for an unknown property, SV010 for a value of the wrong JSON type, SV001 for a status that a new row cannot have, 23502 for a missing property, 23505 when the id exists.';

CREATE FUNCTION svc_update_customer(customer_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_customer(text, jsonb, bigint) IS
'Changes the columns of a customer that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_activate_customer(customer_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_activate_customer(text, text, bigint) IS
'Action activate of a customer: prospect, reactivated to active. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_suspend_customer(customer_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_suspend_customer(text, text, bigint) IS
'Action suspend of a customer: active, at-risk, reactivated to suspended. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_reactivate_customer(customer_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_reactivate_customer(text, text, bigint) IS
'Action reactivate of a customer: suspended to active; churned to reactivated. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_churn_customer(customer_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_churn_customer(text, text, bigint) IS
'Action churn of a customer: active, at-risk, suspended, reactivated to churned. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_delete_customer(customer_id text, force boolean DEFAULT false, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_delete_customer(text, boolean, text, bigint) IS
'Action delete of a customer: prospect, active, at-risk, suspended, reactivated, churned, merged to deleted. Returns the new status; a row that is there already stays, without an event. The row stays as a tombstone: personal columns are emptied, and removed from the changes of the customer''s events; other rows are kept. Raises SV014 while a subscription is open, unless force. reason: not kept, since it may tell who it was. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_merge_customer(from_id text, into_id text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_merge_customer';
COMMENT ON FUNCTION svc_merge_customer(text, text) IS
'Makes all rows of one customer rows of another and returns the first one''s new status, merged. Ids and idempotency keys that both have get the suffix ~from_id; roll-ups of one period and currency are added, finalized ones stay; events stay with the customer under whose id they happened. Lifetime values of one currency are added. Raises 22023 when both are the same, SV014 when a table that is not of svc has a foreign key to rows that would move, 25000 unless at READ COMMITTED, SV008 when one does not exist, SV001 when one is merged or deleted. Locks both customers and all rows of the first until the end of the transaction.';

CREATE FUNCTION svc_customer_document(customer_id text, paths text[] DEFAULT NULL) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
    AS 'MODULE_PATHNAME', 'svc_customer_document';
COMMENT ON FUNCTION svc_customer_document(text, text[]) IS
'The document that segment criteria are about: the columns of svc_customer that are not null, subscriptions, entitlements by code, usage by resource and window, and segments. paths: build only what these lead to, such as usage.api_calls.last_30d, null for all; usage that is named is there, as 0 if there was none. Instants are texts of fixed width in UTC. Null when there is no such customer; raises 22004 for a null id.';
