-- Raw usage records of customers.
CREATE TABLE IF NOT EXISTS @schema@.svc_usage (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'recorded'
        CHECK (status IN ('recorded', 'aggregated', 'billed', 'disputed')),
    revision bigint NOT NULL CHECK (revision >= 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    quantity numeric NOT NULL CHECK (quantity > '-Infinity' AND quantity < 'Infinity'),
    resource text COLLATE "C" NOT NULL CHECK (length(resource) BETWEEN 1 AND 255),
    subscription_id text COLLATE "C",
    invoice_id text COLLATE "C",
    adjusts_id text COLLATE "C",
    idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    reason text,
    metadata jsonb,
    PRIMARY KEY (customer_id, id),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES @schema@.svc_subscription (customer_id, id),
    FOREIGN KEY (customer_id, invoice_id) REFERENCES @schema@.svc_invoice (customer_id, id),
    FOREIGN KEY (customer_id, adjusts_id) REFERENCES @schema@.svc_usage (customer_id, id)
);
ALTER TABLE @schema@.svc_usage ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('usg');
CREATE UNIQUE INDEX IF NOT EXISTS svc_usage_key
    ON @schema@.svc_usage (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_usage_occurred ON @schema@.svc_usage (customer_id, resource, occurred_at);
CREATE INDEX IF NOT EXISTS svc_usage_subscription
    ON @schema@.svc_usage (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_usage_invoice
    ON @schema@.svc_usage (customer_id, invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_usage_adjusts
    ON @schema@.svc_usage (customer_id, adjusts_id) WHERE adjusts_id IS NOT NULL;

COMMENT ON TABLE @schema@.svc_usage IS 'Raw records of usage.';
COMMENT ON COLUMN @schema@.svc_usage.revision IS 'Number of the record''s last event, 0 while it has none: a new record is quiet; set by svc.';
COMMENT ON COLUMN @schema@.svc_usage.quantity IS 'In the unit of the resource; negative in a correction.';
COMMENT ON COLUMN @schema@.svc_usage.adjusts_id IS 'The record that this one corrects.';
COMMENT ON COLUMN @schema@.svc_usage.reason IS 'Why it corrects.';
