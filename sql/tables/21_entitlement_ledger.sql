-- The ledger: every change of a grant's used_amount.
--
-- No foreign key to the grant: each row is written by svc under the lock of
-- its grant, which is never deleted; a key would only cost a second look-up.
CREATE TABLE IF NOT EXISTS @schema@.svc_entitlement_ledger (
    customer_id text COLLATE "C" NOT NULL,
    entitlement_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 1),
    line integer NOT NULL CHECK (line >= 0),
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    amount numeric NOT NULL,
    kind text NOT NULL,
    code text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    actor text,
    request_id text,
    request jsonb,
    answer jsonb,
    metadata jsonb,
    PRIMARY KEY (customer_id, entitlement_id, seq),
    CHECK ((request IS NULL) = (answer IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS svc_entitlement_ledger_key
    ON @schema@.svc_entitlement_ledger (customer_id, idempotency_key)
    WHERE line = 0 AND idempotency_key IS NOT NULL;

COMMENT ON TABLE @schema@.svc_entitlement_ledger IS 'Every change of a grant''s used_amount, append-only. A grant''s rows are numbered without holes and sum up to its used_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.line IS 'One request may be split over several grants: its rows are lines 0, 1, 2 ...';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.occurred_at IS 'The instant of the request.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.recorded_at IS 'The start of the transaction that wrote the row.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.amount IS 'Change of the grant''s used_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.request IS 'On line 0 of a request with an idempotency key: what was asked.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.answer IS 'There, too: what was answered.';

CREATE OR REPLACE TRIGGER zzz_svc_append_only BEFORE UPDATE OR DELETE ON @schema@.svc_entitlement_ledger
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_append_only();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_entitlement_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();
