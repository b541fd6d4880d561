-- Customers.
CREATE TABLE IF NOT EXISTS @schema@.svc_customer (
    id text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'prospect'
        CHECK (status IN ('prospect', 'active', 'at-risk', 'suspended', 'reactivated',
                          'churned', 'merged', 'deleted')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    health_score numeric CHECK (health_score BETWEEN 0 AND 100),
    risk_level text CHECK (risk_level IN ('low', 'medium', 'high', 'critical')),
    lifetime_value numeric CHECK (lifetime_value >= 0 AND lifetime_value < 'Infinity'),
    monthly_spend numeric CHECK (monthly_spend >= 0 AND monthly_spend < 'Infinity'),
    engagement_score numeric CHECK (engagement_score >= 0 AND engagement_score < 'Infinity'),
    last_activity_at timestamptz,
    changes_at timestamptz,
    closed_until timestamptz,
    has_pools boolean NOT NULL DEFAULT false,
    first_purchase_at timestamptz,
    merged_into text COLLATE "C" REFERENCES @schema@.svc_customer (id) CHECK (merged_into <> id),
    external_id text COLLATE "C" CHECK (length(external_id) BETWEEN 1 AND 255),
    name text NOT NULL,
    email text,
    phone text,
    type text NOT NULL DEFAULT 'individual',
    company text,
    industry text,
    size text,
    country text,
    timezone text,
    locale text,
    billing_email text,
    billing_address jsonb,
    tax_id text,
    default_currency text,
    payment_method text,
    attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object')
);
ALTER TABLE @schema@.svc_customer ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('cus');
CREATE INDEX IF NOT EXISTS svc_customer_external_id ON @schema@.svc_customer (external_id);
CREATE INDEX IF NOT EXISTS svc_customer_merged_into ON @schema@.svc_customer (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_customer_email ON @schema@.svc_customer (email);

COMMENT ON TABLE @schema@.svc_customer IS 'The customers. Every column but revision, updated_at and what is set by svc is a property.';
COMMENT ON COLUMN @schema@.svc_customer.id IS 'The caller''s own key, or made by svc_new_id(''cus'').';
COMMENT ON COLUMN @schema@.svc_customer.status IS 'Lifecycle state; see svc_transitions().';
COMMENT ON COLUMN @schema@.svc_customer.revision IS 'Number of the customer''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_customer.risk_level IS 'How likely to leave: low, medium, high, critical. High and critical make an active customer at-risk.';
COMMENT ON COLUMN @schema@.svc_customer.health_score IS '0 to 100.';
COMMENT ON COLUMN @schema@.svc_customer.lifetime_value IS 'Money earned to date or projected, in default_currency.';
COMMENT ON COLUMN @schema@.svc_customer.monthly_spend IS 'Spend per month, in default_currency.';
COMMENT ON COLUMN @schema@.svc_customer.external_id IS 'Key in the caller''s own system.';
COMMENT ON COLUMN @schema@.svc_customer.merged_into IS 'The customer that has taken its place, when merged; set by svc.';
COMMENT ON COLUMN @schema@.svc_customer.changes_at IS 'When a subscription changes what is granted, by the end of a trial, a scheduled change of plan or a cancellation; set by svc.';
COMMENT ON COLUMN @schema@.svc_customer.closed_until IS 'Up to where usage is final: what is recorded later about earlier times counts from here on; set by svc_finalize_usage().';
COMMENT ON COLUMN @schema@.svc_customer.has_pools IS 'Has it, or had it, grants that several codes spend? Set by svc.';
COMMENT ON COLUMN @schema@.svc_customer.timezone IS 'IANA time zone.';
COMMENT ON COLUMN @schema@.svc_customer.default_currency IS 'ISO 4217, used when none is given.';
COMMENT ON COLUMN @schema@.svc_customer.attributes IS 'The application''s own fields, an object.';
