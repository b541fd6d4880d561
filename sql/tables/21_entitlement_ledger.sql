-- The ledger: every change of a grant's used_amount and held_amount, and what
-- its limit and its rollover were before they changed.
--
-- Kinds: consume, refund; hold, settle, release, lapse (a hold whose time is
-- over); reset; limit and revoke, which change no amount.
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
    held numeric NOT NULL DEFAULT 0,
    overage numeric,
    limit_before numeric,
    rollover_before numeric,
    kind text NOT NULL,
    code text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    hold_id text COLLATE "C",
    spent_on text COLLATE "C",
    spent_amount numeric,
    actor text,
    request_id text,
    request jsonb,
    answer jsonb,
    metadata jsonb,
    PRIMARY KEY (customer_id, entitlement_id, seq),
    CHECK ((request IS NULL) = (answer IS NULL)),
    CHECK ((spent_on IS NULL) = (spent_amount IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS svc_entitlement_ledger_key
    ON @schema@.svc_entitlement_ledger (customer_id, idempotency_key)
    WHERE line = 0 AND idempotency_key IS NOT NULL;
-- what is billed: seldom, and so seldom in the index
CREATE INDEX IF NOT EXISTS svc_entitlement_ledger_overage
    ON @schema@.svc_entitlement_ledger (customer_id, entitlement_id, occurred_at) WHERE overage IS NOT NULL;
-- what was spent of a pool on one code, which is what can be given back
CREATE INDEX IF NOT EXISTS svc_entitlement_ledger_spent
    ON @schema@.svc_entitlement_ledger (customer_id, entitlement_id, spent_on, seq) WHERE spent_on IS NOT NULL;

COMMENT ON TABLE @schema@.svc_entitlement_ledger IS 'Every change of a grant''s used_amount, append-only. A grant''s rows are numbered without holes and sum up to its used_amount and held_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.line IS 'One request may be split over several grants: its rows are lines 0, 1, 2 ...';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.occurred_at IS 'The instant of the request; of a reset, the boundary at which it was due.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.recorded_at IS 'The start of the transaction that wrote the row.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.amount IS 'Change of the grant''s used_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.held IS 'Change of the grant''s held_amount.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.overage IS 'The part of amount that is beyond limit and rollover, negative when it was given back; null: none of it.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.limit_before IS 'On rows of kind limit: limit_amount until then, Infinity when it was unlimited, null when it was not metered.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.rollover_before IS 'On rows of kind reset: rollover_amount until then.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.hold_id IS 'The hold, on rows of kind hold, settle, release and lapse.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.spent_on IS 'The code that was asked for, where a pool has paid for another than its own.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.spent_amount IS 'There: how many units of that code the amount, which is in credits, has paid for; negative when they were given back.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.metadata IS 'What the caller gave; on rows of kind reset that stand for several resets: until, the instant of the last one.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.request IS 'On line 0 of a request with an idempotency key: what was asked.';
COMMENT ON COLUMN @schema@.svc_entitlement_ledger.answer IS 'There, too: what was answered.';

CREATE OR REPLACE TRIGGER zzz_svc_append_only BEFORE UPDATE OR DELETE ON @schema@.svc_entitlement_ledger
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_append_only();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_entitlement_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();
