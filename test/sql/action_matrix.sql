-- Promise: every action function, called on a row of its noun in every status,
-- does exactly what the design's table says: the new status is returned and
-- stored, with the events of the line and revisions without holes; where the
-- action leads it is a no-op without event; elsewhere SV001 and nothing
-- happened.
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET client_min_messages = warning;
SET search_path = svc;
SELECT svc_install() \g /dev/null
-- quiet actions are to be heard, too
SET svc.consumed_events = on;
CREATE TEMP TABLE csv (line int GENERATED ALWAYS AS IDENTITY, noun text, action text,
                       from_status text, to_status text, events text, origin text, guard text);
\getenv dir PG_ABS_SRCDIR
\set file :dir '/data/transitions.csv'
COPY csv (noun, action, from_status, to_status, events, origin, guard)
FROM :'file' WITH (FORMAT csv, HEADER true);
CREATE TEMP TABLE allowed AS
SELECT line, noun, action, f AS from_status,
       CASE to_status WHEN '=' THEN f ELSE to_status END AS to_status,
       string_to_array(events, '+') AS events
FROM csv, LATERAL unnest(CASE from_status WHEN '-' THEN ARRAY[NULL]
                         ELSE string_to_array(from_status, '|') END) AS f;
CREATE TEMP TABLE statuses AS
SELECT DISTINCT noun, to_status AS status FROM allowed;

-- the function of an action
CREATE FUNCTION function_of(noun text, action text) RETURNS text LANGUAGE sql AS $$
    SELECT format('svc_%s_%s', lower(regexp_replace(action, '([A-Z])', '_\1', 'g')),
                  CASE noun WHEN 'customer_segment' THEN 'segment'
                            WHEN 'support_ticket' THEN 'ticket' ELSE noun END)
$$;

-- How to call them.
-- call: what is called, $1 is the row's id; null: the function, with the keys
-- alone. put: columns of the row that differ from those of put_row, as SQL.
-- before: run after the row was put. leads_to: what is expected from a status,
-- or from others (*), where the table has several lines ("=" is the same
-- status); null: the one line that there is. idle: is a call in the status
-- that the action leads to a no-op?
CREATE TEMP TABLE calls (
    noun text, action text, variant text DEFAULT '', call text, put jsonb DEFAULT '{}',
    before text, leads_to jsonb, idle boolean DEFAULT true);
