-- Usage of customers by period.
CREATE TABLE IF NOT EXISTS svc_customer_usage (
    customer_id text COLLATE "C" NOT NULL REFERENCES svc_customer (id),
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
    total_executions numeric,
    successful_executions numeric,
    failed_executions numeric,
    escalated_executions numeric,
    tokens_used numeric,
    compute_minutes numeric,
    storage_gb numeric,
    bandwidth_gb numeric,
    api_calls numeric,
    webhook_deliveries numeric,
    usage_by_resource jsonb,
    quota_used jsonb,
    quota_remaining jsonb,
    estimated_cost numeric,
    currency text,
    change_from_previous numeric,
    PRIMARY KEY (customer_id, id),
    UNIQUE (customer_id, period_type, period_start),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES svc_subscription (customer_id, id),
    CHECK (period_start < period_end)
);
ALTER TABLE svc_customer_usage ALTER COLUMN id SET DEFAULT svc_new_id('cus_usage');
CREATE INDEX IF NOT EXISTS svc_customer_usage_subscription
    ON svc_customer_usage (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;

COMMENT ON TABLE svc_customer_usage IS 'What customers have used, by period.';
COMMENT ON COLUMN svc_customer_usage.revision IS 'Number of the row''s last event; set by svc.';
COMMENT ON COLUMN svc_customer_usage.period_start IS 'Start of the period, included.';
COMMENT ON COLUMN svc_customer_usage.period_end IS 'End of the period, excluded.';
COMMENT ON COLUMN svc_customer_usage.usage_by_resource IS 'Object of resource to amount, for what has no column.';
COMMENT ON COLUMN svc_customer_usage.quota_used IS 'Object of quota to amount used.';
COMMENT ON COLUMN svc_customer_usage.quota_remaining IS 'Object of quota to amount left.';
COMMENT ON COLUMN svc_customer_usage.change_from_previous IS 'Change against the period before, in percent.';
