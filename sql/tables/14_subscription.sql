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
    billing_cycle text NOT NULL
        CHECK (billing_cycle IN ('monthly', 'quarterly', 'yearly')),
    price numeric NOT NULL CHECK (price >= 0 AND price < 'Infinity'),
    currency text,
    quantity integer NOT NULL DEFAULT 1 CHECK (quantity >= 1),
    current_period_start timestamptz,
    current_period_end timestamptz,
    next_billing_date timestamptz,
    billing_anchor timestamptz,
    due_at timestamptz,
    dunned_until timestamptz,
    trial_start timestamptz,
    trial_end timestamptz,
    on_trial boolean NOT NULL DEFAULT false,
    usage_this_period jsonb,
    usage_limits jsonb,
    entitlements text[],
    terms jsonb,
    terms_revision bigint,
    addons jsonb,
    allow_duplicate boolean NOT NULL DEFAULT false,
    scheduled_at timestamptz,
    scheduled_action text CHECK (scheduled_action IN ('upgrade', 'downgrade')),
    scheduled_plan_id text COLLATE "C" REFERENCES @schema@.svc_plan (id),
    scheduled_price numeric CHECK (scheduled_price >= 0 AND scheduled_price < 'Infinity'),
    scheduled_billing_cycle text CHECK (scheduled_billing_cycle IN ('monthly', 'quarterly', 'yearly')),
    scheduled_carry_usage boolean,
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    cancelled_at timestamptz,
    cancellation_reason text,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (customer_id, id),
    CHECK (current_period_start < current_period_end),
    CHECK (trial_start < trial_end),
    CHECK ((scheduled_plan_id IS NULL) = (scheduled_at IS NULL)
           AND (scheduled_plan_id IS NULL) = (scheduled_action IS NULL))
);
ALTER TABLE @schema@.svc_subscription ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('sub');
CREATE INDEX IF NOT EXISTS svc_subscription_plan ON @schema@.svc_subscription (plan_id, terms_revision);
CREATE INDEX IF NOT EXISTS svc_subscription_scheduled_plan
    ON @schema@.svc_subscription (scheduled_plan_id) WHERE scheduled_plan_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS svc_subscription_once ON @schema@.svc_subscription (customer_id, plan_id)
    WHERE status IN ('trialing', 'active', 'past_due', 'paused') AND NOT allow_duplicate;
-- what time alone makes due, for svc_run_due(), and for one customer's consumes
CREATE INDEX IF NOT EXISTS svc_subscription_due ON @schema@.svc_subscription (due_at) WHERE due_at IS NOT NULL;

COMMENT ON TABLE @schema@.svc_subscription IS 'Who has which plan, for which period, at which price. What is left out of a new row, its plan tells.';
COMMENT ON COLUMN @schema@.svc_subscription.revision IS 'Number of the subscription''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.service_id IS 'The productized service; a key of yours.';
COMMENT ON COLUMN @schema@.svc_subscription.billing_cycle IS 'How often it is billed: as often as the plan, or a whole multiple of that.';
COMMENT ON COLUMN @schema@.svc_subscription.price IS 'Agreed amount per billing_cycle and unit of quantity, in currency (ISO 4217).';
COMMENT ON COLUMN @schema@.svc_subscription.current_period_start IS 'Start of the current period, included.';
COMMENT ON COLUMN @schema@.svc_subscription.current_period_end IS 'End of the current period, excluded.';
COMMENT ON COLUMN @schema@.svc_subscription.billing_anchor IS 'Periods end at billing_anchor + n billing cycles, in the customer''s time zone; the end of the trial, or the start of the first period, when left out.';
COMMENT ON COLUMN @schema@.svc_subscription.next_billing_date IS 'When the next period will begin; null when none will; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.due_at IS 'The next instant at which time alone changes the subscription: end of trial, renewal, a scheduled change, its cancellation; set by svc, done by svc_run_due().';
COMMENT ON COLUMN @schema@.svc_subscription.dunned_until IS 'Invoices that were overdue by then do not make it past due any more, because it was made active after that; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.on_trial IS 'In trial now; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.cancel_at_period_end IS 'Cancellation is scheduled.';
COMMENT ON COLUMN @schema@.svc_subscription.quantity IS 'How many of the plan; its limits, which are for one, are multiplied by it.';
COMMENT ON COLUMN @schema@.svc_subscription.entitlements IS 'Codes that the plan and the add-ons grant; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.usage_limits IS 'Object of code to limit, of plan and add-ons together; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.usage_this_period IS 'Object of code to what was used of its grants in their present periods, as svc_run_due() or a change of the subscription has found it last; svc_subscription_usage() tells how it is now; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.terms IS 'What the plan promised when it was subscribed to: see svc_plan_terms(). A plan that changes leaves them alone; svc_migrate_subscribers() renews them; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.terms_revision IS 'Revision of the plan that the terms are from; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.addons IS 'Plans that it has besides: an object of plan id to quantity, which is completed with price and terms.';
COMMENT ON COLUMN @schema@.svc_subscription.allow_duplicate IS 'May it exist beside another subscription of the customer to the same plan?';
COMMENT ON COLUMN @schema@.svc_subscription.scheduled_plan_id IS 'The plan that it will have from scheduled_at on; null to withdraw that.';
COMMENT ON COLUMN @schema@.svc_subscription.scheduled_at IS 'When the scheduled change of plan happens; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.scheduled_action IS 'upgrade or downgrade; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.scheduled_price IS 'The price from then on; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.scheduled_billing_cycle IS 'The billing cycle from then on; set by svc.';
COMMENT ON COLUMN @schema@.svc_subscription.scheduled_carry_usage IS 'Does what was used count under the new plan, too? Set by svc.';
