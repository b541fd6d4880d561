-- Subscriptions of customers to plans.
CREATE TABLE IF NOT EXISTS @schema@.svc_subscription (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('trialing', 'active', 'past_due', 'paused', 'cancelled', 'expired')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    plan_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_plan (id),
    service_id text COLLATE "C",
    billing_cycle text NOT NULL DEFAULT 'monthly'
        CHECK (billing_cycle IN ('monthly', 'quarterly', 'yearly')),
    price numeric NOT NULL CHECK (price >= 0 AND price < 'Infinity'),
    currency text,
    quantity integer NOT NULL DEFAULT 1 CHECK (quantity >= 1),
    current_period_start timestamptz,
    current_period_end timestamptz,
    next_billing_date timestamptz,
    billing_anchor timestamptz,
    trial_start timestamptz,
    trial_end timestamptz,
    on_trial boolean NOT NULL DEFAULT false,
    usage_this_period jsonb,
    usage_limits jsonb,
    entitlements text[],
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    cancelled_at timestamptz,
    cancellation_reason text,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (customer_id, id),
    CHECK (current_period_start < current_period_end),
    CHECK (trial_start < trial_end)
);
ALTER TABLE @schema@.svc_subscription ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('sub');
CREATE INDEX IF NOT EXISTS svc_subscription_plan ON @schema@.svc_subscription (plan_id);

COMMENT ON TABLE @schema@.svc_subscription IS 'Who has which plan, for which period, at which price.';
COMMENT ON COLUMN @schema@.svc_subscription.revision IS 'Number of the subscription''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.service_id IS 'The productized service; a key of yours.';
COMMENT ON COLUMN @schema@.svc_subscription.price IS 'Agreed amount per billing_cycle, in currency (ISO 4217).';
COMMENT ON COLUMN @schema@.svc_subscription.current_period_start IS 'Start of the current period, included.';
COMMENT ON COLUMN @schema@.svc_subscription.current_period_end IS 'End of the current period, excluded.';
COMMENT ON COLUMN @schema@.svc_subscription.billing_anchor IS 'Periods end at billing_anchor + n billing cycles; current_period_start when left out.';
COMMENT ON COLUMN @schema@.svc_subscription.on_trial IS 'In trial now; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.cancel_at_period_end IS 'Cancellation is scheduled.';
COMMENT ON COLUMN @schema@.svc_subscription.quantity IS 'How many of the plan; its limits, which are for one, are multiplied by it.';
COMMENT ON COLUMN @schema@.svc_subscription.entitlements IS 'Codes that the plan grants; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.usage_limits IS 'Object of code to limit; set by svc.';
