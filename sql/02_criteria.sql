-- The type of segment criteria.

CREATE TYPE svc_criteria;
CREATE FUNCTION svc_criteria_in(cstring) RETURNS svc_criteria
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION svc_criteria_out(svc_criteria) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION svc_criteria_recv(internal) RETURNS svc_criteria
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE FUNCTION svc_criteria_send(svc_criteria) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
CREATE TYPE svc_criteria (
    INPUT = svc_criteria_in, OUTPUT = svc_criteria_out,
    RECEIVE = svc_criteria_recv, SEND = svc_criteria_send,
    ALIGNMENT = int4, STORAGE = extended
);
COMMENT ON TYPE svc_criteria IS
'Criteria of a segment: a strict MongoDB-style query document, checked and compiled when it is read. Its text is the document as it was given. Raises SV022 with a JSON pointer for what is not of the language.';

CREATE FUNCTION svc_criteria(jsonb) RETURNS svc_criteria
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'svc_criteria_from_jsonb';
COMMENT ON FUNCTION svc_criteria(jsonb) IS
'Criteria from a jsonb document; of keys that stood twice in its text jsonb has kept the last. Raises SV022 for what is not of the language.';
CREATE FUNCTION jsonb(svc_criteria) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'svc_criteria_to_jsonb';
COMMENT ON FUNCTION jsonb(svc_criteria) IS 'The document of criteria.';
CREATE CAST (jsonb AS svc_criteria) WITH FUNCTION svc_criteria(jsonb) AS ASSIGNMENT;
CREATE CAST (svc_criteria AS jsonb) WITH FUNCTION jsonb(svc_criteria) AS ASSIGNMENT;

CREATE FUNCTION svc_criteria_eq(svc_criteria, svc_criteria) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_criteria_eq(svc_criteria, svc_criteria) IS 'Are the documents of both equal, as jsonb?';
CREATE FUNCTION svc_criteria_ne(svc_criteria, svc_criteria) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_criteria_ne(svc_criteria, svc_criteria) IS 'Do the documents of both differ, as jsonb?';
CREATE FUNCTION svc_criteria_hash(svc_criteria) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_criteria_hash(svc_criteria) IS 'For hash joins and GROUP BY.';
CREATE OPERATOR = (
    LEFTARG = svc_criteria, RIGHTARG = svc_criteria, FUNCTION = svc_criteria_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
CREATE OPERATOR <> (
    LEFTARG = svc_criteria, RIGHTARG = svc_criteria, FUNCTION = svc_criteria_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR CLASS svc_criteria_ops DEFAULT FOR TYPE svc_criteria USING hash AS
    OPERATOR 1 =, FUNCTION 1 svc_criteria_hash(svc_criteria);

CREATE FUNCTION svc_criteria_paths(criteria svc_criteria) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_criteria_paths(svc_criteria) IS
'The paths of a document that criteria look at, in the order in which they stand, then segments, if they ask for membership; a dot or backslash within a component has a backslash before it.';

CREATE FUNCTION svc_explain_criteria(criteria svc_criteria) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_explain_criteria(svc_criteria) IS 'Criteria as a sentence in English, such as for criteria_description of a segment.';

CREATE FUNCTION svc_criteria_support(internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_criteria_support(internal) IS
'For the planner: what of constant criteria a GIN index on the documents (jsonb_path_ops or jsonb_ops) can be asked.';

CREATE FUNCTION svc_matches(doc jsonb, criteria svc_criteria, at timestamptz DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT svc_criteria_support AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_matches(jsonb, svc_criteria, timestamptz) IS
'Does a document match criteria at an instant, by default the start of the transaction? Null for a null document or null criteria, else true or false. $inSegment looks at the document''s member "segments", an array of ids.';

CREATE FUNCTION svc_criteria_match(doc jsonb, criteria svc_criteria) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE SUPPORT svc_criteria_support AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_criteria_match(jsonb, svc_criteria) IS 'Does a document match criteria at present? The operator @~.';
CREATE OPERATOR @~ (
    LEFTARG = jsonb, RIGHTARG = svc_criteria, FUNCTION = svc_criteria_match,
    RESTRICT = matchingsel, JOIN = matchingjoinsel
);
COMMENT ON OPERATOR @~ (jsonb, svc_criteria) IS 'Does a document match criteria at present?';

CREATE FUNCTION svc_matching_criteria(doc jsonb, criteria svc_criteria[], changed text[] DEFAULT NULL, at timestamptz DEFAULT NULL)
    RETURNS integer[]
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_matching_criteria(jsonb, svc_criteria[], text[], timestamptz) IS
'The numbers, from 1, of those criteria of a list that a document matches at an instant, by default the start of the transaction, in ascending order. changed restricts them to those that mention a path which has changed; of a path the first component counts, and after attributes, entitlements, usage and segments the second; null is everything. Null criteria never match; null for a null document or a null list. Cheap for many documents and the same list, which is prepared once.';

CREATE FUNCTION svc_next_change(doc jsonb, criteria svc_criteria, at timestamptz DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_next_change(jsonb, svc_criteria, timestamptz) IS
'The next instant after another, by default the start of the transaction, at which time alone may change whether a document matches criteria; null when it never will, and for a null document or null criteria. It may come too early, at the ends of months, but never too late.';

CREATE FUNCTION svc_instant(math text, at timestamptz DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION svc_instant(text, timestamptz) IS
'What date math of criteria comes to at an instant, by default the start of the transaction: now, now-30d, now+1M, now-1d/d; units are s, m, h, d, w, M and y, months are clamped, /u rounds down in UTC. Null for null math; raises 22007 for what is no date math.';
