-- Usage of customers by period. Without a foreign key to the customer, which svc
-- looks after per statement (src/usage_fold.c).
CREATE TABLE IF NOT EXISTS @schema@.svc_customer_usage (
    customer_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'partial'
        CHECK (status IN ('partial', 'complete', 'finalized')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    subscription_id text COLLATE "C",
    period_type text NOT NULL
        CHECK (period_type IN ('hour', 'day', 'week', 'month', 'quarter', 'year')),
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    total_executions numeric CHECK (total_executions > '-Infinity' AND total_executions < 'Infinity'),
    successful_executions numeric CHECK (successful_executions > '-Infinity' AND successful_executions < 'Infinity'),
    failed_executions numeric CHECK (failed_executions > '-Infinity' AND failed_executions < 'Infinity'),
    escalated_executions numeric CHECK (escalated_executions > '-Infinity' AND escalated_executions < 'Infinity'),
    tokens_used numeric CHECK (tokens_used > '-Infinity' AND tokens_used < 'Infinity'),
    compute_minutes numeric CHECK (compute_minutes > '-Infinity' AND compute_minutes < 'Infinity'),
    storage_gb numeric CHECK (storage_gb > '-Infinity' AND storage_gb < 'Infinity'),
    bandwidth_gb numeric CHECK (bandwidth_gb > '-Infinity' AND bandwidth_gb < 'Infinity'),
    api_calls numeric CHECK (api_calls > '-Infinity' AND api_calls < 'Infinity'),
    webhook_deliveries numeric CHECK (webhook_deliveries > '-Infinity' AND webhook_deliveries < 'Infinity'),
    usage_by_resource jsonb CHECK (jsonb_typeof(usage_by_resource) = 'object'
        AND NOT jsonb_path_exists(usage_by_resource, '$.* ? (@.type() != "number")')),
    quota_used jsonb CHECK (jsonb_typeof(quota_used) = 'object'
        AND NOT jsonb_path_exists(quota_used, '$.* ? (@.type() != "number")')),
    quota_remaining jsonb CHECK (jsonb_typeof(quota_remaining) = 'object'
        AND NOT jsonb_path_exists(quota_remaining, '$.* ? (@.type() != "number")')),
    estimated_cost numeric CHECK (estimated_cost > '-Infinity' AND estimated_cost < 'Infinity'),
    currency text,
    change_from_previous numeric,
    is_folded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (customer_id, id),
    UNIQUE (customer_id, period_type, period_start, is_folded),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES @schema@.svc_subscription (customer_id, id),
    CHECK (period_start < period_end)
) WITH (fillfactor = 50);
ALTER TABLE @schema@.svc_customer_usage ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('cus_usage');
CREATE INDEX IF NOT EXISTS svc_customer_usage_open
    ON @schema@.svc_customer_usage (period_end) WHERE status = 'partial';
CREATE INDEX IF NOT EXISTS svc_customer_usage_subscription
    ON @schema@.svc_customer_usage (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;

COMMENT ON TABLE @schema@.svc_customer_usage IS 'What customers have used, by period.';
COMMENT ON COLUMN @schema@.svc_customer_usage.revision IS 'Number of the row''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_customer_usage.period_start IS 'Start of the period, included.';
COMMENT ON COLUMN @schema@.svc_customer_usage.period_end IS 'End of the period, excluded.';
COMMENT ON COLUMN @schema@.svc_customer_usage.usage_by_resource IS 'Object of resource to amount, for what has no column.';
COMMENT ON COLUMN @schema@.svc_customer_usage.quota_used IS 'Object of quota to amount used.';
COMMENT ON COLUMN @schema@.svc_customer_usage.quota_remaining IS 'Object of quota to amount left.';
COMMENT ON COLUMN @schema@.svc_customer_usage.change_from_previous IS 'Change against the period before, in percent.';
COMMENT ON COLUMN @schema@.svc_customer_usage.estimated_cost IS 'What the figures cost at the meters'' unit_cost, in currency.';
COMMENT ON COLUMN @schema@.svc_customer_usage.is_folded IS 'Is it rolled up from raw records? Else it was recorded by hand, and there may be both; set by svc.';
