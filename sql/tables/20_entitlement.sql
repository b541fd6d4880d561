-- Entitlements: each row is one grant; grants of one customer and code stack.
--
-- Order and fill: what a decision reads stands first, wide text and jsonb
-- last; half of each page is left free, so that new versions of a row, which
-- differ in counters only, fit on its page and need no index entries (HOT).
-- No index may cover a counter; the status, which changes seldom, may stand in
-- the predicate of one.
CREATE TABLE IF NOT EXISTS @schema@.svc_entitlement (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    code text COLLATE "C" NOT NULL CHECK (length(code) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'exhausted', 'suspended', 'expired', 'revoked')),
    unlimited boolean NOT NULL DEFAULT false,
    carry_overage boolean NOT NULL DEFAULT false,
    usage_noted boolean NOT NULL DEFAULT true,
    priority integer NOT NULL DEFAULT 100 CHECK (priority >= 0),
    alerted_percent integer NOT NULL DEFAULT 0 CHECK (alerted_percent >= 0),
    revision bigint NOT NULL CHECK (revision >= 1),
    ledger_seq bigint NOT NULL DEFAULT 0 CHECK (ledger_seq >= 0),
    valid_from timestamptz,
    valid_until timestamptz,
    reset_at timestamptz,
    last_reset_at timestamptz,
    reset_anchor timestamptz CHECK (isfinite(reset_anchor)),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    limit_amount numeric CHECK (limit_amount >= 0 AND limit_amount < 'Infinity'),
    used_amount numeric NOT NULL DEFAULT 0 CHECK (used_amount >= 0 AND used_amount < 'Infinity'),
    rollover_amount numeric NOT NULL DEFAULT 0 CHECK (rollover_amount >= 0 AND rollover_amount < 'Infinity'),
    held_amount numeric NOT NULL DEFAULT 0 CHECK (held_amount >= 0 AND held_amount < 'Infinity'),
    overage_limit numeric CHECK (overage_limit >= 0 AND overage_limit < 'Infinity'),
    rollover_max numeric CHECK (rollover_max >= 0 AND rollover_max < 'Infinity'),
    remaining_amount numeric,
    usage_percent numeric,
    overage text NOT NULL DEFAULT 'deny' CHECK (overage IN ('deny', 'allow')),
    reset_timezone text,
    reset_period text
        CHECK (reset_period IN ('hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly', 'never')),
    type text NOT NULL DEFAULT 'quota',
    source text NOT NULL DEFAULT 'manual',
    source_id text COLLATE "C",
    plan_id text COLLATE "C" REFERENCES @schema@.svc_plan (id),
    subscription_id text COLLATE "C",
    name text NOT NULL,
    description text,
    alert_percents integer[],
    value jsonb,
    costs jsonb CHECK (jsonb_typeof(costs) = 'object'),
    PRIMARY KEY (customer_id, id),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES @schema@.svc_subscription (customer_id, id),
    CHECK (valid_from < valid_until)
) WITH (fillfactor = 50);
ALTER TABLE @schema@.svc_entitlement ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('ent');
CREATE INDEX IF NOT EXISTS svc_entitlement_code ON @schema@.svc_entitlement (customer_id, code, id);
CREATE INDEX IF NOT EXISTS svc_entitlement_subscription
    ON @schema@.svc_entitlement (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_entitlement_plan ON @schema@.svc_entitlement (plan_id) WHERE plan_id IS NOT NULL;
-- what usage_this_period of a subscription does not say yet; a grant enters and
-- leaves it once for each time that svc_run_due() looks
CREATE INDEX IF NOT EXISTS svc_entitlement_unnoted ON @schema@.svc_entitlement (customer_id, subscription_id)
    WHERE NOT usage_noted;
-- grants that pay for other codes, too
CREATE INDEX IF NOT EXISTS svc_entitlement_pool ON @schema@.svc_entitlement (customer_id) WHERE costs IS NOT NULL;
-- what time alone makes due, for svc_run_due(); counters are not in it
CREATE INDEX IF NOT EXISTS svc_entitlement_due ON @schema@.svc_entitlement (least(reset_at, valid_until))
    WHERE status IN ('active', 'exhausted', 'suspended') AND least(reset_at, valid_until) IS NOT NULL;

COMMENT ON TABLE @schema@.svc_entitlement IS 'What customers are entitled to: each row is one grant.';
COMMENT ON COLUMN @schema@.svc_entitlement.code IS 'What check and consume ask for; grants of one code stack.';
COMMENT ON COLUMN @schema@.svc_entitlement.status IS 'Lifecycle state; see svc_transitions(). active and exhausted follow used_amount: a grant is exhausted when it has reached limit_amount + rollover_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement.unlimited IS 'No ceiling; limit_amount is ignored.';
COMMENT ON COLUMN @schema@.svc_entitlement.priority IS 'Grants with a smaller one pay first.';
COMMENT ON COLUMN @schema@.svc_entitlement.revision IS 'Number of the grant''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.ledger_seq IS 'Number of the grant''s last ledger row; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.limit_amount IS 'Ceiling, in the unit of the code; null with unlimited false: a right that is not counted.';
COMMENT ON COLUMN @schema@.svc_entitlement.used_amount IS 'Consumed in this period: the sum of the grant''s ledger rows; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.held_amount IS 'Set aside by open holds, those included whose time is over and which svc_run_due() has not taken back yet; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.rollover_amount IS 'Carried over from the period before; perishes at the next reset; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.remaining_amount IS 'What may still be consumed within the limit: limit_amount + rollover_amount - used_amount - held_amount, not below 0; null when unlimited or not metered; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.usage_percent IS 'used_amount in percent of limit_amount + rollover_amount, 100 when that is 0; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.overage IS 'deny or allow: may consumes go beyond the limit?';
COMMENT ON COLUMN @schema@.svc_entitlement.overage_limit IS 'How far, where overage is allow; null: without end.';
COMMENT ON COLUMN @schema@.svc_entitlement.carry_overage IS 'Does what was used beyond the limit count in the next period (true), or is it forgiven (false)?';
COMMENT ON COLUMN @schema@.svc_entitlement.rollover_max IS 'How much of what is left of limit_amount is carried into the next period at most; null: nothing.';
COMMENT ON COLUMN @schema@.svc_entitlement.reset_period IS 'How often used_amount returns to 0: hourly, daily, weekly, monthly, quarterly, yearly; never or null: not by itself.';
COMMENT ON COLUMN @schema@.svc_entitlement.reset_anchor IS 'Resets happen at reset_anchor + n periods; the start of validity, or the instant of the grant, when left out.';
COMMENT ON COLUMN @schema@.svc_entitlement.reset_timezone IS 'The time zone in which periods are reckoned: the customer''s when left out.';
COMMENT ON COLUMN @schema@.svc_entitlement.reset_at IS 'The next reset, or one that is due; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.last_reset_at IS 'Start of the present period, if there was a reset; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.usage_noted IS 'Does usage_this_period of its subscription say what was used of it? Set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.alert_percents IS 'Thresholds of usage_percent, 1 to 1000: reaching one makes an event thresholdReached, once per period.';
COMMENT ON COLUMN @schema@.svc_entitlement.alerted_percent IS 'The greatest threshold that this period has reached; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.valid_from IS 'Start of validity, included; null: without bound.';
COMMENT ON COLUMN @schema@.svc_entitlement.valid_until IS 'End of validity, excluded; null: without bound.';
COMMENT ON COLUMN @schema@.svc_entitlement.value IS 'What a right that is not counted carries.';
COMMENT ON COLUMN @schema@.svc_entitlement.costs IS 'Of a pool: an object of the codes that spend it, when their own grants do not suffice, and of what a unit of each costs, in units of this grant (credits), such as {"gpt_large": 10, "gpt_small": 1}; null: no pool.';
