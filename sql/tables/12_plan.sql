-- Plans: a small table that all customers share.
CREATE TABLE IF NOT EXISTS @schema@.svc_plan (
    id text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'hidden', 'legacy', 'discontinued')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    name text NOT NULL,
    slug text COLLATE "C",
    service_id text COLLATE "C",
    description text,
    tier text,
    display_order numeric,
    highlighted boolean,
    price numeric NOT NULL CHECK (price >= 0 AND price < 'Infinity'),
    currency text,
    billing_interval text NOT NULL DEFAULT 'monthly'
        CHECK (billing_interval IN ('monthly', 'quarterly', 'yearly')),
    annual_discount numeric CHECK (annual_discount BETWEEN 0 AND 100),
    entitlements text[],
    features text[],
    limits jsonb,
    executions_per_month numeric CHECK (executions_per_month >= 0 AND executions_per_month < 'Infinity'),
    support_hours numeric CHECK (support_hours >= 0 AND support_hours < 'Infinity'),
    overage_price numeric CHECK (overage_price >= 0 AND overage_price < 'Infinity'),
    overage_enabled boolean,
    trial_days integer CHECK (trial_days >= 0),
    trial_requires_card boolean
);
ALTER TABLE @schema@.svc_plan ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('plan');
CREATE UNIQUE INDEX IF NOT EXISTS svc_plan_slug ON @schema@.svc_plan (slug);

COMMENT ON TABLE @schema@.svc_plan IS 'What is sold, and at what price.';
COMMENT ON COLUMN @schema@.svc_plan.revision IS 'Number of the plan''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_plan.service_id IS 'The productized service; a key of yours.';
COMMENT ON COLUMN @schema@.svc_plan.price IS 'Amount per billing_interval, in currency (ISO 4217).';
COMMENT ON COLUMN @schema@.svc_plan.annual_discount IS 'Percent off when billed yearly.';
COMMENT ON COLUMN @schema@.svc_plan.entitlements IS 'Codes that the plan grants; those that limits does not define are rights that are not counted.';
COMMENT ON COLUMN @schema@.svc_plan.limits IS 'What the plan grants: an object of codes, each defined by a limit, by true, or by an object with limit, unlimited, value, reset_period, rollover_max, overage, overage_limit, carry_overage, alert_percents, priority, per_unit; see svc_plan_grants().';
COMMENT ON COLUMN @schema@.svc_plan.overage_price IS 'Price per unit above the limit.';
COMMENT ON COLUMN @schema@.svc_plan.trial_days IS 'Length of the trial, in days.';
COMMENT ON COLUMN @schema@.svc_plan.executions_per_month IS 'Limit of code executions, reset monthly, unless limits defines that.';
COMMENT ON COLUMN @schema@.svc_plan.overage_enabled IS 'Counted codes that do not say otherwise may be used beyond their limits.';
