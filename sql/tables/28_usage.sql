-- Raw usage records of customers. Without foreign keys, which would cost a look-up
-- each per row, and keep the table from being partitioned: svc looks after what a
-- record refers to, per statement (src/usage_row.c).
CREATE TABLE IF NOT EXISTS @schema@.svc_usage (
    customer_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'recorded'
        CHECK (status IN ('recorded', 'aggregated', 'billed', 'disputed')),
    revision bigint NOT NULL CHECK (revision >= 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    booked_at timestamptz NOT NULL,
    xid xid8 NOT NULL,
    cluster bigint NOT NULL,
    quantity numeric NOT NULL CHECK (quantity > '-Infinity' AND quantity < 'Infinity'),
    consumes text COLLATE "C",
    consumed numeric,
    overage numeric,
    resource text COLLATE "C" NOT NULL CHECK (length(resource) BETWEEN 1 AND 255),
    subscription_id text COLLATE "C",
    invoice_id text COLLATE "C",
    adjusts_id text COLLATE "C",
    idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    reason text,
    metadata jsonb,
    PRIMARY KEY (customer_id, id)
);
ALTER TABLE @schema@.svc_usage ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('usg');
-- (a partitioned table cannot have it; see src/usage_row.c)
DO $key$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = '@schema@.svc_usage'::regclass) = 'r' THEN
        CREATE UNIQUE INDEX IF NOT EXISTS svc_usage_key
            ON @schema@.svc_usage (customer_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
    END IF;
END
$key$;
CREATE INDEX IF NOT EXISTS svc_usage_booked ON @schema@.svc_usage (customer_id, resource, booked_at);
-- what is not rolled up yet: of a customer, and of all
CREATE INDEX IF NOT EXISTS svc_usage_customer_xid ON @schema@.svc_usage (customer_id, xid);
CREATE INDEX IF NOT EXISTS svc_usage_xid ON @schema@.svc_usage (xid);
CREATE INDEX IF NOT EXISTS svc_usage_subscription
    ON @schema@.svc_usage (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_usage_invoice
    ON @schema@.svc_usage (customer_id, invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_usage_adjusts
    ON @schema@.svc_usage (customer_id, adjusts_id) WHERE adjusts_id IS NOT NULL;
CREATE OR REPLACE TRIGGER zzz_svc_consume AFTER INSERT ON @schema@.svc_usage
    FOR EACH ROW WHEN (NEW.consumes IS NOT NULL) EXECUTE FUNCTION @schema@.svc_usage_consume();

COMMENT ON TABLE @schema@.svc_usage IS 'Raw records of usage.';
COMMENT ON COLUMN @schema@.svc_usage.revision IS 'Number of the record''s last event, 0 while it has none: a new record is quiet; set by svc.';
COMMENT ON COLUMN @schema@.svc_usage.occurred_at IS 'When it was used.';
COMMENT ON COLUMN @schema@.svc_usage.booked_at IS 'When it counts: occurred_at, or, if that was closed when it was recorded, the end of what was closed; set by svc.';
COMMENT ON COLUMN @schema@.svc_usage.xid IS 'The transaction that has recorded it, by which roll-ups know what is new; set by svc, as is cluster.';
COMMENT ON COLUMN @schema@.svc_usage.cluster IS 'System identifier of the installation that xid is of.';
COMMENT ON COLUMN @schema@.svc_usage.quantity IS 'In the unit of the resource; negative in a correction.';
COMMENT ON COLUMN @schema@.svc_usage.consumes IS 'Code of the entitlement that it consumes, as the meter said when it was recorded; null: none; set by svc.';
COMMENT ON COLUMN @schema@.svc_usage.consumed IS 'How much of that it has consumed, negative if given back; null: its quantity (1 of what is counted); set by svc, after the row is there.';
COMMENT ON COLUMN @schema@.svc_usage.overage IS 'How much of the quantity the meter''s entitlement did not cover; null: all was covered, or the meter has none; negative in a correction that lessens it; set by svc, after the row is there.';
COMMENT ON COLUMN @schema@.svc_usage.adjusts_id IS 'The record that this one corrects.';
COMMENT ON COLUMN @schema@.svc_usage.reason IS 'Why it corrects.';

-- What resources mean. Small, and looked up by every record.
CREATE TABLE IF NOT EXISTS @schema@.svc_meter (
    resource text COLLATE "C" PRIMARY KEY CHECK (length(resource) BETWEEN 1 AND 255),
    aggregation text NOT NULL DEFAULT 'sum' CHECK (aggregation IN ('sum', 'count', 'max', 'last')),
    unit text,
    unit_cost numeric CHECK (unit_cost > '-Infinity' AND unit_cost < 'Infinity'),
    currency text,
    usage_column text UNIQUE CHECK (usage_column IN ('total_executions', 'successful_executions',
        'failed_executions', 'escalated_executions', 'tokens_used', 'compute_minutes',
        'storage_gb', 'bandwidth_gb', 'api_calls', 'webhook_deliveries')),
    entitlement_code text COLLATE "C" CHECK (length(entitlement_code) BETWEEN 1 AND 255),
    consume_mode text NOT NULL DEFAULT 'reject' CHECK (consume_mode IN ('reject', 'overflow')),
    CHECK (unit_cost IS NULL OR currency IS NOT NULL)
);
CREATE OR REPLACE TRIGGER zzz_svc_meter BEFORE INSERT OR UPDATE OR DELETE ON @schema@.svc_meter
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_meter_change();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_meter
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();

COMMENT ON TABLE @schema@.svc_meter IS 'How resources are metered; one without a row here is summed up.';
COMMENT ON COLUMN @schema@.svc_meter.aggregation IS 'What a period''s figure is: sum of the quantities, count of the records, greatest or last quantity.';
COMMENT ON COLUMN @schema@.svc_meter.unit IS 'What one of it is called, for people.';
COMMENT ON COLUMN @schema@.svc_meter.unit_cost IS 'What one of it costs, in currency, for estimated_cost.';
COMMENT ON COLUMN @schema@.svc_meter.usage_column IS 'The column of svc_customer_usage that has its figure; null: the column of that very name, else usage_by_resource.';
COMMENT ON COLUMN @schema@.svc_meter.entitlement_code IS 'What a record consumes, in the same transaction; null: nothing.';
COMMENT ON COLUMN @schema@.svc_meter.consume_mode IS 'What a denial does: reject refuses the record, overflow records it and says in overage how much was not covered.';

-- How far usage is rolled up, per customer; see src/usage_fold.c.
CREATE TABLE IF NOT EXISTS @schema@.svc_usage_fold (
    customer_id text COLLATE "C" PRIMARY KEY,
    cluster bigint NOT NULL,
    snapshot pg_snapshot,
    timezone text NOT NULL,
    folded_at timestamptz,
    has_moved boolean NOT NULL DEFAULT false,
    purged_until timestamptz,
    to_mark_from timestamptz
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS svc_usage_fold_to_mark ON @schema@.svc_usage_fold (customer_id) WHERE to_mark_from IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_usage_fold_moved ON @schema@.svc_usage_fold (customer_id) WHERE has_moved;
-- (one row: before which transaction all usage of all customers is rolled up)
CREATE TABLE IF NOT EXISTS @schema@.svc_usage_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster bigint NOT NULL,
    xid xid8 NOT NULL
);

COMMENT ON TABLE @schema@.svc_usage_fold IS 'What of a customer''s usage is rolled up: what its snapshot sees; written by svc.';
COMMENT ON TABLE @schema@.svc_usage_horizon IS 'The transaction before which all usage is rolled up; written by svc.';
