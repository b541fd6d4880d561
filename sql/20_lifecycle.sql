-- The lifecycle of every noun: trigger functions and the table of transitions.

CREATE FUNCTION svc_lifecycle() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_lifecycle';
COMMENT ON FUNCTION svc_lifecycle() IS
'BEFORE trigger of a table of svc, with the noun as argument: keeps the row within its lifecycle. Made by svc_install(). Raises SV001 (forbidden transition), SV006 (column maintained by svc), SV007 (a DELETE).';

CREATE FUNCTION svc_lifecycle_event() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_lifecycle_event';
COMMENT ON FUNCTION svc_lifecycle_event() IS
'AFTER trigger of a table of svc, with the noun as argument: appends the row''s events to svc_event and rings NOTIFY on channel svc. Made by svc_install().';

CREATE FUNCTION svc_append_only() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_append_only';
COMMENT ON FUNCTION svc_append_only() IS
'Trigger that refuses (SV007) what would change or remove the rows of a log. Made by svc_install().';

CREATE FUNCTION svc_transitions(
    OUT line integer,
    OUT noun text,
    OUT action text,
    OUT from_status text,
    OUT to_status text,
    OUT events text[],
    OUT guard text)
RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 200
    AS 'MODULE_PATHNAME', 'svc_transitions';
COMMENT ON FUNCTION svc_transitions() IS
'The lifecycles of all nouns: for each status that an action can be taken from (null: creation), the status it leads to and the events it makes. Lines are in the order in which a plain UPDATE is matched against them. guard says in words when a line applies.';
