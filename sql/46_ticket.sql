-- Support tickets.

CREATE FUNCTION svc_create_ticket(customer_id text, properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_create_ticket(text, jsonb) IS
'Creates a support ticket from an object of properties, which are columns of svc_support_ticket, and returns its id; id and what else has a default may be left out. Raises 22004 for null, SV008 for an unknown customer, SV009 for an unknown property, SV010 for a value of the wrong JSON type, SV001 for a status that a new row cannot have, 23502 for a missing property, 23505 when the id exists. Locks the customer FOR SHARE.';

CREATE FUNCTION svc_assign_ticket(customer_id text, ticket_id text, assigned_to text DEFAULT NULL, assigned_team text DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_assign_ticket(text, text, text, text, text, bigint) IS
'Action assign of a support ticket: new to open; open, pending, on-hold, escalated to the same status. Returns the new status; each call that is allowed makes an event. What is null stays. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_respond_ticket(customer_id text, ticket_id text, by text DEFAULT 'agent', hold boolean DEFAULT false, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_respond_ticket(text, text, text, boolean, text, bigint) IS
'Action respond of a support ticket: new, open, pending, on-hold to open; new, open, on-hold to pending; open, pending to on-hold; escalated, pending to the same status. Returns the new status; each call that is allowed makes an event. by: customer makes the ticket open, agent makes it pending or, with hold, on-hold; an escalated ticket stays escalated. An agent''s first response sets first_response_at. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_escalate_ticket(customer_id text, ticket_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_escalate_ticket(text, text, text, bigint) IS
'Action escalate of a support ticket: new, open, pending, on-hold to escalated. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_solve_ticket(customer_id text, ticket_id text, resolution text DEFAULT NULL, resolution_code text DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_solve_ticket(text, text, text, text, text, bigint) IS
'Action solve of a support ticket: new, open, pending, on-hold, escalated to solved. Returns the new status; a row that is there already stays, without an event. Sets resolved_at, and sla_breached when that is after sla_target. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_close_ticket(customer_id text, ticket_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_close_ticket(text, text, text, bigint) IS
'Action close of a support ticket: new, open, pending, on-hold, escalated, solved to closed. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_reopen_ticket(customer_id text, ticket_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_reopen_ticket(text, text, text, bigint) IS
'Action reopen of a support ticket: solved, closed to open. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_rate_ticket(customer_id text, ticket_id text, score numeric, comment text DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_rate_ticket(text, text, numeric, text, text, bigint) IS
'Action rate of a support ticket: solved, closed to the same status. Returns the new status; each call that is allowed makes an event. For a solved or closed ticket; score: 0 or more. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_update_ticket(customer_id text, ticket_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_ticket(text, text, jsonb, bigint) IS
'Changes the columns of a support ticket that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';