INSERT INTO calls (noun, action, variant, call, put, before, leads_to, idle) VALUES
    ('customer', 'update', 'name', 'svc_update_customer($1, ''{"name": "new"}'')', '{}', NULL, '{"*": "="}', true),
    ('customer', 'update', 'risk rises', 'svc_update_customer($1, ''{"risk_level": "high"}'')', '{}', NULL,
     '{"active": "at-risk", "reactivated": "at-risk", "*": "="}', true),
    ('customer', 'update', 'risk falls', 'svc_update_customer($1, ''{"risk_level": "low"}'')',
     '{"risk_level": "''critical''"}', NULL, '{"at-risk": "active", "*": "="}', true),
    ('customer', 'delete', 'with an open subscription', 'svc_delete_customer($1, force => true)', '{}',
     'INSERT INTO svc_subscription (customer_id, plan_id, price) VALUES ($1, ''plan'', 1)', NULL, true),
    -- merging twice is a mistake, not a repetition: it may name another survivor
    ('customer', 'merge', '', 'svc_merge_customer($1, ''owner'')', '{}', NULL, NULL, false),
    ('entitlement', 'update', 'name', 'svc_update_entitlement(''owner'', $1, ''{"name": "new"}'')', '{}', NULL,
     '{"*": "="}', true),
    ('entitlement', 'update', 'limit raised', 'svc_update_entitlement(''owner'', $1, ''{"limit_amount": 6}'')', '{}', NULL,
     '{"exhausted": "active", "*": "="}', true),
    ('entitlement', 'update', 'unlimited', 'svc_update_entitlement(''owner'', $1, ''{"unlimited": true}'')', '{}', NULL,
     '{"exhausted": "active", "*": "="}', true),
    ('entitlement', 'update', 'limit lowered', 'svc_update_entitlement(''owner'', $1, ''{"limit_amount": 0}'')', '{}', NULL,
     '{"active": "exhausted", "*": "="}', true),
    ('entitlement', 'update', 'validity prolonged',
     'svc_update_entitlement(''owner'', $1, ''{"valid_until": "2999-01-01Z"}'')', '{"valid_until": "''epoch''"}', NULL,
     '{"expired": "active", "*": "="}', true),
    ('entitlement', 'resume', 'something is left', NULL, '{"used_amount": "4", "remaining_amount": "1"}', NULL,
     '{"suspended": "active"}', true),
    ('entitlement', 'resume', 'nothing is left', NULL, '{"used_amount": "5", "remaining_amount": "0"}', NULL,
     '{"suspended": "exhausted"}', true),
    ('entitlement', 'expire', 'validity is over', NULL, '{"valid_until": "''epoch''"}', NULL, NULL, true),
    ('customer_usage', 'record', '',
     'svc_record_customer_usage(''owner'', jsonb_build_object(''period_type'', ''day'', ''period_start'',
      (SELECT period_start FROM svc_customer_usage WHERE id = $1), ''api_calls'', 5))', '{}', NULL,
     '{"partial": "=", "complete": "partial"}', true),
    ('customer_usage', 'aggregate', 'period is over', NULL, '{}', NULL, '{"*": "complete"}', true),
    ('customer_usage', 'aggregate', 'period is open', NULL, '{"period_end": "''2999-01-01Z''"}', NULL, '{"*": "="}', true),
    ('customer_segment', 'update', 'name', 'svc_update_segment($1, ''{"name": "new"}'')', '{}', NULL, '{"*": "="}', true),
    ('customer_segment', 'update', 'inactive', 'svc_update_segment($1, ''{"status": "inactive", "name": "new"}'')', '{}',
     NULL, '{"active": "inactive", "*": "="}', true),
    ('customer_segment', 'update', 'active', 'svc_update_segment($1, ''{"status": "active", "name": "new"}'')', '{}',
     NULL, '{"inactive": "active", "*": "="}', true),
    ('customer_segment', 'addCustomer', '', 'svc_add_segment_customer($1, ''owner'')', '{}', NULL, NULL, true),
    ('customer_segment', 'removeCustomer', '', 'svc_remove_segment_customer($1, ''owner'')', '{"customer_count": "1"}',
     'INSERT INTO svc_segment_member (customer_id, segment_id) VALUES (''owner'', $1)', NULL, true),
    ('plan', 'update', 'name', 'svc_update_plan($1, ''{"name": "new"}'')', '{}', NULL, '{"*": "="}', true),
    ('plan', 'update', 'legacy', 'svc_update_plan($1, ''{"status": "legacy", "name": "new"}'')', '{}', NULL,
     '{"active": "legacy", "hidden": "legacy", "*": "="}', true),
    ('plan', 'updatePricing', '', 'svc_update_pricing_plan($1, ''{"price": 5}'')', '{}', NULL, NULL, true),
    ('subscription', 'resume', 'trial is over', NULL, '{"trial_end": "''epoch''"}', NULL, '{"paused": "active"}', true),
    ('subscription', 'resume', 'no trial', NULL, '{}', NULL, '{"paused": "active"}', true),
    ('subscription', 'resume', 'trial goes on', NULL, '{"trial_end": "''2999-01-01Z''"}', NULL, '{"paused": "trialing"}', true),
    ('subscription', 'upgrade', '', 'svc_upgrade_subscription(''owner'', $1, ''bigger'')', '{}', NULL, NULL, true),
    ('subscription', 'downgrade', '', 'svc_downgrade_subscription(''owner'', $1, ''bigger'', 2)', '{}', NULL, NULL, true),
    ('subscription', 'update', '', 'svc_update_subscription(''owner'', $1, ''{"cancel_at_period_end": true}'')', '{}', NULL, NULL, true),
    ('order', 'update', '', 'svc_update_order(''owner'', $1, ''{"notes": "new"}'')', '{}', NULL, NULL, true),
    -- a payment that comes twice is not overlooked: nothing is due
    ('invoice', 'pay', 'all', NULL, '{}', NULL, '{"*": "paid"}', false),
    ('invoice', 'pay', 'nothing of nothing', NULL, '{"total": "0", "amount_paid": "0", "amount_due": "0"}', NULL, '{"*": "paid"}', false),
    ('invoice', 'pay', 'part', 'svc_pay_invoice(''owner'', $1, 0.5)', '{}', NULL,
     '{"open": "partial", "sent": "partial", "*": "="}', false),
    ('invoice', 'refund', 'all', NULL, '{}', NULL, NULL, true),
    ('invoice', 'refund', 'part', 'svc_refund_invoice(''owner'', $1, 0.5)', '{}', NULL, NULL, true),
    ('invoice', 'markOverdue', 'due date has passed', NULL, '{"due_date": "''epoch''"}', NULL, NULL, true),
    ('invoice', 'void', 'after a refund', NULL,
     '{"amount_paid": "1", "amount_refunded": "1", "amount_due": "1"}', NULL, NULL, true),
    ('invoice', 'update', '', 'svc_update_invoice(''owner'', $1, ''{"description": "new"}'')', '{}', NULL, NULL, true),
    ('support_ticket', 'assign', '', 'svc_assign_ticket(''owner'', $1, ''agent'')', '{}', NULL, NULL, true),
    ('support_ticket', 'respond', 'by the customer', 'svc_respond_ticket(''owner'', $1, ''customer'')', '{}', NULL,
     '{"escalated": "=", "*": "open"}', true),
    ('support_ticket', 'respond', 'by an agent', 'svc_respond_ticket(''owner'', $1)', '{}', NULL,
     '{"escalated": "=", "*": "pending"}', true),
    ('support_ticket', 'respond', 'by an agent, on hold', 'svc_respond_ticket(''owner'', $1, hold => true)', '{}', NULL,
     '{"escalated": "=", "*": "on-hold"}', true),
    ('support_ticket', 'rate', '', 'svc_rate_ticket(''owner'', $1, 5)', '{}', NULL, NULL, true),
    ('support_ticket', 'update', '', 'svc_update_ticket(''owner'', $1, ''{"priority": "high"}'')', '{}', NULL, NULL, true),
    -- nor is a second bill, which may name another invoice
    ('usage', 'bill', '', 'svc_bill_usage(''owner'', $1, ''invoice'')', '{}', NULL, NULL, false),
    ('usage', 'adjust', 'by a correction', 'svc_adjust_usage(''owner'', $1, -1)', '{}', NULL, NULL, true);
