-- Billing periods that are over, and what was agreed in them.
--
-- A row is written when the subscription first changes after a period's end, or
-- leaves the period before that. If the end is put off after that, there is one
-- more row with the end as it was then, which counts. Written by svc only.
CREATE TABLE IF NOT EXISTS @schema@.svc_subscription_period (
    customer_id text COLLATE "C" NOT NULL,
    subscription_id text COLLATE "C" NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    is_trial boolean NOT NULL,
    plan_id text COLLATE "C" NOT NULL,
    quantity integer NOT NULL,
    price numeric NOT NULL,
    currency text,
    terms jsonb,
    addons jsonb,
    PRIMARY KEY (customer_id, subscription_id, period_start, period_end),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES @schema@.svc_subscription (customer_id, id),
    CHECK (period_start < period_end)
);

COMMENT ON TABLE @schema@.svc_subscription_period IS 'Billing periods of subscriptions that are over, with what was agreed in them: svc_create_invoice_for() bills by it.';
COMMENT ON COLUMN @schema@.svc_subscription_period.period_end IS 'Where it ended, which is earlier than planned when another billing cycle has begun.';
COMMENT ON COLUMN @schema@.svc_subscription_period.is_trial IS 'Then only what was used beyond the limits is billed.';

CREATE OR REPLACE TRIGGER zzz_svc_append_only BEFORE UPDATE OR DELETE ON @schema@.svc_subscription_period
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_append_only();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_subscription_period
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();
