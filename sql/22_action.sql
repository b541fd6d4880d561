-- What can be asked about lifecycles.

CREATE FUNCTION svc_available_actions(
    noun text, customer_id text, id text,
    OUT action text, OUT to_status text, OUT guard text)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
    AS 'MODULE_PATHNAME', 'svc_available_actions';
COMMENT ON FUNCTION svc_available_actions(text, text, text) IS
'The actions that the status of a row allows, where each leads, and in words when it applies. customer_id is ignored, and may be null, for customers, plans and segments. Raises SV012 for an unknown noun, SV008 when there is no such row.';

CREATE FUNCTION svc_transition_diagram(noun text) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_transition_diagram';
COMMENT ON FUNCTION svc_transition_diagram(text) IS
'The lifecycle of a noun as a state diagram in the language of Mermaid; actions that leave the status as it is are not drawn. Raises SV012 for an unknown noun.';