-- all others by their keys alone, and those above, too, whose variants do
INSERT INTO calls (noun, action, variant)
SELECT DISTINCT noun, action, 'plainly' FROM csv c
WHERE from_status <> '-'
  AND EXISTS (SELECT FROM pg_proc WHERE proname = function_of(noun, action))
  AND (NOT EXISTS (SELECT FROM calls k WHERE k.noun = c.noun AND k.action = c.action)
       OR (noun, action) IN (('customer', 'delete'), ('invoice', 'void')));
-- a consume is decided, not refused: see entitlement.sql; usage is aggregated in bulk: see usage.sql
DELETE FROM calls WHERE action = 'consume' OR (noun, action) = ('usage', 'aggregate');
UPDATE calls SET call = format(CASE WHEN noun IN ('customer', 'plan', 'customer_segment')
                               THEN '%s($1)' ELSE '%s(''owner'', $1)' END, function_of(noun, action))
WHERE call IS NULL;
-- actions on rows without a function of their own: consume, and alert, which comes with others
SELECT DISTINCT noun, action FROM csv c
WHERE from_status <> '-' AND NOT EXISTS (SELECT FROM calls k WHERE k.noun = c.noun AND k.action = c.action);

-- what a row of each noun has at least; $1 is its id, $2 its status
CREATE FUNCTION columns_of(of_noun text, status text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(c, v) FROM (
        SELECT 'id', '$1'
        UNION ALL SELECT * FROM (VALUES ('status', '$2'), ('revision', '7'), ('created_at', '''epoch'''),
                                        ('updated_at', '''epoch''')) a
        UNION ALL SELECT 'customer_id', '''owner''' WHERE of_noun NOT IN ('customer', 'plan', 'customer_segment')
        UNION ALL SELECT 'name', '''n''' WHERE of_noun IN ('customer', 'plan', 'customer_segment', 'entitlement')
        UNION ALL SELECT 'automated', 'false' WHERE of_noun = 'customer_segment'
        UNION ALL SELECT k.c, k.v FROM (VALUES
            ('entitlement', 'code', '$1'), ('entitlement', 'limit_amount', '5'),
            ('entitlement', 'used_amount', CASE status WHEN 'exhausted' THEN '5' ELSE '0' END),
            ('entitlement', 'remaining_amount', CASE status WHEN 'exhausted' THEN '0' ELSE '5' END),
            ('plan', 'price', '1'), ('subscription', 'price', '1'), ('subscription', 'plan_id', '''plan'''),
            ('subscription', 'billing_cycle', '''monthly'''), ('subscription', 'allow_duplicate', 'true'),
            ('subscription', 'billing_anchor', '''2020-01-31Z'''), ('subscription', 'current_period_start', '''2020-01-31Z'''),
            ('subscription', 'current_period_end', '''2020-02-29Z'''),
            ('order', 'total', '1'), ('invoice', 'total', '2'),
            ('invoice', 'amount_paid', CASE status WHEN 'paid' THEN '2' WHEN 'partial' THEN '1' ELSE '0' END),
            ('invoice', 'amount_due', CASE status WHEN 'paid' THEN '0' WHEN 'void' THEN '0' WHEN 'partial' THEN '1' ELSE '2' END),
            ('customer_usage', 'period_type', '''day'''),
            ('customer_usage', 'period_start', 'timestamptz ''epoch'' + make_interval(mins => substr($1, 2)::int)'),
            ('customer_usage', 'period_end', 'timestamptz ''epoch'' + make_interval(mins => substr($1, 2)::int + 1)'),
            ('support_ticket', 'subject', '''s'''), ('usage', 'resource', '''r'''), ('usage', 'quantity', '1'),
            ('usage', 'booked_at', '''epoch'''), ('usage', 'xid', '''3'''), ('usage', 'cluster', '0'))
            AS k (n, c, v) WHERE n = of_noun) a (c, v)
$$;
-- put a row into a status: as a restored one, which makes no event
CREATE PROCEDURE put_row(noun text, row_id text, status text, other jsonb) LANGUAGE plpgsql AS $$
DECLARE
    columns jsonb := columns_of(noun, status) || other;
BEGIN
    EXECUTE format('INSERT INTO %I (%s) SELECT %s', 'svc_' || noun,
                   (SELECT string_agg(quote_ident(key), ', ' ORDER BY key) FROM jsonb_each_text(columns)),
                   (SELECT string_agg(value, ', ' ORDER BY key) FROM jsonb_each_text(columns)))
    USING row_id, status;
END $$;
CALL put_row('customer', 'owner', 'active', '{}');
CALL put_row('plan', 'plan', 'active', '{}');
CALL put_row('plan', 'bigger', 'hidden', '{}');
CALL put_row('invoice', 'invoice', 'open', '{}');

CREATE TEMP TABLE outcome (
    noun text, action text, variant text, from_status text, idle boolean, leads_to jsonb,
    sqlstate text, returned text, to_status text, steps bigint, events text[], revisions bigint[],
    sides boolean, actions text[]);
DO $$
DECLARE
    c record;
    row_id text;
    n int := 0;
    answer text;
    state text;
    now_status text;
    steps bigint;
BEGIN
    FOR c IN SELECT k.*, s.status AS from_status FROM calls k JOIN statuses s USING (noun) LOOP
        n := n + 1;
        row_id := 'r' || n;
        answer := NULL;
        state := '00000';
        CALL put_row(c.noun, row_id, c.from_status, c.put);
        IF c.before IS NOT NULL THEN
            EXECUTE c.before USING row_id;
        END IF;
        BEGIN
            EXECUTE 'SELECT ' || c.call INTO answer USING row_id;
        EXCEPTION WHEN OTHERS THEN
            state := SQLSTATE;
        END;
        EXECUTE format('SELECT status, revision - 7 FROM %I WHERE id = $1', 'svc_' || c.noun)
        INTO now_status, steps USING row_id;
        INSERT INTO outcome
        SELECT c.noun, c.action, c.variant, c.from_status, c.idle, c.leads_to,
               state, CASE WHEN c.noun = 'customer_usage' AND answer = row_id THEN now_status ELSE answer END,
               now_status, steps,
               coalesce(array_agg(e.event ORDER BY e.revision), '{}'),
               coalesce(array_agg(e.revision ORDER BY e.revision), '{}'),
               bool_and(e.to_status = now_status AND
                        e.from_status = CASE e.revision WHEN 8 THEN c.from_status ELSE now_status END),
               array_agg(DISTINCT e.action)
        FROM svc_event e WHERE e.noun = c.noun AND e.entity_id = row_id;
    END LOOP;
END $$;

-- what the table says of each call
CREATE TEMP TABLE verdict AS
SELECT o.*, a.line, a.events AS expected_events, a.to_status AS expected_status,
       CASE WHEN a.line IS NOT NULL THEN 'done'
            WHEN o.idle
                 AND EXISTS (SELECT FROM allowed l WHERE (l.noun, l.action, l.to_status) = (o.noun, o.action, o.from_status))
                 AND NOT EXISTS (SELECT FROM allowed l WHERE (l.noun, l.action, l.from_status) = (o.noun, o.action, o.from_status))
            THEN 'nothing to do' ELSE 'refused' END AS expected
FROM outcome o LEFT JOIN LATERAL (
    SELECT * FROM allowed l
    WHERE (l.noun, l.action, l.from_status) = (o.noun, o.action, o.from_status)
      AND (o.leads_to IS NULL OR
           l.to_status = coalesce(nullif(coalesce(o.leads_to ->> o.from_status, o.leads_to ->> '*'), '='), o.from_status))
    ORDER BY l.line LIMIT 1) a ON true;
SELECT noun, count(DISTINCT action) AS actions, count(*) AS calls,
       count(*) FILTER (WHERE expected = 'done') AS done,
       count(*) FILTER (WHERE expected = 'nothing to do') AS nothing_to_do,
       count(*) FILTER (WHERE expected = 'refused') AS refused
FROM verdict GROUP BY noun ORDER BY noun COLLATE "C";

-- differences from the table: none
SELECT noun, action, variant, from_status, expected, expected_status, expected_events,
       sqlstate, returned, to_status, events, revisions
FROM verdict
WHERE CASE expected
      WHEN 'done' THEN
          (sqlstate, returned, to_status, events, revisions, sides, actions)
          IS DISTINCT FROM
          ('00000', expected_status, expected_status, expected_events,
           (ARRAY[8, 9]::bigint[])[:cardinality(expected_events)], true, ARRAY[action])
          OR steps <> cardinality(expected_events)
      WHEN 'nothing to do' THEN
          (sqlstate, returned, to_status, steps, events)
          IS DISTINCT FROM ('00000', from_status, from_status, 0::bigint, '{}'::text[])
      ELSE
          (sqlstate, to_status, steps, events)
          IS DISTINCT FROM ('SV001', from_status, 0::bigint, '{}'::text[])
      END
ORDER BY 1, 2, 3, 4;

-- lines of the table that no call has taken: those of consume and alert, and a reset
-- that leaves nothing (see entitlement_reset.sql)
SELECT a.noun, a.action, a.from_status, a.to_status FROM allowed a
WHERE a.from_status IS NOT NULL
  AND NOT EXISTS (SELECT FROM verdict v WHERE v.expected = 'done' AND (v.noun, v.action, v.from_status, v.expected_status)
                  = (a.noun, a.action, a.from_status, a.to_status))
ORDER BY a.line, a.from_status;

-- a guard that does not hold refuses what the table alone would allow
CREATE TEMP TABLE guarded (noun text, status text, put jsonb, call text);
INSERT INTO guarded VALUES
    ('customer', 'active', '{}', 'svc_merge_customer($1, $1)'),
    ('entitlement', 'active', '{}', 'svc_expire_entitlement(''owner'', $1)'),
    ('entitlement', 'active', '{"valid_until": "''2999-01-01Z''"}', 'svc_expire_entitlement(''owner'', $1)'),
    ('entitlement', 'active', '{"limit_amount": "NULL", "remaining_amount": "NULL"}', 'svc_reset_entitlement(''owner'', $1)'),
    ('plan', 'active', '{}', 'svc_update_plan($1, ''{"status": "hidden"}'')'),
    ('subscription', 'active', '{"current_period_end": "NULL"}', 'svc_renew_subscription(''owner'', $1)'),
    ('invoice', 'open', '{"total": "0", "amount_due": "0"}', 'svc_pay_invoice(''owner'', $1, 1)'),
    ('invoice', 'open', '{}', 'svc_mark_overdue_invoice(''owner'', $1)'),
    ('support_ticket', 'new', '{}', 'svc_assign_ticket(''owner'', $1)'),
    ('usage', 'aggregated', '{}', 'svc_bill_usage(''owner'', $1, NULL)'),
    ('invoice', 'open', '{"due_date": "''2999-01-01Z''"}', 'svc_mark_overdue_invoice(''owner'', $1)'),
    ('invoice', 'uncollectible', '{"amount_paid": "1", "amount_due": "1"}', 'svc_void_invoice(''owner'', $1)'),
    ('invoice', 'paid', '{"amount_paid": "2", "amount_refunded": "2", "amount_due": "0"}', 'svc_refund_invoice(''owner'', $1)'),
    ('usage', 'recorded', '{}', 'svc_adjust_usage(''owner'', $1)');
DO $$
DECLARE
    g record;
    n int := 0;
    state text;
    message text;
BEGIN
    FOR g IN SELECT * FROM guarded LOOP
        n := n + 1;
        CALL put_row(g.noun, 'g' || n, g.status, g.put);
        BEGIN
            EXECUTE 'SELECT ' || g.call USING 'g' || n;
            RAISE WARNING '% was done', g.call;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
            RAISE WARNING '%: %', state, message;
        END;
    END LOOP;
END $$;

-- a dispute is settled without a correction, too
CALL put_row('usage', 'd1', 'disputed', '{}');
SELECT svc_adjust_usage('owner', 'd1'), (SELECT count(*) FROM svc_usage WHERE adjusts_id = 'd1') AS corrections;

-- creation: each line that starts from nothing, by its function
CREATE TEMP TABLE created (noun text, to_status text, call text);
INSERT INTO created VALUES
    ('customer', 'prospect', 'svc_create_customer(''{"id": "new", "name": "n"}'')'),
    ('customer', 'active', 'svc_create_customer(''{"id": "new active", "name": "n", "status": "active"}'')'),
    ('entitlement', 'active', 'svc_grant_entitlement(''owner'', ''new'', 1, id => ''new'')'),
    ('customer_usage', 'partial', 'svc_record_customer_usage(''owner'',
        ''{"id": "new", "period_type": "day", "period_start": "2020-01-01Z", "period_end": "2020-01-02Z"}'')'),
    ('customer_segment', 'active', 'svc_create_segment(''{"id": "new", "name": "n"}'')'),
    ('plan', 'active', 'svc_create_plan(''{"id": "new", "name": "n", "price": 1}'')'),
    ('plan', 'hidden', 'svc_create_plan(''{"id": "new hidden", "name": "n", "price": 1, "status": "hidden"}'')'),
    ('subscription', 'active', 'svc_create_subscription(''owner'', ''plan'', properties => ''{"id": "new"}'', allow_duplicate => true)'),
    ('subscription', 'trialing', 'svc_create_subscription(''owner'', ''plan'',
        properties => ''{"id": "new trialing", "status": "trialing"}'', allow_duplicate => true)'),
    ('order', 'pending', 'svc_create_order(''owner'', ''{"id": "new", "total": 1}'')'),
    ('invoice', 'draft', 'svc_create_invoice(''owner'', ''{"id": "new", "total": 1}'')'),
    ('support_ticket', 'new', 'svc_create_ticket(''owner'', ''{"id": "new", "subject": "s"}'')'),
    ('usage', 'recorded', 'svc_record_usage(''owner'', ''new'')');
TRUNCATE outcome;
DO $$
DECLARE
    c record;
    new_id text;
BEGIN
    FOR c IN SELECT * FROM created LOOP
        EXECUTE 'SELECT ' || c.call INTO new_id;
        INSERT INTO outcome (noun, action, to_status, events, revisions, sides)
        SELECT c.noun, e.action, e.to_status, array_agg(e.event), array_agg(e.revision), bool_and(e.from_status IS NULL)
        FROM svc_event e WHERE e.noun = c.noun AND e.entity_id = new_id GROUP BY 1, 2, 3;
    END LOOP;
END $$;
-- differences from the table: none
SELECT * FROM (
    SELECT noun, action, to_status, events, '{1}'::bigint[] AS revisions, true AS sides
    FROM allowed WHERE from_status IS NULL) a
FULL JOIN (SELECT noun, action, to_status, events, revisions, sides FROM outcome) o
    USING (noun, action, to_status, events, revisions, sides)
WHERE a IS NULL OR o IS NULL;

-- what svc_available_actions() says of a row is what its status allows
CREATE TEMP TABLE available (noun text, from_status text, action text, to_status text);
DO $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT noun, status, 'a' || row_number() OVER () + 10000 AS id FROM statuses LOOP
        CALL put_row(s.noun, s.id, s.status, '{}');
        INSERT INTO available
        SELECT s.noun, s.status, a.action, a.to_status FROM svc_available_actions(s.noun, 'owner', s.id) a;
    END LOOP;
END $$;
SELECT * FROM (SELECT noun, action, from_status, to_status FROM allowed
               WHERE from_status IS NOT NULL AND action <> 'alert') a
FULL JOIN available b USING (noun, action, from_status, to_status)
WHERE a IS NULL OR b IS NULL;

DROP SCHEMA svc CASCADE;
