-- Entitlements: each row is one grant; grants of one customer and code stack.
--
-- Order and fill: what a decision reads stands first, wide text and jsonb
-- last; half of each page is left free, so that new versions of a row, which
-- differ in counters only, fit on its page and need no index entries (HOT).
-- No index may cover a counter or the status.
CREATE TABLE IF NOT EXISTS @schema@.svc_entitlement (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    code text COLLATE "C" NOT NULL CHECK (length(code) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'exhausted', 'suspended', 'expired', 'revoked')),
    unlimited boolean NOT NULL DEFAULT false,
    priority integer NOT NULL DEFAULT 100 CHECK (priority >= 0),
    revision bigint NOT NULL CHECK (revision >= 1),
    ledger_seq bigint NOT NULL DEFAULT 0 CHECK (ledger_seq >= 0),
    valid_from timestamptz,
    valid_until timestamptz,
    reset_at timestamptz,
    last_reset_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    limit_amount numeric CHECK (limit_amount >= 0 AND limit_amount < 'Infinity'),
    used_amount numeric NOT NULL DEFAULT 0 CHECK (used_amount >= 0 AND used_amount < 'Infinity'),
    remaining_amount numeric,
    usage_percent numeric,
    reset_period text
        CHECK (reset_period IN ('hourly', 'daily', 'weekly', 'monthly', 'quarterly', 'yearly', 'never')),
    type text NOT NULL DEFAULT 'quota',
    source text NOT NULL DEFAULT 'manual',
    source_id text COLLATE "C",
    plan_id text COLLATE "C" REFERENCES @schema@.svc_plan (id),
    subscription_id text COLLATE "C",
    name text NOT NULL,
    description text,
    value jsonb,
    PRIMARY KEY (customer_id, id),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES @schema@.svc_subscription (customer_id, id),
    CHECK (valid_from < valid_until)
) WITH (fillfactor = 50);
ALTER TABLE @schema@.svc_entitlement ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('ent');
CREATE INDEX IF NOT EXISTS svc_entitlement_code ON @schema@.svc_entitlement (customer_id, code, id);
CREATE INDEX IF NOT EXISTS svc_entitlement_subscription
    ON @schema@.svc_entitlement (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_entitlement_plan ON @schema@.svc_entitlement (plan_id) WHERE plan_id IS NOT NULL;

COMMENT ON TABLE @schema@.svc_entitlement IS 'What customers are entitled to: each row is one grant.';
COMMENT ON COLUMN @schema@.svc_entitlement.code IS 'What check and consume ask for; grants of one code stack.';
COMMENT ON COLUMN @schema@.svc_entitlement.status IS 'Lifecycle state; see svc_transitions(). active and exhausted follow limit_amount and used_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement.unlimited IS 'No ceiling; limit_amount is ignored.';
COMMENT ON COLUMN @schema@.svc_entitlement.priority IS 'Grants with a smaller one pay first.';
COMMENT ON COLUMN @schema@.svc_entitlement.revision IS 'Number of the grant''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.ledger_seq IS 'Number of the grant''s last ledger row; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.limit_amount IS 'Ceiling, in the unit of the code; null with unlimited false: a right that is not counted.';
COMMENT ON COLUMN @schema@.svc_entitlement.used_amount IS 'Consumed so far: the sum of the grant''s ledger rows; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.remaining_amount IS 'What may still be consumed; null when unlimited or not metered; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.usage_percent IS 'used_amount in percent of limit_amount, 100 at limit 0; set by svc.';
COMMENT ON COLUMN @schema@.svc_entitlement.valid_from IS 'Start of validity, included; null: without bound.';
COMMENT ON COLUMN @schema@.svc_entitlement.valid_until IS 'End of validity, excluded; null: without bound.';
COMMENT ON COLUMN @schema@.svc_entitlement.value IS 'What a right that is not counted carries.';
